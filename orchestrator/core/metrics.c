#include "core/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/run.h"
#include "policy/policy.h"

/* Upper bounds of the histograms' buckets, microseconds; +Inf follows. */
static const int64_t bounds_us[] = {
    500,      1000,     2500,      5000,      10000,     25000,   50000,
    100000,   250000,   500000,    1000000,   2500000,   5000000, 10000000,
    30000000, 60000000, 120000000, 300000000, 600000000,
};

enum { BUCKETS = ARRAY_LEN(bounds_us) + 1 };

enum stage { STAGE_QUEUE, STAGE_TAKE, STAGE_RUN, STAGE_COLLECT, STAGE_TOTAL, STAGES };

static const char *const stage_names[STAGES] = {"queue", "take", "run", "collect", "total"};

struct histogram {
    atomic_uint_fast64_t buckets[BUCKETS]; /* each on its own; summed up when they are printed */
    atomic_uint_fast64_t sum_us;
};

/* Runs of one dialect under one policy. The names are written once, before `pairs_n` shows it. */
struct pair_counts {
    char dialect[32], policy[64];
    atomic_uint_fast64_t runs[OUTCOMES];
};

struct source {
    metrics_source *fn;
    void *ctx;
};

struct metrics {
    struct pair_counts pairs[METRICS_PAIRS + 1]; /* [METRICS_PAIRS]: other */
    atomic_uint pairs_n;
    pthread_mutex_t lock; /* held to add a pair */

    struct histogram stages[STAGES];
    atomic_uint_fast64_t out_bytes, err_bytes, files, omitted, warm, cold;

    struct source sources[METRICS_SOURCES];
    size_t sources_n;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof(*m));
    struct pair_counts *other = &m->pairs[METRICS_PAIRS];

    (void)str_copy(other->dialect, "other", sizeof(other->dialect));
    (void)str_copy(other->policy, "other", sizeof(other->policy));
    (void)pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void metrics_add(struct metrics *m, metrics_source *fn, void *ctx)
{
    if (m->sources_n < METRICS_SOURCES)
        m->sources[m->sources_n++] = (struct source){fn, ctx};
}

/* ---- counting ---- */

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void observe(struct histogram *h, int64_t us)
{
    size_t i = 0;

    if (us < 0)
        us = 0;
    while (i < ARRAY_LEN(bounds_us) && us > bounds_us[i])
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_us, (uint64_t)us);
}

static struct pair_counts *find_pair(struct metrics *m, const char *dialect, const char *policy)
{
    unsigned n = atomic_load_explicit(&m->pairs_n, memory_order_acquire);

    for (unsigned i = 0; i < n; i++) {
        struct pair_counts *p = &m->pairs[i];

        if (strcmp(p->dialect, dialect) == 0 && strcmp(p->policy, policy) == 0)
            return p;
    }
    return NULL;
}

static struct pair_counts *add_pair(struct metrics *m, const char *dialect, const char *policy)
{
    struct pair_counts *p;
    unsigned n;

    (void)pthread_mutex_lock(&m->lock);
    p = find_pair(m, dialect, policy); /* somebody may have been faster */
    n = atomic_load_explicit(&m->pairs_n, memory_order_relaxed);
    if (!p && n < METRICS_PAIRS && strlen(dialect) < sizeof(p->dialect) &&
        strlen(policy) < sizeof(p->policy)) {
        p = &m->pairs[n];
        (void)str_copy(p->dialect, dialect, sizeof(p->dialect));
        (void)str_copy(p->policy, policy, sizeof(p->policy));
        atomic_store_explicit(&m->pairs_n, n + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&m->lock);
    return p ? p : &m->pairs[METRICS_PAIRS];
}

void metrics_observe(void *ctx, const struct run_request *q, const struct run_result *r)
{
    struct metrics *m = ctx;
    struct pair_counts *p = find_pair(m, q->dialect, q->policy->name);
    const int64_t us[STAGES] = {
        [STAGE_QUEUE] = r->queue_us,
        [STAGE_TAKE] = r->take_us,
        [STAGE_RUN] = r->run_us,
        [STAGE_COLLECT] = r->collect_us,
        [STAGE_TOTAL] = r->queue_us + r->take_us + r->run_us + r->collect_us,
    };

    if (!p)
        p = add_pair(m, q->dialect, q->policy->name);
    if ((unsigned)r->outcome < OUTCOMES)
        add(&p->runs[r->outcome], 1);
    /* A run that never got a container has no stages but the wait, which says nothing then. */
    if (r->container[0]) {
        for (int i = 0; i < STAGES; i++)
            observe(&m->stages[i], us[i]);
        add(r->was_warm ? &m->warm : &m->cold, 1);
    }
    add(&m->out_bytes, r->out_bytes);
    add(&m->err_bytes, r->err_bytes);
    add(&m->files, r->files_n);
    add(&m->omitted, r->omitted_n);
}

/* ---- text ---- */

void metrics_family(struct buf *b, const char *name, const char *type, const char *help)
{
    (void)buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_label(struct buf *b, char sep, const char *label, const char *value)
{
    (void)buf_fmt(b, "%c%s=\"", sep, label);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            (void)buf_char(b, '\\');
        if (*value == '\n')
            (void)buf_str(b, "\\n");
        else
            (void)buf_char(b, *value);
    }
    (void)buf_char(b, '"');
}

static void put_value(struct buf *b, uint64_t value)
{
    (void)buf_fmt(b, " %llu\n", (unsigned long long)value);
}

/* A family of one sample without labels. */
static void put_single(struct buf *b, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    metrics_family(b, name, type, help);
    (void)buf_str(b, name);
    put_value(b, value);
}

static void put_pair(struct buf *b, const struct pair_counts *p)
{
    for (int o = 0; o < OUTCOMES; o++) {
        uint64_t n = get(&p->runs[o]);

        if (!n)
            continue;
        (void)buf_str(b, "oneshot_runs_total");
        metrics_label(b, '{', "dialect", p->dialect);
        metrics_label(b, ',', "policy", p->policy);
        metrics_label(b, ',', "outcome", outcome_name((enum outcome)o));
        (void)buf_char(b, '}');
        put_value(b, n);
    }
}

static void put_runs(struct buf *b, struct metrics *m)
{
    unsigned n = atomic_load_explicit(&m->pairs_n, memory_order_acquire);

    metrics_family(b, "oneshot_runs_total", "counter", "Runs that ended, by how they ended.");
    for (unsigned i = 0; i < n; i++)
        put_pair(b, &m->pairs[i]);
    put_pair(b, &m->pairs[METRICS_PAIRS]);
}

static void put_histogram(struct buf *b, const char *stage, const struct histogram *h)
{
    static const char name[] = "oneshot_run_stage_seconds";
    uint64_t sum_us = get(&h->sum_us), below = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        below += get(&h->buckets[i]);
        (void)buf_fmt(b, "%s_bucket{stage=\"%s\",le=\"", name, stage);
        if (i < ARRAY_LEN(bounds_us))
            (void)buf_fmt(b, "%.15g\"}", (double)bounds_us[i] / 1e6);
        else
            (void)buf_str(b, "+Inf\"}");
        put_value(b, below);
    }
    (void)buf_fmt(b, "%s_sum{stage=\"%s\"} %.15g\n", name, stage, (double)sum_us / 1e6);
    (void)buf_fmt(b, "%s_count{stage=\"%s\"} %llu\n", name, stage, (unsigned long long)below);
}

static void put_output(struct buf *b, struct metrics *m)
{
    metrics_family(b, "oneshot_output_bytes_total", "counter", "Bytes that programs printed.");
    (void)buf_fmt(b, "oneshot_output_bytes_total{stream=\"stdout\"} %llu\n",
                  (unsigned long long)get(&m->out_bytes));
    (void)buf_fmt(b, "oneshot_output_bytes_total{stream=\"stderr\"} %llu\n",
                  (unsigned long long)get(&m->err_bytes));
    put_single(b, "oneshot_output_files_total", "counter", "Files that programs left.",
               get(&m->files));
    put_single(b, "oneshot_omitted_files_total", "counter",
               "Files that programs left but that were not given back.", get(&m->omitted));
    metrics_family(b, "oneshot_containers_taken_total", "counter",
                   "Containers that runs got: warm ones were parked, cold ones made on demand.");
    (void)buf_fmt(b, "oneshot_containers_taken_total{kind=\"warm\"} %llu\n",
                  (unsigned long long)get(&m->warm));
    (void)buf_fmt(b, "oneshot_containers_taken_total{kind=\"cold\"} %llu\n",
                  (unsigned long long)get(&m->cold));
}

/* ---- pools ---- */

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
            put_value(b, value);
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
            put_value(b, member_of(&v->list[i].pool, pool_states[k].offset, false));
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
        put_value(b, v->list[i].pool.hits);
        put_policy(b, name, v, i);
        (void)buf_str(b, ",result=\"miss\"}");
        put_value(b, v->list[i].pool.misses);
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
            put_value(b, v->list[i].pool.discarded[k]);
        }
    }
}

static void put_pools(struct buf *b, const struct metrics_pools *in)
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

static void put_calls(struct buf *b, const char *name, const char *help, const uint64_t *calls)
{
    metrics_family(b, name, "counter", help);
    for (int i = 0; i < ENGINE_CALLS; i++) {
        (void)buf_str(b, name);
        metrics_label(b, '{', "call", engine_call_name((enum engine_call)i));
        (void)buf_char(b, '}');
        put_value(b, calls[i]);
    }
}

static void put_engine(struct buf *b, const struct handover_counts *c)
{
    put_calls(b, "oneshot_engine_calls_total", "Calls of the container engine.", c->calls);
    put_calls(b, "oneshot_engine_errors_total", "Calls of the container engine that failed.",
              c->errors);
    put_single(b, "oneshot_engine_up", "gauge", "1 when the container engine answers.",
               c->is_engine_up);
    put_single(b, "oneshot_pool_memory_budget_bytes", "gauge",
               "Memory that all parked containers may take together.", c->budget);
    put_single(b, "oneshot_pool_memory_reserved_bytes", "gauge",
               "Memory that is set aside for containers now.", c->reserved);
}

void metrics_render(struct metrics *m, struct buf *b, const struct metrics_pools *v)
{
    metrics_family(b, "oneshot_build_info", "gauge", "The version that runs.");
    (void)buf_str(b, "oneshot_build_info");
    metrics_label(b, '{', "version", ONESHOT_VERSION);
    (void)buf_str(b, "} 1\n");
    put_runs(b, m);
    metrics_family(b, "oneshot_run_stage_seconds", "histogram",
                   "How long the stages of a run took: waiting in line, being handed a container, "
                   "the program itself, gathering what it left; and all of them.");
    for (int i = 0; i < STAGES; i++)
        put_histogram(b, stage_names[i], &m->stages[i]);
    put_output(b, m);
    put_single(b, "oneshot_keeper_up", "gauge", "1 when the keeper answers.", v->counts != NULL);
    if (v->counts) {
        put_pools(b, v);
        put_engine(b, v->counts);
    }
    put_single(b, "oneshot_log_dropped_total", "counter",
               "Log lines that were lost because nobody read them in time.", log_dropped());
    for (size_t i = 0; i < m->sources_n; i++)
        m->sources[i].fn(b, m->sources[i].ctx);
}
