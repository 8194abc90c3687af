#ifndef TESTS_RUN_RIG_H
#define TESTS_RUN_RIG_H

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "core/core.h"
#include "core/run.h"
#include "frames/frame.h"
#include "frames/handover.h"
#include "frames/mux.h"
#include "frames/stream.h"
#include "policy/policy.h"
#include "unit.h"

enum { RIG_PATIENCE_S = 60, INODES = 64, RIG_EXTENSIONS = 8 };

/*
 * A core whose keeper and container this program plays, in a thread of its own: it answers TAKE as
 * it was told to, swallows the job, and behind GO (or at once) says the bytes of `says`. Everything
 * is set before run_rig_start and looked at behind run_rig_halt, but for what run_rig_wait waits for.
 */
struct run_rig {
    struct core *core;
    struct policy policy;
    struct run_request request;
    const char *spool_dir;

    /* in the rig's thread, which does nothing else meanwhile; NULL: nothing */
    void (*on_told)(struct run_rig *r,
                    const struct handover *m);                  /* the keeper, before it answers */
    void (*on_frame)(struct run_rig *r, const struct frame *f); /* the container */

    /* what the keeper does */
    enum refuse_reason refusal; /* REFUSE_NONE: it hands a container over */
    bool is_silent;             /* it answers no TAKE */
    bool dies_at_take;          /* it closes its end when it is asked */
    bool has_no_stream;         /* TAKEN without a descriptor */
    struct handover_fate fate;
    bool is_fate_silent, dies_at_fate;

    /* what the container does */
    struct buf says;
    bool says_at_once;         /* without waiting for GO */
    bool says_after_input;     /* it waits for the last of standard input, too */
    bool ends;                 /* its stream ends behind that */
    const struct buf *floods;  /* behind that, over and over, for as long as it is taken */
    uint8_t at_type;           /* a frame of this type … */
    const struct buf *says_at; /* … is answered by this */

    /* what was seen */
    struct buf heard; /* by the container */
    unsigned counts[HANDOVER_TYPES];
    struct handover last[HANDOVER_TYPES];
    uint64_t extensions[RIG_EXTENSIONS]; /* ms, as many as counts[HANDOVER_EXTEND] */

    int front, keeper, stream, stop; /* `stream`: the container's end */
    uint64_t frames_at;
    bool saw_go, is_halted;
    pthread_mutex_t lock; /* guards counts, last and extensions */
    pthread_cond_t changed;
    pthread_t thread;
};

static const char rig_code[] = "print(1)";

/* ---- what a container says ---- */

static void rig_raw(struct buf *b, const void *data, size_t n)
{
    uint8_t head[MUX_HEAD] = {
        1, 0, 0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    (void)buf_add(b, head, sizeof(head));
    (void)buf_add(b, data, n);
}

static void rig_frame_id(struct buf *b, uint8_t type, uint16_t id, const void *data, size_t n)
{
    auto_free uint8_t *bytes = xmalloc(FRAME_HEAD + n);

    frame_put_head(bytes, type, 0, id, (uint32_t)n);
    if (n)
        memcpy(bytes + FRAME_HEAD, data, n);
    rig_raw(b, bytes, FRAME_HEAD + n);
}

static void rig_frame(struct buf *b, uint8_t type, const char *text)
{
    rig_frame_id(b, type, 0, text, strlen(text));
}

static void rig_ready(struct buf *b)
{
    uint8_t bytes[READY_LEN];

    ready_bytes(bytes);
    rig_raw(b, bytes, sizeof(bytes));
}

static void rig_entry(struct buf *b, uint8_t type, const struct entry *e)
{
    uint8_t bytes[ENTRY_LEN_MAX];

    rig_frame_id(b, type, 0, bytes, entry_encode(bytes, e));
}

static inline void rig_file(struct buf *b, const char *path, const char *data)
{
    struct entry e = {.mode = 0644, .size = strlen(data), .path = path, .path_len = strlen(path)};

    rig_entry(b, FRAME_OUT_ENTRY, &e);
    if (*data)
        rig_frame(b, FRAME_OUT_DATA, data);
}

static void rig_report(struct buf *b, const struct outcome_report *report)
{
    uint8_t bytes[REPORT_LEN];

    report_encode(bytes, report);
    rig_frame_id(b, FRAME_RESULT, 0, bytes, sizeof(bytes));
}

/* ---- the thread ---- */

static void rig_send(struct run_rig *r, const struct handover *m, int fd)
{
    (void)io_send_msg(r->keeper, m, sizeof(*m), fd);
}

static void rig_lose_keeper(struct run_rig *r)
{
    (void)close(r->keeper);
    r->keeper = -1;
}

/* The container says this. */
static void rig_say_buf(struct run_rig *r, const struct buf *b)
{
    (void)!io_write_all(r->stream, buf_get(b), b->len, clock_ms() + patient(10000), NULL);
}

static void rig_say(struct run_rig *r)
{
    if (r->stream < 0)
        return;
    rig_say_buf(r, &r->says);
    if (r->ends)
        (void)shutdown(r->stream, SHUT_RDWR);
}

static void rig_hand_over(struct run_rig *r, const struct handover *m)
{
    struct handover a = {.type = HANDOVER_TAKEN, .seq = m->seq, .member = 7};
    int pair[2] = {-1, -1};

    a.u.taken = (struct handover_taken){
        .member = 7, .was_parked = 1, .queued_us = 5, .memory = (uint64_t)r->policy.memory};
    memset(a.u.taken.container, 0xab, sizeof(a.u.taken.container));
    if (!r->has_no_stream && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    r->stream = pair[1];
    if (r->says_at_once)
        rig_say(r);
    rig_send(r, &a, pair[0]);
    if (pair[0] >= 0)
        (void)close(pair[0]);
}

static void rig_answer_take(struct run_rig *r, const struct handover *m)
{
    struct handover no = {
        .type = HANDOVER_REFUSED, .seq = m->seq, .reason = r->refusal, .ms = 2500};

    if (r->dies_at_take)
        rig_lose_keeper(r);
    else if (r->refusal)
        rig_send(r, &no, -1);
    else if (!r->is_silent)
        rig_hand_over(r, m);
}

static void rig_answer_stats(struct run_rig *r, const struct handover *m)
{
    struct handover a = {.type = HANDOVER_POOL, .seq = m->seq};

    for (a.u.pool.policy = 1; a.u.pool.policy < 4; a.u.pool.policy++)
        rig_send(r, &a, -1);
    a = (struct handover){.type = HANDOVER_COUNTS, .seq = m->seq};
    a.u.counts.pools = 3;
    rig_send(r, &a, -1);
}

static void rig_keeper(struct run_rig *r)
{
    struct handover m, fate = {.type = HANDOVER_FATE_IS};
    int fd;
    ssize_t n = io_recv_msg(r->keeper, &m, sizeof(m), &fd);

    if (n <= 0) {
        rig_lose_keeper(r);
        return;
    }
    if (!handover_is_valid(&m, n, true))
        abort();
    (void)pthread_mutex_lock(&r->lock);
    if (m.type == HANDOVER_EXTEND && r->counts[m.type] < RIG_EXTENSIONS)
        r->extensions[r->counts[m.type]] = m.ms;
    r->counts[m.type]++;
    r->last[m.type] = m;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
    if (r->on_told)
        r->on_told(r, &m);
    fate.seq = m.seq;
    fate.u.fate = r->fate;
    if (m.type == HANDOVER_TAKE)
        rig_answer_take(r, &m);
    else if (m.type == HANDOVER_STATS)
        rig_answer_stats(r, &m);
    else if (m.type == HANDOVER_FATE && r->dies_at_fate)
        rig_lose_keeper(r);
    else if (m.type == HANDOVER_FATE && !r->is_fate_silent)
        rig_send(r, &fate, -1);
}

/* Looks at the frames that came since the last time. */
static void rig_listen(struct run_rig *r)
{
    while (r->heard.len - r->frames_at >= FRAME_HEAD) {
        const uint8_t *f = (const uint8_t *)buf_get(&r->heard) + r->frames_at;
        uint64_t n = FRAME_HEAD + (uint64_t)(f[4] | f[5] << 8 | f[6] << 16);

        if (r->heard.len - r->frames_at < n)
            return;
        r->frames_at += n;
        if (r->on_frame)
            r->on_frame(r, &(struct frame){.type = f[0],
                                           .flags = f[1],
                                           .id = (uint16_t)(f[2] | f[3] << 8),
                                           .len = (uint32_t)(n - FRAME_HEAD),
                                           .data = f + FRAME_HEAD});
        if (f[0] == FRAME_GO) {
            r->saw_go = true;
            if (!r->says_at_once && !r->says_after_input)
                rig_say(r);
        }
        if (f[0] == FRAME_STDIN && !(f[1] & FRAME_MORE) && r->says_after_input)
            rig_say(r);
        if (r->says_at && f[0] == r->at_type)
            rig_say_buf(r, r->says_at);
    }
}

static void rig_container(struct run_rig *r)
{
    char piece[65536];
    ssize_t n = read(r->stream, piece, sizeof(piece));

    if (n <= 0) {
        (void)pthread_mutex_lock(&r->lock); /* a test may shut it at the same time */
        (void)close(r->stream);
        r->stream = -1;
        (void)pthread_mutex_unlock(&r->lock);
        return;
    }
    (void)buf_add(&r->heard, piece, (size_t)n);
    rig_listen(r);
}

static void *rig_play(void *arg)
{
    struct run_rig *r = arg;

    for (;;) {
        bool floods = r->floods && r->saw_go;
        struct pollfd f[3] = {
            {.fd = r->stop,   .events = POLLIN                                  },
            {.fd = r->keeper, .events = POLLIN                                  },
            {.fd = r->stream, .events = (short)(POLLIN | (floods ? POLLOUT : 0))}
        };

        (void)poll(f, 3, -1);
        if (f[0].revents) {
            while (r->stream >= 0)
                rig_container(r); /* what is under way; the run has closed its end */
            return NULL;
        }
        if (f[1].revents)
            rig_keeper(r);
        if (f[2].revents & (POLLIN | POLLHUP | POLLERR))
            rig_container(r);
        else if (f[2].revents)
            (void)!send(r->stream, r->floods->data, r->floods->len, MSG_NOSIGNAL);
    }
}

/* ---- for the tests ---- */

static void run_rig_init(struct run_rig *r)
{
    static char name[] = "p";

    *r = (struct run_rig){.keeper = -1, .stream = -1, .spool_dir = "/tmp"};
    r->policy = (struct policy){
        .name = name,
        .key = 42,
        .time_default_ms = 10000,
        .time_max_ms = 60000,
        .time_grace_ms = 200,
        .memory = 64 << 20,
        .memory_max = 128 << 20,
        .pids = 64,
        .output_soft = 1 << 20,
        .output_hard = 4 << 20,
        .files_out = 3,
        .files_out_size = 1 << 20,
        .files_out_total = 2 << 20,
        .inodes = INODES,
        .gather = true,
        .queue_wait_ms = 10000,
    };
    r->request = (struct run_request){
        .dialect = "test",
        .policy = &r->policy,
        .code = rig_code,
        .code_len = sizeof(rig_code) - 1,
        .filename = "<string>",
        .figures = -1,
        .stdin_fd = -1,
        .timeout_ms = RUN_TIMEOUT_DEFAULT,
        .deadline_ms = INT64_MAX,
        .client_fd = -1,
    };
    buf_init(&r->says, 64 << 20);
    buf_init(&r->heard, 64 << 20);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->changed, NULL);
    rig_ready(&r->says);
}

static void run_rig_start(struct run_rig *r)
{
    struct core_options o = {.spool_dir = r->spool_dir};
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    r->keeper = pair[0];
    o.keeper_fd = pair[1];
    ck_assert_int_eq(core_new(&o, &r->core, NULL), 0);
    r->stop = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(pthread_create(&r->thread, NULL, rig_play, r), 0);
}

/* Waits until the keeper was told so; the message. */
static inline struct handover run_rig_wait(struct run_rig *r, enum handover_type type)
{
    struct handover m;
    struct timespec until;
    int rc = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RIG_PATIENCE_S;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->counts[type] && rc == 0)
        rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
    m = r->last[type];
    (void)pthread_mutex_unlock(&r->lock);
    ck_assert_int_eq(rc, 0);
    return m;
}

/* Behind run_free: `heard` is complete. */
static void run_rig_halt(struct run_rig *r)
{
    const uint64_t one = 1;

    if (r->is_halted)
        return;
    r->is_halted = true;
    ck_assert_int_eq(write(r->stop, &one, sizeof(one)), sizeof(one));
    ck_assert_int_eq(pthread_join(r->thread, NULL), 0);
}

/*
 * Behind run_rig_halt: the payloads of all frames of one type that the container heard, behind each
 * other; how many there were.
 */
static inline unsigned rig_heard(struct run_rig *r, uint8_t type, struct buf *ret)
{
    unsigned n = 0;

    buf_init(ret, 64 << 20);
    for (uint64_t at = 0; at < r->heard.len;) {
        const uint8_t *f = (const uint8_t *)buf_get(&r->heard) + at;
        size_t len = (size_t)(f[4] | f[5] << 8 | f[6] << 16);

        if (f[0] == type) {
            ck_assert_int_eq(buf_add(ret, f + FRAME_HEAD, len), 0);
            n++;
        }
        at += FRAME_HEAD + len;
    }
    return n;
}

static void run_rig_stop(struct run_rig *r)
{
    run_rig_halt(r);
    core_free(r->core);
    (void)close(r->stop);
    if (r->keeper >= 0)
        (void)close(r->keeper);
    if (r->stream >= 0)
        (void)close(r->stream);
    buf_done(&r->says);
    buf_done(&r->heard);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
}

#endif
