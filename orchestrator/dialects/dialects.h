#ifndef DIALECTS_DIALECTS_H
#define DIALECTS_DIALECTS_H

#include "http/http.h"

/* Every dialect that there is, ends with NULL. A new dialect is a file and a line in dialects.c. */
extern const struct http_api *const dialects_all[];
const struct http_api *dialect_find(const char *name); /* or NULL */

#endif
