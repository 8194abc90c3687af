#include "core/link.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "unit.h"

enum { WAIT_MS = 60000, MEMBER = 9 };

static struct link *keeper_link; /* of the front; this program plays the keeper */
static int keeper, front;        /* `front`: the same socket as the link's */

static void set_up(void)
{
    int pair[2], small = 1;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    keeper = pair[0];
    front = dup(pair[1]);
    ck_assert_int_eq(link_new(pair[1], &keeper_link, NULL), 0);
}

static void tear_down(void)
{
    link_free(keeper_link);
    (void)close(keeper);
    (void)close(front);
}

/* A keeper that has much to do leaves its queue full. */
static void fill_queue(void)
{
    const struct handover m = {.type = HANDOVER_EXTEND, .member = 1};

    while (io_send_msg(front, &m, sizeof(m), -1) == 0)
        continue;
}

/* What the keeper is told first but for EXTEND. */
static struct handover hear(void)
{
    struct handover m = {.type = HANDOVER_EXTEND};
    int fd;

    while (m.type == HANDOVER_EXTEND) {
        ck_assert_int_eq(io_wait(keeper, POLLIN, clock_ms() + WAIT_MS), 1);
        ck_assert_int_eq(io_recv_msg(keeper, &m, sizeof(m), &fd), sizeof(m));
    }
    return m;
}

static void hand_over(uint64_t seq, uint64_t member, int stream)
{
    const struct handover m = {.type = HANDOVER_TAKEN, .seq = seq, .member = member};

    ck_assert_int_eq(io_send_msg(keeper, &m, sizeof(m), stream), 0);
}

/* Clients left while containers were on the way to them: else these live until their deadlines. */
START_TEST(a_container_is_given_back_also_to_a_keeper_that_is_slow)
{
    enum { MANY = 3 };
    struct pollfd p = {.events = POLLIN};

    fill_queue();
    for (uint64_t i = 0; i < MANY; i++) {
        int stream[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
        hand_over(12345 + i, MEMBER + i, stream[1]);
        (void)close(stream[1]);
        p.fd = stream[0];
        ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1); /* the front has closed it */
        (void)close(stream[0]);
        ck_assert(link_is_up(keeper_link)); /* its thread is done with it */
    }
    for (uint64_t i = 0; i < MANY; i++) {
        struct handover m = hear();

        ck_assert_uint_eq(m.type, HANDOVER_DONE);
        ck_assert_uint_eq(m.member, MEMBER + i);
    }
}
END_TEST

START_TEST(what_was_owed_to_one_keeper_is_not_given_to_the_next)
{
    int pair[2], stream[2];

    fill_queue();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    hand_over(12345, MEMBER, stream[1]);
    (void)close(stream[1]);
    ck_assert_int_eq(io_wait(stream[0], POLLIN, clock_ms() + WAIT_MS), 1);
    (void)close(stream[0]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    link_set_fd(keeper_link, pair[1]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    (void)close(keeper);
    keeper = pair[0];
    hand_over(12346, MEMBER + 1, stream[1]);
    (void)close(stream[1]);
    (void)close(stream[0]);
    ck_assert_uint_eq(hear().member, MEMBER + 1);
}
END_TEST

static void *ask_for_fate(void *ret)
{
    const struct lease lease = {.member = MEMBER};

    link_fate(keeper_link, &lease, ret);
    return NULL;
}

static void *ask_for_container(void *ret)
{
    const struct handover_take take = {.wait_ms = WAIT_MS};
    const struct link_wait wait = {-1, -1};
    struct lease lease = {.fd = -1};
    struct handover refusal;

    *(int *)ret = link_take(keeper_link, &take, &wait, &lease, &refusal, NULL);
    link_done(keeper_link, &lease);
    return NULL;
}

/* True when it has not come back within a moment. */
static bool is_waiting(pthread_t thread)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_timedjoin_np(thread, NULL, &until) != 0;
}

/* Else a program that ran out of memory would be told as lost. */
START_TEST(a_fate_is_asked_also_of_a_keeper_that_is_slow)
{
    struct handover a = {
        .type = HANDOVER_FATE_IS, .u.fate = {.member = MEMBER, .is_oom = 1}
    };
    struct handover_fate fate = {0};
    pthread_t thread;
    struct handover m;

    fill_queue();
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_fate, &fate), 0);
    ck_assert(is_waiting(thread));
    m = hear();
    ck_assert_uint_eq(m.type, HANDOVER_FATE);
    a.seq = m.seq;
    ck_assert_int_eq(io_send_msg(keeper, &a, sizeof(a), -1), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert(fate.is_oom);
}
END_TEST

START_TEST(a_container_is_asked_for_also_of_a_keeper_that_is_slow)
{
    int rc = -2, stream[2];
    pthread_t thread;
    struct handover m;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    fill_queue();
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_container, &rc), 0);
    ck_assert(is_waiting(thread));
    m = hear();
    ck_assert_uint_eq(m.type, HANDOVER_TAKE);
    hand_over(m.seq, MEMBER, stream[1]);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(rc, 0);
    ck_assert_uint_eq(hear().type, HANDOVER_DONE);
    (void)close(stream[0]);
    (void)close(stream[1]);
}
END_TEST

/* No longer than that it waits, and says why. */
START_TEST(a_keeper_that_takes_nothing_is_busy)
{
    const struct handover_take take = {.wait_ms = WAIT_MS};
    const struct link_wait wait = {-1, -1};
    struct handover refusal;
    struct err err = {0};
    struct lease lease;

    fill_queue();
    ck_assert_int_eq(link_take(keeper_link, &take, &wait, &lease, &refusal, &err), -1);
    ck_assert_int_eq(err.kind, ERR_BUSY);
    ck_assert_str_eq(err.msg, "the keeper has too much to do");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_container_is_given_back_also_to_a_keeper_that_is_slow);
    tcase_add_test(t, what_was_owed_to_one_keeper_is_not_given_to_the_next);
    tcase_add_test(t, a_fate_is_asked_also_of_a_keeper_that_is_slow);
    tcase_add_test(t, a_container_is_asked_for_also_of_a_keeper_that_is_slow);
    tcase_add_test(t, a_keeper_that_takes_nothing_is_busy);
}

UNIT_MAIN("link", add_tests)
