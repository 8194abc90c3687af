/* The threads of host calls: made on demand, bounded, gone when idle; runs that do not wait. */
#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "core/callers.h"
#include "provider_rig.h"
#include "until.h"

enum { RIG_WAIT_MS = 60000, LONG_MS = 600000 };

static char seen[256];

static struct callers *pool;
static int event_fd;

static void note(const struct host_call *call)
{
    (void)snprintf(seen, sizeof(seen), "%s|%s|%s|%s|%s|%s", call->run_id, call->dialect,
                   call->policy, call->client, call->kind, call->args);
}

/* "wait": until the gate is open; "obey": that, or until asked to stop. */
static void provide(void *ctx, const struct host_call *call, struct host_answer *ret)
{
    ck_assert_ptr_eq(ctx, &pool);
    provider_enter(call, note);
    if (strcmp(call->name, "now") != 0)
        provider_stay(call, strcmp(call->name, "obey") == 0);
    provider_leave();
    (void)buf_str(&ret->result, "7");
}

static void set_up(void)
{
    provider_begin();
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool = callers_new(LONG_MS);
}

static void tear_down(void)
{
    callers_free(pool);
    (void)close(event_fd);
    provider_end();
}

static struct call_job *ask(const char *name)
{
    struct call_order o = {
        .fn = provide,
        .ctx = &pool,
        .call = {.run_id = "r1",
                 .dialect = "d",
                 .policy = "p",
                 .kind = "tool",
                 .name = name,
                 .args = "{\"a\":1}beyond",
                 .args_len = 7,
                 .deadline_ms = INT64_MAX,
                 .reply_max = 100},
        .id = 5,
        .event_fd = event_fd
    };
    struct call_job *job = callers_ask(pool, &o);

    ck_assert_ptr_nonnull(job);
    return job;
}

static void wait_done(struct call_job *job, struct call_done *ret)
{
    uint64_t n;

    while (!callers_look(pool, job, ret)) {
        ck_assert_int_eq(io_wait(event_fd, POLLIN, clock_ms() + RIG_WAIT_MS), 1);
        (void)!read(event_fd, &n, sizeof(n));
    }
}

START_TEST(a_call_is_worked_on_elsewhere_with_copies_of_all_that_it_says)
{
    char name[] = "wait";
    struct call_job *job = ask(name);
    struct call_done done;

    memset(name, 'x', sizeof(name) - 1);
    wait_for(&begun, 1);
    ck_assert(!callers_look(pool, job, &done));
    open_gate();
    wait_done(job, &done);
    ck_assert_str_eq(seen, "r1|d|p||tool|{\"a\":1}");
    ck_assert_int_eq(done.verdict, HOST_OK);
    ck_assert(done.was_begun && done.us >= 0 && done.bytes == 1);
    ck_assert_uint_eq(done.reply.len, 8 + strlen("{\"result\":7}"));
    buf_done(&done.reply);
    callers_drop(pool, job);
}
END_TEST

/* A thread is free for the next call before the last one is told as done. */
START_TEST(threads_are_made_on_demand_and_used_again)
{
    struct call_job *both[2];
    struct call_done done;

    ck_assert_uint_eq(callers_threads(pool), 0);
    for (int i = 0; i < 20; i++) {
        struct call_job *job = ask("now");

        wait_done(job, &done);
        buf_done(&done.reply);
        callers_drop(pool, job);
        ck_assert_uint_eq(callers_threads(pool), 1);
    }
    both[0] = ask("wait");
    both[1] = ask("wait");
    wait_for(&begun, 22);
    ck_assert_uint_eq(callers_threads(pool), 2);
    open_gate();
    for (int i = 0; i < 2; i++) {
        wait_done(both[i], &done);
        buf_done(&done.reply);
        callers_drop(pool, both[i]);
    }
}
END_TEST

START_TEST(there_are_so_many_threads_and_the_rest_wait)
{
    enum { JOBS = HOST_THREADS + 20 };
    struct call_job *jobs[JOBS];
    struct call_done done;

    for (int i = 0; i < JOBS; i++)
        jobs[i] = ask("wait");
    wait_for(&begun, HOST_THREADS);
    ck_assert_uint_eq(callers_threads(pool), HOST_THREADS);
    open_gate();
    for (int i = 0; i < JOBS; i++) {
        wait_done(jobs[i], &done);
        buf_done(&done.reply);
        callers_drop(pool, jobs[i]);
    }
    ck_assert_uint_eq(at_work_max, HOST_THREADS);
    ck_assert_uint_eq(ended, JOBS);
}
END_TEST

START_TEST(idle_threads_go)
{
    struct call_done done;

    callers_free(pool);
    pool = callers_new(1);
    for (int i = 0; i < 3; i++) {
        struct call_job *job = ask("now");

        wait_done(job, &done);
        buf_done(&done.reply);
        callers_drop(pool, job);
        RIG_UNTIL(callers_threads(pool) == 0);
    }
}
END_TEST

START_TEST(what_is_dropped_is_asked_to_stop_and_nobody_waits_for_it)
{
    struct call_job *job = ask("obey");
    uint64_t n;

    wait_for(&begun, 1);
    callers_drop(pool, job);
    wait_for(&ended, 1);
    callers_free(pool); /* its thread has said all that it would */
    pool = NULL;
    ck_assert_uint_eq(stopped, 1);
    ck_assert_int_lt(read(event_fd, &n, sizeof(n)), 0); /* nobody was woken */
}
END_TEST

START_TEST(a_provider_that_does_not_obey_outlives_its_run)
{
    struct call_job *job = ask("wait");

    wait_for(&begun, 1);
    callers_drop(pool, job);
    wait_for(&stopped, 1);
    ck_assert_uint_eq(ended, 0);
    open_gate();
    callers_free(pool); /* waits for it */
    ck_assert_uint_eq(ended, 1);
    pool = NULL;
}
END_TEST

START_TEST(what_is_dropped_in_line_is_never_begun)
{
    enum { JOBS = HOST_THREADS };
    struct call_job *jobs[JOBS], *late;

    for (int i = 0; i < JOBS; i++)
        jobs[i] = ask("wait");
    wait_for(&begun, HOST_THREADS);
    late = ask("wait");
    callers_drop(pool, late);
    open_gate();
    for (int i = 0; i < JOBS; i++)
        callers_drop(pool, jobs[i]);
    callers_free(pool);
    pool = NULL;
    ck_assert_uint_eq(begun, JOBS);
}
END_TEST

/* Many runs ask, look and drop at the same time. */
static void *be_a_run(void *arg)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned seed = *(unsigned *)arg;

    for (int i = 0; i < unit_rounds(200, 20); i++) {
        struct call_order o = {
            .fn = provide,
            .ctx = &pool,
            .call = {.name = "now", .args = "{}", .args_len = 2, .reply_max = 9},
            .event_fd = fd
        };
        struct call_job *job = callers_ask(pool, &o);
        struct call_done done;

        MUST(job != NULL);
        seed = seed * 1103515245 + 12345;
        if (seed >> 16 & 1)
            (void)io_wait(fd, POLLIN, clock_ms() + RIG_WAIT_MS);
        if (callers_look(pool, job, &done))
            buf_done(&done.reply);
        callers_drop(pool, job);
    }
    (void)close(fd);
    return NULL;
}

START_TEST(many_runs_share_it)
{
    pthread_t threads[8];
    unsigned seeds[8];

    callers_free(pool);
    pool = callers_new(1); /* threads come and go meanwhile */
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        seeds[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, be_a_run, &seeds[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    callers_free(NULL);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, (double)patient(60000) / 1000);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_call_is_worked_on_elsewhere_with_copies_of_all_that_it_says);
    tcase_add_test(t, threads_are_made_on_demand_and_used_again);
    tcase_add_test(t, there_are_so_many_threads_and_the_rest_wait);
    tcase_add_test(t, idle_threads_go);
    tcase_add_test(t, what_is_dropped_is_asked_to_stop_and_nobody_waits_for_it);
    tcase_add_test(t, a_provider_that_does_not_obey_outlives_its_run);
    tcase_add_test(t, what_is_dropped_in_line_is_never_begun);
    tcase_add_test(t, many_runs_share_it);
}

UNIT_MAIN("callers", add_tests)
