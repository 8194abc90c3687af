#ifndef WARDEN_WARDEN_H
#define WARDEN_WARDEN_H

#include <stdbool.h>
#include <stdint.h>

#include "cgroup.h"
#include "child.h"
#include "feed.h"
#include "gather.h"
#include "intake.h"
#include "pump.h"
#include "queue.h"
#include "relay.h"
#include "verdict.h"

/*
 * Theory of operation. The warden is pid 1 of a container and its only way out: standard input and
 * output are the stream to the front. It starts the worker at once, says READY when that is up,
 * and then serves jobs: take in (intake), run (pump, with two deadlines), finish (stop or kill,
 * drain, gather, result). One thread, one poll; nothing blocks but short waits for a process to
 * stop or die, and no buffer grows. When the stream ends it exits, and the kernel ends the rest.
 */
enum warden_state {
    WARDEN_BOOT,   /* the interpreter starts */
    WARDEN_IDLE,   /* parked */
    WARDEN_INTAKE, /* between JOB and GO */
    WARDEN_RUNNING,
    WARDEN_FINISHING, /* the program is over, the result is not yet sent */
    WARDEN_OVER,      /* waiting for the stream to close */
};

enum {
    WARDEN_OUT_CAP = 4 * (FRAME_HEAD + FRAME_MAX),
    WARDEN_IN_CAP = REPLY_WINDOW + 2 * (FRAME_HEAD + FRAME_MAX), /* all replies leave room */
    WARDEN_STDIN_CAP = 16 * (FRAME_HEAD + FRAME_MAX),
};

enum { FRONT_IN = 0, FRONT_OUT = 1 }; /* descriptors of the stream */

struct warden {
    enum warden_state state;
    bool is_lost;    /* the stream is broken: exit */
    bool has_frames; /* frames from the front were read but had no place yet */
    const char *work_dir;
    struct child child;
    struct cgroup cgroup;
    struct queue out; /* to the front */
    struct queue in;  /* to the worker */
    struct feed feed; /* standard input, to the worker */
    struct frame_reader front;
    struct intake intake;
    struct pump pump;
    struct gather *gather;
    struct relay *relay; /* NULL: the policy has none */
    uint32_t stdin_n;    /* bytes of standard input taken for which the front has no credit */
    uint32_t replies_n;  /* the same of REPLY frames */

    unsigned runs; /* jobs that were begun on this stream */
    struct ending ending;
    struct cgroup_look before;
    int64_t go_us, soft_at_us, kill_at_us;
    uint64_t cpu_at_go_us; /* where the cgroup does not tell */
};

/* CLOCK_MONOTONIC. */
int64_t warden_now_us(void);

/* User and system time of the worker and of all that was reaped. */
uint64_t warden_cpu_us(const struct warden *w);

/* Reads from the front and acts on it. Sets is_lost at the end of the stream or a breach. */
void warden_read_front(struct warden *w);

/* Whatever the next frame is, there is a place for it. */
bool warden_can_take(const struct warden *w);

/* Acts on frames that were read but had to wait. */
void warden_take_frames(struct warden *w);

/* Blocks until the queue to the front has room for a frame. -1 when the stream is lost. */
int warden_wait_room(void *warden);

/* Ends the run, for whatever reason `ending` and the pump hold, and sends its result. */
void warden_finish(struct warden *w);

/* The same for a job that never began: cancelled, or an input file could not be written. */
void warden_refuse(struct warden *w);

/* Serves until the stream ends. The exit status of the warden. */
int warden_loop(struct warden *w);

#endif
