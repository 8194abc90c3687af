#ifndef MODEL_GENERATE_STATE_H
#define MODEL_GENERATE_STATE_H

#include <stdatomic.h>

#include "core/histogram.h"
#include "model/generate.h"
#include "model/guide.h"

/* What generate.c and generate_metrics.c share. */

enum { GENERATE_ENDS = GENERATE_CANCELLED + 1 };

struct generate_counts {
    atomic_uint_fast64_t ends[GENERATE_ENDS];
    atomic_uint_fast64_t retries, stopped_early, late;
    atomic_uint_fast64_t calls, call_faults, call_tries;
    atomic_uint_fast64_t tokens_in, tokens_out;
    struct histogram took; /* by the model, for an answer */
    atomic_int running;
};

struct generator {
    struct generator_options o;
    struct guide guide;
    struct generate_counts counts;
};

/* `fault`: why there is no reply, ERR_NONE where there is one. */
void generate_count_call(struct generate_counts *c, const struct model_reply *r,
                         enum err_kind fault);
void generate_count_end(struct generate_counts *c, const struct generation *x);

#endif
