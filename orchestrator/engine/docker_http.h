#ifndef ENGINE_DOCKER_HTTP_H
#define ENGINE_DOCKER_HTTP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct curl_slist;

enum {
    DOCKER_HTTP_IDLE = 8,                   /* connections kept for the next call */
    DOCKER_HTTP_HEAD_MAX = 64 * 1024,       /* of a reply */
    DOCKER_HTTP_BODY_MAX = 8 * 1024 * 1024, /* of a reply */
    DOCKER_HTTP_PATH_MAX = 1024,            /* of a request, NUL included */
    DOCKER_HTTP_SOCKET_MAX = 108,           /* sun_path, NUL included */
};

/* HTTP/1.1 over one unix socket; any thread. */
struct docker_http {
    char socket[DOCKER_HTTP_SOCKET_MAX];
    struct curl_slist *headers; /* read only after init */
    pthread_mutex_t lock;       /* guards idle and idle_n; never held over a call */
    void *idle[DOCKER_HTTP_IDLE];
    size_t idle_n;
};

/* `path` fits DOCKER_HTTP_SOCKET_MAX. Makes no call. */
int docker_http_init(struct docker_http *h, const char *path, struct err *err) MUST_CHECK;

/* No call may be under way. */
void docker_http_done(struct docker_http *h);

struct docker_http_request {
    const char *method, *path;
    const char *body; /* JSON, NULL = none */
    size_t body_len;
    int64_t deadline_ms; /* clock_ms() by which the whole reply is here; with on_data: its head */

    /*
     * Streams: the body of a 200 goes to on_data as it comes, without a deadline. on_tick is
     * called about once a second or more often. Either ends the exchange by returning false.
     */
    bool (*on_data)(void *ctx, const char *data, size_t n);
    bool (*on_tick)(void *ctx);
    void *ctx;
};

struct docker_http_reply {
    long status;
    struct buf body;
    char api_version[16]; /* header Api-Version, "" when there was none */
    bool is_stopped;      /* on_data or on_tick ended it */
    bool is_lost;         /* failed: the engine is not there or broke off */
};

/*
 * One exchange. 0 when a whole reply came, whatever its status. ERR_TIMEOUT past the deadline,
 * ERR_BUSY when nobody listens on the socket (errno in `sys`), ERR_PEER when the socket cannot be
 * used, the reply was cut, is not HTTP or is too large. Call docker_http_reply_done either way.
 */
int docker_http_do(struct docker_http *h, const struct docker_http_request *q,
                   struct docker_http_reply *ret, struct err *err) MUST_CHECK;

void docker_http_reply_init(struct docker_http_reply *r);
void docker_http_reply_done(struct docker_http_reply *r);

/* Fills `err` for errno of a connect to the engine's socket; returns -1. */
int docker_http_connect_err(const char *socket, int sys, struct err *err);

#endif
