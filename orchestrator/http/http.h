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
 * What a dialect needs of HTTP: routes, requests, replies. server.h opens the listeners. Everything
 * that comes from outside is checked before a handler sees it: request line and headers, Host and
 * Origin, size, then JSON (base/json_sieve.h), then cJSON. Each connection has a thread of its own,
 * so a handler may block for as long as a run takes.
 */

enum http_fault {
    HTTP_NOT_FOUND,    /* 404 */
    HTTP_METHOD,       /* 405; Allow is set by the library */
    HTTP_BAD_REQUEST,  /* 400: headers, framing; 431: too many of them */
    HTTP_BAD_JSON,     /* 400: does not parse; the text says where and why */
    HTTP_TOO_LARGE,    /* 413 */
    HTTP_FORBIDDEN,    /* 403: foreign Origin or unknown Host */
    HTTP_UNAVAILABLE,  /* 503; Retry-After is set by the library */
    HTTP_INTERNAL,     /* 500 */
    HTTP_UNAUTHORIZED, /* 401: the route admits nobody without what the client lacks */
};

struct http_exchange; /* one request and its reply; belongs to its connection's thread */

typedef void http_handler(struct http_exchange *x, void *app);

/* How a body is read. */
enum http_body {
    HTTP_BODY_NONE, /* a body is refused */
    HTTP_BODY_RAW,  /* bytes as they are, up to the JSON limit; the handler parses */
    HTTP_BODY_JSON, /* checked and parsed; a fault is answered before the handler runs */
};

/*
 * A string of the body that must not go through cJSON: its base64 text is decoded as it arrives
 * into a spool, and the handler finds a number in its place, the index for http_blob.
 * `path` is like "files[].b64_data" (json_sieve.h). A value there that is no string is refused.
 */
struct http_blob_field {
    const char *path;
};

struct http_route {
    const char *method; /* HEAD is answered where GET is */
    const char *path;   /* exact; a component "*" matches any one, see http_tail; at most four */
    http_handler *handle;
    enum http_body body;
    const struct http_blob_field
        *blobs; /* ends with path NULL; NULL = none (and the small limit) */

    /* MAY. Asked when the head is there, before any of the body is read; false: 401. */
    bool (*admit)(struct http_exchange *x, void *app);
};

/* A set of routes with one error shape: what a dialect is to this layer. */
struct http_api {
    const char *name;
    const struct http_route *routes; /* ends with method NULL */

    /* MUST. Answers a fault in the dialect's shape, with http_reply. */
    void (*fail)(struct http_exchange *x, enum http_fault fault, int status, const char *text);

    /* MAY. Adds headers to every reply of this dialect. */
    void (*headers)(struct http_exchange *x);
};

/* ---- what a handler may ask; everything borrowed until the request is complete ---- */

const char *http_method(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x); /* decoded, without query */

/* What the last "*" of the route matched, or the one at `i` from 0; "" where there is none. */
const char *http_tail(const struct http_exchange *x);
const char *http_match(const struct http_exchange *x, size_t i);

const char *http_query(const struct http_exchange *x, const char *key);   /* decoded, or NULL */
const char *http_header(const struct http_exchange *x, const char *name); /* or NULL */
const char *http_body(const struct http_exchange *x, size_t *ret_n);      /* HTTP_BODY_RAW, or "" */
const cJSON *http_json(const struct http_exchange *x);                    /* HTTP_BODY_JSON */

/* NULL unless `placeholder` is a number that stands for a blob. The content may be moved out. */
struct spool *http_blob(const struct http_exchange *x, const cJSON *placeholder);

const char *http_client(const struct http_exchange *x); /* numeric address */
int64_t http_arrived_ms(const struct http_exchange *x); /* clock_ms when its first line was there */

/* Looks at the socket now. A client that closed its sending side counts as gone. */
bool http_client_is_gone(const struct http_exchange *x);
int http_client_fd(const struct http_exchange *x); /* to poll for POLLRDHUP only */

/* ---- replying: exactly once; a second reply is dropped and logged ---- */

/* Replaces an earlier value. Control characters become '?', values end at 1 KiB. */
void http_set_header(struct http_exchange *x, const char *name, const char *value);

/* Moves the content of `body`. `type` NULL sends no Content-Type. */
void http_reply(struct http_exchange *x, int status, const char *type, struct buf *body);

/*
 * A reply made of parts, so that large outputs are never whole in memory. Spools are borrowed
 * until the exchange is complete. Parts are sent in the order in which they were added.
 */
struct http_parts;
struct http_parts *http_parts_new(void);
void http_parts_free(struct http_parts *p);        /* only what was not replied with */
struct buf *http_parts_text(struct http_parts *p); /* literal bytes that come next */
void http_parts_base64(struct http_parts *p, const struct spool *s);      /* without quotes */
void http_parts_json_string(struct http_parts *p, const struct spool *s); /* quoted, repaired */
void http_parts_raw(struct http_parts *p, const struct spool *s);
void http_reply_parts(struct http_exchange *x, int status, const char *type, struct http_parts *p);

/*
 * For streams: appends the next piece (at most 64 KiB) to `out`; false when nothing is left. Where
 * it cannot be read `out` is marked as full, which cuts the reply.
 */
bool http_parts_pull(struct http_parts *p, struct buf *out);

/*
 * A reply that is produced while it is sent (event streams). `pull` gets an empty `out`, blocks
 * until there is something, appends it and returns true; false ends the reply behind what it
 * appended. While it blocks nobody looks at the client: it polls http_client_fd itself.
 */
void http_reply_stream(struct http_exchange *x, int status, const char *type,
                       bool (*pull)(void *ctx, struct buf *out), void *ctx);

/*
 * Called once when the reply is sent or the client is gone, in the connection's thread; with
 * several, the last one registered comes first. Nothing happens to `x` afterwards.
 */
void http_on_complete(struct http_exchange *x, void (*fn)(void *ctx), void *ctx);

/* Ready-made faults for handlers: calls the dialect's fail(). */
void http_fail(struct http_exchange *x, enum http_fault fault, int status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
