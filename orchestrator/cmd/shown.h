#ifndef CMD_SHOWN_H
#define CMD_SHOWN_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* How commands show things to people, on standard output. */

/* What programs and models wrote must not command the terminal that it is shown on. */
void shown_safely(const char *text, size_t n);

/* "name         text" on a line; nothing where the text is empty. */
void shown_text(const char *name, const char *text);

/* "2026-11-21 10:00:00". Returns `out`. */
const char *shown_time(char out[CLOCK_TEXT_MAX], int64_t wall_ms);

enum { SHOWN_DURATION = 24 };

/* "1.5 ms", "2.50 s". Returns `out`. */
const char *shown_duration(char out[SHOWN_DURATION], uint64_t us);

#endif
