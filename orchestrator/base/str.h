#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* Whole-string parsers: false when anything is left over, empty, or out of [min, max]. */
bool str_to_i64(const char *s, int64_t min, int64_t max, int64_t *ret_value) MUST_CHECK;
bool str_to_real(const char *s, double *ret_value) MUST_CHECK; /* finite, '.' whatever the locale */

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_eq_nocase(const char *a, const char *b); /* ASCII */
bool str_is_blank(const char *s, size_t n);       /* ASCII white space only, or empty */

/* Moves `*s` past the white space in front; returns what is left of `n` without that behind. */
size_t str_trim(const char **s, size_t n) MUST_CHECK;

/*
 * For words of strangers that are told on: control characters become blanks, and a character that
 * was cut at the end is dropped.
 */
void str_one_line(char *s);

/* Copies up to size-1 bytes and always ends with NUL; returns strlen(src) like BSD strlcpy. */
size_t str_copy(char *dst, const char *src, size_t size);

/* Lower-case hexadecimal; `out` holds 2*n+1 bytes. */
void str_hex(char *out, const void *data, size_t n);

/* Reads exactly 2*n hex digits; false on anything else. */
bool str_unhex(void *out, size_t n, const char *hex) MUST_CHECK;

/* Same bytes, in time that does not depend on where they differ (secrets). */
bool str_eq_secret(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
