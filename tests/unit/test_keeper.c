/* Members from start to removal, with an engine that does as it should or fails. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/mem.h"
#include "keeper/state.h"
#include "keeper_rig.c"

#define MIB   (1 << 20)
#define LIMIT (128LL * MIB) /* memory of the policies here */
#define SMALL "memory: {limit: 128MiB, max: 256MiB}\n"
/* What is added before and after the footprint is known. */
#define GUESS    (256LL * MIB)
#define MEASURED (100LL * MIB)

static void setup(void)
{
    rig_init();
}

static void teardown(void)
{
    if (rig_keeper_pid)
        ck_assert_int_eq(rig_end(), 0);
    /* Nothing is left behind, and no stream was open when its container was destroyed. */
    ck_assert_uint_eq(rig_alive(), 0);
    for (unsigned i = 0; i < fake->boxes_n; i++)
        ck_assert(fake->boxes[i].was_closed);
    rig_done();
}

/* A keeper with one policy "p", settled. */
static void start_with(const char *lines, unsigned parked)
{
    rig_policy("p", lines);
    rig_start();
    rig_settle("p", parked);
}

/* ---- parking ---- */

START_TEST(the_first_container_is_measured_and_the_others_follow)
{
    start_with(SMALL "pool: {min: 3, max: 4}", 3);
    ck_assert_uint_eq(fake->boxes_n, 3);
    ck_assert_uint_ge(FAKE(VERB_USAGE).calls, 4);
    UNTIL(FAKE(VERB_UPDATE).calls == 1 && FAKE(VERB_UPDATE).inside == 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(fake->boxes[i].memory, LIMIT + MEASURED);
        ck_assert_str_eq(fake->boxes[i].instance, "test");
        ck_assert_str_eq(fake->boxes[i].policy, "p");
        ck_assert_uint_eq(strlen(fake->boxes[i].epoch), 16);
        ck_assert_str_eq(fake->boxes[i].image, fake->digest);
    }
    ck_assert_str_ne(fake->boxes[0].name, fake->boxes[1].name);
    ck_assert_uint_eq(rig_pool("p").footprint, MEASURED);
}
END_TEST

START_TEST(a_limit_is_guessed_until_the_footprint_is_known)
{
    rig_policy("p", SMALL "pool: {min: 2, max: 2}");
    FAKE(VERB_USAGE).is_held = true;
    rig_start();
    UNTIL(fake->boxes_n == 1);
    ck_assert_int_eq(fake->boxes[0].memory, LIMIT + GUESS);
    rig_until_measuring();
    rig_advance(1000);
    ck_assert_uint_eq(rig_pool("p").started, 1);
    rig_lock();
    FAKE(VERB_USAGE).is_held = false;
    rig_unlock();
    rig_settle("p", 2);
}
END_TEST

START_TEST(a_footprint_that_keeps_growing_is_taken_at_the_limit)
{
    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    rig_start();
    for (int i = 0; i < 1000 && !rig_pool("p").footprint; i++) {
        rig_lock();
        fake->usage += 2 * MIB;
        rig_unlock();
        rig_advance(250);
    }
    ck_assert_uint_gt(rig_pool("p").footprint, MEASURED);
    rig_settle("p", 1);
}
END_TEST

START_TEST(a_footprint_is_remembered_over_a_restart)
{
    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    ck_assert_int_eq(rig_end(), 0);
    ck_assert_uint_eq(rig_alive(), 0);
    FAKE(VERB_USAGE).calls = 0;
    fake->boxes_n = 0;
    rig_start();
    rig_settle("p", 2);
    ck_assert_uint_eq(FAKE(VERB_USAGE).calls, 0);
    ck_assert_int_eq(fake->boxes[0].memory, LIMIT + MEASURED);
}
END_TEST

START_TEST(a_footprint_that_cannot_be_remembered_is_measured_again)
{
    auto_free char *path = NULL;

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    path = xasprintf("%s/footprints", rig_settings.state_dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    rig_start();
    rig_settle("p", 1);
    ck_assert_uint_eq(rig_pool("p").footprint, MEASURED);
}
END_TEST

START_TEST(foreign_lines_among_the_footprints_are_skipped)
{
    auto_free char *path = NULL;
    int fd;

    rig_policy("p", SMALL "pool: {min: 1, max: 1}\nwarm: [json]");
    path = xasprintf("%s/footprints", rig_settings.state_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_gt(dprintf(fd, "\nnonsense\n%064d 5\n%064d x\n", 0, 1), 0);
    (void)close(fd);
    rig_start();
    rig_settle("p", 1);
    ck_assert_uint_eq(rig_pool("p").footprint, MEASURED);
}
END_TEST

START_TEST(what_cannot_be_measured_is_parked_all_the_same)
{
    FAKE(VERB_USAGE).fails = FAIL_ALWAYS;
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    ck_assert_uint_eq(rig_pool("p").footprint, 0);
}
END_TEST

START_TEST(nothing_is_parked_on_demand_but_made_when_asked_for)
{
    struct handover taken;
    int fd;

    rig_options.on_demand = true;
    rig_policy("p", SMALL "pool: {min: 2, max: 4}");
    rig_start();
    UNTIL(FAKE(VERB_LIST).calls == 1 && FAKE(VERB_LIST).inside == 0);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").started, 0);
    fd = rig_run("p", 1, &taken);
    ck_assert_uint_eq(taken.u.taken.was_parked, 0);
    rig_finish(&taken, fd);
}
END_TEST

/* ---- READY ---- */

static const struct first_words {
    const char *what;
    const char *bytes;
    size_t n;
    bool ends;
} first_words[] = {
    {"other text",        "Traceback (most recent call last)",                   33, false},
    {"an error's head",   "\x02\0\0\0\0\0\0\x10",                                8,  false},
    {"a READY of others", "\x01\0\0\0\0\0\0\x10\x41\0\x02\0\x08\0\0\0oneshot1",  24, false},
    {"more than READY",   "\x01\0\0\0\0\0\0\x10\x41\0\x01\0\x08\0\0\0oneshot1!", 25, false},
    {"nothing",           "",                                                    0,  true },
    {"half a READY",      "\x01\0\0\0\0\0\0\x10\x41\0",                          10, true },
};

START_TEST(a_container_that_says_anything_else_than_ready_is_dropped)
{
    const struct first_words *w = &first_words[_i];

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    fake->says_nothing = true;
    rig_start();
    UNTIL(fake->boxes_n == 1);
    ck_assert_int_eq(send(rig_stream(0), w->bytes, w->n, 0), (ssize_t)w->n);
    if (w->ends)
        (void)shutdown(rig_stream(0), SHUT_RDWR);
    UNTIL(fake->boxes[0].is_gone);
    UNTIL_POOL("p", pool.discarded[DISCARD_BAD_READY] == 1);
    /* The next one does better. */
    UNTIL(fake->boxes_n == 2);
    rig_say_ready(1);
    rig_settle("p", 1);
}
END_TEST

START_TEST(ready_may_come_late_and_in_parts)
{
    uint8_t bytes[MUX_HEAD + READY_LEN] = {1, 0, 0, 0, 0, 0, 0, READY_LEN};

    ready_bytes(bytes + MUX_HEAD);
    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    fake->says_nothing = true;
    rig_start();
    UNTIL(fake->boxes_n == 1);
    UNTIL_POOL("p", pool.starting == 1);
    rig_advance(19000);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        ck_assert_int_eq(send(rig_stream(0), bytes + i, 1, 0), 1);
        if (i % 8 == 0)
            rig_turn();
    }
    rig_settle("p", 1);
    ck_assert_uint_eq(fake->boxes_n, 1);
    ck_assert_uint_ge(rig_pool("p").start_ms_p50, 19000);
}
END_TEST

START_TEST(half_a_ready_costs_no_processor_time)
{
    struct timespec a, b;
    clockid_t clock;

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    fake->says_nothing = true;
    rig_start();
    UNTIL(fake->boxes_n == 1);
    ck_assert_int_eq(send(rig_stream(0), "\x01\0\0", 3, 0), 3);
    UNTIL_POOL("p", pool.starting == 1);
    rig_turn();
    ck_assert_int_eq(clock_getcpuclockid(rig_keeper_pid, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &a), 0);
    ck_assert_int_eq(poll(NULL, 0, 300), 0);
    ck_assert_int_eq(clock_gettime(clock, &b), 0);
    ck_assert_int_lt((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, 100);
}
END_TEST

START_TEST(a_container_that_never_becomes_ready_is_given_up)
{
    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    fake->says_nothing = true;
    rig_start();
    UNTIL(fake->boxes_n == 1);
    UNTIL_POOL("p", pool.starting == 1);
    rig_advance(KEEPER_BOOT_MS - 1000);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_START], 0);
    /* The time runs from when the engine has started it, which the keeper may learn late. */
    for (int i = 0; i < KEEPER_BOOT_MS / 1000 && !rig_pool("p").discarded[DISCARD_START]; i++)
        rig_advance(1001);
    UNTIL(fake->boxes[0].is_gone);
    ck_assert_uint_ge(rig_pool("p").discarded[DISCARD_START], 1);
    UNTIL(fake->boxes_n >= 2);
}
END_TEST

/* ---- hand-over ---- */

START_TEST(a_start_that_was_too_slow_costs_nobody_a_place)
{
    struct handover taken;
    int fd;

    rig_policy("p", SMALL);
    rig_start();
    rig_turn();
    FAKE(VERB_PARK).kind = ERR_TIMEOUT;
    FAKE(VERB_PARK).fails = 1;
    rig_take(rig_front, 5, rig_key("p"), 60000);
    UNTIL(FAKE(VERB_PARK).calls == 1 && FAKE(VERB_PARK).inside == 0);
    for (int i = 0; i < 20 && FAKE(VERB_PARK).calls == 1; i++)
        rig_advance(500);
    taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(taken.type, HANDOVER_TAKEN);
    ck_assert_uint_eq(taken.seq, 5);
    ck_assert_uint_eq(FAKE(VERB_PARK).calls, 2);
    rig_finish(&taken, fd);
}
END_TEST

static const struct {
    enum err_kind kind;
    enum refuse_reason reason;
} refused_starts[] = {
    {ERR_DENIED,  REFUSE_START },
    {ERR_INVALID, REFUSE_START },
    {ERR_PEER,    REFUSE_ENGINE},
    {ERR_BUSY,    REFUSE_ENGINE},
};

START_TEST(a_start_that_was_refused_is_told)
{
    struct handover m;

    rig_policy("p", SMALL);
    rig_start();
    rig_turn();
    FAKE(VERB_PARK).kind = refused_starts[_i].kind;
    FAKE(VERB_PARK).fails = 1;
    rig_take(rig_front, 5, rig_key("p"), 60000);
    m = rig_answer(rig_front, NULL);
    ck_assert_uint_eq(m.type, HANDOVER_REFUSED);
    ck_assert_uint_eq(m.reason, refused_starts[_i].reason);
}
END_TEST

START_TEST(a_policy_that_is_changed_is_in_use_as_before)
{
    struct handover taken;
    int fd;

    rig_policy("p", SMALL "pool: {min: 0, max: 3}");
    rig_start();
    fd = rig_run("p", 1, &taken);
    rig_finish(&taken, fd);
    UNTIL_POOL("p", pool.target == 3);
    rig_policy("p", SMALL "pids: 33\npool: {min: 0, max: 3}");
    rig_signal(SIGHUP);
    UNTIL_POOL("p", pool.target == 3);
}
END_TEST

START_TEST(a_parked_container_is_handed_over_with_its_stream)
{
    struct handover taken;
    uint8_t image[32];
    unsigned box;
    char got[64];
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    fd = rig_run("p", 7, &taken);
    box = rig_box_of(&taken);
    ck_assert_uint_eq(taken.member, taken.u.taken.member);
    ck_assert_uint_eq(taken.u.taken.was_parked, 1);
    ck_assert_uint_eq(taken.u.taken.queued_us, 0);
    ck_assert_uint_eq(taken.u.taken.memory, LIMIT);
    memset(image, 0x11, sizeof(image));
    ck_assert_mem_eq(taken.u.taken.image, image, sizeof(image));
    /* The stream is as it was parked: READY first. */
    ck_assert_int_eq(recv(fd, got, sizeof(got), 0), MUX_HEAD + READY_LEN);
    ck_assert_int_eq(send(rig_stream(box), "abc", 3, 0), 3);
    ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 3);
    ck_assert_int_eq(send(fd, "job", 3, 0), 3);
    ck_assert_int_eq(recv(rig_stream(box), got, sizeof(got), 0), 3);
    ck_assert_mem_eq(got, "job", 3);
    ck_assert_uint_eq(rig_pool("p").hits, 1);
    rig_finish(&taken, fd);
    UNTIL(fake->boxes[box].is_gone);
    UNTIL_POOL("p", pool.discarded[DISCARD_SERVED] == 1 && pool.removing == 0);
    rig_settle("p", 1);
}
END_TEST

START_TEST(a_stream_that_ended_while_parked_is_replaced)
{
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    (void)shutdown(rig_stream(0), SHUT_RDWR);
    UNTIL(fake->boxes[0].is_gone && fake->boxes_n == 2);
    rig_settle("p", 1);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_STREAM], 1);
}
END_TEST

START_TEST(a_parked_container_that_spoke_is_not_handed_over)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    ck_assert_int_eq(send(rig_stream(0), "more", 4, 0), 4);
    ck_assert_int_eq(send(rig_stream(1), "more", 4, 0), 4);
    fd = rig_run("p", 1, &taken);
    ck_assert_uint_ge(rig_box_of(&taken), 2);
    ck_assert_uint_eq(taken.u.taken.was_parked, 0);
    UNTIL(fake->boxes[0].is_gone && fake->boxes[1].is_gone);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_STREAM], 2);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(who_asks_while_the_first_is_measured_gets_it)
{
    struct handover taken;
    int fd;

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    FAKE(VERB_USAGE).is_held = true;
    rig_start();
    rig_until_measuring();
    fd = rig_run("p", 1, &taken);
    ck_assert_uint_eq(rig_box_of(&taken), 0);
    ck_assert_uint_eq(taken.u.taken.was_parked, 1);
    rig_finish(&taken, fd);
    /* The call under way ends first: two calls on one container could come in either order. */
    UNTIL_POOL("p", pool.removing == 1);
    ck_assert(!fake->boxes[0].is_gone);
    rig_lock();
    FAKE(VERB_USAGE).is_held = false;
    rig_unlock();
    UNTIL(fake->boxes[0].is_gone);
}
END_TEST

START_TEST(other_memory_is_set_before_the_hand_over)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = 3}, taken;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    UNTIL(FAKE(VERB_UPDATE).calls == 1 && FAKE(VERB_UPDATE).inside == 0);
    FAKE(VERB_UPDATE).is_held = true;
    m.u.take = (struct handover_take){
        .policy = rig_key("p"), .memory = 2 * LIMIT, .wait_ms = 1000, .run_ms = 2000};
    rig_ask(rig_front, m);
    UNTIL(FAKE(VERB_UPDATE).inside == 1);
    ck_assert(rig_is_quiet(rig_front));
    rig_lock();
    FAKE(VERB_UPDATE).is_held = false;
    rig_unlock();
    taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(taken.type, HANDOVER_TAKEN);
    ck_assert_uint_eq(taken.u.taken.memory, 2 * LIMIT);
    ck_assert_int_eq(fake->boxes[0].memory, 2 * LIMIT + MEASURED);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(other_memory_waits_for_a_limit_that_is_just_being_set)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = 3}, taken;
    int fd;

    rig_policy("p", SMALL "pool: {min: 1, max: 1}");
    FAKE(VERB_UPDATE).is_held = true;
    rig_start();
    rig_settle("p", 1);
    UNTIL(FAKE(VERB_UPDATE).inside == 1); /* the exact limit behind the guessed one */
    m.u.take = (struct handover_take){
        .policy = rig_key("p"), .memory = 2 * LIMIT, .wait_ms = 1000, .run_ms = 2000};
    rig_ask(rig_front, m);
    ck_assert(rig_is_quiet(rig_front));
    ck_assert_uint_eq(FAKE(VERB_UPDATE).calls, 1);
    rig_lock();
    FAKE(VERB_UPDATE).is_held = false;
    rig_unlock();
    taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(taken.type, HANDOVER_TAKEN);
    ck_assert_uint_eq(FAKE(VERB_UPDATE).calls, 2);
    ck_assert_int_eq(fake->boxes[0].memory, 2 * LIMIT + MEASURED);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(memory_that_cannot_be_set_is_refused)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = 3};

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    UNTIL(FAKE(VERB_UPDATE).calls == 1 && FAKE(VERB_UPDATE).inside == 0);
    FAKE(VERB_UPDATE).fails = 1;
    m.u.take = (struct handover_take){
        .policy = rig_key("p"), .memory = 2 * LIMIT, .wait_ms = 1000, .run_ms = 2000};
    rig_ask(rig_front, m);
    m = rig_answer(rig_front, NULL);
    ck_assert_uint_eq(m.type, HANDOVER_REFUSED);
    ck_assert_uint_eq(m.reason, REFUSE_ENGINE);
    UNTIL(fake->boxes[0].is_gone);
}
END_TEST

/* ---- the hard deadline ---- */

START_TEST(a_run_past_its_deadline_loses_its_stream_and_then_its_container)
{
    struct handover taken, fate;
    char got[64];
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    FAKE(VERB_DESTROY).is_held = true;
    fd = rig_run("p", 1, &taken);
    rig_advance(1999);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_DEADLINE], 0);
    rig_advance(1);
    /* The front's own descriptor ends while the engine has not even begun to destroy. */
    ck_assert_int_eq(recv(fd, got, sizeof(got), 0), MUX_HEAD + READY_LEN);
    ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 0);
    ck_assert(!fake->boxes[0].is_gone);
    UNTIL(FAKE(VERB_DESTROY).inside == 1);
    rig_ask(rig_front, (struct handover){.type = HANDOVER_FATE, .seq = 9, .member = taken.member});
    fate = rig_answer(rig_front, NULL);
    ck_assert_uint_eq(fate.type, HANDOVER_FATE_IS);
    ck_assert_uint_eq(fate.seq, 9);
    ck_assert_uint_eq(fate.u.fate.member, taken.member);
    ck_assert(fate.u.fate.is_known && fate.u.fate.was_killed_by_us && !fate.u.fate.is_oom);
    rig_lock();
    FAKE(VERB_DESTROY).is_held = false;
    rig_unlock();
    UNTIL(fake->boxes[0].is_gone);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_DEADLINE], 1);
    rig_finish(&taken, fd); /* too late: nobody minds */
    rig_settle("p", 1);
}
END_TEST

static const struct extension {
    uint64_t ms;
    int64_t holds_ms; /* so long after the extension it still runs */
} extensions[] = {
    {5000,       4999              },
    {100,        99                }, /* also earlier than before */
    {UINT64_MAX, 30000 + 120000 - 1}, /* the policy's longest time, and the transfers */
    {150001,     30000 + 120000 - 1},
};

START_TEST(a_deadline_can_be_moved_within_the_policy)
{
    const struct extension *x = &extensions[_i];
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 1, max: 1}\ntime: {max: 30s}", 1);
    fd = rig_run("p", 1, &taken);
    rig_advance(50);
    rig_ask(rig_front,
            (struct handover){.type = HANDOVER_EXTEND, .member = taken.member, .ms = x->ms});
    rig_turn();
    rig_advance(x->holds_ms);
    ck_assert_uint_eq(rig_pool("p").running, 1);
    rig_advance(1);
    ck_assert_uint_eq(rig_pool("p").running, 0);
    UNTIL(fake->boxes[0].is_gone);
    (void)close(fd);
}
END_TEST

/* ---- refill ---- */

START_TEST(refill_waits_for_the_reply_but_not_long)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 2, max: 2}", 2);
    /* The pool was used now: it wants its maximum, which is there. */
    fd = rig_run("p", 1, &taken);
    rig_advance(KEEPER_QUIET_MS - 1);
    ck_assert_uint_eq(rig_pool("p").started, 2);
    rig_advance(1);
    ck_assert_uint_eq(rig_pool("p").started, 3);
    rig_finish(&taken, fd);
    rig_settle("p", 2);
    /* With DONE it need not wait. */
    fd = rig_run("p", 2, &taken);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").started, 3);
    rig_finish(&taken, fd);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").started, 4);
}
END_TEST

static unsigned removals(void)
{
    return FAKE(VERB_DESTROY).calls;
}

static bool is_open(unsigned box)
{
    char c;

    return recv(rig_stream(box), &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

START_TEST(the_engine_is_left_alone_until_a_burst_has_its_replies)
{
    struct handover taken[3];
    int fd[3];

    start_with(SMALL "pool: {min: 3, max: 3}", 3);
    for (unsigned i = 0; i < 3; i++) {
        fd[i] = rig_run("p", i + 1, &taken[i]);
        rig_advance(i < 2 ? 5 : 0);
    }
    rig_finish(&taken[0], fd[0]);
    rig_finish(&taken[1], fd[1]);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").started, 3);
    ck_assert_uint_eq(removals(), 0);
    ck_assert(is_open(rig_box_of(&taken[0])) && is_open(rig_box_of(&taken[1])));
    /* The last reply ends it. */
    rig_finish(&taken[2], fd[2]);
    UNTIL(removals() == 3);
    rig_settle("p", 3);
    ck_assert_uint_eq(rig_pool("p").started, 6);
}
END_TEST

START_TEST(a_burst_does_not_keep_the_engine_waiting_long)
{
    struct handover taken[3];
    int fd[3];

    start_with(SMALL "pool: {min: 3, max: 3}", 3);
    fd[0] = rig_run("p", 1, &taken[0]);
    rig_advance(10);
    fd[1] = rig_run("p", 2, &taken[1]);
    rig_finish(&taken[0], fd[0]);
    rig_advance(KEEPER_QUIET_MS - 11);
    ck_assert_uint_eq(rig_pool("p").started, 3);
    ck_assert_uint_eq(removals(), 0);
    fd[2] = rig_run("p", 3, &taken[2]); /* does not make it longer */
    rig_advance(1);
    UNTIL(removals() == 1);
    UNTIL_POOL("p", pool.started > 3);
    rig_finish(&taken[1], fd[1]);
    rig_finish(&taken[2], fd[2]);
    rig_settle("p", 3);
}
END_TEST

START_TEST(starts_are_fewer_while_something_runs_unless_somebody_waits)
{
    struct handover taken[2];
    int fd[2];

    start_with(SMALL "pool: {min: 1, max: 10}\nqueue: {max: 10}", 1);
    FAKE(VERB_PARK).is_held = true;
    fd[0] = rig_run("p", 1, &taken[0]);
    rig_advance(KEEPER_QUIET_MS);
    UNTIL(FAKE(VERB_PARK).inside == 2); /* half of parallel_starts */
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").starting, 2);
    for (uint64_t seq = 2; seq < 8; seq++)
        rig_take(rig_front, seq, rig_key("p"), 1000);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").starting, 4);
    for (uint64_t seq = 2; seq < 8; seq++)
        rig_ask(rig_front, (struct handover){.type = HANDOVER_CANCEL, .seq = seq});
    rig_finish(&taken[0], fd[0]);
    rig_lock();
    FAKE(VERB_PARK).is_held = false;
    rig_unlock();
    rig_settle("p", 10);
}
END_TEST

START_TEST(a_pool_that_is_not_used_shrinks_and_its_members_are_renewed)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 0, max: 3, idle: 100s, age: 1000s}", 0);
    /* The first is measured, for which the clock moves; the second is the last use. */
    for (uint64_t seq = 1; seq <= 2; seq++) {
        fd = rig_run("p", seq, &taken);
        rig_finish(&taken, fd);
        rig_settle("p", 3);
    }
    rig_advance(90000);
    ck_assert_uint_eq(rig_pool("p").parked, 3);
    rig_advance(10000);
    ck_assert_uint_eq(rig_pool("p").parked, 1);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_SHRINK], 2);
    rig_advance(900000);
    UNTIL_POOL("p", pool.parked == 0 && pool.removing == 0);
    ck_assert_uint_eq(rig_pool("p").target, 0);
}
END_TEST

START_TEST(an_old_member_is_renewed)
{
    start_with(SMALL "pool: {min: 1, max: 1, age: 1000s}", 1);
    rig_advance(1000 * 1000);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_AGE], 1);
    UNTIL(fake->boxes[0].is_gone);
    rig_settle("p", 1);
    ck_assert_uint_eq(fake->boxes_n, 2);
}
END_TEST

START_TEST(a_member_that_is_too_old_is_not_handed_over)
{
    struct handover taken;
    int fd;

    start_with(SMALL "pool: {min: 2, max: 2, age: 1000s}", 2);
    /* The keeper hears of the time and of the request at once. */
    (void)__atomic_add_fetch(&fake->now_ms, 1000 * 1000, __ATOMIC_SEQ_CST);
    fd = rig_run("p", 1, &taken);
    ck_assert_uint_ge(rig_box_of(&taken), 2);
    UNTIL(fake->boxes[0].is_gone && fake->boxes[1].is_gone);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_AGE], 2);
    ck_assert_uint_eq(rig_pool("p").discarded[DISCARD_STREAM], 0);
    rig_finish(&taken, fd);
}
END_TEST

START_TEST(containers_are_no_more_than_the_settings_allow)
{
    struct handover taken[3], m;
    int fd[3];

    rig_settings.containers_max = 3;
    start_with(SMALL "pool: {min: 2, max: 8}", 2);
    for (uint64_t seq = 0; seq < 3; seq++)
        fd[seq] = rig_run("p", seq + 1, &taken[seq]);
    rig_advance(20);
    rig_take(rig_front, 9, rig_key("p"), 1000);
    ck_assert(rig_is_quiet(rig_front));
    ck_assert_uint_eq(rig_pool("p").started, 3);
    rig_finish(&taken[0], fd[0]);
    m = rig_answer(rig_front, &fd[0]);
    ck_assert_uint_eq(m.type, HANDOVER_TAKEN);
    ck_assert_uint_eq(m.seq, 9);
    rig_finish(&m, fd[0]);
    for (int i = 1; i < 3; i++)
        rig_finish(&taken[i], fd[i]);
}
END_TEST

START_TEST(the_budget_bounds_what_is_parked)
{
    rig_settings.pool_memory = 350 * MIB;
    start_with(SMALL "pool: {min: 9, max: 9}", 3);
    rig_turn();
    ck_assert_uint_eq(rig_pool("p").target, 3);
    ck_assert_uint_eq(rig_counts().budget, 350 * MIB);
    ck_assert_uint_eq(rig_counts().reserved, 300 * MIB);
    ck_assert_uint_eq(rig_counts().pools, 2); /* the rig's default too */
    ck_assert_uint_eq(rig_counts().calls[3], 103);
    ck_assert_uint_eq(rig_counts().errors[3], 3);
}
END_TEST

START_TEST(without_settings_the_machine_decides)
{
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    rig_settings.pool_memory = 0;
    rig_settings.parallel_starts = 0;
    start_with(SMALL "pool: {min: 1, max: 1}", 1);
    ck_assert_uint_eq(rig_counts().budget, ram / 10 > 1 << 30 ? ram / 10 : 1 << 30);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_first_container_is_measured_and_the_others_follow);
    tcase_add_test(t, a_limit_is_guessed_until_the_footprint_is_known);
    tcase_add_test(t, a_footprint_that_keeps_growing_is_taken_at_the_limit);
    tcase_add_test(t, a_footprint_is_remembered_over_a_restart);
    tcase_add_test(t, a_footprint_that_cannot_be_remembered_is_measured_again);
    tcase_add_test(t, foreign_lines_among_the_footprints_are_skipped);
    tcase_add_test(t, what_cannot_be_measured_is_parked_all_the_same);
    tcase_add_test(t, nothing_is_parked_on_demand_but_made_when_asked_for);
    tcase_add_loop_test(t, a_container_that_says_anything_else_than_ready_is_dropped, 0,
                        ARRAY_LEN(first_words));
    tcase_add_test(t, ready_may_come_late_and_in_parts);
    tcase_add_test(t, half_a_ready_costs_no_processor_time);
    tcase_add_test(t, a_container_that_never_becomes_ready_is_given_up);
    tcase_add_test(t, a_start_that_was_too_slow_costs_nobody_a_place);
    tcase_add_loop_test(t, a_start_that_was_refused_is_told, 0, ARRAY_LEN(refused_starts));
    tcase_add_test(t, a_policy_that_is_changed_is_in_use_as_before);
    tcase_add_test(t, a_parked_container_is_handed_over_with_its_stream);
    tcase_add_test(t, a_stream_that_ended_while_parked_is_replaced);
    tcase_add_test(t, a_parked_container_that_spoke_is_not_handed_over);
    tcase_add_test(t, who_asks_while_the_first_is_measured_gets_it);
    tcase_add_test(t, other_memory_is_set_before_the_hand_over);
    tcase_add_test(t, other_memory_waits_for_a_limit_that_is_just_being_set);
    tcase_add_test(t, memory_that_cannot_be_set_is_refused);
    tcase_add_test(t, a_run_past_its_deadline_loses_its_stream_and_then_its_container);
    tcase_add_loop_test(t, a_deadline_can_be_moved_within_the_policy, 0, ARRAY_LEN(extensions));
    tcase_add_test(t, refill_waits_for_the_reply_but_not_long);
    tcase_add_test(t, the_engine_is_left_alone_until_a_burst_has_its_replies);
    tcase_add_test(t, a_burst_does_not_keep_the_engine_waiting_long);
    tcase_add_test(t, starts_are_fewer_while_something_runs_unless_somebody_waits);
    tcase_add_test(t, a_pool_that_is_not_used_shrinks_and_its_members_are_renewed);
    tcase_add_test(t, an_old_member_is_renewed);
    tcase_add_test(t, a_member_that_is_too_old_is_not_handed_over);
    tcase_add_test(t, containers_are_no_more_than_the_settings_allow);
    tcase_add_test(t, the_budget_bounds_what_is_parked);
    tcase_add_test(t, without_settings_the_machine_decides);
}

UNIT_MAIN_ONE_PROCESS("keeper", add_tests)
