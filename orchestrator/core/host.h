#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Host calls: what a program asks of the front over its stream. Other rooms provide them, one
 * function per kind of call, which main registers. Who calls what, how often and how much is
 * decided here before a provider sees anything.
 */
struct core;
struct histogram_scale;
struct stop;

enum {
    HOST_MESSAGE_MAX = 16 * 1024,
    HOST_KINDS = 8,
    HOST_THREADS = 256, /* calls under way of all runs; one has a quarter at most */
    HOST_KIND_MAX = 32, /* bytes of a kind's name, with the NUL */
};

/* How a call ended, for the log and the metrics. */
enum host_verdict {
    HOST_OK,
    HOST_FAILED,    /* the other side says that it failed */
    HOST_DOWN,      /* there was no answer from it */
    HOST_TIMEOUT,   /* not in time */
    HOST_INVALID,   /* the call or its arguments are wrong */
    HOST_FORBIDDEN, /* the policy does not permit it, or nobody offers it */
    HOST_BUDGET,    /* one call too many */
    HOST_LIMIT,     /* too many bytes */
    HOST_CANCELLED, /* the run ended first */
    HOST_VERDICTS,
};

const char *host_verdict_name(enum host_verdict v); /* "ok" …; static */

/*
 * One call, valid until the provider returns. All of it is the provider's own copy: the run may end
 * and be freed meanwhile.
 */
struct host_call {
    const char *run_id, *dialect, *policy, *client; /* "" where there is none */
    const char *kind, *name;                        /* "tool", "data.get_devices" */
    const char *args; /* a JSON object, guarded: UTF-8, depth, size, no key twice */
    size_t args_len;
    int64_t deadline_ms; /* clock_ms by which the provider MUST return */
    size_t reply_max;    /* bytes of the result's JSON */
    struct stop *stop;   /* asked when nobody waits any more; the provider SHOULD return then */
};

/*
 * The answer, which the caller of a provider owns. An error becomes an exception of the program:
 * ToolError, PermissionError, TimeoutError or ValueError.
 */
struct host_answer {
    enum host_verdict verdict;
    struct buf result; /* JSON, at most reply_max bytes; it is checked; "" is null */
    bool is_error;
    const char *type;   /* static */
    struct buf message; /* UTF-8 or not; at most HOST_MESSAGE_MAX */
};

/* Makes the answer an error. A message that is too long is cut. */
void host_fail(struct host_answer *ret, enum host_verdict verdict, const char *type,
               const char *fmt, ...) PRINTF_LIKE(4, 5);

/* In a thread of the core's own, many at a time. `ret` is empty and HOST_OK. */
typedef void host_fn(void *ctx, const struct host_call *call, struct host_answer *ret);

/* Up to HOST_KINDS; `kind` is copied. Register before serving; `ctx` is used until core_free. */
void core_add_host(struct core *core, const char *kind, host_fn *fn, void *ctx);

/* The call `name` is one of the list: itself, its module, or "*". Ends with NULL. */
bool host_is_listed(char *const *list, const char *name);

/* ---- what the calls of a run came to ---- */

enum { HOST_BUCKETS = 14 };

extern const struct histogram_scale host_scale; /* of HOST_BUCKETS, microseconds */

struct host_counts {
    uint64_t verdicts[HOST_VERDICTS];
    uint64_t buckets[HOST_BUCKETS], sum_us; /* of those that a provider worked on */
};

#endif
