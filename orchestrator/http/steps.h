#ifndef HTTP_STEPS_H
#define HTTP_STEPS_H

#include "http/state.h"

/* The steps of an exchange, one file each; nobody outside this room includes it. */

/* ---- stack.c: gives back what a handler used of its thread's stack ---- */

void http_stack_release(struct http_connection *c);

/* ---- watch.c: deadlines of connections ---- */

int http_watch_start(struct http_server *s, struct err *err) MUST_CHECK;
void http_watch_stop(struct http_server *s);
void http_watch_add(struct http_connection *c);    /* also keeps the limit of connections */
void http_watch_remove(struct http_connection *c); /* before its descriptor is closed */
void http_watch_until(struct http_connection *c, int64_t deadline_ms); /* INT64_MAX: no deadline */
void http_watch_idle(struct http_connection *c);
void http_watch_quiesce(struct http_server *s);
void http_watch_hang_up(struct http_server *s);

/* ---- route.c, guard.c, origin.c: the head ---- */

void http_route_find(struct http_exchange *x); /* sets api, route, matches; refuses 404 and 405 */
void http_guard_check(struct http_exchange *x, const char *version);
void http_origin_check(struct http_exchange *x);
void http_origin_headers(struct http_exchange *x);

/* Only the first refusal counts. */
void http_refuse(struct http_exchange *x, enum http_fault fault, int status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* The methods that the path takes, as in Allow. */
void http_route_methods(const struct http_exchange *x, struct buf *out);

/* ---- intake.c: the body ---- */

void http_intake_begin(struct http_exchange *x);
void http_intake_take(struct http_exchange *x, const char *data, size_t n);
void http_intake_end(struct http_exchange *x);
void http_intake_done(struct http_exchange *x);

/* ---- exchange.c, answer.c, parts.c ---- */

struct http_exchange *http_exchange_new(struct http_connection *c, struct MHD_Connection *mhd,
                                        const char *uri);
void http_exchange_free(struct http_exchange *x); /* runs the callbacks */
void http_exchange_begin(struct http_exchange *x, const char *path, const char *method,
                         const char *version);
void http_exchange_run(struct http_exchange *x); /* the handler or the fault: an answer is there */

int http_answer_send(struct http_exchange *x) MUST_CHECK; /* through libmicrohttpd */

/* Writes the answer past libmicrohttpd, which will not take one now; then it must close. */
void http_answer_write(struct http_exchange *x);
void http_answer_done(struct http_exchange *x);

bool http_parts_is_full(const struct http_parts *p); /* a text in it lost bytes */

/* Exact where known, else -1 and `*ret_about` is a guess. */
int64_t http_parts_length(const struct http_parts *p, uint64_t *ret_about);
ssize_t http_parts_read(struct http_parts *p, char *out, size_t n); /* 0 at the end; -1 failed */

#endif
