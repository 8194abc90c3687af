#include "dialects/executor_counts.h"

#include "base/counter.h"
#include "base/mem.h"
#include "core/histogram.h"
#include "core/metrics.h"

static const int64_t bounds_us[] = {5000,    10000,   25000,   50000,    100000,   250000,  500000,
                                    1000000, 2500000, 5000000, 10000000, 30000000, 60000000};

#define MIB INT64_C(1048576)
static const int64_t bounds_bytes[] = {1 * MIB,    2 * MIB,    5 * MIB,   10 * MIB,  20 * MIB,
                                       50 * MIB,   100 * MIB,  128 * MIB, 256 * MIB, 512 * MIB,
                                       1024 * MIB, 2048 * MIB, 4096 * MIB};

static const struct histogram_scale seconds = {bounds_us, ARRAY_LEN(bounds_us), 1e6};
static const struct histogram_scale mebibytes = {bounds_bytes, ARRAY_LEN(bounds_bytes), 1048576};

enum status { SUCCESS, FAILURE, TIMEOUT, SECURITY_BLOCKED, STATUSES };

static const char *const names[STATUSES] = {"success", "failure", "timeout", "security_blocked"};

struct executor_counts {
    atomic_uint_fast64_t ends[STATUSES];
    atomic_uint_fast64_t active;
    struct histogram duration, memory;
};

struct executor_counts *executor_counts_new(void)
{
    return xcalloc(1, sizeof(struct executor_counts));
}

void executor_counts_free(struct executor_counts *c)
{
    free(c);
}

static enum status status_of(const struct run_result *r)
{
    if (r->outcome == OUTCOME_OK)
        return SUCCESS;
    if (r->outcome == OUTCOME_TIMEOUT)
        return TIMEOUT;
    return r->outcome == OUTCOME_BLOCKED ? SECURITY_BLOCKED : FAILURE;
}

void executor_counts_begin(struct executor_counts *c)
{
    counter_add(&c->active, 1);
}

void executor_counts_end(struct executor_counts *c, const struct run_result *r)
{
    (void)atomic_fetch_sub(&c->active, 1);
    if (!r->was_sent)
        return;
    counter_add(&c->ends[status_of(r)], 1);
    histogram_add(&c->duration, &seconds, (int64_t)r->wall_us);
    histogram_add(&c->memory, &mebibytes, (int64_t)r->memory_peak);
}

void executor_counts_render(struct buf *b, const struct executor_counts *c)
{
    static const char total[] = "code_executions_total";
    static const char duration[] = "code_execution_duration_seconds";
    static const char memory[] = "code_execution_memory_mb";

    metrics_family(b, total, "counter", "Programs of the executor by their end.");
    for (size_t i = 0; i < STATUSES; i++)
        metrics_labelled(b, total, "status", names[i], counter_get(&c->ends[i]));
    metrics_family(b, duration, "histogram", "How long they ran.");
    histogram_put(b, duration, "", &c->duration, &seconds);
    metrics_family(b, memory, "histogram", "Memory that they added, MiB.");
    histogram_put(b, memory, "", &c->memory, &mebibytes);
    metrics_single(b, "code_executions_active", "gauge", "Programs that run or wait now.",
                   counter_get(&c->active));
}
