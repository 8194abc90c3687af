/* Bytes between the worker and the stream: queue, feed, pump. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/feed.c"
#include "../../images/warden/pump.c"
#include "../../images/warden/queue.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "frames/le.h"
#include "unit.h"

enum { CAP = 4 * (FRAME_HEAD + FRAME_MAX) };

static struct queue out;
static struct child child;
static struct pump pump;
static struct job job;
static int out_w, err_w, control_w; /* the worker's ends */
static uint8_t out_buf[CAP], control_buf[FRAME_HEAD + FRAME_MAX];

static void set_up(void)
{
    int p[2];

    ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
    child.out_fd = p[0];
    out_w = p[1];
    ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
    child.err_fd = p[0];
    err_w = p[1];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
    child.control_fd = p[0];
    control_w = p[1];
    ck_assert_int_eq(fcntl(child.out_fd, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(fcntl(child.err_fd, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(fcntl(child.control_fd, F_SETFL, O_NONBLOCK), 0);
    queue_init(&out, out_buf, sizeof(out_buf));
    pump_init(&pump, &child, &out, control_buf, sizeof(control_buf));
    job = (struct job){.output_soft = 10, .output_hard = 100};
    pump_begin(&pump, &job);
}

static void tear_down(void)
{
    const int fds[] = {child.out_fd, child.err_fd, child.control_fd, out_w, err_w, control_w};

    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
}

static void put(int fd, const char *text)
{
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void put_frame(uint8_t type, uint16_t id, const void *data, size_t n)
{
    uint8_t bytes[FRAME_HEAD + 64];

    frame_put_head(bytes, type, 0, id, (uint32_t)n);
    memcpy(bytes + FRAME_HEAD, data, n);
    ck_assert_int_eq(write(control_w, bytes, FRAME_HEAD + n), (ssize_t)(FRAME_HEAD + n));
}

/* What is queued, as "type:bytes|type:bytes". */
static const char *queued(void)
{
    static char text[4096];
    size_t len = 0;

    text[0] = '\0';
    while (out.start < out.end) {
        const uint8_t *p = out.buf + out.start;
        uint32_t n = le_get32(p + 4);

        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%02x:%.*s", len ? "|" : "", p[0],
                                (int)(n > 100 ? 100 : n), (const char *)p + FRAME_HEAD);
        out.start += FRAME_HEAD + n;
    }
    out.start = out.end = 0;
    return text;
}

static void fill_queue(void)
{
    static const uint8_t zeros[FRAME_MAX];

    while (queue_has_room(&out))
        queue_frame(&out, &(struct frame){.type = FRAME_STEP, .len = FRAME_MAX, .data = zeros});
}

/* ---- queue ---- */

START_TEST(a_queue_keeps_what_is_not_yet_taken)
{
    static uint8_t buf[FRAME_HEAD + FRAME_MAX + 10];
    struct queue q;
    int p[2];
    char got[8];

    queue_init(&q, buf, sizeof(buf));
    ck_assert(queue_is_empty(&q) && queue_has_room(&q));
    memcpy(queue_tail(&q, 6), "abcdef", 6);
    queue_grow(&q, 6);
    q.start = 4;
    ck_assert_uint_eq(queue_room(&q), sizeof(buf) - 2);
    ck_assert_ptr_eq(queue_tail(&q, sizeof(buf) - 2), buf + 2);
    ck_assert_mem_eq(buf, "ef", 2);
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    ck_assert_int_eq(queue_flush(&q, p[1]), 0);
    ck_assert_int_eq(read(p[0], got, sizeof(got)), 2);
    ck_assert(queue_is_empty(&q));
    while (write(p[1], buf, sizeof(buf)) > 0)
        continue;
    queue_grow(&q, 3);
    ck_assert_int_eq(queue_flush(&q, p[1]), 0);
    ck_assert(!queue_is_empty(&q));
    (void)close(p[0]);
    (void)signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(queue_flush(&q, p[1]), -1);
    (void)close(p[1]);
}
END_TEST

/* ---- feed ---- */

START_TEST(input_flows_and_ends)
{
    static uint8_t buf[FRAME_HEAD + FRAME_MAX];
    struct feed f = {.fd = -1};
    int p[2];
    char got[16];

    queue_init(&f.queue, buf, sizeof(buf));
    feed_add(&f, "lost", 4, false);
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    feed_open(&f, p[1]);
    ck_assert(!feed_is_waiting(&f));
    feed_add(&f, "one", 3, false);
    feed_add(&f, "two", 3, true);
    ck_assert_int_eq(f.fd, -1);
    ck_assert_int_eq(read(p[0], got, sizeof(got)), 6);
    ck_assert_mem_eq(got, "onetwo", 6);
    ck_assert_int_eq(read(p[0], got, sizeof(got)), 0);
    feed_add(&f, "late", 4, true);
    feed_flush(&f);
    (void)close(p[0]);
}
END_TEST

START_TEST(input_that_is_not_taken_waits)
{
    static uint8_t buf[FRAME_HEAD + FRAME_MAX], block[FRAME_MAX];
    struct feed f = {.fd = -1};
    int p[2];

    queue_init(&f.queue, buf, sizeof(buf));
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    feed_open(&f, p[1]);
    feed_add(&f, block, sizeof(block), false);
    feed_add(&f, block, sizeof(block), true);
    ck_assert(feed_is_waiting(&f));
    ck_assert_int_eq(read(p[0], block, sizeof(block)), sizeof(block));
    feed_flush(&f);
    ck_assert(!feed_is_waiting(&f));
    ck_assert_int_eq(f.fd, -1);
    (void)close(p[0]);
}
END_TEST

START_TEST(input_that_nobody_reads_is_dropped)
{
    static uint8_t buf[FRAME_HEAD + FRAME_MAX];
    struct feed f = {.fd = -1};
    int p[2];

    (void)signal(SIGPIPE, SIG_IGN);
    queue_init(&f.queue, buf, sizeof(buf));
    ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
    feed_open(&f, p[1]);
    (void)close(p[0]);
    feed_add(&f, "x", 1, false);
    ck_assert_int_eq(f.fd, -1);
    ck_assert(queue_is_empty(&f.queue));
}
END_TEST

/* ---- output ---- */

START_TEST(output_becomes_frames)
{
    put(out_w, "out");
    put(err_w, "err");
    ck_assert(pump_output(&pump, PUMP_OUT));
    ck_assert(pump_output(&pump, PUMP_ERR));
    ck_assert(!pump_output(&pump, PUMP_OUT));
    ck_assert_str_eq(queued(), "43:out|44:err");
    ck_assert_uint_eq(pump.seen[PUMP_OUT], 3);
}
END_TEST

START_TEST(output_is_cut_at_the_soft_cap_of_its_stream)
{
    put(out_w, "0123456789");
    (void)pump_output(&pump, PUMP_OUT);
    ck_assert(!pump.is_cut[PUMP_OUT]);
    put(out_w, "x");
    put(err_w, "0123456789abc");
    (void)pump_output(&pump, PUMP_OUT);
    (void)pump_output(&pump, PUMP_ERR);
    ck_assert(pump.is_cut[PUMP_OUT] && pump.is_cut[PUMP_ERR]);
    ck_assert_str_eq(queued(), "43:0123456789|44:0123456789");
    ck_assert_uint_eq(pump.seen[PUMP_OUT] + pump.seen[PUMP_ERR], 24);
    ck_assert(!pump.is_over_output);
}
END_TEST

START_TEST(output_past_the_hard_cap_is_noticed)
{
    char text[102];

    memset(text, 'x', 101);
    text[100] = '\0';
    put(out_w, text);
    (void)pump_output(&pump, PUMP_OUT);
    ck_assert(!pump.is_over_output);
    put(err_w, "y");
    (void)pump_output(&pump, PUMP_ERR);
    ck_assert(pump.is_over_output);
}
END_TEST

START_TEST(without_room_only_what_is_dropped_is_read)
{
    fill_queue();
    put(out_w, "0123456789");
    ck_assert(!pump_wants(&pump, PUMP_OUT));
    ck_assert(!pump_output(&pump, PUMP_OUT));
    ck_assert(!pump_drain(&pump));
    out.start = out.end = 0;
    ck_assert(pump_drain(&pump));
    fill_queue();
    put(out_w, "past the cap");
    ck_assert(pump_wants(&pump, PUMP_OUT));
    ck_assert(pump_output(&pump, PUMP_OUT));
    ck_assert(pump.is_cut[PUMP_OUT]);
}
END_TEST

START_TEST(a_closed_pipe_is_forgotten)
{
    (void)close(out_w);
    out_w = -1;
    ck_assert(!pump_output(&pump, PUMP_OUT));
    ck_assert_int_eq(child.out_fd, -1);
    ck_assert(!pump_wants(&pump, PUMP_OUT));
    ck_assert(pump_drain(&pump));
}
END_TEST

START_TEST(a_new_run_drops_what_was_printed_between)
{
    put(out_w, "stale");
    put(err_w, "stale");
    pump.has_report = pump.is_over_output = true;
    pump_begin(&pump, &job);
    put(out_w, "new");
    ck_assert(pump_drain(&pump));
    ck_assert_str_eq(queued(), "43:new");
    ck_assert(!pump.has_report && !pump.is_over_output);
}
END_TEST

/* ---- control ---- */

START_TEST(control_frames_are_passed_on_behind_earlier_output)
{
    put(out_w, "first");
    put_frame(FRAME_VALUE, 0, "1", 1);
    put_frame(FRAME_CALL, 300, "{}", 2);
    pump_control(&pump, true);
    ck_assert_uint_eq(le_get16(out.buf + 2 * (size_t)FRAME_HEAD + 5 + 1 + 2), 300);
    ck_assert_str_eq(queued(), "43:first|45:1|47:{}");
    ck_assert(!pump.is_broken && !pump.has_more);
}
END_TEST

START_TEST(the_end_is_reported_once)
{
    uint8_t bytes[END_LEN];

    end_encode(bytes, &(struct end_report){.exit_code = 3, .is_no_memory = true});
    put_frame(FRAME_END, 0, bytes, sizeof(bytes));
    put_frame(FRAME_VALUE, 0, "late", 4);
    pump_control(&pump, true);
    ck_assert(pump.has_report && pump.report.exit_code == 3 && pump.report.is_no_memory);
    pump_control(&pump, true);
    ck_assert_str_eq(queued(), "");
}
END_TEST

static void put_end(const struct end_report *e)
{
    uint8_t bytes[END_LEN];

    end_encode(bytes, e);
    put_frame(FRAME_END, 0, bytes, sizeof(bytes));
}

static const struct {
    uint32_t flags;
    bool is_checked; /* CHECKED comes before it */
    bool is_believed;
} claims[] = {
    {JOB_CHECK,              false, true },
    {JOB_CHECK | JOB_GATHER, false, true },
    {JOB_CHECK,              true,  false},
    {0,                      false, false},
    {JOB_GATHER | JOB_KEEP,  false, false},
};

START_TEST(a_block_is_believed_before_the_program_begins_and_never_after)
{
    job.flags = claims[_i].flags;
    if (claims[_i].is_checked)
        put_frame(FRAME_CHECKED, 0, "", 0);
    put_end(&(struct end_report){.exit_code = 1, .is_blocked = true});
    pump_control(&pump, true);
    ck_assert(pump.has_report && !pump.is_broken);
    ck_assert(pump.report.is_blocked == claims[_i].is_believed);
    ck_assert_int_eq(pump.report.exit_code, 1);
    ck_assert_str_eq(queued(), ""); /* CHECKED is the warden's alone */
}
END_TEST

START_TEST(each_run_of_a_kept_worker_is_checked_anew)
{
    job.flags = JOB_CHECK | JOB_KEEP;
    put_frame(FRAME_CHECKED, 0, "", 0);
    put_end(&(struct end_report){0});
    pump_control(&pump, true);
    ck_assert(pump.is_checked && pump.has_report);
    pump_begin(&pump, &job);
    put_end(&(struct end_report){.exit_code = 1, .is_blocked = true});
    pump_control(&pump, true);
    ck_assert(pump.report.is_blocked && !pump.is_broken);
}
END_TEST

/* 0: nothing was to be checked; 1: it is said twice. */
START_TEST(checked_out_of_place_breaks_the_run)
{
    job.flags = _i ? JOB_CHECK : 0;
    for (int i = 0; i <= _i; i++)
        put_frame(FRAME_CHECKED, 0, "", 0);
    pump_control(&pump, true);
    ck_assert(pump.is_broken);
    ck_assert_str_eq(queued(), "");
}
END_TEST

static const struct {
    uint8_t type;
    const char *data;
} forged[] = {
    {FRAME_READY,  "oneshot1"},
    {FRAME_RESULT, "x"       },
    {FRAME_STDOUT, "x"       },
    {FRAME_ENDED,  ""        },
    {FRAME_END,    "short"   },
    {FRAME_JOB,    "x"       },
    {FRAME_TAKEN,  "1234"    },
    {0,            ""        },
    {0xFF,         ""        },
};

START_TEST(forged_frames_break_the_run_and_are_not_passed_on)
{
    put_frame(forged[_i].type, 0, forged[_i].data, strlen(forged[_i].data));
    put_frame(FRAME_VALUE, 0, "later", 5);
    pump_control(&pump, true);
    ck_assert(pump.is_broken);
    ck_assert_str_eq(queued(), "");
}
END_TEST

START_TEST(garbage_breaks_the_run)
{
    static const uint8_t bytes[FRAME_HEAD] = {FRAME_VALUE, 0, 0, 0, 1, 0, 1, 0};

    ck_assert_int_eq(write(control_w, bytes, sizeof(bytes)), sizeof(bytes));
    pump_control(&pump, true);
    ck_assert(pump.is_broken);
}
END_TEST

START_TEST(up_is_said_once_and_only_before_runs)
{
    put_frame(FRAME_UP, 0, "", 0);
    put_frame(FRAME_VALUE, 0, "1", 1);
    pump_control(&pump, false);
    ck_assert(pump.is_up && !pump.is_broken);
    ck_assert_str_eq(queued(), "");
    put_frame(FRAME_UP, 0, "", 0);
    pump_control(&pump, true);
    ck_assert(pump.is_broken);
}
END_TEST

START_TEST(totals_of_each_kind_are_bounded)
{
    static uint8_t bytes[FRAME_HEAD + FRAME_MAX];
    int n = 0;

    frame_put_head(bytes, FRAME_FAULT, 0, 0, FRAME_MAX);
    for (; n < 100 && !pump.is_broken; n++) {
        ck_assert_int_eq(write(control_w, bytes, sizeof(bytes)), sizeof(bytes));
        pump_control(&pump, true);
        out.start = out.end = 0;
    }
    ck_assert_int_eq(n, (2 << 20) / FRAME_MAX);
}
END_TEST

START_TEST(empty_frames_are_counted_too)
{
    static uint8_t full[FRAME_HEAD + FRAME_MAX], empty[512 * FRAME_HEAD];
    size_t left = 2 << 20;
    int n = 0;

    frame_put_head(full, FRAME_FAULT, FRAME_MORE, 0, FRAME_MAX);
    for (; left > sizeof(full); left -= sizeof(full)) {
        ck_assert_int_eq(write(control_w, full, sizeof(full)), sizeof(full));
        pump_control(&pump, true);
        out.start = out.end = 0;
    }
    ck_assert(!pump.is_broken);
    for (size_t at = 0; at < sizeof(empty); at += FRAME_HEAD)
        frame_put_head(empty + at, FRAME_FAULT, FRAME_MORE, 0, 0);
    for (; n < 1000 && !pump.is_broken; n++) {
        ck_assert_int_eq(write(control_w, empty, sizeof(empty)), sizeof(empty));
        do {
            pump_control(&pump, true);
            out.start = out.end = 0;
        } while (pump.has_more && !pump.is_broken);
    }
    ck_assert_int_eq(n, (int)(left / sizeof(empty)) + 1);
}
END_TEST

START_TEST(control_frames_wait_for_room)
{
    put_frame(FRAME_VALUE, 0, "1", 1);
    put_frame(FRAME_VALUE, 0, "2", 1);
    pump_control(&pump, false);
    fill_queue();
    put_frame(FRAME_VALUE, 0, "3", 1);
    pump_control(&pump, true);
    pump_control(&pump, true);
    ck_assert(pump.has_more);
    out.start = out.end = 0;
    pump_control(&pump, true);
    ck_assert(!pump.has_more);
    ck_assert_str_eq(queued(), "45:3");
}
END_TEST

START_TEST(a_closed_channel_is_forgotten)
{
    (void)close(control_w);
    control_w = -1;
    pump_control(&pump, true);
    ck_assert_int_eq(child.control_fd, -1);
    ck_assert(!pump.is_broken && !pump.has_more);
    pump_control(&pump, true);
}
END_TEST

START_TEST(a_flood_of_frames_leaves_the_loop_its_turn)
{
    for (int i = 0; i < CONTROL_FRAMES + 5; i++)
        put_frame(FRAME_STEP, 0, "x", 1);
    pump_control(&pump, true);
    ck_assert(pump.has_more);
    pump_control(&pump, true);
    ck_assert(!pump.has_more);
    ck_assert_uint_eq(pump.passed[PUMP_STEP], (FRAME_HEAD + 1) * (CONTROL_FRAMES + 5));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_queue_keeps_what_is_not_yet_taken);
    tcase_add_test(t, input_flows_and_ends);
    tcase_add_test(t, input_that_is_not_taken_waits);
    tcase_add_test(t, input_that_nobody_reads_is_dropped);
    tcase_add_test(t, output_becomes_frames);
    tcase_add_test(t, output_is_cut_at_the_soft_cap_of_its_stream);
    tcase_add_test(t, output_past_the_hard_cap_is_noticed);
    tcase_add_test(t, without_room_only_what_is_dropped_is_read);
    tcase_add_test(t, a_closed_pipe_is_forgotten);
    tcase_add_test(t, a_new_run_drops_what_was_printed_between);
    tcase_add_test(t, control_frames_are_passed_on_behind_earlier_output);
    tcase_add_test(t, the_end_is_reported_once);
    tcase_add_loop_test(t, a_block_is_believed_before_the_program_begins_and_never_after, 0,
                        sizeof(claims) / sizeof(*claims));
    tcase_add_test(t, each_run_of_a_kept_worker_is_checked_anew);
    tcase_add_loop_test(t, checked_out_of_place_breaks_the_run, 0, 2);
    tcase_add_loop_test(t, forged_frames_break_the_run_and_are_not_passed_on, 0,
                        sizeof(forged) / sizeof(*forged));
    tcase_add_test(t, garbage_breaks_the_run);
    tcase_add_test(t, up_is_said_once_and_only_before_runs);
    tcase_add_test(t, totals_of_each_kind_are_bounded);
    tcase_add_test(t, empty_frames_are_counted_too);
    tcase_add_test(t, control_frames_wait_for_room);
    tcase_add_test(t, a_closed_channel_is_forgotten);
    tcase_add_test(t, a_flood_of_frames_leaves_the_loop_its_turn);
}

UNIT_MAIN("warden pump", add_tests)
