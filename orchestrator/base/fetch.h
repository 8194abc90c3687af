#ifndef BASE_FETCH_H
#define BASE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/random.h"

struct fetch_pool;
struct spool;
struct stop;

/*
 * One exchange over http or https, certificates checked, redirects not followed. The
 * front may do this when it is confined: names are resolved without a unix socket.
 */
struct fetch_request {
    const char *url;
    const char *method; /* NULL: POST */
    const char *accept;
    const char *const *headers; /* more lines, ends with NULL; secrets may stand in them */
    const char *wants;          /* the header of the reply that `wanted` is for; NULL: none */
    struct fetch_pool *pool;    /* where the connection comes from and goes to; NULL: closed */
    const char *type;           /* of the body; NULL: application/json */
    const char *bearer;         /* a secret: only ever in the request's head; NULL: none */
    const char *ca_pem;         /* certificates to trust instead of the system's; NULL: those */
    bool is_near;               /* no proxy of the environment stands between */
    const struct buf *body;     /* NULL: none */
    const struct spool *file;   /* the body instead of `body`, unless NULL */
    int64_t deadline_ms;        /* of clock_ms: the whole reply is here */
    size_t reply_max;           /* bytes */
    struct stop *stop;          /* may be NULL */

    /* MAY be NULL. The body of a 200 as it comes; false ends the exchange (ERR_PEER). */
    bool (*on_data)(void *ctx, const char *type, const char *data, size_t n);
    /* MAY be NULL. Every STOP_STEP_MS or more often. */
    void (*on_tick)(void *ctx);
    void *ctx;
};

enum { FETCH_WANTED = 512 };

struct fetch_reply {
    int status;                 /* 0: none came */
    char type[64];              /* of its content; "" */
    struct buf body;            /* what did not go to on_data */
    int64_t retry_after_ms;     /* -1: not said */
    char run_id[RANDOM_ID_MAX]; /* X-Run-Id, "" */
    char encoding[16];          /* Content-Encoding of the body, which is as it came; "" */
    char wanted[FETCH_WANTED];  /* the value of the header `wants`, "" */
    char *redirect;             /* the absolute URL that a 3xx leads to; NULL: to none */
};

/*
 * 0 when a whole reply came, whatever its status. ERR_BUSY: no connection, or it ended before the
 * reply began: the request may be sent again. ERR_DENIED: the certificate is not good. ERR_TIMEOUT,
 * ERR_CANCELLED. ERR_PEER: the reply is cut, too large or not HTTP. ERR_INVALID: the URL.
 * Call fetch_reply_done either way.
 */
int fetch(const struct fetch_request *q, struct fetch_reply *ret, struct err *err) MUST_CHECK;
void fetch_reply_init(struct fetch_reply *r, size_t max);
void fetch_reply_done(struct fetch_reply *r);

/*
 * Connections that stay open between exchanges, up to `max` of them, a minute each. Any number of
 * threads may fetch with one; it must outlive them.
 */
struct fetch_pool *fetch_pool_new(size_t max);
void fetch_pool_free(struct fetch_pool *p);

/* "http://" or "https://", a host, no user, no control characters. */
bool fetch_is_url(const char *url);

/* Whether its host is localhost, 127.x.x.x or [::1], and not one that only begins so. */
bool fetch_is_this_machine(const char *url);

/* Milliseconds from `now_s` (Unix time) as Retry-After says: seconds or a date; -1: neither. */
int64_t fetch_retry_after(const char *value, int64_t now_s);

#endif
