#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "warden.h"

enum {
    READER_CAP = 2 * (FRAME_HEAD + FRAME_MAX),
    EXIT_USAGE = 64,
};

static struct warden warden;
static struct known known;
static struct gather gathering;
static struct relay relay;
static uint8_t out_buf[WARDEN_OUT_CAP], in_buf[WARDEN_IN_CAP], stdin_buf[WARDEN_STDIN_CAP];
static uint8_t front_buf[READER_CAP], control_buf[FRAME_HEAD + FRAME_MAX];

/* -I: nothing of the environment or the work directory; -B: no bytecode is written. */
static const char *const worker_argv[] = {
    "/usr/bin/python3", "-I", "-B", "-X", "utf8", "/oneshot/worker", NULL,
};

/*
 * Makes the warden the last choice of the kernel when memory runs out, and reads what it was, for
 * the worker. Once it is not dumpable /proc/self belongs to root, so this comes first of all; there
 * is no other process yet.
 */
static void lower_oom_score(char old[16])
{
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, old, 15);

    old[n > 0 ? n : 0] = '\0';
    /* Without privileges no less than what the container began with is taken. */
    if (n > 0 && pwrite(fd, "-1000", 5, 0) < 0)
        (void)!pwrite(fd, "0", 1, 0);
    if (fd >= 0)
        (void)close(fd);
}

/* Nothing that libc or the kernel may write there gets into the stream. */
static int quiet_stderr(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return -1;
    return fd == STDERR_FILENO ? 0 : close(fd);
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void set_up(struct warden *w)
{
    const char *work_dir = getenv("ONESHOT_WORK");

    w->work_dir = work_dir && *work_dir ? work_dir : "/work";
    w->gather = &gathering;
    w->intake.known = &known;
    w->intake.file_fd = -1;
    w->intake.work_fd = open(w->work_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    queue_init(&w->out, out_buf, sizeof(out_buf));
    queue_init(&w->in, in_buf, sizeof(in_buf));
    queue_init(&w->feed.queue, stdin_buf, sizeof(stdin_buf));
    frame_reader_init(&w->front, front_buf, sizeof(front_buf));
    pump_init(&w->pump, &w->child, &w->out, control_buf, sizeof(control_buf));
    cgroup_open(&w->cgroup, "/sys/fs/cgroup");
}

/* Before there is a program that could listen there itself. */
static int set_up_relay(struct warden *w)
{
    relay.out = &w->out;
    relay.pump = &w->pump;
    if (relay_listen(&relay, getenv("ONESHOT_RELAY"), getenv("ONESHOT_PROXY")) < 0)
        return -1;
    w->relay = relay.listeners_n ? &relay : NULL;
    return 0;
}

int main(void)
{
    struct warden *w = &warden;
    struct child_options o = {.argv = worker_argv};
    char oom_score[16];
    int stdin_fd = -1;

    /* It uses kill(-1): anywhere but in a container of its own that would be a disaster. */
    if (getpid() != 1) {
        (void)fprintf(stderr, "the warden runs as pid 1 of a container only\n");
        return EXIT_USAGE;
    }
    lower_oom_score(oom_score);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    if (quiet_stderr() < 0 || set_nonblocking(FRONT_IN) < 0 || set_nonblocking(FRONT_OUT) < 0)
        return EXIT_FAILURE;
    set_up(w);
    if (set_up_relay(w) < 0)
        return EXIT_FAILURE;
    o.work_dir = w->work_dir;
    o.oom_score = oom_score;
    w->feed.fd = -1;
    if (child_start(&w->child, &o, &stdin_fd) < 0)
        return EXIT_FAILURE;
    feed_open(&w->feed, stdin_fd);
    return warden_loop(w);
}
