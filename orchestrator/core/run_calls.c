/*
 * The host calls of one run. Its own thread takes them in, decides and sends the answers; only the
 * providers work elsewhere (callers.h). A call is in one of three lines, oldest first: those that
 * wait for their turn, those at work, those whose reply is on its way. All that a program can make
 * the front keep is bounded by the policy: bytes by calls.total, results that are being made by
 * calls.concurrency times calls.reply, calls by the budget and, where they are refused, by
 * REFUSED_MAX.
 */
#include "core/run_calls.h"

#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/call_table.h"
#include "core/callers.h"
#include "core/core_state.h"
#include "core/histogram.h"
#include "core/run_state.h"
#include "frames/le.h"

enum {
    REFUSED_MAX = 1000,    /* beyond the budget */
    REFUSED_LINES = 20,    /* in the log; all are counted */
    COMING_MAX = 1000,     /* calls whose last part has not come */
    WASTED_MAX = 64 << 20, /* bytes of calls that are too large, and of heads */
    LATE_MS = 500,         /* a provider that is out of time may say so itself */
    LOG_TEXT_MAX = 4096,   /* of a call's arguments */
};

struct calls {
    struct call_table table;
    int event_fd;
    uint64_t admitted, refused, bytes, wasted;
    uint32_t under_way; /* bytes of replies that the worker has not taken yet */
    struct buf sending; /* holds the last frame of a reply, which is being sent */
};

static struct calls *get_calls(struct run *run)
{
    struct calls *c = run->calls;

    if (c)
        return c;
    c = run->calls = xcalloc(1, sizeof(*c));
    call_table_init(&c->table);
    c->event_fd = -1;
    return c;
}

/* ---- answers ---- */

static void count(struct host_counts *to, const struct call_done *done)
{
    to->verdicts[done->verdict]++;
    if (!done->was_begun)
        return;
    to->buckets[histogram_bucket(&host_scale, done->us)]++;
    to->sum_us += (uint64_t)done->us;
}

static void note(struct run *run, const struct call *call, const struct call_done *done)
{
    enum calls_log how = run->request->policy->calls_log;
    const char *args = call->what.args ? call->what.args : "";
    size_t n = call->what.args_len < LOG_TEXT_MAX ? call->what.args_len : LOG_TEXT_MAX;
    auto_free char *text = how == CALLS_LOG_TEXT ? xstrndup(args, n) : NULL;
    char digest[DIGEST_TEXT] = "";
    const struct log_field fields[] = {
        {"run",     run->result.id,                   0                   },
        {"name",    call->what.name,                  0                   },
        {"verdict", host_verdict_name(done->verdict), 0                   },
        {"ms",      NULL,                             done->us / 1000     },
        {"bytes",   NULL,                             (int64_t)done->bytes},
        {"args",    text ? text : digest,             0                   },
    };

    count(&run->result.calls, done);
    if (!done->was_begun && run->calls->refused > REFUSED_LINES)
        return;
    if (how == CALLS_LOG_DIGEST)
        (void)digest_text(digest, args, call->what.args_len);
    log_record(LOG_INFO, "host call", fields, ARRAY_LEN(fields) - (how == CALLS_LOG_OFF));
}

/* Takes the reply of `done` over. */
static void reply(struct run *run, struct call *call, struct call_done *done)
{
    struct calls *c = run->calls;

    note(run, call, done);
    buf_done(&call->text);
    call->reply = done->reply;
    c->bytes += done->bytes;
    call_table_move(&c->table, call, CALL_REPLYING);
}

static void put_failure(struct call_done *done, const struct call *call, struct host_answer *answer)
{
    buf_done(&done->reply);
    buf_init(&done->reply, (size_t)HOST_MESSAGE_MAX * 8);
    call_reply_put(&done->reply, call->id, answer, 0);
    buf_done(&answer->message);
    done->verdict = answer->verdict;
    done->bytes = 0;
}

static void refuse(struct run *run, struct call *call, struct host_answer *answer)
{
    struct call_done done = {0};

    run->calls->refused++;
    put_failure(&done, call, answer);
    reply(run, call, &done);
}

/* The same words for all of one bound's excesses. */
static void say_too_much(const struct run *run, struct host_answer *ret)
{
    host_fail(ret, HOST_LIMIT, "ToolError", "the host calls of this run exceed %lld bytes in all",
              (long long)run->request->policy->calls_total);
}

static bool is_too_much(const struct run *run, uint64_t more)
{
    return run->calls->bytes + more > (uint64_t)run->request->policy->calls_total;
}

static void finish(struct run *run, struct call *call, struct call_done *done)
{
    struct host_answer answer = {0};

    if (is_too_much(run, done->bytes)) {
        say_too_much(run, &answer);
        put_failure(done, call, &answer);
    }
    reply(run, call, done);
    callers_drop(core_callers(run->core), TAKE(call->job));
}

static void time_out(struct run *run, struct call *call)
{
    const struct policy *p = run->request->policy;
    struct call_done done = {.was_begun = true, .us = p->calls_time_ms * 1000};
    struct host_answer answer = {0};

    host_fail(&answer, HOST_TIMEOUT, "TimeoutError", "'%s' took longer than %.15g s",
              call->what.name, (double)p->calls_time_ms / 1000);
    put_failure(&done, call, &answer);
    reply(run, call, &done);
    callers_drop(core_callers(run->core), TAKE(call->job));
}

/* ---- turns ---- */

static struct call_job *ask(struct run *run, const struct call *call)
{
    const struct run_request *q = run->request;
    struct call_order o = {
        .call = {.run_id = run->result.id,
                 .dialect = q->dialect,
                 .policy = q->policy->name,
                 .client = q->client,
                 .kind = call->what.kind,
                 .name = call->what.name,
                 .args = call->what.args,
                 .args_len = call->what.args_len,
                 .deadline_ms = call->deadline_ms,
                 .reply_max = (size_t)q->policy->calls_reply},
        .id = call->id,
    };

    if (run->calls->event_fd < 0)
        run->calls->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    o.event_fd = run->calls->event_fd;
    if (o.event_fd < 0 || !core_find_host(run->core, call->what.kind, &o.fn, &o.ctx))
        return NULL;
    return callers_ask(core_callers(run->core), &o);
}

static void start_waiting(struct run *run)
{
    const struct policy *p = run->request->policy;
    struct calls *c = run->calls;
    struct call *call;

    while (c->table.n[CALL_WORKING] < (size_t)p->calls_concurrency &&
           (call = call_table_first(&c->table, CALL_WAITING))) {
        struct host_answer answer = {0};

        call->deadline_ms = clock_ms() + p->calls_time_ms;
        call->job = ask(run, call);
        if (call->job) {
            call_table_move(&c->table, call, CALL_WORKING);
            continue;
        }
        host_fail(&answer, HOST_FAILED, "ToolError", "the service is too busy for a host call");
        refuse(run, call, &answer);
    }
}

/* ---- taking in ---- */

static const char *function_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

/* True: it may be made. Else `ret` says why not. */
static bool admit(struct run *run, struct call *call, struct host_answer *ret)
{
    const struct policy *p = run->request->policy;
    const struct call_text *what = &call->what;
    struct err err = {0};
    host_fn *fn;
    void *ctx;

    if (!p->tools || !p->tools[0])
        host_fail(ret, HOST_FORBIDDEN, "PermissionError",
                  "host calls are not allowed by this policy");
    else if (call->is_beyond)
        say_too_much(run, ret);
    else if (call->is_dropped)
        host_fail(ret, HOST_LIMIT, "ValueError", "a host call may have %lld bytes at most",
                  (long long)p->calls_request);
    else if (call_text_read(&call->what, buf_get(&call->text), call->text.len, &err) < 0)
        host_fail(ret, HOST_INVALID, "ValueError", "%s", err.msg);
    else if (!host_is_listed(p->tools, what->name))
        host_fail(ret, HOST_FORBIDDEN, "PermissionError", "'%s' is not allowed by this policy",
                  what->name);
    else if (!core_find_host(run->core, what->kind, &fn, &ctx))
        host_fail(ret, HOST_FORBIDDEN, "PermissionError", "nobody offers calls of the kind '%s'",
                  what->kind);
    else if (run->calls->admitted >= (uint64_t)p->calls_budget)
        host_fail(ret, HOST_BUDGET, "ToolError", "MCP tool '%s' call budget of %lld exceeded",
                  function_of(what->name), (long long)p->calls_budget);
    else
        return true;
    return false;
}

static void take_whole(struct run *run, struct call *call)
{
    struct host_answer answer = {0};

    if (!admit(run, call, &answer)) {
        refuse(run, call, &answer);
        return;
    }
    run->calls->admitted++;
    call_table_move(&run->calls->table, call, CALL_WAITING);
    start_waiting(run);
}

static void add_part(struct run *run, struct call *call, const struct frame *f)
{
    struct calls *c = run->calls;

    c->wasted += FRAME_HEAD;
    call->is_beyond = call->is_beyond || (!call->is_dropped && is_too_much(run, f->len));
    if (!call->is_beyond && !call->is_dropped && buf_add(&call->text, f->data, f->len) == 0) {
        c->bytes += f->len;
        return;
    }
    call->is_dropped = true;
    buf_done(&call->text);
    c->wasted += f->len;
}

/* NULL, or what there is too much of. */
static const char *misuse(const struct run *run)
{
    const struct calls *c = run->calls;

    if (c->refused > (uint64_t)run->request->policy->calls_budget + REFUSED_MAX)
        return "too many host calls that were refused";
    if (c->table.n[CALL_COMING] > COMING_MAX)
        return "too many host calls that were begun";
    return c->wasted > WASTED_MAX ? "too many bytes in host calls" : NULL;
}

const char *run_calls_frame(struct run *run, const struct frame *f)
{
    struct calls *c;
    struct call *call;

    if (run->calls_are_over)
        return NULL;
    c = get_calls(run);
    call = call_table_find(&c->table, f->id);
    if (call && call->state != CALL_COMING)
        return "a host call with the number of one that is not answered yet";
    if (!call)
        call = call_table_add(&c->table, f->id, (size_t)run->request->policy->calls_request);
    add_part(run, call, f);
    if (!(f->flags & FRAME_MORE))
        take_whole(run, call);
    return misuse(run);
}

/* ---- sending ---- */

const char *run_calls_taken(struct run *run, const struct frame *f)
{
    uint32_t n = f->len == 4 ? le_get32(f->data) : UINT32_MAX;

    if (!run->calls || n > run->calls->under_way)
        return "credit for replies that were not sent";
    run->calls->under_way -= n;
    return NULL;
}

bool run_calls_feed(struct run *run)
{
    struct calls *c = run->calls;
    struct call *call =
        c && !run->calls_are_over ? call_table_first(&c->table, CALL_REPLYING) : NULL;
    const uint8_t *at;
    size_t n;

    if (!call)
        return false;
    at = (const uint8_t *)buf_get(&call->reply) + call->reply_at;
    n = FRAME_HEAD + le_get32(at + 4);
    if (c->under_way + n > REPLY_WINDOW)
        return false;
    c->under_way += (uint32_t)n;
    run->feed_from = at;
    run->feed_at = 0;
    run->feed_len = n;
    call->reply_at += n;
    if (call->reply_at < call->reply.len)
        return true;
    buf_done(&c->sending);
    c->sending = call->reply;
    call->reply = (struct buf){0};
    call_table_remove(&c->table, call);
    return true;
}

/* ---- in the run's loop ---- */

int run_calls_fd(const struct run *run)
{
    return run->calls && run->calls->table.n[CALL_WORKING] ? run->calls->event_fd : -1;
}

/* All have the same time, so the first of those at work is the first that is late. */
int64_t run_calls_due_ms(const struct run *run)
{
    const struct call *first =
        run->calls ? call_table_first(&run->calls->table, CALL_WORKING) : NULL;

    return first ? first->deadline_ms + LATE_MS : INT64_MAX;
}

void run_calls_serve(struct run *run)
{
    struct calls *c = run->calls;
    struct call *call, *next;
    uint64_t n;

    if (!c || !c->table.n[CALL_WORKING])
        return;
    if (read(c->event_fd, &n, sizeof(n)) < 0 && clock_ms() < run_calls_due_ms(run))
        return;
    for (call = call_table_first(&c->table, CALL_WORKING); call; call = next) {
        struct call_done done;

        next = TAILQ_NEXT(call, link);
        if (callers_look(core_callers(run->core), call->job, &done))
            finish(run, call, &done);
        else if (clock_ms() >= call->deadline_ms + LATE_MS)
            time_out(run, call);
    }
    start_waiting(run);
}

/* ---- the end ---- */

static void cancel(struct run *run, struct call *call)
{
    const struct call_done done = {.verdict = HOST_CANCELLED};

    note(run, call, &done);
    if (call->job)
        callers_drop(core_callers(run->core), TAKE(call->job));
    call_table_remove(&run->calls->table, call);
}

void run_calls_end(struct run *run)
{
    struct calls *c = run->calls;
    struct call *call;

    run->calls_are_over = true;
    if (!c)
        return;
    while ((call = call_table_first(&c->table, CALL_WORKING)) ||
           (call = call_table_first(&c->table, CALL_WAITING)))
        cancel(run, call);
    /* A part of the first may be half sent. */
    call = call_table_first(&c->table, CALL_REPLYING);
    if (call && call->reply_at) {
        buf_done(&c->sending);
        c->sending = call->reply;
        call->reply = (struct buf){0};
    }
    call_table_clear(&c->table);
}

void run_calls_free(struct run *run)
{
    struct calls *c = run->calls;

    run_calls_end(run);
    run->calls = NULL;
    if (!c)
        return;
    if (c->event_fd >= 0)
        (void)close(c->event_fd);
    buf_done(&c->sending);
    free(c);
}
