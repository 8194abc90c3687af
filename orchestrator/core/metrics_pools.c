#include "core/metrics_pools.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "core/metrics.h"

/* One figure of every pool: one row, one family. */
struct pool_row {
    const char *name, *type, *help;
    size_t offset;
    bool is_wide;   /* uint64_t, else uint32_t */
    double divisor; /* 0: print as an integer */
};

#define ROW32(m, n, t, h) \
    {.name = (n), .type = (t), .help = (h), .offset = offsetof(struct handover_pool, m)}
#define ROW64(m, n, t, h)                         \
    {.name = (n),                                 \
     .type = (t),                                 \
     .help = (h),                                 \
     .offset = offsetof(struct handover_pool, m), \
     .is_wide = true}
#define ROW_MS(m, n, t, h)                        \
    {.name = (n),                                 \
     .type = (t),                                 \
     .help = (h),                                 \
     .offset = offsetof(struct handover_pool, m), \
     .divisor = 1000}

/* clang-format off */
static const struct pool_row pool_rows[] = {
    ROW32(waiting,        "oneshot_pool_waiting_runs",             "gauge",   "Runs that wait for a container."),
    ROW32(target,         "oneshot_pool_target_containers",        "gauge",   "Parked containers that the pool aims at now."),
    ROW32(min,            "oneshot_pool_min_containers",           "gauge",   "Parked containers that the policy wants at least."),
    ROW32(max,            "oneshot_pool_max_containers",           "gauge",   "Containers that the policy allows at most."),
    ROW64(started,        "oneshot_pool_containers_started_total", "counter", "Containers that were made."),
    ROW64(footprint,      "oneshot_pool_footprint_bytes",          "gauge",   "Memory of one parked container, 0 before it was measured."),
    ROW_MS(start_ms_p50,  "oneshot_pool_start_p50_seconds",        "gauge",   "Median time from create to ready of the last 64 containers."),
    ROW32(refill_per_min, "oneshot_pool_refill_per_minute",        "gauge",   "Containers that became ready within the last minute."),
};

static const struct {
    const char *state;
    size_t offset;
} pool_states[] = {
    {"parked",   offsetof(struct handover_pool, parked)},
    {"starting", offsetof(struct handover_pool, starting)},
    {"running",  offsetof(struct handover_pool, running)},
    {"removing", offsetof(struct handover_pool, removing)},
};
/* clang-format on */

/* A pool under the name of its policy. */
struct named_pool {
    const char *name;
    struct handover_pool pool;
};

struct view {
    struct named_pool *list;
    size_t n;
};

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void merge(struct handover_pool *to, const struct handover_pool *p)
{
    to->parked += p->parked;
    to->starting += p->starting;
    to->running += p->running;
    to->waiting += p->waiting;
    to->removing += p->removing;
    to->target += p->target;
    to->min += p->min;
    to->max += p->max;
    to->hits += p->hits;
    to->misses += p->misses;
    to->started += p->started;
    for (int i = 0; i < DISCARD_REASONS; i++)
        to->discarded[i] += p->discarded[i];
    to->footprint = to->footprint > p->footprint ? to->footprint : p->footprint;
    to->start_ms_p50 = larger(to->start_ms_p50, p->start_ms_p50);
    to->refill_per_min += p->refill_per_min;
}

/*
 * After a reload several pools may run out under policies that have no name any more. Two samples
 * with the same labels would spoil the whole text, so they are told as one.
 */
static void name_pools(struct view *v, const struct metrics_pools *in)
{
    v->list = xcalloc(in->n, sizeof(*v->list));
    v->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        const char *name = policy_names_find(in->names, in->pools[i].policy);
        size_t k = 0;

        while (k < v->n && strcmp(v->list[k].name, name) != 0)
            k++;
        if (k == v->n)
            v->list[v->n++] = (struct named_pool){name, in->pools[i]};
        else
            merge(&v->list[k].pool, &in->pools[i]);
    }
}

static uint64_t member_of(const struct handover_pool *p, size_t offset, bool is_wide)
{
    uint64_t wide;
    uint32_t narrow;

    if (is_wide) {
        memcpy(&wide, (const char *)p + offset, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, (const char *)p + offset, sizeof(narrow));
    return narrow;
}

static void put_policy(struct buf *b, const char *name, const struct view *v, size_t i)
{
    (void)buf_str(b, name);
    metrics_label(b, '{', "policy", v->list[i].name);
}

static void put_row(struct buf *b, const struct pool_row *row, const struct view *v)
{
    metrics_family(b, row->name, row->type, row->help);
    for (size_t i = 0; i < v->n; i++) {
        uint64_t value = member_of(&v->list[i].pool, row->offset, row->is_wide);

        put_policy(b, row->name, v, i);
        (void)buf_char(b, '}');
        if (row->divisor > 0)
            (void)buf_fmt(b, " %.15g\n", (double)value / row->divisor);
        else
            metrics_value(b, value);
    }
}

static void put_states(struct buf *b, const struct view *v)
{
    static const char name[] = "oneshot_pool_containers";

    metrics_family(b, name, "gauge", "Containers of a pool, by what they do.");
    for (size_t i = 0; i < v->n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(pool_states); k++) {
            put_policy(b, name, v, i);
            metrics_label(b, ',', "state", pool_states[k].state);
            (void)buf_char(b, '}');
            metrics_value(b, member_of(&v->list[i].pool, pool_states[k].offset, false));
        }
    }
}

static void put_takes(struct buf *b, const struct view *v)
{
    static const char name[] = "oneshot_pool_takes_total";

    metrics_family(b, name, "counter", "Requests for a container; a hit was served at once.");
    for (size_t i = 0; i < v->n; i++) {
        put_policy(b, name, v, i);
        (void)buf_str(b, ",result=\"hit\"}");
        metrics_value(b, v->list[i].pool.hits);
        put_policy(b, name, v, i);
        (void)buf_str(b, ",result=\"miss\"}");
        metrics_value(b, v->list[i].pool.misses);
    }
}

static void put_discards(struct buf *b, const struct view *v)
{
    static const char name[] = "oneshot_pool_containers_discarded_total";

    metrics_family(b, name, "counter", "Containers that were destroyed, by why.");
    for (size_t i = 0; i < v->n; i++) {
        for (int k = 0; k < DISCARD_REASONS; k++) {
            put_policy(b, name, v, i);
            metrics_label(b, ',', "reason", discard_name((enum discard_reason)k));
            (void)buf_char(b, '}');
            metrics_value(b, v->list[i].pool.discarded[k]);
        }
    }
}

void metrics_put_pools(struct buf *b, const struct metrics_pools *in)
{
    struct view v;

    name_pools(&v, in);
    put_states(b, &v);
    put_takes(b, &v);
    put_discards(b, &v);
    for (size_t i = 0; i < ARRAY_LEN(pool_rows); i++)
        put_row(b, &pool_rows[i], &v);
    free(v.list);
}

/* ---- the engine ---- */

static void put_engine_calls(struct buf *b, const char *name, const char *help,
                             const uint64_t *calls)
{
    metrics_family(b, name, "counter", help);
    for (int i = 0; i < ENGINE_CALLS; i++)
        metrics_labelled(b, name, "call", engine_call_name((enum engine_call)i), calls[i]);
}

void metrics_put_engine(struct buf *b, const struct handover_counts *c)
{
    put_engine_calls(b, "oneshot_engine_calls_total", "Calls of the container engine.", c->calls);
    put_engine_calls(b, "oneshot_engine_errors_total", "Calls of the container engine that failed.",
                     c->errors);
    metrics_single(b, "oneshot_engine_up", "gauge", "1 when the container engine answers.",
                   c->is_engine_up);
    metrics_single(b, "oneshot_pool_memory_budget_bytes", "gauge",
                   "Memory that all parked containers may take together.", c->budget);
    metrics_single(b, "oneshot_pool_memory_reserved_bytes", "gauge",
                   "Memory that is set aside for containers now.", c->reserved);
}
