#ifndef CORE_RELAY_STATE_H
#define CORE_RELAY_STATE_H

#include "core/address.h"
#include "core/relay.h"
#include "core/resolve.h"
#include "frames/frame.h"

/* What relay.c (frames, limits) and relay_conn.c (addresses, sockets) share. */

enum {
    RELAY_LOOKUPS = 2, /* of one run at a time, so that no run keeps the resolver from others */
    RELAY_DATA_MAX = 32768,
    RELAY_MORE_STEP = RELAY_WINDOW / 2,
};

enum conn_state {
    CONN_WAITING, /* for its turn at the resolver */
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_REFUSED, /* the warden is to be told */
    CONN_LINGER,  /* the warden knows it no more; `buf` is still on its way */
};

struct conn {
    enum conn_state state;
    uint16_t id;
    int fd;
    char target[RELAY_TARGET_MAX]; /* as the program says it */
    char host[RELAY_TARGET_MAX], port[8];
    bool is_private;
    struct lookup *lookup;
    struct resolved found;
    size_t at; /* the address of `found` that is tried */
    int last_errno;
    char address[ADDRESS_TEXT_MAX];
    int64_t began_us, due_ms, step_due_ms;
    enum relay_verdict verdict;
    uint64_t up, down;

    /* from the program to the target */
    uint8_t *buf; /* RELAY_WINDOW bytes; NULL until something has to wait */
    size_t start, end;
    uint32_t owed, consumed; /* as in the warden */
    bool up_is_over, is_shut;

    /* from the target to the program */
    uint32_t credit;
    bool is_readable, down_is_over, down_is_told;

    bool open_is_due;
    int refusal; /* errno that is to be told */
};

struct relay {
    struct relay_options o;
    struct conn *conns[RELAY_SLOTS];
    size_t live, lingering, lookups;
    struct lookup *late[RELAY_LOOKUPS]; /* of `lookups`: their connections did not wait */
    uint16_t last_id;
    uint64_t opened, bytes;
    size_t turn; /* whose frame is next */
    int event_fd;
    bool is_over_limit_told;
    uint8_t out[FRAME_HEAD + RELAY_DATA_MAX];
};

/* ---- relay_conn.c ---- */

/* Begins to resolve, where it may. */
void relay_conn_start(struct relay *r, struct conn *c);

/* Its lookup, if it has one, is of no use; it counts until its thread is free again. */
void relay_conn_forget(struct relay *r, struct conn *c);
void relay_conn_reap(struct relay *r);

/* Goes on with what poll or the clock brought; `events` as poll gave them. */
void relay_conn_serve(struct relay *r, struct conn *c, short events, int64_t now_ms);

/* It is to end with this errno towards the program. */
void relay_conn_refuse(struct relay *r, struct conn *c, int number, enum relay_verdict verdict);

/* Sends what the target takes now. */
void relay_conn_flush(struct relay *r, struct conn *c);

#endif
