#ifndef WARDEN_NAMES_H
#define WARDEN_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Which paths may cross the stream: relative, UTF-8, no control character, no empty, "." or ".."
 * component. The same rule as path_check of orchestrator/base (a test compares the two); the
 * warden has its own so that nothing but the wire format is linked into it.
 */
enum { NAME_MAX_BYTES = 255, NAME_PATH_MAX = 1024, NAME_DEPTH_MAX = 32 };

/* One component. */
bool name_is_ok(const char *name, size_t n);

bool name_path_is_ok(const char *path, size_t n);

/*
 * Writes `name` to `out` with each byte that may not stand in a path as \xNN and each backslash
 * doubled; stops before it would pass `cap`. Returns the length, without a NUL.
 */
size_t name_escape(char *out, size_t cap, const char *name, size_t n);

#endif
