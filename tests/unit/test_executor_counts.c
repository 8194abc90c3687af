#include <string.h>

#include "base/mem.h"
#include "core/run.h"
#include "dialects/executor_counts.h"
#include "unit.h"

#define MIB (1024UL * 1024)

static struct executor_counts *counts;
static struct buf text;

static void setup(void)
{
    counts = executor_counts_new();
    buf_init(&text, 1 << 16);
}

static void teardown(void)
{
    executor_counts_free(counts);
    buf_done(&text);
}

static void end(enum outcome outcome, bool was_sent, uint64_t wall_us, uint64_t peak)
{
    struct run_result r = {
        .outcome = outcome, .was_sent = was_sent, .wall_us = wall_us, .memory_peak = peak};

    executor_counts_begin(counts);
    executor_counts_end(counts, &r);
}

/* The value of the sample whose line starts with that. */
static const char *sample(const char *name)
{
    static char value[64];
    char line[128];
    const char *at;

    buf_clear(&text);
    executor_counts_render(&text, counts);
    (void)snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(buf_get(&text), line);
    ck_assert_msg(at != NULL, "no %s in %s", name, buf_get(&text));
    at += strlen(line);
    (void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
    return value;
}

#define CHECK_SAMPLE(name, wanted) ck_assert_str_eq(sample(name), wanted)

START_TEST(starts_with_every_sample_at_zero)
{
    static const char *const ends[] = {"success", "failure", "timeout", "security_blocked"};
    char name[64];

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        (void)snprintf(name, sizeof(name), "code_executions_total{status=\"%s\"}", ends[i]);
        CHECK_SAMPLE(name, "0");
    }
    CHECK_SAMPLE("code_executions_active", "0");
    CHECK_SAMPLE("code_execution_duration_seconds_sum", "0");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"+Inf\"}", "0");
}
END_TEST

static const struct {
    enum outcome outcome;
    const char *status;
} statuses[] = {
    {OUTCOME_OK,           "success"         },
    {OUTCOME_CODE_ERROR,   "failure"         },
    {OUTCOME_TIMEOUT,      "timeout"         },
    {OUTCOME_OOM,          "failure"         },
    {OUTCOME_PIDS,         "failure"         },
    {OUTCOME_DISK,         "failure"         },
    {OUTCOME_OUTPUT_LIMIT, "failure"         },
    {OUTCOME_BLOCKED,      "security_blocked"},
    {OUTCOME_CANCELLED,    "failure"         },
    {OUTCOME_INFRA,        "failure"         },
};
_Static_assert(ARRAY_LEN(statuses) == OUTCOMES, "every outcome");

START_TEST(every_outcome_has_a_status)
{
    char name[64];

    end(statuses[_i].outcome, true, 1000, 0);
    (void)snprintf(name, sizeof(name), "code_executions_total{status=\"%s\"}", statuses[_i].status);
    CHECK_SAMPLE(name, "1");
    CHECK_SAMPLE("code_execution_duration_seconds_count", "1");
    CHECK_SAMPLE("code_execution_memory_mb_count", "1");
}
END_TEST

START_TEST(what_got_no_container_was_no_execution)
{
    end(OUTCOME_INFRA, false, 0, 0);
    CHECK_SAMPLE("code_executions_total{status=\"failure\"}", "0");
    CHECK_SAMPLE("code_execution_duration_seconds_count", "0");
    CHECK_SAMPLE("code_executions_active", "0");
}
END_TEST

START_TEST(counts_those_under_way)
{
    const struct run_result r = {.outcome = OUTCOME_OK, .was_sent = true};

    executor_counts_begin(counts);
    executor_counts_begin(counts);
    CHECK_SAMPLE("code_executions_active", "2");
    executor_counts_end(counts, &r);
    CHECK_SAMPLE("code_executions_active", "1");
}
END_TEST

/* A bound belongs to its own bucket; buckets are cumulative. */
START_TEST(durations_fall_into_their_buckets)
{
    end(OUTCOME_OK, true, 5000, 0);     /* 0.005 s */
    end(OUTCOME_OK, true, 5001, 0);     /* just over */
    end(OUTCOME_OK, true, 1500000, 0);  /* 1.5 s */
    end(OUTCOME_OK, true, 60000000, 0); /* 60 s */
    end(OUTCOME_OK, true, 60000001, 0); /* beyond all bounds */
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"0.005\"}", "1");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"0.01\"}", "2");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"1\"}", "2");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"2.5\"}", "3");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"30\"}", "3");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"60\"}", "4");
    CHECK_SAMPLE("code_execution_duration_seconds_bucket{le=\"+Inf\"}", "5");
    CHECK_SAMPLE("code_execution_duration_seconds_count", "5");
    CHECK_SAMPLE("code_execution_duration_seconds_sum", "121.510002");
}
END_TEST

START_TEST(memory_is_in_mebibytes)
{
    end(OUTCOME_OK, true, 0, 0);
    end(OUTCOME_OK, true, 0, MIB);
    end(OUTCOME_OK, true, 0, MIB + 1);
    end(OUTCOME_OOM, true, 0, 128 * MIB);
    end(OUTCOME_OK, true, 0, 5000 * MIB);
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"1\"}", "2");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"2\"}", "3");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"100\"}", "3");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"128\"}", "4");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"4096\"}", "4");
    CHECK_SAMPLE("code_execution_memory_mb_bucket{le=\"+Inf\"}", "5");
    CHECK_SAMPLE("code_execution_memory_mb_sum", "5130.00000095367");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, starts_with_every_sample_at_zero);
    tcase_add_loop_test(t, every_outcome_has_a_status, 0, ARRAY_LEN(statuses));
    tcase_add_test(t, what_got_no_container_was_no_execution);
    tcase_add_test(t, counts_those_under_way);
    tcase_add_test(t, durations_fall_into_their_buckets);
    tcase_add_test(t, memory_is_in_mebibytes);
}

UNIT_MAIN_ONE_PROCESS("executor_counts", add_tests)
