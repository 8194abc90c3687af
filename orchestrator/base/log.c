#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

enum { LOG_LINE_MAX = 16 * 1024 * 1024 }; /* an audited program may stand in a record */

static struct {
    const char *who;
    enum log_level level;
    enum log_format format;
    int fd;
    atomic_uint_fast64_t dropped;
} log_state = {.who = "oneshot", .level = LOG_INFO, .fd = 2};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_init(const char *who, enum log_level level, enum log_format format, int fd)
{
    log_state.who = who;
    log_state.level = level;
    log_state.format = format;
    log_state.fd = fd;
}

bool log_is_on(enum log_level level)
{
    return level >= log_state.level;
}

uint64_t log_dropped(void)
{
    return atomic_load(&log_state.dropped);
}

/* The descriptor may be shared with a terminal, so it stays blocking: ask poll first. */
static void emit(const struct buf *line)
{
    struct pollfd p = {.fd = log_state.fd, .events = POLLOUT};
    ssize_t n;

    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
        atomic_fetch_add(&log_state.dropped, 1);
        return;
    }
    do
        n = write(log_state.fd, buf_get(line), line->len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        atomic_fetch_add(&log_state.dropped, 1);
}

/* Text format: the bytes that could break a line or fool a terminal are written as \xNN. */
static void put_plain(struct buf *b, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c < 0x20 || c == 0x7F || (c >= 0x80 && c < 0xA0))
            (void)buf_fmt(b, "\\x%02x", c);
        else
            (void)buf_char(b, *s);
    }
}

static void put_text(struct buf *b, enum log_level level, const char *message,
                     const struct log_field *fields, unsigned n)
{
    char when[CLOCK_TEXT_MAX];

    (void)buf_fmt(b, "%s %s %s: ", clock_text(when, clock_wall_ms()), level_names[level],
                  log_state.who);
    put_plain(b, message);
    for (unsigned i = 0; i < n; i++) {
        (void)buf_fmt(b, " %s=", fields[i].key);
        if (!fields[i].text) {
            (void)buf_fmt(b, "%lld", (long long)fields[i].number);
            continue;
        }
        json_put_str(b, fields[i].text, strlen(fields[i].text));
    }
}

static void put_json(struct buf *b, enum log_level level, const char *message,
                     const struct log_field *fields, unsigned n)
{
    char when[CLOCK_TEXT_MAX];

    (void)buf_fmt(b, "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"message\":",
                  clock_text(when, clock_wall_ms()), level_names[level], log_state.who);
    json_put_str(b, message, strlen(message));
    for (unsigned i = 0; i < n; i++) {
        (void)buf_fmt(b, ",\"%s\":", fields[i].key);
        if (fields[i].text)
            json_put_str(b, fields[i].text, strlen(fields[i].text));
        else
            (void)buf_fmt(b, "%lld", (long long)fields[i].number);
    }
    (void)buf_char(b, '}');
}

void log_record(enum log_level level, const char *message, const struct log_field *fields,
                unsigned n)
{
    struct buf line;

    if (!log_is_on(level))
        return;
    buf_init(&line, LOG_LINE_MAX);
    if (log_state.format == LOG_JSON)
        put_json(&line, level, message, fields, n);
    else
        put_text(&line, level, message, fields, n);
    (void)buf_char(&line, '\n');
    if (line.is_full)
        atomic_fetch_add(&log_state.dropped, 1);
    else
        emit(&line);
    buf_done(&line);
}

void log_at(enum log_level level, const char *fmt, ...)
{
    char message[2048];
    va_list ap;

    if (!log_is_on(level))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    log_record(level, message, NULL, 0);
}
