#include "proxy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char host_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
static const char scheme[] = "http://";

/* Words of a request line, and a header line; not NUL-terminated. */
struct proxy_text {
    const char *at;
    size_t n;
};

static enum proxy_kind bad_request(struct proxy_request *r, int status, const char *why)
{
    r->status = status;
    r->why = why;
    return PROXY_BAD;
}

static char lower_char(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool text_starts(struct proxy_text t, const char *word)
{
    size_t n = strlen(word);

    if (t.n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (lower_char(t.at[i]) != word[i])
            return false;
    }
    return true;
}

/* The text up to `end`, which is dropped from `rest` with it; all of it when there is none. */
static struct proxy_text cut_text(struct proxy_text *rest, char end)
{
    const char *p = memchr(rest->at, end, rest->n);
    struct proxy_text t = {rest->at, p ? (size_t)(p - rest->at) : rest->n};
    size_t used = t.n + (p ? 1 : 0);

    rest->at += used;
    rest->n -= used;
    return t;
}

/* The next line without its CR LF. The head ends with one, so there always is an end. */
static struct proxy_text cut_line(struct proxy_text *rest)
{
    struct proxy_text line = cut_text(rest, '\n');

    if (line.n && line.at[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool is_port(struct proxy_text t)
{
    unsigned port = 0;

    if (t.n == 0 || t.n > 5)
        return false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.at[i] < '0' || t.at[i] > '9')
            return false;
        port = port * 10 + (unsigned)(t.at[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

/* A name, an IPv4 address, or an IPv6 address in brackets: what it may be made of, not more. */
static bool is_host(const char *host, size_t n)
{
    static const char hex[] = "0123456789abcdef:.";
    size_t from = 0, to = n;
    const char *chars = host_chars;

    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        from = 1;
        to = n - 1;
        chars = hex;
    }
    for (size_t i = from; i < to; i++) {
        if (!host[i] || !strchr(chars, host[i]))
            return false;
    }
    return to > from;
}

/* "host:port", or "host" where there is a usual port. */
static bool take_target(struct proxy_request *r, struct proxy_text authority,
                        const char *usual_port)
{
    const char *colon = memrchr(authority.at, ':', authority.n);
    const char *bracket = memrchr(authority.at, ']', authority.n);
    struct proxy_text port = {usual_port, strlen(usual_port)};
    size_t host_n = authority.n;

    if (colon && (!bracket || colon > bracket)) {
        host_n = (size_t)(colon - authority.at);
        port = (struct proxy_text){colon + 1, authority.n - host_n - 1};
    }
    if (!is_port(port) || host_n + 1 + port.n >= sizeof(r->target))
        return false;
    for (size_t i = 0; i < host_n; i++)
        r->target[i] = lower_char(authority.at[i]);
    if (!is_host(r->target, host_n))
        return false;
    r->target[host_n] = ':';
    memcpy(r->target + host_n + 1, port.at, port.n);
    r->target[host_n + 1 + port.n] = '\0';
    return true;
}

/* What stands between the scheme and the path. */
static struct proxy_text take_authority(struct proxy_text *url)
{
    size_t n = 0;
    struct proxy_text t;

    url->at += strlen(scheme);
    url->n -= strlen(scheme);
    while (n < url->n && !memchr("/?#", url->at[n], 3))
        n++;
    t = (struct proxy_text){url->at, n};
    url->at += n;
    url->n -= n;
    return t;
}

static bool is_printable(struct proxy_text t)
{
    for (size_t i = 0; i < t.n; i++) {
        if (t.at[i] <= ' ' || t.at[i] == 0x7f)
            return false;
    }
    return t.n > 0;
}

static bool is_version(struct proxy_text t)
{
    return t.n == 8 && (text_starts(t, "http/1.0") || text_starts(t, "http/1.1"));
}

static enum proxy_kind parse_line(struct proxy_request *r, struct proxy_text line)
{
    struct proxy_text method = cut_text(&line, ' '), url = cut_text(&line, ' ');

    if (!is_printable(method) || !is_printable(url) || !is_version(line))
        return bad_request(r, 400, "not a request of HTTP/1.1");
    if (method.n == 7 && memcmp(method.at, "CONNECT", 7) == 0)
        return take_target(r, url, "") ? PROXY_CONNECT
                                       : bad_request(r, 400, "not a host and a port");
    if (text_starts(url, "https://"))
        return bad_request(r, 400, "https goes through CONNECT");
    if (!text_starts(url, scheme))
        return bad_request(r, 400, "not a URL of a host: this is a proxy");
    return take_target(r, take_authority(&url), "80")
               ? PROXY_PLAIN
               : bad_request(r, 400, "not a host and a port");
}

/* Every line ends with CR LF, and neither stands elsewhere: so a rewritten one grows no longer. */
static bool has_whole_lines(struct proxy_text head)
{
    for (size_t i = 0; i < head.n; i++) {
        bool is_cr = head.at[i] == '\r', is_before_lf = i + 1 < head.n && head.at[i + 1] == '\n';

        if (is_cr != is_before_lf)
            return false;
    }
    return true;
}

enum proxy_kind proxy_parse(const uint8_t *data, size_t n, struct proxy_request *ret)
{
    size_t look = n < PROXY_HEAD_MAX ? n : PROXY_HEAD_MAX;
    const uint8_t *end = memmem(data, look, "\r\n\r\n", 4);
    struct proxy_text head;

    *ret = (struct proxy_request){.status = 0};
    if (!end)
        return n < PROXY_HEAD_MAX ? PROXY_MORE : bad_request(ret, 431, "the head is too large");
    ret->head_len = (size_t)(end - data) + 4;
    if (memchr(data, '\0', ret->head_len))
        return bad_request(ret, 400, "a NUL in the head");
    head = (struct proxy_text){(const char *)data, ret->head_len};
    if (!has_whole_lines(head))
        return bad_request(ret, 400, "a line that does not end with CR LF");
    return parse_line(ret, cut_line(&head));
}

/* Headers that are between a client and its proxy, or that the proxy says anew. */
static bool is_dropped(struct proxy_text line)
{
    static const char *const names[] = {"host:",       "connection:", "proxy-connection:",
                                        "keep-alive:", "upgrade:",    "proxy-authorization:"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (text_starts(line, names[i]))
            return true;
    }
    return false;
}

static size_t put_bytes(uint8_t *out, size_t at, const char *data, size_t n)
{
    memcpy(out + at, data, n);
    return at + n;
}

static size_t put_line(uint8_t *out, size_t at, const char *name, struct proxy_text value)
{
    at = put_bytes(out, at, name, strlen(name));
    at = put_bytes(out, at, value.at, value.n);
    return put_bytes(out, at, "\r\n", 2);
}

/* "GET http://host/path HTTP/1.1" without the host; `*ret_host` is what it was. */
static size_t put_request(uint8_t *out, struct proxy_text line, struct proxy_text *ret_host)
{
    struct proxy_text method = cut_text(&line, ' '), url = cut_text(&line, ' '), path;
    size_t at = put_bytes(out, 0, method.at, method.n);

    *ret_host = take_authority(&url);
    path = cut_text(&url, '#');
    at = put_bytes(out, at, " ", 1);
    if (path.n == 0 || *path.at != '/')
        at = put_bytes(out, at, "/", 1);
    at = put_bytes(out, at, path.at, path.n);
    at = put_bytes(out, at, " ", 1);
    return put_line(out, at, "", line);
}

size_t proxy_rewrite(const uint8_t *data, const struct proxy_request *r, uint8_t *out)
{
    struct proxy_text rest = {(const char *)data, r->head_len}, host, line;
    size_t at = put_request(out, cut_line(&rest), &host);
    bool is_after_dropped = false;

    at = put_line(out, at, "Host: ", host);
    at = put_line(out, at, "Connection: ", (struct proxy_text){"close", 5});
    while ((line = cut_line(&rest)).n) {
        bool is_folded = *line.at == ' ' || *line.at == '\t';

        is_after_dropped = is_folded ? is_after_dropped : is_dropped(line);
        if (!is_after_dropped)
            at = put_line(out, at, "", line);
    }
    return put_bytes(out, at, "\r\n", 2);
}

size_t proxy_reply(char out[PROXY_REPLY_MAX], int status, const char *target, const char *why)
{
    char text[RELAY_TARGET_MAX + 128];
    int n = snprintf(text, sizeof(text), "%s%s%s", target, *target ? " " : "", why);

    n = snprintf(out, PROXY_REPLY_MAX,
                 "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
                 "Connection: close\r\n\r\n%s\n",
                 status, text, n + 1, text);
    return (size_t)n;
}

int proxy_status(int refusal)
{
    switch (refusal) {
    case RELAY_NOT_LISTED:
    case RELAY_NOT_PUBLIC:
        return 403;
    case RELAY_NO_ANSWER:
        return 504;
    case RELAY_TOO_MANY:
    case RELAY_TOO_MUCH:
        return 503;
    default:
        return 502;
    }
}

const char *proxy_words(int refusal)
{
    switch (refusal) {
    case RELAY_NOT_LISTED:
        return "is not listed by the policy";
    case RELAY_NOT_PUBLIC:
        return "leads to an address that is not public";
    case RELAY_NO_NAME:
        return "cannot be resolved";
    case RELAY_NO_ANSWER:
        return "did not answer in time";
    case RELAY_TOO_MANY:
        return "is one connection too many";
    case RELAY_TOO_MUCH:
        return "is out of reach: the run has transferred as many bytes as it may";
    case ECONNREFUSED:
        return "refused the connection";
    default:
        return "cannot be reached";
    }
}
