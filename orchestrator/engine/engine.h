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
 * (not now: nobody listens, overload, a name is taken), ERR_TIMEOUT, ERR_PEER (the engine refused
 * or broke the protocol; its words are in the text), ERR_DENIED (it cannot enforce what was asked:
 * a create warning, an image with volumes), ERR_INVALID (no engine would take what was asked).
 */

enum {
    ENGINE_ID_MAX = 80,
    ENGINE_EXIT_UNKNOWN = -1, /* no exit code is known: it has not exited */
    ENGINE_TIME_UNKNOWN = -1,
};

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
    const char *name, *image; /* the name is unique */
    const char *runtime;      /* "" = the engine's default */
    const char *hostname, *work_dir, *user;
    const char *const *argv; /* NULL-terminated; replaces the image's entrypoint */
    const struct engine_pair *env, *labels;
    size_t env_n, labels_n;
    int64_t memory, nano_cpus, pids, shm_size;
    const char *seccomp_json;
    const char *network; /* "none", or a network's name */
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
    char instance[64], epoch[32], policy[128]; /* our labels, "" when absent or longer */
    char state[16];                            /* "running", "exited", "created" …, "" unknown */
    int64_t created_s;                         /* Unix time, or ENGINE_TIME_UNKNOWN */
};

struct engine_state {
    bool is_running, is_oom;
    int exit_code; /* 0..255 of an exited container, else ENGINE_EXIT_UNKNOWN */
};

struct engine_event {
    const char *action, *id, *name; /* "die", "destroy", "oom"; `name` "" when absent */
    const char *instance;           /* our label, "" when absent */
    int64_t time_ns;                /* Unix time, or ENGINE_TIME_UNKNOWN */
};

/* False ends the watch. */
typedef bool engine_watcher(void *ctx, const struct engine_event *ev);

struct engine; /* opaque, belongs to the back end */
struct engine_ops {
    const char *name;
    /* MUST. Reachable and speaking a version that we know. */
    int (*ping)(struct engine *e, struct err *err);
    /* MUST. ERR_DENIED when it declares volumes: no limit would hold for writing to them. */
    int (*image)(struct engine *e, const char *reference, struct engine_image *ret,
                 struct err *err);

    /*
     * MUST. Creates the container, attaches to it (standard error is not attached) and starts it.
     * The stream carries the engine's heads (frames/mux.h). On failure nothing of it is left
     * behind, or it is left to the sweep by its labels: a create that timed out may still happen.
     * The caller owns the descriptor, in non-blocking mode. ERR_NOTFOUND is about the image alone,
     * ERR_INVALID about what was asked for: a network that is not there, an unknown runtime.
     */
    int (*park)(struct engine *e, const struct engine_spec *spec, char ret_id[ENGINE_ID_MAX],
                int *ret_fd, struct err *err);
    /* MUST. New memory limit (and with it no swap) of a running container, bytes. */
    int (*update)(struct engine *e, const char *id, int64_t memory, struct err *err);
    /* MUST. Bytes that a running container uses now, reclaimable cache not counted. */
    int (*usage)(struct engine *e, const char *id, uint64_t *ret_bytes, struct err *err);
    /* MUST. */
    int (*inspect)(struct engine *e, const char *id, struct engine_state *ret, struct err *err);
    /* MUST. Waits until it is not running; ERR_TIMEOUT after `ms`. A cut answer is ERR_PEER. */
    int (*wait)(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err);
    /* MUST. Kills and removes; done too when it is gone. Shut its stream down just before. */
    int (*destroy)(struct engine *e, const char *id, struct err *err);
    /* MUST. Containers that carry our instance label, of any instance. Caller frees the array. */
    int (*list)(struct engine *e, struct engine_container **ret, size_t *ret_n, struct err *err);

    /*
     * MUST. Calls `fn` for each "die", "oom" and "destroy" of a container with our instance label.
     * 0 when `fn` or unwatch ended it, ERR_PEER when the stream did. A hint: events can be lost.
     */
    int (*watch)(struct engine *e, engine_watcher *fn, void *ctx, struct err *err);
    /* MUST. For good: watches return within about a second, later ones at once. */
    void (*unwatch)(struct engine *e);
    /* MUST. Comfort that the engine was found to lack so far: bits of enum engine_lack. */
    uint32_t (*lacks)(const struct engine *e);
    /* MUST. Calls and failed calls since open. */
    void (*counts)(const struct engine *e, uint64_t calls[ENGINE_CALLS],
                   uint64_t errors[ENGINE_CALLS]);
    /* MUST. No verb may be under way. NULL does nothing. */
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
