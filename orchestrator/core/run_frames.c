/*
 * What comes out of a container. It is hostile until proven otherwise: every frame is checked for
 * its place in the run, its size and the totals that the policy allows; a breach ends the run.
 */
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "core/run_calls.h"
#include "core/run_relay.h"
#include "core/run_state.h"

enum { BREACH = -1, QUIET = 0, TELL = 1 };

static int breach(struct run *run, const char *what)
{
    struct err err = {0};

    (void)err_set(&err, ERR_PEER, "the container broke the protocol: %s", what);
    run_result_infra(run, &err, 0);
    return BREACH;
}

static void note_order(struct run *run, bool is_stderr, uint64_t offset, uint32_t len)
{
    struct run_result *r = &run->result;

    if (!run->request->wants_log || r->log_n >= RUN_LOG_MAX)
        return;
    if (r->log_n % 64 == 0)
        r->log = xarray(r->log, r->log_n + 64, sizeof(*r->log));
    r->log[r->log_n++] = (struct run_log_entry){
        .t_ms = (uint32_t)((clock_us() - run->go_us) / 1000),
        .is_stderr = is_stderr,
        .offset = offset,
        .len = len,
    };
}

/*
 * How many of the bytes stand before the first character past `most` (0: all). A character may come
 * in pieces; what is no UTF-8 counts byte by byte.
 */
static uint32_t count_shown(struct shown *s, uint64_t most, const uint8_t *data, uint32_t len)
{
    s->bytes += len;
    for (uint32_t i = 0; most && i < len; i++) {
        if (s->tail && (data[i] & 0xc0) == 0x80) {
            s->tail--;
            continue;
        }
        s->tail = 0;
        if (s->characters == most)
            return i;
        s->characters++;
        s->tail = data[i] >= 0xf0 ? 3 : data[i] >= 0xe0 ? 2 : data[i] >= 0xc0 ? 1 : 0;
    }
    return len;
}

static int output(struct run *run, const struct frame *f, struct run_event *ret)
{
    bool is_stderr = f->type == FRAME_STDERR;
    const struct policy *p = run->request->policy;
    struct run_result *r = &run->result;
    struct spool *s = is_stderr ? &r->err_out : &r->out;
    bool *is_cut = is_stderr ? &r->err_is_cut : &r->out_is_cut;
    struct shown *shown = &run->shown[is_stderr];
    struct err err = {0};
    uint32_t len;

    if (run->is_told)
        return QUIET;
    if (shown->bytes + f->len > (uint64_t)p->output_soft)
        return breach(run, "more output than was allowed");
    len = count_shown(shown, (uint64_t)p->output_characters, f->data, f->len);
    *is_cut = *is_cut || len < f->len;
    if (spool_add(s, f->data, len, &err) < 0) {
        if (!*is_cut)
            log_warning("run %s: output is cut: %s", r->id, err.msg);
        *is_cut = true;
        return QUIET;
    }
    note_order(run, is_stderr, s->size - len, len);
    *ret = (struct run_event){
        .kind = is_stderr ? RUN_STDERR : RUN_STDOUT, .data = (const char *)f->data, .len = len};
    return len ? TELL : QUIET;
}

static int text(struct run *run, struct buf *b, const struct frame *f)
{
    return buf_add(b, f->data, f->len) < 0 ? breach(run, "a value is too large") : QUIET;
}

/* The worker says itself that a value is too large; who sends it all the same has forged it. */
static int value(struct run *run, const struct frame *f)
{
    const struct run_request *q = run->request;
    size_t most = q->value_max && q->value_max < RUN_VALUE_MAX ? q->value_max : RUN_VALUE_MAX;

    if (q->value == RUN_VALUE_NONE)
        return QUIET; /* sent unasked it would only take memory */
    if (f->len <= most - run->result.value.len)
        return text(run, &run->result.value, f);
    run_result_misused(run, "the return value is larger than it may be");
    return BREACH;
}

/* ---- files ---- */

static uint64_t files_limit(const struct run *run)
{
    const struct policy *p = run->request->policy;

    return run->request->workspace ? (uint64_t)p->workspace_quota : (uint64_t)p->files_out_total;
}

/* What nobody can be asked for is lost at once: a porter that hangs costs its patience each time. */
static bool has_workspace(const struct run *run)
{
    return run->request->workspace && !run->workspace_hangs;
}

static void not_done(struct run *run, const char *path, const char *what, const struct err *err)
{
    log_warning("run %s: '%s' is not %s: %s", run->result.id, path, what, err->msg);
    run->workspace_hangs = run->workspace_hangs || err->kind == ERR_TIMEOUT;
}

static int open_target(struct run *run, const struct entry *e, const char *path)
{
    struct incoming *in = &run->in;
    struct err err = {0};

    *in = (struct incoming){.is_open = true, .left = e->size, .ws_fd = -1, .mode = e->mode};
    in->file.path = xstrdup(path);
    in->file.is_tmp = e->is_tmp;
    spool_init(&in->file.data, run->result.out.dir);
    if (!has_workspace(run) || e->is_tmp)
        return 0;
    if (workspace_create(run->request->workspace, e->size, &in->ws_fd, &in->ws_token, &err) < 0)
        not_done(run, path, "kept", &err);
    return 0;
}

static void add_omitted(struct run *run, const char *path, const char *reason, uint64_t size)
{
    struct run_result *r = &run->result;

    if (r->omitted_n >= RUN_OMITTED_MAX)
        return;
    r->omitted = xarray(r->omitted, r->omitted_n + 1, sizeof(*r->omitted));
    r->omitted[r->omitted_n++] =
        (struct run_omitted){.path = xstrdup(path), .reason = reason, .size = size};
}

static void keep_file(struct run *run)
{
    struct run_result *r = &run->result;

    r->files = xarray(r->files, r->files_n + 1, sizeof(*r->files));
    r->files[r->files_n] = run->in.file;
    spool_move(&r->files[r->files_n].data, &run->in.file.data);
    run->in.file.path = NULL;
    run->told_file = &r->files[r->files_n++];
}

static void close_workspace_file(struct run *run)
{
    struct workspace *w = run->request->workspace;
    struct incoming *in = &run->in;
    struct err err = {0};

    if (in->ws_fd < 0) {
        add_omitted(run, in->file.path, "workspace", 0);
        return;
    }
    (void)close(in->ws_fd);
    in->ws_fd = -1;
    if (workspace_commit(w, in->ws_token, in->file.path, in->mode, &err) < 0) {
        not_done(run, in->file.path, "kept", &err);
        add_omitted(run, in->file.path, "workspace", 0);
    }
}

static int close_file(struct run *run)
{
    struct incoming *in = &run->in;
    bool is_kept = !run->request->workspace || in->file.is_tmp;

    in->is_open = false;
    if (is_kept) {
        keep_file(run);
        return TELL;
    }
    close_workspace_file(run);
    free(in->file.path);
    in->file.path = NULL;
    return QUIET;
}

void run_incoming_drop(struct run *run)
{
    struct incoming *in = &run->in;

    if (!in->is_open)
        return;
    in->is_open = false;
    if (in->ws_fd >= 0) {
        (void)close(in->ws_fd);
        workspace_drop(run->request->workspace, in->ws_token);
        in->ws_fd = -1;
    }
    free(in->file.path);
    in->file.path = NULL;
    spool_done(&in->file.data);
}

/* Copies the path of an entry that path_check accepts; NULL otherwise. */
static char *checked_path(const struct entry *e)
{
    return path_check(e->path, e->path_len, NULL) == 0 ? xstrndup(e->path, e->path_len) : NULL;
}

static int told(struct run *run, int rc, struct run_event *ret)
{
    if (rc == TELL)
        *ret = (struct run_event){.kind = RUN_FILE, .file = run->told_file};
    return rc;
}

/*
 * Empty files and directories count too. A workspace takes whatever fits into the container's two
 * file systems, and the container has no more of anything than these have inodes.
 */
static bool is_too_many(struct run *run)
{
    const struct policy *p = run->request->policy;

    if (run->entries_n++ >= 2 * (uint64_t)p->inodes)
        return true;
    return !run->request->workspace && run->result.files_n >= (size_t)p->files_out;
}

static int out_entry(struct run *run, const struct frame *f, struct run_event *ret)
{
    auto_free char *path = NULL;
    struct entry e;

    if (!entry_decode(&e, f->data, f->len) || !(path = checked_path(&e)))
        return breach(run, "a bad file entry");
    if (e.size > files_limit(run) || run->files_total > files_limit(run) - e.size ||
        is_too_many(run))
        return breach(run, "more files than were allowed");
    if (e.is_tmp && !run->request->policy->gather_tmp)
        return breach(run, "a file of /tmp that was not asked for");
    if (e.kind == ENTRY_DIR) {
        struct err err = {0};

        if (has_workspace(run) && workspace_make_dir(run->request->workspace, path, &err) < 0)
            not_done(run, path, "kept", &err);
        return QUIET;
    }
    run->files_total += e.size;
    (void)open_target(run, &e, path);
    return run->in.left ? QUIET : told(run, close_file(run), ret);
}

static int out_data(struct run *run, const struct frame *f, struct run_event *ret)
{
    struct incoming *in = &run->in;
    struct err err = {0};

    if (!in->is_open || f->len > in->left)
        return breach(run, "file bytes that were not announced");
    in->left -= f->len;
    if (in->ws_fd >= 0 && io_write_all(in->ws_fd, f->data, f->len, INT64_MAX, &err) < 0) {
        not_done(run, in->file.path, "kept", &err);
        (void)close(in->ws_fd);
        workspace_drop(run->request->workspace, in->ws_token);
        in->ws_fd = -1;
    }
    if ((!run->request->workspace || in->file.is_tmp) &&
        spool_add(&in->file.data, f->data, f->len, &err) < 0)
        return breach(run, err.msg);
    return in->left ? QUIET : told(run, close_file(run), ret);
}

static int omitted(struct run *run, const struct frame *f)
{
    static const char *const reasons[OMIT_REASONS] = {
        [OMIT_NONE] = "unknown",
        [OMIT_TOO_BIG] = "too_big",
        [OMIT_TOO_MANY] = "too_many",
        [OMIT_TOTAL] = "total",
        [OMIT_NOT_REGULAR] = "not_regular",
        [OMIT_NAME] = "name",
        [OMIT_TOO_DEEP] = "too_deep",
        [OMIT_UNREADABLE] = "unreadable",
    };
    struct entry e;
    char *path;

    if (!entry_decode(&e, f->data, f->len))
        return breach(run, "a bad omission");
    /* A file that became unreadable half-way is taken back by its omission. */
    run_incoming_drop(run);
    path = xstrndup(e.path, e.path_len);
    add_omitted(run, path, reasons[e.reason], e.size);
    free(path);
    return QUIET;
}

static int gone(struct run *run, const struct frame *f)
{
    struct entry as_entry = {.path = (const char *)f->data, .path_len = f->len};
    auto_free char *path = checked_path(&as_entry);
    struct err err = {0};

    if (!path || !run->request->workspace)
        return breach(run, "a removal that was not asked for");
    for (size_t i = 0; i < run->sent_n; i++) {
        const struct workspace_entry *w = &run->sent[i];

        if (strcmp(w->path, path) != 0)
            continue;
        if (has_workspace(run) &&
            workspace_remove(run->request->workspace, path, w->is_dir ? 0 : w->mtime_ns, &err) < 0)
            not_done(run, path, "removed", &err);
        return QUIET;
    }
    return breach(run, "a removal of what was never there");
}

/* ---- the run itself ---- */

static int ready(struct run *run, const struct frame *f)
{
    if (run->saw_ready || f->id != FRAME_VERSION || f->len != sizeof(READY_TEXT) - 1 ||
        memcmp(f->data, READY_TEXT, f->len) != 0)
        return breach(run, "a second READY");
    run->saw_ready = true;
    return QUIET;
}

static int ended(struct run *run)
{
    run->phase = PHASE_COLLECT;
    run->ended_us = clock_us();
    run_relay_end(run);
    run_calls_end(run);
    return QUIET;
}

static int finished(struct run *run, const struct frame *f)
{
    struct outcome_report report;

    if (run->in.is_open || !report_decode(&report, f->data, f->len))
        return breach(run, "a bad result");
    run_result_report(run, &report);
    run->phase = PHASE_DONE;
    return QUIET;
}

/* The stream is in order, but a program that floods its host calls is not worth its container. */
static int call(struct run *run, const struct frame *f)
{
    const char *misuse = run_calls_frame(run, f);

    if (!misuse)
        return QUIET;
    run_result_misused(run, misuse);
    return BREACH;
}

static int taken(struct run *run, const struct frame *f)
{
    const char *wrong = run_calls_taken(run, f);

    return wrong ? breach(run, wrong) : QUIET;
}

static int relayed(struct run *run, const struct frame *f)
{
    const char *wrong =
        run_relay_is_allowed(run) ? run_relay_frame(run, f) : "a frame out of place";

    return wrong ? breach(run, wrong) : QUIET;
}

static int while_running(struct run *run, const struct frame *f, struct run_event *ret)
{
    switch (f->type) {
    case FRAME_STARTED:
        if (run->phase == PHASE_RUNNING)
            return breach(run, "a second STARTED");
        run->phase = PHASE_RUNNING;
        *ret = (struct run_event){.kind = RUN_STARTED};
        return TELL;
    case FRAME_STDOUT:
    case FRAME_STDERR:
        return output(run, f, ret);
    case FRAME_VALUE:
        return value(run, f);
    case FRAME_FAULT:
        return text(run, &run->result.fault, f);
    case FRAME_CALL:
        return call(run, f);
    case FRAME_TAKEN:
        return taken(run, f);
    case FRAME_STEP:
        return QUIET; /* nobody has asked for them */
    case FRAME_RELAY_OPEN:
    case FRAME_RELAY_DATA:
    case FRAME_RELAY_CLOSE:
    case FRAME_RELAY_MORE:
        return relayed(run, f);
    case FRAME_ENDED:
        return ended(run);
    default:
        return breach(run, "a frame out of place");
    }
}

int run_frame(struct run *run, const struct frame *f, struct run_event *ret)
{
    if (f->type == FRAME_READY)
        return ready(run, f);
    if (!run->saw_ready)
        return breach(run, "no READY");
    if (run->phase == PHASE_SENT || run->phase == PHASE_RUNNING)
        return while_running(run, f, ret);
    if (run->phase != PHASE_COLLECT)
        return breach(run, "a frame after the end");
    switch (f->type) {
    case FRAME_OUT_ENTRY:
        return run->in.is_open ? breach(run, "a file within a file") : out_entry(run, f, ret);
    case FRAME_OUT_DATA:
        return out_data(run, f, ret);
    case FRAME_OMITTED:
        return omitted(run, f);
    case FRAME_GONE:
        return gone(run, f);
    case FRAME_RESULT:
        return finished(run, f);
    default:
        return breach(run, "a frame out of place");
    }
}
