#ifndef ENGINE_DOCKER_H
#define ENGINE_DOCKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/docker_http.h"
#include "engine/engine.h"

/* Inside of the Docker back end: for orchestrator/engine and its tests alone. */

enum {
    DOCKER_API_MIN = 41, /* 1.41: what the bodies and decoders were written for */
    DOCKER_API_MAX = 51, /* 1.51: the newest that they are known to fit */
};

struct engine {
    struct docker_http http;
    atomic_uint api;   /* the minor version in use, 0 = to be negotiated */
    atomic_int cgroup; /* 1, 2, 0 = the engine does not say, -1 = to be asked */
    atomic_uint lacks; /* enum engine_lack */
    atomic_bool is_unwatched;
    atomic_uint_fast64_t calls[ENGINE_CALLS], errors[ENGINE_CALLS];
    int64_t limit_ms[ENGINE_CALLS]; /* of a whole call; set at open, tests shorten them */
    int64_t exit_ms;                /* part of a removal: see docker.c */
};

struct docker_request {
    enum engine_call call;
    const char *method;
    const char *path;       /* behind "/v1.NN" */
    const struct buf *body; /* NULL = none */
    int64_t limit_ms;       /* 0 = that of the call */
    int also_ok;            /* a status beside 2xx that is no failure, 0 = none */
};

/*
 * One call in the negotiated version, negotiating first where there is none; an engine that calls
 * the version too new or too old is asked again once. Counts the call, and its failure: a status
 * that is neither 2xx nor `also_ok` has the engine's words in the text. `ret` was initialised by
 * the caller. Any thread.
 */
int docker_call(struct engine *e, const struct docker_request *q, struct docker_http_reply *ret,
                struct err *err) MUST_CHECK;

/* Opens the attach stream of a container (docker_attach.h); counts as docker_call. */
int docker_call_attach(struct engine *e, const char *id, int *ret_fd, struct err *err) MUST_CHECK;

/* Asks the engine for its version, whatever is known. */
int docker_negotiate(struct engine *e, struct err *err) MUST_CHECK;

/* Whether containers of this engine live in cgroup v1; asks it once per negotiation. */
int docker_has_swappiness(struct engine *e, bool *ret, struct err *err) MUST_CHECK;

/* The engine was lost: the next call negotiates anew. */
void docker_forget(struct engine *e);

/* The verb watch (docker_events.c). */
int docker_watch(struct engine *e, engine_watcher *fn, void *ctx, struct err *err) MUST_CHECK;

/* Begins a call: counts it. Ends it: counts a failure when `rc` is negative; returns `rc`. */
void docker_count(struct engine *e, enum engine_call call);
int docker_counted(struct engine *e, enum engine_call call, int rc);

/* Fills `err` from a reply that refuses; returns -1. */
int docker_refused(enum engine_call call, const struct docker_http_reply *r, struct err *err);

/*
 * Writes "/v1.NN" and `path` to `out` (DOCKER_HTTP_PATH_MAX bytes), negotiating first where there
 * is no version; ERR_INVALID if too long.
 */
int docker_path(struct engine *e, const char *path, int64_t deadline_ms, char *out,
                struct err *err) MUST_CHECK;

#endif
