#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "frames/handover.h"

/*
 * What the keeper needs of whatever makes containers. All verbs block up to their own deadline and
 * may be called from any thread. Error kinds: ERR_NOTFOUND (no such container or image), ERR_BUSY
 * (try again), ERR_TIMEOUT, ERR_PEER (the engine refused or broke the protocol; its own words are
 * in the text), ERR_DENIED (it cannot enforce what was asked: a create warning).
 */

enum { ENGINE_ID_MAX = 80 };

struct engine_pair {
    const char *name, *value;
};

struct engine_tmpfs {
    const char *path, *options;
};

struct engine_ulimit {
    const char *name;
    int64_t soft, hard;
};

/* One container, in the engine's terms. Everything is borrowed for the call. */
struct engine_spec {
    const char *name; /* unique */
    const char *image;
    const char *runtime; /* "" = the engine's default */
    const char *hostname, *work_dir, *user;
    const char *const *argv; /* NULL-terminated; replaces the image's entrypoint */
    const struct engine_pair *env, *labels;
    size_t env_n, labels_n;
    int64_t memory;
    int64_t nano_cpus;
    int64_t pids;
    int64_t shm_size;
    const char *network; /* "none", or a network's name */
    const char *seccomp_json;
    const struct engine_tmpfs *tmpfs;
    size_t tmpfs_n;
    const struct engine_ulimit *ulimits;
    size_t ulimits_n;
    const char *const *extra_hosts; /* "name:address", NULL-terminated; NULL = none */
};

struct engine_image {
    char digest[72]; /* "sha256:…" */
    uint64_t size;
};

struct engine_container {
    char id[ENGINE_ID_MAX], name[128];
    char instance[64], epoch[32], policy[128]; /* values of our labels, "" when absent */
    char state[16];                            /* "running", "exited", "created" … */
    int64_t created_s;                         /* Unix time */
};

struct engine_state {
    bool is_running, is_oom;
    int exit_code; /* of an exited container */
};

struct engine_event {
    const char *action, *id, *name; /* "die", "destroy", "oom" … */
    const char *instance;           /* our label, "" when absent */
    int64_t time_ns;
};

struct engine; /* opaque, belongs to the back end */

struct engine_ops {
    const char *name;

    /* MUST. Reachable and speaking a version that we know. */
    int (*ping)(struct engine *e, struct err *err);

    /* MUST. ERR_NOTFOUND when the engine does not have it. */
    int (*image)(struct engine *e, const char *reference, struct engine_image *ret, struct err *err);

    /*
     * MUST. Creates the container, attaches to it and starts it, in this order. The stream carries
     * the engine's heads (frames/mux.h). On failure nothing of it is left behind, or is left to
     * the sweep. The caller owns the descriptor.
     */
    int (*park)(struct engine *e, const struct engine_spec *spec, char ret_id[ENGINE_ID_MAX],
                int *ret_fd, struct err *err);

    /* MUST. New memory limit of a running container, bytes. */
    int (*update)(struct engine *e, const char *id, int64_t memory, struct err *err);

    /* MUST. Bytes that a running container uses now, reclaimable cache not counted. */
    int (*usage)(struct engine *e, const char *id, uint64_t *ret_bytes, struct err *err);

    /* MUST. */
    int (*inspect)(struct engine *e, const char *id, struct engine_state *ret, struct err *err);

    /* MUST. Waits until it is not running; ERR_TIMEOUT after `ms`. A cut answer is ERR_PEER. */
    int (*wait)(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err);

    /* MUST. Kills and removes; done too when it is gone already. Close its stream before. */
    int (*destroy)(struct engine *e, const char *id, struct err *err);

    /* MUST. Containers that carry our instance label, of any instance. Caller frees the array. */
    int (*list)(struct engine *e, struct engine_container **ret, size_t *ret_n, struct err *err);

    /*
     * MUST. Calls `fn` for each container event until it returns false or the stream ends
     * (ERR_PEER). A hint only: events can be lost.
     */
    int (*watch)(struct engine *e, bool (*fn)(void *ctx, const struct engine_event *ev), void *ctx,
                 struct err *err);

    /* MUST. Calls and failed calls since open, by enum engine_call. */
    void (*counts)(const struct engine *e, uint64_t calls[ENGINE_CALLS],
                   uint64_t errors[ENGINE_CALLS]);

    void (*close)(struct engine *e);
};

/* Labels of every container of ours. */
#define LABEL_INSTANCE "oneshot.instance"
#define LABEL_EPOCH    "oneshot.epoch"
#define LABEL_POLICY   "oneshot.policy"
#define LABEL_HASH     "oneshot.policy_hash"

/*
 * The Docker Engine API on a unix socket. `host` is "unix:///path" ("" = $DOCKER_HOST, else the
 * usual path). Opening makes no call. ERR_INVALID for other kinds of hosts.
 */
int docker_open(const char *host, struct engine **ret, struct err *err) MUST_CHECK;
extern const struct engine_ops docker_ops;

#endif
