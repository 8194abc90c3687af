#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "core/record.h"
#include "policy/policy.h"

static char policy_name[80] = "default";
static struct policy policy = {.name = policy_name};
static struct run_request request = {.dialect = "native", .policy = &policy};

static struct handover_pool pools[] = {
    {.policy = 1,
     .parked = 4,
     .starting = 1,
     .running = 2,
     .waiting = 3,
     .removing = 5,
     .target = 6,
     .min = 1,
     .max = 20,
     .hits = 100,
     .misses = 7,
     .started = 111,
     .footprint = 96 << 20,
     .start_ms_p50 = 181,
     .refill_per_min = 12,
     .discarded = {[DISCARD_SERVED] = 90}},
    {.policy = 2, .parked = 1},
    {.policy = 77, .running = 3, .hits = 5, .start_ms_p50 = 10, .footprint = 9},
    {.policy = 78,
     .running = 4,
     .hits = 6,
     .start_ms_p50 = 20,
     .footprint = 8,
     .discarded = {[DISCARD_RELOAD] = 2}},
};

static struct policy_name name_list[] = {
    {.name = policy_name,            .key = 1},
    {.name = (char[]){"a\"b\\c\nd"}, .key = 2}
};
static const struct policy_names names = {.list = name_list, .n = 2};
static const struct handover_counts counts = {.calls = {[ENGINE_CREATE] = 111},
                                              .errors = {[ENGINE_KILL] = 2},
                                              .budget = 1 << 30,
                                              .reserved = 1 << 20,
                                              .is_engine_up = 1};

static char *render(struct metrics *m, bool has_keeper)
{
    struct buf b;

    buf_init(&b, 1 << 24);
    metrics_render(m, &b,
                   &(struct metrics_pools){.pools = pools,
                                           .n = has_keeper ? ARRAY_LEN(pools) : 0,
                                           .counts = has_keeper ? &counts : NULL,
                                           .names = &names});
    ck_assert(!b.is_full);
    return buf_take(&b);
}

/* The value of the line that begins with `series`. */
static double value_of(const char *text, const char *series)
{
    size_t n = strlen(series);
    const char *found = NULL;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, series, n) == 0 && line[n] == ' ') {
            ck_assert_msg(!found, "%s stands there twice", series);
            found = line;
        }
    }
    ck_assert_msg(found != NULL, "%s is missing in\n%s", series, text);
    return strtod(found + n, NULL);
}

static void observe(struct metrics *m, enum outcome outcome, int64_t us, bool warm)
{
    struct run_result r = {.outcome = outcome,
                           .container = "c0ffee",
                           .queue_us = us,
                           .take_us = us,
                           .run_us = us,
                           .collect_us = us,
                           .was_warm = warm,
                           .out_bytes = 10,
                           .err_bytes = 1,
                           .files_n = 2,
                           .omitted_n = 3};

    metrics_observe(m, &request, &r);
}

START_TEST(counts_runs_by_dialect_policy_and_outcome)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;

    observe(m, OUTCOME_OK, 1000, true);
    observe(m, OUTCOME_OK, 1000, true);
    observe(m, OUTCOME_OOM, 1000, false);
    request.dialect = "aiq";
    observe(m, OUTCOME_OK, 1000, true);
    text = render(m, true);
    ck_assert_double_eq(
        value_of(text, "oneshot_runs_total{dialect=\"native\",policy=\"default\",outcome=\"ok\"}"),
        2);
    ck_assert_double_eq(
        value_of(text, "oneshot_runs_total{dialect=\"native\",policy=\"default\",outcome=\"oom\"}"),
        1);
    ck_assert_double_eq(
        value_of(text, "oneshot_runs_total{dialect=\"aiq\",policy=\"default\",outcome=\"ok\"}"), 1);
    ck_assert_ptr_null(strstr(text, "outcome=\"pids\""));
    ck_assert_double_eq(value_of(text, "oneshot_containers_taken_total{kind=\"warm\"}"), 3);
    ck_assert_double_eq(value_of(text, "oneshot_containers_taken_total{kind=\"cold\"}"), 1);
    ck_assert_double_eq(value_of(text, "oneshot_output_bytes_total{stream=\"stdout\"}"), 40);
    ck_assert_double_eq(value_of(text, "oneshot_output_bytes_total{stream=\"stderr\"}"), 4);
    ck_assert_double_eq(value_of(text, "oneshot_output_files_total"), 8);
    ck_assert_double_eq(value_of(text, "oneshot_omitted_files_total"), 12);
    metrics_free(m);
}
END_TEST

START_TEST(counts_connections_of_the_relay)
{
    struct metrics *m = metrics_new();
    struct run_result r = {
        .outcome = OUTCOME_OK, .relay = {.up = 5, .down = 7}
    };
    auto_free char *text = NULL;

    r.relay.verdicts[RELAY_OK] = 2;
    r.relay.verdicts[RELAY_CLOSED] = 1;
    metrics_observe(m, &request, &r);
    metrics_observe(m, &request, &r);
    text = render(m, true);
    ck_assert_double_eq(value_of(text, "oneshot_relay_connections_total{verdict=\"ok\"}"), 4);
    ck_assert_double_eq(value_of(text, "oneshot_relay_connections_total{verdict=\"closed\"}"), 2);
    ck_assert_double_eq(value_of(text, "oneshot_relay_connections_total{verdict=\"limit\"}"), 0);
    ck_assert_double_eq(value_of(text, "oneshot_relay_bytes_total{direction=\"up\"}"), 10);
    ck_assert_double_eq(value_of(text, "oneshot_relay_bytes_total{direction=\"down\"}"), 14);
    metrics_free(m);
}
END_TEST

START_TEST(counts_host_calls_and_how_long_they_took)
{
    struct metrics *m = metrics_new();
    struct run_result r = {.outcome = OUTCOME_OK};
    auto_free char *text = NULL;

    r.calls.verdicts[HOST_OK] = 3;
    r.calls.verdicts[HOST_BUDGET] = 2;
    r.calls.buckets[0] = 1;
    r.calls.buckets[HOST_BUCKETS - 1] = 2;
    r.calls.sum_us = 90500000;
    metrics_observe(m, &request, &r);
    metrics_observe(m, &request, &(struct run_result){.outcome = OUTCOME_OK});
    metrics_observe(m, &request, &r);
    text = render(m, true);
    ck_assert_double_eq(value_of(text, "oneshot_host_calls_total{verdict=\"ok\"}"), 6);
    ck_assert_double_eq(value_of(text, "oneshot_host_calls_total{verdict=\"budget\"}"), 4);
    ck_assert_double_eq(value_of(text, "oneshot_host_calls_total{verdict=\"down\"}"), 0);
    ck_assert_double_eq(value_of(text, "oneshot_host_call_seconds_bucket{le=\"0.001\"}"), 2);
    ck_assert_double_eq(value_of(text, "oneshot_host_call_seconds_bucket{le=\"30\"}"), 2);
    ck_assert_double_eq(value_of(text, "oneshot_host_call_seconds_bucket{le=\"+Inf\"}"), 6);
    ck_assert_double_eq(value_of(text, "oneshot_host_call_seconds_count"), 6);
    ck_assert_double_eq(value_of(text, "oneshot_host_call_seconds_sum"), 181);
    metrics_free(m);
}
END_TEST

static const struct {
    int64_t us;
    const char *bucket;
    const char *one_below; /* NULL: it is the first */
} falls[] = {
    {-5,        "0.0005", NULL    },
    {0,         "0.0005", NULL    },
    {500,       "0.0005", NULL    },
    {501,       "0.001",  "0.0005"},
    {1000000,   "1",      "0.5"   },
    {2000000,   "2.5",    "1"     },
    {600000000, "600",    "300"   },
    {600000001, "+Inf",   "600"   },
};

START_TEST(a_time_falls_into_its_bucket_and_all_above)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;
    char series[100];

    observe(m, OUTCOME_OK, falls[_i].us, true);
    text = render(m, true);
    (void)snprintf(series, sizeof(series),
                   "oneshot_run_stage_seconds_bucket{stage=\"take\",le=\"%s\"}", falls[_i].bucket);
    ck_assert_double_eq(value_of(text, series), 1);
    ck_assert_double_eq(
        value_of(text, "oneshot_run_stage_seconds_bucket{stage=\"take\",le=\"+Inf\"}"), 1);
    ck_assert_double_eq(value_of(text, "oneshot_run_stage_seconds_count{stage=\"take\"}"), 1);
    if (falls[_i].one_below) {
        (void)snprintf(series, sizeof(series),
                       "oneshot_run_stage_seconds_bucket{stage=\"take\",le=\"%s\"}",
                       falls[_i].one_below);
        ck_assert_double_eq(value_of(text, series), 0);
    }
    metrics_free(m);
}
END_TEST

START_TEST(the_total_is_the_sum_of_the_stages)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;

    observe(m, OUTCOME_OK, 250000, true);
    observe(m, OUTCOME_OK, 500000, true);
    text = render(m, true);
    ck_assert_double_eq_tol(value_of(text, "oneshot_run_stage_seconds_sum{stage=\"run\"}"), 0.75,
                            1e-9);
    ck_assert_double_eq_tol(value_of(text, "oneshot_run_stage_seconds_sum{stage=\"total\"}"), 3,
                            1e-9);
    metrics_free(m);
}
END_TEST

START_TEST(a_run_without_a_container_has_no_stages)
{
    struct metrics *m = metrics_new();
    struct run_result r = {.outcome = OUTCOME_INFRA, .queue_us = 5000000};
    auto_free char *text = NULL;

    metrics_observe(m, &request, &r);
    r.outcome = OUTCOMES; /* no such outcome: counted nowhere, and no crash */
    metrics_observe(m, &request, &r);
    text = render(m, true);
    ck_assert_double_eq(value_of(text, "oneshot_run_stage_seconds_count{stage=\"queue\"}"), 0);
    ck_assert_double_eq(value_of(text, "oneshot_containers_taken_total{kind=\"cold\"}"), 0);
    ck_assert_double_eq(
        value_of(text,
                 "oneshot_runs_total{dialect=\"native\",policy=\"default\",outcome=\"infra\"}"),
        1);
    metrics_free(m);
}
END_TEST

START_TEST(labels_are_bounded)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;
    unsigned series = 0;

    for (unsigned i = 0; i < 500; i++) {
        (void)snprintf(policy_name, sizeof(policy_name), "p%u", i);
        for (int o = 0; o < OUTCOMES; o++)
            observe(m, (enum outcome)o, 1, true);
    }
    text = render(m, true);
    for (const char *at = text; (at = strstr(at, "\noneshot_runs_total{")); at++)
        series++;
    ck_assert_uint_eq(series, 1000);
    ck_assert_double_eq(
        value_of(text, "oneshot_runs_total{dialect=\"other\",policy=\"other\",outcome=\"ok\"}"),
        500 - METRICS_PAIRS);
    metrics_free(m);
}
END_TEST

START_TEST(names_that_do_not_fit_are_others)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;

    memset(policy_name, 'x', 70);
    policy_name[70] = '\0';
    observe(m, OUTCOME_OK, 1, true);
    text = render(m, true);
    ck_assert_double_eq(
        value_of(text, "oneshot_runs_total{dialect=\"other\",policy=\"other\",outcome=\"ok\"}"), 1);
    metrics_free(m);
}
END_TEST

START_TEST(pools_and_engine_are_told)
{
    struct metrics *m = metrics_new();
    auto_free char *text = render(m, true);

#define EXPECT(series, value) ck_assert_double_eq_tol(value_of(text, series), value, 1e-9)
    EXPECT("oneshot_keeper_up", 1);
    EXPECT("oneshot_pool_containers{policy=\"default\",state=\"parked\"}", 4);
    EXPECT("oneshot_pool_containers{policy=\"default\",state=\"starting\"}", 1);
    EXPECT("oneshot_pool_containers{policy=\"default\",state=\"running\"}", 2);
    EXPECT("oneshot_pool_containers{policy=\"default\",state=\"removing\"}", 5);
    EXPECT("oneshot_pool_waiting_runs{policy=\"default\"}", 3);
    EXPECT("oneshot_pool_target_containers{policy=\"default\"}", 6);
    EXPECT("oneshot_pool_min_containers{policy=\"default\"}", 1);
    EXPECT("oneshot_pool_max_containers{policy=\"default\"}", 20);
    EXPECT("oneshot_pool_takes_total{policy=\"default\",result=\"hit\"}", 100);
    EXPECT("oneshot_pool_takes_total{policy=\"default\",result=\"miss\"}", 7);
    EXPECT("oneshot_pool_containers_started_total{policy=\"default\"}", 111);
    EXPECT("oneshot_pool_containers_discarded_total{policy=\"default\",reason=\"served\"}", 90);
    EXPECT("oneshot_pool_containers_discarded_total{policy=\"default\",reason=\"age\"}", 0);
    EXPECT("oneshot_pool_footprint_bytes{policy=\"default\"}", 96 << 20);
    EXPECT("oneshot_pool_start_p50_seconds{policy=\"default\"}", 0.181);
    EXPECT("oneshot_pool_refill_per_minute{policy=\"default\"}", 12);
    EXPECT("oneshot_engine_calls_total{call=\"create\"}", 111);
    EXPECT("oneshot_engine_errors_total{call=\"kill\"}", 2);
    EXPECT("oneshot_engine_errors_total{call=\"create\"}", 0);
    EXPECT("oneshot_engine_up", 1);
    EXPECT("oneshot_pool_memory_budget_bytes", 1 << 30);
    EXPECT("oneshot_pool_memory_reserved_bytes", 1 << 20);
    EXPECT("oneshot_build_info{version=\"" ONESHOT_VERSION "\"}", 1);
    EXPECT("oneshot_log_dropped_total", 0);
    metrics_free(m);
}
END_TEST

START_TEST(pools_without_a_name_are_told_as_one)
{
    struct metrics *m = metrics_new();
    auto_free char *text = render(m, true);

    EXPECT("oneshot_pool_containers{policy=\"other\",state=\"running\"}", 7);
    EXPECT("oneshot_pool_takes_total{policy=\"other\",result=\"hit\"}", 11);
    EXPECT("oneshot_pool_start_p50_seconds{policy=\"other\"}", 0.02);
    EXPECT("oneshot_pool_footprint_bytes{policy=\"other\"}", 9);
    EXPECT("oneshot_pool_containers_discarded_total{policy=\"other\",reason=\"reload\"}", 2);
    metrics_free(m);
}
END_TEST

START_TEST(label_values_are_escaped)
{
    struct metrics *m = metrics_new();
    auto_free char *text = render(m, true);

    EXPECT("oneshot_pool_containers{policy=\"a\\\"b\\\\c\\nd\",state=\"parked\"}", 1);
    metrics_free(m);
}
END_TEST

START_TEST(without_a_keeper_runs_are_still_told)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;

    observe(m, OUTCOME_OK, 1, true);
    text = render(m, false);
    EXPECT("oneshot_keeper_up", 0);
    EXPECT("oneshot_containers_taken_total{kind=\"warm\"}", 1);
    ck_assert_ptr_null(strstr(text, "oneshot_pool_"));
    ck_assert_ptr_null(strstr(text, "oneshot_engine_"));
    metrics_free(m);
    metrics_free(NULL);
}
END_TEST

static void source(struct buf *b, void *ctx)
{
    metrics_family(b, "oneshot_extra_rows", "gauge", "Rows that are there.");
    (void)buf_fmt(b, "oneshot_extra_rows %d\n", *(const int *)ctx);
}

START_TEST(other_rooms_add_their_own)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;
    int rows = 5;

    metrics_add(m, source, &rows);
    text = render(m, true);
    EXPECT("oneshot_extra_rows", 5);
    for (int i = 0; i < 2 * METRICS_SOURCES; i++)
        metrics_add(m, source, &rows); /* beyond the limit: ignored */
    free(text);
    text = render(m, false);
    ck_assert_ptr_nonnull(strstr(text, "oneshot_extra_rows 5\n"));
    metrics_free(m);
}
END_TEST

/* Every sample belongs to a family that was announced, and every family has both lines, once. */
START_TEST(the_text_is_in_order)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;
    char family[100] = "";
    const char *path = getenv("ONESHOT_METRICS_OUT");

    observe(m, OUTCOME_OK, 1234, true);
    observe(m, OUTCOME_TIMEOUT, 1234567, false);
    text = render(m, true);
    for (char *save = NULL, *copy = text, *line; (line = strtok_r(copy, "\n", &save));
         copy = NULL) {
        char name[100];

        if (sscanf(line, "# HELP %99s", name) == 1) {
            ck_assert_str_ne(name, family);
            (void)snprintf(family, sizeof(family), "%s", name);
            continue;
        }
        if (sscanf(line, "# TYPE %99s", name) == 1)
            ck_assert_str_eq(name, family);
        else
            ck_assert_msg(strncmp(line, family, strlen(family)) == 0, "%s under %s", line, family);
    }
    free(text);
    text = render(m, true);
    if (path) { /* for tests/e2e/test_metrics_format.py */
        FILE *f = fopen(path, "w");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
    }
    metrics_free(m);
}
END_TEST

enum { THREADS = 8, ROUNDS = 2000 };

static void *count(void *arg)
{
    struct metrics *m = arg;
    struct run_result r = {.outcome = OUTCOME_OK, .container = "c", .run_us = 100};
    char name[8] = "p0";
    struct policy mine = {.name = name};
    struct run_request q = {.dialect = "native", .policy = &mine};

    for (int i = 0; i < ROUNDS; i++) {
        name[1] = (char)('0' + i % 10);
        metrics_observe(m, &q, &r);
        if (i % 500 == 0)
            free(render(m, true));
    }
    return NULL;
}

START_TEST(many_threads_count_everything)
{
    struct metrics *m = metrics_new();
    auto_free char *text = NULL;
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count, m), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    text = render(m, true);
    for (int i = 0; i < 10; i++) {
        char series[100];

        (void)snprintf(series, sizeof(series),
                       "oneshot_runs_total{dialect=\"native\",policy=\"p%d\",outcome=\"ok\"}", i);
        EXPECT(series, THREADS * ROUNDS / 10);
    }
    EXPECT("oneshot_run_stage_seconds_count{stage=\"run\"}", THREADS * ROUNDS);
    metrics_free(m);
}
END_TEST

/* ---- records ---- */

START_TEST(a_record_copies_what_will_be_gone)
{
    struct run_result result = {.id = "0123",
                                .outcome = OUTCOME_OK,
                                .exit_code = 0,
                                .started_wall_ms = 1795255200123,
                                .files_n = 3};
    char code[] = "print('\xc3\xa4')";
    struct run_request q = {.dialect = "native",
                            .policy = &policy,
                            .code = code,
                            .code_len = strlen(code),
                            .client = "192.0.2.1"};
    struct run_record r;

    run_record_init(&r, &q, &result, true);
    code[0] = 'X';
    ck_assert_str_eq(r.code, "print('\xc3\xa4')");
    ck_assert_str_eq(r.policy, "default");
    ck_assert_str_eq(r.client, "192.0.2.1");
    ck_assert_str_eq(r.traceparent, "");
    ck_assert_str_eq(r.code_sha256, "");
    run_record_digest(&r);
    ck_assert_uint_eq(strlen(r.code_sha256), 64);
    run_record_done(&r);
    run_record_init(&r, &q, &result, false);
    ck_assert_ptr_null(r.code);
    ck_assert_uint_eq(r.code_bytes, strlen(code));
    run_record_digest(&r);
    ck_assert_str_eq(r.code_sha256, "");
    run_record_done(&r);
}
END_TEST

START_TEST(a_text_that_does_not_fit_is_cut_between_characters)
{
    struct run_result result = {.id = "0123"};
    char trace[80];
    struct run_request q = {.dialect = "d", .policy = &policy, .traceparent = trace};
    struct run_record r;

    memset(trace, 'a', sizeof(trace));
    memcpy(trace + 62, "\xc3\xa4", 2); /* its second byte would be the 64th */
    trace[79] = '\0';
    run_record_init(&r, &q, &result, false);
    ck_assert_uint_eq(strlen(r.traceparent), 62);
    run_record_done(&r);
}
END_TEST

START_TEST(outcomes_are_found_by_name)
{
    for (int o = 0; o < OUTCOMES; o++)
        ck_assert_int_eq(outcome_find(outcome_name((enum outcome)o)), o);
    ck_assert_int_eq(outcome_find("unknown"), OUTCOMES);
}
END_TEST

static const struct {
    bool with_code;
    int exit_code, signal;
    uint64_t peak;
    const char *expected;
} puts_cases[] = {
    {false, 0,  0, 5,
     "{\"id\":\"0123\",\"started_at\":\"2026-11-21T10:00:00.123Z\",\"dialect\":\"native\","
     "\"outcome\":\"ok\",\"exit_code\":0,\"signal\":null,\"reason\":null,"
     "\"usage\":{\"wall_ms\":1.500,\"cpu_ms\":0.000,\"memory_peak_bytes\":5},"
     "\"timings\":{\"queue_ms\":0.000,\"take_ms\":0.000,\"run_ms\":0.000,\"collect_ms\":0.000},"
     "\"stdout_bytes\":0,\"stderr_bytes\":0,\"files\":0,\"container\":{\"id\":null,\"image\":null,"
     "\"policy\":\"default\",\"policy_hash\":null,\"warm\":false},\"client\":null,"
     "\"traceparent\":null,\"code_bytes\":3,\"code_sha256\":null}"                    },
    {true,  -1, 9, 0,
     "{\"id\":\"0123\",\"started_at\":\"2026-11-21T10:00:00.123Z\",\"dialect\":\"native\","
     "\"outcome\":\"ok\",\"exit_code\":null,\"signal\":9,\"reason\":null,"
     "\"usage\":{\"wall_ms\":1.500,\"cpu_ms\":0.000,\"memory_peak_bytes\":null},"
     "\"timings\":{\"queue_ms\":0.000,\"take_ms\":0.000,\"run_ms\":0.000,\"collect_ms\":0.000},"
     "\"stdout_bytes\":0,\"stderr_bytes\":0,\"files\":0,\"container\":{\"id\":null,\"image\":null,"
     "\"policy\":\"default\",\"policy_hash\":null,\"warm\":false},\"client\":null,"
     "\"traceparent\":null,\"code_bytes\":3,\"code_sha256\":null,\"code\":\"a\\\"b\"}"},
};

START_TEST(a_record_is_put_as_json)
{
    struct run_result result = {.id = "0123",
                                .outcome = OUTCOME_OK,
                                .wall_us = 1500,
                                .exit_code = puts_cases[_i].exit_code,
                                .term_signal = puts_cases[_i].signal,
                                .memory_peak = puts_cases[_i].peak,
                                .started_wall_ms = 1795255200123};
    struct run_request q = {.dialect = "native", .policy = &policy, .code = "a\"b", .code_len = 3};
    CLEANUP(buf_done) struct buf b = {0};
    struct run_record r;

    buf_init(&b, 1 << 16);
    run_record_init(&r, &q, &result, true);
    run_record_put(&b, &r, puts_cases[_i].with_code);
    ck_assert_str_eq(buf_get(&b), puts_cases[_i].expected);
    run_record_done(&r);
    buf_clear(&b);
    run_record_put(&b, &r, true);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), ",\"code\":null}"));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, counts_runs_by_dialect_policy_and_outcome);
    tcase_add_test(t, counts_connections_of_the_relay);
    tcase_add_test(t, counts_host_calls_and_how_long_they_took);
    tcase_add_loop_test(t, a_time_falls_into_its_bucket_and_all_above, 0, ARRAY_LEN(falls));
    tcase_add_test(t, the_total_is_the_sum_of_the_stages);
    tcase_add_test(t, a_run_without_a_container_has_no_stages);
    tcase_add_test(t, labels_are_bounded);
    tcase_add_test(t, names_that_do_not_fit_are_others);
    tcase_add_test(t, pools_and_engine_are_told);
    tcase_add_test(t, pools_without_a_name_are_told_as_one);
    tcase_add_test(t, label_values_are_escaped);
    tcase_add_test(t, without_a_keeper_runs_are_still_told);
    tcase_add_test(t, other_rooms_add_their_own);
    tcase_add_test(t, the_text_is_in_order);
    tcase_add_test(t, many_threads_count_everything);
    tcase_add_test(t, a_record_copies_what_will_be_gone);
    tcase_add_test(t, a_text_that_does_not_fit_is_cut_between_characters);
    tcase_add_test(t, outcomes_are_found_by_name);
    tcase_add_loop_test(t, a_record_is_put_as_json, 0, ARRAY_LEN(puts_cases));
}

UNIT_MAIN("metrics", add_tests)
