#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "relay_rig.h"

static struct rig rig;
static uint8_t data[4 * RELAY_WINDOW];

static void set_up(void)
{
    rig_init(&rig);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 13 + i / 253);
}

static void tear_down(void)
{
    rig_done(&rig);
}

/* All that comes up to the end; `*ret_end` is the errno of that, 0 for an end of file. */
static size_t read_all(int fd, void *to, size_t cap, int *ret_end)
{
    size_t n = 0;
    ssize_t k = 0;

    while (n < cap && (k = read(fd, (char *)to + n, cap - n)) > 0)
        n += (size_t)k;
    *ret_end = k < 0 ? errno : 0;
    return n;
}

/* ---- what works ---- */

START_TEST(bytes_go_both_ways_and_so_do_ends)
{
    int fd = rig_connect(&rig, 1), end;
    struct frame f;
    char text[20] = "";

    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, "question", 8));
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert_uint_eq(read_all(fd, text, sizeof(text), &end), 8);
    ck_assert_str_eq(text, "question");
    ck_assert_int_eq(end, 0);
    ck_assert_int_eq(write(fd, "answer", 6), 6);
    f = rig_expect(&rig, FRAME_RELAY_DATA, 1);
    ck_assert_uint_eq(f.len, 6);
    ck_assert_mem_eq(f.data, "answer", 6);
    (void)close(fd);
    ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_CLOSE, 1).len, 0);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_OK], 1);
    ck_assert_uint_eq(rig.counts.up, 8);
    ck_assert_uint_eq(rig.counts.down, 6);
}
END_TEST

START_TEST(a_name_is_looked_up_once_and_by_the_front)
{
    int fd;

    ck_assert_ptr_null(rig_open(&rig, 1, "NAMED:1"));
    rig_expect(&rig, FRAME_RELAY_OPEN, 1);
    fd = accept4(rig.target, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(rig_asked, 1);
    (void)close(fd);
}
END_TEST

START_TEST(no_more_is_read_than_the_program_takes)
{
    int fd = rig_connect(&rig, 1);
    size_t got = 0;

    ck_assert_int_gt(send(fd, data, sizeof(data), MSG_DONTWAIT), RELAY_WINDOW);
    while (got < RELAY_WINDOW) {
        struct frame f = rig_expect(&rig, FRAME_RELAY_DATA, 1);

        ck_assert_mem_eq(f.data, data + got, f.len);
        got += f.len;
    }
    ck_assert_uint_eq(got, RELAY_WINDOW);
    ck_assert_int_eq(rig_next_within(&rig, 0).type, 0);
    ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_MORE, 1, 10));
    ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_DATA, 1).len, 10);
    (void)close(fd);
}
END_TEST

/* Until the kernel takes no more: then one window waits here. How much it is. */
static uint64_t fill_up(void)
{
    struct frame f = {.type = FRAME_RELAY_MORE};
    uint64_t sent = 0;

    while (f.type == FRAME_RELAY_MORE) {
        uint32_t n = sent ? le_get32(f.data) : RELAY_WINDOW;

        ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, n));
        sent += n;
        f = rig_next_within(&rig, 200);
    }
    ck_assert_int_eq(f.type, 0);
    return sent;
}

static void take_all(int fd, uint64_t n)
{
    auto_free uint8_t *all = xmalloc(n + 1);

    for (uint64_t got = 0; got < n;) {
        ssize_t k = recv(fd, all, n, MSG_DONTWAIT);

        got += k > 0 ? (uint64_t)k : 0;
        rig_turn(&rig, clock_ms() + 10);
    }
}

START_TEST(what_the_target_does_not_take_waits_and_gives_no_credit)
{
    int fd = rig_connect(&rig, 1), end;
    uint64_t sent = fill_up();
    uint8_t byte;

    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_CLOSE, 1, NULL, 0));
    take_all(fd, sent);
    ck_assert_uint_eq(read_all(fd, &byte, 1, &end), 0);
    ck_assert_int_eq(end, 0);
    (void)close(fd);
}
END_TEST

START_TEST(what_waited_is_not_the_end)
{
    int fd = rig_connect(&rig, 1), end;
    uint8_t got[11];

    take_all(fd, fill_up());
    while (rig_next_within(&rig, 0).type) /* credit, for all of it */
        continue;
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, 10));
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert_uint_eq(read_all(fd, got, sizeof(got), &end), 10);
    ck_assert_mem_eq(got, data, 10);
    ck_assert_int_eq(end, 0);
    (void)close(fd);
}
END_TEST

START_TEST(a_stalled_connection_does_not_stop_another)
{
    int stalled = rig_connect(&rig, 1), other = rig_connect(&rig, 2);
    struct frame f = {.type = FRAME_RELAY_MORE};

    while (f.type == FRAME_RELAY_MORE) {
        ck_assert_ptr_null(
            rig_say(&rig, FRAME_RELAY_DATA, 1, data, f.data ? le_get32(f.data) : RELAY_WINDOW));
        f = rig_next_within(&rig, 100);
    }
    ck_assert_int_eq(write(other, "x", 1), 1);
    ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_DATA, 2).len, 1);
    (void)close(stalled);
    (void)close(other);
}
END_TEST

START_TEST(connections_take_turns)
{
    int first = rig_connect(&rig, 1), second = rig_connect(&rig, 2);

    ck_assert_int_eq(send(first, data, RELAY_WINDOW, 0), RELAY_WINDOW);
    ck_assert_int_eq(send(second, data, RELAY_WINDOW, 0), RELAY_WINDOW);
    rig_turn(&rig, clock_ms() + 100);
    rig_expect(&rig, FRAME_RELAY_DATA, 1);
    rig_expect(&rig, FRAME_RELAY_DATA, 2);
    (void)close(first);
    (void)close(second);
}
END_TEST

START_TEST(what_was_sent_is_delivered_when_the_program_is_gone)
{
    int fd = rig_connect(&rig, 1), end;
    uint64_t sent = 0, got = 0;
    struct frame f = {.type = FRAME_RELAY_MORE};
    uint8_t *sink;

    while (f.type == FRAME_RELAY_MORE) {
        uint32_t n = sent ? le_get32(f.data) : RELAY_WINDOW;

        ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, n));
        sent += n;
        f = rig_next_within(&rig, 100);
    }
    if (_i == 0)
        relay_end(rig.relay);
    else
        ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_CLOSE, 1, ECONNRESET));
    ck_assert(relay_is_delivering(rig.relay));
    sink = xmalloc(sent);
    while (got < sent) {
        ssize_t n = recv(fd, sink, sent, MSG_DONTWAIT);

        got += n > 0 ? (uint64_t)n : 0;
        rig_turn(&rig, clock_ms() + 10);
    }
    ck_assert_uint_eq(got, sent);
    ck_assert(!relay_is_delivering(rig.relay));
    ck_assert_uint_eq(read_all(fd, sink, 1, &end), 0);
    ck_assert_uint_eq(rig.counts.up, sent);
    free(sink);
    (void)close(fd);
}
END_TEST

/* ---- what is refused ---- */

static const struct {
    const char *target;
    int number;
    enum relay_verdict verdict;
} refusals[] = {
    {"other:1",               RELAY_NOT_LISTED, RELAY_UNLISTED},
    {"db:2",                  RELAY_NOT_LISTED, RELAY_UNLISTED},
    {"here.test:81",          RELAY_NOT_LISTED, RELAY_UNLISTED},
    {"closed:1",              RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"rebound:1",             RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"meta:1",                RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"127.0.0.1:80",          RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"10.0.0.1:443",          RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"[::1]:80",              RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"[::ffff:127.0.0.1]:80", RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"2130706433:80",         RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"0x7f.1:80",             RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"here.test:80",          RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"meta.test:80",          RELAY_NOT_PUBLIC, RELAY_CLOSED  },
    {"gone:1",                RELAY_NO_NAME,    RELAY_NAME    },
    {"db",                    RELAY_NO_NAME,    RELAY_NAME    },
    {"db:0",                  RELAY_NO_NAME,    RELAY_NAME    },
    {"d b:1",                 RELAY_NO_NAME,    RELAY_NAME    },
    {"db:1\n",                RELAY_NO_NAME,    RELAY_NAME    },
    {"[2001:db8:1]:80",       RELAY_NO_NAME,    RELAY_NAME    },
    {"nobody.test:443",       RELAY_NO_NAME,    RELAY_NAME    },
};

START_TEST(a_target_that_may_not_be_reached_is_refused)
{
    ck_assert_ptr_null(rig_open(&rig, 1, refusals[_i].target));
    rig_expect_refusal(&rig, 1, refusals[_i].number);
    ck_assert_uint_eq(rig.counts.verdicts[refusals[_i].verdict], 1);
    /* What the warden had sent before it knew. */
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, "late", 4));
}
END_TEST

START_TEST(without_internet_no_name_is_looked_up)
{
    rig.policy.relay_internet = false;
    ck_assert_ptr_null(rig_open(&rig, 1, "nobody.test:443"));
    rig_expect_refusal(&rig, 1, RELAY_NOT_LISTED);
    ck_assert_uint_eq(rig_asked, 0);
}
END_TEST

START_TEST(a_target_that_is_down_is_refused_with_its_errno)
{
    (void)close(rig.target);
    ck_assert_ptr_null(rig_open(&rig, 1, "db:1"));
    rig_expect_refusal(&rig, 1, ECONNREFUSED);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_DOWN], 1);
    rig.target = -1;
}
END_TEST

/* As a firewall of the machine's does. */
static void forbid_connect(int number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)number),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_LEN(code), .filter = code};

    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

START_TEST(what_the_machine_forbids_is_not_put_on_the_policy)
{
    forbid_connect(_i == 0 ? EACCES : EPERM);
    ck_assert_ptr_null(rig_open(&rig, 1, "db:1"));
    rig_expect_refusal(&rig, 1, EHOSTUNREACH);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_DOWN], 1);
}
END_TEST

START_TEST(a_name_that_takes_too_long_times_out)
{
    rig.policy.relay_connect_ms = 50;
    rig_is_gate_shut = true;
    ck_assert_ptr_null(rig_open(&rig, 1, "named:1"));
    rig_expect_refusal(&rig, 1, RELAY_NO_ANSWER);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_NAME], 1);
}
END_TEST

/* A queue of connections that is full: no answer at all. */
START_TEST(a_target_that_does_not_answer_times_out)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(rig.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fds[4];

    ck_assert_int_eq(listen(rig.target, 0), 0);
    for (int i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&a, sizeof(a));
    }
    rig.policy.relay_connect_ms = 100;
    ck_assert_ptr_null(rig_open(&rig, 1, "db:1"));
    rig_expect_refusal(&rig, 1, RELAY_NO_ANSWER);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_TIMEOUT], 1);
    for (int i = 0; i < 4; i++)
        (void)close(fds[i]);
}
END_TEST

START_TEST(one_run_does_not_take_the_resolver_for_itself)
{
    rig_is_gate_shut = true;
    for (uint16_t id = 1; id <= 6; id++)
        ck_assert_ptr_null(rig_open(&rig, id, "gone:1"));
    rig_wait_at_gate(2);
    rig_turn(&rig, clock_ms());
    ck_assert_uint_eq(rig_asked, 2);
    rig_open_gate();
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(rig_next_within(&rig, RIG_WAIT_MS).type, FRAME_RELAY_CLOSE);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_NAME], 6);
}
END_TEST

/* Its threads are busy with them all the same, and others need some. */
START_TEST(lookups_that_are_not_waited_for_count_until_they_are_over)
{
    rig.policy.relay_connect_ms = 20;
    rig_is_gate_shut = true;
    for (uint16_t id = 1; id <= 6; id++) {
        ck_assert_ptr_null(rig_open(&rig, id, "gone:1"));
        rig_expect_refusal(&rig, id, RELAY_NO_ANSWER);
    }
    rig_wait_at_gate(2);
    ck_assert_uint_eq(rig_asked, 2);
    ck_assert_ptr_null(rig_open(&rig, 7, "gone:1"));
    ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_CLOSE, 7, ECONNRESET));
    rig_open_gate();
    rig.policy.relay_connect_ms = RIG_WAIT_MS;
    ck_assert_ptr_null(rig_open(&rig, 8, "gone:1"));
    rig_expect_refusal(&rig, 8, RELAY_NO_NAME);
    ck_assert_uint_eq(rig_asked, 3);
}
END_TEST

START_TEST(a_program_that_does_not_wait_is_noted)
{
    rig_is_gate_shut = true;
    ck_assert_ptr_null(rig_open(&rig, 1, "named:1"));
    rig_wait_at_gate(1);
    ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_CLOSE, 1, ECONNRESET));
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_CANCELLED], 1);
    rig_open_gate();
    ck_assert_int_eq(rig_next_within(&rig, 20).type, 0);
}
END_TEST

START_TEST(a_reset_by_the_target_is_passed_on)
{
    int fd = rig_connect(&rig, 1);
    struct linger now = {.l_onoff = 1};

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    (void)close(fd);
    rig_expect_refusal(&rig, 1, ECONNRESET);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_OK], 1);
}
END_TEST

/* ---- limits ---- */

START_TEST(connections_at_once_are_bounded)
{
    int fds[2];

    rig.policy.relay_connections = 2;
    fds[0] = rig_connect(&rig, 1);
    fds[1] = rig_connect(&rig, 2);
    ck_assert_ptr_null(rig_open(&rig, 3, "db:1"));
    rig_expect_refusal(&rig, 3, RELAY_TOO_MANY);
    ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_CLOSE, 1, ECONNRESET));
    (void)close(fds[0]);
    fds[0] = rig_connect(&rig, 4);
    (void)close(fds[0]);
    (void)close(fds[1]);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_LIMIT], 1);
}
END_TEST

START_TEST(connections_of_a_run_are_bounded)
{
    rig.policy.relay_opened = 3;
    for (uint16_t id = 1; id <= 5; id++) {
        ck_assert_ptr_null(rig_open(&rig, id, "other:1"));
        rig_expect_refusal(&rig, id, id <= 3 ? RELAY_NOT_LISTED : RELAY_TOO_MANY);
    }
}
END_TEST

START_TEST(bytes_of_a_run_are_bounded_both_ways)
{
    int fd, other;

    rig.policy.relay_bytes = 1000;
    fd = rig_connect(&rig, 1);
    other = rig_connect(&rig, 2);
    if (_i == 0) {
        ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, 1000));
        ck_assert_int_eq(rig_next_within(&rig, 20).type, 0);
        ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 2, data, 1));
    } else {
        ck_assert_int_eq(write(fd, data, 1000), 1000);
        ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_DATA, 1).len, 1000);
        ck_assert_int_eq(rig_next_within(&rig, 20).type, 0);
        ck_assert_int_eq(write(other, data, 1), 1);
    }
    for (int i = 0; i < 2; i++) {
        struct frame f = rig_next_within(&rig, RIG_WAIT_MS);

        ck_assert_int_eq(f.type, FRAME_RELAY_CLOSE);
        ck_assert_int_eq((int)le_get32(f.data), RELAY_TOO_MUCH);
    }
    ck_assert_ptr_null(rig_open(&rig, 3, "db:1"));
    rig_expect_refusal(&rig, 3, RELAY_TOO_MUCH);
    ck_assert_uint_eq(rig.counts.up + rig.counts.down, 1000);
    (void)close(fd);
    (void)close(other);
}
END_TEST

START_TEST(the_last_byte_that_is_allowed_may_be_followed_by_the_end)
{
    int fd, end;
    uint8_t got[1001];

    rig.policy.relay_bytes = 1000;
    fd = rig_connect(&rig, 1);
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, 400));
    ck_assert_int_eq(write(fd, data, 600), 600);
    ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_DATA, 1).len, 600);
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert_uint_eq(read_all(fd, got, sizeof(got), &end), 400);
    (void)close(fd);
    ck_assert_uint_eq(rig_expect(&rig, FRAME_RELAY_CLOSE, 1).len, 0);
    ck_assert_uint_eq(rig.counts.verdicts[RELAY_OK], 1);
}
END_TEST

/* What a limit cuts off had been connected: it stands in the log like any other. */
START_TEST(connections_that_a_limit_ends_are_all_in_the_log)
{
    enum { N = 3 };
    int fds[N], log = memfd_create("log", MFD_CLOEXEC);
    char text[8192] = "";
    const char *p = text;
    size_t lines = 0;

    log_init("test", LOG_INFO, LOG_TEXT, log);
    rig.policy.relay_bytes = 10;
    for (uint16_t i = 0; i < N; i++)
        fds[i] = rig_connect(&rig, (uint16_t)(i + 1));
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, 11));
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(rig_next_within(&rig, RIG_WAIT_MS).type, FRAME_RELAY_CLOSE);
    for (uint16_t i = N; i < 2 * N; i++) {
        ck_assert_ptr_null(rig_open(&rig, (uint16_t)(i + 1), "db:1"));
        rig_expect_refusal(&rig, (uint16_t)(i + 1), RELAY_TOO_MUCH);
    }
    ck_assert_int_gt(pread(log, text, sizeof(text) - 1, 0), 0);
    while ((p = strstr(p, "verdict=\"limit\""))) {
        lines++;
        p++;
    }
    ck_assert_uint_eq(lines, N + 1);
    for (int i = 0; i < N; i++)
        (void)close(fds[i]);
}
END_TEST

/* More than any bound on them: while there are slots for all, none has to go before its time. */
START_TEST(connections_that_linger_count_and_keep_their_bytes)
{
    enum { N = 40 };
    int fds[N];
    uint64_t sent = 0, got = 0;

    rig.policy.relay_connections = N;
    for (uint16_t id = 1; id <= N; id++) {
        struct frame f = {.type = FRAME_RELAY_MORE};

        fds[id - 1] = rig_connect(&rig, id);
        while (f.type == FRAME_RELAY_MORE) {
            uint32_t n = f.data ? le_get32(f.data) : RELAY_WINDOW;

            ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, id, data, n));
            sent += n;
            f = rig_next_within(&rig, 5);
        }
        ck_assert_ptr_null(rig_say_number(&rig, FRAME_RELAY_CLOSE, id, ECONNRESET));
    }
    ck_assert_ptr_null(rig_open(&rig, N + 1, "db:1"));
    rig_expect_refusal(&rig, N + 1, RELAY_TOO_MANY);
    while (got < sent) {
        for (int i = 0; i < N; i++) {
            ssize_t n = recv(fds[i], data, sizeof(data), MSG_DONTWAIT);

            got += n > 0 ? (uint64_t)n : 0;
        }
        rig_turn(&rig, clock_ms() + 1);
    }
    ck_assert_uint_eq(rig.counts.up, sent);
    for (int i = 0; i < N; i++)
        (void)close(fds[i]);
}
END_TEST

/* ---- breaches ---- */

START_TEST(what_no_warden_sends_is_a_breach)
{
    static const char nul[] = "db:1\0x";
    uint8_t longest[RELAY_TARGET_MAX];
    int fd;

    memset(longest, 'a', sizeof(longest));
    ck_assert_ptr_nonnull(rig_open(&rig, 0, "db:1"));
    ck_assert_ptr_nonnull(rig_open(&rig, 1, ""));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_OPEN, 1, nul, sizeof(nul)));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_OPEN, 1, longest, sizeof(longest)));
    ck_assert_ptr_nonnull(rig_open(&rig, RELAY_IDS + 1, "db:1"));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_DATA, 1, "x", 1));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_DATA, 0, "x", 1));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_CLOSE, 2, NULL, 0));
    fd = rig_connect(&rig, 5);
    ck_assert_ptr_nonnull(rig_open(&rig, 5, "db:1"));
    ck_assert_ptr_nonnull(rig_open(&rig, 4, "db:1"));
    ck_assert_ptr_nonnull(rig_say_number(&rig, FRAME_RELAY_MORE, 5, 1));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_MORE, 5, "xxx", 3));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_CLOSE, 5, "x", 1));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_STDOUT, 5, "x", 1));
    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_CLOSE, 5, NULL, 0));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_CLOSE, 5, NULL, 0));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_DATA, 5, "x", 1));
    (void)close(fd);
}
END_TEST

START_TEST(data_before_the_answer_is_a_breach)
{
    rig_is_gate_shut = true;
    ck_assert_ptr_null(rig_open(&rig, 1, "named:1"));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_DATA, 1, "x", 1));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_CLOSE, 1, NULL, 0));
}
END_TEST

START_TEST(more_than_the_window_is_a_breach)
{
    int fd = rig_connect(&rig, 1);

    ck_assert_ptr_null(rig_say(&rig, FRAME_RELAY_DATA, 1, data, RELAY_WINDOW));
    ck_assert_ptr_nonnull(rig_say(&rig, FRAME_RELAY_DATA, 1, data, 1));
    (void)close(fd);
}
END_TEST

START_TEST(more_connections_than_a_warden_has_are_a_breach)
{
    rig_is_gate_shut = true;
    rig.policy.relay_connections = RELAY_CONNS;
    for (uint16_t id = 1; id <= RELAY_CONNS; id++)
        ck_assert_ptr_null(rig_open(&rig, id, "named:1"));
    ck_assert_ptr_nonnull(rig_open(&rig, RELAY_CONNS + 1, "named:1"));
    rig_open_gate();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 20);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, bytes_go_both_ways_and_so_do_ends);
    tcase_add_test(t, a_name_is_looked_up_once_and_by_the_front);
    tcase_add_test(t, no_more_is_read_than_the_program_takes);
    tcase_add_test(t, what_the_target_does_not_take_waits_and_gives_no_credit);
    tcase_add_test(t, what_waited_is_not_the_end);
    tcase_add_test(t, a_stalled_connection_does_not_stop_another);
    tcase_add_test(t, connections_take_turns);
    tcase_add_loop_test(t, what_was_sent_is_delivered_when_the_program_is_gone, 0, 2);
    tcase_add_loop_test(t, a_target_that_may_not_be_reached_is_refused, 0,
                        sizeof(refusals) / sizeof(*refusals));
    tcase_add_test(t, without_internet_no_name_is_looked_up);
    tcase_add_test(t, a_target_that_is_down_is_refused_with_its_errno);
    tcase_add_loop_test(t, what_the_machine_forbids_is_not_put_on_the_policy, 0, 2);
    tcase_add_test(t, a_name_that_takes_too_long_times_out);
    tcase_add_test(t, a_target_that_does_not_answer_times_out);
    tcase_add_test(t, one_run_does_not_take_the_resolver_for_itself);
    tcase_add_test(t, lookups_that_are_not_waited_for_count_until_they_are_over);
    tcase_add_test(t, a_program_that_does_not_wait_is_noted);
    tcase_add_test(t, a_reset_by_the_target_is_passed_on);
    tcase_add_test(t, connections_at_once_are_bounded);
    tcase_add_test(t, connections_of_a_run_are_bounded);
    tcase_add_loop_test(t, bytes_of_a_run_are_bounded_both_ways, 0, 2);
    tcase_add_test(t, the_last_byte_that_is_allowed_may_be_followed_by_the_end);
    tcase_add_test(t, connections_that_a_limit_ends_are_all_in_the_log);
    tcase_add_test(t, connections_that_linger_count_and_keep_their_bytes);
    tcase_add_test(t, what_no_warden_sends_is_a_breach);
    tcase_add_test(t, data_before_the_answer_is_a_breach);
    tcase_add_test(t, more_than_the_window_is_a_breach);
    tcase_add_test(t, more_connections_than_a_warden_has_are_a_breach);
}

UNIT_MAIN("relay", add_tests)
