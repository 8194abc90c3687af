#ifndef KEEPER_STATE_H
#define KEEPER_STATE_H

#include "keeper/crew.h"
#include "keeper/keeper.h"
#include "keeper/pool.h"

/* What the files of this room share: one loop, one thread, no lock. */

enum {
    KEEPER_QUIET_MS = 100,  /* refill and removal wait so long for the replies of a burst */
    KEEPER_BOOT_MS = 20000, /* start to READY, on a machine under load */
    KEEPER_RECONCILE_MS = 30000,
    KEEPER_ORPHAN_MS = 10000, /* a container of ours that we do not know may be a late create */
    KEEPER_LINE_MAX = 4096,   /* requests in line, over all policies */
    KEEPER_CLIENTS_MAX = 64,
};

struct client {
    int fd;
    bool is_gone;
    TAILQ_ENTRY(client) link;
};

TAILQ_HEAD(client_list, client);

/* A policy set lives as long as a pool uses a policy of it. */
struct set_node {
    struct policy_set set;
    TAILQ_ENTRY(set_node) link;
};

TAILQ_HEAD(set_list, set_node);

enum watch_kind {
    WATCH_SIGNAL,
    WATCH_CONTROL,
    WATCH_LISTEN,
    WATCH_CREW,
    WATCH_EVENTS,
    WATCH_CLIENT,
    WATCH_MEMBER
};

struct watch {
    enum watch_kind kind;
    void *ptr; /* NULL: not watched */
};

/* What became of members that left early, for a front that asks afterwards. */
struct obituary {
    uint64_t member;
    bool is_killed, is_oom;
};

enum { OBITUARIES = 256 };

struct keeper {
    const struct keeper_options *o;
    char epoch[17];
    struct set_list sets; /* newest first */
    struct pools pools;
    struct crew *crew;
    struct client_list clients;

    int epoll_fd, signal_fd, listen_fd, events_fd;
    struct watch *watches; /* by descriptor */
    size_t watches_n;
    struct obituary obituaries[OBITUARIES];
    unsigned obituaries_n;
    bool is_watching_events;

    unsigned starts_max, destroys_max, containers_max;
    unsigned starts_n, destroys_n; /* calls under way */
    int64_t quiet_until_ms;        /* of the quiet time that is on; INT64_MIN: none */

    bool is_engine_up;
    int64_t engine_retry_ms; /* no start before; a ping is due then while the engine is down */
    unsigned engine_fails;
    bool is_pinging;

    bool is_swept; /* the containers of dead instances were found and ordered away */
    bool is_listing;
    char (*left)[ENGINE_ID_MAX]; /* the last look saw these, ended, of keepers of one program */
    size_t left_n;
    int64_t reconcile_ms;

    bool is_stopping, is_hurried;
    int64_t stop_ms; /* running members are given up then */
    int64_t now_ms;  /* when this turn of the loop began */
};

/* ---- loop.c ---- */
int loop_watch(struct keeper *k, int fd, enum watch_kind kind, void *ptr, uint32_t events);
void loop_unwatch(struct keeper *k, int fd);

/* ---- life.c: members from start to removal ---- */
void life_start_due(struct keeper *k);
void life_destroy_due(struct keeper *k);
void life_deadlines(struct keeper *k);
void life_task_done(struct keeper *k, struct task *t);
void life_readable(struct keeper *k, struct member *m, bool is_hung_up);
void life_discard(struct keeper *k, struct member *m, enum discard_reason reason);
int64_t life_next_ms(const struct keeper *k);
void life_begin_quiet(struct keeper *k, struct member *m);
void life_end_quiet(struct keeper *k);
void life_done(struct member *m);
void life_ask_fate(struct keeper *k, struct client *c, uint64_t seq, uint64_t member);

/* What an attached container says first: one engine head and the READY frame, nothing more. */
enum peeked { PEEK_WAIT, PEEK_READY, PEEK_BAD };
enum peeked life_peek(int fd);
uint64_t life_limit(const struct pool *p, uint64_t memory); /* of the cgroup, for `memory` */
void life_call(struct keeper *k, struct member *m, struct task *t); /* hands it to the crew */

/* ---- line.c: who gets a container, and when ---- */
void line_take(struct keeper *k, const struct waiter *w);
void line_offer(struct keeper *k, struct member *m);
void line_tune(struct keeper *k, struct member *m);
void line_tuned(struct keeper *k, struct member *m, const struct task *t);
void line_leave(struct pool *p, struct waiter *w);
void line_refuse_all(struct pool *p, enum refuse_reason reason, uint64_t ms);

/* ---- clients.c: what the front says ---- */
struct client *clients_add(struct keeper *k, int fd);
void clients_readable(struct keeper *k, struct client *c);
void clients_drop(struct keeper *k, struct client *c);
void clients_reap(struct keeper *k); /* frees those that are gone */
bool clients_send(struct client *c, const struct handover *m, int fd);
void clients_refuse(struct client *c, uint64_t seq, enum refuse_reason reason, uint64_t ms);
int clients_accept(struct keeper *k);

#endif
