#ifndef MODEL_GENERATE_H
#define MODEL_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/random.h"
#include "model/model.h"
#include "model/runner.h"

struct guide;
struct stop;
struct store;

/*
 * From a sentence to a result: the model writes a program, it is run, and when it fails the model
 * is told why and writes it again (contracts/generator.md, "Loop").
 */
struct generator;

struct generator_options {
    struct model *model;   /* taken over; NULL: there is no key, every request fails so */
    struct runner *runner; /* taken over */
    struct guide *guide;   /* moved */
    struct store *store;   /* where prompts and replies are remembered; may be NULL */
    const char *spool_dir; /* borrowed */
    int64_t max_retries;
    int64_t timeout_ms; /* of one generation */
    int64_t error_max;  /* bytes of an error text */
    bool checks_slicks; /* "Error fetching data:" in the output is a failure */
    bool checks_plots;  /* and so is a plot that was asked for and is not there */
};

struct generator *generator_new(const struct generator_options *o);
void generator_free(struct generator *g); /* nothing may be generated any more; NULL is fine */

bool generator_has_key(const struct generator *g);
const char *generator_model(const struct generator *g); /* its name, "" without a key */

enum generate_event_kind {
    GENERATE_ASKING, /* the model is at work: `progress` */
    GENERATE_CODE,   /* text: the program */
    GENERATE_RUNNING,
    GENERATE_STDOUT, /* text: what it printed */
    GENERATE_STDERR,
    GENERATE_RETRY, /* text: why there will be another attempt */
};

struct generate_event {
    enum generate_event_kind kind;
    int attempt;         /* from 1 */
    int64_t deadline_ms; /* of clock_ms: who takes events may wait until then, and no longer */
    const struct model_progress *progress;
    const char *text; /* borrowed for the call */
    size_t n;
};

struct generate_request {
    const char *prompt;
    const char *dialect;              /* "generator", "cli": for history and metrics */
    const char *client, *traceparent; /* may be NULL */
    struct stop *stop;                /* may be NULL */
    void (*on_event)(void *ctx, const struct generate_event *ev); /* MAY be NULL */
    void *ctx;
};

struct generate_retry {
    int attempt;
    char *error;
};

enum generate_end {
    GENERATE_OK,
    GENERATE_FAILED,    /* every attempt did: code and result are the last one's */
    GENERATE_FAULT,     /* ours, the model's or the sandbox's: status and error */
    GENERATE_CANCELLED, /* nobody waits for it: status and error, too */
};

struct generation {
    char id[RANDOM_ID_MAX];
    enum generate_end end;
    char *code; /* NULL with status and error, "" when the model gave none */
    struct runner_result result;
    struct generate_retry *retries;
    size_t retries_n;
    int attempts;
    bool is_used_up;           /* the number of attempts was */
    bool is_late;              /* the time was: this is the best attempt so far */
    const char *stopped_early; /* "same_code", "same_error"; NULL */

    int status, retry_after_s; /* where there is no result: as HTTP says it */
    char error[ERR_MSG_MAX];
};

/* Fills `ret`, whatever happens; release it with generation_done. Any thread. */
void generate(struct generator *g, const struct generate_request *q, struct generation *ret);
void generation_done(struct generation *x);

/* A metrics_source (core/metrics.h); `ctx` is the struct generator. */
void generate_metrics(struct buf *b, void *ctx);

#endif
