#include "model/limiter.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/stop.h"
#include "unit.h"

START_TEST(without_a_limit_everybody_goes_at_once)
{
    CLEANUP(limiter_done) struct limiter l = {0};
    int after_s = 0;

    limiter_init(&l, 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(limiter_wait(&l, clock_ms(), NULL, &after_s, NULL), 0);
}
END_TEST

START_TEST(a_minute_holds_so_many_calls)
{
    CLEANUP(limiter_done) struct limiter l = {0};

    limiter_init(&l, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(limiter_due(&l, 0, 100 + i), 100 + i);
        limiter_begin(&l, 100 + i);
    }
    /* Each that waits follows the call that began three calls before it, or will. */
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(limiter_due(&l, (size_t)i, 200), 60100 + i);
        ck_assert_int_eq(limiter_due(&l, (size_t)i + 3, 200), 120100 + i);
    }
    ck_assert_int_eq(limiter_due(&l, 0, 60101), 60101);
    limiter_begin(&l, 60101);
    ck_assert_int_eq(limiter_due(&l, 0, 60101), 60101);
    ck_assert_int_eq(limiter_due(&l, 1, 60101), 60102);
    ck_assert_int_eq(limiter_due(&l, 2, 60101), 120101);
    ck_assert_int_eq(limiter_due(&l, 0, 1000000), 1000000);
}
END_TEST

struct client {
    struct limiter *limiter;
    struct stop stop;
    pthread_t thread;
    int rc, number;
    atomic_int *turns; /* how many have had theirs */
};

static void *wait_in_line(void *arg)
{
    struct client *c = arg;
    int after_s = 0;

    c->rc = limiter_wait(c->limiter, INT64_MAX, &c->stop, &after_s, NULL);
    c->number = atomic_fetch_add(c->turns, 1);
    return NULL;
}

static void wait_for_line(struct limiter *l, size_t n)
{
    size_t have = SIZE_MAX;

    while (have != n) {
        (void)poll(NULL, 0, 1);
        (void)pthread_mutex_lock(&l->lock);
        have = l->waiting;
        (void)pthread_mutex_unlock(&l->lock);
    }
}

/* The line is served in its order, and those who left it took no place from the others. */
START_TEST(who_leaves_the_line_takes_no_place)
{
    enum { CLIENTS = 8, LEAVE = 5 };
    CLEANUP(limiter_done) struct limiter l = {0};
    struct client clients[CLIENTS] = {0};
    atomic_int turns = 0;

    limiter_init(&l, 3);
    for (int i = 0; i < 3; i++)
        limiter_begin(&l, clock_ms());
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.limiter = &l, .turns = &turns};
        stop_init(&clients[i].stop, -1);
        ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, wait_in_line, &clients[i]), 0);
        wait_for_line(&l, i + 1);
    }
    for (size_t i = 0; i < LEAVE; i++)
        stop_ask(&clients[i].stop);
    wait_for_line(&l, CLIENTS - LEAVE);
    /* A minute later: */
    (void)pthread_mutex_lock(&l.lock);
    for (size_t i = 0; i < l.n; i++)
        l.begun_ms[i] -= 60000;
    (void)pthread_mutex_unlock(&l.lock);
    for (size_t i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(pthread_join(clients[i].thread, NULL), 0);
        ck_assert_int_eq(clients[i].rc, i < LEAVE ? -1 : 0);
        ck_assert_int_eq(clients[i].number < LEAVE, i < LEAVE);
        stop_done(&clients[i].stop);
    }
    ck_assert_ptr_null(l.first);
    ck_assert_ptr_null(l.last);
    ck_assert_int_ge(limiter_due(&l, 0, 0), clock_ms() + 1000);
}
END_TEST

/* What is left of a minute that began then, of which some has passed. */
static void expect_rest_of_minute(int after_s, int64_t began_ms)
{
    ck_assert_int_ge(after_s, (began_ms + 60000 - clock_ms()) / 1000);
    ck_assert_int_le(after_s, 60);
}

START_TEST(whoever_cannot_wait_takes_no_place)
{
    CLEANUP(limiter_done) struct limiter l = {0};
    int64_t began = clock_ms();
    int after_s = 0;

    limiter_init(&l, 1);
    limiter_begin(&l, began);
    ck_assert_int_eq(limiter_wait(&l, clock_ms() + 10, NULL, &after_s, NULL), -1);
    ck_assert_ptr_null(l.first);
    expect_rest_of_minute(after_s, began);
}
END_TEST

START_TEST(a_deadline_before_ones_turn_says_when_to_come_back)
{
    CLEANUP(limiter_done) struct limiter l = {0};
    int64_t began = clock_ms();
    struct err err = {0};
    int after_s = 0;

    limiter_init(&l, 1);
    ck_assert_int_eq(limiter_wait(&l, INT64_MAX, NULL, &after_s, &err), 0);
    ck_assert_int_eq(limiter_wait(&l, clock_ms() + 10, NULL, &after_s, &err), -1);
    ck_assert_int_eq(err.kind, ERR_BUSY);
    expect_rest_of_minute(after_s, began);
}
END_TEST

static void *ask(void *stop)
{
    stop_ask(stop);
    return NULL;
}

START_TEST(whoever_is_not_waited_for_stops_waiting)
{
    CLEANUP(limiter_done) struct limiter l = {0};
    struct err err = {0};
    struct stop stop;
    pthread_t thread;
    int after_s = 0;

    limiter_init(&l, 1);
    stop_init(&stop, -1);
    ck_assert_int_eq(limiter_wait(&l, INT64_MAX, &stop, &after_s, &err), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask, &stop), 0);
    ck_assert_int_eq(limiter_wait(&l, INT64_MAX, &stop, &after_s, &err), -1);
    ck_assert_int_eq(err.kind, ERR_CANCELLED);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    stop_done(&stop);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, without_a_limit_everybody_goes_at_once);
    tcase_add_test(t, a_minute_holds_so_many_calls);
    tcase_add_test(t, who_leaves_the_line_takes_no_place);
    tcase_add_test(t, whoever_cannot_wait_takes_no_place);
    tcase_add_test(t, a_deadline_before_ones_turn_says_when_to_come_back);
    tcase_add_test(t, whoever_is_not_waited_for_stops_waiting);
}

UNIT_MAIN("limiter", add_tests)
