#ifndef MODEL_FAILURE_H
#define MODEL_FAILURE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/spool.h"

struct runner_result;

/* What a failed attempt is told as: to the model, to the client, and to ourselves. */

/*
 * The error text (contracts/generator.md): the return code if it is not 0, stderr, stdout. Head and
 * tail of what is too long are kept in whole characters, `max` bytes or little more in all (labels
 * and marks). Valid UTF-8 whatever the program wrote. Caller frees.
 */
char *failure_text(const struct runner_result *r, size_t max);

/*
 * What two failures of the same kind have in common: the return code and the last line, numbers
 * and addresses left out. Caller frees.
 */
char *failure_key(const struct runner_result *r);

/* The prompt that asks for the error to be fixed. Caller frees. */
char *failure_prompt(const char *prompt, const char *error);

/* Head and tail of a text, the middle left out when it is over `max` bytes. Caller frees. */
char *failure_clip(const char *text, size_t max);

/* ---- what exits with 0 and yet failed ---- */

/* Whether a picture is asked for, in so many words. */
bool failure_wants_plot(const char *prompt);

/*
 * The line in which slicks says that it could not read the data, cut at `size`. False: there is
 * none. (slicks 0.2.3 prints it and returns None.)
 */
bool failure_of_slicks(const struct spool *out, char *line, size_t size);

/* Takes ASCII white space from both ends. */
int failure_strip(struct spool *s, struct err *err) MUST_CHECK;

#endif
