#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"
#include "http/steps.h"

/*
 * A page from anywhere can make the browser of its visitor send requests to 127.0.0.1 or into a
 * company's network. Three things give it away: Origin names the page, Sec-Fetch-Site says that it
 * is a stranger, and a page that had its own name resolve to this address (DNS rebinding) sends
 * that name as Host. What none of the three is wrong with comes from a program or from a page of
 * this very service.
 */

enum { NAME_MAX_LEN = 255 };

struct authority {
    char name[NAME_MAX_LEN + 1]; /* lower or upper case, without brackets and trailing dot */
    bool is_bracketed;
    int port; /* -1: none given */
};

static bool read_port(const char *s, int *ret_port)
{
    int64_t port;

    if (!*s) {
        *ret_port = -1;
        return true;
    }
    if (*s != ':' || s[1 + strspn(s + 1, "0123456789")] || !str_to_i64(s + 1, 0, 65535, &port))
        return false;
    *ret_port = (int)port;
    return true;
}

/* "name", "name:port", "[v6]:port"; false when it is none of these. */
static bool read_authority(const char *s, struct authority *ret)
{
    size_t n;

    *ret = (struct authority){.is_bracketed = *s == '['};
    s += ret->is_bracketed;
    n = strcspn(s, ret->is_bracketed ? "]" : ":");
    if (n == 0 || n > NAME_MAX_LEN || (ret->is_bracketed && s[n] != ']'))
        return false;
    memcpy(ret->name, s, n);
    if (!ret->is_bracketed && n > 1 && ret->name[n - 1] == '.')
        ret->name[n - 1] = '\0';
    return read_port(s + n + ret->is_bracketed, &ret->port);
}

static bool is_listed(const char *const *list, const char *word)
{
    for (; list && *list; list++) {
        if (str_eq_nocase(*list, word))
            return true;
    }
    return false;
}

static bool is_address(const struct authority *a)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(a->is_bracketed ? AF_INET6 : AF_INET, a->name, address) == 1;
}

/* Whether a request that names this host may be meant for this service. */
static bool is_ours(const struct authority *host, const struct http_limits *l)
{
    if (is_address(host))
        return true;
    return !host->is_bracketed &&
           (str_eq_nocase(host->name, "localhost") || is_listed(l->hosts, host->name));
}

static int port_of(const struct authority *a, int usual)
{
    return a->port < 0 ? usual : a->port;
}

/* Whether an Origin is http or https at the host that the request itself names. */
static bool is_own(const char *origin, const struct authority *host)
{
    bool is_tls = strncasecmp(origin, "https://", 8) == 0;
    struct authority a;

    if (!is_tls && strncasecmp(origin, "http://", 7) != 0)
        return false;
    if (!read_authority(origin + (is_tls ? 8 : 7), &a))
        return false;
    return str_eq_nocase(a.name, host->name) && a.is_bracketed == host->is_bracketed &&
           port_of(&a, is_tls ? 443 : 80) == port_of(host, is_tls ? 443 : 80);
}

static void check_site(struct http_exchange *x)
{
    const char *site = http_header(x, "Sec-Fetch-Site");

    if (x->origin || !site)
        return;
    if (str_eq_nocase(site, "cross-site") || str_eq_nocase(site, "same-site"))
        http_refuse(x, HTTP_FORBIDDEN, 403, "a request from another site's page (Sec-Fetch-Site)");
}

void http_origin_check(struct http_exchange *x)
{
    const struct http_limits *l = &x->connection->listener->server->limits;
    const char *name = http_header(x, "Host"), *origin = http_header(x, "Origin");
    struct authority host = {.port = -1};

    if (name && !read_authority(name, &host)) {
        http_refuse(x, HTTP_BAD_REQUEST, 400, "Host is not a name or address with a port");
        x->refusal.must_close = true;
        return;
    }
    if (name && !is_ours(&host, l)) {
        http_refuse(x, HTTP_FORBIDDEN, 403, "unknown Host '%.100s'", host.name);
        return;
    }
    if (origin && is_listed(l->origins, origin))
        x->origin = origin;
    else if (origin && !is_own(origin, &host))
        http_refuse(x, HTTP_FORBIDDEN, 403, "foreign Origin '%.100s'", origin);
    check_site(x);
}

static void preflight_headers(struct http_exchange *x)
{
    const char *wanted = http_header(x, "Access-Control-Request-Headers");
    struct buf methods;

    buf_init(&methods, 256);
    http_route_methods(x, &methods);
    http_set_header(x, "Access-Control-Allow-Methods", buf_get(&methods));
    if (wanted)
        http_set_header(x, "Access-Control-Allow-Headers", wanted);
    http_set_header(x, "Access-Control-Max-Age", "600");
    if (http_header(x, "Access-Control-Request-Private-Network"))
        http_set_header(x, "Access-Control-Allow-Private-Network", "true");
    buf_done(&methods);
}

void http_origin_headers(struct http_exchange *x)
{
    if (x->connection->listener->server->limits.origins)
        http_set_header(x, "Vary", "Origin");
    if (!x->origin)
        return;
    http_set_header(x, "Access-Control-Allow-Origin", x->origin);
    if (x->is_preflight)
        preflight_headers(x);
    else
        http_set_header(x, "Access-Control-Expose-Headers",
                        "X-Run-Id, X-Container-Id, Server-Timing, Retry-After, X-Files-Omitted");
}
