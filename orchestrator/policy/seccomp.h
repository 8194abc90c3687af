#ifndef POLICY_SECCOMP_H
#define POLICY_SECCOMP_H

#include <stddef.h>

#include "base/err.h"

/*
 * Reads a seccomp profile in the engine's JSON form and gives it back without white space; caller
 * frees. ERR_INVALID unless it is an allow-list: what it does not name is refused with an error
 * (never allowed, and never killed: a library that tries a new call must be able to go on), it
 * names its architectures, and no key stands twice (parsers disagree which one counts).
 */
int seccomp_profile_load(const char *path, char **ret_json, struct err *err) MUST_CHECK;

/* The same for a text with a NUL at text[n]. */
int seccomp_parse(const char *text, size_t n, char **ret_json, struct err *err) MUST_CHECK;

#endif
