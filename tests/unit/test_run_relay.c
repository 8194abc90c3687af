/* A run whose program opens connections: frames through the run's own loop to a target of ours. */
#include <errno.h>

#include "frames/le.h"
#include "frames/relay.h"
#include "loopback.h"
#include "run_rig.h"
#include "unit.h"

static struct run_rig rig;

static struct policy_relay entry;
static struct buf answer;
static char as[] = "db:1", to[40];
static int target = -1;

static void set_up(void)
{
    uint16_t port;

    target = loopback_listen(8, &port);
    (void)snprintf(to, sizeof(to), "127.0.0.1:%u", port);
    run_rig_init(&rig);
    entry = (struct policy_relay){.as = as, .to = to, .is_private = true};
    rig.policy.network =
        (struct policy_network){.kind = NETWORK_RELAY, .relay = &entry, .relay_n = 1};
    rig.policy.relay_connections = 10;
    rig.policy.relay_opened = 100;
    rig.policy.relay_bytes = 1 << 30;
    rig.policy.relay_connect_ms = 5000;
    buf_init(&answer, 1 << 20);
    rig_frame(&rig.says, FRAME_STARTED, "");
}

static void tear_down(void)
{
    run_rig_stop(&rig);
    buf_done(&answer);
    (void)close(target);
}

static void end(struct buf *b)
{
    const struct outcome_report report = {.end = END_NORMAL};

    rig_frame(b, FRAME_ENDED, "");
    rig_report(b, &report);
}

/* The first frame of this type that the container heard; NULL when there is none. */
static const uint8_t *heard(uint8_t type)
{
    const uint8_t *f = (const uint8_t *)buf_get(&rig.heard), *stop = f + rig.heard.len;

    while (f < stop && f[0] != type)
        f += FRAME_HEAD + le_get32(f + 4);
    return f < stop ? f : NULL;
}

static enum outcome play(struct relay_counts *ret_counts)
{
    struct run *run;
    enum outcome outcome;

    run_rig_start(&rig);
    run = run_new(rig.core, &rig.request);
    outcome = run_wait(run)->outcome;
    *ret_counts = run_result(run)->relay;
    run_free(run);
    run_rig_halt(&rig);
    return outcome;
}

START_TEST(a_connection_goes_through_the_run)
{
    struct relay_counts counts;
    char text[20] = "";
    int fd;

    rig_frame_id(&rig.says, FRAME_RELAY_OPEN, 1, "db:1", 4);
    rig_frame_id(&answer, FRAME_RELAY_DATA, 1, "hello", 5);
    rig_frame_id(&answer, FRAME_RELAY_CLOSE, 1, NULL, 0);
    end(&answer);
    rig.at_type = FRAME_RELAY_OPEN;
    rig.says_at = &answer;
    ck_assert_int_eq(play(&counts), OUTCOME_OK);
    fd = accept4(target, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_eq(recv(fd, text, sizeof(text), MSG_WAITALL), 5);
    ck_assert_str_eq(text, "hello");
    ck_assert_uint_eq(counts.verdicts[RELAY_OK], 1);
    ck_assert_uint_eq(counts.up, 5);
    ck_assert_ptr_nonnull(heard(FRAME_RELAY_OPEN));
    (void)close(fd);
}
END_TEST

START_TEST(a_refusal_reaches_the_container)
{
    struct relay_counts counts;

    rig_frame_id(&rig.says, FRAME_RELAY_OPEN, 1, "other:1", 7);
    end(&answer);
    rig.at_type = FRAME_RELAY_CLOSE;
    rig.says_at = &answer;
    ck_assert_int_eq(play(&counts), OUTCOME_OK);
    ck_assert_uint_eq(counts.verdicts[RELAY_UNLISTED], 1);
    ck_assert_uint_eq(le_get32(heard(FRAME_RELAY_CLOSE) + FRAME_HEAD), EACCES);
}
END_TEST

START_TEST(a_breach_ends_the_run)
{
    struct relay_counts counts;

    rig_frame_id(&rig.says, FRAME_RELAY_DATA, 1, "x", 1);
    ck_assert_int_eq(play(&counts), OUTCOME_INFRA);
}
END_TEST

START_TEST(without_a_relay_its_frames_are_a_breach)
{
    struct relay_counts counts;

    rig.policy.network.kind = NETWORK_NONE;
    rig_frame_id(&rig.says, FRAME_RELAY_OPEN, 1, "db:1", 4);
    ck_assert_int_eq(play(&counts), OUTCOME_INFRA);
}
END_TEST

static size_t stdin_heard(void)
{
    const uint8_t *f = (const uint8_t *)buf_get(&rig.heard), *stop = f + rig.heard.len;
    size_t n = 0;

    for (; f < stop; f += FRAME_HEAD + le_get32(f + 4))
        n += f[0] == FRAME_STDIN ? le_get32(f + 4) : 0;
    return n;
}

/* The relay's own frames must find their way past input that the program does not read. */
START_TEST(standard_input_has_a_window_where_there_is_a_relay)
{
    const size_t all = 2 * RELAY_STDIN;
    char *input = xcalloc(1, all);
    uint8_t credit[4];
    struct relay_counts counts;

    rig.request.stdin_data = input;
    rig.request.stdin_len = all;
    rig_frame_id(&rig.says, FRAME_RELAY_OPEN, 1, "other:1", 7);
    if (_i == 1) {
        le_put32(credit, 65536);
        rig_frame_id(&answer, FRAME_RELAY_MORE, 0, credit, 4);
    }
    rig_frame_id(&answer, FRAME_RELAY_OPEN, 2, "db:1", 4);
    rig.at_type = FRAME_RELAY_CLOSE;
    rig.says_at = &answer;
    rig.request.timeout_ms = 300;
    rig.policy.time_grace_ms = 0;
    (void)play(&counts);
    ck_assert_uint_le(stdin_heard(), RELAY_STDIN + (_i == 1 ? 65536 : 0));
    ck_assert_uint_gt(stdin_heard(), RELAY_STDIN + (_i == 1 ? 65536 : 0) - 2 * 4096);
    ck_assert_ptr_nonnull(heard(FRAME_RELAY_OPEN));
    free(input);
}
END_TEST

START_TEST(credit_for_input_that_was_not_sent_is_a_breach)
{
    uint8_t credit[4];
    struct relay_counts counts;

    le_put32(credit, 1);
    rig_frame_id(&rig.says, FRAME_RELAY_MORE, 0, credit, 4);
    ck_assert_int_eq(play(&counts), OUTCOME_INFRA);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_connection_goes_through_the_run);
    tcase_add_test(t, a_refusal_reaches_the_container);
    tcase_add_test(t, a_breach_ends_the_run);
    tcase_add_test(t, without_a_relay_its_frames_are_a_breach);
    tcase_add_loop_test(t, standard_input_has_a_window_where_there_is_a_relay, 0, 2);
    tcase_add_test(t, credit_for_input_that_was_not_sent_is_a_breach);
}

UNIT_MAIN("run_relay", add_tests)
