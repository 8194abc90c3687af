#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/steps.h"

enum {
    VALUE_MAX = 1024,
    HEADERS_MAX = 3 * 1024,   /* of all: they must fit into the pool beside the request's */
    AT_ONCE_MAX = 256 * 1024, /* replies up to this size are sent from one buffer */
    PULL_MAX = 16 * 1024 * 1024,
    DUE_MS = 5 * 60 * 1000,
};

/* ---- what handlers say ---- */

static struct http_header_line *line_for(struct http_answer *a, const char *name)
{
    size_t total = strlen(name);

    for (size_t i = 0; i < a->headers_n; i++) {
        if (str_eq_nocase(a->headers[i].name, name))
            return &a->headers[i];
        total += strlen(a->headers[i].name) + strlen(a->headers[i].value);
    }
    if (a->headers_n == HTTP_HEADERS || total > HEADERS_MAX - VALUE_MAX)
        return NULL;
    a->headers[a->headers_n] = (struct http_header_line){.name = xstrdup(name)};
    return &a->headers[a->headers_n++];
}

void http_set_header(struct http_exchange *x, const char *name, const char *value)
{
    struct http_header_line *line = line_for(&x->answer, name);

    if (!line) {
        log_warning("http: no room for the header line %s", name);
        return;
    }
    free(line->value);
    line->value = xstrndup(value, VALUE_MAX);
    for (char *c = line->value; *c; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7F)
            *c = '?';
    }
}

static struct buf move_buf(struct buf *from)
{
    struct buf to = *from;

    *from = (struct buf){.max = from->max};
    return to;
}

static bool is_first(struct http_exchange *x, int status, const char *type)
{
    struct http_answer *a = &x->answer;

    if (a->is_set) {
        log_error("http: %s %s: a second reply was dropped", x->method, x->path);
        return false;
    }
    a->is_set = true;
    a->status = status;
    a->type = xstrdup(type);
    return true;
}

/* What lost bytes must not look like an answer. */
static void reply_overgrown(struct http_exchange *x)
{
    log_error("http: %s %s: the reply outgrew its buffer", x->method, x->path);
    (void)is_first(x, 500, NULL);
}

void http_reply(struct http_exchange *x, int status, const char *type, struct buf *body)
{
    if (body->is_full)
        reply_overgrown(x);
    else if (is_first(x, status, type))
        x->answer.body = move_buf(body);
    buf_done(body);
}

void http_reply_parts(struct http_exchange *x, int status, const char *type, struct http_parts *p)
{
    if (http_parts_is_full(p))
        reply_overgrown(x);
    else if (is_first(x, status, type))
        x->answer.parts = p;
    if (x->answer.parts != p)
        http_parts_free(p);
}

void http_reply_stream(struct http_exchange *x, int status, const char *type,
                       bool (*pull)(void *ctx, struct buf *out), void *ctx)
{
    if (!is_first(x, status, type))
        return;
    x->answer.pull = pull;
    x->answer.pull_ctx = ctx;
    buf_init(&x->answer.pulled, PULL_MAX);
}

void http_answer_done(struct http_exchange *x)
{
    struct http_answer *a = &x->answer;

    free(a->type);
    a->type = NULL;
    buf_done(&a->body);
    buf_done(&a->pulled);
    http_parts_free(a->parts);
    a->parts = NULL;
    for (size_t i = 0; i < a->headers_n; i++) {
        free(a->headers[i].name);
        free(a->headers[i].value);
    }
    a->headers_n = 0;
}

/* ---- giving it to libmicrohttpd ---- */

static void add_own_headers(struct http_exchange *x)
{
    if (x->api->headers)
        x->api->headers(x);
    http_origin_headers(x);
    http_set_header(x, "X-Content-Type-Options", "nosniff");
}

static void move_deadline(struct http_exchange *x)
{
    int64_t at = clock_ms() + x->connection->listener->server->limits.stall_ms;

    http_watch_until(x->connection, at < x->answer.due_ms ? at : x->answer.due_ms);
}

static ssize_t read_stream(struct http_exchange *x, char *out, size_t n)
{
    struct http_answer *a = &x->answer;

    while (a->pulled_at == a->pulled.len && !a->is_pulled_out) {
        buf_clear(&a->pulled);
        a->pulled_at = 0;
        http_watch_until(x->connection, INT64_MAX);
        a->is_pulled_out = !a->pull(a->pull_ctx, &a->pulled);
        if (a->pulled.is_full)
            return -1;
    }
    if (n > a->pulled.len - a->pulled_at)
        n = a->pulled.len - a->pulled_at;
    if (n)
        memcpy(out, a->pulled.data + a->pulled_at, n);
    a->pulled_at += n;
    return (ssize_t)n;
}

static ssize_t read_answer(void *ctx, uint64_t pos, char *out, size_t max)
{
    struct http_exchange *x = ctx;
    ssize_t n =
        x->answer.pull ? read_stream(x, out, max) : http_parts_read(x->answer.parts, out, max);

    (void)pos;
    move_deadline(x);
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return n ? n : MHD_CONTENT_READER_END_OF_STREAM;
}

/* Small parts in one buffer: head and body leave in one packet. */
static int flatten(struct http_answer *a, size_t n)
{
    char *room;

    buf_init(&a->body, AT_ONCE_MAX);
    room = buf_room(&a->body, n);
    if (!room || http_parts_read(a->parts, room, n) != (ssize_t)n)
        return -1;
    buf_commit(&a->body, n);
    http_parts_free(a->parts);
    a->parts = NULL;
    return 0;
}

/* A long body is read like parts are, so that its progress is seen. */
static void as_parts(struct http_answer *a)
{
    a->parts = http_parts_new();
    *http_parts_text(a->parts) = move_buf(&a->body);
}

static struct MHD_Response *response_by_piece(struct http_exchange *x, int64_t length)
{
    struct MHD_Response *r = MHD_create_response_from_callback(
        length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length, HTTP_BLOCK, read_answer, x, NULL);

    /* libmicrohttpd 0.9 ends a chunked reply to HEAD with a last chunk: such a one must close. */
    if (r && length < 0 && strcmp(x->method, "HEAD") == 0)
        (void)MHD_set_response_options(r, MHD_RF_HTTP_VERSION_1_0_ONLY, MHD_RO_END);
    return r;
}

static struct MHD_Response *make_response(struct http_exchange *x)
{
    struct http_answer *a = &x->answer;
    uint64_t about = 0;
    int64_t length = -1;
    size_t n;

    if (!a->parts && !a->pull && a->body.len > AT_ONCE_MAX)
        as_parts(a);
    if (a->parts)
        length = http_parts_length(a->parts, &about);
    if (a->parts && length >= 0 && length <= AT_ONCE_MAX && flatten(a, (size_t)length) < 0)
        return NULL;
    a->due_ms = a->pull ? INT64_MAX : clock_ms() + DUE_MS + (int64_t)(about / HTTP_BLOCK * 1000);
    if (a->parts || a->pull)
        return response_by_piece(x, length);
    n = a->body.len;
    if (n == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    return MHD_create_response_from_buffer(n, buf_take(&a->body), MHD_RESPMEM_MUST_FREE);
}

static void add_line(struct MHD_Response *r, const char *name, const char *value)
{
    if (MHD_add_response_header(r, name, value) != MHD_YES)
        log_warning("http: the header line %s is not one", name);
}

static void add_lines(const struct http_exchange *x, struct MHD_Response *r)
{
    const struct http_answer *a = &x->answer;

    for (size_t i = 0; i < a->headers_n; i++)
        add_line(r, a->headers[i].name, a->headers[i].value);
    if (a->type)
        add_line(r, "Content-Type", a->type);
    if (x->is_last || x->refusal.must_close ||
        atomic_load(&x->connection->listener->server->is_quiet))
        add_line(r, "Connection", "close");
}

int http_answer_send(struct http_exchange *x)
{
    struct MHD_Response *r;
    int failed;

    add_own_headers(x);
    r = make_response(x);
    if (!r) {
        log_error("http: %s %s: the reply could not be made", x->method, x->path);
        return -1;
    }
    add_lines(x, r);
    move_deadline(x);
    failed = MHD_queue_response(x->mhd, (unsigned)x->answer.status, r) != MHD_YES;
    MHD_destroy_response(r);
    return failed ? -1 : 0;
}

/* ---- writing it by hand ---- */

void http_answer_write(struct http_exchange *x)
{
    struct http_answer *a = &x->answer;
    struct buf out;

    add_own_headers(x);
    buf_init(&out, AT_ONCE_MAX);
    (void)buf_fmt(&out, "HTTP/1.1 %d %s\r\n", a->status,
                  MHD_get_reason_phrase_for((unsigned)a->status));
    for (size_t i = 0; i < a->headers_n; i++)
        (void)buf_fmt(&out, "%s: %s\r\n", a->headers[i].name, a->headers[i].value);
    if (a->type)
        (void)buf_fmt(&out, "Content-Type: %s\r\n", a->type);
    (void)buf_fmt(&out, "Content-Length: %zu\r\nConnection: close\r\n\r\n", a->body.len);
    if (strcmp(x->method, "HEAD") != 0)
        (void)buf_add(&out, buf_get(&a->body), a->body.len);
    /* Few KiB on a socket that nothing was sent on: one call takes them, or the client is gone. */
    (void)send(x->connection->fd, buf_get(&out), out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_done(&out);
}
