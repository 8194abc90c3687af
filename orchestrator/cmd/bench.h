#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Figures of one measurement: how long each run took, how many went wrong. */
struct bench_result {
    int64_t *us; /* one latency for each run that went well; owned */
    size_t n, cap;
    size_t refills;    /* bursts after which the time until the pool was full was taken */
    int64_t refill_us; /* of all of them */
    size_t errors;     /* refused, failed, cut */
    size_t mixed;      /* replies that carry another run's output */
    int64_t wall_us;
};

void bench_add(struct bench_result *r, int64_t us);
void bench_merge(struct bench_result *into, struct bench_result *from); /* takes its latencies */
void bench_done(struct bench_result *r);

/* Sorts; then percentiles may be asked for. */
void bench_sort(struct bench_result *r);
double bench_percentile_ms(const struct bench_result *r, double share);

struct bench_plan {
    const char *config, *url, *pools_url, *policy, *code;
    unsigned parallel;
    size_t count; /* runs in all; 0: as many as fit in `seconds` */
    double seconds;
    double
        settle_s; /* a pool is quiet once it has been full for so long: imports go on after READY */
    bool is_paced; /* wait until the pool is full and quiet before each run, or each burst */
    bool is_burst; /* all threads start together, `count` times */
};

/* Runs over HTTP, POST /v1/runs or an aiq or telemetry address, by what the path says. */
int bench_http(const struct bench_plan *plan, struct bench_result *ret, struct err *err) MUST_CHECK;

/*
 * The engine's floor: the same container body without any service. Each thread creates, attaches,
 * starts, reads READY, writes one job, reads its answer, removes, and begins again.
 */
int bench_bare(const struct bench_plan *plan, struct bench_result *ret, struct err *err) MUST_CHECK;

#endif
