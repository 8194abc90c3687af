#ifndef STORE_LEDGER_H
#define STORE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The requests from a chat that were acknowledged, in a small database of their own: a request is on
 * disk before anybody is told that it was taken, and stays until it was answered. Two processes may
 * have it open: one that adds and one that works. It is no part of the history, whose rows may be
 * lost, and which is trimmed by size. A damaged file is moved aside ("*.corrupt-TIME") by whoever finds
 * it, when it is opened or later, and a new one begun; the other process follows.
 */
struct ledger;

struct ledger_request {
    int64_t id;                                /* ledger_take fills it in */
    char *event_id, *channel, *ts, *thread_ts; /* thread_ts: where the answer goes */
    char *user, *text;
    bool is_work;        /* somebody has to wait for a model: queue and budget count it */
    bool is_refused;     /* it was work, and the queue was full */
    bool is_interrupted; /* it was begun, or waited too long, before the last start */
    bool is_undelivered; /* its answer could not be told: ledger_postpone */
    int64_t accepted_ms; /* Unix time */
};

void ledger_request_done(struct ledger_request *r);

/* Makes or migrates the file. ERR_INVALID: it is of a newer program. */
int ledger_open(const char *path, struct ledger **ret, struct err *err) MUST_CHECK;
void ledger_close(struct ledger *l);

/*
 * On disk when it returns 0. `*ret_is_new` is false when it is there already: with this event id, or
 * with this place and time (`channel`, `ts`). Work beyond `queue_max` requests that wait is taken as
 * refused; ERR_BUSY: far more wait. Any thread.
 */
int ledger_add(struct ledger *l, const struct ledger_request *r, int64_t queue_max,
               bool *ret_is_new, struct err *err) MUST_CHECK;

/* At a start: what was begun is interrupted, and so is what was accepted before `oldest_ms`. */
int ledger_recover(struct ledger *l, int64_t oldest_ms, struct err *err) MUST_CHECK;

/*
 * The oldest one that waits, which is begun from now on: work, or what is answered at once.
 * `*ret_found` false: there is none.
 */
int ledger_take(struct ledger *l, bool is_work, struct ledger_request *ret, bool *ret_found,
                struct err *err) MUST_CHECK;

/* It was answered. `counts`: against the budget of its user. */
int ledger_end(struct ledger *l, const struct ledger_request *r, bool counts,
               struct err *err) MUST_CHECK;

/*
 * It could not be answered now: it comes again behind the others that wait. Work is done then if
 * `is_undone`, else told at once as undelivered; `counts` as above.
 */
int ledger_postpone(struct ledger *l, const struct ledger_request *r, bool is_undone, bool counts,
                    struct err *err) MUST_CHECK;

/* How many requests of that user count since `since_ms`, up to the one with this id. */
int ledger_spent(struct ledger *l, const char *user, int64_t since_ms, int64_t id, int64_t *ret,
                 struct err *err) MUST_CHECK;

/* Forgets what was answered and accepted before that. */
int ledger_trim(struct ledger *l, int64_t before_ms, struct err *err) MUST_CHECK;

/* How many wait for work, were begun, and are to be told that they were interrupted or undelivered. */
struct ledger_load {
    int64_t waiting, begun, untold;
};

int ledger_count(struct ledger *l, struct ledger_load *ret, struct err *err) MUST_CHECK;

/* Whether another process changed it since the last call. */
bool ledger_has_news(struct ledger *l);

#endif
