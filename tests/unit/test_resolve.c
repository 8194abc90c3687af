#include "relay_rig.h"

#include <sys/eventfd.h>

static struct resolver *resolver;
static int event;

static void set_up(void)
{
    rig_is_gate_shut = false;
    rig_asked = rig_waiting = 0;
    resolver = resolver_new(rig_lookup);
    event = eventfd(0, EFD_CLOEXEC);
}

static void tear_down(void)
{
    rig_open_gate();
    resolver_free(resolver);
    (void)close(event);
}

static void wait_for_event(void)
{
    uint64_t n;

    ck_assert_int_eq(read(event, &n, sizeof(n)), sizeof(n));
}

START_TEST(an_answer_comes_with_an_event)
{
    struct lookup *l = resolver_ask(resolver, "here.test", "80", event);
    struct resolved found;
    char text[ADDRESS_TEXT_MAX];

    ck_assert_ptr_nonnull(l);
    wait_for_event();
    ck_assert(resolver_look(resolver, l, &found));
    ck_assert_uint_eq(found.n, 1);
    address_text(text, (const struct sockaddr *)&found.list[0]);
    ck_assert_str_eq(text, "127.0.0.1:80");
    resolver_drop(resolver, l);
}
END_TEST

START_TEST(a_name_that_is_not_there_is_an_answer_too)
{
    struct lookup *l = resolver_ask(resolver, "gone.test", "80", event);
    struct resolved found;

    wait_for_event();
    ck_assert(resolver_look(resolver, l, &found));
    ck_assert_uint_eq(found.n, 0);
    resolver_drop(resolver, l);
}
END_TEST

START_TEST(the_systems_own_lookup_is_the_usual_one)
{
    struct resolver *usual = resolver_new(NULL);
    struct lookup *l = resolver_ask(usual, "localhost", "80", event);
    struct resolved found;

    wait_for_event();
    ck_assert(resolver_look(usual, l, &found));
    ck_assert_uint_gt(found.n, 0);
    ck_assert(address_is_own((const struct sockaddr *)&found.list[0]));
    resolver_drop(usual, l);
    resolver_free(usual);
}
END_TEST

START_TEST(slow_names_do_not_stop_others_until_all_threads_wait)
{
    struct lookup *slow[RESOLVE_THREADS + 1];
    struct resolved found;

    rig_is_gate_shut = true;
    for (int i = 0; i <= RESOLVE_THREADS; i++) {
        slow[i] = resolver_ask(resolver, "here.test", "80", event);
        ck_assert_ptr_nonnull(slow[i]);
    }
    rig_wait_at_gate(RESOLVE_THREADS);
    ck_assert(!resolver_look(resolver, slow[0], &found));
    ck_assert_uint_eq(rig_asked, RESOLVE_THREADS);
    resolver_drop(resolver, slow[RESOLVE_THREADS]); /* in the queue */
    resolver_drop(resolver, slow[0]);               /* under way */
    rig_open_gate();
    for (int i = 1; i < RESOLVE_THREADS; i++) {
        while (!resolver_look(resolver, slow[i], &found))
            wait_for_event();
        resolver_drop(resolver, slow[i]);
    }
}
END_TEST

START_TEST(the_queue_is_bounded)
{
    struct lookup *all[RESOLVE_THREADS + RESOLVE_QUEUE];

    rig_is_gate_shut = true;
    for (int i = 0; i < RESOLVE_THREADS; i++) {
        all[i] = resolver_ask(resolver, "a.test", "80", event);
        rig_wait_at_gate((unsigned)i + 1);
    }
    for (int i = RESOLVE_THREADS; i < RESOLVE_THREADS + RESOLVE_QUEUE; i++) {
        all[i] = resolver_ask(resolver, "a.test", "80", event);
        ck_assert_ptr_nonnull(all[i]);
    }
    ck_assert_ptr_null(resolver_ask(resolver, "a.test", "80", event));
    for (int i = 0; i < RESOLVE_THREADS + RESOLVE_QUEUE; i++)
        resolver_drop(resolver, all[i]);
    resolver_drop(resolver, NULL);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, an_answer_comes_with_an_event);
    tcase_add_test(t, a_name_that_is_not_there_is_an_answer_too);
    tcase_add_test(t, the_systems_own_lookup_is_the_usual_one);
    tcase_add_test(t, slow_names_do_not_stop_others_until_all_threads_wait);
    tcase_add_test(t, the_queue_is_bounded);
}

UNIT_MAIN("resolve", add_tests)
