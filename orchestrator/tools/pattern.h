#ifndef TOOLS_PATTERN_H
#define TOOLS_PATTERN_H

#include <stddef.h>

#include "base/err.h"

/*
 * The `pattern` of a JSON schema, as far as it is the common part of ECMAScript and POSIX: classes
 * \d \w \s, groups (?:…), everything but lookarounds, back references and repeats over 1000.
 */
enum { PATTERN_MAX = 512, PATTERN_TEXT_MAX = 4096 };

/* ERR_INVALID: it is none that can be checked here. */
int pattern_check(const char *pattern, struct err *err) MUST_CHECK;

/*
 * What one check of a value does with patterns: the last one stays compiled, and a program that
 * gives a long list of texts cannot make more work than is allowed for all of them. Begins as {0}.
 */
struct pattern_use {
    struct pattern *last;
    size_t work;
};

void pattern_use_done(struct pattern_use *u);

enum pattern_answer { PATTERN_NO, PATTERN_YES, PATTERN_TOO_MUCH };

/*
 * Whether it is somewhere in the text, of up to PATTERN_TEXT_MAX bytes; yes for an unusable one.
 * `pattern` is borrowed until the next call with this use or its end.
 */
enum pattern_answer pattern_match(struct pattern_use *u, const char *pattern, const char *text);

#endif
