/* A generator's programs in containers of the service: here of a rig that plays one. */
#include "unit.h"

#include <string.h>

#include "model/runner.h"
#include "run_rig.h"

static struct run_rig rig;
static struct buf told[2];

static void setup(void)
{
    struct policy_set set;

    run_rig_init(&rig);
    buf_init(&told[0], 4096);
    buf_init(&told[1], 4096);
    run_rig_start(&rig);
    ck_assert_int_eq(policy_set_load("policies", &set, NULL), 0);
    core_set_policies(rig.core, &set);
}

static void teardown(void)
{
    run_rig_stop(&rig);
    buf_done(&told[0]);
    buf_done(&told[1]);
}

static void on_output(void *ctx, bool is_stderr, const char *text, size_t n)
{
    (void)ctx;
    (void)buf_add(&told[is_stderr], text, n);
}

static void run(struct runner_result *ret)
{
    struct runner *r = runner_core_new(rig.core, "default");
    const struct runner_call call = {.code = "print(1)",
                                     .deadline_ms = clock_ms() + 60000,
                                     .dialect = "generator",
                                     .on_output = on_output};

    *ret = (struct runner_result){.out.fd = -1, .err_out.fd = -1};
    runner_run(r, &call, ret);
    runner_free(r);
}

/* A character may be cut between two events, and between the last one and none. */
START_TEST(output_is_told_to_its_last_byte_as_text)
{
    struct runner_result result;

    rig_frame(&rig.says, FRAME_STARTED, "");
    rig_frame(&rig.says, FRAME_STDOUT, "a\xe2\x82");
    rig_frame(&rig.says, FRAME_STDERR, "b\xff\xc3");
    rig_frame(&rig.says, FRAME_STDOUT, "\xac \xf0\x9f");
    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_report(&rig.says, &(struct outcome_report){.wall_us = 1});
    run(&result);
    ck_assert_int_eq(result.end, RUNNER_RAN);
    ck_assert_str_eq(buf_get(&told[0]), "a\xe2\x82\xac \xef\xbf\xbd");
    ck_assert_str_eq(buf_get(&told[1]), "b\xef\xbf\xbd\xef\xbf\xbd");
    runner_result_done(&result);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, output_is_told_to_its_last_byte_as_text);
}

UNIT_MAIN("runner_core", add_tests)
