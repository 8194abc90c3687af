#include "frames/handover.h"

#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

START_TEST(the_front_may_say_some_types_and_the_keeper_the_others)
{
    for (uint32_t type = 0; type < 40; type++) {
        struct handover m = {.type = type};
        bool from_front = type >= HANDOVER_TAKE && type <= HANDOVER_STATS;
        bool from_keeper = type >= HANDOVER_TAKEN && type <= HANDOVER_COUNTS;

        ck_assert_int_eq(handover_is_valid(&m, sizeof(m), true), from_front);
        ck_assert_int_eq(handover_is_valid(&m, sizeof(m), false), from_keeper);
    }
}
END_TEST

static const ssize_t lengths[] = {-1, 0, 1, sizeof(struct handover) - 1,
                                  sizeof(struct handover) + 1};

START_TEST(only_the_exact_length_is_valid)
{
    struct handover m = {.type = HANDOVER_TAKE};

    ck_assert(!handover_is_valid(&m, lengths[_i], true));
    m.type = HANDOVER_TAKEN;
    ck_assert(!handover_is_valid(&m, lengths[_i], false));
}
END_TEST

START_TEST(reasons_of_the_keeper_are_known_ones)
{
    struct handover m = {.type = HANDOVER_REFUSED};

    for (uint32_t reason = 0; reason < REFUSE_REASONS; reason++) {
        m.reason = reason;
        ck_assert(handover_is_valid(&m, sizeof(m), false));
    }
    m.reason = REFUSE_REASONS;
    ck_assert(!handover_is_valid(&m, sizeof(m), false));
    m.reason = UINT32_MAX;
    ck_assert(!handover_is_valid(&m, sizeof(m), false));
}
END_TEST

typedef const char *name_of(int value);

static const char *refusal(int v)
{
    return refuse_text((enum refuse_reason)v);
}

static const char *discard(int v)
{
    return discard_name((enum discard_reason)v);
}

static const char *call(int v)
{
    return engine_call_name((enum engine_call)v);
}

static const struct names {
    name_of *of;
    int n;
    const char *beyond;
} names[] = {
    {refusal, REFUSE_REASONS,  "no reason"},
    {discard, DISCARD_REASONS, "unknown"  },
    {call,    ENGINE_CALLS,    "unknown"  },
};

START_TEST(every_value_has_a_name_of_its_own)
{
    const struct names *n = &names[_i];

    for (int a = 0; a < n->n; a++) {
        ck_assert_ptr_nonnull(n->of(a));
        ck_assert_str_ne(n->of(a), "unknown");
        for (int b = 0; b < a; b++)
            ck_assert_str_ne(n->of(a), n->of(b));
    }
    ck_assert_str_eq(n->of(n->n), n->beyond);
    ck_assert_str_eq(n->of(-1), n->beyond);
}
END_TEST

START_TEST(labels_are_what_metrics_may_be_called)
{
    for (int i = 0; i < DISCARD_REASONS; i++)
        ck_assert_uint_eq(strspn(discard(i), "abcdefghijklmnopqrstuvwxyz_"), strlen(discard(i)));
    for (int i = 0; i < ENGINE_CALLS; i++)
        ck_assert_uint_eq(strspn(call(i), "abcdefghijklmnopqrstuvwxyz_"), strlen(call(i)));
    ck_assert_str_eq(call(ENGINE_INSPECT), "inspect");
    ck_assert_str_eq(call(ENGINE_EVENTS), "events");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, the_front_may_say_some_types_and_the_keeper_the_others);
    tcase_add_loop_test(t, only_the_exact_length_is_valid, 0, ARRAY_LEN(lengths));
    tcase_add_test(t, reasons_of_the_keeper_are_known_ones);
    tcase_add_loop_test(t, every_value_has_a_name_of_its_own, 0, ARRAY_LEN(names));
    tcase_add_test(t, labels_are_what_metrics_may_be_called);
}

UNIT_MAIN("handover", add_tests)
