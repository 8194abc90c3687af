#ifndef TESTS_HTTP_RIG_H
#define TESTS_HTTP_RIG_H

/* A server inside the test program and a client that sends exactly what the test says. */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/server.h"
#include "unit.h"
#include "until.h"

#define RIG __attribute__((unused)) static

enum { RIG_WAIT_MS = 120000 };

RIG struct http_limits rig_limits(void)
{
    return (struct http_limits){
        .connections = 64,
        .idle_ms = (int)patient(10000),
        .header_ms = (int)patient(10000),
        .body_ms = (int)patient(10000),
        .body_max = 1 << 20,
        .body_files_max = 4 << 20,
        .json_tokens = 1000,
        .spool_dir = "/tmp",
    };
}

/* The error shape of the test dialect: {"fault":n,"error":text}. */
RIG void rig_fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    struct buf b;

    buf_init(&b, 4096);
    (void)buf_fmt(&b, "{\"fault\":%d,\"error\":", (int)fault);
    json_put_str(&b, text, strlen(text));
    (void)buf_char(&b, '}');
    http_reply(x, status, "application/json", &b);
}

RIG void rig_reply(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    (void)buf_str(&b, text);
    http_reply(x, status, "text/plain", &b);
}

RIG struct http_server *rig_open(const struct http_limits *limits,
                                 const struct http_api *const *apis, void *app)
{
    const struct http_listener_options o = {.address = "127.0.0.1", .apis = apis, .app = app};
    struct http_server *s = NULL;
    struct err e = {0};

    ck_assert_msg(http_server_new(limits, &s, &e) == 0, "%s", e.msg);
    ck_assert_msg(http_listen(s, &o, &e) == 0, "%s", e.msg);
    return s;
}

RIG int rig_dial_port(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval wait = {.tv_sec = RIG_WAIT_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
    return fd;
}

RIG int rig_dial(const struct http_server *s)
{
    return rig_dial_port(http_listener_port(s, 0));
}

RIG void rig_send(int fd, const char *data, size_t n)
{
    struct err e = {0};

    ck_assert_msg(io_write_all(fd, data, n, clock_ms() + RIG_WAIT_MS, &e) == 0, "%s", e.msg);
}

RIG void rig_say(int fd, const char *text)
{
    rig_send(fd, text, strlen(text));
}

/* What came back: status 0 when the connection ended before a whole head. */
struct rig_reply {
    int status;
    struct buf head, body;
    bool is_whole; /* the body was there up to its announced end */
};

RIG void rig_done(struct rig_reply *r)
{
    buf_done(&r->head);
    buf_done(&r->body);
}

/* One byte at a time: what follows the reply stays in the socket. False at the end. */
RIG bool rig_byte(int fd, char *c)
{
    return recv(fd, c, 1, 0) == 1;
}

RIG bool rig_line(int fd, struct buf *out)
{
    char c = 0;

    while (c != '\n') {
        if (!rig_byte(fd, &c))
            return false;
        (void)buf_char(out, c);
    }
    return true;
}

RIG bool rig_bytes(int fd, struct buf *out, size_t n)
{
    char piece[16384];

    while (n) {
        ssize_t k = recv(fd, piece, n < sizeof(piece) ? n : sizeof(piece), 0);

        if (k <= 0)
            return false;
        (void)buf_add(out, piece, (size_t)k);
        n -= (size_t)k;
    }
    return true;
}

/* The value of a header line of the reply, "" when it is not there; static storage. */
RIG const char *rig_header(const struct rig_reply *r, const char *name)
{
    static char value[2048];
    size_t n = strlen(name);

    for (const char *at = buf_get(&r->head); at && *at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncasecmp(at, name, n) == 0 && at[n] == ':') {
            at += n + 1 + strspn(at + n + 1, " ");
            (void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r\n"), at);
            return value;
        }
    }
    return "";
}

RIG bool rig_chunks(int fd, struct buf *body)
{
    size_t n = 1;

    while (n) {
        struct buf line;

        buf_init(&line, 64);
        if (!rig_line(fd, &line)) {
            buf_done(&line);
            return false;
        }
        n = strtoul(buf_get(&line), NULL, 16);
        buf_clear(&line);
        if (!rig_bytes(fd, body, n) || !rig_line(fd, &line))
            n = 0;
        buf_done(&line);
    }
    return true;
}

RIG struct rig_reply rig_read(int fd, bool has_body)
{
    struct rig_reply r = {0};
    size_t before = 1;

    buf_init(&r.head, 1 << 16);
    buf_init(&r.body, (size_t)1 << 30);
    while (r.head.len != before) {
        before = r.head.len;
        if (!rig_line(fd, &r.head))
            return r;
        if (r.head.len - before == 2)
            break;
    }
    r.status = (int)strtol(buf_get(&r.head) + 9, NULL, 10);
    if (!has_body || r.status == 204 || r.status < 200)
        r.is_whole = true;
    else if (strcasecmp(rig_header(&r, "Transfer-Encoding"), "chunked") == 0)
        r.is_whole = rig_chunks(fd, &r.body);
    else if (*rig_header(&r, "Content-Length"))
        r.is_whole = rig_bytes(fd, &r.body, strtoul(rig_header(&r, "Content-Length"), NULL, 10));
    else
        r.is_whole = !rig_bytes(fd, &r.body, (size_t)1 << 30);
    return r;
}

/* Whether the other side ends the connection within the time that a test may take. */
RIG bool rig_is_closed(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);

    return n == 0 || (n < 0 && (errno == ECONNRESET || errno == EPIPE));
}

RIG struct rig_reply rig_ask(int fd, const char *request)
{
    rig_say(fd, request);
    return rig_read(fd, strncmp(request, "HEAD ", 5) != 0);
}

/* One request on a connection of its own. */
RIG struct rig_reply rig_once(const struct http_server *s, const char *request)
{
    int fd = rig_dial(s);
    struct rig_reply r = rig_ask(fd, request);

    close(fd);
    return r;
}

/* A figure of /proc/self/FILE in KiB. */
RIG long rig_kib(const char *file, const char *key)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen(file, "re");

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key), NULL, 10);
    }
    (void)fclose(f);
    ck_assert_int_ge(kib, 0);
    return kib;
}

/* Forgets the peak of the process's memory; what is in use now, in KiB. */
RIG long rig_peak_from_here(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");

    if (f) {
        (void)fputs("5", f);
        (void)fclose(f);
    }
    return rig_kib("/proc/self/status", "VmHWM:");
}

#endif
