#include "warden.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "frames/le.h"

enum { AT_IN, AT_OUT, AT_SIGNAL, AT_STDOUT, AT_STDERR, AT_CONTROL, AT_STDIN, POLLED };

/*
 * True when it is one of the relay. What comes while no run goes on was on its way when the last
 * one ended.
 */
static bool take_relay(struct warden *w, const struct frame *f)
{
    struct relay *r = w->relay;

    if (f->type < FRAME_RELAY_OPEN || f->type > FRAME_RELAY_MORE)
        return false;
    if (!r || (r->is_active && !relay_frame(r, f)))
        w->is_lost = true;
    return true;
}

static void begin(struct warden *w)
{
    const struct job *job = &w->intake.job;

    if (w->intake.failed_errno) {
        warden_refuse(w);
        return;
    }
    pump_begin(&w->pump, job);
    w->replies_n = 0;
    if (w->relay)
        relay_begin(w->relay);
    cgroup_look(&w->cgroup, &w->before);
    if (!cgroup_knows(&w->before, CGROUP_CPU))
        w->cpu_at_go_us = warden_cpu_us(w);
    w->go_us = warden_now_us();
    w->soft_at_us = w->go_us + (int64_t)job->timeout_ms * 1000;
    w->kill_at_us = w->soft_at_us + (int64_t)job->grace_ms * 1000;
    queue_frame(&w->in,
                &(struct frame){.type = FRAME_GO, .flags = job->flags & JOB_KEEP ? FRAME_MORE : 0});
    /* The worker first, the front's clock can wait. A worker that is gone is noticed by its death. */
    if (w->child.control_fd >= 0)
        (void)queue_flush(&w->in, w->child.control_fd);
    /* Only a front that has not read the last result leaves no room here. */
    if (queue_room(&w->out) < FRAME_HEAD)
        w->is_lost = true;
    else
        queue_frame(&w->out, &(struct frame){.type = FRAME_STARTED});
    w->state = WARDEN_RUNNING;
}

/* The first input has its pipe from the start; each later one of a kept worker needs another. */
static void renew_stdin(struct warden *w)
{
    w->stdin_n = 0;
    if (w->runs++ > 0)
        feed_open(&w->feed, child_new_stdin(&w->child));
}

static void take_stdin(struct warden *w, const struct frame *f)
{
    w->stdin_n += f->len;
    feed_add(&w->feed, f->data, f->len, !(f->flags & FRAME_MORE));
}

static void take_reply(struct warden *w, const struct frame *f)
{
    w->replies_n += FRAME_HEAD + f->len;
    queue_frame(&w->in, f);
}

static void take_in(struct warden *w, const struct frame *f)
{
    if (f->type == FRAME_CANCEL) {
        w->ending.is_cancelled = true;
        warden_refuse(w);
        return;
    }
    if (f->type == FRAME_STDIN) {
        take_stdin(w, f);
        return;
    }
    switch (intake_frame(&w->intake, f, &w->in)) {
    case INTAKE_MORE:
        w->state = WARDEN_INTAKE;
        break;
    case INTAKE_GO:
        begin(w);
        break;
    case INTAKE_BAD:
        w->is_lost = true;
        break;
    }
}

/* What the front sends during a run may cross its end on the way; then it means nothing. */
static void take_frame(struct warden *w, const struct frame *f)
{
    bool may_be_late = f->type == FRAME_CANCEL || f->type == FRAME_REPLY || f->type == FRAME_STDIN;

    if (take_relay(w, f))
        return;
    switch (w->state) {
    case WARDEN_IDLE:
        if (may_be_late)
            return;
        w->ending = (struct ending){0};
        renew_stdin(w);
        take_in(w, f);
        return;
    case WARDEN_INTAKE:
        take_in(w, f);
        return;
    case WARDEN_RUNNING:
        if (f->type == FRAME_CANCEL)
            w->ending.is_cancelled = true;
        else if (f->type == FRAME_REPLY)
            take_reply(w, f);
        else if (f->type == FRAME_STDIN)
            take_stdin(w, f);
        else
            w->is_lost = true;
        return;
    case WARDEN_FINISHING:
        w->ending.is_cancelled |= f->type == FRAME_CANCEL;
        w->is_lost |= !may_be_late;
        return;
    case WARDEN_BOOT:
    case WARDEN_OVER:
        w->is_lost |= !may_be_late;
        return;
    }
}

bool warden_can_take(const struct warden *w)
{
    return queue_has_room(&w->in) && queue_has_room(&w->feed.queue);
}

void warden_take_frames(struct warden *w)
{
    struct frame f;

    w->has_frames = true;
    while (!w->is_lost && warden_can_take(w)) {
        int got = frame_next(&w->front, &f);

        if (got < 0)
            w->is_lost = true;
        if (got <= 0) {
            w->has_frames = false;
            return;
        }
        take_frame(w, &f);
    }
}

void warden_read_front(struct warden *w)
{
    size_t space;
    uint8_t *to;
    ssize_t n;

    /* There is space for more only when no whole frame is left. */
    warden_take_frames(w);
    if (w->is_lost || !warden_can_take(w))
        return;
    to = frame_space(&w->front, &space);
    n = read(FRONT_IN, to, space);
    if (n > 0)
        frame_fill(&w->front, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        w->is_lost = true;
    warden_take_frames(w);
}

static bool is_over(const struct warden *w)
{
    const struct pump *p = &w->pump;

    return w->ending.is_cancelled || w->ending.is_over_output || p->is_broken || p->has_report ||
           w->child.pid == 0 || warden_now_us() >= w->kill_at_us;
}

/* Stage one: the worker may flush and say farewell until stage two. */
static void check_deadline(struct warden *w)
{
    if (w->ending.is_timeout || warden_now_us() < w->soft_at_us)
        return;
    w->ending.is_timeout = true;
    if (w->child.pid)
        (void)kill(w->child.pid, SIGXCPU);
}

static int poll_timeout(const struct warden *w)
{
    int64_t left;

    if (w->pump.has_more && w->state != WARDEN_OVER && queue_has_room(&w->out))
        return 0;
    if (w->has_frames && warden_can_take(w))
        return 0;
    if (w->relay && w->state == WARDEN_RUNNING && relay_is_due(w->relay))
        return 0;
    if (w->state != WARDEN_RUNNING)
        return -1;
    left = (w->ending.is_timeout ? w->kill_at_us : w->soft_at_us) - warden_now_us();
    if (left <= 0)
        return 0;
    left = (left + 999) / 1000;
    return left > INT_MAX ? INT_MAX : (int)left;
}

/* A descriptor that is not wanted now is left out: its hang-up would wake the loop for ever. */
static void set_polled(const struct warden *w, struct pollfd p[POLLED])
{
    bool is_running = w->state == WARDEN_RUNNING;
    bool may_read = w->state != WARDEN_BOOT && warden_can_take(w);
    short control = (short)((!is_running || queue_has_room(&w->out) ? POLLIN : 0) |
                            (queue_is_empty(&w->in) ? 0 : POLLOUT));

    for (int i = 0; i < POLLED; i++)
        p[i] = (struct pollfd){.fd = -1};
    p[AT_IN] = (struct pollfd){.fd = FRONT_IN, .events = may_read ? POLLIN : 0};
    p[AT_OUT] = (struct pollfd){.fd = FRONT_OUT, .events = queue_is_empty(&w->out) ? 0 : POLLOUT};
    p[AT_SIGNAL] = (struct pollfd){.fd = w->child.signal_fd, .events = POLLIN};
    if (is_running && pump_wants(&w->pump, PUMP_OUT))
        p[AT_STDOUT] = (struct pollfd){.fd = w->child.out_fd, .events = POLLIN};
    if (is_running && pump_wants(&w->pump, PUMP_ERR))
        p[AT_STDERR] = (struct pollfd){.fd = w->child.err_fd, .events = POLLIN};
    if (feed_is_waiting(&w->feed))
        p[AT_STDIN] = (struct pollfd){.fd = w->feed.fd, .events = POLLOUT};
    if (w->state != WARDEN_OVER && control)
        p[AT_CONTROL] = (struct pollfd){.fd = w->child.control_fd, .events = control};
}

static void serve_worker(struct warden *w, const struct pollfd p[POLLED])
{
    bool is_running = w->state == WARDEN_RUNNING;

    if (w->state == WARDEN_OVER)
        return;
    if (p[AT_STDOUT].revents)
        (void)pump_output(&w->pump, PUMP_OUT);
    if (p[AT_STDERR].revents)
        (void)pump_output(&w->pump, PUMP_ERR);
    if (p[AT_CONTROL].revents & ~POLLOUT || w->pump.has_more)
        pump_control(&w->pump, is_running);
    w->ending.is_over_output |= is_running && w->pump.is_over_output;
    if (w->state == WARDEN_BOOT && w->pump.is_up) {
        uint8_t ready[READY_LEN];

        ready_bytes(ready);
        memcpy(queue_tail(&w->out, sizeof(ready)), ready, sizeof(ready));
        queue_grow(&w->out, sizeof(ready));
        w->state = WARDEN_IDLE;
    }
}

static void serve_front(struct warden *w, const struct pollfd p[POLLED])
{
    if ((p[AT_IN].revents & ~POLLIN) || (p[AT_OUT].revents & ~POLLOUT))
        w->is_lost = true;
    else if (p[AT_IN].revents)
        warden_read_front(w);
    else
        warden_take_frames(w);
}

/*
 * What the program has read, or will not read any more, makes room for more of the same: `*taken`
 * counts what came since the last credit, of which `q` still holds some.
 */
static void credit(struct warden *w, uint8_t type, uint32_t *taken, const struct queue *q,
                   uint32_t step)
{
    uint32_t held = (uint32_t)(q->end - q->start);
    uint8_t number[4];

    if (*taken < held + step || queue_room(&w->out) < FRAME_HEAD + sizeof(number))
        return;
    le_put32(number, *taken - held);
    queue_frame(&w->out, &(struct frame){.type = type, .len = sizeof(number), .data = number});
    *taken = held;
}

static void flush(struct warden *w)
{
    if (w->child.control_fd < 0 || queue_flush(&w->in, w->child.control_fd) < 0)
        queue_init(&w->in, w->in.buf, w->in.cap);
    feed_flush(&w->feed);
    if (w->relay && w->state == WARDEN_RUNNING)
        credit(w, FRAME_RELAY_MORE, &w->stdin_n, &w->feed.queue, RELAY_STDIN / 8);
    if (w->state == WARDEN_RUNNING)
        credit(w, FRAME_TAKEN, &w->replies_n, &w->in, REPLY_TOLD);
    if (queue_flush(&w->out, FRONT_OUT) < 0)
        w->is_lost = true;
}

/* Before a run the worker is all there is to serve with; after it the front decides. */
static bool is_useless(const struct warden *w)
{
    bool is_gone = w->child.pid == 0 || w->child.control_fd < 0 || w->pump.is_broken;

    return is_gone &&
           (w->state == WARDEN_BOOT || w->state == WARDEN_IDLE || w->state == WARDEN_INTAKE);
}

int warden_loop(struct warden *w)
{
    struct pollfd p[POLLED + RELAY_POLLED];

    while (!w->is_lost && !w->child.is_told) {
        size_t relayed =
            w->relay && w->state == WARDEN_RUNNING ? relay_poll(w->relay, p + POLLED) : 0;

        set_polled(w, p);
        (void)poll(p, POLLED + relayed, poll_timeout(w));
        if (p[AT_SIGNAL].revents) {
            child_take_signals(&w->child);
            child_reap(&w->child);
        }
        serve_worker(w, p);
        serve_front(w, p);
        if (w->relay && w->state == WARDEN_RUNNING)
            relay_serve(w->relay, p + POLLED, relayed);
        if (w->state == WARDEN_RUNNING)
            check_deadline(w);
        if (w->state == WARDEN_RUNNING && is_over(w))
            warden_finish(w);
        if (is_useless(w))
            return 1;
        flush(w);
    }
    return 0;
}
