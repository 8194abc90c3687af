#include "warden.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { RELAY_LAST_US = 300000 }; /* for what a run sent whose time is up */

int64_t warden_now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t warden_cpu_us(const struct warden *w)
{
    struct rusage u;
    clockid_t clock;
    struct timespec t = {0};

    (void)getrusage(RUSAGE_CHILDREN, &u);
    if (w->child.pid && clock_getcpuclockid(w->child.pid, &clock) == 0)
        (void)clock_gettime(clock, &t);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec + t.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec + t.tv_nsec / 1000);
}

int warden_wait_room(void *warden)
{
    struct warden *w = warden;

    for (;;) {
        short in = warden_can_take(w) ? POLLIN : 0;
        struct pollfd p[2] = {
            {.fd = FRONT_IN,  .events = in     },
            {.fd = FRONT_OUT, .events = POLLOUT}
        };

        if (queue_has_room(&w->out))
            return 0;
        if (queue_flush(&w->out, FRONT_OUT) < 0)
            w->is_lost = true;
        if (w->is_lost)
            return -1;
        if (queue_has_room(&w->out))
            return 0;
        (void)poll(p, 2, -1);
        if ((p[0].revents & ~POLLIN) || (p[1].revents & ~POLLOUT))
            w->is_lost = true;
        else if (p[0].revents)
            warden_read_front(w);
    }
}

/* A frame to the front, whenever that takes it. */
static void tell(struct warden *w, uint8_t type, const void *data, size_t len)
{
    if (warden_wait_room(w) < 0)
        return;
    queue_frame(&w->out, &(struct frame){.type = type, .len = (uint32_t)len, .data = data});
}

static bool is_alone(const struct warden *w)
{
    bool is_counted;
    uint64_t tasks = cgroup_read(&w->cgroup, CGROUP_TASKS, &is_counted);

    return child_is_alone(&w->child, is_counted, (size_t)tasks);
}

static bool has_relayed(const struct warden *w)
{
    return w->relay && relay_take_all(w->relay);
}

/*
 * Brings all processes to rest. A pandas process takes 10 ms to die and 0.1 ms to stop, and the
 * container is destroyed soon anyway: a worker that is alone and has reported is only stopped.
 * With connections it dies: only their ends show that all of what was sent has arrived.
 * Returns whether the worker can serve another run; then it is stopped too, until the result is
 * on its way.
 */
static bool settle(struct warden *w)
{
    const struct ending *e = &w->ending;
    bool is_limited = e->is_cancelled || e->is_over_output || e->is_timeout;
    bool is_good = w->pump.has_report && !w->pump.is_broken && w->child.pid;
    bool is_kept = is_good && !is_limited && w->intake.job.flags & JOB_KEEP;

    /* What it has not taken yet would mix with the next job. */
    is_kept = is_kept && queue_is_empty(&w->in);
    if (is_kept && !is_alone(w) && child_kill_others(&w->child) < 0)
        is_good = is_kept = false;
    if (is_good && child_stop(&w->child) == 0 && (is_kept || (is_alone(w) && !has_relayed(w))))
        return is_kept;
    child_kill_all(&w->child);
    return false;
}

/* Everything that was written before the end goes out before ENDED. */
static void drain(struct warden *w)
{
    struct pump *p = &w->pump;
    uint64_t seen;

    do {
        seen = p->seen[PUMP_OUT] + p->seen[PUMP_ERR];
        while (!pump_drain(p) && warden_wait_room(w) == 0)
            continue;
    } while (seen != p->seen[PUMP_OUT] + p->seen[PUMP_ERR] && !p->is_over_output && !w->is_lost);
    while (!p->has_report && !p->is_broken && !w->is_lost) {
        pump_control(p, true);
        if (!p->has_more)
            break;
        (void)warden_wait_room(w);
    }
}

/* Waits for what moves the relay; until then at most. */
static void relay_turn(struct warden *w, int64_t until)
{
    struct pollfd p[3 + RELAY_POLLED];
    size_t n = relay_poll(w->relay, p + 3);
    int64_t left = (until - warden_now_us()) / 1000;

    p[0] = (struct pollfd){.fd = FRONT_IN, .events = warden_can_take(w) ? POLLIN : 0};
    p[1] = (struct pollfd){.fd = queue_is_empty(&w->out) ? -1 : FRONT_OUT, .events = POLLOUT};
    p[2] = (struct pollfd){.fd = w->child.signal_fd, .events = POLLIN};
    if (left >= 0)
        (void)poll(p, 3 + n, left < INT_MAX ? (int)left + 1 : INT_MAX);
    if (p[2].revents) {
        child_take_signals(&w->child);
        child_reap(&w->child);
    }
    if (queue_flush(&w->out, FRONT_OUT) < 0 ||
        ((p[0].revents | p[1].revents) & ~(POLLIN | POLLOUT)))
        w->is_lost = true;
    else if (p[0].revents)
        warden_read_front(w);
    else
        warden_take_frames(w);
    relay_serve(w->relay, p + 3, n);
}

/*
 * What the program has sent goes out, as it would from any machine, while the run has time left;
 * its ENDED tells the front that this was all.
 */
static void end_relay(struct warden *w, bool is_stopped)
{
    const struct ending *e = &w->ending;
    int64_t last = warden_now_us() + RELAY_LAST_US;
    int64_t until = w->soft_at_us > last ? w->soft_at_us : last;

    while (!w->is_lost && !w->child.is_told && !e->is_cancelled &&
           relay_drain(w->relay, is_stopped) && warden_now_us() < until)
        relay_turn(w, until);
    relay_end(w->relay);
}

static void fill_usage(const struct warden *w, const struct cgroup_look *after,
                       struct outcome_report *r)
{
    r->cpu_us = cgroup_moved(&w->before, after, CGROUP_CPU);
    if (!cgroup_knows(&w->before, CGROUP_CPU) || !cgroup_knows(after, CGROUP_CPU))
        r->cpu_us = warden_cpu_us(w) - w->cpu_at_go_us;
    if (cgroup_peak(&w->before, after, &r->peak_bytes))
        r->flags |= REPORT_PEAK_KNOWN;
}

static void decide(struct warden *w, const struct cgroup_look *after, struct outcome_report *r)
{
    struct ending *e = &w->ending;

    e->has_report = w->pump.has_report;
    e->report = w->pump.report;
    e->is_dead = w->child.pid == 0;
    e->status = w->child.status;
    if (e->report.os_errno || e->is_dead) {
        e->is_disk_full = verdict_disk_is_full(w->work_dir);
        e->has_file_limit = verdict_has_file_limit();
    }
    verdict_decide(e, &w->before, after, r);
}

static void gather(struct warden *w)
{
    struct gather *g = w->gather;

    g->job = &w->intake.job;
    g->known = w->intake.known;
    g->out = &w->out;
    g->wait_room = warden_wait_room;
    g->ctx = w;
    (void)gather_run(g, w->intake.work_fd, "/tmp");
}

static void send_result(struct warden *w, const struct outcome_report *r)
{
    uint8_t data[REPORT_LEN];

    report_encode(data, r);
    tell(w, FRAME_RESULT, data, sizeof(data));
}

void warden_finish(struct warden *w)
{
    const struct pump *p = &w->pump;
    struct outcome_report r = {.wall_us = (uint64_t)(warden_now_us() - w->go_us)};
    struct cgroup_look after;
    bool is_kept;

    w->state = WARDEN_FINISHING;
    feed_close(&w->feed);
    is_kept = settle(w);
    /* Nobody takes what it holds for the worker, and it must not keep the front's frames away. */
    if (!is_kept)
        queue_init(&w->in, w->in.buf, w->in.cap);
    drain(w);
    if (w->relay)
        end_relay(w, is_kept);
    if (p->is_over_output && is_kept) {
        child_kill_all(&w->child);
        is_kept = false;
    }
    w->ending.is_over_output |= p->is_over_output;
    cgroup_look(&w->cgroup, &after);
    fill_usage(w, &after, &r);
    decide(w, &after, &r);
    r.stdout_bytes = p->seen[PUMP_OUT];
    r.stderr_bytes = p->seen[PUMP_ERR];
    r.flags |= p->is_cut[PUMP_OUT] ? REPORT_STDOUT_CUT : 0;
    r.flags |= p->is_cut[PUMP_ERR] ? REPORT_STDERR_CUT : 0;
    tell(w, FRAME_ENDED, NULL, 0);
    if (w->intake.job.flags & JOB_GATHER && !w->is_lost)
        gather(w);
    r.flags |= is_kept ? REPORT_KEPT : 0;
    send_result(w, &r);
    if (is_kept)
        child_continue(&w->child);
    w->state = is_kept ? WARDEN_IDLE : WARDEN_OVER;
}

void warden_refuse(struct warden *w)
{
    const struct intake *in = &w->intake;
    struct outcome_report r = {.end = END_CANCELLED, .term_signal = SIGKILL};

    w->state = WARDEN_FINISHING;
    feed_close(&w->feed);
    child_kill_all(&w->child);
    if (!w->ending.is_cancelled) {
        char text[NAME_PATH_MAX + 128];
        int sys = in->failed_errno;
        int len = snprintf(text, sizeof(text), "input file '%s' cannot be written: %s\n",
                           in->failed_path, strerror(sys));

        r.end = sys == ENOSPC || sys == EDQUOT || sys == EFBIG ? END_DISK : END_NORMAL;
        r.exit_code = 1;
        r.term_signal = 0;
        r.stderr_bytes = (uint64_t)len;
        if (r.stderr_bytes <= in->job.output_soft)
            tell(w, FRAME_STDERR, text, (size_t)len);
        else
            r.flags = REPORT_STDERR_CUT;
    }
    tell(w, FRAME_ENDED, NULL, 0);
    send_result(w, &r);
    w->state = WARDEN_OVER;
}
