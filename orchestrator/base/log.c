#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"

enum {
    LOG_LINE_MAX = 16 * 1024 * 1024, /* an audited program may stand in a record */
    LOG_PIPE_SIZE = 1024 * 1024,     /* so that it also fits into a pipe */
};

/* How lines are written without ever waiting for the reader. */
enum log_way {
    LOG_PLAIN,       /* files: there is no reader */
    LOG_NONBLOCKING, /* the descriptor does not wait */
    LOG_SEND,        /* sockets can be told so call by call */
    LOG_POLLED,      /* a pipe of others: room for PIPE_BUF bytes can be asked for */
};

static struct {
    const char *who;
    enum log_level level;
    enum log_format format;
    enum log_way way;
    int fd;
    atomic_uint_fast64_t dropped;
    atomic_bool is_torn; /* the last line stands there without its end */
} log_state = {.who = "oneshot", .level = LOG_INFO, .way = LOG_POLLED, .fd = 2};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/*
 * The open file may be shared with a shell or other processes, which would see O_NONBLOCK set on
 * it. Opening it again gives one of our own, which takes the place of the other in this process:
 * under the same number, as descriptors beyond the well-known ones may be closed by whoever
 * confines the process later.
 */
static bool stop_waiting(int fd)
{
    char path[32];
    int flags = fcntl(fd, F_GETFD), own;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0)
        return false;
    (void)fcntl(own, F_SETPIPE_SZ, LOG_PIPE_SIZE);
    flags = dup3(own, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
    (void)close(own);
    return flags >= 0;
}

static enum log_way find_way(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
        return LOG_PLAIN;
    if (S_ISSOCK(st.st_mode))
        return LOG_SEND;
    if (!S_ISFIFO(st.st_mode) && !isatty(fd))
        return LOG_PLAIN;
    return stop_waiting(fd) ? LOG_NONBLOCKING : LOG_POLLED;
}

void log_init(const char *who, enum log_level level, enum log_format format, int fd)
{
    log_state.who = who;
    log_state.level = level;
    log_state.format = format;
    log_state.way = find_way(fd);
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

static ssize_t write_once(struct iovec *iov, size_t n, size_t bytes)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
    struct pollfd p = {.fd = log_state.fd, .events = POLLOUT};

    if (log_state.way == LOG_SEND)
        return sendmsg(log_state.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (log_state.way == LOG_POLLED &&
        (bytes > PIPE_BUF || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
        return -1;
    return writev(log_state.fd, iov, (int)n);
}

/* What is cut off by a full pipe is ended by the next line, so that the two stay apart. */
static void emit(struct buf *line)
{
    char newline[] = "\n";
    struct iovec iov[2] = {
        {newline,    1        },
        {line->data, line->len}
    };
    bool was_torn = atomic_exchange(&log_state.is_torn, false);
    size_t bytes = line->len + was_torn;
    ssize_t n;

    do
        n = write_once(was_torn ? iov : iov + 1, was_torn ? 2 : 1, bytes);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)bytes)
        return;
    atomic_fetch_add(&log_state.dropped, 1);
    if (n > was_torn || (n <= 0 && was_torn))
        atomic_store(&log_state.is_torn, true);
}

/* Controls of one byte or two, and what changes the direction or the line of text. */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

static uint32_t code_point(const unsigned char *s, int n)
{
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7FU >> n);

    for (int i = 1; i < n; i++)
        c = c << 6 | (s[i] & 0x3F);
    return c;
}

/* The printable ASCII at the beginning of `s`. */
static size_t harmless_part(const unsigned char *s, size_t n)
{
    size_t i = 0;

    while (i < n && s[i] >= 0x20 && s[i] < 0x7F)
        i++;
    return i;
}

/* What could break a line or fool a terminal is written as \xNN (bytes) or \uNNNN (characters). */
static void put_plain(struct buf *b, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;

    for (size_t i = 0; i < n;) {
        size_t run = harmless_part(p + i, n - i);
        int step = utf8_step(p + i + run, n - i - run);
        uint32_t c = step > 0 ? code_point(p + i + run, step) : 0;

        (void)buf_add(b, s + i, run);
        i += run;
        if (i == n)
            return;

        if (step <= 0 || (step == 1 && is_unsafe(c)))
            (void)buf_fmt(b, "\\x%02x", p[i]);
        else if (is_unsafe(c))
            (void)buf_fmt(b, "\\u%04x", c);
        else
            (void)buf_add(b, s + i, (size_t)step);
        i += step > 0 ? (size_t)step : 1;
    }
}

/* A JSON string is safe already but for characters that JSON has no objection to. */
static void put_quoted(struct buf *b, const char *s)
{
    CLEANUP(buf_done) struct buf json = {0};

    buf_init(&json, LOG_LINE_MAX);
    json_put_str(&json, s, strlen(s));
    b->is_full = b->is_full || json.is_full;
    put_plain(b, buf_get(&json), json.len);
}

static void put_text(struct buf *b, enum log_level level, const char *message,
                     const struct log_field *fields, unsigned n)
{
    char when[CLOCK_TEXT_MAX];

    (void)buf_fmt(b, "%s %s %s: ", clock_text(when, clock_wall_ms()), level_names[level],
                  log_state.who);
    put_plain(b, message, strlen(message));
    for (unsigned i = 0; i < n; i++) {
        (void)buf_fmt(b, " %s=", fields[i].key);
        if (!fields[i].text) {
            (void)buf_fmt(b, "%lld", (long long)fields[i].number);
            continue;
        }
        put_quoted(b, fields[i].text);
    }
}

static void put_json(struct buf *b, enum log_level level, const char *message,
                     const struct log_field *fields, unsigned n)
{
    char when[CLOCK_TEXT_MAX];

    (void)buf_fmt(b, "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"message\":",
                  clock_text(when, clock_wall_ms()), level_names[level], log_state.who);
    put_quoted(b, message);
    for (unsigned i = 0; i < n; i++) {
        (void)buf_fmt(b, ",\"%s\":", fields[i].key);
        if (fields[i].text)
            put_quoted(b, fields[i].text);
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
