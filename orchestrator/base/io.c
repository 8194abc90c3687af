#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"

int io_wait(int fd, short events, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int n = poll(&p, 1, clock_left_ms(deadline_ms));

        if (n >= 0)
            return n;
        if (errno != EINTR)
            return -1;
    }
}

static int wait_for(int fd, short events, int64_t deadline_ms, struct err *err)
{
    int n = io_wait(fd, events, deadline_ms);

    if (n < 0)
        return err_sys(err, "poll");
    if (n == 0)
        return err_set(err, ERR_TIMEOUT, "deadline passed");
    return 0;
}

static void skip(struct iovec **iov, int *n, size_t done)
{
    while (*n && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

enum sink { SINK_SOCKET, SINK_PIPE, SINK_FILE };

static enum sink sink_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? SINK_PIPE : SINK_FILE;
}

/*
 * Sockets get MSG_NOSIGNAL; pipes rely on SIGPIPE being ignored in every process of ours. A pipe
 * in blocking mode takes PIPE_BUF bytes without waiting where poll calls it writable.
 */
static ssize_t write_once(int fd, struct iovec *iov, int n, enum sink *sink)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};

    if (*sink == SINK_SOCKET) {
        ssize_t k = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (k >= 0 || errno != ENOTSOCK)
            return k;
        *sink = sink_of(fd);
    }
    if (*sink == SINK_FILE)
        return writev(fd, iov, n);
    if (io_wait(fd, POLLOUT, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, iov->iov_base, iov->iov_len < PIPE_BUF ? iov->iov_len : PIPE_BUF);
}

int io_writev_all(int fd, struct iovec *iov, int n, int64_t deadline_ms, struct err *err)
{
    enum sink sink = SINK_SOCKET;

    skip(&iov, &n, 0);
    while (n) {
        ssize_t k = write_once(fd, iov, n, &sink);

        if (k >= 0) {
            skip(&iov, &n, (size_t)k);
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EPIPE || errno == ECONNRESET)
            return err_set(err, ERR_PEER, "the other side is gone");
        if (errno != EAGAIN)
            return err_sys(err, "write");
        /* Looked at here too: a reader that always takes a little must not move the deadline. */
        if (clock_left_ms(deadline_ms) == 0)
            return err_set(err, ERR_TIMEOUT, "deadline passed");
        if (wait_for(fd, POLLOUT, deadline_ms, err) < 0)
            return -1;
    }
    return 0;
}

int io_write_all(int fd, const void *data, size_t n, int64_t deadline_ms, struct err *err)
{
    union {
        const void *in;
        void *out;
    } p = {.in = data};
    struct iovec iov = {.iov_base = p.out, .iov_len = n};

    return io_writev_all(fd, &iov, 1, deadline_ms, err);
}

ssize_t io_read_some(int fd, void *out, size_t n, int64_t deadline_ms, struct err *err)
{
    for (;;) {
        ssize_t k;

        if (wait_for(fd, POLLIN, deadline_ms, err) < 0)
            return -1;
        k = read(fd, out, n);
        if (k >= 0)
            return k;
        if (errno == ECONNRESET)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            return err_sys(err, "read");
    }
}

int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len, struct err *err)
{
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, max);
    if (fd < 0)
        return err_sys(err, "open '%s'", path);
    for (;;) {
        char chunk[16384];
        ssize_t k = read(fd, chunk, sizeof(chunk));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(err, "read '%s'", path);
        if (k == 0)
            break;
        if (buf_add(&b, chunk, (size_t)k) < 0)
            return err_set(err, ERR_LIMIT, "'%s' is over %zu bytes", path, max);
    }
    *ret_len = b.len;
    *ret_data = buf_take(&b);
    return 0;
}

int io_set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -1;
    return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void io_want_files(uint64_t n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= n)
        return;
    limit.rlim_cur = limit.rlim_max < n ? limit.rlim_max : n;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

union fd_control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

int io_send_msg(int sock, const void *data, size_t n, int fd)
{
    union {
        const void *in;
        void *out;
    } p = {.in = data};
    struct iovec iov = {.iov_base = p.out, .iov_len = n};
    union fd_control control = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t k;

    if (fd >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof(control.room);
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    }
    do
        k = sendmsg(sock, &m, MSG_NOSIGNAL);
    while (k < 0 && errno == EINTR);
    return k == (ssize_t)n ? 0 : -1;
}

/* Takes the descriptor out of a message; -1 when there are several, which are closed. */
static int take_descriptors(struct msghdr *m, int *ret_fd)
{
    int count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++, count++) {
            if (count)
                (void)close(*ret_fd);
            memcpy(ret_fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        }
    }
    if (count <= 1)
        return 0;
    (void)close(*ret_fd);
    *ret_fd = -1;
    return -1;
}

ssize_t io_recv_msg(int sock, void *data, size_t n, int *ret_fd)
{
    struct iovec iov = {.iov_base = data, .iov_len = n};
    union fd_control control = {0};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};
    ssize_t k;

    *ret_fd = -1;
    do
        k = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    while (k < 0 && errno == EINTR);
    if (k < 0)
        return errno == ECONNRESET ? 0 : -1;
    if (take_descriptors(&m, ret_fd) < 0) {
        errno = EPROTO;
        return -1;
    }
    if (m.msg_flags & MSG_TRUNC) {
        close_p(ret_fd);
        *ret_fd = -1;
        errno = EMSGSIZE;
        return -1;
    }
    return k;
}
