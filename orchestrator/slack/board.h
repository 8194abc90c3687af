#ifndef SLACK_BOARD_H
#define SLACK_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What bot and front count of Slack: memory that both processes have, so that the front can tell the
 * bot's figures, and that a bot that is started again goes on with them. Nothing is ever decided by
 * what stands there: either process may have been taken over.
 */
enum board_via { BOARD_SOCKET, BOARD_HTTP, BOARD_VIAS };

enum board_event {
    BOARD_TAKEN,      /* a request that is in the ledger now */
    BOARD_DUPLICATE,  /* one that was there */
    BOARD_IGNORED,    /* nothing for us */
    BOARD_UNREADABLE, /* no event as we know them */
    BOARD_UNSIGNED,   /* over HTTP, not from Slack */
    BOARD_UNKEPT,     /* not taken: too many are open, or the ledger fails */
    BOARD_EVENTS
};

enum board_fault {
    BOARD_RATELIMITED,
    BOARD_UNREACHABLE, /* no connection, no answer in time, 5xx */
    BOARD_DENIED,      /* the token will not do */
    BOARD_REFUSED,
    BOARD_STRANGE, /* an answer that is none */
    BOARD_FAULTS
};

enum board_end {
    BOARD_ANSWERED,
    BOARD_POSTPONED,  /* Slack was away: to be tried again, or told as undelivered */
    BOARD_UNANSWERED, /* never will be */
    BOARD_LEFT,       /* until the next start */
    BOARD_ENDS
};

struct board {
    atomic_uint_fast64_t events[BOARD_VIAS][BOARD_EVENTS];
    atomic_uint_fast64_t calls, faults[BOARD_FAULTS]; /* of the Web API, each try */
    atomic_uint_fast64_t ends[BOARD_ENDS];
    atomic_uint_fast64_t connections;
    atomic_uint_fast64_t connected_s; /* Unix time; 0: no connection of Socket Mode */
};

/* A descriptor of fresh memory, for board_map here or in a child. */
int board_make(int *ret_fd, struct err *err) MUST_CHECK;

/* NULL when the descriptor holds no board. Never unmapped. */
struct board *board_map(int fd);

/* Counts one; `b` is the board of `counter`, and may be NULL: then nothing is counted. */
#define BOARD_COUNT(b, counter) \
    ((b) ? (void)atomic_fetch_add_explicit(&(b)->counter, 1, memory_order_relaxed) : (void)0)

/* A call of the Web API failed so; a cancelled one did not fail. */
void board_count_fault(struct board *b, enum err_kind kind);

#endif
