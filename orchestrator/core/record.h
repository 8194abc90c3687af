#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "core/run.h"

/*
 * What is remembered of a run: plain data and one owned pointer, the program's text. Observers of
 * runs copy it, because request and result are gone when they return (core/core.h).
 */
struct run_record {
    char id[RANDOM_ID_MAX];
    int64_t started_ms; /* Unix time, milliseconds */
    char dialect[32], policy[64], policy_hash[65];
    char image[72], container[65]; /* "" when it had none */
    enum outcome outcome;          /* OUTCOMES: a name that this program does not know */
    int exit_code;                 /* -1: none */
    int term_signal;               /* 0: none */
    char reason[256];
    bool was_warm;

    uint64_t wall_us, cpu_us, memory_peak;
    int64_t queue_us, take_us, run_us, collect_us;
    uint64_t out_bytes, err_bytes; /* written by the program */
    uint64_t files;                /* given back */

    char client[64], traceparent[64];
    uint64_t code_bytes;
    char code_sha256[DIGEST_TEXT]; /* "" when it is not kept */
    char *code;                    /* NULL when it is not kept; `code_bytes` long, then a NUL */
};

/* Copies; what does not fit is cut. The digest stays empty: see run_record_digest. */
void run_record_init(struct run_record *r, const struct run_request *request,
                     const struct run_result *result, bool with_code);
void run_record_done(struct run_record *r);

/* Fills code_sha256 from the code, if it is there. */
void run_record_digest(struct run_record *r);

/* The outcome of that name; OUTCOMES when there is none. */
enum outcome outcome_find(const char *name);

/* A JSON object, with member "code" (null when it is not kept) if asked for. */
void run_record_put(struct buf *b, const struct run_record *r, bool with_code);

#endif
