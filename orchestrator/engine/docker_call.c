#include "engine/docker.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/docker_attach.h"
#include "engine/docker_json.h"

void docker_count(struct engine *e, enum engine_call call)
{
    atomic_fetch_add_explicit(&e->calls[call], 1, memory_order_relaxed);
}

int docker_counted(struct engine *e, enum engine_call call, int rc)
{
    if (rc < 0)
        atomic_fetch_add_explicit(&e->errors[call], 1, memory_order_relaxed);
    return rc;
}

void docker_forget(struct engine *e)
{
    atomic_store(&e->cgroup, -1);
    atomic_store(&e->api, 0);
}

/* ---- what a refusal means ---- */

static bool has(const char *text, const char *words)
{
    return strcasestr(text, words) != NULL;
}

static enum err_kind kind_of(enum engine_call call, long status, const char *text)
{
    /* Podman says 500 where Docker says 409. */
    bool is_conflict = status == 409 || (status == 500 && has(text, "already in use"));
    bool is_ours = status >= 400 && status < 500;

    if (status == 503 || status == 429)
        return ERR_BUSY;
    switch (call) {
    case ENGINE_CREATE:
        /* The image is the only thing that a create may miss and that a later one may find. */
        if (status == 404 && has(text, "image"))
            return ERR_NOTFOUND;
        if (is_conflict)
            return ERR_BUSY;
        return is_ours ? ERR_INVALID : ERR_PEER;
    case ENGINE_ATTACH:
    case ENGINE_START:
        return is_ours ? ERR_INVALID : ERR_PEER;
    case ENGINE_KILL:
    case ENGINE_REMOVE:
        /* A container is hard to remove only for a while: a mount is busy, a shim is slow. */
        return status == 409 || status >= 500 ? ERR_BUSY : ERR_PEER;
    case ENGINE_PING:
    case ENGINE_IMAGE:
    case ENGINE_UPDATE:
    case ENGINE_INSPECT:
    case ENGINE_WAIT:
    case ENGINE_LIST:
    case ENGINE_USAGE:
    case ENGINE_EVENTS:
    case ENGINE_CALLS:
        break;
    }
    return status == 404 ? ERR_NOTFOUND : ERR_PEER;
}

int docker_refused(enum engine_call call, const struct docker_http_reply *r, struct err *err)
{
    char text[DOCKER_TEXT_MAX];

    docker_json_text(buf_get(&r->body), r->body.len, text);
    return err_set(err, kind_of(call, r->status, text), "%s: %s (status %ld)",
                   engine_call_name(call), *text ? text : "no words", r->status);
}

/* ---- version ---- */

static bool read_api(const char *text, unsigned *ret)
{
    int64_t minor;

    if (!str_starts(text, "1.") || !str_to_i64(text + 2, 1, 999, &minor))
        return false;
    *ret = (unsigned)minor;
    return true;
}

/* `is_too_old`: the engine no longer speaks ours, so follow it beyond what we know. */
static int settle(struct engine *e, const char *theirs, bool is_too_old, unsigned *ret_api,
                  struct err *err)
{
    unsigned api, before = atomic_load(&e->api);

    if (!read_api(theirs, &api))
        return err_set(err, ERR_PEER, "ping: Api-Version '%.15s' is not one that we know", theirs);
    if (api > DOCKER_API_MAX && !is_too_old)
        api = DOCKER_API_MAX;
    if (api < DOCKER_API_MIN && api != before)
        log_warning("the engine's API 1.%u is older than 1.%d: it may refuse what we ask for", api,
                    DOCKER_API_MIN);
    if (api > DOCKER_API_MAX && api != before)
        log_warning("the engine's API 1.%u is newer than 1.%d, and it refuses older ones", api,
                    DOCKER_API_MAX);
    if (api != before)
        atomic_store(&e->cgroup, -1);
    atomic_store(&e->api, api);
    *ret_api = api;
    return 0;
}

static int ask_version(struct engine *e, int64_t deadline_ms, bool is_too_old, unsigned *ret_api,
                       struct err *err)
{
    int64_t limit = clock_ms() + e->limit_ms[ENGINE_PING];
    struct docker_http_request q = {.method = "GET", .path = "/_ping"};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    q.deadline_ms = limit < deadline_ms ? limit : deadline_ms;
    if (docker_http_do(&e->http, &q, &r, err) < 0)
        return err_wrap(err, "ping");
    if (r.status != 200)
        return docker_refused(ENGINE_PING, &r, err);
    return settle(e, r.api_version, is_too_old, ret_api, err);
}

/* What other threads learn or forget meanwhile does not change the version of this call. */
static int negotiate(struct engine *e, int64_t deadline_ms, bool is_too_old, unsigned *ret_api,
                     struct err *err)
{
    if (ask_version(e, deadline_ms, is_too_old, ret_api, err) == 0)
        return 0;
    docker_forget(e);
    return -1;
}

int docker_negotiate(struct engine *e, struct err *err)
{
    unsigned api;

    docker_count(e, ENGINE_PING);
    return docker_counted(e, ENGINE_PING, negotiate(e, INT64_MAX, false, &api, err));
}

static int get_api(struct engine *e, int64_t deadline_ms, unsigned *ret_api, struct err *err)
{
    *ret_api = atomic_load(&e->api);
    return *ret_api ? 0 : negotiate(e, deadline_ms, false, ret_api, err);
}

static int put_path(unsigned api, const char *path, char *out, struct err *err)
{
    int n = snprintf(out, DOCKER_HTTP_PATH_MAX, "/v1.%u%s", api, path);

    if (n < 0 || n >= DOCKER_HTTP_PATH_MAX)
        return err_set(err, ERR_INVALID, "path of the call is too long");
    return 0;
}

int docker_path(struct engine *e, const char *path, int64_t deadline_ms, char *out, struct err *err)
{
    unsigned api;

    if (get_api(e, deadline_ms, &api, err) < 0)
        return -1;
    return put_path(api, path, out, err);
}

/* ---- calls ---- */

/* One call under way: the version and the deadline that hold for it. */
struct attempt {
    unsigned api;
    int64_t deadline_ms;
};

static int exchange(struct engine *e, const struct docker_request *q, const struct attempt *a,
                    struct docker_http_reply *ret, struct err *err)
{
    char path[DOCKER_HTTP_PATH_MAX];
    struct docker_http_request h = {
        .method = q->method, .path = path, .deadline_ms = a->deadline_ms};

    if (put_path(a->api, q->path, path, err) < 0)
        return -1;
    if (q->body) {
        h.body = buf_get(q->body);
        h.body_len = q->body->len;
    }
    if (docker_http_do(&e->http, &h, ret, err) == 0)
        return 0;
    if (ret->is_lost)
        docker_forget(e);
    return err_wrap(err, "%s", engine_call_name(q->call));
}

/* -1 the engine says that our version is too old, 1 too new, 0 neither. */
static int version_fault(const struct docker_http_reply *r)
{
    char text[DOCKER_TEXT_MAX];

    if (r->status != 400)
        return 0;
    docker_json_text(buf_get(&r->body), r->body.len, text);
    if (!has(text, "client version"))
        return 0;
    return has(text, "too old") ? -1 : has(text, "too new");
}

static int call(struct engine *e, const struct docker_request *q, struct docker_http_reply *ret,
                struct err *err)
{
    int64_t limit = q->limit_ms ? q->limit_ms : e->limit_ms[q->call];
    struct attempt a = {.deadline_ms = clock_ms() + limit};
    int fault;

    if (get_api(e, a.deadline_ms, &a.api, err) < 0 || exchange(e, q, &a, ret, err) < 0)
        return -1;
    fault = version_fault(ret);
    if (fault) {
        buf_clear(&ret->body);
        if (negotiate(e, a.deadline_ms, fault < 0, &a.api, err) < 0 ||
            exchange(e, q, &a, ret, err) < 0)
            return -1;
    }
    if ((ret->status >= 200 && ret->status < 300) || ret->status == q->also_ok)
        return 0;
    return docker_refused(q->call, ret, err);
}

int docker_call(struct engine *e, const struct docker_request *q, struct docker_http_reply *ret,
                struct err *err)
{
    docker_count(e, q->call);
    return docker_counted(e, q->call, call(e, q, ret, err));
}

static int attach(struct engine *e, const char *id, int *ret_fd, struct err *err)
{
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    char tail[192], path[DOCKER_HTTP_PATH_MAX];
    int64_t deadline = clock_ms() + e->limit_ms[ENGINE_ATTACH];

    docker_http_reply_init(&r);
    (void)snprintf(tail, sizeof(tail), "/containers/%s/attach?stream=1&stdin=1&stdout=1", id);
    if (docker_path(e, tail, deadline, path, err) < 0)
        return -1;
    if (docker_attach_open(e->http.socket, path, deadline, ret_fd, &r, err) < 0)
        return err_wrap(err, "attach");
    return *ret_fd < 0 ? docker_refused(ENGINE_ATTACH, &r, err) : 0;
}

int docker_call_attach(struct engine *e, const char *id, int *ret_fd, struct err *err)
{
    docker_count(e, ENGINE_ATTACH);
    return docker_counted(e, ENGINE_ATTACH, attach(e, id, ret_fd, err));
}

int docker_has_swappiness(struct engine *e, bool *ret, struct err *err)
{
    struct docker_request q = {.call = ENGINE_PING, .method = "GET", .path = "/info"};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    int version = atomic_load(&e->cgroup);

    docker_http_reply_init(&r);
    q.limit_ms = e->limit_ms[ENGINE_INSPECT];
    if (version < 0) {
        if (docker_call(e, &q, &r, err) < 0)
            return err_wrap(err, "info");
        if (docker_json_cgroup(buf_get(&r.body), r.body.len, &version, err) < 0)
            return -1;
        atomic_store(&e->cgroup, version);
    }
    *ret = version == 1;
    return 0;
}
