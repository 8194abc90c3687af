/*
 * What the keeper does beside the life of its members: containers that nobody remembers, an engine
 * that goes and comes back, images, reloads, stops, the line, and clients that ask for too much.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "keeper/state.h"
#include "keeper_rig.c"

#define MIB   (1 << 20)
#define SMALL "memory: {limit: 128MiB, max: 256MiB}\n"

static void setup(void)
{
    rig_init();
}

static void teardown(void)
{
    if (rig_keeper_pid)
        ck_assert_int_eq(rig_end(), 0);
    ck_assert_uint_eq(rig_alive(), 0);
    rig_done();
}

/* A keeper with one policy "p", settled. */
static void start_with(const char *lines, unsigned parked)
{
    rig_policy("p", lines);
    rig_start();
    rig_settle("p", parked);
}

/* ---- what nobody remembers ---- */

/* Tells of one more container that this keeper has not made. Returns where. */
static unsigned put_foreign(const char *instance, const char *epoch, int64_t age_s)
{
    struct engine_container *c;
    unsigned i;

    rig_lock();
    i = fake->foreign_n++;
    c = &fake->foreign[i];
    (void)snprintf(c->id, sizeof(c->id), "%064x", 0xf000 + i);
    (void)snprintf(c->name, sizeof(c->name), "foreign-%u", i);
    (void)str_copy(c->instance, instance, sizeof(c->instance));
    (void)str_copy(c->epoch, epoch, sizeof(c->epoch));
    c->created_s = (int64_t)time(NULL) - age_s;
    rig_unlock();
    return i;
}

static bool is_there(unsigned foreign)
{
    return fake->foreign[foreign].id[0];
}

/*
 * Lets the keeper look around once more. In small steps: its clock for that starts when it hears of
 * the end of the last look, which may be after the first of them.
 */
static void look_around(void)
{
    unsigned before = FAKE(VERB_LIST).calls;
    time_t until = time(NULL) + RIG_PATIENCE_S;

    while (FAKE(VERB_LIST).calls == before && time(NULL) <= until)
        rig_advance(KEEPER_RECONCILE_MS / 100);
    UNTIL(FAKE(VERB_LIST).calls > before && FAKE(VERB_LIST).inside == 0);
    rig_turn();
}

START_TEST(containers_of_a_dead_keeper_go_before_anything_is_made)
{
    unsigned dead = put_foreign("test", "00000000deadbeef", 0);
    unsigned other = put_foreign("test-2", "00000000deadbeef", 1000);
    unsigned alike = put_foreign("tes", "00000000deadbeef", 1000);

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    FAKE(VERB_LIST).is_held = true;
    rig_start();
    UNTIL(FAKE(VERB_LIST).inside == 1);
    rig_turn();
    ck_assert_uint_eq(FAKE(VERB_PARK).calls, 0);
    rig_lock();
    FAKE(VERB_LIST).is_held = false;
    rig_unlock();
    UNTIL(!is_there(dead));
    rig_settle("p", 1);
    look_around();
    ck_assert(is_there(other));
    ck_assert(is_there(alike));
}
END_TEST

START_TEST(a_create_that_happened_after_all_is_found_and_removed)
{
    unsigned young, old, unknown;

    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    young = put_foreign("test", fake->boxes[0].epoch, KEEPER_ORPHAN_MS / 1000 - 5);
    old = put_foreign("test", fake->boxes[0].epoch, KEEPER_ORPHAN_MS / 1000);
    unknown = put_foreign("other", fake->boxes[0].epoch, 1000);
    look_around();
    UNTIL(!is_there(old));
    ck_assert(is_there(young)); /* it may be on its way to the keeper's books */
    ck_assert(is_there(unknown));
    ck_assert(!fake->boxes[0].is_gone && !fake->boxes[1].is_gone);
    rig_lock();
    fake->foreign[young].created_s -= 5;
    rig_unlock();
    look_around();
    UNTIL(!is_there(young));
    ck_assert_uint_eq(rig_pool("p").parked, 2);
}
END_TEST

static void set_state(unsigned foreign, const char *state)
{
    rig_lock();
    (void)str_copy(fake->foreign[foreign].state, state, sizeof(fake->foreign[foreign].state));
    rig_unlock();
}

/* `oneshot run` that was killed: its container has ended, and nobody comes back under its name. */
START_TEST(what_a_killed_run_of_the_command_line_left_is_removed)
{
    unsigned left = put_foreign("oneshot.run-0a1b2c3d", "00000000deadbeef", 1000);
    unsigned runs = put_foreign("oneshot.run-0a1b2c3e", "00000000deadbeef", 1000);
    unsigned other = put_foreign("oneshot", "00000000deadbeef", 1000);

    set_state(left, "exited");
    set_state(runs, "running");
    set_state(other, "exited");
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    ck_assert(is_there(left)); /* its keeper may be about to remove it */
    look_around();
    UNTIL(!is_there(left));
    set_state(runs, "exited");
    look_around();
    ck_assert(is_there(runs));
    look_around();
    UNTIL(!is_there(runs));
    ck_assert(is_there(other));
}
END_TEST

START_TEST(an_orphan_that_could_not_be_removed_is_tried_again_soon)
{
    unsigned dead = put_foreign("test", "00000000deadbeef", 0);

    FAKE(VERB_DESTROY).fails = 2;
    rig_policy("p", SMALL "pool: {min: 0, max: 1}");
    rig_start();
    for (unsigned tries = 1; tries <= 3; tries++) {
        int64_t began = fake->now_ms;

        while (FAKE(VERB_DESTROY).calls < tries)
            rig_advance(100);
        ck_assert_int_lt(fake->now_ms - began, KEEPER_RECONCILE_MS);
        UNTIL(FAKE(VERB_DESTROY).inside == 0);
        ck_assert_int_eq(is_there(dead), tries < 3);
    }
}
END_TEST

START_TEST(a_removal_that_fails_is_tried_until_it_is_done)
{
    static const int64_t pauses[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    struct handover taken;
    unsigned box;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 1, &taken);
    box = rig_box_of(&taken);
    FAKE(VERB_DESTROY).fails = ARRAY_LEN(pauses);
    rig_finish(&taken, fd);
    for (unsigned i = 0; i < ARRAY_LEN(pauses); i++) {
        int64_t began;

        UNTIL(FAKE(VERB_DESTROY).calls == i + 1 && FAKE(VERB_DESTROY).inside == 0);
        ck_assert(!fake->boxes[box].is_gone);
        ck_assert_uint_eq(rig_pool("p").removing, 1);
        began = fake->now_ms;
        while (FAKE(VERB_DESTROY).calls == i + 1)
            rig_advance(50);
        ck_assert_int_ge(fake->now_ms - began, pauses[i]);
    }
    UNTIL(fake->boxes[box].is_gone);
    UNTIL_POOL("p", pool.removing == 0);
}
END_TEST

START_TEST(every_container_has_a_name_of_its_own)
{
    start_with(SMALL "pool: {min: 8, max: 8}", 8);
    for (unsigned i = 0; i < fake->boxes_n; i++) {
        ck_assert_uint_gt(strlen(fake->boxes[i].name), 0);
        ck_assert_str_eq(fake->boxes[i].epoch, fake->boxes[0].epoch);
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(fake->boxes[i].name, fake->boxes[k].name);
    }
}
END_TEST

/* ---- the engine and the images ---- */

static void refused(int fd, uint64_t seq, enum refuse_reason reason)
{
    struct handover m = rig_answer(fd, NULL);

    ck_assert_uint_eq(m.type, HANDOVER_REFUSED);
    ck_assert_uint_eq(m.seq, seq);
    ck_assert_uint_eq(m.reason, reason);
}

START_TEST(who_waits_hears_that_the_engine_is_gone_and_what_comes_later_is_served)
{
    struct handover taken;
    int fd;

    rig_policy("p", SMALL "pool: {min: 0, max: 1}");
    rig_start();
    UNTIL(FAKE(VERB_LIST).calls == 1 && FAKE(VERB_LIST).inside == 0);
    rig_lock();
    FAKE(VERB_PARK).fails = FAKE(VERB_PING).fails = FAIL_ALWAYS;
    rig_unlock();
    rig_take(rig_front, 3, rig_key("p"), 60000);
    refused(rig_front, 3, REFUSE_ENGINE);
    while (rig_counts().is_engine_up) /* the ping is on its way; Check's time-out is the end */
        rig_turn();
    rig_take(rig_front, 4, rig_key("p"), 60000);
    refused(rig_front, 4, REFUSE_ENGINE);
    rig_lock();
    FAKE(VERB_PARK).fails = FAKE(VERB_PING).fails = 0;
    rig_unlock();
    while (!rig_counts().is_engine_up)
        rig_advance(5000);
    fd = rig_run("p", 5, &taken);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(a_missing_image_is_said_and_asked_for_again)
{
    struct handover taken;
    unsigned before;
    int fd;

    (void)str_copy(fake->missing, "none/such", sizeof(fake->missing));
    rig_policy("p", SMALL "image: none/such\npool: {min: 1, max: 1}");
    rig_start();
    UNTIL(FAKE(VERB_IMAGE).calls >= 2 && FAKE(VERB_IMAGE).inside == 0);
    rig_turn();
    rig_take(rig_front, 3, rig_key("p"), 60000);
    refused(rig_front, 3, REFUSE_IMAGE);
    before = FAKE(VERB_IMAGE).calls;
    rig_turn();
    ck_assert_uint_eq(FAKE(VERB_IMAGE).calls, before); /* no storm of questions */
    rig_lock();
    fake->missing[0] = '\0';
    rig_unlock();
    rig_advance(5000);
    rig_settle("p", 1);
    fd = rig_run("p", 4, &taken);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(a_new_image_gets_a_new_pool_and_then_the_old_one_goes)
{
    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    rig_lock();
    fake->digest[10] = '2';
    rig_unlock();
    rig_signal(SIGHUP);
    while (rig_alive() != 2 || !fake->boxes[0].is_gone || !fake->boxes[1].is_gone)
        rig_advance(250); /* the new pool is measured; Check's time-out is the end */
    ck_assert_str_eq(fake->boxes[2].image, fake->digest);
    ck_assert_str_ne(fake->boxes[2].image, fake->boxes[0].image);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_STREAM], 0);
    rig_settle("p", 2);
}
END_TEST

START_TEST(memory_that_the_kernel_took_back_is_told_as_fate)
{
    struct handover taken, fate;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 1, &taken);
    rig_lock();
    fake->state = (struct engine_state){.exit_code = 137};
    (void)str_copy(fake->oom_id, fake->boxes[rig_box_of(&taken)].id, sizeof(fake->oom_id));
    rig_unlock();
    do {
        rig_ask(rig_front,
                (struct handover){.type = HANDOVER_FATE, .seq = 2, .member = taken.member});
        fate = rig_answer(rig_front, NULL);
        ck_assert_uint_eq(fate.type, HANDOVER_FATE_IS);
        ck_assert(fate.u.fate.is_known);
        ck_assert_int_eq(fate.u.fate.exit_code, 137);
    } while (!fate.u.fate.is_oom);
    ck_assert(!fate.u.fate.was_killed_by_us);
    rig_finish(&taken, fd);
}
END_TEST

/* ---- stopping ---- */

START_TEST(a_stop_takes_what_is_parked_and_waits_for_what_runs)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 3, max: 3}", 3);
    fd = rig_run("p", 1, &taken);
    rig_signal(SIGTERM);
    UNTIL(rig_alive() == 1);
    ck_assert(!fake->boxes[rig_box_of(&taken)].is_gone);
    rig_take(rig_front, 2, rig_key("p"), 60000);
    refused(rig_front, 2, REFUSE_STOPPING);
    rig_advance(1900);
    ck_assert_uint_eq(rig_alive(), 1);
    rig_finish(&taken, fd);
    ck_assert_int_eq(rig_wait(), 0);
}
END_TEST

START_TEST(a_stop_waits_no_longer_than_the_drain)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = 1}, taken;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    m.u.take = (struct handover_take){.policy = rig_key("p"), .wait_ms = 1000, .run_ms = 100000};
    rig_ask(rig_front, m);
    taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(taken.type, HANDOVER_TAKEN);
    rig_signal(SIGTERM);
    UNTIL_POOL("p", pool.running == 1 && pool.parked == 0);
    rig_advance(rig_settings.drain_ms - 1000);
    ck_assert_uint_eq(rig_alive(), 1);
    (void)__atomic_add_fetch(&fake->now_ms, 1000, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(rig_wait(), 0);
    (void)close(fd);
}
END_TEST

START_TEST(a_second_stop_does_not_wait)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 1, &taken);
    rig_signal(SIGTERM);
    rig_turn();
    ck_assert_uint_eq(rig_alive(), 1);
    rig_signal(SIGTERM);
    ck_assert_int_eq(rig_wait(), 0);
    (void)close(fd);
}
END_TEST

/* ---- clients ---- */

START_TEST(what_a_dead_front_held_is_destroyed_and_the_parked_stay)
{
    struct handover taken;
    int fd, second;

    start_with(SMALL "pool: {min: 3, max: 3}", 3);
    fd = rig_run("p", 1, &taken);
    second = rig_new_client();
    (void)close(rig_front);
    rig_front = second;
    UNTIL(fake->boxes[rig_box_of(&taken)].is_gone);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_FRONT], 1);
    rig_settle("p", 3);
    ck_assert_uint_eq(fake->boxes_n, 4);
    (void)close(fd);
}
END_TEST

START_TEST(a_client_cannot_end_what_another_one_holds)
{
    struct handover taken;
    int fd, other;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 1, &taken);
    other = rig_new_client();
    rig_ask(other, (struct handover){.type = HANDOVER_DONE, .member = taken.member});
    rig_ask(other, (struct handover){.type = HANDOVER_EXTEND, .member = taken.member, .ms = 1});
    rig_ask(other, (struct handover){.type = HANDOVER_CANCEL, .seq = 1});
    ck_assert(rig_is_quiet(other));
    rig_advance(100);
    ck_assert_uint_eq(rig_pool("p").running, 1);
    (void)close(other);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").running, 1);
    rig_finish(&taken, fd);
}
END_TEST

/* Numbers beyond what the policy allows: 256 MiB, 30 s, and two minutes for transfers. */
static const struct handover_take too_much[] = {
    {.memory = 256ULL * MIB + 1, .run_ms = 1000},
    {.memory = 1, .run_ms = 1000},
    {.memory = UINT64_MAX, .run_ms = 1000},
    {.run_ms = 30000 + 120000 + 1},
    {.run_ms = UINT32_MAX},
    {.run_ms = 1000, .wait_ms = UINT32_MAX},
};

START_TEST(a_take_beyond_the_policy_is_refused)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = 8};

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    m.u.take = too_much[_i];
    m.u.take.policy = rig_key("p");
    rig_ask(rig_front, m);
    refused(rig_front, 8, REFUSE_POLICY);
    ck_assert_uint_eq(rig_pool("p").parked, 1);
}
END_TEST

START_TEST(a_policy_that_nobody_wrote_is_refused)
{
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    rig_take(rig_front, 9, rig_key("p") + 1, 1000);
    refused(rig_front, 9, REFUSE_POLICY);
}
END_TEST

START_TEST(a_policy_that_was_removed_takes_its_containers_along)
{
    uint64_t key;

    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    key = rig_key("p");
    rig_remove_policy("p");
    rig_signal(SIGHUP);
    UNTIL(rig_alive() == 0);
    while (rig_pool_of(key, 0).policy) /* it serves those who are late until it is empty */
        rig_turn();
    rig_take(rig_front, 3, key, 1000);
    refused(rig_front, 3, REFUSE_POLICY);
}
END_TEST

START_TEST(the_line_is_served_in_its_order_and_has_an_end)
{
    struct handover taken, next;
    int fd, fd2;

    rig_settings.containers_max = 1;
    start_with(SMALL "pool: {min: 1, max: 1}\nqueue: {max: 2, wait: 10s}", 1);
    fd = rig_run("p", 1, &taken);
    rig_take(rig_front, 2, rig_key("p"), 10000);
    rig_take(rig_front, 3, rig_key("p"), 10000);
    rig_take(rig_front, 4, rig_key("p"), 10000);
    refused(rig_front, 4, REFUSE_FULL);
    ck_assert_uint_eq(rig_pool("p").waiting, 2);
    rig_finish(&taken, fd);
    next = rig_answer(rig_front, &fd2);
    ck_assert_uint_eq(next.type, HANDOVER_TAKEN);
    ck_assert_uint_eq(next.seq, 2);
    ck_assert_uint_eq(next.u.taken.was_parked, 0);
    rig_ask(rig_front, (struct handover){.type = HANDOVER_CANCEL, .seq = 3});
    UNTIL_POOL("p", pool.waiting == 0);
    rig_finish(&next, fd2);
}
END_TEST

START_TEST(a_wait_ends_when_it_was_told_to)
{
    struct handover taken;
    int fd;

    rig_settings.containers_max = 1;
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 1, &taken);
    rig_take(rig_front, 2, rig_key("p"), 500);
    UNTIL_POOL("p", pool.waiting == 1);
    rig_advance(499);
    ck_assert(rig_is_quiet(rig_front));
    rig_advance(1);
    refused(rig_front, 2, REFUSE_WAITED);
    rig_finish(&taken, fd);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, containers_of_a_dead_keeper_go_before_anything_is_made);
    tcase_add_test(t, a_create_that_happened_after_all_is_found_and_removed);
    tcase_add_test(t, what_a_killed_run_of_the_command_line_left_is_removed);
    tcase_add_test(t, an_orphan_that_could_not_be_removed_is_tried_again_soon);
    tcase_add_test(t, a_removal_that_fails_is_tried_until_it_is_done);
    tcase_add_test(t, every_container_has_a_name_of_its_own);
    tcase_add_test(t, who_waits_hears_that_the_engine_is_gone_and_what_comes_later_is_served);
    tcase_add_test(t, a_missing_image_is_said_and_asked_for_again);
    tcase_add_test(t, a_new_image_gets_a_new_pool_and_then_the_old_one_goes);
    tcase_add_test(t, memory_that_the_kernel_took_back_is_told_as_fate);
    tcase_add_test(t, a_stop_takes_what_is_parked_and_waits_for_what_runs);
    tcase_add_test(t, a_stop_waits_no_longer_than_the_drain);
    tcase_add_test(t, a_second_stop_does_not_wait);
    tcase_add_test(t, what_a_dead_front_held_is_destroyed_and_the_parked_stay);
    tcase_add_test(t, a_client_cannot_end_what_another_one_holds);
    tcase_add_loop_test(t, a_take_beyond_the_policy_is_refused, 0, ARRAY_LEN(too_much));
    tcase_add_test(t, a_policy_that_nobody_wrote_is_refused);
    tcase_add_test(t, a_policy_that_was_removed_takes_its_containers_along);
    tcase_add_test(t, the_line_is_served_in_its_order_and_has_an_end);
    tcase_add_test(t, a_wait_ends_when_it_was_told_to);
}

UNIT_MAIN_ONE_PROCESS("keeper_upkeep", add_tests)
