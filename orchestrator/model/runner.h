#ifndef MODEL_RUNNER_H
#define MODEL_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/random.h"
#include "base/spool.h"

struct core;
struct stop;

/* Where a model's programs run: the core of this process, or another service over HTTP. */
struct runner;

enum runner_end {
    RUNNER_RAN,         /* the program ran, well or not */
    RUNNER_UNAVAILABLE, /* it was not run, and not for a fault of its own */
    RUNNER_LOST,        /* it may have run; what became of it is not known whole */
    RUNNER_CANCELLED,   /* nobody waits for it any more */
};

struct runner_file {
    char *name;
    struct spool data;
};

struct runner_result {
    enum runner_end end;
    bool is_ok;
    bool has_code; /* else it has no return code */
    int return_code;
    struct spool out, err_out;
    struct runner_file *files;
    size_t files_n;
    char id[RANDOM_ID_MAX]; /* of the run, "" */
    bool is_late;           /* the deadline ended it or its wait, not its policy's limit */

    /* With RUNNER_UNAVAILABLE and RUNNER_LOST: what a client is told. */
    int status, retry_after_s;
    char reason[ERR_MSG_MAX];
};

struct runner_call {
    const char *code;
    int64_t deadline_ms;              /* of clock_ms */
    struct stop *stop;                /* may be NULL */
    const char *dialect;              /* on whose behalf, for history and metrics */
    const char *client, *traceparent; /* may be NULL */
    const char *spool_dir;

    /* MAY be NULL. Output as it comes; what runs elsewhere is told when it is over. */
    void (*on_output)(void *ctx, bool is_stderr, const char *text, size_t n);
    void *ctx;
};

struct runner_ops {
    /* MUST fill `ret`, whatever happens. Any thread. */
    void (*run)(struct runner *r, const struct runner_call *c, struct runner_result *ret);
    void (*free)(struct runner *r);
};

struct runner {
    const struct runner_ops *ops;
};

void runner_run(struct runner *r, const struct runner_call *c, struct runner_result *ret);
void runner_result_done(struct runner_result *r);
void runner_free(struct runner *r); /* NULL is fine */

/* Programs run in a container of this service each. Strings are copied, the core is borrowed. */
struct runner *runner_core_new(struct core *core, const char *policy);

/*
 * Programs are sent to a service that speaks the telemetry dialect. `timeout_ms`: the longest that
 * it may take for one. ERR_INVALID: the URL.
 */
int runner_http_new(const char *url, int64_t timeout_ms, const char *ca_pem, struct runner **ret,
                    struct err *err) MUST_CHECK;

#endif
