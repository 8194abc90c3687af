#ifndef TESTS_KEEPER_RIG_H
#define TESTS_KEEPER_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "engine/engine.h"
#include "keeper/keeper.h"

/*
 * keeper_run in a process of its own over an engine that this program plays, on a clock that stands
 * still until a test moves it. Include keeper_rig.c once per program: it takes the place of
 * base/clock.c.
 *
 * What the engine is asked and how it answers stands in memory that both processes share (`fake`).
 * The containers' ends of the streams come to the test.
 */

enum verb {
    VERB_PING,
    VERB_IMAGE,
    VERB_PARK,
    VERB_UPDATE,
    VERB_USAGE,
    VERB_INSPECT,
    VERB_WAIT,
    VERB_DESTROY,
    VERB_LIST,
    VERBS,
};

enum { BOXES_MAX = 320, FOREIGN_MAX = 8, FAIL_ALWAYS = 1 << 30, RIG_PATIENCE_S = 30 };

/* A container that the keeper had made. */
struct box {
    char id[65], name[128], image[72], policy[64], instance[64], epoch[32];
    int64_t memory;  /* the limit that holds now */
    int64_t made_ms; /* clock of the test */
    bool is_gone;
    bool was_closed; /* its stream was shut down before it was destroyed */
};

struct verb_state {
    unsigned calls, inside;
    int fails; /* so many calls from now on fail with `kind` */
    enum err_kind kind;
    bool is_held; /* calls wait inside */
};

struct fake {
    pthread_mutex_t lock; /* robust: a keeper's process may end while a thread of it holds it */
    uint32_t changes; /* a futex: threads that died while they waited cannot hold up the others */
    int64_t now_ms;

    struct verb_state verbs[VERBS];
    char failing_policy[64]; /* park fails for this policy alone; "" = for all */
    bool says_nothing;       /* new containers do not say READY by themselves */
    char digest[72];         /* of every image … */
    char missing[64];        /* … but of this one, which is not there */
    uint64_t usage;
    struct engine_state state; /* what inspect tells */
    bool is_watch_broken;      /* watches end at once */
    char oom_id[65];           /* the next event: this container, an oom */

    struct box boxes[BOXES_MAX];
    unsigned boxes_n;
    struct engine_container foreign[FOREIGN_MAX]; /* what else list tells; id "" once destroyed */
    unsigned foreign_n;
    bool is_over; /* keeper_run has returned … */
    int rc;       /* … with this */
    struct err err;
};

extern struct fake *fake;

/* Under the lock, or where nobody else can write. */
#define FAKE(verb) (fake->verbs[verb])

/* Waits until what the engine side has seen or done makes it true. */
#define UNTIL(condition)                           \
    do {                                           \
        rig_lock();                                \
        while (!(condition))                       \
            rig_wait_change(#condition, __LINE__); \
        rig_unlock();                              \
    } while (0)

/* Waits until the keeper's numbers of the (newest) pool of `policy` make it true of `pool`. */
#define UNTIL_POOL(policy, condition)                        \
    do {                                                     \
        time_t until_ = time(NULL) + RIG_PATIENCE_S;         \
        struct handover_pool pool;                           \
                                                             \
        do                                                   \
            pool = rig_pool(policy);                         \
        while (!(condition) && time(NULL) <= until_);        \
        ck_assert_msg(condition, "in vain: %s", #condition); \
    } while (0)

void rig_lock(void);
void rig_unlock(void);
void rig_wait_change(const char *what, int line);

/* First of all: shared memory, a state directory, a policy directory. */
void rig_init(void);
void rig_done(void); /* removes them; the keeper must be over */

extern char rig_dir[64];             /* holds state/ and policies/ */
extern struct settings rig_settings; /* may be changed before rig_start */
extern struct keeper_options rig_options;
extern int rig_front;        /* our end of the first client; -1 once closed */
extern pid_t rig_keeper_pid; /* 0: it is over */

/* Writes a policy: the rig's own default (nothing parked, four at most) and the lines given. */
void rig_policy(const char *name, const char *lines);
void rig_remove_policy(const char *name);
uint64_t rig_key(const char *policy); /* as the files are now */

void rig_start(void);
int rig_end(void); /* closes the control pair, waits; what keeper_run returned */
int rig_wait(void);
void rig_signal(int sig);
void rig_close_control(void);
int rig_new_client(void); /* through the control pair */

/* Moves the clock, and waits until the keeper has done what is due. */
void rig_advance(int64_t ms);
void rig_turn(void); /* the latter alone */
/* Moves the clock until the keeper measures a container; the verb is held. */
void rig_until_measuring(void);

/* The container's end of the stream of boxes[i]. */
int rig_stream(unsigned i);
void rig_say_ready(unsigned i);
unsigned rig_box_of(const struct handover *taken); /* which box was handed out */

/* Numbers of the newest pool of the policy; all zero when there is none. */
struct handover_pool rig_pool(const char *policy);
struct handover_pool rig_pool_of(uint64_t key, unsigned nth); /* 0 = newest */
struct handover_counts rig_counts(void);

/* ---- a front ---- */
void rig_take(int fd, uint64_t seq, uint64_t key, uint32_t wait_ms);
void rig_ask(int fd, struct handover m);
struct handover rig_answer(int fd, int *ret_fd); /* `ret_fd` NULL: a descriptor is closed */
bool rig_is_quiet(int fd); /* no message is there, after a turn of the keeper */
bool rig_is_closed(int fd);

/* TAKE and its TAKEN; the stream's descriptor. */
int rig_run(const char *policy, uint64_t seq, struct handover *ret_taken);
void rig_finish(const struct handover *taken, int fd); /* closes the stream, says DONE */

/* Boxes that exist now. */
unsigned rig_alive(void);

/* A keeper that has parked the minimum of all its pools and is measuring nothing any more. */
void rig_settle(const char *policy, unsigned parked);

#endif
