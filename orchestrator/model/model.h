#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct stop;

/*
 * A language model: messages in; text, usage and the reason for its end out. cohere.h makes one.
 */
struct model;

enum model_role { MODEL_SYSTEM, MODEL_USER, MODEL_ASSISTANT };

struct model_message {
    enum model_role role;
    const char *text;
};

enum model_finish {
    MODEL_COMPLETE,
    MODEL_STOPPED,    /* at a stop sequence, or for a tool that it was not given */
    MODEL_MAX_TOKENS, /* its text is cut */
};

/* What a call has come to so far: a sign of life. */
struct model_progress {
    size_t thinking_bytes, text_bytes; /* of this try */
    int tries;                         /* the one under way, from 1 */
    int wait_s; /* over 0: nothing is under way, the next try begins in so many seconds */
};

struct model_call {
    const struct model_message *messages; /* a system message first, if there is one */
    size_t n;
    int64_t deadline_ms; /* of clock_ms, for all tries together */
    struct stop *stop;   /* may be NULL */

    /* MAY be NULL. At the start of a try or a wait, then about once a second. */
    void (*on_progress)(void *ctx, const struct model_progress *p);
    void *ctx;
};

struct model_reply {
    struct buf text; /* "" when it gave none */
    enum model_finish finish;
    double tokens_in, tokens_out; /* -1: it did not say */
    int tries;
    int64_t took_us; /* of all tries and waits */
};

/* Why there is no reply. */
struct model_fault {
    /*
     * ERR_TIMEOUT, ERR_CANCELLED; ERR_BUSY: it cannot be reached, or not now (status 429);
     * ERR_DENIED: key, account or certificate; ERR_NOTFOUND: no such model; ERR_INVALID: it
     * refuses the request; ERR_PEER: its reply is broken or its service is.
     */
    enum err_kind kind;
    int status;        /* of HTTP; 0: none */
    int retry_after_s; /* 0: it did not say */
    int tries;
    char text[ERR_MSG_MAX]; /* one line that says what to do; never the key */
};

struct model_ops {
    /* MUST fill one of the two; `ret` is released by the caller either way. Any thread. */
    int (*call)(struct model *m, const struct model_call *c, struct model_reply *ret,
                struct model_fault *fault);
    void (*free)(struct model *m); /* MUST accept what no call uses any more */
};

struct model {
    const struct model_ops *ops;
    char *name; /* as its service calls it */
};

/* 0, or -1 with `fault` filled. Call model_reply_done either way. */
int model_call(struct model *m, const struct model_call *c, struct model_reply *ret,
               struct model_fault *fault) MUST_CHECK;
void model_reply_done(struct model_reply *r);
void model_free(struct model *m); /* NULL is fine */

const char *model_finish_name(enum model_finish f); /* "complete" …; static */

#endif
