/* The host calls of a run: what is permitted, in which order, how many, how much, and how all ends. */
#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/stop.h"
#include "core/run_state.h"
#include "frames/le.h"
#include "provider_rig.h"
#include "run_rig.h"

#define MIB (1 << 20)

/* "data.large" of a policy's default; valgrind reads JSON slowly. */
#define LARGE ((size_t)unit_rounds(10 * MIB, MIB))

static struct run_rig rig;

/* ---- the provider ---- */

static char order[4096]; /* the arguments of all calls as they began */
static size_t order_n;
static int64_t time_left_ms;

static void note(const struct host_call *call)
{
    time_left_ms = call->deadline_ms - clock_ms();
    order_n += (size_t)snprintf(order + order_n, sizeof(order) - order_n, "%s", call->args);
}

static void put_string(struct buf *b, size_t n)
{
    char piece[4096];

    memset(piece, 'x', sizeof(piece));
    (void)buf_char(b, '"');
    for (size_t left = n - 2; left;) {
        size_t k = left < sizeof(piece) ? left : sizeof(piece);

        (void)buf_add(b, piece, k);
        left -= k;
    }
    (void)buf_char(b, '"');
}

static void provide(void *ctx, const struct host_call *call, struct host_answer *ret)
{
    const char *f = strrchr(call->name, '.') + 1;

    ck_assert_ptr_eq(ctx, &rig);
    provider_enter(call, note);
    if (strcmp(f, "echo") == 0)
        (void)buf_add(&ret->result, call->args, call->args_len);
    else if (strcmp(f, "fail") == 0)
        host_fail(ret, HOST_DOWN, "ToolError", "MCP tool 'fail' connection failed: refused");
    else if (strcmp(f, "large") == 0)
        put_string(&ret->result, LARGE);
    else if (strcmp(f, "some") == 0)
        put_string(&ret->result, 100000);
    else
        provider_stay(call, strcmp(f, "obey") == 0);
    provider_leave();
}

/* ---- the container ---- */

static unsigned replies, replies_wanted; /* whole ones */
static unsigned replies_held;            /* bytes that the worker has not taken */
static unsigned held_max;
static bool takes_none;       /* the worker reads no replies */
static struct run *to_cancel; /* in the middle of the first reply */

static void say_end_now(struct run_rig *r)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 4096);
    rig_frame(&b, FRAME_ENDED, "");
    rig_report(&b, &(struct outcome_report){.end = END_NORMAL});
    rig_say_buf(r, &b);
}

static void take_replies(struct run_rig *r)
{
    CLEANUP(buf_done) struct buf b = {0};
    uint8_t number[4];

    buf_init(&b, 4096);
    le_put32(number, replies_held);
    rig_frame_id(&b, FRAME_TAKEN, 0, number, sizeof(number));
    rig_say_buf(r, &b);
    replies_held = 0;
}

/* Ends the run behind the last reply that the test waits for. */
static void hear(struct run_rig *r, const struct frame *f)
{
    if (f->type != FRAME_REPLY)
        return;
    replies_held += FRAME_HEAD + f->len;
    held_max = replies_held > held_max ? replies_held : held_max;
    if (to_cancel && replies_held >= FRAME_MAX)
        run_cancel(TAKE(to_cancel));
    if (!takes_none && replies_held >= REPLY_TOLD)
        take_replies(r);
    if (!(f->flags & FRAME_MORE) && ++replies == replies_wanted)
        say_end_now(r);
}

static void part(uint16_t id, const char *text, bool is_last)
{
    size_t n = strlen(text);
    auto_free uint8_t *bytes = xmalloc(FRAME_HEAD + n);

    frame_put_head(bytes, FRAME_CALL, is_last ? 0 : FRAME_MORE, id, (uint32_t)n);
    memcpy(bytes + FRAME_HEAD, text, n);
    rig_raw(&rig.says, bytes, FRAME_HEAD + n);
}

static void call(uint16_t id, const char *name, const char *args)
{
    auto_free char *text = xasprintf("{\"kind\":\"tool\",\"name\":\"%s\",\"args\":%s}", name, args);

    part(id, text, true);
}

/* ---- the run ---- */

static char all[] = "*";
static char *allow_all[] = {all, NULL};

static void setup(void)
{
    run_rig_init(&rig);
    rig.policy.tools = allow_all;
    rig.policy.calls_budget = 100;
    rig.policy.calls_concurrency = 4;
    rig.policy.calls_request = 1000;
    rig.policy.calls_reply = 10 * MIB;
    rig.policy.calls_total = 64 * MIB;
    rig.policy.calls_time_ms = 600000;
    rig.policy.time_default_ms = rig.policy.time_max_ms = 600000;
    rig.request.client = "192.0.2.7";
    rig.on_frame = hear;
    rig_frame(&rig.says, FRAME_STARTED, "");
    replies = replies_wanted = replies_held = held_max = 0;
    takes_none = false;
    order[0] = '\0';
    order_n = 0;
    provider_begin();
}

static void teardown(void)
{
    if (rig.core)
        run_rig_stop(&rig);
    provider_end();
}

static struct run *start(void)
{
    run_rig_start(&rig);
    core_add_host(rig.core, "tool", provide, &rig);
    return run_new(rig.core, &rig.request);
}

static const struct host_counts *counts(struct run *run)
{
    return &run_result(run)->calls;
}

/* All replies behind each other, once the run is freed. */
static const char *heard(void)
{
    static struct buf b;

    buf_done(&b);
    run_rig_halt(&rig);
    (void)rig_heard(&rig, FRAME_REPLY, &b);
    return buf_get(&b);
}

/* Runs until `n` replies have come and the program has ended well. */
static struct run *finish(unsigned n)
{
    struct run *run;

    replies_wanted = n;
    run = start();
    ck_assert_msg(run_wait(run)->outcome == OUTCOME_OK, "%s", run_result(run)->reason);
    return run;
}

START_TEST(a_call_is_answered_with_what_the_provider_says)
{
    struct run *run;

    call(7, "data.echo", "{\"n\":12345678901234567890}");
    call(8, "data.fail", "{}");
    rig.policy.calls_concurrency = 1;
    run = finish(2);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_OK], 1);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_DOWN], 1);
    run_free(run);
    ck_assert_str_eq(heard(), "{\"result\":{\"n\":12345678901234567890}}"
                              "{\"error\":{\"type\":\"ToolError\",\"message\":"
                              "\"MCP tool 'fail' connection failed: refused\"}}");
    ck_assert_int_gt(time_left_ms, 1000);
}
END_TEST

static void expect_parts(void)
{
    const char *text = heard();

    ck_assert_ptr_nonnull(strstr(text, "{\"result\":{\"a\":1}}"));
    ck_assert_ptr_nonnull(strstr(text, "{\"result\":{\"b\":2}}"));
}

START_TEST(calls_may_come_in_parts_that_mix)
{
    part(1, "{\"kind\":\"tool\",\"na", false);
    part(2, "{\"kind\":\"tool\",\"name\":\"x.echo\",", false);
    part(1, "", false);
    part(1, "me\":\"x.echo\",\"args\":{\"a\":1}", false);
    part(2, "\"args\":{\"b\":2}}", true);
    part(1, "}", true);
    run_free(finish(2));
    expect_parts();
}
END_TEST

START_TEST(a_number_is_free_again_once_it_is_answered)
{
    static struct buf again; /* what the container says behind the first reply */
    CLEANUP(buf_done) struct buf first = {0};
    struct run *run;

    buf_init(&again, 4096);
    first = rig.says;
    rig.says = again;
    call(1, "data.echo", "{\"b\":2}");
    again = rig.says;
    rig.says = first;
    first = (struct buf){0};
    call(1, "data.echo", "{\"a\":1}");
    rig.at_type = FRAME_REPLY;
    rig.says_at = &again; /* the third one is behind the end */
    run = finish(2);
    run_free(run);
    expect_parts();
    buf_done(&again);
}
END_TEST

/* ---- order and concurrency ---- */

START_TEST(so_many_work_at_the_same_time_and_the_rest_wait)
{
    enum { CALLS = 40 };
    struct run *run;

    for (uint16_t i = 0; i < CALLS; i++)
        call(i, "data.wait", "{}");
    rig_frame(&rig.says, FRAME_STDOUT, "all are made");
    replies_wanted = CALLS;
    run = start();
    for (struct run_event ev = {.kind = RUN_QUEUED}; ev.kind != RUN_STDOUT;)
        run_next(run, &ev);
    wait_for(&begun, 4);
    open_gate();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_OK);
    ck_assert_uint_eq(at_work_max, 4);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_OK], CALLS);
    run_free(run);
}
END_TEST

START_TEST(calls_begin_in_the_order_in_which_they_were_made)
{
    char want[512] = "", args[16];
    size_t n = 0;

    rig.policy.calls_concurrency = 1;
    for (uint16_t i = 0; i < 20; i++) {
        (void)snprintf(args, sizeof(args), "{\"i\":%u}", i);
        n += (size_t)snprintf(want + n, sizeof(want) - n, "%s", args);
        call((uint16_t)(1000 - i), "data.echo", args);
    }
    run_free(finish(20));
    ck_assert_str_eq(order, want);
}
END_TEST

START_TEST(output_flows_while_a_provider_is_slow)
{
    enum { LINES = 200 };
    struct run_event ev = {.kind = RUN_QUEUED};
    struct run *run;
    unsigned lines = 0;

    call(1, "data.wait", "{}");
    for (int i = 0; i < LINES; i++)
        rig_frame(&rig.says, FRAME_STDOUT, "line\n");
    replies_wanted = 1;
    run = start();
    while (lines < LINES) {
        run_next(run, &ev);
        lines += ev.kind == RUN_STDOUT;
    }
    wait_for(&begun, 1);
    ck_assert_uint_eq(ended, 0);
    open_gate();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_OK);
    run_free(run);
    ck_assert_str_eq(heard(), "{\"result\":null}");
}
END_TEST

/* ---- what is refused ---- */

static char data[] = "data", device_get[] = "device.get";
static char *allow_some[] = {data, device_get, NULL}, *allow_none[] = {NULL};

static const struct refusal {
    const char *text;
    char **tools;
    enum host_verdict verdict;
    const char *type, *message;
} refusals[] = {
    {"{}",                                                     NULL,       HOST_FORBIDDEN, "PermissionError", "host calls are not allowed by this policy"     },
    {"{}",                                                     allow_none, HOST_FORBIDDEN, "PermissionError",
     "host calls are not allowed by this policy"                                                                                                              },
    {"{\"kind\":\"tool\",\"name\":\"device.set\"}",            allow_some, HOST_FORBIDDEN, "PermissionError",
     "'device.set' is not allowed by this policy"                                                                                                             },
    {"{\"kind\":\"tool\",\"name\":\"database.echo\"}",         allow_some, HOST_FORBIDDEN,
     "PermissionError",                                                                                       "'database.echo' is not allowed by this policy" },
    {"{\"kind\":\"db\",\"name\":\"data.echo\"}",               allow_some, HOST_FORBIDDEN, "PermissionError",
     "nobody offers calls of the kind 'db'"                                                                                                                   },
    {"{\"kind\":\"tool\",",                                    allow_all,  HOST_INVALID,   "ValueError",      "a host call is no JSON: "                      },
    {"",                                                       allow_all,  HOST_INVALID,   "ValueError",      "a host call is no JSON: "                      },
    {"{\"kind\":\"tool\",\"name\":\"data.echo\",\"args\":[]}", allow_all,  HOST_INVALID,
     "ValueError",                                                                                            "the arguments of a host call must be an object"},
};

START_TEST(what_may_not_be_called_is_refused_with_the_reason)
{
    const struct refusal *x = &refusals[_i];
    auto_free char *want =
        xasprintf("{\"error\":{\"type\":\"%s\",\"message\":\"%s", x->type, x->message);
    const char *text;
    struct run *run;

    rig.policy.tools = x->tools;
    part(1, x->text, true);
    run = finish(1);
    ck_assert_uint_eq(counts(run)->verdicts[x->verdict], 1);
    ck_assert_uint_eq(counts(run)->sum_us, 0);
    run_free(run);
    text = heard();
    ck_assert_msg(strstr(text, want) == text, "%s", text);
    ck_assert_uint_eq(begun, 0);
}
END_TEST

START_TEST(what_is_permitted_is_called)
{
    rig.policy.tools = allow_some;
    call(1, _i ? "device.get.echo" : "data.echo", "{}");
    run_free(finish(1));
    ck_assert_uint_eq(begun, 1);
}
END_TEST

START_TEST(a_call_that_is_too_large_is_refused_when_it_has_come)
{
    auto_free char *much = xcalloc(1, 802);
    struct run *run;

    memset(much, ' ', 801);
    part(1, much, false);
    part(1, much, false);
    part(1, much, false);
    call(2, "data.echo", "{}");
    part(1, "{}", true);
    run = finish(2);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_LIMIT], 1);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_OK], 1);
    run_free(run);
    ck_assert_ptr_nonnull(strstr(heard(),
                                 "{\"error\":{\"type\":\"ValueError\",\"message\":\"a host "
                                 "call may have 1000 bytes at most\"}}"));
}
END_TEST

START_TEST(a_budget_is_told_when_it_is_spent)
{
    struct run *run;

    rig.policy.calls_budget = 2;
    call(1, "data.echo", "{}");
    call(2, "data.fail", "{}");
    part(3, "{}", true); /* costs nothing */
    call(4, "data.echo", "{}");
    call(5, "f", "{}");
    run = finish(5);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_BUDGET], 2);
    run_free(run);
    ck_assert_ptr_nonnull(strstr(heard(),
                                 "{\"error\":{\"type\":\"ToolError\",\"message\":\"MCP tool "
                                 "'echo' call budget of 2 exceeded\"}}"));
    ck_assert_ptr_nonnull(strstr(heard(), "MCP tool 'f' call budget of 2 exceeded"));
    ck_assert_uint_eq(begun, 2);
}
END_TEST

/* 0: by results; 1: by requests. */
START_TEST(the_bytes_of_all_calls_are_bounded)
{
    struct run *run;

    rig.policy.calls_concurrency = 1;
    rig.policy.calls_total = _i ? 215 : 250000;
    for (uint16_t i = 0; i < 5; i++)
        call(i, _i ? "data.wait" : "data.some", "{}");
    gate_is_open = true;
    run = finish(5);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_OK], _i ? 4 : 2);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_LIMIT], _i ? 1 : 3);
    run_free(run);
    ck_assert_ptr_nonnull(strstr(heard(), _i ? "the host calls of this run exceed 215 bytes"
                                             : "the host calls of this run exceed 250000 bytes"));
}
END_TEST

START_TEST(a_result_beyond_the_policy_is_an_error)
{
    rig.policy.calls_reply = 99999;
    call(1, "data.some", "{}");
    run_free(finish(1));
    ck_assert_ptr_nonnull(strstr(heard(), "the result is larger than 99999 bytes"));
}
END_TEST

/* ---- large replies ---- */

START_TEST(a_large_reply_comes_in_parts_within_the_window)
{
    struct run *run;
    const char *text;

    call(1, "data.large", "{}");
    call(2, "data.large", "{}");
    run = finish(2);
    run_free(run);
    text = heard();
    ck_assert_uint_eq(strlen(text), 2 * (LARGE + strlen("{\"result\":}")));
    ck_assert_uint_le(held_max, REPLY_WINDOW);
    ck_assert_uint_eq(strspn(text + 11, "x"), LARGE - 2);
}
END_TEST

/*
 * A worker that reads no replies has one window of them. The rig takes what it hears apart: a frame
 * that was torn by CANCEL would make all that follows garbage.
 */
START_TEST(replies_that_nobody_reads_do_not_hold_up_a_cancel)
{
    CLEANUP(buf_done) struct buf got = {0};
    struct run *run;

    takes_none = true;
    for (uint16_t i = 0; i < 4; i++)
        call(i, "data.large", "{}");
    to_cancel = run = start();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_CANCELLED);
    run_free(run);
    run_rig_halt(&rig);
    ck_assert_uint_le(held_max, REPLY_WINDOW);
    ck_assert_uint_eq(replies, 0);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_CANCEL, &got), 1);
    ck_assert_uint_eq(rig.frames_at, rig.heard.len);
}
END_TEST

START_TEST(input_flows_while_replies_are_not_read)
{
    CLEANUP(buf_done) struct buf got = {0};
    char text[50000];
    struct run *run;

    memset(text, 'i', sizeof(text));
    rig.request.stdin_data = text;
    rig.request.stdin_len = sizeof(text);
    rig.says_after_input = true; /* the end */
    takes_none = true;
    call(1, "data.large", "{}");
    rig_frame(&rig.says, FRAME_ENDED, "");
    rig_report(&rig.says, &(struct outcome_report){.end = END_NORMAL});
    run = start();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_OK);
    run_free(run);
    run_rig_halt(&rig);
    (void)rig_heard(&rig, FRAME_STDIN, &got);
    ck_assert_uint_eq(got.len, sizeof(text));
}
END_TEST

START_TEST(credit_for_what_was_not_sent_is_a_breach)
{
    const char *const texts[] = {"\1\0\0\0", "\1\0\0", "\xff\xff\xff\xff"};
    struct run *run;

    if (_i)
        part(1, "{}", true);
    rig_frame_id(&rig.says, FRAME_TAKEN, 0, texts[_i], _i == 1 ? 3 : 4);
    run = start();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_INFRA);
    ck_assert_ptr_nonnull(strstr(run_result(run)->reason, "credit for replies"));
    run_free(run);
}
END_TEST

/* ---- floods ---- */

static void flood_of_refusals(void)
{
    for (uint16_t i = 0; i <= 1005; i++)
        part(i, "{}", true);
}

static void flood_of_beginnings(void)
{
    for (uint16_t i = 0; i <= 1000; i++)
        part(i, "{", false);
}

static void a_number_in_use(void)
{
    call(9, "data.obey", "{}");
    call(9, "data.echo", "{}");
}

static void a_number_that_waits(void)
{
    rig.policy.calls_concurrency = 1;
    call(8, "data.obey", "{}");
    call(9, "data.echo", "{}");
    part(9, "{", false);
}

static void flood_of_bytes(void)
{
    static char much[FRAME_MAX - 1];

    memset(much, ' ', sizeof(much) - 1);
    for (int i = 0; i < 1030; i++)
        part(1, much, false);
}

static const struct {
    void (*say)(void);
    const char *reason;
} floods[] = {
    {flood_of_refusals,   "too many host calls that were refused"                      },
    {flood_of_beginnings, "too many host calls that were begun"                        },
    {a_number_in_use,     "a host call with the number of one that is not answered yet"},
    {a_number_that_waits, "a host call with the number of one that is not answered yet"},
    {flood_of_bytes,      "too many bytes in host calls"                               }, /* the last one */
};

START_TEST(who_floods_host_calls_is_ended_and_keeps_the_output)
{
    const struct run_result *r;
    struct run *run;
    char got[8] = "";

    rig.policy.calls_budget = 5;
    buf_done(&rig.says);
    buf_init(&rig.says, 128 << 20);
    rig_ready(&rig.says);
    rig_frame(&rig.says, FRAME_STARTED, "");
    rig_frame(&rig.says, FRAME_STDOUT, "so far");
    floods[_i].say();
    takes_none = true;
    run = start();
    r = run_wait(run);
    ck_assert_int_eq(r->outcome, OUTCOME_CODE_ERROR);
    ck_assert_str_eq(r->reason, floods[_i].reason);
    ck_assert_int_eq(r->exit_code, 137);
    ck_assert_int_eq(r->term_signal, 9);
    ck_assert_int_eq(spool_read(&r->out, 0, got, sizeof(got), NULL), 6);
    ck_assert_str_eq(got, "so far");
    run_free(run);
    ck_assert_uint_eq(run_rig_wait(&rig, HANDOVER_DONE).member, 7);
}
END_TEST

/* ---- ends while calls are outstanding ---- */

START_TEST(a_call_out_of_time_is_answered_though_its_provider_works_on)
{
    struct run *run;

    rig.policy.calls_time_ms = 2000; /* enough for the other one on any machine */
    rig.policy.calls_concurrency = 1;
    call(1, "data.wait", "{}");
    call(2, "data.echo", "{}");
    run = finish(2);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_TIMEOUT], 1);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_OK], 1);
    run_free(run);
    ck_assert_str_eq(heard(), "{\"error\":{\"type\":\"TimeoutError\",\"message\":"
                              "\"'data.wait' took longer than 2 s\"}}{\"result\":{}}");
    wait_for(&stopped, 1);
    ck_assert_uint_eq(ended, 1); /* the other one */
    open_gate();
}
END_TEST

static void end_program(struct run *run)
{
    (void)run;
    say_end_now(&rig);
}

static void lose_container(struct run *run)
{
    (void)run;
    (void)pthread_mutex_lock(&rig.lock);
    (void)shutdown(rig.stream, SHUT_RDWR);
    (void)pthread_mutex_unlock(&rig.lock);
}

static int client[2] = {-1, -1};

static void hang_up(struct run *run)
{
    (void)run;
    (void)close(client[1]);
}

static void let_time_pass(struct run *run)
{
    (void)run;
}

static const struct {
    void (*end)(struct run *run);
    enum outcome outcome;
} ends[] =
    {
        {end_program,    OUTCOME_OK       },
        {run_cancel,     OUTCOME_CANCELLED},
        {hang_up,        OUTCOME_CANCELLED},
        {lose_container, OUTCOME_INFRA    },
        {let_time_pass,  OUTCOME_TIMEOUT  }, /* at its deadline, whatever it does not read */
};

/* Two at work, of which one does not obey; one that waits; one whose last part never comes. */
START_TEST(all_that_is_outstanding_is_cancelled_when_the_run_ends)
{
    struct run *run;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, client), 0);
    rig.request.client_fd = client[0];
    rig.policy.calls_concurrency = 2;
    rig.fate = (struct handover_fate){.is_known = 1};
    if (ends[_i].end == let_time_pass)
        rig.request.timeout_ms = 1500; /* behind all that comes before it */
    call(1, "data.wait", "{}");
    call(2, "data.obey", "{}");
    call(3, "data.echo", "{}");
    part(4, "{", false);
    rig_frame(&rig.says, FRAME_STDOUT, "all are made");
    run = start();
    for (struct run_event ev = {.kind = RUN_QUEUED}; ev.kind != RUN_STDOUT;)
        run_next(run, &ev);
    wait_for(&begun, 2);
    ends[_i].end(run);
    ck_assert_int_eq(run_wait(run)->outcome, ends[_i].outcome);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_CANCELLED], 3);
    run_free(run);
    wait_for(&stopped, 2);
    wait_for(&ended, 1);
    ck_assert_uint_eq(begun, 2);
    ck_assert_uint_eq(ended, 1); /* the other one is still at work, its run is gone */
    open_gate();
    (void)close(client[0]);
}
END_TEST

/* ---- the log ---- */

static const struct {
    enum calls_log how;
    const char *args;
} logs[] = {
    {CALLS_LOG_TEXT,   "args=\"{\\\"a\\\":1}\""                                                   },
    {CALLS_LOG_DIGEST, "args=\"015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862\""},
    {CALLS_LOG_OFF,    NULL                                                                       },
};

static int log_to_file(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    log_init("test", LOG_INFO, LOG_TEXT, fd);
    return fd;
}

START_TEST(a_line_in_the_log_shows_of_the_arguments_what_the_policy_wants)
{
    char text[4096] = "";
    auto_fd int fd = log_to_file();
    const char *line;

    rig.policy.calls_log = logs[_i].how;
    call(1, "data.echo", "{\"a\":1}");
    run_free(finish(1));
    ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
    line = strstr(text, "host call ");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_nonnull(strstr(line, "name=\"data.echo\" verdict=\"ok\" ms="));
    ck_assert_ptr_nonnull(strstr(line, " bytes=7"));
    if (logs[_i].args)
        ck_assert_msg(strstr(line, logs[_i].args) != NULL, "%s", line);
    else
        ck_assert_ptr_null(strstr(line, "args="));
    log_init("test", LOG_INFO, LOG_TEXT, 2);
}
END_TEST

/* A program may be refused as often as it likes, or nearly: the log is not its to fill. */
START_TEST(refusals_are_all_counted_and_some_are_in_the_log)
{
    enum { CALLS = 100, LINES = 20 };
    static char text[64 * 1024];
    auto_fd int fd = log_to_file();
    const char *at = text;
    unsigned lines = 0;
    struct run *run;

    for (uint16_t i = 0; i < CALLS; i++)
        part(i, "{}", true);
    run = finish(CALLS);
    ck_assert_uint_eq(counts(run)->verdicts[HOST_INVALID], CALLS);
    run_free(run);
    ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
    while ((at = strstr(at, "host call "))) {
        lines++;
        at++;
    }
    ck_assert_uint_eq(lines, LINES);
    log_init("test", LOG_INFO, LOG_TEXT, 2);
}
END_TEST

/* ---- what goes with the job ---- */

START_TEST(the_job_has_variables_tools_a_bound_for_the_value_and_rules)
{
    static char rules[] = "{\"bytes\":9}";
    CLEANUP(buf_done) struct buf b = {0};
    struct job job;

    rig.request.value = RUN_VALUE_BRANCH;
    rig.request.value_max = 4096;
    rig.request.context = "{\"x\":[1]}";
    rig.request.tools = "{\"modules\":[{\"name\":\"data\"}]}";
    rig.request.tools_workspace = _i ? "/tmp/elsewhere" : NULL;
    rig.policy.validation = rules;
    part(1, "{}", true);
    run_free(finish(1));
    run_rig_halt(&rig);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_META, &b), 1);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\"value\":\"branch\""));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\"await\":true"));
    ck_assert_ptr_nonnull(
        strstr(buf_get(&b),
               _i ? ",\"validation\":{\"bytes\":9},\"value_max\":4096,\"context\":{\"x\":[1]},"
                    "\"tools\":{\"workspace\":\"/tmp/elsewhere\","
                    "\"modules\":[{\"name\":\"data\"}]}}"
                  : "\"tools\":{\"workspace\":\"/tmp/mcp_workspace\","
                    "\"modules\":[{\"name\":\"data\"}]}}"));
    buf_done(&b);
    ck_assert_uint_eq(rig_heard(&rig, FRAME_JOB, &b), 1);
    ck_assert(job_decode(&job, (const uint8_t *)buf_get(&b), b.len));
    ck_assert(job.flags & JOB_CHECK);
}
END_TEST

START_TEST(a_value_beyond_its_bound_is_forged_and_ends_the_run)
{
    struct run *run;

    rig.request.value = RUN_VALUE_BRANCH;
    rig.request.value_max = 8;
    rig_frame(&rig.says, FRAME_VALUE, "[1,");
    rig_frame(&rig.says, FRAME_VALUE, _i ? "2,345]" : "2,34]");
    part(1, "{}", true);
    replies_wanted = 1;
    run = start();
    ck_assert_int_eq(run_wait(run)->outcome, _i ? OUTCOME_CODE_ERROR : OUTCOME_OK);
    ck_assert_str_eq(run_result(run)->reason,
                     _i ? "the return value is larger than it may be" : "");
    run_free(run);
}
END_TEST

START_TEST(variables_beyond_every_size_are_not_sent)
{
    auto_free char *much = xcalloc(1, (9 << 20) + 1);
    struct run *run;

    memset(much, ' ', 9 << 20);
    rig.request.context = much;
    run = start();
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_INFRA);
    ck_assert_str_eq(run_result(run)->reason, "the program is too large");
    ck_assert(!run_result(run)->was_sent);
    run_free(run);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, (double)patient(60000) / 1000);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_call_is_answered_with_what_the_provider_says);
    tcase_add_test(t, calls_may_come_in_parts_that_mix);
    tcase_add_test(t, a_number_is_free_again_once_it_is_answered);
    tcase_add_test(t, so_many_work_at_the_same_time_and_the_rest_wait);
    tcase_add_test(t, calls_begin_in_the_order_in_which_they_were_made);
    tcase_add_test(t, output_flows_while_a_provider_is_slow);
    tcase_add_loop_test(t, what_may_not_be_called_is_refused_with_the_reason, 0,
                        ARRAY_LEN(refusals));
    tcase_add_loop_test(t, what_is_permitted_is_called, 0, 2);
    tcase_add_test(t, a_call_that_is_too_large_is_refused_when_it_has_come);
    tcase_add_test(t, a_budget_is_told_when_it_is_spent);
    tcase_add_loop_test(t, the_bytes_of_all_calls_are_bounded, 0, 2);
    tcase_add_test(t, a_result_beyond_the_policy_is_an_error);
    tcase_add_test(t, a_large_reply_comes_in_parts_within_the_window);
    tcase_add_test(t, replies_that_nobody_reads_do_not_hold_up_a_cancel);
    tcase_add_test(t, input_flows_while_replies_are_not_read);
    tcase_add_loop_test(t, credit_for_what_was_not_sent_is_a_breach, 0, 3);
    /* 64 MiB take valgrind ten minutes. */
    tcase_add_loop_test(t, who_floods_host_calls_is_ended_and_keeps_the_output, 0,
                        ARRAY_LEN(floods) - (RUNNING_ON_VALGRIND ? 1 : 0));
    tcase_add_test(t, a_call_out_of_time_is_answered_though_its_provider_works_on);
    tcase_add_loop_test(t, all_that_is_outstanding_is_cancelled_when_the_run_ends, 0,
                        ARRAY_LEN(ends));
    tcase_add_loop_test(t, a_line_in_the_log_shows_of_the_arguments_what_the_policy_wants, 0,
                        ARRAY_LEN(logs));
    tcase_add_test(t, refusals_are_all_counted_and_some_are_in_the_log);
    tcase_add_loop_test(t, the_job_has_variables_tools_a_bound_for_the_value_and_rules, 0, 2);
    tcase_add_loop_test(t, a_value_beyond_its_bound_is_forged_and_ends_the_run, 0, 2);
    tcase_add_test(t, variables_beyond_every_size_are_not_sent);
}

UNIT_MAIN("run calls", add_tests)
