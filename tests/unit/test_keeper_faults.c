/* What goes wrong around the keeper: images that are lost, an engine that is gone, fronts that lie. */
#include "unit.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "keeper/state.h"
#include "keeper_rig.c"

#define SMALL "memory: {limit: 128MiB, max: 256MiB}\n"

static const char other_digest[] =
    "sha256:2222222222222222222222222222222222222222222222222222222222222222";

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

static void start_with(const char *lines, unsigned parked)
{
    rig_policy("p", lines);
    rig_start();
    rig_settle("p", parked);
}

static void set_digest(const char *digest)
{
    rig_lock();
    (void)str_copy(fake->digest, digest, sizeof(fake->digest));
    rig_unlock();
}

static void set_missing(const char *reference)
{
    rig_lock();
    (void)str_copy(fake->missing, reference, sizeof(fake->missing));
    rig_unlock();
}

static unsigned calls(enum verb verb)
{
    unsigned n;

    rig_lock();
    n = FAKE(verb).calls;
    rig_unlock();
    return n;
}

/* Moves the clock until the engine has been asked so often. */
static void advance_until_calls(enum verb verb, unsigned n)
{
    for (int i = 0; i < 1000 && calls(verb) < n; i++)
        rig_advance(100);
    ck_assert_uint_ge(calls(verb), n);
}

static unsigned refusal_of(uint64_t seq)
{
    struct handover m = rig_answer(rig_front, NULL);

    ck_assert_uint_eq(m.type, HANDOVER_REFUSED);
    ck_assert_uint_eq(m.seq, seq);
    return m.reason;
}

/* ---- images ---- */

START_TEST(an_image_that_was_lost_is_looked_for_until_it_is_back)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 0, max: 0}", 0);
    UNTIL(FAKE(VERB_IMAGE).calls >= 1 && FAKE(VERB_IMAGE).inside == 0);
    rig_turn();
    rig_lock();
    FAKE(VERB_PARK).kind = ERR_NOTFOUND;
    FAKE(VERB_PARK).fails = 1;
    rig_unlock();
    rig_take(rig_front, 1, rig_key("p"), 60000);
    ck_assert_uint_eq(refusal_of(1), REFUSE_IMAGE);
    /* No storm of starts: until it is there again nobody tries. */
    rig_take(rig_front, 2, rig_key("p"), 60000);
    ck_assert_uint_eq(refusal_of(2), REFUSE_IMAGE);
    ck_assert_uint_eq(calls(VERB_PARK), 1);
    advance_until_calls(VERB_IMAGE, calls(VERB_IMAGE) + 1);
    fd = rig_run("p", 3, &taken);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(what_is_left_of_a_lost_image_is_not_taken_for_the_next_one)
{
    struct handover taken;
    uint8_t image[32];
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    set_missing("test/image");
    rig_signal(SIGHUP);
    /* Newest first: the pool that waits for an image stands before the one that has a container. */
    UNTIL_POOL("p", pool.parked == 0);
    ck_assert_uint_eq(rig_pool_of(rig_key("p"), 1).parked, 1);
    set_digest(other_digest);
    set_missing("");
    advance_until_calls(VERB_IMAGE, calls(VERB_IMAGE) + 1);
    rig_settle("p", 1);
    UNTIL(fake->boxes[0].is_gone);
    ck_assert_str_eq(fake->boxes[1].image, other_digest);
    fd = rig_run("p", 1, &taken);
    memset(image, 0x22, sizeof(image));
    ck_assert_mem_eq(taken.u.taken.image, image, sizeof(image));
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(nothing_is_started_before_the_orphans_were_looked_for)
{
    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    FAKE(VERB_LIST).fails = 2;
    rig_start();
    UNTIL(FAKE(VERB_LIST).calls == 1 && FAKE(VERB_LIST).inside == 0);
    rig_turn();
    ck_assert_uint_eq(calls(VERB_PARK), 0);
    advance_until_calls(VERB_LIST, 3);
    rig_settle("p", 1);
}
END_TEST

/* ---- the engine ---- */

START_TEST(pings_of_a_dead_engine_are_few)
{
    unsigned before;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    rig_lock();
    FAKE(VERB_LIST).fails = FAKE(VERB_PING).fails = FAIL_ALWAYS;
    rig_unlock();
    for (int i = 0; i < 400 && rig_counts().is_engine_up; i++)
        rig_advance(100);
    before = calls(VERB_PING);
    rig_advance(60000);
    for (int i = 0; i < 600; i++)
        rig_advance(100);
    ck_assert_uint_ge(calls(VERB_PING), before + 3); /* the threads that call may be slow */
    ck_assert_uint_le(calls(VERB_PING), before + 16);
}
END_TEST

/* A network that it joins is not there, say. The clock stands still: nothing waits. */
START_TEST(a_policy_that_cannot_start_holds_up_no_other)
{
    struct handover taken;
    int fd;

    FAKE(VERB_PARK).kind = ERR_INVALID;
    FAKE(VERB_PARK).fails = FAIL_ALWAYS;
    (void)str_copy(fake->failing_policy, "bad", sizeof(fake->failing_policy));
    rig_policy("bad", SMALL "pool: {min: 1, max: 1}");
    start_with(SMALL "pool: {min: 1, max: 2}", 1);
    UNTIL_POOL("bad", pool.discarded[DISCARD_START] >= 1);
    for (uint64_t i = 1; i <= 3; i++) {
        fd = rig_run("p", i, &taken);
        rig_finish(&taken, fd);
        rig_take(rig_front, 10 + i, rig_key("bad"), 60000);
        for (int n = 0; n < 60 && rig_pool("bad").waiting; n++)
            rig_advance(100);
        ck_assert_uint_eq(refusal_of(10 + i), REFUSE_START);
    }
    ck_assert(rig_counts().is_engine_up);
    ck_assert_uint_le(rig_pool("bad").discarded[DISCARD_START], 12); /* no storm */
    rig_lock();
    FAKE(VERB_PARK).fails = 0;
    rig_unlock();
    for (int n = 0; n < 600 && !rig_pool("bad").parked; n++)
        rig_advance(100);
    UNTIL_POOL("bad", pool.parked == 1);
}
END_TEST

/* ---- fronts ---- */

static const struct handover bad_messages[] = {
    {.type = 0},
    {.type = HANDOVER_TAKEN},
    {.type = HANDOVER_TYPES},
    {.type = UINT32_MAX},
};

START_TEST(a_front_that_breaks_the_protocol_is_dropped_and_the_keeper_goes_on)
{
    struct handover taken;
    int fd, client;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    client = rig_new_client();
    rig_ask(client, bad_messages[_i]);
    ck_assert(rig_is_closed(client));
    (void)close(client);
    client = rig_new_client();
    ck_assert_int_eq(send(client, "short", 5, 0), 5);
    ck_assert(rig_is_closed(client));
    (void)close(client);
    fd = rig_run("p", 1, &taken);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(who_cancels_leaves_the_line)
{
    start_with(SMALL "pool: {min: 0, max: 0}", 0);
    rig_lock();
    FAKE(VERB_PARK).is_held = true;
    rig_unlock();
    rig_take(rig_front, 4, rig_key("p"), 60000);
    UNTIL_POOL("p", pool.waiting == 1);
    rig_ask(rig_front, (struct handover){.type = HANDOVER_CANCEL, .seq = 4});
    UNTIL_POOL("p", pool.waiting == 0);
    rig_lock();
    FAKE(VERB_PARK).is_held = false;
    rig_unlock();
    ck_assert(rig_is_quiet(rig_front));
}
END_TEST

/* ---- reload ---- */

START_TEST(a_faulty_policy_changes_nothing)
{
    struct handover taken;
    uint64_t key;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    key = rig_key("p");
    rig_policy("p", "memry: 1GiB");
    rig_signal(SIGHUP);
    rig_turn();
    rig_take(rig_front, 1, key, 1000);
    taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(taken.type, HANDOVER_TAKEN);
    rig_finish(&taken, fd);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 2 * RIG_PATIENCE_S);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_image_that_was_lost_is_looked_for_until_it_is_back);
    tcase_add_test(t, what_is_left_of_a_lost_image_is_not_taken_for_the_next_one);
    tcase_add_test(t, nothing_is_started_before_the_orphans_were_looked_for);
    tcase_add_test(t, pings_of_a_dead_engine_are_few);
    tcase_add_test(t, a_policy_that_cannot_start_holds_up_no_other);
    tcase_add_loop_test(t, a_front_that_breaks_the_protocol_is_dropped_and_the_keeper_goes_on, 0,
                        ARRAY_LEN(bad_messages));
    tcase_add_test(t, who_cancels_leaves_the_line);
    tcase_add_test(t, a_faulty_policy_changes_nothing);
}

UNIT_MAIN_ONE_PROCESS("keeper_faults", add_tests)
