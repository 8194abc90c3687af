#ifndef DIALECTS_EXEC_H
#define DIALECTS_EXEC_H

#include "core/run.h"
#include "dialects/app.h"
#include "policy/policy.h"

/*
 * A run that belongs to an HTTP exchange: what every dialect does alike. It is ended and freed
 * when the reply is sent or the client is gone, so a handler only builds its reply.
 */
struct exec;

/*
 * The request is filled with what the exchange says (client, traceparent, hang-up watch) and with
 * defaults; the handler sets the rest. NULL when there is no such policy (the caller answers).
 */
struct exec *exec_new(struct http_exchange *x, struct app *app, const char *dialect,
                      const char *policy);
struct run_request *exec_request(struct exec *e);

/* The program, and what tracebacks call it; both are borrowed. The request, for the rest of it. */
struct run_request *exec_program(struct exec *e, const char *code, const char *filename);

/* Storage that lives as long as the run. Owned by `e`. */
char *exec_keep(struct exec *e, char *text);
struct spool *exec_spool(struct exec *e); /* a new empty one */
void exec_add_file(struct exec *e, const char *path, const struct spool *data);

/*
 * Checks names and sizes of what a client asked for against the policy: files, environment,
 * memory, arguments. ERR_INVALID and ERR_LIMIT texts name the field.
 */
int exec_check(struct exec *e, struct err *err) MUST_CHECK;

/* Runs to the end and sets X-Run-Id, X-Container-Id and Server-Timing on the reply. */
struct run_result *exec_run(struct exec *e);

/* For streams: the run to pull. Sets X-Run-Id, which alone is known by then. */
struct run *exec_start(struct exec *e);

/* No container was had: the program was not run, answer 503 with Retry-After (which is set). */
bool exec_is_unavailable(struct exec *e);

#endif
