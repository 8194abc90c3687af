#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "http/steps.h"

/*
 * The head of a request is what a proxy in front and this service must read alike. libmicrohttpd
 * 0.9 takes the first of two Content-Length, lets Transfer-Encoding win over Content-Length, takes
 * two Host lines, cuts the path and header lines at a NUL, and reads bare LF and folded lines; all
 * of that is refused here, and the connection closed, since where the next request begins is in
 * doubt.
 *
 * What the library does not tell (NUL, bare LF, folding) shows in how the strings that it gives
 * lie in its buffer: every line end was CR LF, which it replaced by two NUL bytes, so each string
 * must begin exactly where the one before it ends. (Two rarities look the same there and pass: NUL
 * LF is taken for CR LF, and a line of ":" and bare LF ends the head.) Versions from 1.0 on check
 * all this themselves and move things, so they are only told to be strict.
 *
 * What lies between the chunks of a body cannot be seen at all, and there too bare LF is taken, and
 * a trailer that begins with ':' ends the request: behind a chunked body no request is read.
 */

enum { HEAD_ROOM = 4 * 1024, HEADER_COST = 72 };

struct tally {
    unsigned lengths, encodings, hosts, origins, headers;
    const char *encoding, *length;
    bool has_bad_name, has_bad_value, has_gap;
    const char *next; /* where the next header line must begin */
};

static bool is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c <= ' ' || c >= 0x7F || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return n > 0;
}

/* Tabs are allowed in header values, other control characters (a bare CR among them) are not. */
static bool has_control(const char *s, size_t n, bool allow_tab)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < ' ' && !(allow_tab && c == '\t')) || c == 0x7F)
            return true;
    }
    return false;
}

static enum MHD_Result look(void *ctx, enum MHD_ValueKind kind, const char *key, size_t key_len,
                            const char *value, size_t value_len)
{
    struct tally *t = ctx;

    (void)kind;
    t->headers++;
    t->has_bad_name = t->has_bad_name || !is_token(key, key_len);
    t->has_bad_value = t->has_bad_value || has_control(value, value_len, true);
    t->has_gap = t->has_gap || key != t->next;
    t->next = value + value_len + 2;
    if (str_eq_nocase(key, "Content-Length")) {
        t->lengths++;
        t->length = value;
    } else if (str_eq_nocase(key, "Transfer-Encoding")) {
        t->encodings++;
        t->encoding = value;
    } else if (str_eq_nocase(key, "Host")) {
        t->hosts++;
    } else if (str_eq_nocase(key, "Origin")) {
        t->origins++;
    }
    return MHD_YES;
}

static size_t head_size(const struct http_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    return info ? info->header_size : 0;
}

/* See above; `version` is the string behind the URI. */
static bool lies_without_gaps(const struct http_exchange *x, const struct tally *t,
                              const char *version)
{
    if (x->uri_at != x->method + strlen(x->method) + 1)
        return false;
    if (version != x->uri_at + strlen(x->uri) + 1)
        return false;
    return !t->has_gap && t->next + 2 == x->method + head_size(x);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* The URI as it came: escapes whole, and nothing in it or behind an escape that cannot be shown. */
static const char *uri_problem(const char *uri)
{
    auto_free char *decoded = xmalloc(strlen(uri) + 1);
    size_t n = 0;

    if (*uri != '/')
        return "the request target must begin with '/'";
    for (const char *c = uri; *c; c++) {
        int hi, lo;

        decoded[n++] = *c;
        if (*c != '%')
            continue;
        hi = hex_value(c[1]);
        lo = hi < 0 ? -1 : hex_value(c[2]);
        if (lo < 0)
            return "a percent escape in the request target is not whole";
        decoded[n - 1] = (char)(hi << 4 | lo);
        c += 2;
    }
    if (has_control(decoded, n, false) || strchr(uri, ' '))
        return "a control character or space in the request target";
    if (utf8_valid_prefix(decoded, n) != n)
        return "the request target is not UTF-8";
    return NULL;
}

static const char *framing_problem(const struct tally *t, const char *version)
{
    if (t->lengths > 1)
        return "more than one Content-Length";
    if (t->encodings > 1)
        return "more than one Transfer-Encoding";
    if (t->encodings && t->lengths)
        return "both Content-Length and Transfer-Encoding";
    if (t->encodings && !str_eq_nocase(t->encoding, "chunked"))
        return "Transfer-Encoding is not 'chunked'";
    if (t->encodings && strcmp(version, "HTTP/1.0") == 0)
        return "Transfer-Encoding in an HTTP/1.0 request";
    if (t->hosts > 1)
        return "more than one Host";
    if (t->hosts == 0 && strcmp(version, "HTTP/1.0") != 0)
        return "Host is missing";
    if (t->origins > 1)
        return "more than one Origin";
    if (t->has_bad_name)
        return "the name of a header line is not a token";
    return t->has_bad_value ? "a control character in a header line" : NULL;
}

static void read_length(struct http_exchange *x, const struct tally *t)
{
    int64_t length = 0;

    if (t->encodings) {
        x->intake.is_due = true;
        x->intake.announced = UINT64_MAX;
        x->is_last = true;
    } else if (t->lengths && (!str_to_i64(t->length, 0, INT64_MAX, &length) || length > 0)) {
        x->intake.is_due = true;
        x->intake.announced = (uint64_t)length;
    }
}

void http_guard_check(struct http_exchange *x, const char *version)
{
    struct tally t = {.next = version + strlen(version) + 2};
    const char *problem;

    (void)MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, look, &t);
    read_length(x, &t);
    problem = framing_problem(&t, version);
    if (!problem && str_starts(MHD_get_version(), "0.") && !lies_without_gaps(x, &t, version))
        problem = "a NUL, a bare LF or a folded line in the head";
    if (!problem)
        problem = uri_problem(x->uri);
    if (problem) {
        http_refuse(x, HTTP_BAD_REQUEST, 400, "%s", problem);
        x->refusal.must_close = true;
    } else if (head_size(x) + (size_t)t.headers * HEADER_COST > HTTP_POOL - HEAD_ROOM) {
        /* The rest of the pool must hold the head of the reply. */
        http_refuse(x, HTTP_BAD_REQUEST, 431, "the request's head is too large");
        x->refusal.must_close = true;
    }
}
