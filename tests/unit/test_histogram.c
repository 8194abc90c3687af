#include <string.h>

#include "base/mem.h"
#include "core/histogram.h"
#include "unit.h"

static const int64_t bounds[] = {5, 1000, 2500};
static const struct histogram_scale scale = {bounds, ARRAY_LEN(bounds), 1000};
static struct histogram h;

static const struct {
    int64_t value;
    size_t bucket;
} rows[] = {
    {0,         0},
    {5,         0},
    {6,         1},
    {1000,      1},
    {2500,      2},
    {2501,      3},
    {INT64_MAX, 3},
};

START_TEST(a_bound_belongs_to_its_bucket)
{
    ck_assert_uint_eq(histogram_bucket(&scale, rows[_i].value), rows[_i].bucket);
}
END_TEST

static void check_text(const char *label, const char *wanted)
{
    CLEANUP(buf_done) struct buf b = {.max = 4096};

    histogram_put(&b, "x", label, &h, &scale);
    ck_assert_str_eq(buf_get(&b), wanted);
}

START_TEST(its_buckets_are_cumulative_and_its_bounds_in_the_unit)
{
    histogram_add(&h, &scale, 1500);
    histogram_add(&h, &scale, 3);
    histogram_add(&h, &scale, 3000);
    histogram_add(&h, &scale, -7); /* a clock that went back */
    check_text("", "x_bucket{le=\"0.005\"} 2\n"
                   "x_bucket{le=\"1\"} 2\n"
                   "x_bucket{le=\"2.5\"} 3\n"
                   "x_bucket{le=\"+Inf\"} 4\n"
                   "x_sum 4.503\n"
                   "x_count 4\n");
    check_text("a=\"b\"", "x_bucket{a=\"b\",le=\"0.005\"} 2\n"
                          "x_bucket{a=\"b\",le=\"1\"} 2\n"
                          "x_bucket{a=\"b\",le=\"2.5\"} 3\n"
                          "x_bucket{a=\"b\",le=\"+Inf\"} 4\n"
                          "x_sum{a=\"b\"} 4.503\n"
                          "x_count{a=\"b\"} 4\n");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, a_bound_belongs_to_its_bucket, 0, ARRAY_LEN(rows));
    tcase_add_test(t, its_buckets_are_cumulative_and_its_bounds_in_the_unit);
}

UNIT_MAIN("histogram", add_tests)
