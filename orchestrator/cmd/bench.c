/*
 * `oneshot bench`: what this machine's engine can do without us, and what the running service
 * makes of it. `make bench` builds its table from the JSON of these measurements.
 */
#include "cmd/bench.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"

void bench_add(struct bench_result *r, int64_t us)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 256;
        r->us = xarray(r->us, r->cap, sizeof(*r->us));
    }
    r->us[r->n++] = us;
}

void bench_merge(struct bench_result *into, struct bench_result *from)
{
    for (size_t i = 0; i < from->n; i++)
        bench_add(into, from->us[i]);
    into->errors += from->errors;
    into->mixed += from->mixed;
    into->refills += from->refills;
    into->refill_us += from->refill_us;
    bench_done(from);
}

void bench_done(struct bench_result *r)
{
    free(r->us);
    *r = (struct bench_result){0};
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void bench_sort(struct bench_result *r)
{
    if (r->n)
        qsort(r->us, r->n, sizeof(*r->us), by_value);
}

double bench_percentile_ms(const struct bench_result *r, double share)
{
    size_t at = (size_t)(share * (double)r->n);

    if (!r->n)
        return 0;
    return (double)r->us[at < r->n ? at : r->n - 1] / 1000;
}

static double rate(const struct bench_result *r)
{
    return r->wall_us ? (double)r->n * 1e6 / (double)r->wall_us : 0;
}

static void print_json(const char *what, const struct bench_result *r)
{
    (void)printf("{\"what\":\"%s\",\"runs\":%zu,\"errors\":%zu,\"mixed\":%zu,\"seconds\":%.3f,"
                 "\"rate\":%.3f,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
                 "\"refill_ms\":%.1f}\n",
                 what, r->n, r->errors, r->mixed, (double)r->wall_us / 1e6, rate(r),
                 bench_percentile_ms(r, 0.50), bench_percentile_ms(r, 0.95),
                 bench_percentile_ms(r, 0.99), bench_percentile_ms(r, 1),
                 r->refills ? (double)r->refill_us / 1000 / (double)r->refills : 0);
}

static void print_row(const char *what, const struct bench_result *r)
{
    (void)printf("%-34s %6zu %7.1f/s %9.2f %9.2f %9.2f ms", what, r->n, rate(r),
                 bench_percentile_ms(r, 0.50), bench_percentile_ms(r, 0.95),
                 bench_percentile_ms(r, 0.99));
    if (r->errors || r->mixed)
        (void)printf("  (%zu errors, %zu mixed up)", r->errors, r->mixed);
    (void)printf("\n");
    (void)fflush(stdout);
}

typedef int bench_fn(const struct bench_plan *plan, struct bench_result *ret, struct err *err);

struct step {
    const char *what;
    bench_fn *fn;
    struct bench_plan plan;
};

static int perform(const struct step *s, bool json)
{
    struct bench_result r = {0};
    struct err err = {0};
    int rc = s->fn(&s->plan, &r, &err);

    if (rc < 0)
        (void)fprintf(stderr, "oneshot: %s: %s\n", s->what, err.msg);
    bench_sort(&r);
    if (rc == 0 && json)
        print_json(s->what, &r);
    else if (rc == 0)
        print_row(s->what, &r);
    rc = rc < 0 || r.mixed ? -1 : 0;
    bench_done(&r);
    return rc;
}

/* Without a mode: a short look at this machine and the service that runs on it. */
static int overview(const struct bench_plan *base)
{
    struct step steps[] = {
        {"one at a time, parked",   bench_http, *base},
        {"bursts of 4, parked",     bench_http, *base},
        {"4 at once for 10 s",      bench_http, *base},
        {"engine alone, 4 at once", bench_bare, *base},
    };
    int rc = 0;

    steps[0].plan.parallel = 1;
    steps[0].plan.count = 20;
    steps[0].plan.is_paced = true;
    steps[1].plan.parallel = 4;
    steps[1].plan.count = 5;
    steps[1].plan.is_paced = steps[1].plan.is_burst = true;
    (void)printf("%-34s %6s %9s %9s %9s %9s\n", "", "runs", "rate", "p50", "p95", "p99");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        rc |= perform(&steps[i], false);
    return rc ? 1 : 0;
}

struct numbers {
    const char *parallel, *count, *seconds, *settle;
};

static int read_numbers(struct bench_plan *plan, const struct numbers *n)
{
    int64_t v;

    if (n->parallel) {
        if (!str_to_i64(n->parallel, 1, 64, &v))
            return -1;
        plan->parallel = (unsigned)v;
    }
    if (n->count) {
        if (!str_to_i64(n->count, 1, 1000000, &v))
            return -1;
        plan->count = (size_t)v;
    }
    if (n->settle && !str_to_real(n->settle, &plan->settle_s))
        return -1;
    return n->seconds && !str_to_real(n->seconds, &plan->seconds) ? -1 : 0;
}

int cmd_bench(int argc, char **argv)
{
    static const char usage[] = "bench [OPTIONS] [http|bare]";
    struct bench_plan plan = {.url = "http://127.0.0.1:8000/v1/runs",
                              .pools_url = "http://127.0.0.1:8000/v1/pools",
                              .policy = "default",
                              .code = "print(1)",
                              .parallel = 4,
                              .seconds = 10,
                              .settle_s = 0.15};
    struct numbers numbers = {0};
    const struct arg table[] = {
        ARG_VALUE("--url", NULL, "URL", &plan.url, "where runs are posted to"),
        ARG_VALUE("--pools", NULL, "URL", &plan.pools_url, "where the pools are looked at"),
        ARG_VALUE("--policy", "-p", "NAME", &plan.policy, "(default)"),
        ARG_VALUE("--code", NULL, "TEXT", &plan.code, "the program (print(1))"),
        ARG_VALUE("--parallel", NULL, "N", &numbers.parallel, "at once (4)"),
        ARG_VALUE("--count", "-n", "N", &numbers.count, "runs in all, or bursts"),
        ARG_VALUE("--seconds", NULL, "S", &numbers.seconds, "without --count (10)"),
        ARG_VALUE("--settle", NULL, "S", &numbers.settle, "how long it must be full (0.15)"),
        ARG_FLAG("--paced", NULL, &plan.is_paced, "only with a full and quiet pool"),
        ARG_FLAG("--burst", NULL, &plan.is_burst, "all at once, --count times"),
        ARG_VALUE("--config", "-c", "FILE", &plan.config, "settings (bare)"),
    };
    int n = args_read(argc, argv, table, ARRAY_LEN(table), usage);

    if (n == -2)
        return 0;
    if (n < 0 || n > 1 || read_numbers(&plan, &numbers) < 0) {
        (void)fprintf(stderr, "usage: oneshot %s\n", usage);
        return EXIT_USAGE;
    }
    child_signals();
    log_init("bench", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    if (n == 0)
        return overview(&plan);
    if (strcmp(argv[1], "http") == 0)
        return perform(&(struct step){"http", bench_http, plan}, true) < 0 ? 1 : 0;
    if (strcmp(argv[1], "bare") == 0)
        return perform(&(struct step){"bare", bench_bare, plan}, true) < 0 ? 1 : 0;
    (void)fprintf(stderr, "usage: oneshot %s\n", usage);
    return EXIT_USAGE;
}
