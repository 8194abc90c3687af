#ifndef DIALECTS_EXECUTOR_REPLY_H
#define DIALECTS_EXECUTOR_REPLY_H

#include "core/run.h"
#include "http/http.h"

/* {"detail": text}. */
void executor_refuse(struct http_exchange *x, int status, const char *text);

/*
 * What a field of the body is refused with, in FastAPI's form: 422 and {"detail": [{"type", "loc",
 * "msg", "input"}]}.
 */
struct executor_fault {
    const char *type;  /* "missing", "string_type" … */
    const char *field; /* NULL: the body itself */
    const char *msg;
    const cJSON *input; /* NULL: null */
};
void executor_invalid(struct http_exchange *x, const struct executor_fault *f);

/* The reply of a program that ran, or was refused before it could. */
void executor_answer(struct http_exchange *x, const struct run_request *q, struct run_result *r);

#endif
