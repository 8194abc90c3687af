/*
 * One run, pulled through by its caller: take a container, send the job, read frames until the
 * RESULT. See docs/ARCHITECTURE.md for who enforces which deadline; this side only waits a little
 * longer than the keeper, whose kill ends the stream.
 */
#include "core/run.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/core_state.h"
#include "core/run_calls.h"
#include "core/run_relay.h"
#include "core/run_state.h"

enum { HARD_LATE_MS = 2000, POLLED = 5 };

struct run *run_new(struct core *core, const struct run_request *request)
{
    struct run *run = xcalloc(1, sizeof(*run));

    run->core = core;
    run->request = request;
    run->lease.fd = -1;
    run->in.ws_fd = -1;
    run->new_us = clock_us();
    run->hard_ms = INT64_MAX;
    run->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    run_result_init(&run->result, core_spool_dir(core));
    run->result.memory = request->memory ? request->memory : (uint64_t)request->policy->memory;
    return run;
}

void run_cancel(struct run *run)
{
    const uint64_t one = 1;

    atomic_store(&run->is_cancelled, true);
    (void)!write(run->cancel_fd, &one, sizeof(one));
}

static void cancelled(struct run *run)
{
    run->result.outcome = OUTCOME_CANCELLED;
    (void)str_copy(run->result.reason, "cancelled", sizeof(run->result.reason));
}

static void note_timings(struct run *run, int64_t took_us)
{
    struct run_result *r = &run->result;
    const struct handover_taken *t = &run->lease.taken;

    r->queue_us = t->queued_us;
    r->take_us = took_us - t->queued_us > 0 ? took_us - t->queued_us : 0;
    r->was_warm = t->was_parked;
    r->memory = t->memory;
    r->lacks = t->lacks;
    str_hex(r->container, t->container, sizeof(t->container));
    (void)str_copy(r->image, "sha256:", sizeof(r->image));
    str_hex(r->image + strlen("sha256:"), t->image, sizeof(t->image));
}

static int take(struct run *run, const struct handover_take *ask, struct err *err)
{
    const struct run_request *q = run->request;
    struct link_wait wait = {.client_fd = q->client_fd, .cancel_fd = run->cancel_fd};
    struct handover refusal;
    int64_t began = clock_us();
    int rc = link_take(core_link(run->core), ask, &wait, &run->lease, &refusal, err);

    if (rc == 0) {
        note_timings(run, clock_us() - began);
        return 0;
    }
    run->lease.fd = -1;
    run->result.queue_us = clock_us() - began;
    run->result.retry_after_s = (int)((refusal.ms + 999) / 1000);
    if (run->result.retry_after_s < 1)
        run->result.retry_after_s = 1;
    return -1;
}

/*
 * What the workspace holds now that the run's turn has come: who waits in line shall not keep a
 * list, which may be long, and see what those before it leave.
 */
static int list_workspace(struct run *run, struct handover_take *ask, struct err *err)
{
    struct workspace *w = run->request->workspace;
    uint64_t bytes = 0;

    if (!w)
        return 0;
    if (workspace_list(w, &run->sent, &run->sent_n, err) < 0)
        return -1;
    for (size_t i = 0; i < run->sent_n; i++)
        bytes += run->sent[i].size;
    if (bytes < RUN_BYTES_PER_MS)
        return 0;
    ask->run_ms += (uint32_t)(bytes / RUN_BYTES_PER_MS);
    link_extend(core_link(run->core), &run->lease, ask->run_ms);
    return 0;
}

/* The hard deadline counted the transfer of inputs in; from now on only the program's time counts. */
static void begin_time(struct run *run, const struct handover_take *ask)
{
    int64_t hard = (int64_t)run->job_timeout_ms + run->job_grace_ms + RUN_HARD_SPARE_MS;

    run->go_us = clock_us();
    run->hard_ms = clock_ms() + hard;
    if (ask->run_ms > hard + RUN_HARD_SPARE_MS)
        link_extend(core_link(run->core), &run->lease, (uint64_t)hard);
}

static void begin(struct run *run)
{
    struct handover_take ask;
    struct err err = {0};

    run->phase = PHASE_DONE;
    run_job_plan(run, &ask);
    if (run->job_timeout_ms == 0) {
        run->result.outcome = OUTCOME_TIMEOUT;
        (void)str_copy(run->result.reason, "no time was given", sizeof(run->result.reason));
        return;
    }
    if (take(run, &ask, &err) < 0) {
        if (err.kind == ERR_CANCELLED)
            cancelled(run);
        else
            run_result_infra(run, &err, run->result.retry_after_s);
        return;
    }
    if (list_workspace(run, &ask, &err) < 0) {
        run_result_infra(run, &err, 1);
        return;
    }
    run->storage = xmalloc(RUN_READ);
    frame_reader_init(&run->reader, run->storage, RUN_READ);
    if (run_job_send(run, &err) < 0) {
        run_result_infra(run, &err, 1);
        return;
    }
    run->result.was_sent = true;
    run->phase = PHASE_SENT;
    begin_time(run, &ask);
}

/* ---- reading ---- */

/* CANCEL goes out with the next feeding: a frame of input may be half sent. */
static void ask_to_stop(struct run *run)
{
    uint64_t count;

    (void)!read(run->cancel_fd, &count, sizeof(count));
    if (run->cancel_is_due)
        return;
    run->cancel_is_due = true;
    run_calls_end(run);
    if (run->hard_ms > clock_ms() + RUN_CANCEL_MS)
        run->hard_ms = clock_ms() + RUN_CANCEL_MS;
}

/* The program is over and what it left is on its way: give that the time that it needs. */
static void extend_for_files(struct run *run)
{
    uint64_t most = run->request->workspace ? (uint64_t)run->request->policy->workspace_quota
                                            : (uint64_t)run->request->policy->files_out_total;
    int64_t ms = RUN_COLLECT_MS + (int64_t)(most / RUN_BYTES_PER_MS);

    if (run->hard_ms >= run->ended_us / 1000 + ms)
        return;
    run->hard_ms = run->ended_us / 1000 + ms;
    link_extend(core_link(run->core), &run->lease, (uint64_t)ms);
}

/* 1: bytes came; 0: the stream ended; -1: the run is over for another reason. */
static int read_stream(struct run *run)
{
    size_t room;
    uint8_t *space = frame_space(&run->reader, &room);
    ssize_t n = read(run->lease.fd, space, room);
    long payload;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 1;
    if (n <= 0)
        return 0;
    payload = mux_strip(&run->mux, space, (size_t)n);
    if (payload < 0)
        return 0;
    frame_fill(&run->reader, (size_t)payload);
    return 1;
}

static void lost(struct run *run)
{
    if (run->cancel_is_due)
        cancelled(run);
    else
        run_result_lost(run);
    run->phase = PHASE_DONE;
}

/* Until when the container may keep silent. */
static int64_t patience_ms(const struct run *run)
{
    int64_t hard = run->hard_ms + HARD_LATE_MS, soft = run->request->give_up_ms;

    return soft && soft < hard && !run->is_told && run->phase != PHASE_COLLECT ? soft : hard;
}

/* Where the reply is due the machine is too busy for the container to say itself that time is up. */
static void be_impatient(struct run *run, int64_t until)
{
    if (until >= run->hard_ms + HARD_LATE_MS) {
        /* The keeper should have ended the stream by now: it is dead or stuck. */
        lost(run);
        return;
    }
    log_info("run %s: no word from the container at the time limit", run->result.id);
    run_result_timeout(run);
    run->is_overdue = true;
}

/* True when the time is up. */
static bool wait_until(const struct run *run, struct pollfd *f, size_t n, int64_t until)
{
    int64_t relay = run->relay ? relay_due_ms(run->relay) : INT64_MAX;
    int64_t calls = run_calls_due_ms(run), due = relay < calls ? relay : calls;
    int found = poll(f, n, clock_left_ms(due < until ? due : until));

    return (found == 0 && due >= until) || clock_ms() >= run->hard_ms + HARD_LATE_MS;
}

static void wait_and_read(struct run *run)
{
    enum feeding feeding = run->phase == PHASE_COLLECT ? FEED_OVER : run_job_feed(run);
    struct pollfd f[POLLED + RELAY_POLLED];
    size_t relayed = run->relay ? relay_poll(run->relay, f + POLLED) : 0;
    int64_t until;

    f[0] = (struct pollfd){.fd = run->lease.fd,
                           .events = (short)(POLLIN | (feeding == FEED_WANTS_WRITE ? POLLOUT : 0))};
    f[1] = (struct pollfd){.fd = run->is_told ? -1 : run->request->client_fd, .events = POLLRDHUP};
    f[2] = (struct pollfd){.fd = run->cancel_fd, .events = POLLIN};
    f[3] = (struct pollfd){.fd = feeding == FEED_WANTS_READ ? run->request->stdin_fd : -1,
                           .events = POLLIN};
    f[4] = (struct pollfd){.fd = run_calls_fd(run), .events = POLLIN};
    if (run->phase == PHASE_COLLECT)
        extend_for_files(run);
    until = patience_ms(run);
    if (wait_until(run, f, POLLED + relayed, until)) {
        be_impatient(run, until);
        return;
    }
    if (relayed)
        relay_serve(run->relay, f + POLLED, relayed);
    run_calls_serve(run);
    if (f[1].revents) {
        cancelled(run);
        run->phase = PHASE_DONE;
        return;
    }
    if (f[2].revents)
        ask_to_stop(run);
    if (f[0].revents & (POLLIN | POLLHUP | POLLERR) && read_stream(run) == 0)
        lost(run);
}

static bool next_frame(struct run *run, struct run_event *ret)
{
    struct frame f;
    int got;

    while (run->phase != PHASE_DONE && (got = frame_next(&run->reader, &f))) {
        int rc = got < 0 ? -1 : run_frame(run, &f, ret);

        if (got < 0) {
            struct err err = {0};

            (void)err_set(&err, ERR_PEER, "the container broke the protocol");
            run_result_infra(run, &err, 0);
        }
        if (rc < 0)
            run->phase = PHASE_DONE;
        if (rc > 0)
            return true;
    }
    return false;
}

static void finish_times(struct run *run)
{
    struct run_result *r = &run->result;
    int64_t now = clock_us();

    if (!run->go_us)
        return;
    r->run_us = (run->ended_us ? run->ended_us : now) - run->go_us;
    r->collect_us = run->ended_us ? now - run->ended_us : 0;
    if (!r->out_bytes)
        r->out_bytes = r->out.size;
    if (!r->err_bytes)
        r->err_bytes = r->err_out.size;
}

/* Its connections are counted before the result is final; an overdue run keeps none either. */
static void end_relay(struct run *run)
{
    relay_free(run->relay);
    run->relay = NULL;
}

void run_next(struct run *run, struct run_event *ret)
{
    if (run->phase == PHASE_NEW) {
        run->phase = PHASE_QUEUED;
        *ret = (struct run_event){.kind = RUN_QUEUED};
        return;
    }
    if (run->phase == PHASE_QUEUED)
        begin(run);
    while (run->phase != PHASE_DONE && !run->is_overdue) {
        if (next_frame(run, ret))
            return;
        if (run->phase != PHASE_DONE)
            wait_and_read(run);
    }
    run_incoming_drop(run);
    if (run->ended_us && !run->is_overdue && !run->cancel_is_due)
        run_relay_deliver(run);
    end_relay(run);
    run_calls_end(run);
    run_result_check(&run->result);
    finish_times(run);
    *ret = (struct run_event){.kind = RUN_DONE};
}

struct run_result *run_result(struct run *run)
{
    return &run->result;
}

struct run_result *run_wait(struct run *run)
{
    struct run_event ev;

    do
        run_next(run, &ev);
    while (ev.kind != RUN_DONE);
    return &run->result;
}

/* What an overdue run leaves in its workspace is kept all the same, behind the reply. */
static void collect_late(struct run *run)
{
    if (!run->is_overdue)
        return;
    run->is_overdue = false;
    run->is_told = true;
    run->hard_ms = clock_ms() + RUN_COLLECT_MS;
    link_extend(core_link(run->core), &run->lease, RUN_COLLECT_MS);
    (void)run_wait(run);
    run_result_timeout(run);
}

/* Whoever asked for it leaves before its end, such as a client to whom nothing can be sent. */
static void abandon(struct run *run)
{
    struct run_event ev;

    if (run->phase == PHASE_DONE)
        return;
    cancelled(run);
    run->cancel_is_due = true;
    run->phase = PHASE_DONE;
    run_next(run, &ev);
}

void run_free(struct run *run)
{
    if (!run)
        return;
    collect_late(run);
    abandon(run);
    if (run->lease.fd >= 0)
        link_done(core_link(run->core), &run->lease);
    core_tell_observers(run->core, run->request, &run->result);
    run_result_done(&run->result);
    workspace_entries_free(run->sent, run->sent_n);
    end_relay(run);
    run_calls_free(run);
    if (run->cancel_fd >= 0)
        (void)close(run->cancel_fd);
    free(run->storage);
    free(run);
}
