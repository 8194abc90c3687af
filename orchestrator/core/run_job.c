/*
 * A run on its way in: what the keeper is asked for, and the JOB frames. A small program goes out
 * in one write; input files follow from their spools in pieces.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "core/run_calls.h"
#include "core/run_relay.h"
#include "core/run_state.h"

enum {
    HEAD_MAX = 24 * 1024 * 1024, /* JOB, META and CODE together */
    SEND_MS = 10000,             /* without progress */
    AIQ_GRACE_MS = 10,           /* a reply that is due leaves little for a second stage */
};

static uint64_t input_bytes(const struct run *run)
{
    uint64_t n = 0;

    for (size_t i = 0; i < run->request->files_n; i++)
        n += run->request->files[i].data->size;
    return n;
}

static uint32_t as_ms(int64_t ms)
{
    if (ms < 0)
        return 0;
    return ms > INT32_MAX ? INT32_MAX : (uint32_t)ms;
}

void run_job_plan(struct run *run, struct handover_take *ret_take)
{
    const struct run_request *q = run->request;
    const struct policy *p = q->policy;
    int64_t timeout = q->timeout_ms == RUN_TIMEOUT_DEFAULT ? p->time_default_ms : q->timeout_ms;
    int64_t wait = p->queue_wait_ms, grace = p->time_grace_ms;
    int64_t listing = q->workspace ? RUN_LIST_MS : 0;

    if (timeout > p->time_max_ms)
        timeout = p->time_max_ms;
    if (q->deadline_ms != INT64_MAX) {
        int64_t left = q->deadline_ms - clock_ms();

        wait = left < wait ? left : wait;
        grace = AIQ_GRACE_MS < grace ? AIQ_GRACE_MS : grace;
    }
    run->job_timeout_ms = as_ms(timeout);
    run->job_grace_ms = as_ms(grace);
    *ret_take = (struct handover_take){
        .policy = p->key,
        .memory = q->memory == (uint64_t)p->memory ? 0 : q->memory,
        .wait_ms = as_ms(wait),
        .run_ms = as_ms(timeout + grace + RUN_HARD_SPARE_MS + listing) +
                  as_ms((int64_t)(input_bytes(run) / RUN_BYTES_PER_MS)),
    };
}

static void put_frame(struct buf *b, uint8_t type, uint8_t flags, const void *data, size_t n)
{
    uint8_t head[FRAME_HEAD];

    frame_put_head(head, type, flags, 0, (uint32_t)n);
    (void)buf_add(b, head, sizeof(head));
    (void)buf_add(b, data, n);
}

/* Text of any length as frames of one type, all but the last marked MORE. */
static void put_parts(struct buf *b, uint8_t type, const char *data, size_t n)
{
    do {
        size_t take = n < FRAME_MAX ? n : FRAME_MAX;

        put_frame(b, type, take < n ? FRAME_MORE : 0, data, take);
        data += take;
        n -= take;
    } while (n);
}

static void put_member(struct buf *b, const char *name, const char *value)
{
    json_put_str(b, name, strlen(name));
    (void)buf_char(b, ':');
    json_put_str(b, value, strlen(value));
}

static void put_args(struct buf *b, const char *const *args)
{
    for (const char *const *a = args; a && *a; a++) {
        if (a != args)
            (void)buf_char(b, ',');
        json_put_str(b, *a, strlen(*a));
    }
}

static void put_env(struct buf *b, const struct run_pair *env, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            (void)buf_char(b, ',');
        put_member(b, env[i].name, env[i].value);
    }
}

/* What only some requests have. */
static void put_extras(struct buf *b, const struct run_request *q)
{
    const char *workspace = q->tools_workspace ? q->tools_workspace : RUN_TOOLS_WORKSPACE;

    if (q->policy->validation) {
        (void)buf_str(b, ",\"validation\":");
        (void)buf_str(b, q->policy->validation);
    }
    if (q->value_max)
        (void)buf_fmt(b, ",\"value_max\":%zu", q->value_max);
    if (q->context) {
        (void)buf_str(b, ",\"context\":");
        (void)buf_str(b, q->context);
    }
    if (q->tools) { /* {"modules": …, laid open for one more member */
        (void)buf_str(b, ",\"tools\":{");
        put_member(b, "workspace", workspace);
        (void)buf_char(b, ',');
        (void)buf_str(b, q->tools + 1);
    }
}

static void put_meta(struct buf *out, const struct run_request *q)
{
    static const char *const values[] = {[RUN_VALUE_NONE] = "none",
                                         [RUN_VALUE_LAST_EXPRESSION] = "last_expression",
                                         [RUN_VALUE_BRANCH] = "branch"};
    CLEANUP(buf_done) struct buf b = {0};
    bool figures = q->figures < 0 ? q->policy->figures : q->figures > 0;

    buf_init(&b, JOB_META_MAX);
    (void)buf_char(&b, '{');
    put_member(&b, "filename", q->filename);
    (void)buf_char(&b, ',');
    put_member(&b, "value", values[q->value]);
    (void)buf_fmt(&b, ",\"extract\":%s,\"figures\":%s,\"await\":%s,\"stdin\":%s,\"argv\":[",
                  q->extract ? "true" : "false", figures ? "true" : "false",
                  q->may_await || q->value != RUN_VALUE_NONE ? "true" : "false",
                  q->stdin_len || q->stdin_fd >= 0 ? "true" : "false");
    put_args(&b, q->args);
    (void)buf_str(&b, "],\"env\":{");
    put_env(&b, q->env, q->env_n);
    (void)buf_char(&b, '}');
    put_extras(&b, q);
    (void)buf_char(&b, '}');
    put_parts(out, FRAME_META, buf_get(&b), b.len);
    out->is_full = out->is_full || b.is_full;
}

static void put_job(struct run *run, struct buf *b)
{
    const struct run_request *q = run->request;
    const struct policy *p = q->policy;
    int64_t left = run->job_timeout_ms;
    uint8_t bytes[JOB_LEN];
    struct job job = {
        .grace_ms = run->job_grace_ms,
        .output_soft = (uint64_t)p->output_soft,
        .output_hard = (uint64_t)p->output_hard,
        .file_max = (uint64_t)p->files_out_size,
        .files_max = (uint64_t)p->files_out_total,
        .files_count = (uint32_t)p->files_out,
    };

    if (p->gather || q->workspace)
        job.flags |= JOB_GATHER | (p->gather_tmp ? JOB_TMP : 0U);
    if (p->validation)
        job.flags |= JOB_CHECK;
    if (q->workspace) {
        job.flags |= JOB_SYNC;
        job.file_max = job.files_max = (uint64_t)p->workspace_quota;
        job.files_count = UINT32_MAX;
    }
    /* Where the reply is due at a fixed time the wait in line is the program's own loss. */
    if (q->deadline_ms != INT64_MAX && q->deadline_ms - clock_ms() < left)
        left = q->deadline_ms - clock_ms();
    run->job_timeout_ms = as_ms(left);
    job.timeout_ms = run->job_timeout_ms;
    job_encode(bytes, &job);
    put_frame(b, FRAME_JOB, 0, bytes, sizeof(bytes));
}

static int send_buf(struct run *run, struct buf *b, struct err *err)
{
    int rc = io_write_all(run->lease.fd, buf_get(b), b->len, clock_ms() + SEND_MS, err);

    buf_clear(b);
    return rc;
}

static void put_entry(struct buf *b, const struct entry *e)
{
    uint8_t bytes[ENTRY_LEN_MAX];

    put_frame(b, FRAME_ENTRY, 0, bytes, entry_encode(bytes, e));
}

static int send_file(struct run *run, struct buf *b, const struct run_file *f, struct err *err)
{
    struct entry e = {.kind = ENTRY_FILE,
                      .mode = 0644,
                      .size = f->data->size,
                      .path = f->path,
                      .path_len = strlen(f->path)};
    char piece[FRAME_MAX];
    uint64_t at = 0;

    put_entry(b, &e);
    while (at < f->data->size) {
        ssize_t n = spool_read(f->data, at, piece, sizeof(piece), err);

        if (n < 0)
            return -1;
        put_frame(b, FRAME_DATA, 0, piece, (size_t)n);
        at += (uint64_t)n;
        if (b->len > FRAME_MAX && send_buf(run, b, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * The size was announced when the directory was listed: a file that shrank since is filled up with
 * zeros, one that grew is cut, as any reader of a file that is being written would see it.
 */
static int send_entry(struct run *run, struct buf *b, const struct workspace_entry *w,
                      struct err *err)
{
    struct entry e = {.kind = w->is_dir ? ENTRY_DIR : ENTRY_FILE,
                      .mode = w->mode,
                      .size = w->is_dir ? 0 : w->size,
                      .path = w->path,
                      .path_len = strlen(w->path)};
    char piece[FRAME_MAX];
    auto_fd int fd = -1;

    if (!w->is_dir && workspace_open(run->request->workspace, w->path, &fd, err) < 0)
        return err && err->kind == ERR_NOTFOUND ? 0 : -1;
    put_entry(b, &e);
    for (uint64_t left = e.size; left;) {
        size_t want = left < sizeof(piece) ? (size_t)left : sizeof(piece);
        ssize_t n = read(fd, piece, want);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            memset(piece, 0, want);
            n = (ssize_t)want;
        }
        put_frame(b, FRAME_DATA, 0, piece, (size_t)n);
        left -= (uint64_t)n;
        if (b->len > FRAME_MAX && send_buf(run, b, err) < 0)
            return -1;
    }
    return 0;
}

int run_job_send(struct run *run, struct err *err)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, HEAD_MAX);
    put_job(run, &b);
    put_meta(&b, run->request);
    put_parts(&b, FRAME_CODE, run->request->code, run->request->code_len);
    for (size_t i = 0; i < run->sent_n; i++) {
        if (send_entry(run, &b, &run->sent[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < run->request->files_n; i++) {
        if (send_file(run, &b, &run->request->files[i], err) < 0)
            return -1;
    }
    put_frame(&b, FRAME_GO, 0, NULL, 0);
    if (b.is_full)
        return err_set(err, ERR_LIMIT, "the program is too large");
    return send_buf(run, &b, err);
}

static void stdin_frame(struct run *run, size_t n)
{
    run->feed_at = 0;
    run->feed_len = FRAME_HEAD + n;
    run->feed_from = run->feed;
    run_relay_note_feed(run, n);
    frame_put_head(run->feed, FRAME_STDIN, run->stdin_is_over ? 0 : FRAME_MORE, 0, (uint32_t)n);
}

/* From memory: there is always a next piece until the last one. */
static void next_from_memory(struct run *run)
{
    const struct run_request *q = run->request;
    size_t n = q->stdin_len - run->stdin_done;

    if (n > RUN_FEED - FRAME_HEAD)
        n = RUN_FEED - FRAME_HEAD;
    memcpy(run->feed + FRAME_HEAD, q->stdin_data + run->stdin_done, n);
    run->stdin_done += n;
    run->stdin_is_over = run->stdin_done == q->stdin_len;
    stdin_frame(run, n);
}

/* From a descriptor: false when nothing is there now. */
static bool next_from_fd(struct run *run)
{
    ssize_t n;

    if (io_wait(run->request->stdin_fd, POLLIN, 0) != 1)
        return false;
    n = read(run->request->stdin_fd, run->feed + FRAME_HEAD, RUN_FEED - FRAME_HEAD);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    run->stdin_is_over = n <= 0;
    stdin_frame(run, n > 0 ? (size_t)n : 0);
    return true;
}

static bool next_cancel(struct run *run)
{
    if (!run->cancel_is_due || run->cancel_was_sent)
        return false;
    run->cancel_was_sent = true;
    run->feed_at = 0;
    run->feed_len = FRAME_HEAD;
    run->feed_from = run->feed;
    frame_put_head(run->feed, FRAME_CANCEL, 0, 0, 0);
    return true;
}

static enum feeding next_stdin(struct run *run)
{
    const struct run_request *q = run->request;

    if (run->stdin_is_over || (q->stdin_fd < 0 && !q->stdin_len) ||
        !run_relay_may_feed(run, RUN_FEED))
        return FEED_OVER;
    if (q->stdin_fd < 0)
        next_from_memory(run);
    else if (!next_from_fd(run))
        return FEED_WANTS_READ;
    return FEED_WANTS_WRITE;
}

/* Connections and answers to host calls take turns … */
static bool feed_others(struct run *run)
{
    run->calls_had_turn = !run->calls_had_turn;
    if (run->calls_had_turn)
        return run_calls_feed(run) || run_relay_feed(run);
    return run_relay_feed(run) || run_calls_feed(run);
}

/* … and both with the input. Makes the next frame, or says that there is none (now). */
static enum feeding next_feed(struct run *run)
{
    enum feeding rest;

    if (next_cancel(run))
        return FEED_WANTS_WRITE;
    if (run->cancel_was_sent)
        return FEED_OVER;
    run->relay_had_turn = !run->relay_had_turn;
    if (run->relay_had_turn && feed_others(run))
        return FEED_WANTS_WRITE;
    rest = next_stdin(run);
    return rest != FEED_WANTS_WRITE && feed_others(run) ? FEED_WANTS_WRITE : rest;
}

enum feeding run_job_feed(struct run *run)
{
    for (;;) {
        ssize_t k;

        if (run->feed_at == run->feed_len) {
            enum feeding next = next_feed(run);

            if (next != FEED_WANTS_WRITE)
                return next;
        }
        k = send(run->lease.fd, run->feed_from + run->feed_at, run->feed_len - run->feed_at,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k < 0)
            return errno == EPIPE || errno == ECONNRESET ? FEED_OVER : FEED_WANTS_WRITE;
        run->feed_at += (size_t)k;
    }
}
