#include <string.h>

#include "http/steps.h"

/*
 * The body as it arrives: raw into a buffer, or JSON through the sieve. A fault in it is kept for
 * the end, where an answer can be given on a connection that lives on; only a body that passes its
 * limit ends the connection at that byte (server.c).
 */

static void refuse_large(struct http_exchange *x)
{
    http_refuse(x, HTTP_TOO_LARGE, 413, "the body is larger than %zu bytes", x->intake.limit);
    x->refusal.must_close = true;
}

static void refuse_json(struct http_exchange *x, const struct err *e)
{
    if (e->kind == ERR_LIMIT)
        http_refuse(x, HTTP_TOO_LARGE, 413, "%s", e->msg);
    else if (e->kind == ERR_INVALID)
        http_refuse(x, HTTP_BAD_JSON, 400, "%s", e->msg);
    else if (e->kind == ERR_BUSY)
        http_refuse(x, HTTP_UNAVAILABLE, 503, "%s", e->msg);
    else
        http_refuse(x, HTTP_INTERNAL, 500, "%s", e->msg);
}

static void begin_json(struct http_exchange *x, const struct http_limits *l)
{
    const struct http_blob_field *blobs = x->route->blobs;
    struct http_intake *in = &x->intake;

    for (size_t i = 0; blobs && blobs[i].path && i < JSON_SIEVE_PATHS; i++)
        in->paths[i] = blobs[i].path;
    in->sift = (struct json_sieve_options){
        .paths = in->paths,
        .spool_dir = l->spool_dir,
        .text_max = l->body_max,
        .tokens_max = l->json_tokens,
        .blobs_max = l->blobs_max,
        .blob_max = l->body_files_max,
        .total_max = l->body_files_max,
    };
    in->sieve = json_sieve_new(&in->sift);
}

void http_intake_begin(struct http_exchange *x)
{
    const struct http_limits *l = &x->connection->listener->server->limits;
    struct http_intake *in = &x->intake;

    in->limit = x->route->blobs ? l->body_files_max : l->body_max;
    if (in->is_due && x->route->body == HTTP_BODY_NONE) {
        http_refuse(x, HTTP_BAD_REQUEST, 400, "a %s here takes no body", x->method);
        x->refusal.must_close = true;
    } else if (in->is_due && in->announced != UINT64_MAX && in->announced > in->limit) {
        refuse_large(x);
    } else if (x->route->body == HTTP_BODY_JSON) {
        begin_json(x, l);
    } else {
        buf_init(&in->raw, in->limit);
    }
}

/* The only body may always be as large as its own limits allow. */
static void hold(struct http_exchange *x)
{
    struct http_server *s = x->connection->listener->server;
    struct http_intake *in = &x->intake;
    size_t own = in->sieve ? json_sieve_held(in->sieve) : in->raw.len;
    size_t all = atomic_fetch_add(&s->held, own - in->held) + own - in->held;

    in->held = own;
    if (s->limits.memory && all > s->limits.memory && all > own)
        http_refuse(x, HTTP_UNAVAILABLE, 503, "too many large requests at the same time");
}

void http_intake_take(struct http_exchange *x, const char *data, size_t n)
{
    struct http_intake *in = &x->intake;
    struct err e = {0};

    if (x->refusal.status)
        return;
    in->got += n;
    if (in->got > in->limit)
        refuse_large(x);
    else if (in->sieve && json_sieve_feed(in->sieve, data, n, &e) < 0)
        refuse_json(x, &e);
    else if (!in->sieve && buf_add(&in->raw, data, n) < 0)
        http_refuse(x, HTTP_INTERNAL, 500, "no memory for the body");
    else
        hold(x);
    if (x->refusal.status)
        http_intake_done(x); /* nobody will look at it: give the memory back now */
}

void http_intake_end(struct http_exchange *x)
{
    struct http_intake *in = &x->intake;
    struct buf *text;
    struct err e = {0};

    if (x->refusal.status || !in->sieve)
        return;
    if (json_sieve_end(in->sieve, &e) < 0) {
        refuse_json(x, &e);
        return;
    }
    text = json_sieve_text(in->sieve);
    in->json = cJSON_ParseWithLengthOpts(buf_get(text), text->len + 1, NULL, true);
    buf_done(text);
    if (!in->json)
        http_refuse(x, HTTP_INTERNAL, 500, "no memory for the body");
}

void http_intake_done(struct http_exchange *x)
{
    struct http_intake *in = &x->intake;

    atomic_fetch_sub(&x->connection->listener->server->held, in->held);
    in->held = 0;
    buf_done(&in->raw);
    json_sieve_free(in->sieve);
    in->sieve = NULL;
    cJSON_Delete(in->json);
    in->json = NULL;
}
