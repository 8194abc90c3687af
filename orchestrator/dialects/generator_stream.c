/*
 * A generation as server-sent events: generating, code, running, stdout, stderr, retry as they
 * happen, then result (the object of the plain reply) or error (the error shape and its status).
 *
 * The loop runs in a thread of its own and queues its events; the connection's thread sends them. A
 * client that reads slowly makes the loop wait, within the loop's own deadline; past it what finds no
 * room is dropped: the result has all output.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "dialects/generator.h"
#include "dialects/generator_reply.h"

enum {
    QUEUE_MAX = 256 * 1024,         /* bytes of events that wait */
    EVENTS_MAX = 192 * 1024 * 1024, /* a single program's output may be larger than the queue */
    PIECE_MAX = 64 * 1024,
    STACK = 512 * 1024,
};

struct stream {
    struct generator *generator;
    struct generate_request request;
    struct generation generation;
    struct stop stop;
    pthread_t thread;
    bool has_thread;
    struct http_parts *parts; /* the last event; of the connection's thread */
    bool is_told;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more, room;
    struct buf events;
    bool is_over;      /* the loop is */
    bool is_abandoned; /* nobody will read more */
};

/* ---- the loop's thread ---- */

static void put_progress(struct buf *b, const struct generate_event *ev)
{
    const struct model_progress *p = ev->progress;

    (void)buf_fmt(b, "event: generating\ndata: {\"attempt\":%d,\"try\":%d", ev->attempt, p->tries);
    if (p->wait_s)
        (void)buf_fmt(b, ",\"wait\":%d", p->wait_s);
    (void)buf_fmt(b, ",\"thinking\":%zu,\"text\":%zu}\n\n", p->thinking_bytes, p->text_bytes);
}

static void put_text(struct buf *b, const char *name, const char *key,
                     const struct generate_event *ev)
{
    (void)buf_fmt(b, "event: %s\ndata: {\"attempt\":%d,\"%s\":", name, ev->attempt, key);
    json_put_str(b, ev->text, ev->n);
    (void)buf_str(b, "}\n\n");
}

static void put_event(struct buf *b, const struct generate_event *ev)
{
    switch (ev->kind) {
    case GENERATE_ASKING:
        put_progress(b, ev);
        return;
    case GENERATE_CODE:
        put_text(b, "code", "code", ev);
        return;
    case GENERATE_RUNNING:
        (void)buf_fmt(b, "event: running\ndata: {\"attempt\":%d}\n\n", ev->attempt);
        return;
    case GENERATE_STDOUT:
        put_text(b, "stdout", "text", ev);
        return;
    case GENERATE_STDERR:
        put_text(b, "stderr", "text", ev);
        return;
    case GENERATE_RETRY:
        put_text(b, "retry", "error", ev);
        return;
    }
}

/* Under the lock. False: nobody will read it, or not in time. */
static bool wait_for_room(struct stream *s, int64_t deadline_ms)
{
    const struct timespec until = {.tv_sec = deadline_ms / 1000,
                                   .tv_nsec = deadline_ms % 1000 * 1000000};
    int rc = 0;

    while (s->events.len >= QUEUE_MAX && !s->is_abandoned && rc == 0)
        rc = pthread_cond_timedwait(&s->room, &s->lock, &until);
    return s->events.len < QUEUE_MAX && !s->is_abandoned;
}

static void on_event(void *ctx, const struct generate_event *ev)
{
    struct stream *s = ctx;

    (void)pthread_mutex_lock(&s->lock);
    if (wait_for_room(s, ev->deadline_ms)) {
        put_event(&s->events, ev);
        (void)pthread_cond_signal(&s->more);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void *run_loop(void *arg)
{
    struct stream *s = arg;

    generate(s->generator, &s->request, &s->generation);
    (void)pthread_mutex_lock(&s->lock);
    s->is_over = true;
    (void)pthread_cond_signal(&s->more);
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the connection's thread ---- */

static void open_last(struct stream *s)
{
    const struct generation *g = &s->generation;
    struct buf *text;

    s->is_told = true;
    s->parts = http_parts_new();
    text = http_parts_text(s->parts);
    if (g->end == GENERATE_OK || g->end == GENERATE_FAILED) {
        (void)buf_str(text, "event: result\ndata: ");
        generator_put_result(s->parts, g);
    } else {
        (void)buf_fmt(text, "event: error\ndata: {\"status\":%d,", g->status);
        if (g->retry_after_s)
            (void)buf_fmt(text, "\"retry_after\":%d,", g->retry_after_s);
        (void)buf_str(text, "\"body\":");
        generator_put_error(text, g->error);
        (void)buf_char(text, '}');
    }
    (void)buf_str(http_parts_text(s->parts), "\n\n");
}

/* Waits for events and takes them. False: the loop is over and all are taken. */
static bool take_events(struct stream *s, struct buf *out)
{
    bool is_over;
    size_t n;

    (void)pthread_mutex_lock(&s->lock);
    while (!s->events.len && !s->is_over)
        (void)pthread_cond_wait(&s->more, &s->lock);
    is_over = !s->events.len;
    n = s->events.len < PIECE_MAX ? s->events.len : PIECE_MAX;
    (void)buf_add(out, buf_get(&s->events), n);
    buf_drop(&s->events, n);
    (void)pthread_cond_signal(&s->room);
    (void)pthread_mutex_unlock(&s->lock);
    return !is_over;
}

static bool pull(void *ctx, struct buf *out)
{
    struct stream *s = ctx;

    if (!s->parts && take_events(s, out))
        return true;
    if (!s->parts && !s->is_told)
        open_last(s);
    return s->parts && http_parts_pull(s->parts, out);
}

/* The loop must be over before the client's descriptor is closed: it looks at it. */
static void forget(void *ctx)
{
    struct stream *s = ctx;

    (void)pthread_mutex_lock(&s->lock);
    s->is_abandoned = true;
    (void)pthread_cond_signal(&s->room);
    (void)pthread_mutex_unlock(&s->lock);
    stop_ask(&s->stop);
    if (s->has_thread)
        (void)pthread_join(s->thread, NULL);
    http_parts_free(s->parts);
    generation_done(&s->generation);
    buf_done(&s->events);
    stop_done(&s->stop);
    (void)pthread_cond_destroy(&s->more);
    (void)pthread_cond_destroy(&s->room);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct stream *stream_new(struct http_exchange *x, struct generator *g, const char *prompt)
{
    struct stream *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t attr;

    s->generator = g;
    s->generation.result.out.fd = s->generation.result.err_out.fd = -1;
    s->request = (struct generate_request){
        .prompt = prompt,
        .dialect = generator_api.name,
        .client = http_client(x),
        .traceparent = http_header(x, "traceparent"),
        .stop = &s->stop,
        .on_event = on_event,
        .ctx = s,
    };
    stop_init(&s->stop, http_client_fd(x));
    buf_init(&s->events, EVENTS_MAX);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->more, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->room, &attr);
    (void)pthread_condattr_destroy(&attr);
    http_on_complete(x, forget, s);
    return s;
}

void generator_stream(struct http_exchange *x, struct generator *g, const char *prompt)
{
    struct stream *s = stream_new(x, g, prompt);
    pthread_attr_t attr;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK);
    s->has_thread = pthread_create(&s->thread, &attr, run_loop, s) == 0;
    (void)pthread_attr_destroy(&attr);
    if (!s->has_thread) {
        http_fail(x, HTTP_UNAVAILABLE, 503, "No thread can be had now");
        return;
    }
    http_set_header(x, "Cache-Control", "no-store");
    http_reply_stream(x, 200, "text/event-stream", pull, s);
}
