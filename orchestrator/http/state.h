#ifndef HTTP_STATE_H
#define HTTP_STATE_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/json_sieve.h"
#include "http/http.h"
#include "http/server.h"

/* What the files of this room share; nobody else includes it. */

enum {
    HTTP_POOL = 14 * 1024,  /* libmicrohttpd's memory for one connection: head and buffers */
    HTTP_BLOCK = 64 * 1024, /* how much of a long reply is prepared at a time */
    HTTP_MATCHES = 4,
    HTTP_HEADERS = 24,
    HTTP_CALLBACKS = 8,
};

/* A handler's deepest calls are TLS and SQLite, which fit into half of it; sanitizers need more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HTTP_STACK_IS_PLAIN 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HTTP_STACK_IS_PLAIN 0
#endif
#endif
#ifndef HTTP_STACK_IS_PLAIN
#define HTTP_STACK_IS_PLAIN 1
#endif
enum { HTTP_STACK = HTTP_STACK_IS_PLAIN ? 256 * 1024 : 2 * 1024 * 1024 };

struct http_listener {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    const struct http_api *const *apis;
    void *app;
    uint16_t port;
};

struct http_connection {
    struct http_listener *listener;
    struct http_connection *prev, *next; /* under the server's lock */
    int fd;
    bool is_over;        /* past the limit: what it asks is answered 503 */
    bool was_used;       /* has had a request */
    uintptr_t stack_low; /* of its thread; 0: not asked yet */
    char client[INET6_ADDRSTRLEN];
    atomic_llong deadline_ms; /* when the watch shuts it; see watch.c */
    atomic_bool is_idle;
};

struct http_server {
    struct http_limits limits;
    struct http_listener *listeners[HTTP_LISTENERS];
    size_t listeners_n;
    atomic_uint busy;
    atomic_bool is_quiet;
    atomic_size_t held; /* bytes of bodies under way */
    pthread_t watch;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct http_connection *connections;
    unsigned connections_n;
    bool is_over; /* the watch ends */
};

/* Why a request is not handed to its handler; status 0: no reason. */
struct http_refusal {
    enum http_fault fault;
    int status;
    bool must_close;
    char text[ERR_MSG_MAX];
};

/* The body of a request, as it is gathered. */
struct http_intake {
    bool is_due;        /* the head says that there is one */
    uint64_t announced; /* UINT64_MAX: chunked */
    size_t limit, got;
    size_t held; /* its share of the server's */
    struct buf raw;
    struct json_sieve *sieve;
    struct json_sieve_options sift;
    const char *paths[JSON_SIEVE_PATHS + 1];
    cJSON *json;
};

struct http_header_line {
    char *name, *value;
};

struct http_answer {
    bool is_set;
    int status;
    char *type;
    struct buf body;
    struct http_parts *parts; /* instead of `body` */
    bool (*pull)(void *ctx, struct buf *out);
    void *pull_ctx;
    struct buf pulled;
    size_t pulled_at;
    bool is_pulled_out;
    struct http_header_line headers[HTTP_HEADERS];
    size_t headers_n;
    int64_t due_ms;
};

struct http_exchange {
    struct http_connection *connection;
    struct MHD_Connection *mhd;
    const struct http_api *api;
    const struct http_route *route;
    const char *method, *path; /* in the connection's pool, until the exchange is complete */
    char *uri;                 /* as it came */
    const char *uri_at;        /* where it lay, for the check of the head */
    char *matches[HTTP_MATCHES];
    size_t matches_n;
    const char *origin; /* the foreign Origin that is allowed, or NULL */
    int64_t arrived_ms;
    bool is_begun, is_preflight;
    bool is_last; /* the connection ends behind the reply */
    bool is_cut;  /* closed with bytes of the request unread */
    struct http_refusal refusal;
    struct http_intake intake;
    struct http_answer answer;
    struct {
        void (*fn)(void *ctx);
        void *ctx;
    } callbacks[HTTP_CALLBACKS];
    size_t callbacks_n;
};

#endif
