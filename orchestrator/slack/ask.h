#ifndef SLACK_ASK_H
#define SLACK_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/spool.h"

struct stop;

/* The generator as an HTTP service: POST /api/generate-code. */
struct ask_options {
    const char *url;       /* of the service, without the path */
    const char *ca_pem;    /* certificates to trust instead of the system's; NULL: those */
    const char *spool_dir; /* for files; outlives the answer */
    int64_t start_ms;      /* a service that is just starting refuses connections for so long */
    struct stop *stop;     /* may be NULL */
};

struct ask_file {
    char *name;
    bool is_image;
    struct spool data;
};

struct ask_answer {
    bool is_success;
    int retries;
    char *output, *error; /* never NULL after a success of ask() */
    struct ask_file *files;
    size_t files_n;
};

/*
 * 0 when programs were run, whatever came of them. ERR_TIMEOUT: not in time; the service is told by
 * the connection's end. ERR_CANCELLED. ERR_BUSY: it cannot be reached; ERR_LIMIT: it can do nothing
 * now (429, 503). Any other kind: it refuses or fails. The text says why. Call ask_answer_done either way.
 */
int ask(const struct ask_options *o, const char *prompt, int64_t deadline_ms,
        struct ask_answer *ret, struct err *err) MUST_CHECK;
void ask_answer_done(struct ask_answer *a);

#endif
