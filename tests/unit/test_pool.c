#include "keeper/pool.h"

#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

#define MIB (1024ULL * 1024)

static char *no_modules[] = {NULL};
static char numpy[] = "numpy";
static char *some_modules[] = {numpy, NULL};

/* A policy with what pools look at. */
#define POLICY(k, lo, hi)     \
    {                         \
        .key = (k),           \
        .pool_min = (lo),     \
        .pool_max = (hi),     \
        .pool_idle_ms = 1000, \
        .pool_age_ms = 5000,  \
        .warm = no_modules,   \
    }

static const struct engine_image image = {.digest = "sha256:1"};

static struct member *parked(struct pools *ps, struct pool *p, int64_t now)
{
    struct member *m = member_new(ps, p, now);

    member_move(m, MEMBER_BOOTING, now);
    member_move(m, MEMBER_PARKED, now);
    return m;
}

static struct member *running(struct pools *ps, struct pool *p, int64_t now)
{
    struct member *m = parked(ps, p, now);

    member_move(m, MEMBER_RUNNING, now);
    return m;
}

static void add_waiter(struct pool *p, struct waiter *w)
{
    TAILQ_INSERT_TAIL(&p->waiting, w, link);
    p->waiting_n++;
}

START_TEST(an_empty_set_of_pools_wants_nothing)
{
    enum discard_reason reason;
    struct pools ps;

    pools_init(&ps, 100);
    pools_plan(&ps, 0);
    ck_assert_ptr_null(pools_find(&ps, 1));
    ck_assert_ptr_null(pools_next_start(&ps, 10));
    ck_assert_ptr_null(pools_surplus(&ps, 0, &reason));
    ck_assert_ptr_null(member_find(&ps, 1));
    pools_done(&ps);
}
END_TEST

START_TEST(a_member_is_counted_where_it_stands)
{
    const struct policy y = POLICY(1, 0, 4);
    struct pools ps;
    struct pool *p;
    struct member *m, *n;

    pools_init(&ps, 0);
    p = pool_add(&ps, &y, &image);
    ck_assert(pool_is_empty(p));
    m = member_new(&ps, p, 10);
    n = member_new(&ps, p, 11);
    ck_assert_uint_ne(m->id, n->id);
    ck_assert_ptr_eq(member_find(&ps, n->id), n);
    ck_assert(!pool_is_empty(p));
    ck_assert_uint_eq(p->counts[MEMBER_STARTING], 2);
    member_move(m, MEMBER_BOOTING, 20);
    member_move(m, MEMBER_SIZING, 30);
    ck_assert_int_eq(m->since_ms, 30);
    member_move(m, MEMBER_PARKED, 40);
    ck_assert_ptr_eq(TAILQ_FIRST(&p->parked), m);
    member_move(m, MEMBER_TUNING, 50);
    ck_assert(TAILQ_EMPTY(&p->parked));
    member_move(m, MEMBER_RUNNING, 60);
    ck_assert_uint_eq(p->counts[MEMBER_RUNNING], 1);
    m->reason = DISCARD_DEADLINE;
    member_move(m, MEMBER_REMOVING, 70);
    ck_assert_uint_eq(p->discarded[DISCARD_DEADLINE], 1);
    ck_assert_uint_eq(p->counts[MEMBER_RUNNING], 0);
    member_free(&ps, m);
    ck_assert_uint_eq(p->counts[MEMBER_REMOVING], 0);
    ck_assert_uint_eq(p->started, 2);
    pools_done(&ps); /* with a member in it */
}
END_TEST

static const struct move {
    enum member_state from, to;
} wrong_moves[] = {
    {MEMBER_STARTING, MEMBER_PARKED  },
    {MEMBER_STARTING, MEMBER_RUNNING },
    {MEMBER_PARKED,   MEMBER_STARTING},
    {MEMBER_RUNNING,  MEMBER_PARKED  }, /* a container serves one run */
    {MEMBER_REMOVING, MEMBER_PARKED  },
    {MEMBER_REMOVING, MEMBER_RUNNING },
    {MEMBER_PARKED,   MEMBER_PARKED  },
};

START_TEST(a_member_never_goes_back)
{
    const struct policy y = POLICY(1, 0, 4);
    struct pools ps;
    struct member *m;

    pools_init(&ps, 0);
    m = member_new(&ps, pool_add(&ps, &y, &image), 0);
    if (wrong_moves[_i].from != MEMBER_STARTING) {
        member_move(m, MEMBER_BOOTING, 0);
        member_move(m, MEMBER_PARKED, 0);
        if (wrong_moves[_i].from != MEMBER_PARKED)
            member_move(m, wrong_moves[_i].from, 0);
    }
    member_move(m, wrong_moves[_i].to, 0);
}
END_TEST

/* ---- the plan ---- */

static const struct plan {
    int64_t used_ms, now_ms;
    int64_t min, max;
    unsigned target;
    const char *why;
} plans[] = {
    {INT64_MIN, 0,     0, 4, 0, "never used"                       },
    {INT64_MIN, 0,     2, 4, 2, "never used, with a minimum"       },
    {0,         0,     0, 4, 4, "used just now"                    },
    {0,         999,   0, 4, 4, "used within the idle time"        },
    {0,         1000,  0, 4, 1, "idle: one is left"                },
    {0,         1000,  3, 4, 3, "idle, with a greater minimum"     },
    {0,         1000,  0, 0, 0, "idle, with nothing allowed"       },
    {0,         9999,  0, 4, 1, "idle for almost ten times as long"},
    {0,         10000, 0, 4, 0, "idle for ten times as long"       },
    {0,         10000, 2, 4, 2, "idle for long, with a minimum"    },
};

START_TEST(idle_pools_shrink_to_one_and_then_to_their_minimum)
{
    const struct plan *c = &plans[_i];
    const struct policy y = POLICY(1, c->min, c->max);
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 100000 * MIB);
    p = pool_add(&ps, &y, &image);
    p->used_ms = c->used_ms;
    pools_plan(&ps, c->now_ms);
    ck_assert_msg(p->target == c->target, "%s: %u", c->why, p->target);
    p->is_retired = true;
    pools_plan(&ps, c->now_ms);
    ck_assert_uint_eq(p->target, 0);
    pools_done(&ps);
}
END_TEST

START_TEST(every_minimum_comes_before_any_maximum)
{
    const struct policy busy = POLICY(1, 1, 10), idle = POLICY(2, 3, 10);
    struct pools ps;
    struct pool *a, *b;

    pools_init(&ps, 500);
    a = pool_add(&ps, &busy, &image);
    b = pool_add(&ps, &idle, &image);
    a->footprint = b->footprint = 100;
    a->used_ms = 50;
    pools_plan(&ps, 60);
    ck_assert_uint_eq(b->target, 3);
    ck_assert_uint_eq(a->target, 2);
    pools_done(&ps);
}
END_TEST

START_TEST(the_rest_of_the_budget_goes_to_who_was_used_last)
{
    const struct policy one = POLICY(1, 0, 4), two = POLICY(2, 0, 4), three = POLICY(3, 0, 4);
    struct pools ps;
    struct pool *a, *b, *c;

    pools_init(&ps, 600);
    a = pool_add(&ps, &one, &image);
    b = pool_add(&ps, &two, &image);
    c = pool_add(&ps, &three, &image);
    a->footprint = b->footprint = c->footprint = 100;
    a->used_ms = 30;
    b->used_ms = 20;
    c->used_ms = 10;
    pools_plan(&ps, 40);
    ck_assert_uint_eq(a->target, 4);
    ck_assert_uint_eq(b->target, 2);
    ck_assert_uint_eq(c->target, 0);
    /* Equally recent ones share. */
    a->used_ms = b->used_ms = c->used_ms = 30;
    pools_plan(&ps, 40);
    ck_assert_uint_eq(a->target, 2);
    ck_assert_uint_eq(b->target, 2);
    ck_assert_uint_eq(c->target, 2);
    pools_done(&ps);
}
END_TEST

START_TEST(a_small_pool_gets_what_is_too_little_for_a_large_one)
{
    const struct policy one = POLICY(1, 0, 4), two = POLICY(2, 0, 4);
    struct pools ps;
    struct pool *large, *small;

    pools_init(&ps, 250);
    large = pool_add(&ps, &one, &image);
    small = pool_add(&ps, &two, &image);
    large->footprint = 200;
    small->footprint = 20;
    large->used_ms = 30;
    small->used_ms = 20;
    pools_plan(&ps, 40);
    ck_assert_uint_eq(large->target, 1);
    ck_assert_uint_eq(small->target, 2);
    pools_done(&ps);
}
END_TEST

START_TEST(what_is_not_measured_is_guessed_from_its_modules)
{
    struct policy bare = POLICY(1, 0, 1), warm = POLICY(2, 0, 1), none = POLICY(3, 0, 1);
    struct pools ps;
    struct pool *p;

    warm.warm = some_modules;
    none.warm = NULL;
    pools_init(&ps, 0);
    ck_assert(pool_cost(pool_add(&ps, &bare, &image)) == 40 * MIB);
    ck_assert(pool_cost(pool_add(&ps, &none, &image)) == 40 * MIB);
    p = pool_add(&ps, &warm, &image);
    ck_assert(pool_cost(p) == 180 * MIB);
    p->footprint = 7;
    ck_assert(pool_cost(p) == 7);
    pools_done(&ps);
}
END_TEST

/* ---- what to start next ---- */

START_TEST(the_first_of_a_pool_is_measured_alone)
{
    const struct policy y = POLICY(1, 4, 4);
    struct waiter w[3] = {{0}};
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 100000 * MIB);
    p = pool_add(&ps, &y, &image);
    pools_plan(&ps, 0);
    ck_assert_uint_eq(p->target, 4);
    ck_assert_uint_eq(pool_deficit(p), 1);
    (void)member_new(&ps, p, 0);
    ck_assert_uint_eq(pool_deficit(p), 0);
    /* But nobody waits for that. */
    for (int i = 0; i < 3; i++)
        add_waiter(p, &w[i]);
    ck_assert_uint_eq(pool_deficit(p), 2);
    p->waiting_n = 0;
    p->footprint = 1;
    ck_assert_uint_eq(pool_deficit(p), 3);
    pools_done(&ps);
}
END_TEST

START_TEST(nothing_is_started_without_an_image)
{
    const struct policy y = POLICY(1, 4, 4);
    struct waiter w = {0};
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 100000 * MIB);
    p = pool_add(&ps, &y, &(struct engine_image){.digest = ""});
    pools_plan(&ps, 0);
    add_waiter(p, &w);
    ck_assert_uint_eq(pool_deficit(p), 0);
    ck_assert_ptr_null(pools_next_start(&ps, 10));
    p->waiting_n = 0;
    pools_done(&ps);
}
END_TEST

START_TEST(a_pause_of_starts_grows_to_five_seconds_and_is_the_pools_own)
{
    const struct policy one = POLICY(1, 1, 1), two = POLICY(2, 1, 1);
    int64_t now = 10, pauses[] = {200, 400, 800, 1600, 3200, 5000, 5000};
    struct pools ps;
    struct pool *a, *b;

    pools_init(&ps, 1000);
    a = pool_add(&ps, &one, &image);
    b = pool_add(&ps, &two, &image);
    a->footprint = b->footprint = 1;
    a->used_ms = 2;
    b->used_ms = 1;
    pools_plan(&ps, now);
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        ck_assert_ptr_eq(pools_next_start(&ps, now), a);
        pool_pause_starts(a, now);
        ck_assert_ptr_eq(pools_next_start(&ps, now), b);
        ck_assert_ptr_eq(pools_next_start(&ps, now + pauses[i] - 1), b);
        now += pauses[i];
    }
    ck_assert_ptr_eq(pools_next_start(&ps, now), a);
    pool_resume_starts(a);
    pool_pause_starts(a, now);
    ck_assert_ptr_eq(pools_next_start(&ps, now + 200), a);
    pools_done(&ps);
}
END_TEST

START_TEST(the_longest_wait_is_served_first_then_the_most_recent_use)
{
    const struct policy one = POLICY(1, 1, 1), two = POLICY(2, 1, 1), three = POLICY(3, 1, 1);
    struct waiter early = {.asked_us = 5}, late = {.asked_us = 9};
    struct pools ps;
    struct pool *a, *b, *c;

    pools_init(&ps, 1000);
    a = pool_add(&ps, &one, &image);
    b = pool_add(&ps, &two, &image);
    c = pool_add(&ps, &three, &image);
    a->footprint = b->footprint = c->footprint = 1;
    a->used_ms = 1;
    b->used_ms = 3;
    c->used_ms = 2;
    pools_plan(&ps, 10);
    ck_assert_ptr_eq(pools_next_start(&ps, 10), b);
    add_waiter(a, &late);
    ck_assert_ptr_eq(pools_next_start(&ps, 10), a);
    add_waiter(c, &early);
    ck_assert_ptr_eq(pools_next_start(&ps, 10), c);
    (void)member_new(&ps, c, 10);
    ck_assert_ptr_eq(pools_next_start(&ps, 10), a);
    (void)member_new(&ps, a, 10);
    ck_assert_ptr_eq(pools_next_start(&ps, 10), b);
    (void)member_new(&ps, b, 10);
    ck_assert_ptr_null(pools_next_start(&ps, 10));
    a->waiting_n = c->waiting_n = 0;
    pools_done(&ps);
}
END_TEST

/* ---- which pool serves, what is too much ---- */

START_TEST(an_old_pool_serves_while_it_has_somebody_parked)
{
    const struct policy old = POLICY(1, 1, 4), fresh = POLICY(1, 1, 4), other = POLICY(2, 1, 4);
    struct pools ps;
    struct pool *a, *b;
    struct member *m;

    pools_init(&ps, 1000);
    a = pool_add(&ps, &old, &image);
    m = parked(&ps, a, 0);
    a->is_retired = true;
    b = pool_add(&ps, &fresh, &image);
    (void)pool_add(&ps, &other, &image);
    ck_assert_ptr_eq(pools_find(&ps, 1), a);
    member_move(m, MEMBER_RUNNING, 0);
    ck_assert_ptr_eq(pools_find(&ps, 1), b);
    ck_assert_ptr_null(pools_find(&ps, 3));
    (void)parked(&ps, a, 0);
    (void)parked(&ps, b, 0);
    ck_assert_ptr_eq(pools_find(&ps, 1), b);
    pools_done(&ps);
}
END_TEST

START_TEST(the_member_that_is_missed_least_can_be_spared)
{
    const struct policy y[3] = {POLICY(1, 0, 4), POLICY(2, 0, 4), POLICY(3, 0, 4)};
    struct pools ps;
    struct pool *p[3];
    struct member *old;
    struct waiter w = {0};

    pools_init(&ps, 1000 * MIB);
    for (size_t i = 0; i < 3; i++)
        p[i] = pool_add(&ps, &y[i], &image);
    ck_assert_ptr_null(pools_spare(&ps));
    p[0]->used_ms = 50;
    p[1]->used_ms = 20;
    p[2]->used_ms = 10;
    (void)parked(&ps, p[0], 1);
    old = parked(&ps, p[1], 2);
    (void)parked(&ps, p[1], 3);
    ck_assert_ptr_eq(pools_spare(&ps), old);
    add_waiter(p[1], &w);
    ck_assert_ptr_eq(pools_spare(&ps)->pool, p[0]);
    TAILQ_REMOVE(&p[1]->waiting, &w, link);
    p[1]->waiting_n--;
    pools_done(&ps);
}
END_TEST

START_TEST(members_that_are_too_many_or_too_old_are_surplus)
{
    const struct policy y = POLICY(1, 2, 2);
    enum discard_reason reason = DISCARD_SERVED;
    struct waiter w = {0};
    struct member *m[3];
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 1000);
    p = pool_add(&ps, &y, &image);
    p->footprint = 1;
    for (int i = 0; i < 3; i++)
        m[i] = parked(&ps, p, i);
    pools_plan(&ps, 10);
    ck_assert_ptr_eq(pools_surplus(&ps, 10, &reason), m[0]);
    ck_assert_int_eq(reason, DISCARD_SHRINK);
    add_waiter(p, &w); /* he takes one in a moment */
    ck_assert_ptr_null(pools_surplus(&ps, 10, &reason));
    TAILQ_REMOVE(&p->waiting, &w, link);
    p->waiting_n = 0;
    member_move(m[0], MEMBER_REMOVING, 10);
    ck_assert_ptr_null(pools_surplus(&ps, 5000, &reason));
    ck_assert_ptr_eq(pools_surplus(&ps, 5001, &reason), m[1]);
    ck_assert_int_eq(reason, DISCARD_AGE);
    p->is_retired = true;
    p->retire_at_ms = 6000;
    ck_assert_ptr_null(pools_surplus(&ps, 5999, &reason));
    ck_assert_ptr_eq(pools_surplus(&ps, 6000, &reason), m[1]);
    ck_assert_int_eq(reason, DISCARD_RELOAD);
    pools_done(&ps);
}
END_TEST

/* ---- numbers for people ---- */

START_TEST(the_median_is_of_the_last_starts)
{
    const struct policy y = POLICY(1, 0, 4);
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 0);
    p = pool_add(&ps, &y, &image);
    ck_assert_uint_eq(pool_start_p50(p), 0);
    for (int i = 0; i < 5; i++)
        pool_note_ready(p, 50 - 10 * i, 0);
    ck_assert_uint_eq(pool_start_p50(p), 30);
    for (int i = 0; i < POOL_SAMPLES; i++)
        pool_note_ready(p, 1000, 0);
    ck_assert_uint_eq(pool_start_p50(p), 1000);
    pools_done(&ps);
}
END_TEST

START_TEST(refills_are_counted_over_a_minute_and_scaled_beyond_the_samples)
{
    const struct policy y = POLICY(1, 0, 4);
    struct pools ps;
    struct pool *p;

    pools_init(&ps, 0);
    p = pool_add(&ps, &y, &image);
    ck_assert_uint_eq(pool_refill_per_min(p, 0), 0);
    for (int i = 0; i < 10; i++)
        pool_note_ready(p, 1, i * 10000);
    ck_assert_uint_eq(pool_refill_per_min(p, 90000), 7);
    ck_assert_uint_eq(pool_refill_per_min(p, 500000), 0);
    for (int i = 0; i < 2 * POOL_SAMPLES; i++)
        pool_note_ready(p, 1, 600000 + i * 100);
    /* Ten a second, and the ring covers 6.3 seconds. */
    ck_assert_uint_ge(pool_refill_per_min(p, 612700), 590);
    ck_assert_uint_le(pool_refill_per_min(p, 612700), 620);
    pools_done(&ps);
}
END_TEST

START_TEST(a_report_tells_the_counts)
{
    const struct policy y = POLICY(77, 1, 4);
    struct handover_pool r;
    struct waiter w = {0};
    struct pools ps;
    struct pool *p;
    struct member *m;

    pools_init(&ps, 1000);
    p = pool_add(&ps, &y, &image);
    p->footprint = 3;
    p->hits = 5;
    p->misses = 6;
    pools_plan(&ps, 0);
    (void)member_new(&ps, p, 0);
    (void)parked(&ps, p, 0);
    (void)running(&ps, p, 0);
    m = parked(&ps, p, 0);
    member_move(m, MEMBER_TUNING, 0);
    m = running(&ps, p, 0);
    m->reason = DISCARD_FRONT;
    member_move(m, MEMBER_REMOVING, 0);
    pool_note_ready(p, 12, 0);
    add_waiter(p, &w);
    pool_report(p, 0, &r);
    ck_assert_uint_eq(r.policy, 77);
    ck_assert_uint_eq(r.parked, 1);
    ck_assert_uint_eq(r.starting, 1);
    ck_assert_uint_eq(r.running, 2);
    ck_assert_uint_eq(r.removing, 1);
    ck_assert_uint_eq(r.waiting, 1);
    ck_assert_uint_eq(r.target, 1);
    ck_assert_uint_eq(r.min, 1);
    ck_assert_uint_eq(r.max, 4);
    ck_assert_uint_eq(r.hits, 5);
    ck_assert_uint_eq(r.misses, 6);
    ck_assert_uint_eq(r.started, 5);
    ck_assert_uint_eq(r.footprint, 3);
    ck_assert_uint_eq(r.start_ms_p50, 12);
    ck_assert_uint_eq(r.refill_per_min, 1);
    ck_assert_uint_eq(r.discarded[DISCARD_FRONT], 1);
    p->waiting_n = 0;
    pools_done(&ps);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, an_empty_set_of_pools_wants_nothing);
    tcase_add_test(t, a_member_is_counted_where_it_stands);
    tcase_add_loop_test_raise_signal(t, a_member_never_goes_back, SIGABRT, 0,
                                     ARRAY_LEN(wrong_moves));
    tcase_add_loop_test(t, idle_pools_shrink_to_one_and_then_to_their_minimum, 0, ARRAY_LEN(plans));
    tcase_add_test(t, every_minimum_comes_before_any_maximum);
    tcase_add_test(t, the_rest_of_the_budget_goes_to_who_was_used_last);
    tcase_add_test(t, a_small_pool_gets_what_is_too_little_for_a_large_one);
    tcase_add_test(t, what_is_not_measured_is_guessed_from_its_modules);
    tcase_add_test(t, the_first_of_a_pool_is_measured_alone);
    tcase_add_test(t, nothing_is_started_without_an_image);
    tcase_add_test(t, a_pause_of_starts_grows_to_five_seconds_and_is_the_pools_own);
    tcase_add_test(t, the_longest_wait_is_served_first_then_the_most_recent_use);
    tcase_add_test(t, an_old_pool_serves_while_it_has_somebody_parked);
    tcase_add_test(t, the_member_that_is_missed_least_can_be_spared);
    tcase_add_test(t, members_that_are_too_many_or_too_old_are_surplus);
    tcase_add_test(t, the_median_is_of_the_last_starts);
    tcase_add_test(t, refills_are_counted_over_a_minute_and_scaled_beyond_the_samples);
    tcase_add_test(t, a_report_tells_the_counts);
}

UNIT_MAIN("pool", add_tests)
