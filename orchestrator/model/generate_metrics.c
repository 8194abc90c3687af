#include "core/metrics.h"

#include "model/generate_state.h"

/* Of a model's answer, microseconds. */
static const int64_t bounds_us[] = {1000000,  2000000,  5000000,   10000000, 20000000,
                                    30000000, 60000000, 120000000, 300000000};
static const struct histogram_scale scale = {bounds_us, ARRAY_LEN(bounds_us), 1e6};

static const char *const end_names[GENERATE_ENDS] = {"ok", "failed", "fault", "cancelled"};

void generate_count_call(struct generate_counts *c, const struct model_reply *r,
                         enum err_kind fault)
{
    counter_add(&c->calls, 1);
    counter_add(&c->call_faults, fault != ERR_NONE && fault != ERR_CANCELLED);
    counter_add(&c->call_tries, r->tries > 0 ? (uint64_t)r->tries : 0);
    if (fault != ERR_NONE)
        return;
    counter_add(&c->tokens_in, r->tokens_in > 0 ? (uint64_t)r->tokens_in : 0);
    counter_add(&c->tokens_out, r->tokens_out > 0 ? (uint64_t)r->tokens_out : 0);
    histogram_add(&c->took, &scale, r->took_us);
}

void generate_count_end(struct generate_counts *c, const struct generation *x)
{
    counter_add(&c->ends[x->end], 1);
    counter_add(&c->retries, x->retries_n);
    counter_add(&c->stopped_early, x->stopped_early != NULL);
    counter_add(&c->late, x->is_late);
}

static void put(struct buf *b, const char *name, const char *help,
                const atomic_uint_fast64_t *counter)
{
    metrics_single(b, name, "counter", help, counter_get(counter));
}

static void put_ends(struct buf *b, const struct generate_counts *c)
{
    static const char name[] = "oneshot_generations_total";

    metrics_family(b, name, "counter",
                   "Requests to generate and run a program, by how they ended.");
    for (size_t i = 0; i < GENERATE_ENDS; i++)
        metrics_labelled(b, name, "end", end_names[i], counter_get(&c->ends[i]));
}

static void put_took(struct buf *b, const struct generate_counts *c)
{
    static const char name[] = "oneshot_model_seconds";

    metrics_family(b, name, "histogram",
                   "Time until the model's answer was there, tries included.");
    histogram_put(b, name, "", &c->took, &scale);
}

void generate_metrics(struct buf *b, void *ctx)
{
    const struct generator *g = ctx;
    const struct generate_counts *c = &g->counts;

    put_ends(b, c);
    put(b, "oneshot_generation_retries_total", "Programs that were sent back to the model.",
        &c->retries);
    put(b, "oneshot_generations_stopped_early_total", "Generations that went round in circles.",
        &c->stopped_early);
    put(b, "oneshot_generations_late_total", "Generations that ran out of time.", &c->late);
    put(b, "oneshot_model_calls_total", "Calls of the model.", &c->calls);
    put(b, "oneshot_model_call_faults_total", "Calls of the model that failed.", &c->call_faults);
    put(b, "oneshot_model_tries_total", "Requests sent to the model's service.", &c->call_tries);
    put(b, "oneshot_model_input_tokens_total", "Tokens that the model read.", &c->tokens_in);
    put(b, "oneshot_model_output_tokens_total", "Tokens that the model wrote.", &c->tokens_out);
    put_took(b, c);
    metrics_single(b, "oneshot_generations_running", "gauge", "Generations under way.",
                   (uint64_t)atomic_load(&c->running));
}
