/*
 * The whole warden but its main(), as pid 1 of a process namespace of its own, with a shell in the
 * place of the interpreter. Needs the right to make such a namespace; says so and passes without.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/cgroup.c"
#include "../../images/warden/child.c"
#include "../../images/warden/feed.c"
#include "../../images/warden/finish.c"
#include "../../images/warden/gather.c"
#include "../../images/warden/guard.c"
#include "../../images/warden/intake.c"
#include "../../images/warden/known.c"
#include "../../images/warden/loop.c"
#include "../../images/warden/names.c"
#include "../../images/warden/proxy.c"
#include "../../images/warden/pump.c"
#include "../../images/warden/queue.c"
#include "../../images/warden/relay.c"
#include "../../images/warden/relay_listen.c"
#include "../../images/warden/verdict.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "unit.h"

enum { ANSWER_MS = 15000, AGES_MS = 100000 };

/* What the shell says on the control channel. */
#define UP      "printf '\\141\\0\\0\\0\\0\\0\\0\\0' >&3;"
#define END_0   "printf '\\142\\0\\0\\0\\014\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&3;"
#define END_7   "printf '\\142\\0\\0\\0\\014\\0\\0\\0\\07\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&3;"
#define BLOCKED "printf '\\142\\0\\0\\0\\014\\0\\0\\0\\01\\0\\0\\0\\0\\0\\0\\0\\01\\0\\0\\0' >&3;"
#define CHECKED "printf '\\143\\0\\0\\0\\0\\0\\0\\0' >&3;"
#define VALUE   "printf '\\105\\0\\0\\0\\01\\0\\0\\0v' >&3;"
/* META "{}", CODE "x" and GO, as every job below has them. */
#define TAKE_JOB "head -c 27 <&3 >/dev/null;"
#define PARK     "exec sleep 1000"

static int to_warden, from_warden; /* pipes */
static pid_t outer;                /* waits for the namespace's pid 1 */
static char dir[64];
static uint16_t relay_port; /* of db:1 at 127.0.0.2; 0: no relay */
static uint8_t got[1 << 22];
static size_t got_n;
static uint32_t last_number; /* that the last frame began with */

/* ---- in the namespace ---- */

static struct warden warden;
static struct relay relay;
static struct known known;
static struct gather gathering;
static uint8_t out_buf[WARDEN_OUT_CAP], in_buf[WARDEN_IN_CAP];
static uint8_t front_buf[2 * (FRAME_HEAD + FRAME_MAX)], control_buf[FRAME_HEAD + FRAME_MAX];
static uint8_t stdin_buf[2 * (FRAME_HEAD + FRAME_MAX)];

static void be_warden(const char *script, const char *tasks)
{
    const char *argv[] = {relay_port ? "/bin/bash" : "/bin/sh", "-c", script, NULL};
    struct child_options o = {.argv = argv, .work_dir = dir, .oom_score = "1000"};
    struct warden *w = &warden;
    int stdin_fd = -1;
    char path[100];

    if (tasks) {
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s.cgroup/pids.current", dir);
        f = fopen(path, "w");
        if (!f || fputs(tasks, f) < 0 || fclose(f))
            exit(98);
    }
    (void)snprintf(path, sizeof(path), "%s.cgroup", dir);
    cgroup_open(&w->cgroup, path);
    (void)signal(SIGPIPE, SIG_IGN);
    w->work_dir = dir;
    w->gather = &gathering;
    w->intake.known = &known;
    w->intake.file_fd = -1;
    w->intake.work_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    queue_init(&w->out, out_buf, sizeof(out_buf));
    queue_init(&w->in, in_buf, sizeof(in_buf));
    queue_init(&w->feed.queue, stdin_buf, sizeof(stdin_buf));
    w->feed.fd = -1;
    frame_reader_init(&w->front, front_buf, sizeof(front_buf));
    pump_init(&w->pump, &w->child, &w->out, control_buf, sizeof(control_buf));
    if (relay_port) {
        (void)snprintf(path, sizeof(path), "127.0.0.2:%d=db:1", relay_port);
        relay = (struct relay){.out = &w->out, .pump = &w->pump};
        w->relay = &relay;
        if (relay_listen(&relay, path, NULL) < 0)
            exit(97);
    }
    if (child_start(&w->child, &o, &stdin_fd) < 0)
        exit(99);
    feed_open(&w->feed, stdin_fd);
    exit(10 + warden_loop(w));
}

/* Becomes the first process's parent; exits with what that exited with. */
static void enter_namespace(const char *script, const char *tasks, int in, int out)
{
    int status;
    pid_t first;

    if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
        _exit(77);
    first = fork();
    if (first == 0) {
        if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("proc", "/proc", "proc", 0, NULL) < 0)
            _exit(77);
        (void)dup2(in, FRONT_IN);
        (void)dup2(out, FRONT_OUT);
        for (int i = 3; i < 64; i++)
            (void)close(i);
        (void)fcntl(FRONT_IN, F_SETFL, O_NONBLOCK);
        (void)fcntl(FRONT_OUT, F_SETFL, O_NONBLOCK);
        be_warden(script, tasks);
    }
    (void)close(in);
    (void)close(out);
    while (waitpid(first, &status, 0) < 0)
        continue;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 50 + WTERMSIG(status));
}

/* ---- outside ---- */

static bool may_make_namespaces(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(unshare(CLONE_NEWPID | CLONE_NEWNS) < 0);
    while (waitpid(pid, &status, 0) < 0)
        continue;
    return status == 0;
}

static void start(const char *script, const char *tasks)
{
    int a[2], b[2];

    ck_assert_int_eq(pipe2(a, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(b, O_CLOEXEC), 0);
    outer = fork();
    ck_assert_int_ge(outer, 0);
    if (outer == 0) {
        (void)close(a[1]);
        (void)close(b[0]);
        enter_namespace(script, tasks, a[0], b[1]);
    }
    (void)close(a[0]);
    (void)close(b[1]);
    to_warden = a[1];
    from_warden = b[0];
    got_n = 0;
}

static void say_to(uint16_t id, uint8_t type, uint8_t flags, const void *data, size_t n)
{
    uint8_t head[FRAME_HEAD];

    frame_put_head(head, type, flags, id, (uint32_t)n);
    ck_assert_int_eq(write(to_warden, head, sizeof(head)), sizeof(head));
    ck_assert_int_eq(write(to_warden, data, n), (ssize_t)n);
}

static void say(uint8_t type, uint8_t flags, const void *data, size_t n)
{
    say_to(0, type, flags, data, n);
}

static void say_job(uint32_t flags, uint32_t timeout_ms)
{
    uint8_t bytes[JOB_LEN];
    struct job job = {.flags = flags,
                      .timeout_ms = (uint32_t)patient(timeout_ms),
                      .grace_ms = (uint32_t)patient(50),
                      .output_soft = 1 << 21,
                      .output_hard = 1 << 22,
                      .file_max = 100,
                      .files_max = 1000,
                      .files_count = 10};

    job_encode(bytes, &job);
    say(FRAME_JOB, 0, bytes, sizeof(bytes));
    say(FRAME_META, 0, "{}", 2);
    say(FRAME_CODE, 0, "x", 1);
}

static bool read_more(void)
{
    struct pollfd p = {.fd = from_warden, .events = POLLIN};
    ssize_t n;

    ck_assert_msg(poll(&p, 1, (int)patient(ANSWER_MS)) == 1, "no answer");
    n = read(from_warden, got + got_n, sizeof(got) - got_n);
    ck_assert_int_ge(n, 0);
    got_n += (size_t)n;
    return n > 0;
}

/* Takes the next frame; the text is cut to `cap`. Type 0: the stream ended. */
static uint8_t next_frame(char *text, size_t cap)
{
    uint32_t n;
    uint8_t type;

    while (got_n < FRAME_HEAD || got_n < FRAME_HEAD + le_get32(got + 4)) {
        if (!read_more())
            return 0;
    }
    type = got[0];
    n = le_get32(got + 4);
    if (cap)
        (void)snprintf(text, cap, "%.*s", (int)n, (const char *)got + FRAME_HEAD);
    last_number = n >= 4 ? le_get32(got + FRAME_HEAD) : 0;
    if (type == FRAME_RESULT && cap >= REPORT_LEN)
        memcpy(text, got + FRAME_HEAD, REPORT_LEN);
    memmove(got, got + FRAME_HEAD + n, got_n - FRAME_HEAD - n);
    got_n -= FRAME_HEAD + n;
    return type;
}

static void expect(uint8_t type, const char *text)
{
    char found[200];

    ck_assert_int_eq(next_frame(found, sizeof(found)), type);
    if (text)
        ck_assert_str_eq(found, text);
}

static struct outcome_report expect_result(void)
{
    char found[200];
    struct outcome_report r;

    ck_assert_int_eq(next_frame(found, sizeof(found)), FRAME_RESULT);
    ck_assert(report_decode(&r, (const uint8_t *)found, REPORT_LEN));
    return r;
}

/* Closes the stream and waits for the end. */
static void finish(int wanted)
{
    int status;

    (void)close(to_warden);
    (void)close(from_warden);
    ck_assert_int_eq(waitpid(outer, &status, 0), outer);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), wanted);
}

static void set_up(void)
{
    char path[80];

    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(dir, sizeof(dir), "/tmp/warden-loop-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s.cgroup", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void tear_down(void)
{
    static const char *const files[] = {"/a", "/b", ".cgroup/pids.current"};
    char path[100];

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", dir, files[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s.cgroup", dir);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void begin_run(const char *script, uint32_t flags, uint32_t timeout_ms)
{
    start(script, NULL);
    expect(FRAME_READY, READY_TEXT);
    say_job(flags, timeout_ms);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, "");
}

/* ---- tests ---- */

START_TEST(a_run_from_ready_to_result)
{
    struct outcome_report r;

    begin_run(UP TAKE_JOB "printf out; printf err >&2;" VALUE END_7 PARK, 0, AGES_MS);
    expect(FRAME_STDOUT, "out");
    expect(FRAME_STDERR, "err");
    expect(FRAME_VALUE, "v");
    expect(FRAME_ENDED, "");
    r = expect_result();
    ck_assert_int_eq(r.end, END_NORMAL);
    ck_assert_int_eq(r.exit_code, 7);
    ck_assert_uint_eq(r.stdout_bytes, 3);
    ck_assert_uint_gt(r.wall_us, 0);
    ck_assert(!(r.flags & REPORT_PEAK_KNOWN));
    finish(10);
}
END_TEST

START_TEST(a_lonely_worker_is_only_stopped)
{
    start(UP TAKE_JOB "exec 1>&- 2>&-;" END_0 PARK, "2\n");
    expect(FRAME_READY, NULL);
    say_job(JOB_GATHER, AGES_MS);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, NULL);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_NORMAL);
    finish(10);
}
END_TEST

static const struct {
    const char *script;
    int exit_code, term_signal;
} deaths[] = {
    {"exit 3",                          3, 0 },
    {"exit 0",                          0, 0 },
    {"kill -9 $$",                      0, 9 },
    {"kill -11 $$; sleep 9",            0, 11},
    {"(sleep 1000 &) ; exit 4",         4, 0 },
    {"printf '\\377\\377' >&3; exit 5", 5, 0 },
};

START_TEST(a_worker_that_is_gone_has_its_real_status)
{
    char script[200];
    struct outcome_report r;

    (void)snprintf(script, sizeof(script), "%s", UP TAKE_JOB "printf x;");
    (void)snprintf(script + strlen(script), sizeof(script) - strlen(script), "%s",
                   deaths[_i].script);
    begin_run(script, 0, AGES_MS);
    expect(FRAME_STDOUT, "x");
    expect(FRAME_ENDED, NULL);
    r = expect_result();
    ck_assert_int_eq(r.end, END_NORMAL);
    ck_assert_int_eq(r.exit_code, deaths[_i].exit_code);
    ck_assert_int_eq(r.term_signal, deaths[_i].term_signal);
    finish(10);
}
END_TEST

START_TEST(an_end_report_of_a_worker_that_then_died_counts)
{
    begin_run(UP TAKE_JOB END_7 "exit 1", 0, AGES_MS);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().exit_code, 7);
    finish(10);
}
END_TEST

START_TEST(the_first_deadline_is_a_signal_and_the_second_the_end)
{
    struct outcome_report r;

    /* By then the shell has come to its trap, on a busy machine, too. */
    begin_run(UP TAKE_JOB "trap 'printf last' XCPU; printf on; while :; do sleep 0.01; done", 0,
              1000);
    expect(FRAME_STDOUT, "on");
    expect(FRAME_STDOUT, "last");
    expect(FRAME_ENDED, NULL);
    r = expect_result();
    ck_assert_int_eq(r.end, END_TIMEOUT);
    ck_assert_int_ge((int64_t)r.wall_us, 1000 * patient(1050));
    finish(10);
}
END_TEST

START_TEST(a_worker_that_heeds_the_first_deadline_is_not_waited_for)
{
    begin_run(UP TAKE_JOB "trap \"" END_7 "exec sleep 1000\" XCPU; while :; do sleep 0.01; done", 0,
              600);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_TIMEOUT);
    finish(10);
}
END_TEST

START_TEST(cancel_ends_a_run_at_once)
{
    begin_run(UP TAKE_JOB "printf on;" PARK, 0, AGES_MS);
    expect(FRAME_STDOUT, "on");
    say(FRAME_CANCEL, 0, "", 0);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_CANCELLED);
    say(FRAME_CANCEL, 0, "", 0);
    finish(10);
}
END_TEST

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

/* The program connects, sends and ends with its end still open, before the front could answer. */
static void begin_last_words(uint32_t timeout_ms)
{
    char script[400];

    relay_port = free_port();
    (void)snprintf(script, sizeof(script),
                   "%s exec 5<>/dev/tcp/127.0.0.2/%d 6<>/dev/tcp/127.0.0.2/%d; "
                   "printf first >&5; printf last >&6; %s",
                   UP TAKE_JOB "exec 1>&- 2>&-;", relay_port, relay_port, END_0 PARK);
    start(script, "2\n");
    expect(FRAME_READY, READY_TEXT);
    say_job(0, timeout_ms);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, "");
    expect(FRAME_RELAY_OPEN, "db:1");
    expect(FRAME_RELAY_OPEN, "db:1");
    say_to(1, FRAME_RELAY_OPEN, 0, "", 0);
    expect(FRAME_RELAY_DATA, "first");
    /* That end only its death has closed. */
    expect(FRAME_RELAY_CLOSE, "");
}

START_TEST(the_end_of_a_run_waits_for_what_was_sent)
{
    begin_last_words(AGES_MS);
    say_to(2, FRAME_RELAY_OPEN, 0, "", 0);
    expect(FRAME_RELAY_DATA, "last");
    expect(FRAME_RELAY_CLOSE, "");
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_NORMAL);
    finish(10);
}
END_TEST

START_TEST(a_cancel_ends_that_wait)
{
    begin_last_words(AGES_MS);
    say(FRAME_CANCEL, 0, "", 0);
    expect(FRAME_STDERR, "oneshot: db:1 has not taken all that was sent to it\n");
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_CANCELLED);
    finish(10);
}
END_TEST

START_TEST(the_time_of_the_run_ends_that_wait)
{
    begin_last_words(4000);
    expect(FRAME_STDERR, "oneshot: db:1 has not taken all that was sent to it\n");
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_NORMAL);
    finish(10);
}
END_TEST

START_TEST(cancel_before_go_runs_nothing)
{
    start(UP PARK, NULL);
    expect(FRAME_READY, NULL);
    say_job(0, 1000);
    say(FRAME_CANCEL, 0, "", 0);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_CANCELLED);
    finish(10);
}
END_TEST

START_TEST(an_input_that_cannot_be_written_ends_the_run_before_it_began)
{
    uint8_t bytes[ENTRY_LEN_MAX];
    struct entry e = {.path = "a/b", .path_len = 3};
    struct outcome_report r;

    start(UP PARK, NULL);
    expect(FRAME_READY, NULL);
    say_job(0, 1000);
    e.path_len = 1;
    say(FRAME_ENTRY, 0, bytes, entry_encode(bytes, &e));
    e.path_len = 3;
    say(FRAME_ENTRY, 0, bytes, entry_encode(bytes, &e));
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STDERR, "input file 'a/b' cannot be written: Not a directory\n");
    expect(FRAME_ENDED, NULL);
    r = expect_result();
    ck_assert_int_eq(r.end, END_NORMAL);
    ck_assert_int_eq(r.exit_code, 1);
    finish(10);
}
END_TEST

START_TEST(output_past_the_hard_cap_ends_the_run)
{
    char text[4];
    struct outcome_report r;
    uint8_t type;

    begin_run(UP TAKE_JOB "while :; do printf '%65536s' x; done", 0, AGES_MS);
    while ((type = next_frame(text, 0)) == FRAME_STDOUT)
        continue;
    ck_assert_int_eq(type, FRAME_ENDED);
    r = expect_result();
    ck_assert_int_eq(r.end, END_OUTPUT);
    ck_assert(r.flags & REPORT_STDOUT_CUT);
    finish(10);
}
END_TEST

START_TEST(a_reader_that_does_not_read_loses_nothing)
{
    struct pollfd p = {.events = POLLIN};
    uint64_t total = 0;
    uint8_t type;

    begin_run(UP TAKE_JOB "head -c 1500000 /dev/zero | tr '\\0' x;" END_0 PARK, 0, AGES_MS);
    /* The pipe to here is full once its reading end has been ready for a while without being read. */
    p.fd = from_warden;
    ck_assert_int_eq(poll(&p, 1, (int)patient(ANSWER_MS)), 1);
    while ((type = next_frame(NULL, 0)) == FRAME_STDOUT)
        total++;
    ck_assert_uint_gt(total, 0);
    ck_assert_int_eq(type, FRAME_ENDED);
    ck_assert_uint_eq(expect_result().stdout_bytes, 1500000);
    finish(10);
}
END_TEST

START_TEST(what_a_worker_may_not_send_ends_its_run)
{
    struct outcome_report r;

    begin_run(UP TAKE_JOB "printf x; printf '\\116\\0\\0\\0\\0\\0\\0\\0' >&3;" PARK, 0, AGES_MS);
    expect(FRAME_STDOUT, "x");
    expect(FRAME_ENDED, NULL);
    r = expect_result();
    ck_assert_int_eq(r.end, END_NORMAL);
    ck_assert_int_eq(r.term_signal, SIGKILL);
    finish(10);
}
END_TEST

/* A shell would wait for a process of its own between the runs. */
static const char kept_script[] = "exec python3 -Ic 'import os, subprocess\n"
                                  "end = b\"b\\0\\0\\0\\x0c\" + bytes(15)\n"
                                  "os.write(3, b\"a\" + bytes(7))\n"
                                  "def take(n):\n"
                                  "    while n: n -= len(os.read(3, n))\n"
                                  "take(27)\n"
                                  "subprocess.Popen([\"sleep\", \"1000\"])\n"
                                  "os.write(1, b\"1\")\n"
                                  "os.write(3, end)\n"
                                  "take(35)\n"
                                  "os.write(1, b\"2\")\n"
                                  "os.write(3, end[:8] + b\"\\7\" + end[9:])\n"
                                  "take(1)'";

START_TEST(a_kept_worker_serves_again_without_its_other_processes)
{
    begin_run(kept_script, JOB_KEEP | JOB_GATHER, AGES_MS);
    expect(FRAME_STDOUT, "1");
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().exit_code, 0);
    say(FRAME_REPLY, 0, "late", 4);
    say(FRAME_STDIN, 0, "late", 4);
    say_job(JOB_KEEP, AGES_MS);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, NULL);
    expect(FRAME_STDOUT, "2");
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().exit_code, 7);
    finish(10);
}
END_TEST

START_TEST(standard_input_flows_before_and_after_go)
{
    start(UP TAKE_JOB "cat <&4;" END_0 PARK, NULL);
    expect(FRAME_READY, NULL);
    say_job(0, AGES_MS);
    say(FRAME_STDIN, FRAME_MORE, "one ", 4);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, NULL);
    expect(FRAME_STDOUT, "one ");
    say(FRAME_STDIN, FRAME_MORE, "two", 3);
    expect(FRAME_STDOUT, "two");
    say(FRAME_STDIN, 0, "", 0);
    expect(FRAME_ENDED, NULL);
    finish(10);
}
END_TEST

START_TEST(files_are_gathered_behind_the_end)
{
    begin_run(UP TAKE_JOB "printf data >a; ln -s a b;" END_0 PARK, JOB_GATHER, AGES_MS);
    expect(FRAME_ENDED, NULL);
    expect(FRAME_OUT_ENTRY, NULL);
    expect(FRAME_OUT_DATA, "data");
    expect(FRAME_OMITTED, NULL);
    ck_assert_int_eq(expect_result().exit_code, 0);
    finish(10);
}
END_TEST

START_TEST(answers_are_carried_to_the_worker)
{
    begin_run(UP TAKE_JOB "head -c 14 <&3 | tail -c 6;" END_0 PARK, 0, AGES_MS);
    say(FRAME_REPLY, 0, "answer", 6);
    expect(FRAME_STDOUT, "answer");
    expect(FRAME_ENDED, NULL);
    (void)expect_result();
    finish(10);
}
END_TEST

static void say_reply(size_t n)
{
    static const char zeros[FRAME_MAX];

    say(FRAME_REPLY, FRAME_MORE, zeros, n);
}

static uint32_t expect_taken(void)
{
    char found[200];

    ck_assert_int_eq(next_frame(found, sizeof(found)), FRAME_TAKEN);
    return last_number;
}

/* Something comes within a moment. */
static bool has_more(void)
{
    struct pollfd p = {.fd = from_warden, .events = POLLIN};

    return got_n > 0 || poll(&p, 1, (int)patient(300)) == 1;
}

START_TEST(answers_that_the_worker_took_are_credited)
{
    uint32_t sum = 0;

    begin_run(UP TAKE_JOB "cat <&3 >/dev/null", 0, AGES_MS);
    for (int i = 0; i < 10; i++) {
        say_reply(FRAME_MAX);
        sum += FRAME_HEAD + FRAME_MAX;
        while (sum >= REPLY_TOLD) {
            uint32_t n = expect_taken();

            ck_assert_uint_le(n, sum);
            sum -= n;
        }
    }
    finish(10);
}
END_TEST

/* A whole window of them leaves the stream free for what comes behind: input, CANCEL. */
START_TEST(answers_that_the_worker_does_not_take_hold_up_nothing)
{
    char text[200];
    uint8_t type;

    begin_run(UP TAKE_JOB "printf on; cat <&4;" PARK, 0, AGES_MS);
    expect(FRAME_STDOUT, "on");
    /* What the control channel holds was taken, too; the front goes on as it gets credit. */
    for (uint32_t under_way = 0, total = 0; total < 64 * REPLY_WINDOW;) {
        if (under_way + FRAME_HEAD + FRAME_MAX > REPLY_WINDOW) {
            if (!has_more())
                break;
            under_way -= expect_taken();
            continue;
        }
        say_reply(FRAME_MAX);
        under_way += FRAME_HEAD + FRAME_MAX;
        total += FRAME_HEAD + FRAME_MAX;
    }
    say(FRAME_STDIN, FRAME_MORE, "input", 5);
    do
        type = next_frame(text, sizeof(text));
    while (type == FRAME_TAKEN);
    ck_assert_int_eq(type, FRAME_STDOUT);
    ck_assert_str_eq(text, "input");
    say(FRAME_CANCEL, 0, "", 0);
    expect(FRAME_ENDED, NULL);
    ck_assert_int_eq(expect_result().end, END_CANCELLED);
    finish(10);
}
END_TEST

/* 0: before CHECKED; 1: behind it; 2: where nothing was to be checked. */
START_TEST(only_validation_can_say_that_it_blocked_the_program)
{
    static const char *const scripts[] = {
        UP TAKE_JOB BLOCKED PARK,
        UP TAKE_JOB CHECKED BLOCKED PARK,
        UP TAKE_JOB BLOCKED PARK,
    };
    struct outcome_report r;

    begin_run(scripts[_i], _i == 2 ? 0 : JOB_CHECK, AGES_MS);
    expect(FRAME_ENDED, NULL);
    r = expect_result();
    ck_assert_int_eq(r.end, _i == 0 ? END_BLOCKED : END_NORMAL);
    ck_assert_int_eq(r.exit_code, 1);
    finish(10);
}
END_TEST

static const struct {
    uint8_t type;
    const char *data;
    bool is_running;
} breaches[] = {
    {FRAME_GO,          "",  false},
    {FRAME_META,        "x", false},
    {FRAME_RESULT,      "",  false},
    {0,                 "",  false},
    {FRAME_JOB,         "",  true },
    {FRAME_CODE,        "x", true },
    {FRAME_READY,       "",  true },
    {FRAME_RELAY_OPEN,  "",  true },
    {FRAME_RELAY_MORE,  "",  true },
    {FRAME_RELAY_CLOSE, "",  false},
};

START_TEST(a_breach_by_the_front_ends_everything)
{
    if (breaches[_i].is_running) {
        begin_run(UP TAKE_JOB PARK, 0, AGES_MS);
    } else {
        start(UP PARK, NULL);
        expect(FRAME_READY, NULL);
    }
    say(breaches[_i].type, 0, breaches[_i].data, strlen(breaches[_i].data));
    ck_assert_int_eq(next_frame(NULL, 0), 0);
    finish(10);
}
END_TEST

START_TEST(garbage_from_the_front_ends_everything)
{
    start(UP PARK, NULL);
    expect(FRAME_READY, NULL);
    ck_assert_int_eq(write(to_warden, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8), 8);
    ck_assert_int_eq(next_frame(NULL, 0), 0);
    finish(10);
}
END_TEST

static const char *const useless[] = {
    "exit 0",
    "exec 3>&-; sleep 1000",
    "printf '\\377\\377\\377\\377\\377\\377\\377\\377' >&3; sleep 1000",
    (UP "exit 0"),
    "exec /nonexistent",
};

START_TEST(a_worker_that_is_no_use_ends_everything)
{
    start(useless[_i], NULL);
    while (next_frame(NULL, 0) == FRAME_READY)
        continue;
    finish(11);
}
END_TEST

START_TEST(the_end_of_the_stream_ends_everything)
{
    start(UP PARK, NULL);
    expect(FRAME_READY, NULL);
    finish(10);
    begin_run(UP TAKE_JOB "while :; do printf '%65536s' x; done", 0, AGES_MS);
    finish(10);
}
END_TEST

/* First child of `parent`, 0 when there is none. */
static pid_t child_of(pid_t parent)
{
    char path[64], text[32] = "";
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    f = fopen(path, "r");
    if (!f)
        return 0;
    (void)!fgets(text, sizeof(text), f);
    (void)fclose(f);
    return (pid_t)strtol(text, NULL, 10);
}

START_TEST(a_signal_from_outside_ends_everything_and_one_from_inside_nothing)
{
    pid_t first;

    start(UP "kill -15 1; kill -17 1;" TAKE_JOB "printf alive;" PARK, NULL);
    expect(FRAME_READY, NULL);
    say_job(0, AGES_MS);
    say(FRAME_GO, 0, "", 0);
    expect(FRAME_STARTED, NULL);
    expect(FRAME_STDOUT, "alive");
    first = child_of(outer);
    ck_assert_int_gt(first, 0);
    ck_assert_int_eq(kill(first, SIGTERM), 0);
    ck_assert_int_eq(next_frame(NULL, 0), 0);
    finish(10);
}
END_TEST

START_TEST(limits_of_pid_1_cannot_be_touched)
{
    begin_run(UP TAKE_JOB "prlimit --pid 1 --cpu=1:1 2>&1 | grep -c 'not permitted';" END_0 PARK, 0,
              AGES_MS);
    expect(FRAME_STDOUT, "1\n");
    expect(FRAME_ENDED, NULL);
    finish(10);
}
END_TEST

static void add_tests(TCase *t)
{
    if (!may_make_namespaces()) {
        (void)fprintf(stderr, "skipped: no right to make a process namespace (run as root)\n");
        return;
    }
    tcase_set_timeout(t, 20);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_run_from_ready_to_result);
    tcase_add_test(t, a_lonely_worker_is_only_stopped);
    tcase_add_loop_test(t, a_worker_that_is_gone_has_its_real_status, 0,
                        sizeof(deaths) / sizeof(*deaths));
    tcase_add_test(t, an_end_report_of_a_worker_that_then_died_counts);
    tcase_add_test(t, the_first_deadline_is_a_signal_and_the_second_the_end);
    tcase_add_test(t, a_worker_that_heeds_the_first_deadline_is_not_waited_for);
    tcase_add_test(t, cancel_ends_a_run_at_once);
    tcase_add_test(t, the_end_of_a_run_waits_for_what_was_sent);
    tcase_add_test(t, a_cancel_ends_that_wait);
    tcase_add_test(t, the_time_of_the_run_ends_that_wait);
    tcase_add_test(t, cancel_before_go_runs_nothing);
    tcase_add_test(t, an_input_that_cannot_be_written_ends_the_run_before_it_began);
    tcase_add_test(t, output_past_the_hard_cap_ends_the_run);
    tcase_add_test(t, a_reader_that_does_not_read_loses_nothing);
    tcase_add_test(t, what_a_worker_may_not_send_ends_its_run);
    tcase_add_test(t, a_kept_worker_serves_again_without_its_other_processes);
    tcase_add_test(t, standard_input_flows_before_and_after_go);
    tcase_add_test(t, files_are_gathered_behind_the_end);
    tcase_add_test(t, answers_are_carried_to_the_worker);
    tcase_add_test(t, answers_that_the_worker_took_are_credited);
    tcase_add_test(t, answers_that_the_worker_does_not_take_hold_up_nothing);
    tcase_add_loop_test(t, only_validation_can_say_that_it_blocked_the_program, 0, 3);
    tcase_add_loop_test(t, a_breach_by_the_front_ends_everything, 0,
                        sizeof(breaches) / sizeof(*breaches));
    tcase_add_test(t, garbage_from_the_front_ends_everything);
    tcase_add_loop_test(t, a_worker_that_is_no_use_ends_everything, 0,
                        sizeof(useless) / sizeof(*useless));
    tcase_add_test(t, the_end_of_the_stream_ends_everything);
    tcase_add_test(t, a_signal_from_outside_ends_everything_and_one_from_inside_nothing);
    tcase_add_test(t, limits_of_pid_1_cannot_be_touched);
}

UNIT_MAIN("warden loop", add_tests)
