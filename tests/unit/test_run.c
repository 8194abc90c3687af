/* One run against a keeper and a container that this program plays: honest, hostile, lost. */
#include "unit.h"

#include <errno.h>

#include "core/run_state.h"
#include "run_rig.h"

#define MIB (1 << 20)

static struct run_rig rig;

static void setup(void)
{
    run_rig_init(&rig);
}

static void teardown(void)
{
    if (rig.core)
        run_rig_stop(&rig);
}

/* Starts the rig, runs, and waits for the end. */
static struct run *finish(void)
{
    struct run *run;

    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    (void)run_wait(run);
    return run;
}

static void say_end(struct outcome_report report)
{
    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_report(&rig.says, &report);
}

static void check_text(const struct spool *s, const char *want)
{
    char got[256];

    ck_assert_uint_eq(s->size, strlen(want));
    ck_assert_int_eq(spool_read(s, 0, got, sizeof(got), NULL), (ssize_t)strlen(want));
    ck_assert_mem_eq(got, want, strlen(want));
}

/* ---- the good ways ---- */

START_TEST(tells_everything_that_an_honest_container_says)
{
    static const enum run_event_kind kinds[] = {RUN_QUEUED, RUN_STARTED, RUN_STDOUT, RUN_STDERR,
                                                RUN_FILE,   RUN_FILE,    RUN_DONE};
    struct entry e = {.reason = OMIT_TOO_BIG, .size = 99, .path = "big", .path_len = 3};
    struct run_event ev = {.kind = RUN_QUEUED};
    struct run_result *r;
    struct run *run;

    rig_frame(&rig.says, FRAME_STARTED, "");
    rig_frame(&rig.says, FRAME_STDOUT, "out");
    rig_frame(&rig.says, FRAME_STDOUT, "");
    rig_frame(&rig.says, FRAME_STDERR, "err");
    rig_frame(&rig.says, FRAME_VALUE, "[1");
    rig_frame(&rig.says, FRAME_VALUE, "]");
    rig_frame(&rig.says, FRAME_FAULT, "{}");
    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_file(&rig.says, "a/b.txt", "data");
    rig_file(&rig.says, "empty", "");
    rig_entry(&rig.says, FRAME_OMITTED, &e);
    rig_entry(&rig.says, FRAME_OUT_ENTRY,
              &(struct entry){.kind = ENTRY_DIR, .path = "d", .path_len = 1});
    rig_report(&rig.says, &(struct outcome_report){.flags = REPORT_PEAK_KNOWN | REPORT_STDOUT_CUT,
                                                   .exit_code = 3,
                                                   .wall_us = 11,
                                                   .cpu_us = 12,
                                                   .peak_bytes = 13,
                                                   .stdout_bytes = 14,
                                                   .stderr_bytes = 15});
    rig.request.wants_log = true;
    rig.request.value = RUN_VALUE_LAST_EXPRESSION;
    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        run_next(run, &ev);
        ck_assert_int_eq(ev.kind, kinds[i]);
    }
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_CODE_ERROR);
    ck_assert_int_eq(r->exit_code, 3);
    ck_assert(r->was_sent && r->was_warm && r->out_is_cut && !r->err_is_cut);
    check_text(&r->out, "out");
    check_text(&r->err_out, "err");
    ck_assert_uint_eq(r->log_n, 3);
    ck_assert(r->log[2].is_stderr && r->log[2].len == 3);
    ck_assert_str_eq(buf_get(&r->value), "[1]");
    ck_assert_str_eq(buf_get(&r->fault), "{}");
    ck_assert_uint_eq(r->files_n, 2);
    ck_assert_str_eq(r->files[0].path, "a/b.txt");
    check_text(&r->files[0].data, "data");
    ck_assert_uint_eq(r->files[1].data.size, 0);
    ck_assert_uint_eq(r->omitted_n, 1);
    ck_assert_str_eq(r->omitted[0].reason, "too_big");
    ck_assert_uint_eq(r->wall_us, 11);
    ck_assert_uint_eq(r->cpu_us, 12);
    ck_assert_uint_eq(r->memory_peak, 13);
    ck_assert_uint_eq(r->out_bytes, 14);
    ck_assert_uint_eq(strlen(r->container), 64);
    run_free(run);
    ck_assert_uint_eq(run_rig_wait(&rig, HANDOVER_DONE).member, 7);
}
END_TEST

START_TEST(sends_the_job_with_arguments_environment_files_and_input)
{
    static const char *const args[] = {"one", "two", NULL};
    static const struct run_pair env[] = {
        {"A", "1"},
        {"B", "2"}
    };
    struct spool data;
    struct run_file file = {.path = "in.txt", .data = &data};
    CLEANUP(buf_done) struct buf b = {0};
    struct entry e;
    struct job job;

    spool_init(&data, "/tmp");
    ck_assert_int_eq(spool_add(&data, "hello", 5, NULL), 0);
    rig.request.args = args;
    rig.request.env = env;
    rig.request.env_n = ARRAY_LEN(env);
    rig.request.files = &file;
    rig.request.files_n = 1;
    rig.request.stdin_data = "input";
    rig.request.stdin_len = 5;
    rig.request.memory = 100 * MIB;
    say_end((struct outcome_report){.end = END_NORMAL});
    run_free(finish());
    ck_assert_uint_eq(run_rig_wait(&rig, HANDOVER_TAKE).u.take.memory, 100 * MIB);
    ck_assert_uint_eq(rig.last[HANDOVER_TAKE].u.take.policy, 42);
    run_rig_halt(&rig);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_JOB, &b), 1);
    ck_assert(job_decode(&job, (const uint8_t *)buf_get(&b), b.len));
    ck_assert_uint_eq(job.timeout_ms, 10000);
    ck_assert_uint_eq(job.flags, JOB_GATHER);
    buf_done(&b);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_META, &b), 1);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\"argv\":[\"one\",\"two\"],"
                                              "\"env\":{\"A\":\"1\",\"B\":\"2\"}"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\"stdin\":true"));
    buf_done(&b);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_CODE, &b), 1);
    ck_assert_str_eq(buf_get(&b), rig_code);
    buf_done(&b);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_ENTRY, &b), 1);
    ck_assert(entry_decode(&e, (const uint8_t *)buf_get(&b), b.len));
    ck_assert_uint_eq(e.size, 5);
    ck_assert_mem_eq(e.path, "in.txt", 6);
    buf_done(&b);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_DATA, &b), 1);
    ck_assert_str_eq(buf_get(&b), "hello");
    spool_done(&data);
}
END_TEST

START_TEST(feeds_standard_input_from_memory_and_from_a_descriptor)
{
    CLEANUP(buf_done) struct buf got = {0};
    char text[10000];
    int fds[2];

    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(write(fds[1], "line\n", 5), 5);
    (void)close(fds[1]);
    if (_i) {
        rig.request.stdin_fd = fds[0];
    } else {
        rig.request.stdin_data = text;
        rig.request.stdin_len = sizeof(text);
    }
    rig.says_after_input = true;
    say_end((struct outcome_report){.end = END_NORMAL});
    run_free(finish());
    run_rig_halt(&rig);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_STDIN, &got), _i ? 2 : 3);
    ck_assert_uint_eq(got.len, _i ? 5 : sizeof(text));
    ck_assert_mem_eq(buf_get(&got), _i ? "line\n" : text, got.len);
    (void)close(fds[0]);
}
END_TEST

static struct buf behind_input; /* what the container says when its input has ended */

static void say_last(struct run_rig *r, const struct frame *f)
{
    if (f->type == FRAME_STDIN && !(f->flags & FRAME_MORE))
        rig_say_buf(r, &behind_input);
}

START_TEST(input_that_is_not_there_yet_is_waited_for)
{
    CLEANUP(buf_done) struct buf got = {0};
    struct run_event ev = {.kind = RUN_QUEUED};
    struct run *run;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    rig.request.stdin_fd = fds[0];
    rig.on_frame = say_last;
    rig_frame(&rig.says, FRAME_STARTED, "");
    buf_init(&behind_input, 4096);
    rig_frame(&behind_input, FRAME_ENDED, "");
    rig_report(&behind_input, &(struct outcome_report){.end = END_NORMAL});
    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    while (ev.kind != RUN_STARTED)
        run_next(run, &ev);
    ck_assert_int_eq(write(fds[1], "late", 4), 4);
    (void)close(fds[1]);
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_OK);
    run_free(run);
    run_rig_halt(&rig);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_STDIN, &got), 2);
    ck_assert_str_eq(buf_get(&got), "late");
    (void)close(fds[0]);
    buf_done(&behind_input);
}
END_TEST

/* ---- texts that are cut after so many characters ---- */

static const struct cutting {
    int64_t most;
    const char *parts[4];
    const char *kept;
    bool is_cut;
} cuttings[] = {
    {0, {"any length"},                            "any length",                           false},
    {5, {"12345"},                                 "12345",                                false},
    {5, {"12345", "", "6"},                        "12345",                                true },
    {5, {"1", "23456789"},                         "12345",                                true },
    {3, {"\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x90\x8d!"}, "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x90\x8d", true },
    {2, {"a\xf0\x9f", "\x90", "\x8d"},             "a\xf0\x9f\x90\x8d",                    false},
    {2, {"a\xf0\x9f", "\x90", "\x8d\x8d", "z"},    "a\xf0\x9f\x90\x8d",                    true },
    {3, {"\x80\x80\x80\x80"},                      "\x80\x80\x80",                         true },
    {2, {"\xe4\xbdxy"},                            "\xe4\xbdx",                            true },
};

START_TEST(a_text_is_cut_after_so_many_characters)
{
    const struct cutting *x = &cuttings[_i];
    const struct run_result *r;
    struct run *run;

    rig.policy.output_characters = x->most;
    rig_frame(&rig.says, FRAME_STARTED, "");
    for (size_t i = 0; i < ARRAY_LEN(x->parts) && x->parts[i]; i++) {
        rig_frame(&rig.says, FRAME_STDOUT, x->parts[i]);
        rig_frame(&rig.says, FRAME_STDERR, x->parts[i]);
    }
    say_end((struct outcome_report){.stdout_bytes = 77});
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_OK);
    check_text(&r->out, x->kept);
    check_text(&r->err_out, x->kept);
    ck_assert(r->out_is_cut == x->is_cut && r->err_is_cut == x->is_cut);
    ck_assert_uint_eq(r->out_bytes, 77); /* all that was written is counted */
    run_free(run);
}
END_TEST

/* ---- how a program can end ---- */

static const struct ending {
    struct outcome_report report;
    enum outcome outcome;
    int exit_code, term_signal;
    const char *reason;
} endings[] = {
    {{.end = END_NORMAL},                      OUTCOME_OK,         0,   0, ""                                             },
    {{.end = END_NORMAL, .exit_code = 3},      OUTCOME_CODE_ERROR, 3,   0, ""                                             },
    {{.end = END_NORMAL, .term_signal = 11},
     OUTCOME_CODE_ERROR,                                           139,
     11,                                                                   "ended by signal 11 (SIGSEGV)"                 },
    {{.end = END_TIMEOUT, .term_signal = 9},   OUTCOME_TIMEOUT,    -1,  9, "time limit of 10 s exceeded"                  },
    {{.end = END_OOM, .term_signal = 9},       OUTCOME_OOM,        137, 9, "memory limit of 64 MiB exceeded"              },
    {{.end = END_PIDS, .exit_code = 1},        OUTCOME_PIDS,       1,   0, "process limit of 64 exceeded"                 },
    {{.end = END_DISK, .exit_code = 1},
     OUTCOME_DISK,                                                 1,
     0,                                                                    "no space left: the limit on files was reached"},
    {{.end = END_OUTPUT, .term_signal = 9},
     OUTCOME_OUTPUT_LIMIT,                                         137,
     9,                                                                    "output limit of 4 MiB exceeded"               },
    {{.end = END_CANCELLED, .term_signal = 9}, OUTCOME_CANCELLED,  137, 9, "cancelled"                                    },
    {{.end = END_BLOCKED, .exit_code = 1},     OUTCOME_BLOCKED,    1,   0, "the program was refused"                      },
};

START_TEST(an_end_has_its_outcome_and_its_reason)
{
    const struct ending *x = &endings[_i];
    const struct run_result *r;
    struct run *run;

    say_end(x->report);
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, x->outcome);
    ck_assert_int_eq(r->exit_code, x->exit_code);
    ck_assert_int_eq(r->term_signal, x->term_signal);
    ck_assert_str_eq(r->reason, x->reason);
    run_free(run);
}
END_TEST

/* ---- a container that breaks the rules ---- */

static void two_readies(struct buf *b)
{
    rig_ready(b);
}

static void no_mux(struct buf *b)
{
    (void)buf_str(b, "Traceback (most recent call last):\n");
}

static void long_frame(struct buf *b)
{
    rig_raw(b, "\x43\0\0\0\xff\xff\xff\xff", 8);
}

static void job_back(struct buf *b)
{
    rig_frame(b, FRAME_JOB, "");
}

static void too_much_output(struct buf *b)
{
    auto_free char *text = xcalloc(1, FRAME_MAX);

    for (int i = 0; i < MIB / FRAME_MAX; i++)
        rig_frame_id(b, FRAME_STDOUT, 0, text, FRAME_MAX);
    rig_frame(b, FRAME_STDOUT, "!");
}

static void too_long_fault(struct buf *b)
{
    auto_free char *text = xcalloc(1, FRAME_MAX);

    for (int i = 0; i <= RUN_FAULT_MAX / FRAME_MAX; i++)
        rig_frame_id(b, FRAME_FAULT, 0, text, FRAME_MAX);
}

static void file_while_running(struct buf *b)
{
    rig_file(b, "a", "b");
}

static void result_while_running(struct buf *b)
{
    rig_report(b, &(struct outcome_report){.end = END_NORMAL});
}

static void output_after_the_end(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_STDOUT, "late");
}

static void path_upwards(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_file(b, "../etc/passwd", "x");
}

static void short_entry(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_OUT_ENTRY, "x");
}

static void too_large_file(struct buf *b)
{
    struct entry e = {.size = (2 << 20) + 1, .path = "a", .path_len = 1};

    rig_frame(b, FRAME_ENDED, "");
    rig_entry(b, FRAME_OUT_ENTRY, &e);
}

static void endless_file(struct buf *b)
{
    struct entry e = {.size = UINT64_MAX, .path = "a", .path_len = 1};

    rig_frame(b, FRAME_ENDED, "");
    rig_file(b, "b", "1");
    rig_entry(b, FRAME_OUT_ENTRY, &e);
}

static void too_many_files(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    for (int i = 0; i < 4; i++)
        rig_file(b, "a", "");
}

static void file_within_a_file(struct buf *b)
{
    struct entry e = {.size = 2, .path = "a", .path_len = 1};

    rig_frame(b, FRAME_ENDED, "");
    rig_entry(b, FRAME_OUT_ENTRY, &e);
    rig_entry(b, FRAME_OUT_ENTRY, &e);
}

static void more_than_announced(struct buf *b)
{
    struct entry e = {.size = 2, .path = "a", .path_len = 1};

    rig_frame(b, FRAME_ENDED, "");
    rig_entry(b, FRAME_OUT_ENTRY, &e);
    rig_frame(b, FRAME_OUT_DATA, "abc");
}

static void data_of_nothing(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_OUT_DATA, "abc");
}

static void result_within_a_file(struct buf *b)
{
    struct entry e = {.size = 2, .path = "a", .path_len = 1};

    rig_frame(b, FRAME_ENDED, "");
    rig_entry(b, FRAME_OUT_ENTRY, &e);
    rig_report(b, &(struct outcome_report){.end = END_NORMAL});
}

static void short_result(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_RESULT, "x");
}

static void short_omission(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_OMITTED, "x");
}

static void removal(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_frame(b, FRAME_GONE, "a");
}

static void two_starts(struct buf *b)
{
    rig_frame(b, FRAME_STARTED, "");
    rig_frame(b, FRAME_STARTED, "");
}

/* They hold no bytes, but each costs memory here or an inode in a workspace. */
static void too_many_dirs(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    for (int i = 0; i <= 2 * INODES; i++)
        rig_entry(b, FRAME_OUT_ENTRY,
                  &(struct entry){.kind = ENTRY_DIR, .path = "d", .path_len = 1});
}

static void file_of_tmp(struct buf *b)
{
    rig_frame(b, FRAME_ENDED, "");
    rig_entry(b, FRAME_OUT_ENTRY, &(struct entry){.is_tmp = true, .path = "a", .path_len = 1});
}

static const struct breach {
    const char *name;
    void (*say)(struct buf *b);
    const char *what; /* "": the stream itself cannot be read, which is a lost container */
} breaches[] = {
    {"two readies",          two_readies,          "a second READY"                    },
    {"no mux",               no_mux,               ""                                  },
    {"long frame",           long_frame,           "broke the protocol"                },
    {"job back",             job_back,             "a frame out of place"              },
    {"too much output",      too_much_output,      "more output than was allowed"      },
    {"too long fault",       too_long_fault,       "a value is too large"              },
    {"file while running",   file_while_running,   "a frame out of place"              },
    {"result while running", result_while_running, "a frame out of place"              },
    {"output after the end", output_after_the_end, "a frame out of place"              },
    {"path upwards",         path_upwards,         "a bad file entry"                  },
    {"short entry",          short_entry,          "a bad file entry"                  },
    {"too large file",       too_large_file,       "more files than were allowed"      },
    {"endless file",         endless_file,         "more files than were allowed"      },
    {"too many files",       too_many_files,       "more files than were allowed"      },
    {"file within a file",   file_within_a_file,   "a file within a file"              },
    {"more than announced",  more_than_announced,  "file bytes that were not announced"},
    {"data of nothing",      data_of_nothing,      "file bytes that were not announced"},
    {"result within a file", result_within_a_file, "a bad result"                      },
    {"short result",         short_result,         "a bad result"                      },
    {"short omission",       short_omission,       "a bad omission"                    },
    {"two starts",           two_starts,           "a second STARTED"                  },
    {"too many dirs",        too_many_dirs,        "more files than were allowed"      },
    {"file of tmp",          file_of_tmp,          "a file of /tmp"                    },
    {"removal",              removal,              "a removal that was not asked for"  },
};

START_TEST(a_breach_of_the_protocol_ends_the_run_as_infra)
{
    const struct breach *x = &breaches[_i];
    const struct run_result *r;
    struct run *run;

    x->say(&rig.says);
    run = finish();
    r = run_result(run);
    ck_assert_msg(r->outcome == OUTCOME_INFRA, "%s: %s", x->name, outcome_name(r->outcome));
    ck_assert_msg(strstr(r->reason, *x->what ? x->what : "the container was lost"), "%s: %s",
                  x->name, r->reason);
    ck_assert_ptr_nonnull(strstr(r->reason, "the program may have run"));
    ck_assert_int_eq(r->retry_after_s, 0);
    run_free(run);
    (void)run_rig_wait(&rig, HANDOVER_DONE);
}
END_TEST

/* A program can send them, and every run would hold 16 MiB of them. */
START_TEST(values_and_steps_that_were_not_asked_for_are_dropped)
{
    struct run *run;

    rig_frame(&rig.says, FRAME_VALUE, "[1]");
    rig_frame(&rig.says, FRAME_STEP, "{}");
    say_end((struct outcome_report){0});
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    ck_assert_uint_eq(run_result(run)->value.len, 0);
    run_free(run);
}
END_TEST

START_TEST(nothing_is_believed_before_ready)
{
    struct run *run;

    buf_clear(&rig.says);
    rig_frame(&rig.says, FRAME_STDOUT, "early");
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert_ptr_nonnull(strstr(run_result(run)->reason, "no READY"));
    run_free(run);
}
END_TEST

START_TEST(a_file_that_became_unreadable_is_taken_back)
{
    struct entry e = {.size = 9, .path = "half", .path_len = 4};
    struct run *run;

    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_entry(&rig.says, FRAME_OUT_ENTRY, &e);
    rig_frame(&rig.says, FRAME_OUT_DATA, "abc");
    e.reason = OMIT_UNREADABLE;
    rig_entry(&rig.says, FRAME_OMITTED, &e);
    rig_report(&rig.says, &(struct outcome_report){.end = END_NORMAL});
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    ck_assert_uint_eq(run_result(run)->files_n, 0);
    ck_assert_str_eq(run_result(run)->omitted[0].reason, "unreadable");
    run_free(run);
}
END_TEST

START_TEST(omissions_are_counted_up_to_a_limit)
{
    struct entry e = {.reason = OMIT_NAME, .path = "x", .path_len = 1};
    struct run *run;

    rig_frame(&rig.says, FRAME_ENDED, "");
    for (int i = 0; i < RUN_OMITTED_MAX + 5; i++)
        rig_entry(&rig.says, FRAME_OMITTED, &e);
    rig_report(&rig.says, &(struct outcome_report){.end = END_NORMAL});
    run = finish();
    ck_assert_uint_eq(run_result(run)->omitted_n, RUN_OMITTED_MAX);
    run_free(run);
}
END_TEST

START_TEST(a_host_call_without_the_right_is_answered)
{
    CLEANUP(buf_done) struct buf answer = {0}, last = {0};
    struct run *run;

    rig_frame_id(&rig.says, FRAME_CALL, 5, "{}", 2);
    buf_init(&last, 4096);
    rig_frame(&last, FRAME_ENDED, "");
    rig_report(&last, &(struct outcome_report){.end = END_NORMAL});
    rig.at_type = FRAME_REPLY;
    rig.says_at = &last;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    run_free(run);
    run_rig_halt(&rig);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_REPLY, &answer), 1);
    ck_assert_ptr_nonnull(strstr(buf_get(&answer), "PermissionError"));
}
END_TEST

/* ---- a container that is lost ---- */

static const struct loss {
    struct handover_fate fate;
    bool is_silent, dies;
    enum outcome outcome;
    int exit_code;
    const char *reason;
} losses[] = {
    {.fate = {.is_known = 1, .was_killed_by_us = 1},
     .outcome = OUTCOME_TIMEOUT,
     .exit_code = -1,
     .reason = "time limit of 10 s exceeded"                                             },
    {.fate = {.is_known = 1, .is_oom = 1},
     .outcome = OUTCOME_OOM,
     .exit_code = 137,
     .reason = "memory limit of 64 MiB exceeded"                                         },
    {.fate = {.is_known = 1},
     .outcome = OUTCOME_INFRA,
     .exit_code = -1,
     .reason = "infrastructure failure, the program may have run: the container was lost"},
    {.dies = true,
     .outcome = OUTCOME_INFRA,
     .exit_code = -1,
     .reason = "infrastructure failure, the program may have run: the container was lost"},
    {.is_silent = true,
     .outcome = OUTCOME_INFRA,
     .exit_code = -1,
     .reason = "infrastructure failure, the program may have run: the container was lost"},
};

START_TEST(a_lost_container_has_the_fate_that_the_keeper_tells)
{
    const struct loss *x = &losses[_i];
    const struct run_result *r;
    struct run *run;

    rig.fate = x->fate;
    rig.is_fate_silent = x->is_silent;
    rig.dies_at_fate = x->dies;
    rig.ends = true;
    rig_frame(&rig.says, FRAME_STARTED, "");
    rig_frame(&rig.says, FRAME_STDOUT, "so far");
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, x->outcome);
    ck_assert_int_eq(r->exit_code, x->exit_code);
    ck_assert_str_eq(r->reason, x->reason);
    check_text(&r->out, "so far");
    ck_assert_uint_eq(r->out_bytes, 6);
    run_free(run);
}
END_TEST

START_TEST(a_container_that_is_gone_before_the_job_has_run_nothing)
{
    struct spool data;
    struct run_file file = {.path = "in", .data = &data};
    auto_free char *much = xcalloc(1, 8 << 20);
    const struct run_result *r;
    struct run *run;

    /* More than a socket takes in, so that the writer must notice. */
    spool_init(&data, "/tmp");
    ck_assert_int_eq(spool_add(&data, much, 8 << 20, NULL), 0);
    rig.request.files = &file;
    rig.request.files_n = 1;
    rig.says_at_once = rig.ends = true;
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_INFRA);
    ck_assert(!r->was_sent);
    ck_assert_int_eq(r->retry_after_s, 1);
    ck_assert_ptr_null(strstr(r->reason, "may have run"));
    run_free(run);
    spool_done(&data);
}
END_TEST

START_TEST(a_program_beyond_every_size_is_not_sent)
{
    enum { MUCH = 25 << 20 };
    auto_free char *much = xcalloc(1, MUCH);
    struct run *run;

    rig.request.code = much;
    rig.request.code_len = MUCH;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert(!run_result(run)->was_sent);
    ck_assert_str_eq(run_result(run)->reason, "the program is too large");
    run_free(run);
}
END_TEST

/* A keeper that is dead or stuck does not kill: the front ends by itself, whatever still comes. */
START_TEST(the_hard_deadline_holds_without_a_keeper)
{
    CLEANUP(buf_done) struct buf flood = {0};
    struct run *run;

    /* 0: it is silent; 1: it sends frames that cost nothing, for ever. */
    buf_init(&flood, 4096);
    rig_frame(&flood, FRAME_STDOUT, "");
    rig.floods = _i ? &flood : NULL;
    rig.is_fate_silent = _i;
    rig.request.timeout_ms = rig.policy.time_grace_ms = 1;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_TIMEOUT);
    run_free(run);
    run_rig_halt(&rig);
}
END_TEST

/* ---- no container ---- */

static const struct refusal {
    enum refuse_reason reason;
    const char *text;
} refusals[] = {
    {REFUSE_POLICY,   "the policy is not known to the keeper"},
    {REFUSE_FULL,     "too many requests are waiting"        },
    {REFUSE_WAITED,   "no container became free in time"     },
    {REFUSE_ENGINE,   "the container engine is not available"},
    {REFUSE_IMAGE,    "the policy's image is not available"  },
    {REFUSE_STOPPING, "the service is stopping"              },
};

START_TEST(a_refusal_says_why_and_when_to_come_back)
{
    const struct run_result *r;
    struct run *run;

    rig.refusal = refusals[_i].reason;
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_INFRA);
    ck_assert(!r->was_sent);
    ck_assert_str_eq(r->reason, refusals[_i].text);
    ck_assert_int_eq(r->retry_after_s, 3);
    ck_assert_int_eq(r->err.kind, ERR_BUSY);
    run_free(run);
}
END_TEST

START_TEST(a_keeper_that_dies_answers_with_busy)
{
    struct run *run;

    rig.dies_at_take = true;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert_str_eq(run_result(run)->reason, "the keeper was lost");
    ck_assert_int_eq(run_result(run)->retry_after_s, 1);
    ck_assert(!core_has_keeper(rig.core));
    run_free(run);
    /* The next question does not even go out. */
    run = run_new(rig.core, &rig.request);
    ck_assert_str_eq(run_wait(run)->reason, "the keeper is not there");
    run_free(run);
}
END_TEST

START_TEST(a_taken_without_a_stream_is_a_refusal)
{
    struct run *run;

    rig.has_no_stream = true;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert(!run_result(run)->was_sent);
    ck_assert_int_eq(run_result(run)->retry_after_s, 1);
    run_free(run);
    /* The container is not left to its deadline. */
    ck_assert_uint_eq(run_rig_wait(&rig, HANDOVER_DONE).member, 7);
}
END_TEST

/* Reads what the keeper was told, but not before the container's stream is closed. */
static void *read_late(void *arg)
{
    int *ends = arg;
    struct handover m = {0};
    char byte;
    int fd;

    ck_assert_int_eq(read(ends[1], &byte, 1), 0);
    while (m.type != HANDOVER_DONE)
        ck_assert_int_eq(io_recv_msg(ends[0], &m, sizeof(m), &fd), sizeof(m));
    ck_assert_uint_eq(m.member, 9);
    return NULL;
}

START_TEST(a_container_is_given_back_though_the_keepers_queue_is_full)
{
    struct handover other = {.type = HANDOVER_STATS};
    struct lease lease = {.member = 9};
    int pair[2], stream[2], ends[2];
    struct link *l = NULL;
    pthread_t thread;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    ck_assert_int_eq(link_new(pair[0], &l, NULL), 0);
    while (io_send_msg(pair[0], &other, sizeof(other), -1) == 0)
        continue;
    ck_assert_int_eq(errno, EAGAIN);
    lease.fd = stream[0];
    ends[0] = pair[1];
    ends[1] = stream[1];
    ck_assert_int_eq(pthread_create(&thread, NULL, read_late, ends), 0);
    link_done(l, &lease);
    ck_assert_int_eq(lease.fd, -1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    link_free(l);
    (void)close(pair[1]);
    (void)close(stream[1]);
}
END_TEST

START_TEST(no_time_is_a_timeout_without_a_container)
{
    struct run *run;

    rig.request.timeout_ms = _i ? -5 : 0;
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_TIMEOUT);
    ck_assert_str_eq(run_result(run)->reason, "no time was given");
    ck_assert_uint_eq(rig.counts[HANDOVER_TAKE], 0);
    run_free(run);
}
END_TEST

/* ---- cancelling ---- */

START_TEST(a_client_that_goes_while_in_line_is_cancelled)
{
    struct run *run;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    rig.is_silent = true;
    rig.request.client_fd = pair[0];
    (void)close(pair[1]);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_CANCELLED);
    run_free(run);
    (void)run_rig_wait(&rig, HANDOVER_CANCEL);
    (void)close(pair[0]);
}
END_TEST

START_TEST(a_client_that_goes_while_it_runs_is_cancelled)
{
    struct run_event ev = {.kind = RUN_QUEUED};
    struct run *run;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    rig.request.client_fd = pair[0];
    rig_frame(&rig.says, FRAME_STARTED, "");
    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    while (ev.kind != RUN_STARTED)
        run_next(run, &ev);
    (void)close(pair[1]);
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_CANCELLED);
    run_free(run);
    (void)run_rig_wait(&rig, HANDOVER_DONE);
    (void)close(pair[0]);
}
END_TEST

static void end_at_cancel(struct run_rig *r, const struct frame *f)
{
    if (f->type == FRAME_CANCEL)
        (void)shutdown(r->stream, SHUT_RDWR);
}

/* 0: it tells what it printed; 1: it says nothing more; 2: its stream ends. */
START_TEST(a_cancelled_run_may_still_tell_its_end)
{
    CLEANUP(buf_done) struct buf last = {0};
    struct run_event ev = {.kind = RUN_QUEUED};
    struct run *run;

    buf_init(&last, 4096);
    rig_frame(&last, FRAME_STDOUT, "late");
    rig_frame(&last, FRAME_ENDED, "");
    rig_report(&last, &(struct outcome_report){.end = END_CANCELLED, .term_signal = 9});
    rig_frame(&rig.says, FRAME_STARTED, "");
    rig.at_type = FRAME_CANCEL;
    if (_i == 0)
        rig.says_at = &last;
    if (_i == 2)
        rig.on_frame = end_at_cancel;
    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    while (ev.kind != RUN_STARTED)
        run_next(run, &ev);
    run_cancel(run);
    run_cancel(run);
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_CANCELLED);
    ck_assert_str_eq(run_result(run)->reason, "cancelled");
    if (_i == 0)
        check_text(&run_result(run)->out, "late");
    run_free(run);
    run_rig_halt(&rig);
}
END_TEST

/* ---- the core and its link ---- */

static unsigned observed;
static enum outcome observed_outcome;

static void observe(void *ctx, const struct run_request *request, const struct run_result *result)
{
    ck_assert_ptr_eq(ctx, &rig);
    ck_assert_str_eq(request->dialect, "test");
    observed_outcome = result->outcome;
    observed++;
}

START_TEST(observers_see_every_run_once)
{
    struct run *run;

    say_end((struct outcome_report){.end = END_NORMAL});
    run_rig_start(&rig);
    core_observe(rig.core, observe, &rig);
    run = run_new(rig.core, &rig.request);
    (void)run_wait(run);
    ck_assert_uint_eq(observed, 0);
    run_free(run);
    ck_assert_uint_eq(observed, 1);
    ck_assert_int_eq(observed_outcome, OUTCOME_OK);
    run_free(NULL);
}
END_TEST

/* Its client is found gone by a write: before it is in line, while it runs, while its files come. */
START_TEST(a_run_that_is_left_before_its_end_is_cancelled)
{
    static const enum run_event_kind left_at[] = {RUN_QUEUED, RUN_STARTED, RUN_FILE};
    struct run_event ev;
    struct run *run;

    rig_frame(&rig.says, FRAME_STARTED, "");
    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_file(&rig.says, "a", "1");
    rig_file(&rig.says, "b", "2");
    run_rig_start(&rig);
    core_observe(rig.core, observe, &rig);
    run = run_new(rig.core, &rig.request);
    do
        run_next(run, &ev);
    while (ev.kind != left_at[_i]);
    run_free(run);
    ck_assert_uint_eq(observed, 1);
    ck_assert_int_eq(observed_outcome, OUTCOME_CANCELLED);
    if (left_at[_i] != RUN_QUEUED)
        (void)run_rig_wait(&rig, HANDOVER_DONE);
}
END_TEST

START_TEST(statistics_come_pool_by_pool)
{
    struct handover_pool *pools = NULL;
    struct handover_counts counts;
    size_t n = 0;

    run_rig_start(&rig);
    ck_assert_int_eq(core_stats(rig.core, &pools, &n, &counts, NULL), 0);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(pools[2].policy, 3);
    ck_assert_uint_eq(counts.pools, 3);
    free(pools);
}
END_TEST

static void die_half_way(struct run_rig *r, const struct handover *m)
{
    struct handover pool = {.type = HANDOVER_POOL, .seq = m->seq};

    rig_send(r, &pool, -1);
    rig_lose_keeper(r);
}

START_TEST(statistics_need_a_keeper_that_lives)
{
    struct handover_pool *pools = NULL;
    struct handover_counts counts;
    struct err err = {0};
    size_t n = 0;

    rig.on_told = die_half_way;
    run_rig_start(&rig);
    ck_assert_int_eq(core_stats(rig.core, &pools, &n, &counts, &err), -1);
    ck_assert_int_eq(err.kind, ERR_BUSY);
    ck_assert_str_eq(err.msg, "the keeper was lost");
    ck_assert_int_eq(core_stats(rig.core, &pools, &n, &counts, &err), -1);
    ck_assert_str_eq(err.msg, "the keeper is not there");
    ck_assert_ptr_null(pools);
}
END_TEST

static int stray = -1; /* of a pipe: travels with an answer that has none */
static uint32_t stray_type;

static void send_astray(struct run_rig *r, const struct handover *m)
{
    struct handover a = {.type = stray_type, .seq = m->seq, .reason = REFUSE_FULL};

    if (m->type != HANDOVER_TAKE)
        return;
    rig_send(r, &a, stray);
    (void)close(stray);
}

/* 0: with an answer to another question, which is dropped; 1: with a refusal, which counts. */
START_TEST(a_descriptor_that_does_not_belong_is_closed)
{
    struct run *run;
    int fds[2];
    char byte;

    ck_assert_int_eq(pipe(fds), 0);
    stray = fds[1];
    stray_type = _i ? HANDOVER_REFUSED : HANDOVER_COUNTS;
    rig.on_told = send_astray;
    rig.is_silent = _i;
    say_end((struct outcome_report){.end = END_NORMAL});
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, _i ? OUTCOME_INFRA : OUTCOME_OK);
    if (_i) /* it named no time */
        ck_assert_int_eq(run_result(run)->retry_after_s, 1);
    run_free(run);
    ck_assert_int_eq(io_wait(fds[0], POLLIN, clock_ms() + RIG_PATIENCE_S * 1000), 1);
    ck_assert_int_eq(read(fds[0], &byte, 1), 0);
    (void)close(fds[0]);
}
END_TEST

START_TEST(a_message_that_is_none_costs_the_keeper_its_place)
{
    struct handover m = {.type = HANDOVER_TAKE};
    int pair[2], fds[2];
    char byte;

    run_rig_start(&rig);
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    core_set_keeper(rig.core, pair[1]);
    ck_assert(core_has_keeper(rig.core));
    ck_assert_int_eq(io_send_msg(pair[0], &m, _i ? sizeof(m) : 5, fds[1]), 0);
    (void)close(fds[1]);
    /* Our end sees the other one closed. */
    ck_assert_int_eq(io_wait(pair[0], POLLIN, clock_ms() + RIG_PATIENCE_S * 1000), 1);
    ck_assert_int_eq(recv(pair[0], &m, sizeof(m), 0), 0);
    ck_assert(!core_has_keeper(rig.core));
    ck_assert_int_eq(io_wait(fds[0], POLLIN, clock_ms() + RIG_PATIENCE_S * 1000), 1);
    ck_assert_int_eq(read(fds[0], &byte, 1), 0); /* what came with it is closed, too */
    (void)close(fds[0]);
    (void)close(pair[0]);
}
END_TEST

START_TEST(a_container_that_nobody_waits_for_is_given_back)
{
    struct handover m = {.type = HANDOVER_TAKEN, .seq = 12345, .member = 9};
    int pair[2], stream[2], got;
    char byte;

    run_rig_start(&rig);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    core_set_keeper(rig.core, pair[1]);
    ck_assert_int_eq(io_send_msg(pair[0], &m, sizeof(m), stream[1]), 0);
    (void)close(stream[1]);
    ck_assert_int_eq(io_wait(pair[0], POLLIN, clock_ms() + RIG_PATIENCE_S * 1000), 1);
    ck_assert_int_eq(io_recv_msg(pair[0], &m, sizeof(m), &got), sizeof(m));
    ck_assert_uint_eq(m.type, HANDOVER_DONE);
    ck_assert_uint_eq(m.member, 9);
    ck_assert_int_eq(recv(stream[0], &byte, 1, 0), 0);
    (void)close(stream[0]);
    (void)close(pair[0]);
}
END_TEST

START_TEST(policies_live_as_long_as_somebody_holds_them)
{
    struct policy_set first, second;
    const struct policy *held;
    struct policy_names names;

    run_rig_start(&rig);
    ck_assert_ptr_null(core_pin_policy(rig.core, "default"));
    core_policy_names(rig.core, &names);
    ck_assert_uint_eq(names.n, 0);
    policy_names_done(&names);
    ck_assert_int_eq(policy_set_load("policies", &first, NULL), 0);
    ck_assert_int_eq(policy_set_load("policies", &second, NULL), 0);
    core_set_policies(rig.core, &first);
    held = core_pin_policy(rig.core, "default");
    ck_assert_ptr_nonnull(held);
    ck_assert_ptr_null(core_pin_policy(rig.core, "nothing"));
    core_set_policies(rig.core, &second);
    ck_assert_str_eq(held->name, "default");
    core_policy_names(rig.core, &names);
    ck_assert_str_eq(policy_names_find(&names, held->key), "default");
    ck_assert_str_eq(policy_names_find(&names, held->key + 1), "other");
    policy_names_done(&names);
    core_unpin_policy(rig.core, held);
    core_unpin_policy(rig.core, NULL);
    core_free(NULL);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, tells_everything_that_an_honest_container_says);
    tcase_add_test(t, sends_the_job_with_arguments_environment_files_and_input);
    tcase_add_loop_test(t, feeds_standard_input_from_memory_and_from_a_descriptor, 0, 2);
    tcase_add_test(t, input_that_is_not_there_yet_is_waited_for);
    tcase_add_loop_test(t, a_text_is_cut_after_so_many_characters, 0, ARRAY_LEN(cuttings));
    tcase_add_loop_test(t, an_end_has_its_outcome_and_its_reason, 0, ARRAY_LEN(endings));
    tcase_add_test(t, values_and_steps_that_were_not_asked_for_are_dropped);
    tcase_add_loop_test(t, a_breach_of_the_protocol_ends_the_run_as_infra, 0, ARRAY_LEN(breaches));
    tcase_add_test(t, nothing_is_believed_before_ready);
    tcase_add_test(t, a_file_that_became_unreadable_is_taken_back);
    tcase_add_test(t, omissions_are_counted_up_to_a_limit);
    tcase_add_test(t, a_host_call_without_the_right_is_answered);
    tcase_add_loop_test(t, a_lost_container_has_the_fate_that_the_keeper_tells, 0,
                        ARRAY_LEN(losses));
    tcase_add_test(t, a_container_that_is_gone_before_the_job_has_run_nothing);
    tcase_add_test(t, a_program_beyond_every_size_is_not_sent);
    tcase_add_loop_test(t, the_hard_deadline_holds_without_a_keeper, 0, 2);
    tcase_add_loop_test(t, a_refusal_says_why_and_when_to_come_back, 0, ARRAY_LEN(refusals));
    tcase_add_test(t, a_keeper_that_dies_answers_with_busy);
    tcase_add_test(t, a_container_is_given_back_though_the_keepers_queue_is_full);
    tcase_add_test(t, a_taken_without_a_stream_is_a_refusal);
    tcase_add_loop_test(t, no_time_is_a_timeout_without_a_container, 0, 2);
    tcase_add_test(t, a_client_that_goes_while_in_line_is_cancelled);
    tcase_add_test(t, a_client_that_goes_while_it_runs_is_cancelled);
    tcase_add_loop_test(t, a_cancelled_run_may_still_tell_its_end, 0, 3);
    tcase_add_test(t, observers_see_every_run_once);
    tcase_add_loop_test(t, a_run_that_is_left_before_its_end_is_cancelled, 0, 3);
    tcase_add_test(t, statistics_come_pool_by_pool);
    tcase_add_test(t, statistics_need_a_keeper_that_lives);
    tcase_add_loop_test(t, a_descriptor_that_does_not_belong_is_closed, 0, 2);
    tcase_add_loop_test(t, a_message_that_is_none_costs_the_keeper_its_place, 0, 2);
    tcase_add_test(t, a_container_that_nobody_waits_for_is_given_back);
    tcase_add_test(t, policies_live_as_long_as_somebody_holds_them);
}

UNIT_MAIN("run", add_tests)
