#include "engine/docker.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/docker_body.h"
#include "engine/docker_json.h"

#define DEFAULT_SOCKET "/var/run/docker.sock"

/* Of whole calls, milliseconds. An engine that hangs holds nobody longer than this. */
static const int64_t limits_ms[ENGINE_CALLS] = {
    [ENGINE_PING] = 2000,    [ENGINE_IMAGE] = 5000,  [ENGINE_CREATE] = 10000,
    [ENGINE_ATTACH] = 5000,  [ENGINE_START] = 10000, [ENGINE_UPDATE] = 5000,
    [ENGINE_INSPECT] = 3000, [ENGINE_WAIT] = 10000,  [ENGINE_KILL] = 5000,
    [ENGINE_REMOVE] = 10000, [ENGINE_LIST] = 10000,  [ENGINE_USAGE] = 5000,
    [ENGINE_EVENTS] = 10000, /* until the head of the stream */
};

/* How long a container whose stream was shut may take to exit before it is killed. */
enum { EXIT_MS = 1000 };

/* A request about one container. `path` has one %s for the id. */
struct verb {
    enum engine_call call;
    const char *method, *path;
    int also_ok;
};

static int call_verb(struct engine *e, const struct verb *v, const char *id,
                     struct docker_http_reply *r, struct err *err)
{
    char path[256];
    struct docker_request q = {
        .call = v->call, .method = v->method, .path = path, .also_ok = v->also_ok};
    const char *mark = strstr(v->path, "%s");

    if (!docker_name_is_valid(id))
        return err_set(err, ERR_INVALID, "%s: container id '%.64s'", engine_call_name(v->call), id);
    (void)snprintf(path, sizeof(path), "%.*s%s%s", (int)(mark - v->path), v->path, id, mark + 2);
    return docker_call(e, &q, r, err);
}

static int ping(struct engine *e, struct err *err)
{
    return docker_negotiate(e, err);
}

static int image(struct engine *e, const char *reference, struct engine_image *ret, struct err *err)
{
    char path[640];
    struct docker_request q = {.call = ENGINE_IMAGE, .method = "GET", .path = path};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    if (!docker_image_is_valid(reference))
        return err_set(err, ERR_INVALID, "image reference '%.64s'", reference);
    (void)snprintf(path, sizeof(path), "/images/%s/json", reference);
    if (docker_call(e, &q, &r, err) < 0)
        return -1;
    return docker_json_image(buf_get(&r.body), r.body.len, ret, err);
}

static int remove_within(struct engine *e, const char *id, int64_t ms, struct err *err)
{
    char path[256];
    struct docker_request q = {.call = ENGINE_REMOVE,
                               .method = "DELETE",
                               .path = path,
                               .limit_ms = ms > 0 ? ms : 1,
                               .also_ok = 404};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    struct err cause = {0};

    docker_http_reply_init(&r);
    (void)snprintf(path, sizeof(path), "/containers/%s?force=1&v=1", id);
    if (docker_call(e, &q, &r, &cause) == 0)
        return 0;
    /* Somebody else's removal is under way; the next sweep sees whether it went well. */
    if (r.status == 409 && strcasestr(buf_get(&r.body), "in progress"))
        return 0;
    if (err)
        *err = cause;
    return -1;
}

static int wait_exit(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err)
{
    char path[256];
    struct docker_request q = {.call = ENGINE_WAIT, .method = "POST", .path = path};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    q.limit_ms = ms > 0 ? ms : 1;
    if (!docker_name_is_valid(id))
        return err_set(err, ERR_INVALID, "wait: container id '%.64s'", id);
    (void)snprintf(path, sizeof(path), "/containers/%s/wait?condition=not-running", id);
    if (docker_call(e, &q, &r, err) < 0)
        return -1;
    return docker_json_exit(buf_get(&r.body), r.body.len, ret_exit, err);
}

/*
 * PID 1 of ours exits by itself when its stream is shut. A kill that comes meanwhile makes an engine
 * 20.10 see two deaths (53 of 100 containers), and when the second one meets the removal, the answer
 * is 500 "directory not empty", or the container stays in the engine's list for ever (3 of 1000
 * each). Waiting for the exit first costs less than that kill. What does not exit in time is killed.
 */
static int destroy(struct engine *e, const char *id, struct err *err)
{
    int64_t began = clock_ms();
    struct err cause = {0};
    int code;

    if (!docker_name_is_valid(id))
        return err_set(err, ERR_INVALID, "remove: container id '%.64s'", id);
    if (wait_exit(e, id, e->exit_ms, &code, &cause) < 0 && cause.kind == ERR_NOTFOUND)
        return 0;
    return remove_within(e, id, e->limit_ms[ENGINE_REMOVE] - (clock_ms() - began), err);
}

/* ---- park ---- */

/* `name` or id of a container that must not stay; the first error counts, not this one's. */
static void undo(struct engine *e, const char *id)
{
    struct err err = {0};

    if (remove_within(e, id, e->limit_ms[ENGINE_REMOVE], &err) < 0)
        log_warning("container %s is left to the sweep: %s", id, err.msg);
}

static int judge(struct engine *e, const struct docker_warnings *w, const char *what,
                 struct err *err)
{
    uint32_t news = w->lacks & ~atomic_fetch_or(&e->lacks, w->lacks);

    for (uint32_t bit = 1; bit && bit <= news; bit <<= 1) {
        if (news & bit)
            log_warning("the engine does not enforce %s", engine_lack_text(bit));
    }
    if (w->denied[0])
        return err_set(err, ERR_DENIED, "%s: the engine warns: %s", what, w->denied);
    return 0;
}

/*
 * A create that timed out or was cut off may still happen: its id is unknown then, and the
 * engine may carry it out after any removal by name. The sweep finds it by its labels.
 */
static int create(struct engine *e, const struct engine_spec *spec, char ret_id[ENGINE_ID_MAX],
                  struct err *err)
{
    char path[256];
    struct docker_request q = {.call = ENGINE_CREATE, .method = "POST", .path = path};
    struct docker_warnings warnings;
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    CLEANUP(buf_done) struct buf body = {0};
    bool has_swappiness;

    docker_http_reply_init(&r);
    buf_init(&body, DOCKER_BODY_MAX);
    q.body = &body;
    if (docker_has_swappiness(e, &has_swappiness, err) < 0 ||
        docker_body_create(spec, has_swappiness, &body, err) < 0)
        return -1;
    (void)snprintf(path, sizeof(path), "/containers/create?name=%s", spec->name);
    if (docker_call(e, &q, &r, err) < 0)
        return -1;
    if (docker_json_created(buf_get(&r.body), r.body.len, ret_id, &warnings, err) < 0) {
        /* It was made, but its id cannot be read. */
        undo(e, spec->name);
        return -1;
    }
    if (judge(e, &warnings, "create", err) < 0) {
        undo(e, ret_id);
        return -1;
    }
    return 0;
}

static int start(struct engine *e, const char *id, struct err *err)
{
    static const struct verb v = {ENGINE_START, "POST", "/containers/%s/start", 304};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    return call_verb(e, &v, id, &r, err);
}

static int park(struct engine *e, const struct engine_spec *spec, char ret_id[ENGINE_ID_MAX],
                int *ret_fd, struct err *err)
{
    char id[ENGINE_ID_MAX];
    int fd = -1;

    if (create(e, spec, id, err) < 0)
        return -1;
    /* Attached before it starts: nothing that it writes is lost, and it cannot have ended yet. */
    if (docker_call_attach(e, id, &fd, err) < 0 || start(e, id, err) < 0) {
        if (fd >= 0)
            (void)close(fd);
        undo(e, id);
        return -1;
    }
    (void)str_copy(ret_id, id, ENGINE_ID_MAX);
    *ret_fd = fd;
    return 0;
}

/* ---- the other verbs ---- */

static int update(struct engine *e, const char *id, int64_t memory, struct err *err)
{
    char path[256];
    struct docker_request q = {.call = ENGINE_UPDATE, .method = "POST", .path = path};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    CLEANUP(buf_done) struct buf body = {0};
    struct docker_warnings warnings;

    docker_http_reply_init(&r);
    buf_init(&body, DOCKER_BODY_MAX);
    q.body = &body;
    if (!docker_name_is_valid(id) || memory <= 0)
        return err_set(err, ERR_INVALID, "update: container id '%.64s', memory %lld", id,
                       (long long)memory);
    docker_body_update(memory, &body);
    (void)snprintf(path, sizeof(path), "/containers/%s/update", id);
    if (docker_call(e, &q, &r, err) < 0 ||
        docker_json_updated(buf_get(&r.body), r.body.len, &warnings, err) < 0)
        return -1;
    return judge(e, &warnings, "update", err);
}

static int usage(struct engine *e, const char *id, uint64_t *ret_bytes, struct err *err)
{
    static const struct verb v = {ENGINE_USAGE, "GET",
                                  "/containers/%s/stats?stream=false&one-shot=true", 0};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    if (call_verb(e, &v, id, &r, err) < 0)
        return -1;
    return docker_json_usage(buf_get(&r.body), r.body.len, ret_bytes, err);
}

static int inspect(struct engine *e, const char *id, struct engine_state *ret, struct err *err)
{
    static const struct verb v = {ENGINE_INSPECT, "GET", "/containers/%s/json", 0};
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    if (call_verb(e, &v, id, &r, err) < 0)
        return -1;
    return docker_json_state(buf_get(&r.body), r.body.len, ret, err);
}

static int list(struct engine *e, struct engine_container **ret, size_t *ret_n, struct err *err)
{
    /* filters={"label":["oneshot.instance"]} */
    static const struct docker_request q = {
        .call = ENGINE_LIST,
        .method = "GET",
        .path = "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22" LABEL_INSTANCE "%22%5D%7D",
    };
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};

    docker_http_reply_init(&r);
    if (docker_call(e, &q, &r, err) < 0)
        return -1;
    return docker_json_list(buf_get(&r.body), r.body.len, ret, ret_n, err);
}

static void unwatch(struct engine *e)
{
    atomic_store(&e->is_unwatched, true);
}

static uint32_t lacks(const struct engine *e)
{
    return atomic_load(&e->lacks);
}

static void counts(const struct engine *e, uint64_t calls[ENGINE_CALLS],
                   uint64_t errors[ENGINE_CALLS])
{
    for (int i = 0; i < ENGINE_CALLS; i++) {
        calls[i] = atomic_load_explicit(&e->calls[i], memory_order_relaxed);
        errors[i] = atomic_load_explicit(&e->errors[i], memory_order_relaxed);
    }
}

static void close_engine(struct engine *e)
{
    if (!e)
        return;
    docker_http_done(&e->http);
    free(e);
}

int docker_open(const char *host, struct engine **ret, struct err *err)
{
    const char *named = host && *host ? host : getenv("DOCKER_HOST");
    const char *path = DEFAULT_SOCKET;
    struct engine *e;

    if (named && *named) {
        if (!str_starts(named, "unix:///"))
            return err_set(err, ERR_INVALID,
                           "engine host '%.128s': only unix:///path/to/socket is spoken", named);
        path = named + strlen("unix://");
    }
    e = xcalloc(1, sizeof(*e));
    if (docker_http_init(&e->http, path, err) < 0) {
        free(e);
        return -1;
    }
    memcpy(e->limit_ms, limits_ms, sizeof(limits_ms));
    e->exit_ms = EXIT_MS;
    docker_forget(e);
    *ret = e;
    return 0;
}

const struct engine_ops docker_ops = {
    .name = "docker",
    .ping = ping,
    .image = image,
    .park = park,
    .update = update,
    .usage = usage,
    .inspect = inspect,
    .wait = wait_exit,
    .destroy = destroy,
    .list = list,
    .watch = docker_watch,
    .unwatch = unwatch,
    .lacks = lacks,
    .counts = counts,
    .close = close_engine,
};
