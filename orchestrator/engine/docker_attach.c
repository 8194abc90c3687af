/*
 * The one exchange that libcurl is not used for: afterwards the connection belongs to somebody
 * else, in another process, so no byte of the stream may have been read into a buffer of ours.
 * The head is looked at with MSG_PEEK and then taken off the socket to the byte.
 */
#include "engine/docker_attach.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/str.h"
#include "engine/docker_http.h"

enum { PIECE = 2048, REFUSAL_MAX = 8 * 1024, FIELD_MAX = 64 };

/* Copies the field's value as text when `line` is that field; its white space is dropped. */
static bool get_field(const char *line, size_t n, const char *name, char value[FIELD_MAX])
{
    size_t k = strlen(name), i = k + 1, out = 0;

    if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0)
        return false;
    for (; i < n && out + 1 < FIELD_MAX; i++) {
        if (line[i] != ' ' && line[i] != '\t')
            value[out++] = line[i];
    }
    value[out] = '\0';
    return true;
}

static bool parse_status(const char *line, size_t n, struct docker_head *ret)
{
    char digits[4] = {0};
    int64_t status;

    if (n < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' || (n > 12 && line[12] != ' '))
        return false;
    memcpy(digits, line + 9, 3);
    if (!str_to_i64(digits, 100, 599, &status))
        return false;
    ret->status = (long)status;
    return true;
}

static bool parse_field(const char *line, size_t n, struct docker_head *ret)
{
    char value[FIELD_MAX];

    if (get_field(line, n, "Content-Length", value))
        return str_to_i64(value, 0, INT64_MAX, &ret->length);
    if (get_field(line, n, "Transfer-Encoding", value))
        ret->is_chunked = true;
    return true;
}

long docker_head_parse(const char *data, size_t n, struct docker_head *ret)
{
    struct docker_head head = {.length = -1};
    const char *end = memmem(data, n, "\r\n\r\n", 4), *line = data;

    if (memcmp(data, "HTTP/1.", n < 7 ? n : 7) != 0)
        return -1;
    if (!end)
        return 0;
    while (line < end + 2) {
        const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        size_t len = (size_t)(stop - line);

        if (!(line == data ? parse_status(line, len, &head) : parse_field(line, len, &head)))
            return -1;
        line = stop + 2;
    }
    *ret = head;
    return (long)(end + 4 - data);
}

static int connect_to(const char *path, int64_t deadline_ms, int *ret_fd, struct err *err)
{
    auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int left = clock_left_ms(deadline_ms);
    /* Bounds connect(2), which waits while the engine's backlog is full. 0 would be no bound. */
    struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 + 1};
    int rc;

    if (fd < 0)
        return err_sys(err, "socket");
    (void)str_copy(sun.sun_path, path, sizeof(sun.sun_path));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    do
        rc = connect(fd, (const struct sockaddr *)&sun, sizeof(sun));
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno == EAGAIN)
        return err_set(err, ERR_TIMEOUT, "no answer in time");
    if (rc < 0)
        return docker_http_connect_err(path, errno, err);
    if (io_set_nonblocking(fd, true) < 0)
        return err_sys(err, "fcntl");
    *ret_fd = take_fd(&fd);
    return 0;
}

static int send_request(int fd, const char *path, int64_t deadline_ms, struct err *err)
{
    char text[DOCKER_HTTP_PATH_MAX + 128];
    int n = snprintf(text, sizeof(text),
                     "POST %s HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
                     "Upgrade: tcp\r\nContent-Length: 0\r\n\r\n",
                     path);

    if (n < 0 || (size_t)n >= sizeof(text))
        return err_set(err, ERR_INVALID, "attach path is too long");
    return io_write_all(fd, text, (size_t)n, deadline_ms, err);
}

/* Shows what is there without taking it: bytes, or -1. The end of the stream is an error here. */
static ssize_t peek(int fd, char *out, size_t n, int64_t deadline_ms, struct err *err)
{
    for (;;) {
        int ready = io_wait(fd, POLLIN, deadline_ms);
        ssize_t k;

        if (ready < 0)
            return err_sys(err, "poll");
        if (ready == 0)
            return err_set(err, ERR_TIMEOUT, "no answer in time");
        k = recv(fd, out, n, MSG_PEEK | MSG_DONTWAIT);
        if (k > 0)
            return k;
        if (k == 0 || errno == ECONNRESET)
            return err_set(err, ERR_PEER, "engine closed the connection before its reply");
        if (errno != EINTR && errno != EAGAIN)
            return err_sys(err, "recv");
    }
}

/* Takes `n` bytes that a peek has shown off the socket. */
static int take(int fd, size_t n, struct err *err)
{
    char waste[PIECE];

    while (n) {
        ssize_t k = recv(fd, waste, n < sizeof(waste) ? n : sizeof(waste), MSG_DONTWAIT);

        if (k > 0)
            n -= (size_t)k;
        else if (k == 0 || errno != EINTR)
            return err_set(err, ERR_PEER, "engine closed the connection before its reply");
    }
    return 0;
}

static int read_head(int fd, int64_t deadline_ms, struct docker_head *ret, struct err *err)
{
    CLEANUP(buf_done) struct buf head = {0};

    buf_init(&head, DOCKER_ATTACH_HEAD_MAX);
    for (;;) {
        char piece[PIECE];
        ssize_t k = peek(fd, piece, sizeof(piece), deadline_ms, err);
        size_t before = head.len;
        long n;

        if (k < 0)
            return -1;
        if (buf_add(&head, piece, (size_t)k) < 0)
            return err_set(err, ERR_PEER, "head of the reply is over %d bytes",
                           DOCKER_ATTACH_HEAD_MAX);
        n = docker_head_parse(buf_get(&head), head.len, ret);
        if (n < 0)
            return err_set(err, ERR_PEER, "reply is not HTTP");
        /* Everything up to here belongs to the head while its end is not in sight. */
        if (take(fd, n ? (size_t)n - before : (size_t)k, err) < 0)
            return -1;
        if (n)
            return 0;
    }
}

/* The body of a refusal, for its text: what comes until its end, the deadline or the limit. */
static void read_refusal(int fd, const struct docker_head *head, int64_t deadline_ms,
                         struct docker_http_reply *reply)
{
    size_t want = REFUSAL_MAX;

    if (head->length >= 0 && head->length < REFUSAL_MAX)
        want = (size_t)head->length;
    reply->status = head->status;
    while (reply->body.len < want) {
        char piece[PIECE];
        size_t left = want - reply->body.len;
        ssize_t k = io_read_some(fd, piece, left < PIECE ? left : PIECE, deadline_ms, NULL);

        if (k <= 0 || buf_add(&reply->body, piece, (size_t)k) < 0)
            return;
        if (head->is_chunked && memmem(buf_get(&reply->body), reply->body.len, "\r\n0\r\n", 5))
            return;
    }
}

int docker_attach_open(const char *socket, const char *path, int64_t deadline_ms, int *ret_fd,
                       struct docker_http_reply *ret_reply, struct err *err)
{
    auto_fd int fd = -1;
    struct docker_head head;

    *ret_fd = -1;
    if (connect_to(socket, deadline_ms, &fd, err) < 0 ||
        send_request(fd, path, deadline_ms, err) < 0 || read_head(fd, deadline_ms, &head, err) < 0)
        return -1;
    if (head.status != 101 && head.status != 200) {
        read_refusal(fd, &head, deadline_ms, ret_reply);
        return 0;
    }
    /* A 200 with a length or with chunks is a reply, not a stream. */
    if (head.length >= 0 || head.is_chunked)
        return err_set(err, ERR_PEER, "engine answered the attach with a body, not a stream");
    ret_reply->status = head.status;
    *ret_fd = take_fd(&fd);
    return 0;
}
