#include "base/clock.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "unit.h"

START_TEST(monotonic_clocks_agree_and_never_go_back)
{
    int64_t us = clock_us(), ms = clock_ms();

    ck_assert_int_ge(ms, us / 1000);
    ck_assert_int_le(ms, clock_us() / 1000);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_us();

        ck_assert_int_ge(now, us);
        us = now;
    }
}
END_TEST

START_TEST(the_wall_clock_is_unix_time)
{
    int64_t before = (int64_t)time(NULL) * 1000, now = clock_wall_ms();

    ck_assert_int_ge(now, before);
    ck_assert_int_le(now, ((int64_t)time(NULL) + 1) * 1000);
}
END_TEST

START_TEST(time_left_is_what_poll_wants)
{
    int64_t now = clock_ms();
    int left = clock_left_ms(now + 5000);

    ck_assert_int_eq(clock_left_ms(INT64_MAX), -1);
    ck_assert_int_eq(clock_left_ms(now - 1), 0);
    ck_assert_int_eq(clock_left_ms(0), 0);
    ck_assert_int_eq(clock_left_ms(INT64_MIN), 0);
    ck_assert_int_gt(left, 0);
    ck_assert_int_le(left, 5000);
    ck_assert_int_eq(clock_left_ms(now + (1LL << 40)), INT_MAX);
}
END_TEST

START_TEST(a_deadline_is_waited_for_and_not_longer)
{
    int64_t deadline = clock_ms() + 30;

    while (clock_left_ms(deadline) > 0)
        (void)poll(NULL, 0, clock_left_ms(deadline));
    ck_assert_int_ge(clock_ms(), deadline);
}
END_TEST

static const struct text {
    int64_t ms;
    const char *text;
} texts[] = {
    {0,               "1970-01-01T00:00:00.000Z"},
    {1,               "1970-01-01T00:00:00.001Z"},
    {1795255200123,   "2026-11-21T10:00:00.123Z"},
    {951782399999,    "2000-02-28T23:59:59.999Z"},
    {951782400000,    "2000-02-29T00:00:00.000Z"},
    {253402300799999, "9999-12-31T23:59:59.999Z"},
    {-1,              "1969-12-31T23:59:59.999Z"},
    {-1000,           "1969-12-31T23:59:59.000Z"},
};

START_TEST(times_are_written_in_utc_with_milliseconds)
{
    char out[CLOCK_TEXT_MAX];

    ck_assert_ptr_eq(clock_text(out, texts[_i].ms), out);
    ck_assert_str_eq(out, texts[_i].text);
}
END_TEST

START_TEST(far_times_stay_within_their_room)
{
    static const int64_t far[] = {INT64_MAX, INT64_MIN, 1LL << 55};

    for (unsigned i = 0; i < sizeof(far) / sizeof(*far); i++) {
        struct {
            char out[CLOCK_TEXT_MAX], guard[8];
        } s = {.guard = "guarded"};

        (void)clock_text(s.out, far[i]);
        ck_assert_uint_lt(strlen(s.out), CLOCK_TEXT_MAX);
        ck_assert_str_eq(s.guard, "guarded");
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, monotonic_clocks_agree_and_never_go_back);
    tcase_add_test(t, the_wall_clock_is_unix_time);
    tcase_add_test(t, time_left_is_what_poll_wants);
    tcase_add_test(t, a_deadline_is_waited_for_and_not_longer);
    tcase_add_loop_test(t, times_are_written_in_utc_with_milliseconds, 0,
                        sizeof(texts) / sizeof(*texts));
    tcase_add_test(t, far_times_stay_within_their_room);
}

UNIT_MAIN("clock", add_tests)
