#include "frames/stream.h"

#include <string.h>

#include "base/cleanup.h"
#include "frames/le.h"
#include "unit.h"

START_TEST(ready_is_one_fixed_frame)
{
    uint8_t bytes[READY_LEN];

    ready_bytes(bytes);
    ck_assert_mem_eq(bytes, "\x41\0\x01\0\x08\0\0\0oneshot1", READY_LEN);
}
END_TEST

/* A decoder on bytes of any length, for the tables below. */
typedef bool decoder(const uint8_t *data, size_t n);

static bool any_job(const uint8_t *data, size_t n)
{
    struct job job;

    return job_decode(&job, data, n);
}

static bool any_report(const uint8_t *data, size_t n)
{
    struct outcome_report r;

    return report_decode(&r, data, n);
}

static bool any_end(const uint8_t *data, size_t n)
{
    struct end_report e;

    return end_decode(&e, data, n);
}

static bool any_entry(const uint8_t *data, size_t n)
{
    struct entry e;

    return entry_decode(&e, data, n);
}

/* ---- what goes out comes back ---- */

static const struct job jobs[] = {
    {0},
    {.flags = JOB_FLAGS_ALL,
     .timeout_ms = UINT32_MAX,
     .grace_ms = UINT32_MAX,
     .output_soft = UINT64_MAX,
     .output_hard = UINT64_MAX,
     .file_max = UINT64_MAX,
     .files_max = UINT64_MAX,
     .files_count = UINT32_MAX},
    {.flags = JOB_GATHER | JOB_TMP,
     .timeout_ms = 30000,
     .grace_ms = 500,
     .output_soft = 1,
     .output_hard = 2,
     .file_max = 3,
     .files_max = 4,
     .files_count = 5},
};

START_TEST(jobs_come_back)
{
    const struct job *a = &jobs[_i];
    uint8_t bytes[JOB_LEN];
    struct job b;

    job_encode(bytes, a);
    ck_assert(job_decode(&b, bytes, sizeof(bytes)));
    ck_assert_uint_eq(b.flags, a->flags);
    ck_assert_uint_eq(b.timeout_ms, a->timeout_ms);
    ck_assert_uint_eq(b.grace_ms, a->grace_ms);
    ck_assert_uint_eq(b.output_soft, a->output_soft);
    ck_assert_uint_eq(b.output_hard, a->output_hard);
    ck_assert_uint_eq(b.file_max, a->file_max);
    ck_assert_uint_eq(b.files_max, a->files_max);
    ck_assert_uint_eq(b.files_count, a->files_count);
    for (size_t n = 0; n < sizeof(bytes); n++)
        ck_assert(!any_job(bytes, n));
}
END_TEST

static const struct outcome_report reports[] = {
    {0},
    {.end = END_KINDS - 1,
     .flags = REPORT_FLAGS_ALL,
     .exit_code = 255,
     .term_signal = 64,
     .wall_us = UINT64_MAX,
     .cpu_us = UINT64_MAX,
     .peak_bytes = UINT64_MAX,
     .stdout_bytes = UINT64_MAX,
     .stderr_bytes = UINT64_MAX},
    {.end = END_OOM,
     .flags = REPORT_PEAK_KNOWN,
     .exit_code = 137,
     .term_signal = 9,
     .wall_us = 1,
     .cpu_us = 2,
     .peak_bytes = 3,
     .stdout_bytes = 4,
     .stderr_bytes = 5},
};

START_TEST(reports_come_back)
{
    const struct outcome_report *a = &reports[_i];
    uint8_t bytes[REPORT_LEN];
    struct outcome_report b;

    report_encode(bytes, a);
    ck_assert(report_decode(&b, bytes, sizeof(bytes)));
    ck_assert_uint_eq(b.end, a->end);
    ck_assert_uint_eq(b.flags, a->flags);
    ck_assert_int_eq(b.exit_code, a->exit_code);
    ck_assert_int_eq(b.term_signal, a->term_signal);
    ck_assert_uint_eq(b.wall_us, a->wall_us);
    ck_assert_uint_eq(b.cpu_us, a->cpu_us);
    ck_assert_uint_eq(b.peak_bytes, a->peak_bytes);
    ck_assert_uint_eq(b.stdout_bytes, a->stdout_bytes);
    ck_assert_uint_eq(b.stderr_bytes, a->stderr_bytes);
    for (size_t n = 0; n < sizeof(bytes); n++)
        ck_assert(!any_report(bytes, n));
}
END_TEST

static const struct end_report ends[] = {
    {0},
    {.exit_code = 255, .os_errno = INT32_MAX, .is_blocked = true, .is_no_memory = true},
    {.exit_code = 1, .os_errno = INT32_MIN, .is_no_memory = true},
    {.exit_code = 7, .os_errno = 28, .is_blocked = true},
};

START_TEST(ends_come_back)
{
    const struct end_report *a = &ends[_i];
    uint8_t bytes[END_LEN];
    struct end_report b;

    end_encode(bytes, a);
    ck_assert(end_decode(&b, bytes, sizeof(bytes)));
    ck_assert_int_eq(b.exit_code, a->exit_code);
    ck_assert_int_eq(b.os_errno, a->os_errno);
    ck_assert_int_eq(b.is_blocked, a->is_blocked);
    ck_assert_int_eq(b.is_no_memory, a->is_no_memory);
    for (size_t n = 0; n < sizeof(bytes); n++)
        ck_assert(!any_end(bytes, n));
}
END_TEST

static const struct entry entries[] = {
    {.path = "a", .path_len = 1},
    {.kind = ENTRY_DIR, .mode = 0755, .path = "a/b/c", .path_len = 5},
    {.kind = ENTRY_FILE,
     .reason = OMIT_REASONS - 1,
     .is_tmp = true,
     .mode = 0777,
     .size = UINT64_MAX,
     .path = "\xFF\n",
     .path_len = 2},
};

START_TEST(entries_come_back)
{
    const struct entry *a = &entries[_i];
    uint8_t bytes[ENTRY_LEN_MAX];
    size_t n = entry_encode(bytes, a);
    struct entry b;

    ck_assert_uint_eq(n, ENTRY_FIXED + a->path_len);
    ck_assert(entry_decode(&b, bytes, n));
    ck_assert_uint_eq(b.kind, a->kind);
    ck_assert_uint_eq(b.reason, a->reason);
    ck_assert_int_eq(b.is_tmp, a->is_tmp);
    ck_assert_uint_eq(b.mode, a->mode);
    ck_assert_uint_eq(b.size, a->size);
    ck_assert_uint_eq(b.path_len, a->path_len);
    ck_assert_mem_eq(b.path, a->path, a->path_len);
    ck_assert(!any_entry(bytes, ENTRY_FIXED));
    ck_assert(!any_entry(bytes, 0));
}
END_TEST

START_TEST(a_path_may_have_its_greatest_length_and_no_more)
{
    static char path[ENTRY_PATH_MAX + 1];
    uint8_t bytes[ENTRY_LEN_MAX + 1] = {0};
    struct entry e = {.path = path, .path_len = ENTRY_PATH_MAX};

    memset(path, 'p', sizeof(path));
    ck_assert_uint_eq(entry_encode(bytes, &e), ENTRY_LEN_MAX);
    bytes[ENTRY_LEN_MAX] = 'p';
    ck_assert(any_entry(bytes, ENTRY_LEN_MAX));
    ck_assert(!any_entry(bytes, ENTRY_LEN_MAX + 1));
}
END_TEST

START_TEST(only_permission_bits_of_a_mode_count)
{
    uint8_t bytes[ENTRY_LEN_MAX];
    struct entry e = {.mode = 06755, .path = "a", .path_len = 1};
    size_t n = entry_encode(bytes, &e);

    ck_assert(entry_decode(&e, bytes, n));
    ck_assert_uint_eq(e.mode, 0755);
}
END_TEST

/* ---- every field out of its range ---- */

struct spoiled {
    const char *what;
    decoder *decode;
    size_t n, at; /* length of a valid payload of zeros; where a byte is set */
    uint8_t byte;
    bool good;
};

static const struct spoiled spoiled[] = {
    {"job: a flag too many",       any_job,    JOB_LEN,    0,  JOB_FLAGS_ALL + 1,    false},
    {"job: the highest flag",      any_job,    JOB_LEN,    3,  0x80,                 false},
    {"job: all flags",             any_job,    JOB_LEN,    0,  JOB_FLAGS_ALL,        true },
    {"job: another version",       any_job,    JOB_LEN,    48, FRAME_VERSION + 1,    false},
    {"job: a far version",         any_job,    JOB_LEN,    51, 1,                    false},
    {"report: an end too many",    any_report, REPORT_LEN, 0,  END_KINDS,            false},
    {"report: the last end",       any_report, REPORT_LEN, 0,  END_KINDS - 1,        true },
    {"report: a flag too many",    any_report, REPORT_LEN, 1,  REPORT_FLAGS_ALL + 1, false},
    {"report: exit code 256",      any_report, REPORT_LEN, 5,  1,                    false},
    {"report: negative exit code", any_report, REPORT_LEN, 7,  0x80,                 false},
    {"report: exit code 255",      any_report, REPORT_LEN, 4,  255,                  true },
    {"report: signal 64",          any_report, REPORT_LEN, 8,  64,                   true },
    {"report: signal 65",          any_report, REPORT_LEN, 8,  65,                   false},
    {"report: negative signal",    any_report, REPORT_LEN, 11, 0xFF,                 false},
    {"end: exit code 256",         any_end,    END_LEN,    1,  1,                    false},
    {"end: negative exit code",    any_end,    END_LEN,    3,  0x80,                 false},
    {"end: both bits",             any_end,    END_LEN,    8,  3,                    true },
    {"end: a bit too many",        any_end,    END_LEN,    8,  4,                    false},
    {"end: the highest bit",       any_end,    END_LEN,    11, 0x80,                 false},
    {"entry: a kind too many",     any_entry,  17,         0,  ENTRY_DIR + 1,        false},
    {"entry: a reason too many",   any_entry,  17,         1,  OMIT_REASONS,         false},
    {"entry: the last reason",     any_entry,  17,         1,  OMIT_REASONS - 1,     true },
    {"entry: a truth of 2",        any_entry,  17,         2,  2,                    false},
    {"entry: a padding byte",      any_entry,  17,         3,  1,                    false},
    {"entry: a NUL in the path",   any_entry,  17,         16, 0,                    false},
};

START_TEST(every_field_out_of_its_range_is_refused)
{
    const struct spoiled *s = &spoiled[_i];
    uint8_t bytes[64] = {0};

    le_put32(bytes + 48, FRAME_VERSION);
    if (s->decode == any_entry)
        bytes[16] = 'a';
    else if (s->decode != any_job)
        bytes[48] = 0;
    ck_assert(s->decode(bytes, s->n));
    ck_assert(!s->decode(bytes, s->n + 1));
    ck_assert(!s->decode(bytes, s->n - 1));
    bytes[s->at] = s->byte;
    ck_assert_msg(s->decode(bytes, s->n) == s->good, "%s", s->what);
}
END_TEST

START_TEST(a_directory_has_no_size)
{
    uint8_t bytes[ENTRY_LEN_MAX];
    struct entry e = {.kind = ENTRY_DIR, .size = 1, .path = "a", .path_len = 1};
    size_t n = entry_encode(bytes, &e);

    ck_assert(!any_entry(bytes, n));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, ready_is_one_fixed_frame);
    tcase_add_loop_test(t, jobs_come_back, 0, ARRAY_LEN(jobs));
    tcase_add_loop_test(t, reports_come_back, 0, ARRAY_LEN(reports));
    tcase_add_loop_test(t, ends_come_back, 0, ARRAY_LEN(ends));
    tcase_add_loop_test(t, entries_come_back, 0, ARRAY_LEN(entries));
    tcase_add_test(t, a_path_may_have_its_greatest_length_and_no_more);
    tcase_add_test(t, only_permission_bits_of_a_mode_count);
    tcase_add_loop_test(t, every_field_out_of_its_range_is_refused, 0, ARRAY_LEN(spoiled));
    tcase_add_test(t, a_directory_has_no_size);
}

UNIT_MAIN_ONE_PROCESS("stream", add_tests)
