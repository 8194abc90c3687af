#ifndef MODEL_LIMITER_H
#define MODEL_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct stop;
struct limiter_place;

/*
 * At most `per_minute` calls begin within any minute. Whoever comes later waits in line, in the
 * order of asking; who leaves the line takes nothing from those behind. Any thread.
 */
struct limiter {
    pthread_mutex_t lock;
    int64_t *begun_ms; /* a ring: when each of the last `n` calls began; under the lock */
    size_t n, at;
    struct limiter_place *first, *last; /* the line; under the lock */
    size_t waiting;                     /* how many stand in it */
};

void limiter_init(struct limiter *l, unsigned per_minute); /* 0: no limit */
void limiter_done(struct limiter *l);                      /* nobody waits any more */

/*
 * When a call may begin that `ahead` others are in front of, and notes that one begins now. These
 * are for limiter_wait and its test.
 */
int64_t limiter_due(const struct limiter *l, size_t ahead, int64_t now_ms);
void limiter_begin(struct limiter *l, int64_t now_ms);

/*
 * Waits for one's turn. ERR_BUSY when it comes after the deadline (`*ret_after_s`: come back then),
 * ERR_CANCELLED when `stop` was asked meanwhile.
 */
int limiter_wait(struct limiter *l, int64_t deadline_ms, struct stop *stop, int *ret_after_s,
                 struct err *err) MUST_CHECK;

#endif
