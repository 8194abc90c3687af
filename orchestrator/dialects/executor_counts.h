#ifndef DIALECTS_EXECUTOR_COUNTS_H
#define DIALECTS_EXECUTOR_COUNTS_H

#include "base/buf.h"
#include "core/run.h"

/*
 * The figures that the executor's own /metrics shows (contracts/executor.md). Those of the whole
 * service are elsewhere and have them under other names: who reads both counts nothing twice. Any
 * thread.
 */
struct executor_counts;

struct executor_counts *executor_counts_new(void);
void executor_counts_free(struct executor_counts *c);

/* Around a run. `r` may be one that got no container: then only its end is noted. */
void executor_counts_begin(struct executor_counts *c);
void executor_counts_end(struct executor_counts *c, const struct run_result *r);

/* Appends all of them as Prometheus reads them. */
void executor_counts_render(struct buf *b, const struct executor_counts *c);

#endif
