#ifndef KEEPER_POOL_H
#define KEEPER_POOL_H

#include <stddef.h>

#include "keeper/member.h"
#include "policy/policy.h"

/*
 * The pools and what is decided about them: how many members each should have, which one serves a
 * TAKE, where the next start goes. No system call, no engine, no clock: the caller says what time
 * it is, so that every decision can be tested. A pool is (policy hash, image digest, runtime).
 */

enum { POOL_SAMPLES = 64 };

struct pool {
    const struct policy *policy; /* of the set that the keeper holds for it */
    struct engine_image image;
    uint64_t footprint;     /* bytes of a parked member; 0 until measured */
    int64_t retry_ms;       /* the image is missing: look again then */
    int64_t pause_until_ms; /* no start before */
    unsigned pauses;        /* in a row */
    bool is_resolving;      /* the engine is being asked for the image */
    bool is_missing;        /* it was not there the last time */
    bool is_retired;        /* replaced by a reload: no refill, drains */
    int64_t retire_at_ms;
    int64_t used_ms; /* last TAKE; INT64_MIN: never */
    unsigned target; /* from pools_plan */
    unsigned counts[MEMBER_STATES];
    struct member_list parked;
    struct waiter_list waiting;
    unsigned waiting_n;

    uint64_t hits, misses, started;
    uint64_t discarded[DISCARD_REASONS];
    uint32_t start_ms[POOL_SAMPLES]; /* create to READY, newest anywhere */
    unsigned start_samples;
    int64_t ready_ms[POOL_SAMPLES]; /* when members became ready */
    unsigned ready_n;

    TAILQ_ENTRY(pool) link;
};

TAILQ_HEAD(pool_list, pool);

struct pools {
    struct pool_list list; /* newest first */
    struct member_list members;
    uint64_t budget; /* bytes of all parked members together */
    uint64_t next_id;
};

void pools_init(struct pools *ps, uint64_t budget);
void pools_done(struct pools *ps);

/* Adds a pool (newest). `policy` is borrowed until pool_free. */
struct pool *pool_add(struct pools *ps, const struct policy *policy,
                      const struct engine_image *image);

/* Only an empty pool without waiters may be freed. */
bool pool_is_empty(const struct pool *p);
void pool_free(struct pools *ps, struct pool *p);

/* The pool that serves a TAKE for the policy `key` now, or NULL. */
struct pool *pools_find(const struct pools *ps, uint64_t key);

/* The pool of the policy `key` in whose line somebody waits longest; NULL when nobody does. */
struct pool *pools_line(const struct pools *ps, uint64_t key);

/* Bytes that one parked member of `p` costs: measured, or a guess from what it warms. */
uint64_t pool_cost(const struct pool *p);

/* Recomputes every target: minimum and maximum, idleness, budget. */
void pools_plan(struct pools *ps, int64_t now_ms);

/* How many members of `p` should be started beyond those on their way. */
unsigned pool_deficit(const struct pool *p);

/* The pool that deserves the next start, waiting requests first; NULL when none needs one now. */
struct pool *pools_next_start(const struct pools *ps, int64_t now_ms);

/* The engine refused what the policy asks for: a pause, the longer the oftener in a row. */
void pool_pause_starts(struct pool *p, int64_t now_ms);
void pool_resume_starts(struct pool *p);

/* Parked for longer than the policy wants: nobody gets it any more. */
bool pool_is_aged(const struct pool *p, const struct member *m, int64_t now_ms);

/* A parked member that the plan no longer wants (too many, too old), or NULL; `ret_reason`. */
struct member *pools_surplus(const struct pools *ps, int64_t now_ms,
                             enum discard_reason *ret_reason);

/*
 * The parked member that is missed least: of the pool without waiters that was used longest ago,
 * its oldest. NULL when nothing is parked there. For when somebody waits and there is no room left.
 */
struct member *pools_spare(const struct pools *ps);

struct member *member_new(struct pools *ps, struct pool *p, int64_t now_ms);
void member_move(struct member *m, enum member_state to, int64_t now_ms);
void member_free(struct pools *ps, struct member *m); /* out of REMOVING only */
struct member *member_find(const struct pools *ps, uint64_t id);

void pool_note_ready(struct pool *p, int64_t took_ms, int64_t now_ms);
uint32_t pool_start_p50(const struct pool *p);
uint32_t pool_refill_per_min(const struct pool *p, int64_t now_ms);

/* Fills the numbers of HANDOVER_POOL. */
void pool_report(const struct pool *p, int64_t now_ms, struct handover_pool *ret);

#endif
