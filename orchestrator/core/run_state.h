#ifndef CORE_RUN_STATE_H
#define CORE_RUN_STATE_H

#include <stdatomic.h>

#include "core/link.h"
#include "core/run.h"
#include "core/workspace.h"
#include "frames/frame.h"
#include "frames/mux.h"
#include "frames/stream.h"
#include "policy/policy.h"

/* What the files behind run.h share. One thread uses a run, but for `is_cancelled`. */

enum {
    RUN_FEED = 4096,                         /* a STDIN frame */
    RUN_READ = 2 * (FRAME_HEAD + FRAME_MAX), /* storage of the frame reader */
    RUN_VALUE_MAX = 16 * 1024 * 1024,
    RUN_FAULT_MAX = 2 * 1024 * 1024,
    RUN_OMITTED_MAX = 1000,
    RUN_LOG_MAX = 100000,
    RUN_HARD_SPARE_MS = 400,  /* soft end + grace to the keeper's kill: for stop and gathering */
    RUN_LIST_MS = 2000,       /* to look through a workspace */
    RUN_COLLECT_MS = 2000,    /* gathering, before the size is counted in */
    RUN_BYTES_PER_MS = 16384, /* slowest transfer that is waited for */
    RUN_CANCEL_MS = 1000,     /* a cancelled run may still tell what it printed */
    RUN_DELIVER_MS = 300,     /* for what a run sent whose time is up */
};

enum run_phase {
    PHASE_NEW,     /* nothing told yet */
    PHASE_QUEUED,  /* QUEUED was told: take a container next */
    PHASE_SENT,    /* GO was sent */
    PHASE_RUNNING, /* STARTED came */
    PHASE_COLLECT, /* ENDED came */
    PHASE_DONE,
};

/* An output file on its way. */
struct incoming {
    bool is_open;
    uint64_t left;
    struct run_out_file file;
    int ws_fd; /* into the workspace instead; -1: none */
    uint64_t ws_token;
    mode_t mode;
};

/* What came of one stream of output, and how much of it is kept. */
struct shown {
    uint64_t bytes, characters; /* the former with those that are not kept */
    unsigned tail;              /* bytes that the last character still lacks */
};

struct run {
    struct core *core;
    const struct run_request *request;
    struct run_result result;
    enum run_phase phase;

    struct lease lease;
    uint8_t *storage;
    struct frame_reader reader;
    struct mux mux;
    struct incoming in;
    const struct run_out_file *told_file; /* RUN_FILE to be told */

    struct workspace_entry *sent; /* what the workspace held at the start */
    size_t sent_n;
    bool workspace_hangs;     /* its porter did not answer in time */
    size_t stdin_done;        /* bytes of standard input that were put into frames */
    uint8_t feed[RUN_FEED];   /* a frame that is being sent … */
    const uint8_t *feed_from; /* … here, or in the relay */
    size_t feed_at, feed_len;
    bool stdin_is_over; /* the last STDIN frame was made */

    struct calls *calls; /* NULL until the program makes a host call */
    bool calls_are_over; /* what still comes of them is ignored */
    bool calls_had_turn; /* the relay is next */

    struct relay *relay;      /* NULL until the program opens a connection */
    bool relay_had_turn;      /* standard input is next, before the relay and replies to calls */
    uint32_t stdin_under_way; /* bytes of it that the warden still holds, where there is a relay */

    int cancel_fd;
    atomic_bool is_cancelled;
    bool cancel_is_due, cancel_was_sent;
    bool is_overdue; /* told as timed out, though its container goes on */
    bool is_told;    /* the reply is out: only its files are still waited for */

    int64_t new_us, go_us, ended_us;
    int64_t hard_ms;                 /* clock_ms after which the keeper must have killed it */
    struct shown shown[2];           /* of stdout and of stderr */
    uint64_t files_total, entries_n; /* bytes announced; files and directories */
    uint32_t job_timeout_ms, job_grace_ms;
    bool saw_ready;
};

/* ---- run_job.c ---- */

/* Bounds for the keeper, from what is asked for. */
void run_job_plan(struct run *run, struct handover_take *ret_take);

/* Sends everything up to GO. -1: the container was lost while sending; nothing has run. */
int run_job_send(struct run *run, struct err *err) MUST_CHECK;

/*
 * Sends answers to calls and standard input, as far as they are there and the stream takes them
 * now: frame after frame, for nothing may come between the halves of one.
 */
enum feeding { FEED_OVER, FEED_WANTS_WRITE, FEED_WANTS_READ };
enum feeding run_job_feed(struct run *run);

/* ---- run_frames.c ---- */

/* Takes one frame in. 1: `ret` is to be told; 0: nothing to tell; -1: the peer broke the rules. */
int run_frame(struct run *run, const struct frame *f, struct run_event *ret);
void run_incoming_drop(struct run *run);

/* ---- run_result.c ---- */
void run_result_init(struct run_result *r, const char *spool_dir);
void run_result_done(struct run_result *r);
void run_result_report(struct run *run, const struct outcome_report *report);
void run_result_check(struct run_result *r); /* at the very end, however that came */

/* The front ends the program for what it did. */
void run_result_misused(struct run *run, const char *how);

/* The end without a RESULT frame: `lost` asks the keeper what became of the container. */
void run_result_timeout(struct run *run);
void run_result_lost(struct run *run);
void run_result_infra(struct run *run, const struct err *err, int retry_s);

#endif
