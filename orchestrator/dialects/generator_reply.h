#ifndef DIALECTS_GENERATOR_REPLY_H
#define DIALECTS_GENERATOR_REPLY_H

#include "http/http.h"
#include "model/generate.h"

/* The JSON of the generator's replies and events. */

/* {code, result, retries, …} of a generation that came to something; its spools are borrowed. */
void generator_put_result(struct http_parts *parts, const struct generation *x);

/* The error shape. */
void generator_put_error(struct buf *b, const char *text);

/* What a generation answers as a whole: status, Retry-After and body. */
void generator_answer(struct http_exchange *x, const struct generation *g);

/* The same generation as server-sent events. */
void generator_stream(struct http_exchange *x, struct generator *g, const char *prompt);

#endif
