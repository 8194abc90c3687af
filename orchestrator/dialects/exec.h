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

/* For streams: the run to pull. exec_headers needs the result only for what is known by then. */
struct run *exec_start(struct exec *e);

/* No container was had: the program was not run, answer 503 with Retry-After (which is set). */
bool exec_is_unavailable(struct exec *e);

/* Puts "<output cut>" behind a stream that was cut, where the dialect has no field that says so. */
void exec_mark_cut(struct run_result *r);

/* Adds a line of the service's own behind what the program wrote to stderr. */
void exec_note(struct run_result *r, const char *line);

/* What a client is told in one line when a limit or the infrastructure ended the run; "" else. */
const char *exec_limit_line(const struct run_result *r);

#endif
