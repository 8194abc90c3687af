#ifndef CORE_CALL_TABLE_H
#define CORE_CALL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "core/call_wire.h"

/*
 * The host calls of one run, from their first part until their reply is sent: found by number, and
 * each in the line of its state, in the order in which they came to it.
 */
struct call_job;

enum call_state { CALL_COMING, CALL_WAITING, CALL_WORKING, CALL_REPLYING, CALL_STATES };
enum { CALL_BUCKETS = 64 };

struct call {
    enum call_state state;
    uint16_t id;
    bool is_dropped;       /* COMING; there is too much of it … */
    bool is_beyond;        /* … for all calls together */
    struct buf text;       /* what came, until it is answered */
    struct call_text what; /* borrows from `text` */
    struct call_job *job;  /* WORKING */
    int64_t deadline_ms;
    struct buf reply; /* REPLYING: its frames … */
    size_t reply_at;  /* … of which so many bytes were taken */
    LIST_ENTRY(call) same;
    TAILQ_ENTRY(call) link;
};

LIST_HEAD(call_bucket, call);
TAILQ_HEAD(call_line, call);

struct call_table {
    struct call_bucket by_id[CALL_BUCKETS];
    struct call_line lines[CALL_STATES];
    size_t n[CALL_STATES];
};

void call_table_init(struct call_table *t); /* zeroed storage */
void call_table_clear(struct call_table *t);

/* NULL: there is no call of that number. */
struct call *call_table_find(struct call_table *t, uint16_t id);

/* A new one, COMING, of up to `text_max` bytes. Owned by the table. */
struct call *call_table_add(struct call_table *t, uint16_t id, size_t text_max);

/* The first in line; NULL: there is none. */
struct call *call_table_first(const struct call_table *t, enum call_state state);

/* To the end of the line of `state`. */
void call_table_move(struct call_table *t, struct call *call, enum call_state state);

/* Frees it; its number may come again. Its job is the caller's. */
void call_table_remove(struct call_table *t, struct call *call);

#endif
