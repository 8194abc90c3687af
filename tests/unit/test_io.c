#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "unit.h"

enum { SOON = 50, LATER = 20000, PLENTY = 3 * 1024 * 1024 };

static int ends[2];

static void open_socket(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void open_pipe(int flags)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | flags), 0);
}

static void open_messages(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

START_TEST(descriptors_are_wanted_up_to_what_is_allowed)
{
    struct rlimit limit;
    rlim_t max;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    max = limit.rlim_max; /* which valgrind allows nobody to lower */
    limit.rlim_cur = 64;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    io_want_files(32);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, 64);
    io_want_files(100);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, 100);
    io_want_files(max + 1);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, max);
    ck_assert_uint_eq(limit.rlim_max, max);
}
END_TEST

static void on_alarm(int sig)
{
    (void)sig;
}

/*
 * From now on every system call that waits is interrupted again and again, with time left between
 * for what was interrupted.
 */
static void interrupt_everything(void)
{
    struct sigaction act = {.sa_handler = on_alarm}; /* without SA_RESTART */
    struct timeval pause = {.tv_usec = patient(700)};
    struct itimerval often = {.it_interval = pause, .it_value = pause};

    ck_assert_int_eq(sigaction(SIGALRM, &act, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- waiting ---- */

START_TEST(waits_until_ready_gone_or_late)
{
    int64_t began = clock_ms();

    open_socket();
    ck_assert_int_eq(io_wait(ends[0], POLLOUT, 0), 1);
    ck_assert_int_eq(io_wait(ends[0], POLLIN, 0), 0);
    ck_assert_int_eq(io_wait(ends[0], POLLIN, began + patient(SOON)), 0);
    ck_assert_int_ge(clock_ms(), began + patient(SOON));
    (void)close(ends[1]);
    ck_assert_int_eq(io_wait(ends[0], POLLIN, INT64_MAX), 1);
}
END_TEST

START_TEST(a_wait_outlives_interruptions_and_keeps_its_deadline)
{
    int64_t began = clock_ms();

    open_socket();
    interrupt_everything();
    ck_assert_int_eq(io_wait(ends[0], POLLIN, began + patient(SOON)), 0);
    ck_assert_int_ge(clock_ms(), began + patient(SOON));
    ck_assert_int_lt(clock_ms(), began + patient(LATER));
}
END_TEST

/* poll(2) fails for more descriptors than a process may have, which valgrind does not imitate. */
static void forbid_poll(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(poll), 0), 0);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(ppoll), 0), 0);
    ck_assert_int_eq(seccomp_load(ctx), 0);
    seccomp_release(ctx);
}

START_TEST(a_wait_that_is_not_possible_fails)
{
    struct err e = {0};
    char c;

    open_socket();
    forbid_poll();
    ck_assert_int_eq(io_wait(ends[0], POLLIN, 0), -1);
    ck_assert_int_eq(io_read_some(ends[0], &c, 1, 0, &e), -1);
    ck_assert_int_eq(e.sys, EINVAL);
}
END_TEST

/* ---- writing ---- */

struct transfer {
    int fd;
    size_t step; /* bytes of a read */
    unsigned char *got;
    size_t n;
};

static void *read_all(void *arg)
{
    struct transfer *t = arg;
    ssize_t k;

    for (;;) {
        size_t room = PLENTY - t->n < t->step ? PLENTY - t->n : t->step;

        k = read(t->fd, t->got + t->n, room ? room : 1);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return NULL;
        t->n += (size_t)k;
    }
}

static const struct way {
    const char *name;
    bool is_socket;
    int flags;
    bool interrupted;
    size_t step;
} ways[] = {
    {"socket",               true,  0,          false, 65536},
    {"socket, non-blocking", true,  O_NONBLOCK, false, 977  },
    {"socket, interrupted",  true,  0,          true,  3001 },
    {"pipe",                 false, 0,          false, 65536},
    {"pipe, non-blocking",   false, O_NONBLOCK, false, 977  },
    {"pipe, interrupted",    false, 0,          true,  3001 },
};

START_TEST(everything_arrives_in_order)
{
    const struct way *w = &ways[_i];
    auto_free unsigned char *data = xmalloc(PLENTY), *got = xmalloc(PLENTY + 1);
    struct iovec iov[4] = {
        {data,       0           },
        {data,       7           },
        {data + 7,   100         },
        {data + 107, PLENTY - 107}
    };
    struct transfer t = {.step = w->step, .got = got};
    struct err e = {0};
    pthread_t reader;
    int size = 4096;

    random_bytes(data, PLENTY);
    if (w->is_socket)
        open_socket();
    else
        open_pipe(0);
    (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ck_assert_int_eq(io_set_nonblocking(ends[1], w->flags & O_NONBLOCK), 0);
    t.fd = ends[0];
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, &t), 0);
    if (w->interrupted)
        interrupt_everything();
    ck_assert_msg(io_writev_all(ends[1], iov, 4, clock_ms() + patient(LATER), &e) == 0, "%s: %s",
                  w->name, e.msg);
    (void)close(ends[1]);
    (void)pthread_join(reader, NULL);
    ck_assert_uint_eq(t.n, PLENTY);
    ck_assert_mem_eq(got, data, PLENTY);
}
END_TEST

/* The write end of a pair that nobody reads. */
static int unread(const struct way *w)
{
    if (w->is_socket)
        open_socket();
    else
        open_pipe(0);
    ck_assert_int_eq(io_set_nonblocking(ends[1], w->flags & O_NONBLOCK), 0);
    return ends[1];
}

START_TEST(a_write_to_nobody_ends_at_its_deadline)
{
    auto_free char *data = xcalloc(PLENTY, 1);
    int64_t began = clock_ms();
    struct err e = {0};

    ck_assert_int_eq(io_write_all(unread(&ways[_i]), data, PLENTY, began + patient(SOON), &e), -1);
    ck_assert_int_eq(e.kind, ERR_TIMEOUT);
    ck_assert_int_ge(clock_ms(), began + patient(SOON));
    ck_assert_int_lt(clock_ms(), began + patient(LATER));
    /* Full now: the next one has no time at all. */
    ck_assert_int_eq(io_write_all(ends[1], data, PLENTY, 0, &e), -1);
    ck_assert_int_eq(e.kind, ERR_TIMEOUT);
}
END_TEST

static void *trickle(void *arg)
{
    struct transfer *t = arg;
    char some[2000];

    while (read(t->fd, some, sizeof(some)) > 0 && !__atomic_load_n(&t->n, __ATOMIC_SEQ_CST))
        (void)poll(NULL, 0, 1);
    return NULL;
}

START_TEST(a_reader_that_takes_a_little_does_not_move_the_deadline)
{
    auto_free char *data = xcalloc(64, PLENTY);
    struct transfer t = {0};
    int64_t began = clock_ms();
    struct err e = {0};
    pthread_t reader;
    int fd = unread(&ways[_i]);

    t.fd = ends[0];
    ck_assert_int_eq(pthread_create(&reader, NULL, trickle, &t), 0);
    ck_assert_int_eq(io_write_all(fd, data, 64UL * PLENTY, began + patient(3 * SOON), &e), -1);
    ck_assert_int_eq(e.kind, ERR_TIMEOUT);
    ck_assert_int_lt(clock_ms(), began + patient(LATER / 2));
    __atomic_store_n(&t.n, 1, __ATOMIC_SEQ_CST);
    (void)close(ends[1]);
    (void)pthread_join(reader, NULL);
}
END_TEST

START_TEST(a_reader_that_is_gone_is_a_peer_that_is_gone)
{
    struct err e = {0};

    (void)signal(SIGPIPE, ways[_i].is_socket ? SIG_DFL : SIG_IGN);
    (void)unread(&ways[_i]);
    (void)close(ends[0]);
    ck_assert_int_eq(io_write_all(ends[1], "x", 1, clock_ms() + patient(LATER), &e), -1);
    ck_assert_int_eq(e.kind, ERR_PEER);
}
END_TEST

START_TEST(nothing_is_written_without_a_system_call)
{
    struct iovec iov[2] = {{0}};

    ck_assert_int_eq(io_write_all(-1, "", 0, 0, NULL), 0);
    ck_assert_int_eq(io_writev_all(-1, iov, 2, 0, NULL), 0);
}
END_TEST

START_TEST(a_bad_descriptor_is_told_by_its_errno)
{
    struct err e = {0};
    char c;
    int rd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(io_write_all(-1, "x", 1, 0, &e), -1);
    ck_assert_int_eq(e.sys, EBADF);
    ck_assert_int_eq(io_write_all(rd, "x", 1, 0, &e), -1);
    ck_assert_int_eq(e.sys, EBADF);
    ck_assert_int_eq(io_read_some(open("/", O_RDONLY | O_CLOEXEC), &c, 1, 0, &e), -1);
    ck_assert_int_eq(e.sys, EISDIR);
    ck_assert_int_eq(io_set_nonblocking(-1, true), -1);
}
END_TEST

START_TEST(files_are_written_whole)
{
    char path[] = "/tmp/oneshot-io-XXXXXX";
    auto_free char *data = xmalloc(PLENTY), *back = NULL;
    auto_fd int fd = mkstemp(path);
    struct iovec iov[2] = {
        {data,        1000         },
        {data + 1000, PLENTY - 1000}
    };
    struct err e = {0};
    size_t n;

    random_bytes(data, PLENTY);
    ck_assert_int_eq(io_writev_all(fd, iov, 2, 0, &e), 0);
    ck_assert_int_eq(io_read_file(path, PLENTY, &back, &n, &e), 0);
    ck_assert_uint_eq(n, PLENTY);
    ck_assert_mem_eq(back, data, n);
    (void)unlink(path);
}
END_TEST

/* ---- reading ---- */

START_TEST(reads_what_is_there_and_the_end)
{
    struct err e = {0};
    char got[10];

    open_socket();
    ck_assert_int_eq(io_set_nonblocking(ends[0], true), 0);
    ck_assert_int_eq(io_read_some(ends[0], got, sizeof(got), clock_ms() + patient(SOON), &e), -1);
    ck_assert_int_eq(e.kind, ERR_TIMEOUT);
    ck_assert_int_eq(send(ends[1], "abc", 3, 0), 3);
    ck_assert_int_eq(io_read_some(ends[0], got, sizeof(got), 0, &e), 3);
    ck_assert_mem_eq(got, "abc", 3);
    (void)close(ends[1]);
    ck_assert_int_eq(io_read_some(ends[0], got, sizeof(got), INT64_MAX, &e), 0);
}
END_TEST

START_TEST(a_reset_is_an_end)
{
    struct err e = {0};
    char got[10];

    open_socket();
    /* Closing with unread bytes resets the connection. */
    ck_assert_int_eq(send(ends[0], "abc", 3, 0), 3);
    (void)close(ends[1]);
    ck_assert_int_eq(io_read_some(ends[0], got, sizeof(got), INT64_MAX, &e), 0);
}
END_TEST

static const struct whole {
    const char *path;
    size_t max;
    enum err_kind kind;
    const char *words;
} wholes[] = {
    {"/proc/self/status", 1 << 20, ERR_NONE,     ""                     },
    {"/proc/self/status", 5,       ERR_LIMIT,    "is over 5 bytes"      },
    {"/dev/null",         0,       ERR_NONE,     ""                     },
    {"/nonexistent/file", 10,      ERR_INTERNAL, "open '/nonexistent/f" },
    {"/",                 10,      ERR_INTERNAL, "read '/': Is a direct"},
};

START_TEST(reads_small_files_whole_or_says_why_not)
{
    const struct whole *w = &wholes[_i];
    auto_free char *data = NULL;
    unsigned before = open_descriptors();
    struct err e = {0};
    size_t n = 99;

    ck_assert_int_eq(io_read_file(w->path, w->max, &data, &n, &e), w->kind ? -1 : 0);
    ck_assert_int_eq(e.kind, w->kind);
    ck_assert_ptr_nonnull(strstr(e.msg, w->words));
    if (w->kind)
        ck_assert_ptr_null(data);
    else
        ck_assert_uint_eq(strlen(data), n);
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* ---- messages ---- */

START_TEST(a_message_arrives_with_its_descriptor)
{
    char got[8] = "";
    int fd = -5, carried[2];

    open_messages();
    ck_assert_int_eq(pipe2(carried, O_CLOEXEC), 0);
    ck_assert_int_eq(io_send_msg(ends[0], "abc", 3, carried[1]), 0);
    ck_assert_int_eq(io_send_msg(ends[0], "de", 2, -1), 0);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 3);
    ck_assert_mem_eq(got, "abc", 3);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_int_eq(read(carried[0], got, 1), 1);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 2);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(a_peer_that_is_gone_sends_nothing)
{
    char got[8];
    int fd;

    open_messages();
    (void)close(ends[0]);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 0);
    ck_assert_int_eq(io_send_msg(ends[1], "x", 1, -1), -1);
    ck_assert_int_eq(errno, EPIPE);
    /* A reset: what was sent to the peer was never read. */
    open_messages();
    ck_assert_int_eq(io_send_msg(ends[1], "x", 1, -1), 0);
    (void)close(ends[0]);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 0);
}
END_TEST

START_TEST(no_message_yet_is_told_by_errno)
{
    char got[8];
    int fd = 7;

    open_messages();
    ck_assert_int_eq(io_set_nonblocking(ends[1], true), 0);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(a_receiver_outlives_interruptions)
{
    char got[8];
    int fd;
    pid_t pid;

    open_messages();
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)poll(NULL, 0, (int)patient(SOON));
        _exit(io_send_msg(ends[0], "abc", 3, -1) == 0 ? 0 : 1);
    }
    interrupt_everything();
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 3);
}
END_TEST

START_TEST(a_message_that_is_too_long_is_refused_with_its_descriptor)
{
    unsigned before;
    char got[4];
    int fd;

    open_messages();
    before = open_descriptors();
    ck_assert_int_eq(io_send_msg(ends[0], "12345", 5, ends[0]), 0);
    ck_assert_int_eq(io_send_msg(ends[0], "1234", 4, -1), 0);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), -1);
    ck_assert_int_eq(errno, EMSGSIZE);
    ck_assert_int_eq(fd, -1);
    ck_assert_uint_eq(open_descriptors(), before);
    ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), 4);
}
END_TEST

static void send_many(int n)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(20 * sizeof(int))];
    } control = {0};
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room};

    m.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)n * sizeof(int)),
                                    .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS};
    for (int i = 0; i < n; i++)
        memcpy(CMSG_DATA(&control.head) + (size_t)i * sizeof(int), &ends[0], sizeof(int));
    ck_assert_int_eq(sendmsg(ends[0], &m, 0), 1);
}

START_TEST(several_descriptors_in_one_message_do_not_stay_open)
{
    unsigned before;
    char got[4];
    int fd;

    open_messages();
    before = open_descriptors();
    for (int n = 2; n <= 20; n++) {
        send_many(n);
        ck_assert_int_eq(io_recv_msg(ends[1], got, sizeof(got), &fd), -1);
        ck_assert_int_eq(errno, EPROTO);
        ck_assert_int_eq(fd, -1);
        ck_assert_uint_eq(open_descriptors(), before);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    int n = ARRAY_LEN(ways);

    tcase_set_timeout(t, 20);
    tcase_add_test(t, waits_until_ready_gone_or_late);
    tcase_add_test(t, a_wait_outlives_interruptions_and_keeps_its_deadline);
    tcase_add_test(t, a_wait_that_is_not_possible_fails);
    tcase_add_loop_test(t, everything_arrives_in_order, 0, n);
    tcase_add_loop_test(t, a_write_to_nobody_ends_at_its_deadline, 0, n);
    tcase_add_loop_test(t, a_reader_that_takes_a_little_does_not_move_the_deadline, 0, n);
    tcase_add_loop_test(t, a_reader_that_is_gone_is_a_peer_that_is_gone, 0, n);
    tcase_add_test(t, nothing_is_written_without_a_system_call);
    tcase_add_test(t, a_bad_descriptor_is_told_by_its_errno);
    tcase_add_test(t, files_are_written_whole);
    tcase_add_test(t, reads_what_is_there_and_the_end);
    tcase_add_test(t, a_reset_is_an_end);
    tcase_add_loop_test(t, reads_small_files_whole_or_says_why_not, 0, ARRAY_LEN(wholes));
    tcase_add_test(t, a_message_arrives_with_its_descriptor);
    tcase_add_test(t, descriptors_are_wanted_up_to_what_is_allowed);
    tcase_add_test(t, a_peer_that_is_gone_sends_nothing);
    tcase_add_test(t, no_message_yet_is_told_by_errno);
    tcase_add_test(t, a_receiver_outlives_interruptions);
    tcase_add_test(t, a_message_that_is_too_long_is_refused_with_its_descriptor);
    tcase_add_test(t, several_descriptors_in_one_message_do_not_stay_open);
}

UNIT_MAIN("io", add_tests)
