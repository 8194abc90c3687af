#ifndef STORE_CALL_RECORD_H
#define STORE_CALL_RECORD_H

#include <stdint.h>

#include "base/random.h"

/* What is remembered of one call of a model: plain data, and texts that the record owns. */
struct call_record {
    char id[RANDOM_ID_MAX];
    char generation[RANDOM_ID_MAX]; /* calls for one request share it */
    int attempt;                    /* from 1 */
    int64_t started_ms;             /* Unix time, milliseconds */
    char dialect[32], client[64], model[64];
    char verdict[16]; /* what came of it: "ok", "failed", "no_code", "same_code", "fault" … */
    int status;       /* of HTTP where the model failed; 0: it did not, or never answered */
    char finish[16];  /* why its text ended, "" without one */
    int tries;
    int64_t took_us;               /* of all tries and waits */
    int64_t tokens_in, tokens_out; /* -1: it did not say */
    char run[RANDOM_ID_MAX];       /* of the program, "" */
    char *prompt, *reply, *error;  /* NULL: none, or not kept */
};

void call_record_done(struct call_record *r);

#endif
