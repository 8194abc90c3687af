#ifndef KEEPER_MEMBER_H
#define KEEPER_MEMBER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "engine/engine.h"
#include "frames/handover.h"

struct client;
struct pool;

/* A member's state is also the count of its pool it stands in; member_move is the only mover. */
enum member_state {
    MEMBER_STARTING, /* create, attach, start are under way in a worker thread */
    MEMBER_BOOTING,  /* started; READY has not come yet */
    MEMBER_SIZING,   /* READY; its footprint is being measured before it is parked */
    MEMBER_PARKED,   /* waits for a run */
    MEMBER_TUNING,   /* taken; its memory limit is being changed before hand-over */
    MEMBER_RUNNING,  /* handed over */
    MEMBER_REMOVING, /* to be destroyed, or being destroyed */
    MEMBER_STATES,
};

/* One container. Owned by its pool; only the keeper's loop touches it. */
struct member {
    uint64_t id; /* never used twice within an epoch */
    struct pool *pool;
    enum member_state state;
    char name[96];
    char container[ENGINE_ID_MAX]; /* "" until started */
    int fd;                        /* the stream; -1 once shut down */
    bool is_watched;               /* fd is in the epoll set */

    int64_t ordered_ms;     /* the start was ordered */
    int64_t since_ms;       /* in this state */
    int64_t deadline_ms;    /* of BOOTING and RUNNING; next try of REMOVING */
    int64_t quiet_until_ms; /* RUNNING: the engine is left alone until its reply, or until then */
    uint64_t memory;        /* bytes that the program may add under the limit that is set */

    struct client *client; /* TUNING, RUNNING */
    uint64_t seq;          /* of the TAKE that it serves */
    struct handover_take take;
    int64_t asked_us;
    bool was_parked;

    uint64_t sized_bytes; /* SIZING: what the last look saw, and how often it stood still */
    unsigned sized_times;

    enum discard_reason reason; /* REMOVING */
    unsigned tries;
    unsigned busy;  /* engine calls on it that are under way */
    bool is_oom;    /* the engine said so */
    bool is_killed; /* by the hard deadline */
    bool is_served; /* RUNNING: the front is done with it */
    bool is_doomed; /* discard it as soon as the call under way is over */

    TAILQ_ENTRY(member) in_all;
    TAILQ_ENTRY(member) in_parked; /* oldest first */
};

TAILQ_HEAD(member_list, member);

/* A TAKE that stands in line. */
struct waiter {
    struct client *client;
    uint64_t seq;
    struct handover_take take;
    int64_t asked_us, deadline_ms;
    TAILQ_ENTRY(waiter) link;
};

TAILQ_HEAD(waiter_list, waiter);

#endif
