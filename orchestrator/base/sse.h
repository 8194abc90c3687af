#ifndef BASE_SSE_H
#define BASE_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Reads a stream of events as it arrives, in any split: server-sent events (WHATWG HTML, 9.2), or
 * one JSON value a line. Memory is bounded by SSE_EVENT_MAX, unless sse_limit says something else.
 */
enum { SSE_EVENT_MAX = 1024 * 1024, SSE_NAME_MAX = 64 };

enum sse_form { SSE_EVENTS, SSE_LINES };

/* `data` ends with a NUL that `n` does not count. -1 with `err` ends the reading. */
typedef int sse_handler(void *ctx, const char *event, const char *data, size_t n, struct err *err);

struct sse {
    enum sse_form form;
    sse_handler *on_event;
    void *ctx;
    struct buf line, data;
    char event[SSE_NAME_MAX];
    bool has_data;
    bool is_after_cr; /* a LF that comes next belongs to that CR */
    bool is_begun;    /* a byte order mark may only stand in front */
};

/* Storage of the caller; `ctx` is borrowed. */
void sse_init(struct sse *s, enum sse_form form, sse_handler *on_event, void *ctx);
void sse_done(struct sse *s);

/* Another bound than SSE_EVENT_MAX, before anything is fed. */
void sse_limit(struct sse *s, size_t max);

/* ERR_LIMIT: an event is too large; else the handler's error. */
int sse_feed(struct sse *s, const char *bytes, size_t n, struct err *err) MUST_CHECK;

/* The stream is over: an event or line that lacks only its end is told too. */
int sse_end(struct sse *s, struct err *err) MUST_CHECK;

#endif
