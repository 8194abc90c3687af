#include <string.h>

#include "base/units.h"
#include "unit.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

/* clang-format off */
static const struct {
    const char *text;
    int64_t whole, bytes;
} good_sizes[] = {
    {"0", 0, 0},
    {"4096", 0, 4096},
    {"4096B", 0, 4096},
    {"512KiB", 0, 512 * 1024},
    {"256MiB", 0, 256 * MIB},
    {"1.5GiB", 0, 3 * GIB / 2},
    {"0.25KiB", 0, 256},
    {"8589934591GiB", 0, 8589934591 * GIB},
    {"50%", GIB, GIB / 2},
    {"12.5%", GIB, GIB / 8},
    {"100%", GIB, GIB},
    {"100%", INT64_MAX, INT64_MAX / 4096 * 4096},
    {"50%", 10001, 4096},
    {"min(10GiB, 50%)", 8 * GIB, 4 * GIB},
    {"min(10GiB, 50%)", 64 * GIB, 10 * GIB},
    {"min( 3MiB ,2MiB,4MiB)", 0, 2 * MIB},
    {"min(7B)", 0, 7},
    {"min(8,7,6,5,4,3,2,1)", 0, 1},
};
/* clang-format on */

START_TEST(reads_sizes)
{
    int64_t v = -1;
    struct err e = {0};

    ck_assert_msg(units_size(good_sizes[_i].text, good_sizes[_i].whole, &v, &e) == 0, "%s: %s",
                  good_sizes[_i].text, e.msg);
    ck_assert_int_eq(v, good_sizes[_i].bytes);
}
END_TEST

/* clang-format off */
static const struct {
    const char *text;
    int64_t whole;
    const char *mention;
} bad_sizes[] = {
    {"", 0, "must be a size such as 256MiB"},
    {"x", 0, "not 'x'"},
    {"-1MiB", 0, "not '-1MiB'"},
    {"+1MiB", 0, "must be a size"},
    {" 1MiB", 0, "must be a size"},
    {"1 MiB", 0, "must be a size"},
    {"1MB", 0, "(B, KiB, MiB, GiB)"},
    {"512k", 0, "not '512k'"},
    {"1mib", 0, "must be a size"},
    {"1MiBx", 0, "must be a size"},
    {"1.", 0, "must be a size"},
    {".5GiB", 0, "must be a size"},
    {"1.0000001GiB", 0, "must be a size"},
    {"1e3", 0, "must be a size"},
    {"nan", 0, "must be a size"},
    {"0.1KiB", 0, "not a whole number"},
    {"0.5", 0, "not a whole number"},
    {"8589934592GiB", 0, "too large"},
    {"999999999999999999GiB", 0, "too large"},
    {"9999999999999999999", 0, "must be a size"},
    {"50%", 0, "share of nothing"},
    {"0%", GIB, "not a share from 0% to 100%"},
    {"100.1%", GIB, "not a share"},
    {"-5%", GIB, "or a share such as 50%"},
    {"5%%", GIB, "or a share such as 50%"},
    {"%", GIB, "or a share such as 50%"},
    {"min()", GIB, "must be a size"},
    {"min(1MiB", GIB, "must be a size"},
    {"min(1MiB,)", GIB, "must be a size"},
    {"min(1MiB))", GIB, "min(SIZE, SIZE)"},
    {"min(1MiB)x)", GIB, "min(SIZE, SIZE)"},
    {"min(1,2,3,4,5,6,7,8,9)", GIB, "up to 8 sizes"},
    {"min(min(1B), 2B)", GIB, "must be a size"},
    {"min(1MiB, 10000000000000000000000000000000000000000000000000000000000000000000000)", GIB,
     "min(SIZE, SIZE)"},
};
/* clang-format on */

START_TEST(refuses_sizes)
{
    int64_t v = -1;
    struct err e = {0};

    ck_assert_int_eq(units_size(bad_sizes[_i].text, bad_sizes[_i].whole, &v, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_msg(strstr(e.msg, bad_sizes[_i].mention), "'%s': %s", bad_sizes[_i].text, e.msg);
    ck_assert_int_eq(v, -1);
}
END_TEST

/* clang-format off */
static const struct {
    const char *text;
    int64_t ms;
} good_times[] = {
    {"0", 0},
    {"30", 30000},
    {"0.3", 300},
    {"120.0", 120000},
    {"250ms", 250},
    {"30s", 30000},
    {"1.5s", 1500},
    {"5m", 300000},
    {"2h", 7200000},
    {"7d", 604800000},
};
/* clang-format on */

START_TEST(reads_times)
{
    int64_t v = -1;

    ck_assert_int_eq(units_time(good_times[_i].text, &v, NULL), 0);
    ck_assert_int_eq(v, good_times[_i].ms);
}
END_TEST

static const char *const bad_times[] = {"",    "s",    "-1s",     "1 s", "1sec",  "1S",
                                        "inf", "0x10", "0.0001s", "1M",  "0.5ms", "200000000000d"};

START_TEST(refuses_times)
{
    struct err e = {0};
    int64_t v = -1;

    ck_assert_int_eq(units_time(bad_times[_i], &v, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_int_eq(v, -1);
}
END_TEST

/* clang-format off */
static const struct {
    int64_t value;
    const char *size, *time;
} printed[] = {
    {0, "0", "0s"},
    {1, "1B", "1ms"},
    {1000, "1000B", "1s"},
    {1024, "1KiB", "1024ms"},
    {1536, "1536B", "1536ms"},
    {60000, "60000B", "1m"},
    {90000, "90000B", "90s"},
    {3600000, "3600000B", "1h"},
    {86400000, "84375KiB", "1d"},
    {5 * GIB, "5GiB", "5368709120ms"},
    {INT64_MAX, "9223372036854775807B", "9223372036854775807ms"},
};
/* clang-format on */

START_TEST(prints_the_shortest_form_and_reads_it_back)
{
    CLEANUP(buf_done) struct buf b = {.max = 64};
    int64_t v;

    units_put_size(&b, printed[_i].value);
    ck_assert_str_eq(buf_get(&b), printed[_i].size);
    if (printed[_i].value < INT64_MAX) {
        ck_assert_int_eq(units_size(buf_get(&b), 0, &v, NULL), 0);
        ck_assert_int_eq(v, printed[_i].value);
    }
    buf_clear(&b);
    units_put_time(&b, printed[_i].value);
    ck_assert_str_eq(buf_get(&b), printed[_i].time);
    if (printed[_i].value < INT64_MAX) {
        ck_assert_int_eq(units_time(buf_get(&b), &v, NULL), 0);
        ck_assert_int_eq(v, printed[_i].value);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, reads_sizes, 0, ARRAY_LEN(good_sizes));
    tcase_add_loop_test(t, refuses_sizes, 0, ARRAY_LEN(bad_sizes));
    tcase_add_loop_test(t, reads_times, 0, ARRAY_LEN(good_times));
    tcase_add_loop_test(t, refuses_times, 0, ARRAY_LEN(bad_times));
    tcase_add_loop_test(t, prints_the_shortest_form_and_reads_it_back, 0, ARRAY_LEN(printed));
}

UNIT_MAIN_ONE_PROCESS("units", add_tests)
