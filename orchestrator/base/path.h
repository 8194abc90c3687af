#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

enum { PATH_REL_MAX = 1024, PATH_NAME_MAX = 255, PATH_DEPTH_MAX = 32 };

/*
 * A name that may be used below a directory of ours: relative, UTF-8, no control characters, no
 * empty, "." or ".." component, within the limits above. ERR_INVALID names what is wrong.
 */
int path_check(const char *path, size_t n, struct err *err) MUST_CHECK;

/* The part behind the last slash. */
const char *path_base(const char *path);

/*
 * openat(2) below `dir_fd` that never follows a symbolic link in any component and never leaves
 * the directory (openat2 RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS, or the same by hand on old kernels).
 * `path` must have passed path_check. Returns the descriptor, -1 with errno.
 */
int path_open(int dir_fd, const char *path, int flags, mode_t mode);

/* Makes the missing directories above `path` below `dir_fd`, mode 0755. 0, or -1 with errno. */
int path_make_parents(int dir_fd, const char *path);

#endif
