#include "engine/docker_events.h"

#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "engine/docker.h"
#include "engine/docker_json.h"

/* filters={"type":["container"],"event":["die","oom","destroy"],"label":["oneshot.instance"]} */
static const char path_tail[] = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C"
                                "%22event%22%3A%5B%22die%22%2C%22oom%22%2C%22destroy%22%5D%2C"
                                "%22label%22%3A%5B%22" LABEL_INSTANCE "%22%5D%7D";

struct watch {
    struct engine *engine;
    struct docker_events events;
};

void docker_events_init(struct docker_events *ev, engine_watcher *fn, void *ctx)
{
    *ev = (struct docker_events){.fn = fn, .ctx = ctx};
    buf_init(&ev->line, DOCKER_EVENT_MAX);
}

void docker_events_done(struct docker_events *ev)
{
    buf_done(&ev->line);
}

static bool take_line(struct docker_events *ev)
{
    bool go_on = true;

    if (!str_is_blank(buf_get(&ev->line), ev->line.len) &&
        docker_json_event(buf_get(&ev->line), ev->line.len, ev->fn, ev->ctx, &go_on, &ev->err) < 0)
        ev->is_broken = true;
    buf_clear(&ev->line);
    return go_on && !ev->is_broken;
}

bool docker_events_feed(struct docker_events *ev, const char *data, size_t n)
{
    while (n && !ev->is_broken) {
        const char *end = memchr(data, '\n', n);
        size_t take = end ? (size_t)(end - data) : n;

        if (buf_add(&ev->line, data, take) < 0) {
            ev->is_broken = true;
            (void)err_set(&ev->err, ERR_PEER, "events: a line is over %d bytes", DOCKER_EVENT_MAX);
            return false;
        }
        if (!end)
            return true;
        if (!take_line(ev))
            return false;
        data = end + 1;
        n -= take + 1;
    }
    return !ev->is_broken;
}

static bool on_data(void *ctx, const char *data, size_t n)
{
    struct watch *w = ctx;

    return docker_events_feed(&w->events, data, n);
}

static bool on_tick(void *ctx)
{
    const struct watch *w = ctx;

    return !atomic_load(&w->engine->is_unwatched);
}

static int watch(struct watch *w, struct err *err)
{
    struct engine *e = w->engine;
    char path[DOCKER_HTTP_PATH_MAX];
    struct docker_http_request q = {.method = "GET",
                                    .path = path,
                                    .on_data = on_data,
                                    .on_tick = on_tick,
                                    .ctx = w,
                                    .deadline_ms = clock_ms() + e->limit_ms[ENGINE_EVENTS]};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    if (docker_path(e, path_tail, q.deadline_ms, path, err) < 0)
        return -1;
    if (docker_http_do(&e->http, &q, &r, err) < 0)
        return err_wrap(err, "events");
    if (w->events.is_broken)
        return err_set(err, w->events.err.kind, "%s", w->events.err.msg);
    if (r.is_stopped)
        return 0;
    if (r.status != 200)
        return docker_refused(ENGINE_EVENTS, &r, err);
    return err_set(err, ERR_PEER, "events: the engine ended the stream");
}

int docker_watch(struct engine *e, engine_watcher *fn, void *ctx, struct err *err)
{
    struct watch w = {.engine = e};
    int rc;

    if (atomic_load(&e->is_unwatched))
        return 0;
    docker_count(e, ENGINE_EVENTS);
    docker_events_init(&w.events, fn, ctx);
    rc = docker_counted(e, ENGINE_EVENTS, watch(&w, err));
    docker_events_done(&w.events);
    /* It may come back as another one, and a version that no longer suits it shows here too. */
    if (rc < 0)
        docker_forget(e);
    return rc;
}
