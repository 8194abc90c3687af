#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/*
 * One record is one line whatever stands in it: control characters, invalid UTF-8 and what turns
 * the direction of text are escaped. Lines go to `fd` with one write each. It never waits for a
 * reader: what a full pipe, socket or terminal does not take is dropped and counted, and a line
 * that was cut there is ended by the next one. `who` names the process ("keeper"), borrowed for
 * ever; so is `fd`, which may get an open file of its own that does not wait. Call it before
 * there are threads, and while the process may still open what `fd` stands for.
 */
void log_init(const char *who, enum log_level level, enum log_format format, int fd);

/* Any thread. `fmt` makes the message. */
void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...)   log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_at(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_at(LOG_ERROR, __VA_ARGS__)

/* One field of a structured record; `text` NULL means that `number` counts. */
struct log_field {
    const char *key, *text;
    int64_t number;
};

/* A record with fields (audit): text format prints key=value behind the message. */
void log_record(enum log_level level, const char *message, const struct log_field *fields,
                unsigned n);

bool log_is_on(enum log_level level);
uint64_t log_dropped(void); /* lines lost since the start */

#endif
