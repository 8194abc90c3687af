#ifndef CORE_RUN_TOLD_H
#define CORE_RUN_TOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct run_result;

/* How a result is told where a form has no fields of its own for it: what dialects have in common. */

/* Puts "<output cut>" behind a stream that was cut. */
void run_mark_cut(struct run_result *r);

/* Adds a line of the service's own behind what the program wrote to stderr. */
void run_note(struct run_result *r, const char *line);

/* What a client is told in one line when a limit or the infrastructure ended the run; "" else. */
const char *run_limit_line(const struct run_result *r);

/* ---- the telemetry dialect's words (contracts/telemetry.md), which the generator repeats ---- */

/* False: it has none (timeout). 0, the program's status, or negative: a signal, and every limit
 * that is none. */
bool run_return_code(const struct run_result *r, int *ret_code);

/* Ends stderr with the limit that ended the run, if one did. */
void run_note_limit(struct run_result *r, double timeout_s);

/* Appends the base name of file `i`, unless two files share it: then the relative path. */
void run_put_file_name(struct buf *b, const struct run_result *r, size_t i);

#endif
