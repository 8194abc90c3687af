#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/spool.h"

/*
 * HTTP/1.1 listeners over libmicrohttpd, one thread per connection, so a handler may block for as
 * long as a run takes. Everything that comes from outside is checked before a handler sees it:
 * request line and headers, Host and Origin, size, then JSON (base/json_scan.h), then cJSON.
 */

enum http_fault {
    HTTP_NOT_FOUND,      /* 404 */
    HTTP_METHOD,         /* 405; Allow is set by the library */
    HTTP_BAD_REQUEST,    /* 400: headers, framing */
    HTTP_BAD_JSON,       /* 400: does not parse; the text says where and why */
    HTTP_TOO_LARGE,      /* 413 */
    HTTP_FORBIDDEN,      /* 403: foreign Origin or unknown Host */
    HTTP_UNAVAILABLE,    /* 503 */
    HTTP_INTERNAL,       /* 500 */
};

struct http_exchange; /* one request and its reply */

typedef void http_handler(struct http_exchange *x, void *app);

/* How a body is read. */
enum http_body {
    HTTP_BODY_NONE,  /* a body is refused */
    HTTP_BODY_RAW,   /* bytes as they are, up to the JSON limit; the handler parses */
    HTTP_BODY_JSON,  /* checked and parsed; a fault is answered before the handler runs */
};

/*
 * A string of the body that must not go through cJSON: its base64 text is decoded as it arrives
 * into a spool, and the handler finds a number in its place, the index for http_blob.
 * `path` is like "files[].b64_data".
 */
struct http_blob_field {
    const char *path;
};

struct http_route {
    const char *method;
    const char *path; /* exact; "*" at the end matches one more component, see http_tail */
    http_handler *handle;
    enum http_body body;
    const struct http_blob_field *blobs; /* ends with path NULL; NULL = none (and the small limit) */
};

/* A set of routes with one error shape: what a dialect is to this layer. */
struct http_api {
    const char *name;
    const struct http_route *routes; /* ends with method NULL */

    /* MUST. Answers a fault in the dialect's shape. */
    void (*fail)(struct http_exchange *x, enum http_fault fault, int status, const char *text);

    /* MAY. Adds headers to every reply of this dialect. */
    void (*headers)(struct http_exchange *x);
};

struct http_limits {
    unsigned connections, connections_per_address;
    int64_t idle_ms, header_ms, body_ms;
    size_t body_max, body_files_max, json_tokens;
    const char *spool_dir;
    const char *const *hosts;   /* further accepted Host names, NULL-terminated; may be NULL */
    const char *const *origins; /* further accepted Origins; may be NULL */
};

struct http_listener_options {
    const char *address;
    uint16_t port; /* 0: any, see http_listener_port */
    const struct http_api *const *apis; /* NULL-terminated, tried in order; the first one's shape
                                           answers unknown paths. Borrowed for ever. */
    void *app; /* handed to every handler */
};

struct http_server; /* shared by all listeners: limits, the reaper of slow connections */

int http_server_new(const struct http_limits *limits, struct http_server **ret, struct err *err)
    MUST_CHECK;
int http_listen(struct http_server *s, const struct http_listener_options *o, struct err *err)
    MUST_CHECK;
uint16_t http_listener_port(const struct http_server *s, size_t index);

/* Accepts no more connections and answers further requests on kept ones with Connection: close. */
void http_server_quiesce(struct http_server *s);
unsigned http_server_busy(const struct http_server *s); /* requests between head and reply's end */
void http_server_free(struct http_server *s);           /* waits for handlers */

/* ---- what a handler may ask; everything borrowed until the request is complete ---- */

const char *http_method(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);              /* without query */
const char *http_tail(const struct http_exchange *x);              /* what "*" matched, or "" */
const char *http_query(const struct http_exchange *x, const char *key);    /* decoded, or NULL */
const char *http_header(const struct http_exchange *x, const char *name);  /* or NULL */
const char *http_body(const struct http_exchange *x, size_t *ret_n);       /* "" without one */
const cJSON *http_json(const struct http_exchange *x);             /* HTTP_BODY_JSON */
struct spool *http_blob(const struct http_exchange *x, const cJSON *placeholder); /* or NULL */
const char *http_client(const struct http_exchange *x);            /* numeric address */
int64_t http_arrived_ms(const struct http_exchange *x);            /* clock_ms of the first byte */
bool http_client_is_gone(const struct http_exchange *x);           /* looks at the socket now */
int http_client_fd(const struct http_exchange *x);                 /* to poll for POLLRDHUP only */

/* ---- replying: exactly once ---- */

void http_set_header(struct http_exchange *x, const char *name, const char *value);

/* Moves the content of `body`. */
void http_reply(struct http_exchange *x, int status, const char *type, struct buf *body);

/*
 * A reply made of parts, so that large outputs are never whole in memory. Spools are borrowed
 * until the exchange is complete. Parts are sent in the order in which they were added.
 */
struct http_parts;
struct http_parts *http_parts_new(void);
struct buf *http_parts_text(struct http_parts *p); /* literal bytes that come next */
void http_parts_base64(struct http_parts *p, const struct spool *s);
void http_parts_json_string(struct http_parts *p, const struct spool *s); /* quoted, UTF-8 repaired */
void http_parts_raw(struct http_parts *p, const struct spool *s);
void http_reply_parts(struct http_exchange *x, int status, const char *type, struct http_parts *p);

/*
 * A reply that is produced while it is sent (event streams). `pull` runs in the connection's
 * thread, blocks until there is something, appends to `out` and returns true; false ends it.
 */
void http_reply_stream(struct http_exchange *x, int status, const char *type,
                       bool (*pull)(void *ctx, struct buf *out), void *ctx);

/* Called once when the reply is sent or the client is gone; the last thing that happens to `x`. */
void http_on_complete(struct http_exchange *x, void (*fn)(void *ctx), void *ctx);

/* Ready-made faults for handlers: calls the dialect's fail(). */
void http_fail(struct http_exchange *x, enum http_fault fault, int status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
