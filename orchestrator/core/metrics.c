#include "core/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/histogram.h"
#include "core/metrics_pools.h"
#include "core/run.h"
#include "policy/policy.h"

/* Microseconds. */
static const int64_t bounds_us[] = {
    500,      1000,     2500,      5000,      10000,     25000,   50000,
    100000,   250000,   500000,    1000000,   2500000,   5000000, 10000000,
    30000000, 60000000, 120000000, 300000000, 600000000,
};

static const struct histogram_scale stage_scale = {bounds_us, ARRAY_LEN(bounds_us), 1e6};
_Static_assert(ARRAY_LEN(bounds_us) < HISTOGRAM_BUCKETS, "one more is without a bound");

enum stage { STAGE_QUEUE, STAGE_TAKE, STAGE_RUN, STAGE_COLLECT, STAGE_TOTAL, STAGES };

static const char *const stage_names[STAGES] = {"queue", "take", "run", "collect", "total"};

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
    atomic_uint_fast64_t relayed[RELAY_VERDICTS], relay_up, relay_down;
    atomic_uint_fast64_t calls[HOST_VERDICTS];
    struct histogram call_times;

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

/* Most runs have no connections. */
static void observe_relay(struct metrics *m, const struct relay_counts *c)
{
    for (int i = 0; i < RELAY_VERDICTS; i++) {
        if (c->verdicts[i])
            counter_add(&m->relayed[i], c->verdicts[i]);
    }
    if (c->up || c->down) {
        counter_add(&m->relay_up, c->up);
        counter_add(&m->relay_down, c->down);
    }
}

/* Most runs make none. */
static void observe_calls(struct metrics *m, const struct host_counts *c)
{
    for (int i = 0; i < HOST_VERDICTS; i++) {
        if (c->verdicts[i])
            counter_add(&m->calls[i], c->verdicts[i]);
    }
    for (int i = 0; i < HOST_BUCKETS; i++) {
        if (c->buckets[i])
            counter_add(&m->call_times.buckets[i], c->buckets[i]);
    }
    if (c->sum_us)
        counter_add(&m->call_times.sum, c->sum_us);
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
        counter_add(&p->runs[r->outcome], 1);
    /* A run that never got a container has no stages but the wait, which says nothing then. */
    if (r->container[0]) {
        for (int i = 0; i < STAGES; i++)
            histogram_add(&m->stages[i], &stage_scale, us[i]);
        counter_add(r->was_warm ? &m->warm : &m->cold, 1);
    }
    counter_add(&m->out_bytes, r->out_bytes);
    counter_add(&m->err_bytes, r->err_bytes);
    counter_add(&m->files, r->files_n);
    counter_add(&m->omitted, r->omitted_n);
    observe_relay(m, &r->relay);
    observe_calls(m, &r->calls);
}

/* ---- text ---- */

static void put_pair(struct buf *b, const struct pair_counts *p)
{
    for (int o = 0; o < OUTCOMES; o++) {
        uint64_t n = counter_get(&p->runs[o]);

        if (!n)
            continue;
        (void)buf_str(b, "oneshot_runs_total");
        metrics_label(b, '{', "dialect", p->dialect);
        metrics_label(b, ',', "policy", p->policy);
        metrics_label(b, ',', "outcome", outcome_name((enum outcome)o));
        (void)buf_char(b, '}');
        metrics_value(b, n);
    }
}

static void put_runs(struct buf *b, const struct metrics *m)
{
    unsigned n = atomic_load_explicit(&m->pairs_n, memory_order_acquire);

    metrics_family(b, "oneshot_runs_total", "counter", "Runs that ended, by how they ended.");
    for (unsigned i = 0; i < n; i++)
        put_pair(b, &m->pairs[i]);
    put_pair(b, &m->pairs[METRICS_PAIRS]);
}

static void put_stages(struct buf *b, const struct metrics *m)
{
    static const char name[] = "oneshot_run_stage_seconds";

    metrics_family(b, name, "histogram",
                   "How long the stages of a run took: waiting in line, being handed a container, "
                   "the program itself, gathering what it left; and all of them.");
    for (int i = 0; i < STAGES; i++) {
        char label[32];

        (void)snprintf(label, sizeof(label), "stage=\"%s\"", stage_names[i]);
        histogram_put(b, name, label, &m->stages[i], &stage_scale);
    }
}

static void put_relay(struct buf *b, const struct metrics *m)
{
    static const char connections[] = "oneshot_relay_connections_total";
    static const char bytes[] = "oneshot_relay_bytes_total";

    metrics_family(b, connections, "counter",
                   "Connections of programs through the relay, by their end.");
    for (int i = 0; i < RELAY_VERDICTS; i++)
        metrics_labelled(b, connections, "verdict", relay_verdict_name((enum relay_verdict)i),
                         counter_get(&m->relayed[i]));
    metrics_family(b, bytes, "counter",
                   "Bytes that programs sent (up) and got (down) through the relay.");
    metrics_labelled(b, bytes, "direction", "up", counter_get(&m->relay_up));
    metrics_labelled(b, bytes, "direction", "down", counter_get(&m->relay_down));
}

static void put_calls(struct buf *b, const struct metrics *m)
{
    static const char total[] = "oneshot_host_calls_total", seconds[] = "oneshot_host_call_seconds";

    metrics_family(b, total, "counter", "Host calls of programs, by how they ended.");
    for (int i = 0; i < HOST_VERDICTS; i++)
        metrics_labelled(b, total, "verdict", host_verdict_name((enum host_verdict)i),
                         counter_get(&m->calls[i]));
    metrics_family(b, seconds, "histogram", "How long host calls took that were permitted.");
    histogram_put(b, seconds, "", &m->call_times, &host_scale);
}

static void put_output(struct buf *b, const struct metrics *m)
{
    static const char bytes[] = "oneshot_output_bytes_total";
    static const char taken[] = "oneshot_containers_taken_total";

    metrics_family(b, bytes, "counter", "Bytes that programs printed.");
    metrics_labelled(b, bytes, "stream", "stdout", counter_get(&m->out_bytes));
    metrics_labelled(b, bytes, "stream", "stderr", counter_get(&m->err_bytes));
    metrics_single(b, "oneshot_output_files_total", "counter", "Files that programs left.",
                   counter_get(&m->files));
    metrics_single(b, "oneshot_omitted_files_total", "counter",
                   "Files that programs left but that were not given back.",
                   counter_get(&m->omitted));
    metrics_family(b, taken, "counter",
                   "Containers that runs got: warm ones were parked, cold ones made on demand.");
    metrics_labelled(b, taken, "kind", "warm", counter_get(&m->warm));
    metrics_labelled(b, taken, "kind", "cold", counter_get(&m->cold));
}

void metrics_render(struct metrics *m, struct buf *b, const struct metrics_pools *v)
{
    metrics_family(b, "oneshot_build_info", "gauge", "The version that runs.");
    (void)buf_str(b, "oneshot_build_info");
    metrics_label(b, '{', "version", ONESHOT_VERSION);
    (void)buf_str(b, "} 1\n");
    put_runs(b, m);
    put_stages(b, m);
    put_output(b, m);
    put_relay(b, m);
    put_calls(b, m);
    metrics_single(b, "oneshot_keeper_up", "gauge", "1 when the keeper answers.",
                   v->counts != NULL);
    if (v->counts) {
        metrics_put_pools(b, v);
        metrics_put_engine(b, v->counts);
    }
    metrics_single(b, "oneshot_log_dropped_total", "counter",
                   "Log lines that were lost because nobody read them in time.", log_dropped());
    for (size_t i = 0; i < m->sources_n; i++)
        m->sources[i].fn(b, m->sources[i].ctx);
}
