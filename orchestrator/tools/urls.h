#ifndef TOOLS_URLS_H
#define TOOLS_URLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Appends percent-encoded: of ASCII only letters, digits, `-`, `.`, `_` and `~` stay. */
void url_put(struct buf *b, const char *s, size_t n);

/* Letters, digits, `-`, `_` and `.`, and none of those that HTTP itself needs. */
bool url_is_header_name(const char *s);

/* Whether it can stand behind a header's name: no control character, no blank at its ends. */
bool url_is_header_value(const char *s);

/* Scheme, host and port are the same: what belongs to one may be told to the other. */
bool url_is_same_origin(const char *a, const char *b);

/* "http://host:port" with every letter of it small; the caller frees. */
char *url_origin(const char *url);

#endif
