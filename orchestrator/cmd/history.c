/* `oneshot history`: past runs, read from the database beside the service that writes it. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/history_calls.h"
#include "cmd/place.h"
#include "cmd/shown.h"
#include "store/store.h"

enum { LIMIT = 20, JSON_MAX = 256 * 1024 * 1024 };

struct options {
    const char *config, *limit, *policy, *outcome, *dialect, *before;
    const char *id;
    bool json, calls;
};

static int complain(const char *text)
{
    (void)fprintf(stderr, "oneshot: %s\n", text);
    return EXIT_USAGE;
}

/* ---- for people ---- */

static void print_list(const struct run_record *list, size_t n)
{
    (void)printf("%-20s  %-19s  %-12s  %-11s  %-12s  %4s  %9s\n", "ID", "STARTED (UTC)", "POLICY",
                 "DIALECT", "OUTCOME", "EXIT", "TIME");
    for (size_t i = 0; i < n; i++) {
        const struct run_record *r = &list[i];
        char started[CLOCK_TEXT_MAX], wall[24], status[12] = "-";

        if (r->exit_code >= 0)
            (void)snprintf(status, sizeof(status), "%d", r->exit_code);
        (void)printf("%-20.20s  %s  %-12.12s  %-11.11s  %-12.12s  %4.4s  %9s\n", r->id,
                     shown_time(started, r->started_ms), r->policy, r->dialect,
                     outcome_name(r->outcome), status, shown_duration(wall, r->wall_us));
    }
}

static void print_bytes(const char *name, uint64_t bytes)
{
    (void)printf("%-12s %llu bytes\n", name, (unsigned long long)bytes);
}

static void print_times(const struct run_record *r)
{
    char wall[24], cpu[24], queue[24], take[24], run[24], collect[24];

    (void)printf("%-12s %s, CPU %s\n", "time", shown_duration(wall, r->wall_us),
                 shown_duration(cpu, r->cpu_us));
    (void)printf(
        "%-12s queue %s, take %s, run %s, collect %s\n", "stages",
        shown_duration(queue, (uint64_t)r->queue_us), shown_duration(take, (uint64_t)r->take_us),
        shown_duration(run, (uint64_t)r->run_us), shown_duration(collect, (uint64_t)r->collect_us));
}

static void print_one(const struct run_record *r)
{
    char started[CLOCK_TEXT_MAX];

    shown_text("run", r->id);
    (void)printf("%-12s %s UTC\n", "started", shown_time(started, r->started_ms));
    shown_text("dialect", r->dialect);
    shown_text("policy", r->policy);
    shown_text("policy hash", r->policy_hash);
    shown_text("client", r->client);
    shown_text("trace", r->traceparent);
    shown_text("outcome", outcome_name(r->outcome));
    shown_text("reason", r->reason);
    if (r->exit_code >= 0)
        (void)printf("%-12s %d\n", "exit status", r->exit_code);
    if (r->term_signal)
        (void)printf("%-12s %d\n", "signal", r->term_signal);
    print_times(r);
    if (r->memory_peak)
        print_bytes("memory peak", r->memory_peak);
    print_bytes("stdout", r->out_bytes);
    print_bytes("stderr", r->err_bytes);
    (void)printf("%-12s %llu\n", "files", (unsigned long long)r->files);
    shown_text("image", r->image);
    shown_text("container", r->container);
    if (r->container[0])
        shown_text("start", r->was_warm ? "warm" : "cold");
    print_bytes("code", r->code_bytes);
    shown_text("code sha256", r->code_sha256);
    if (!r->code)
        return;
    (void)putchar('\n');
    shown_safely(r->code, (size_t)r->code_bytes);
    if (r->code_bytes && r->code[r->code_bytes - 1] != '\n')
        (void)putchar('\n');
}

/* ---- for programs ---- */

static int print_json(const struct run_record *list, size_t n, bool is_one)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, JSON_MAX);
    if (is_one) {
        run_record_put(&b, list, true);
    } else {
        (void)buf_str(&b, "{\"runs\":[");
        for (size_t i = 0; i < n; i++) {
            if (i)
                (void)buf_char(&b, ',');
            run_record_put(&b, &list[i], false);
        }
        (void)buf_str(&b, "]}");
    }
    if (b.is_full)
        return complain("the run is too large to be shown as JSON");
    (void)puts(buf_get(&b));
    return 0;
}

/* ---- the command ---- */

static int show_one(struct store *s, const struct options *o, struct err *err)
{
    struct run_record r;
    int status = 0;

    if (store_get(s, o->id, &r, err) < 0)
        return -1;
    if (o->json)
        status = print_json(&r, 1, true);
    else
        print_one(&r);
    run_record_done(&r);
    return status;
}

static int show_list(struct store *s, const struct store_filter *f, bool json, struct err *err)
{
    struct run_record *list;
    int status = 0;
    size_t n;

    if (store_list(s, f, &list, &n, err) < 0)
        return -1;
    if (json)
        status = print_json(list, n, false);
    else if (n)
        print_list(list, n);
    else
        (void)fputs("oneshot: no runs\n", stderr);
    store_records_free(list, n);
    return status;
}

/* What was asked for: calls of the model, of one generation or of all; a run; runs. */
static int show_what(struct store *s, const struct options *o, const struct store_filter *f,
                     struct err *err)
{
    const struct call_filter calls = {.limit = f->limit, .before = o->before, .generation = o->id};

    if (o->calls)
        return history_calls(s, &calls, o->json, err);
    return o->id ? show_one(s, o, err) : show_list(s, f, o->json, err);
}

static void explain(const struct err *err)
{
    (void)fprintf(stderr, "oneshot: %s\n", err->msg);
    if (err->kind == ERR_NOTFOUND && strstr(err->msg, "does not exist"))
        (void)fputs("No run has been recorded yet, or the service keeps its state elsewhere: name "
                    "its settings with --config or ONESHOT_CONFIG.\n",
                    stderr);
    if (err->kind == ERR_DENIED)
        (void)fputs("The history belongs to the service: read it as root or as its user.\n",
                    stderr);
}

static int show(const struct options *o, const struct store_filter *f)
{
    struct settings settings = {0};
    struct store *s = NULL;
    struct err err = {0};
    char *dir;
    int status;

    if (settings_load(o->config, &settings, &err) < 0)
        return complain(err.msg);
    dir = place_path(&settings, "store");
    status = store_open_reader(settings.store_url, dir, &s, &err);
    if (status == 0)
        status = show_what(s, o, f, &err);
    store_close(s);
    free(dir);
    settings_done(&settings);
    if (status < 0)
        explain(&err);
    return status < 0 ? EXIT_FAILURE : status;
}

static int check_options(const struct options *o, int words, struct store_filter *ret)
{
    int64_t limit = LIMIT;

    if (words > 1)
        return complain("one ID at a time");
    if (o->limit && !str_to_i64(o->limit, 1, STORE_LIST_MAX, &limit))
        return complain("--limit must be 1..1000");
    if (o->outcome && outcome_find(o->outcome) == OUTCOMES)
        return complain("--outcome must be one of ok, code_error, timeout, oom, pids, disk, "
                        "output_limit, blocked, cancelled, infra");
    *ret = (struct store_filter){.limit = (size_t)limit,
                                 .before = o->before,
                                 .policy = o->policy,
                                 .dialect = o->dialect,
                                 .outcome = o->outcome};
    return 0;
}

int cmd_history(int argc, char **argv)
{
    struct options o = {0};
    const struct arg table[] = {
        ARG_VALUE("--config", "-c", "FILE", &o.config, "settings"),
        ARG_VALUE("--limit", "-n", "N", &o.limit, "so many of the newest, 20 unless told"),
        ARG_VALUE("--policy", "-p", "NAME", &o.policy, "only runs under that policy"),
        ARG_VALUE("--outcome", NULL, "NAME", &o.outcome, "only runs that ended so"),
        ARG_VALUE("--dialect", NULL, "NAME", &o.dialect, "only runs asked for in that dialect"),
        ARG_VALUE("--before", NULL, "ID", &o.before, "only runs before that one"),
        ARG_FLAG("--calls", NULL, &o.calls, "calls of the model; with an ID those of a generation"),
        ARG_FLAG("--json", NULL, &o.json, "for programs"),
    };
    int n = args_read(argc, argv, table, ARRAY_LEN(table),
                      "history [--limit N] [--policy P] [--outcome O] [--calls] [--json] [ID]");
    struct store_filter filter;

    if (n < 0)
        return n == -2 ? 0 : EXIT_USAGE;
    if (check_options(&o, n, &filter))
        return EXIT_USAGE;
    o.id = n ? argv[1] : NULL;
    log_init("history", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    return show(&o, &filter);
}
