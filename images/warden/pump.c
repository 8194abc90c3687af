#include "pump.h"

#include <errno.h>
#include <unistd.h>

static const uint8_t stream_types[PUMP_STREAMS] = {FRAME_STDOUT, FRAME_STDERR};

/*
 * What the worker may send on behalf of the program, and how many bytes of it in one run, heads
 * included: empty frames, too, are work for the front.
 */
static const struct {
    uint8_t type;
    uint64_t max;
} kinds[PUMP_KINDS] = {
    [PUMP_VALUE] = {FRAME_VALUE, 17 << 20         },
    [PUMP_FAULT] = {FRAME_FAULT, 2 << 20          },
    [PUMP_CALL] = {FRAME_CALL,  UINT64_C(2) << 30}, /* the front counts them by the policy */
    [PUMP_STEP] = {FRAME_STEP,  64 << 20         },
};

/*
 * Reads that empty a pipe of the largest size a program may set (1 MiB), so that no writer, however
 * fast, keeps the warden from its deadlines.
 */
enum { DRAIN_READS = 17, CONTROL_FRAMES = 64 };

static uint8_t discarded[FRAME_MAX];

static int *stream_fd(const struct pump *p, int stream)
{
    return stream == PUMP_OUT ? &p->child->out_fd : &p->child->err_fd;
}

void pump_init(struct pump *p, struct child *child, struct queue *out, uint8_t *storage, size_t cap)
{
    *p = (struct pump){.child = child, .out = out};
    frame_reader_init(&p->control, storage, cap);
}

/* One read into `to`. Closes the descriptor at the end of the stream. */
static size_t read_stream(struct pump *p, int stream, uint8_t *to, size_t n)
{
    int *fd = stream_fd(p, stream);
    ssize_t got = *fd < 0 ? 0 : read(*fd, to, n);

    if (got > 0)
        return (size_t)got;
    if (*fd >= 0 && (got == 0 || (errno != EAGAIN && errno != EINTR))) {
        (void)close(*fd);
        *fd = -1;
    }
    return 0;
}

void pump_begin(struct pump *p, const struct job *job)
{
    for (int i = 0; i < PUMP_STREAMS; i++) {
        p->seen[i] = 0;
        p->is_cut[i] = false;
        for (int n = 0; n < DRAIN_READS; n++) {
            if (read_stream(p, i, discarded, sizeof(discarded)) == 0)
                break;
        }
    }
    for (int i = 0; i < PUMP_KINDS; i++)
        p->passed[i] = 0;
    p->job = job;
    p->is_over_output = p->is_broken = p->is_checked = p->has_report = false;
    p->report = (struct end_report){0};
}

static bool is_past_soft(const struct pump *p, int stream)
{
    return p->seen[stream] >= p->job->output_soft;
}

bool pump_wants(const struct pump *p, int stream)
{
    return *stream_fd(p, stream) >= 0 && (is_past_soft(p, stream) || queue_has_room(p->out));
}

/* Reads into the tail of the queue, behind the space for a head. */
static size_t forward(struct pump *p, int stream)
{
    uint64_t left = p->job->output_soft - p->seen[stream];
    uint8_t *tail = queue_tail(p->out, FRAME_HEAD + FRAME_MAX);
    size_t n = read_stream(p, stream, tail + FRAME_HEAD, FRAME_MAX);
    size_t send = n < left ? n : (size_t)left;

    if (n == 0)
        return 0;
    frame_put_head(tail, stream_types[stream], 0, 0, (uint32_t)send);
    queue_grow(p->out, FRAME_HEAD + send);
    p->is_cut[stream] |= send < n;
    return n;
}

bool pump_output(struct pump *p, int stream)
{
    size_t n;

    if (!pump_wants(p, stream))
        return false;
    if (is_past_soft(p, stream)) {
        n = read_stream(p, stream, discarded, sizeof(discarded));
        p->is_cut[stream] |= n > 0;
    } else {
        n = forward(p, stream);
    }
    p->seen[stream] += n;
    if (p->seen[PUMP_OUT] + p->seen[PUMP_ERR] > p->job->output_hard)
        p->is_over_output = true;
    return n > 0;
}

void pump_note(struct pump *p, const char *text, size_t n)
{
    if (queue_room(p->out) < FRAME_HEAD + n || p->seen[PUMP_ERR] + n > p->job->output_soft)
        return;
    queue_frame(
        p->out,
        &(struct frame){.type = FRAME_STDERR, .len = (uint32_t)n, .data = (const uint8_t *)text});
    p->seen[PUMP_ERR] += n;
}

bool pump_drain(struct pump *p)
{
    bool is_empty = true;

    for (int i = 0; i < PUMP_STREAMS; i++) {
        for (int n = 0; n < DRAIN_READS && pump_output(p, i); n++)
            continue;
        if (*stream_fd(p, i) >= 0 && !pump_wants(p, i))
            is_empty = false;
    }
    return is_empty;
}

static void pass_on(struct pump *p, const struct frame *f)
{
    for (int i = 0; i < PUMP_KINDS; i++) {
        if (kinds[i].type != f->type)
            continue;
        p->passed[i] += FRAME_HEAD + f->len;
        if (p->passed[i] > kinds[i].max)
            break;
        queue_frame(p->out, f);
        return;
    }
    p->is_broken = true;
}

/* Only before its first instruction can it not be the program that says so. */
static void take_end(struct pump *p, const struct frame *f)
{
    p->has_report = end_decode(&p->report, f->data, f->len);
    p->is_broken = !p->has_report;
    if (p->is_checked || !(p->job->flags & JOB_CHECK))
        p->report.is_blocked = false;
}

static void take_control(struct pump *p, const struct frame *f, bool is_running)
{
    if (f->type == FRAME_UP && !p->is_up)
        p->is_up = true;
    else if (!is_running || p->has_report || p->is_broken)
        return;
    else if (f->type == FRAME_END)
        take_end(p, f);
    else if (f->type == FRAME_CHECKED && p->job->flags & JOB_CHECK && !p->is_checked)
        p->is_checked = true;
    else
        pass_on(p, f);
}

/* One read of the control channel. False when nothing came; at its end the descriptor is closed. */
static bool read_control(struct pump *p)
{
    size_t space;
    uint8_t *to = frame_space(&p->control, &space);
    ssize_t n = p->child->control_fd < 0 ? -1 : read(p->child->control_fd, to, space);

    if (n > 0) {
        frame_fill(&p->control, (size_t)n);
        return true;
    }
    if (p->child->control_fd >= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
        (void)close(p->child->control_fd);
        p->child->control_fd = -1;
    }
    return false;
}

void pump_control(struct pump *p, bool is_running)
{
    p->has_more = true;
    for (int i = 0; i < CONTROL_FRAMES && !(is_running && p->has_report); i++) {
        bool is_buffered = p->control.start < p->control.end;
        struct frame f;
        int got;

        /* What was printed before a frame goes before it. */
        if (is_running && is_buffered && (!pump_drain(p) || !queue_has_room(p->out)))
            return;
        got = frame_next(&p->control, &f);
        if (got > 0) {
            take_control(p, &f, is_running);
        } else if (got < 0) {
            p->is_broken = true;
            return;
        } else if (!read_control(p)) {
            p->has_more = false;
            return;
        }
    }
}
