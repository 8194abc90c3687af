#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_ms(void);      /* CLOCK_MONOTONIC, milliseconds: every deadline */
int64_t clock_us(void);      /* CLOCK_MONOTONIC, microseconds: every duration */
int64_t clock_wall_ms(void); /* Unix time, milliseconds: only for what people read */

/* Milliseconds left until `deadline_ms` for poll(): 0 when past, -1 for INT64_MAX (no deadline). */
int clock_left_ms(int64_t deadline_ms);

#define CLOCK_TEXT_MAX 32

/* "2026-11-21T10:00:00.123Z" into `out` (CLOCK_TEXT_MAX bytes); returns `out`. */
const char *clock_text(char *out, int64_t wall_ms);

#endif
