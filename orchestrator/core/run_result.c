#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/core_state.h"
#include "core/run_state.h"

enum { VALUE_TOKENS = 400000 }; /* twice what the worker sends at most */

const char *outcome_name(enum outcome o)
{
    static const char *const names[OUTCOMES] = {
        [OUTCOME_OK] = "ok",
        [OUTCOME_CODE_ERROR] = "code_error",
        [OUTCOME_TIMEOUT] = "timeout",
        [OUTCOME_OOM] = "oom",
        [OUTCOME_PIDS] = "pids",
        [OUTCOME_DISK] = "disk",
        [OUTCOME_OUTPUT_LIMIT] = "output_limit",
        [OUTCOME_BLOCKED] = "blocked",
        [OUTCOME_CANCELLED] = "cancelled",
        [OUTCOME_INFRA] = "infra",
    };

    return (unsigned)o < OUTCOMES ? names[o] : "unknown";
}

void run_result_init(struct run_result *r, const char *spool_dir)
{
    *r = (struct run_result){
        .outcome = OUTCOME_INFRA, .exit_code = -1, .started_wall_ms = clock_wall_ms()};
    (void)random_id(r->id);
    spool_init(&r->out, spool_dir);
    spool_init(&r->err_out, spool_dir);
    buf_init(&r->value, RUN_VALUE_MAX);
    buf_init(&r->fault, RUN_FAULT_MAX);
}

void run_result_done(struct run_result *r)
{
    spool_done(&r->out);
    spool_done(&r->err_out);
    buf_done(&r->value);
    buf_done(&r->fault);
    for (size_t i = 0; i < r->files_n; i++) {
        free(r->files[i].path);
        spool_done(&r->files[i].data);
    }
    for (size_t i = 0; i < r->omitted_n; i++)
        free(r->omitted[i].path);
    free(r->files);
    free(r->omitted);
    free(r->log);
}

static void say(struct run_result *r, const char *text)
{
    (void)str_copy(r->reason, text, sizeof(r->reason));
}

static void say_size(struct run_result *r, const char *what, uint64_t bytes)
{
    const uint64_t mib = 1ULL << 20;

    if (bytes % mib == 0)
        (void)snprintf(r->reason, sizeof(r->reason), "%s of %llu MiB exceeded", what,
                       (unsigned long long)(bytes / mib));
    else
        (void)snprintf(r->reason, sizeof(r->reason), "%s of %llu bytes exceeded", what,
                       (unsigned long long)bytes);
}

static void say_timeout(struct run *run)
{
    (void)snprintf(run->result.reason, sizeof(run->result.reason), "time limit of %.15g s exceeded",
                   (double)run->job_timeout_ms / 1000);
}

static void normal_end(struct run_result *r, const struct outcome_report *report)
{
    bool is_ok = report->exit_code == 0 && report->term_signal == 0;

    r->outcome = is_ok ? OUTCOME_OK : OUTCOME_CODE_ERROR;
    r->term_signal = report->term_signal;
    r->exit_code = report->term_signal ? 128 + report->term_signal : report->exit_code;
    if (r->term_signal)
        (void)snprintf(r->reason, sizeof(r->reason), "ended by signal %d (SIG%s)", r->term_signal,
                       sigabbrev_np(r->term_signal) ? sigabbrev_np(r->term_signal) : "?");
}

/* A limit ended it: the exit status is what a shell would see of the kill. */
static void limit_end(struct run *run, const struct outcome_report *report)
{
    const struct policy *p = run->request->policy;
    struct run_result *r = &run->result;

    r->term_signal = report->term_signal;
    r->exit_code = report->term_signal ? 128 + report->term_signal : report->exit_code;
    switch ((enum run_end)report->end) {
    case END_TIMEOUT:
        r->outcome = OUTCOME_TIMEOUT;
        r->exit_code = -1;
        say_timeout(run);
        return;
    case END_OOM:
        r->outcome = OUTCOME_OOM;
        say_size(r, "memory limit", r->memory);
        return;
    case END_PIDS:
        r->outcome = OUTCOME_PIDS;
        (void)snprintf(r->reason, sizeof(r->reason), "process limit of %lld exceeded",
                       (long long)p->pids);
        return;
    case END_DISK:
        r->outcome = OUTCOME_DISK;
        say(r, "no space left: the limit on files was reached");
        return;
    case END_OUTPUT:
        r->outcome = OUTCOME_OUTPUT_LIMIT;
        say_size(r, "output limit", (uint64_t)p->output_hard);
        return;
    case END_CANCELLED:
        r->outcome = OUTCOME_CANCELLED;
        say(r, "cancelled");
        return;
    case END_BLOCKED:
        r->outcome = OUTCOME_BLOCKED;
        return;
    case END_NORMAL:
    case END_KINDS:
        return;
    }
}

void run_result_report(struct run *run, const struct outcome_report *report)
{
    struct run_result *r = &run->result;

    r->wall_us = report->wall_us;
    r->cpu_us = report->cpu_us;
    r->memory_peak = report->flags & REPORT_PEAK_KNOWN ? report->peak_bytes : 0;
    r->out_bytes = report->stdout_bytes;
    r->err_bytes = report->stderr_bytes;
    r->out_is_cut = r->out_is_cut || report->flags & REPORT_STDOUT_CUT;
    r->err_is_cut = r->err_is_cut || report->flags & REPORT_STDERR_CUT;
    if (report->end == END_NORMAL)
        normal_end(r, report);
    else
        limit_end(run, report);
}

void run_result_infra(struct run *run, const struct err *err, int retry_s)
{
    struct run_result *r = &run->result;

    r->outcome = OUTCOME_INFRA;
    r->err = *err;
    r->retry_after_s = retry_s;
    if (r->was_sent)
        (void)snprintf(r->reason, sizeof(r->reason),
                       "infrastructure failure, the program may have run: %.180s", err->msg);
    else
        say(r, err->msg);
}

void run_result_misused(struct run *run, const char *how)
{
    struct run_result *r = &run->result;

    r->outcome = OUTCOME_CODE_ERROR;
    r->term_signal = SIGKILL;
    r->exit_code = 128 + SIGKILL;
    say(r, how);
}

void run_result_timeout(struct run *run)
{
    run->result.outcome = OUTCOME_TIMEOUT;
    run->result.exit_code = -1; /* a late report may have said another */
    say_timeout(run);
}

/* The container is gone without a RESULT: only the engine and the keeper know why. */
void run_result_lost(struct run *run)
{
    struct run_result *r = &run->result;
    struct handover_fate fate = {0};
    struct err err = {0};

    if (run->lease.fd >= 0)
        link_fate(core_link(run->core), &run->lease, &fate);
    if (fate.was_killed_by_us || clock_ms() >= run->hard_ms) {
        run_result_timeout(run);
        return;
    }
    if (fate.is_oom) {
        r->outcome = OUTCOME_OOM;
        r->exit_code = 137;
        r->term_signal = 9;
        say_size(r, "memory limit", r->memory);
        return;
    }
    (void)err_set(&err, ERR_PEER, "the container was lost");
    run_result_infra(run, &err, 0);
}

/*
 * The program shares a process with whoever writes these texts, so they may be anything; what goes
 * on to a client is JSON.
 */
static void check_json(struct run_result *r, struct buf *b, const char *what)
{
    struct err err = {0};

    if (!b->len || json_scan_passed_on(buf_get(b), b->len, VALUE_TOKENS, &err) == 0)
        return;
    log_warning("run %s: its %s is dropped: %s", r->id, what, err.msg);
    buf_clear(b);
}

/* Nothing has run: the fault is the worker's own word. */
static void say_refusal(struct run_result *r)
{
    CLEANUP(cJSON_Delete_p) cJSON *fault = cJSON_ParseWithLength(buf_get(&r->fault), r->fault.len);
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(fault, "message"));

    say(r, why ? why : "the program was refused");
}

void run_result_check(struct run_result *r)
{
    check_json(r, &r->value, "value");
    check_json(r, &r->fault, "fault");
    /* Somebody who ends well after all, by os._exit() for one, has not failed. */
    if (r->outcome == OUTCOME_OK || (r->fault.len && buf_get(&r->fault)[0] != '{'))
        buf_clear(&r->fault);
    if (r->outcome == OUTCOME_BLOCKED)
        say_refusal(r);
}
