#ifndef DIALECTS_NATIVE_REPLY_H
#define DIALECTS_NATIVE_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct buf;
struct exec;
struct http_exchange;
struct http_parts;
struct run_out_file;
struct run_result;

/* RFC 9457. The text names the field or what is wrong. */
void native_problem(struct http_exchange *x, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Runs and answers with the whole result, or with an event stream of what happens. */
void native_answer(struct http_exchange *x, struct exec *e);
void native_stream(struct http_exchange *x, struct exec *e);

/* A list of sentences: what the engine does not enforce (bits of enum engine_lack). */
void native_put_lacks(struct buf *b, uint32_t lacks);

/* The result object and a file of it. Without data a file is name, size and type. */
void native_put_result(struct http_parts *parts, struct exec *e, const struct run_result *r,
                       bool with_data);
void native_put_file(struct http_parts *parts, const struct run_out_file *f, bool with_data);

#endif
