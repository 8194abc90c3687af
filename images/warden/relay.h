#ifndef WARDEN_RELAY_H
#define WARDEN_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/relay.h"
#include "pump.h"
#include "queue.h"

/*
 * The container's end of the relay (frames/relay.h). The keeper names the listeners in the create
 * body's environment, so they stand before any program: ONESHOT_RELAY is "ADDRESS:PORT=HOST:PORT,…",
 * ONESHOT_PROXY the address of the HTTP proxy. Programs are hostile; the front is not trusted with
 * more than its own share of memory.
 */
enum {
    RELAY_LISTENERS = 65,
    RELAY_BACKLOG = 128,
    RELAY_POLLED = RELAY_LISTENERS + RELAY_CONNS,
    RELAY_NOTES = 8, /* refusals of a run that are put into words on stderr */
};

enum relay_state {
    RELAY_FREE,
    RELAY_HEAD,    /* the proxy reads a request */
    RELAY_OPENING, /* the front connects */
    RELAY_OPEN,
    RELAY_ENDING, /* the proxy's own answer is on its way, what still comes is dropped */
};

struct relay_conn {
    enum relay_state state;
    int fd;
    uint16_t id;
    char target[RELAY_TARGET_MAX];
    bool is_proxy, is_connect;
    bool is_told;      /* OPEN was sent */
    bool up_is_over;   /* the program's half is over */
    bool up_is_told;   /* and the front knows */
    bool down_is_over; /* the target's half is over */
    int reset;         /* errno with which the front is to be told of the end */
    uint32_t credit;   /* bytes that the front takes */
    uint32_t own;      /* bytes of the proxy's own words that the program is yet to get */
    uint32_t owed;     /* bytes taken from the front for which no MORE was sent … */
    uint32_t consumed; /* … and those of them that the program has */
    size_t up_start, up_end, down_start, down_end; /* in the slot's buffers */
};

struct relay_listener {
    int fd;
    bool is_proxy;
    char target[RELAY_TARGET_MAX];
};

struct relay {
    struct queue *out;
    struct pump *pump;
    struct relay_listener listeners[RELAY_LISTENERS];
    size_t listeners_n; /* 0: the policy has no relay */
    struct relay_conn conns[RELAY_CONNS];
    size_t live;      /* of them */
    uint16_t last_id; /* of this run */
    int notes;
    size_t turn;    /* whose bytes are read first: the queue may have room for a few only */
    bool is_full;   /* no descriptor for another connection */
    bool is_active; /* from the beginning of a run to its last byte */
};

/* Listens as the variables say (either may be NULL). 0, or -1. */
int relay_listen(struct relay *r, const char *relay, const char *proxy);

/* The next who waits there; -1: nobody, or (`*ret_is_short`) no descriptor or memory for it. */
int relay_accept(const struct relay_listener *l, bool *ret_is_short);

/* Sends away who waits at the listeners. */
void relay_empty(struct relay *r);

/* A run begins: whoever connected before it is sent away. */
void relay_begin(struct relay *r);

/* Fills up to RELAY_POLLED entries; returns how many. */
size_t relay_poll(const struct relay *r, struct pollfd *p);

/* Moves what there is to move; `p` as relay_poll left it, n of them. */
void relay_serve(struct relay *r, const struct pollfd *p, size_t n);

/* Something is to be told to the front and has room: poll must not wait. */
bool relay_is_due(const struct relay *r);

/* A frame of the front. False: a breach. */
bool relay_frame(struct relay *r, const struct frame *f);

/* Takes in all that wait at the listeners. True when there is any connection. */
bool relay_take_all(struct relay *r);

/*
 * The program is over; beside relay_serve, until false: something that it has sent is not yet with
 * the front. The ends of connections say what was the last of it, unless `is_stopped`: then the
 * program still has its ends, but sends no more.
 */
bool relay_drain(struct relay *r, bool is_stopped);

/* Ends all connections; what is lost by that is put into words. */
void relay_end(struct relay *r);
void relay_drop(struct relay *r); /* without words */

#endif
