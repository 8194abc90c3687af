#ifndef CORE_CALLERS_H
#define CORE_CALLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/host.h"

/*
 * The threads in which providers of host calls work, so that no run waits for one: made when they
 * are needed, up to HOST_THREADS, and gone when they are idle. Any thread may ask.
 */
enum { CALLERS_IDLE_MS = 10000 };

struct callers;
struct call_job;

struct call_order {
    host_fn *fn;
    void *ctx;
    struct host_call call; /* copied, but for `stop`, which is made */
    uint16_t id;
    int event_fd; /* written to when it is done */
};

struct call_done {
    struct buf reply; /* its frames; owned by who looked */
    size_t bytes;     /* of the result, or of the error's words */
    enum host_verdict verdict;
    bool was_begun; /* a provider has worked on it … */
    int64_t us;     /* … for so long */
};

struct callers *callers_new(int64_t idle_ms);
void callers_free(struct callers *c); /* waits for providers under way */
size_t callers_threads(struct callers *c);

/* NULL: there is no thread for it. Drop what you get. */
struct call_job *callers_ask(struct callers *c, const struct call_order *order);

/* True once it is done; then `*ret` is moved out. */
bool callers_look(struct callers *c, struct call_job *job, struct call_done *ret);

/* At any time: the provider is asked to stop; behind it `event_fd` is not written to. */
void callers_drop(struct callers *c, struct call_job *job);

#endif
