#ifndef DIALECTS_DIALECTS_H
#define DIALECTS_DIALECTS_H

#include "base/err.h"
#include "http/http.h"

struct settings;

/* Every dialect that there is, ends with NULL. A new dialect is a file and a line in dialects.c. */
extern const struct http_api *const dialects_all[];
const struct http_api *dialect_find(const char *name); /* or NULL */

/* ERR_INVALID: a listener is to speak a dialect that there is not, or that needs a missing engine. */
int dialects_check(const struct settings *s, struct err *err) MUST_CHECK;

#endif
