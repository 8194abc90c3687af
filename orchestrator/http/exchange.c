#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/steps.h"

struct http_exchange *http_exchange_new(struct http_connection *c, struct MHD_Connection *mhd,
                                        const char *uri)
{
    struct http_exchange *x = xcalloc(1, sizeof(*x));

    x->connection = c;
    x->mhd = mhd;
    x->uri_at = uri;
    x->uri = xstrdup(uri ? uri : "");
    x->arrived_ms = clock_ms();
    x->api = c->listener->apis[0];
    x->method = "";
    x->path = "";
    return x;
}

void http_exchange_free(struct http_exchange *x)
{
    while (x->callbacks_n) {
        x->callbacks_n--;
        x->callbacks[x->callbacks_n].fn(x->callbacks[x->callbacks_n].ctx);
    }
    http_answer_done(x);
    http_intake_done(x);
    for (size_t i = 0; i < x->matches_n; i++)
        free(x->matches[i]);
    free(x->uri);
    free(x);
}

void http_refuse(struct http_exchange *x, enum http_fault fault, int status, const char *fmt, ...)
{
    va_list ap;

    if (x->refusal.status)
        return;
    x->refusal.fault = fault;
    x->refusal.status = status;
    va_start(ap, fmt);
    (void)vsnprintf(x->refusal.text, sizeof(x->refusal.text), fmt, ap);
    va_end(ap);
}

static void check_route(struct http_exchange *x)
{
    struct buf methods;

    if (x->route || x->refusal.status)
        return;
    buf_init(&methods, 256);
    http_route_methods(x, &methods);
    if (methods.len == 0) {
        http_refuse(x, HTTP_NOT_FOUND, 404, "there is nothing at this path");
    } else if (strcmp(x->method, "OPTIONS") == 0 && x->origin &&
               http_header(x, "Access-Control-Request-Method")) {
        x->is_preflight = true;
    } else {
        http_set_header(x, "Allow", buf_get(&methods));
        http_refuse(x, HTTP_METHOD, 405, "this path takes %s", buf_get(&methods));
    }
    buf_done(&methods);
}

static void check_client(struct http_exchange *x)
{
    if (x->refusal.status || !x->route || !x->route->admit)
        return;
    if (!x->route->admit(x, x->connection->listener->app))
        http_refuse(x, HTTP_UNAUTHORIZED, 401, "not authenticated");
}

void http_exchange_begin(struct http_exchange *x, const char *path, const char *method,
                         const char *version)
{
    x->is_begun = true;
    x->path = path;
    x->method = method;
    http_route_find(x);
    http_guard_check(x, version);
    if (!x->refusal.status)
        http_origin_check(x);
    if (x->connection->is_over && !x->refusal.status) {
        http_refuse(x, HTTP_UNAVAILABLE, 503, "too many connections");
        x->refusal.must_close = true;
    }
    check_route(x);
    check_client(x);
    if (!x->refusal.status && x->route)
        http_intake_begin(x);
}

static void answer_plainly(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, ERR_MSG_MAX + 2);
    (void)buf_fmt(&b, "%s\n", text);
    http_reply(x, status, "text/plain; charset=utf-8", &b);
}

static void call_fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    if (fault == HTTP_UNAVAILABLE)
        http_set_header(x, "Retry-After", "1");
    x->api->fail(x, fault, status, text);
    if (!x->answer.is_set)
        answer_plainly(x, status, text);
}

void http_exchange_run(struct http_exchange *x)
{
    struct buf empty;

    if (x->refusal.status) {
        call_fail(x, x->refusal.fault, x->refusal.status, x->refusal.text);
    } else if (x->is_preflight) {
        buf_init(&empty, 0);
        http_reply(x, 204, NULL, &empty);
    } else {
        x->route->handle(x, x->connection->listener->app);
    }
    if (x->answer.is_set)
        return;
    log_error("http: %s %s: the handler gave no reply", x->method, x->path);
    call_fail(x, HTTP_INTERNAL, 500, "internal error");
}

void http_fail(struct http_exchange *x, enum http_fault fault, int status, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    call_fail(x, fault, status, text);
}

void http_on_complete(struct http_exchange *x, void (*fn)(void *ctx), void *ctx)
{
    if (x->callbacks_n == HTTP_CALLBACKS) {
        log_error("http: more than %d callbacks for one exchange", HTTP_CALLBACKS);
        abort();
    }
    x->callbacks[x->callbacks_n].fn = fn;
    x->callbacks[x->callbacks_n].ctx = ctx;
    x->callbacks_n++;
}

const char *http_method(const struct http_exchange *x)
{
    return x->method;
}

const char *http_path(const struct http_exchange *x)
{
    return x->path;
}

const char *http_match(const struct http_exchange *x, size_t i)
{
    return i < x->matches_n ? x->matches[i] : "";
}

const char *http_tail(const struct http_exchange *x)
{
    return x->matches_n ? x->matches[x->matches_n - 1] : "";
}

const char *http_query(const struct http_exchange *x, const char *key)
{
    return MHD_lookup_connection_value(x->mhd, MHD_GET_ARGUMENT_KIND, key);
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);
}

const char *http_body(const struct http_exchange *x, size_t *ret_n)
{
    if (ret_n)
        *ret_n = x->intake.raw.len;
    return buf_get(&x->intake.raw);
}

const cJSON *http_json(const struct http_exchange *x)
{
    return x->intake.json;
}

struct spool *http_blob(const struct http_exchange *x, const cJSON *placeholder)
{
    double i = cJSON_IsNumber(placeholder) ? cJSON_GetNumberValue(placeholder) : -1;

    if (!x->intake.sieve || !(i >= 0 && i < 1e9) || i != (double)(size_t)i)
        return NULL;
    return json_sieve_blob(x->intake.sieve, (size_t)i);
}

const char *http_client(const struct http_exchange *x)
{
    return x->connection->client;
}

int64_t http_arrived_ms(const struct http_exchange *x)
{
    return x->arrived_ms;
}

bool http_client_is_gone(const struct http_exchange *x)
{
    struct pollfd p = {.fd = x->connection->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0;
}

int http_client_fd(const struct http_exchange *x)
{
    return x->connection->fd;
}
