/* Programs in containers of this very service. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/utf8.h"
#include "core/core.h"
#include "core/run.h"
#include "core/run_told.h"
#include "model/runner.h"
#include "policy/policy.h"

enum { STATUS_UNAVAILABLE = 503 };

struct runner_core {
    struct runner base;
    struct core *core;
    char *policy;
};

static void tell_output(const struct runner_call *c, struct utf8_repair *repair,
                        const struct run_event *ev)
{
    auto_free char *text = xmalloc(UTF8_REPAIR_MAX(ev->len));
    bool is_stderr = ev->kind == RUN_STDERR;
    size_t n = utf8_repair_feed(&repair[is_stderr], ev->data, ev->len, text);

    if (n)
        c->on_output(c->ctx, is_stderr, text, n);
}

/* A character whose last bytes never came. */
static void tell_rest(const struct runner_call *c, struct utf8_repair *repair)
{
    char text[UTF8_REPAIR_MAX(0)];

    for (int i = 0; i < 2; i++) {
        size_t n = utf8_repair_flush(&repair[i], text);

        if (n)
            c->on_output(c->ctx, i, text, n);
    }
}

static void pull(struct run *run, const struct runner_call *c)
{
    struct utf8_repair repair[2] = {0};
    struct run_event ev;

    do {
        run_next(run, &ev);
        if (c->on_output && (ev.kind == RUN_STDOUT || ev.kind == RUN_STDERR))
            tell_output(c, repair, &ev);
    } while (ev.kind != RUN_DONE);
    if (c->on_output)
        tell_rest(c, repair);
}

static void take_files(struct run_result *r, struct runner_result *ret)
{
    ret->files = xcalloc(r->files_n + 1, sizeof(*ret->files));
    ret->files_n = r->files_n;
    for (size_t i = 0; i < r->files_n; i++) {
        struct buf name;

        buf_init(&name, PATH_REL_MAX + 8);
        run_put_file_name(&name, r, i);
        ret->files[i].name = xstrdup(buf_get(&name));
        buf_done(&name);
        spool_move(&ret->files[i].data, &r->files[i].data);
    }
}

static enum runner_end end_of(const struct run_result *r)
{
    if (r->outcome == OUTCOME_CANCELLED)
        return RUNNER_CANCELLED;
    if (r->outcome != OUTCOME_INFRA)
        return RUNNER_RAN;
    return r->was_sent ? RUNNER_LOST : RUNNER_UNAVAILABLE;
}

/* The deadline was before the program's own limit, or before there was a container for it. */
static bool is_late(const struct run_result *r, int64_t deadline_ms)
{
    bool had_no_turn = r->outcome == OUTCOME_INFRA && !r->was_sent;

    return (r->outcome == OUTCOME_TIMEOUT || had_no_turn) && clock_ms() >= deadline_ms;
}

static void take_result(struct run_result *r, int64_t timeout_ms, struct runner_result *ret)
{
    run_mark_cut(r);
    run_note_limit(r, (double)timeout_ms / 1000);
    ret->end = end_of(r);
    ret->is_ok = r->outcome == OUTCOME_OK;
    ret->has_code = run_return_code(r, &ret->return_code) && ret->end == RUNNER_RAN;
    (void)str_copy(ret->id, r->id, sizeof(ret->id));
    (void)str_copy(ret->reason, r->reason, sizeof(ret->reason));
    ret->status = STATUS_UNAVAILABLE;
    ret->retry_after_s = r->retry_after_s > 0 ? r->retry_after_s : 1;
    spool_move(&ret->out, &r->out);
    spool_move(&ret->err_out, &r->err_out);
    take_files(r, ret);
}

static void unavailable(struct runner_result *ret, const char *policy)
{
    ret->end = RUNNER_UNAVAILABLE;
    ret->status = STATUS_UNAVAILABLE;
    ret->retry_after_s = 1;
    (void)snprintf(ret->reason, sizeof(ret->reason), "The policy '%.60s' is missing", policy);
}

static void cancel(void *run)
{
    run_cancel(run);
}

static void run_here(struct runner *base, const struct runner_call *c, struct runner_result *ret)
{
    struct runner_core *r = (struct runner_core *)base;
    const struct policy *policy = core_pin_policy(r->core, r->policy);
    int64_t left = c->deadline_ms - clock_ms();
    struct run_request q = {
        .dialect = c->dialect,
        .policy = policy,
        .code = c->code,
        .code_len = strlen(c->code),
        .filename = "snippet.py",
        .figures = -1,
        .stdin_fd = -1,
        .deadline_ms = INT64_MAX,
        .client = c->client ? c->client : "",
        .traceparent = c->traceparent,
        .client_fd = c->stop ? c->stop->client_fd : -1,
    };
    struct run *run;

    if (!policy) {
        unavailable(ret, r->policy);
        return;
    }
    q.timeout_ms = left < policy->time_default_ms ? left : policy->time_default_ms;
    /* The wait for a container is bounded, too, where it could end behind the deadline. */
    if (left < policy->time_default_ms + policy->queue_wait_ms)
        q.deadline_ms = c->deadline_ms;
    run = run_new(r->core, &q);
    stop_on_ask(c->stop, cancel, run);
    pull(run, c);
    stop_on_ask(c->stop, NULL, NULL);
    ret->is_late = is_late(run_result(run), c->deadline_ms);
    take_result(run_result(run), q.timeout_ms, ret);
    run_free(run);
    core_unpin_policy(r->core, policy);
}

static void free_core(struct runner *base)
{
    struct runner_core *r = (struct runner_core *)base;

    free(r->policy);
    free(r);
}

struct runner *runner_core_new(struct core *core, const char *policy)
{
    static const struct runner_ops ops = {.run = run_here, .free = free_core};
    struct runner_core *r = xcalloc(1, sizeof(*r));

    r->base.ops = &ops;
    r->core = core;
    r->policy = xstrdup(policy);
    return &r->base;
}
