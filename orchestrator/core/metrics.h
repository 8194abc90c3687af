#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdint.h>

#include "base/buf.h"
#include "core/core.h"

/*
 * Counters of what the service did, and their text for Prometheus (exposition format 0.0.4). All
 * figures of runs come from the observer, those of the pools from the keeper at the time of asking.
 * Label values are bounded: whatever comes after the first METRICS_PAIRS pairs of dialect and
 * policy is counted as "other". Any thread; counting takes no lock but for a pair's first run.
 */
struct metrics;

enum { METRICS_PAIRS = 99 }; /* times 10 outcomes, and "other": under 1,000 series */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* A core_observer; `ctx` is the struct metrics. */
void metrics_observe(void *ctx, const struct run_request *request, const struct run_result *result);

/*
 * Further figures that other rooms append when the text is made, with the functions below.
 * Register before serving; up to METRICS_SOURCES.
 */
enum { METRICS_SOURCES = 8 };
typedef void metrics_source(struct buf *b, void *ctx);
void metrics_add(struct metrics *m, metrics_source *fn, void *ctx);

/* HELP and TYPE of a family; `type` is "counter", "gauge" or "histogram". */
void metrics_family(struct buf *b, const char *name, const char *type, const char *help);

/* ` label="value"` without the blank, the value escaped; `sep` stands in front ('{' or ','). */
void metrics_label(struct buf *b, char sep, const char *label, const char *value);

/* The value of a sample, behind its labels, and the end of its line. */
void metrics_value(struct buf *b, uint64_t value);

/* A family of one sample without labels, and a sample with one label. */
void metrics_single(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t value);
void metrics_labelled(struct buf *b, const char *name, const char *label, const char *value,
                      uint64_t number);

struct metrics_pools {
    const struct handover_pool *pools;
    size_t n;
    const struct handover_counts *counts; /* NULL: no keeper */
    const struct policy_names *names;     /* what the pools' policies are called */
};

void metrics_render(struct metrics *m, struct buf *b, const struct metrics_pools *pools);

#endif
