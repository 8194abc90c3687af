#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frames/frame.h"
#include "guard.h"

enum {
    STOP_MS = 200,
    KILL_ALL_MS = 5000,
    KILL_OTHERS_MS = 2000,
    WORKER_FDS = 5, /* 0 to 4 in the worker */
    FIRST_FREE_FD = 10,
};

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Moves `*fd` out of the way of the descriptors that the worker gets. */
static int move_up(int *fd)
{
    int up = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

    if (*fd >= 0)
        (void)close(*fd);
    *fd = up;
    return up < 0 ? -1 : 0;
}

static int make_pipe(int *ret_read, int *ret_write)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    *ret_read = p[0];
    *ret_write = p[1];
    if (move_up(ret_read) < 0 || move_up(ret_write) < 0)
        return -1;
    return fcntl(*ret_read, F_SETFL, O_NONBLOCK);
}

static int make_control(int *ret_mine, int *ret_theirs)
{
    int p[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
        return -1;
    *ret_mine = p[0];
    *ret_theirs = p[1];
    if (move_up(ret_mine) < 0 || move_up(ret_theirs) < 0)
        return -1;
    return fcntl(*ret_mine, F_SETFL, O_NONBLOCK);
}

static int make_stdin(int *ret_mine, int *ret_theirs)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    *ret_theirs = p[0];
    *ret_mine = p[1];
    if (move_up(ret_mine) < 0 || move_up(ret_theirs) < 0)
        return -1;
    return fcntl(*ret_mine, F_SETFL, O_NONBLOCK);
}

int child_new_stdin(struct child *c)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    uint8_t head[FRAME_HEAD];
    struct iovec part = {.iov_base = head, .iov_len = sizeof(head)};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
    int mine = -1, theirs = -1;
    bool is_sent;

    frame_put_head(head, FRAME_STDIN, 0, 0, 0);
    if (make_stdin(&mine, &theirs) == 0) {
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cm), &theirs, sizeof(int));
    }
    is_sent = theirs >= 0 && sendmsg(c->control_fd, &m, MSG_NOSIGNAL) == FRAME_HEAD;
    if (theirs >= 0)
        (void)close(theirs);
    if (is_sent)
        return mine;
    if (mine >= 0)
        (void)close(mine);
    return -1;
}

static void write_oom_score(const char *text)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!write(fd, text, strlen(text));
    (void)close(fd);
}

/* In the new process, until exec. It inherits that pid 1 is not dumpable: /proc/self is closed. */
static void __attribute__((noreturn)) become_worker(const struct child_options *o,
                                                    const int fds[WORKER_FDS])
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid();
    if (o->oom_score) {
        (void)prctl(PR_SET_DUMPABLE, 1);
        write_oom_score(o->oom_score);
    }
    for (int i = 0; i < WORKER_FDS; i++) {
        if (dup2(fds[i], i) < 0)
            _exit(126);
    }
    /* Without a work directory it starts all the same: the first run then tells. */
    (void)!chdir(o->work_dir);
    if (guard_install() < 0)
        _exit(126);
    (void)execv(o->argv[0], (char *const *)(uintptr_t)o->argv);
    _exit(127);
}

static int block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int launch(struct child *c, const struct child_options *o, int theirs[WORKER_FDS],
                  int *ret_stdin)
{
    char path[40];

    c->signal_fd = block_signals();
    theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (c->signal_fd < 0 || move_up(&theirs[0]) < 0 || make_pipe(&c->out_fd, &theirs[1]) < 0 ||
        make_pipe(&c->err_fd, &theirs[2]) < 0 || make_control(&c->control_fd, &theirs[3]) < 0 ||
        make_stdin(ret_stdin, &theirs[4]) < 0)
        return -1;
    c->pid = fork();
    if (c->pid < 0)
        return -1;
    if (c->pid == 0)
        become_worker(o, theirs);
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)c->pid);
    c->task_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

int child_start(struct child *c, const struct child_options *o, int *ret_stdin)
{
    int theirs[WORKER_FDS] = {-1, -1, -1, -1, -1};
    int done;

    *c = (struct child){
        .out_fd = -1, .err_fd = -1, .control_fd = -1, .task_fd = -1, .signal_fd = -1};
    done = launch(c, o, theirs, ret_stdin);
    for (int i = 0; i < WORKER_FDS; i++) {
        if (theirs[i] >= 0)
            (void)close(theirs[i]);
    }
    return done;
}

static void note_death(struct child *c, pid_t pid, int status)
{
    if (pid != c->pid)
        return;
    c->pid = 0;
    c->status = status;
}

void child_reap(struct child *c)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        note_death(c, pid, status);
}

/* Only the kernel's own kill from another pid namespace looks like this; nobody can forge it. */
static bool is_from_outside(const struct signalfd_siginfo *s)
{
    return s->ssi_signo == SIGTERM && s->ssi_code == SI_USER && s->ssi_pid == 0;
}

void child_take_signals(struct child *c)
{
    struct signalfd_siginfo info[4];
    ssize_t n;

    do {
        n = read(c->signal_fd, info, sizeof(info));
        for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(*info); i++)
            c->is_told |= is_from_outside(&info[i]);
    } while (n == (ssize_t)sizeof(info));
}

/* Waits for the next change of a child, at most until `deadline`. False when that has passed. */
static bool wait_for_change(struct child *c, int64_t deadline)
{
    struct pollfd p = {.fd = c->signal_fd, .events = POLLIN};
    int64_t left = deadline - now_ms();

    if (left <= 0)
        return false;
    if (poll(&p, 1, (int)left) > 0)
        child_take_signals(c);
    return true;
}

int child_stop(struct child *c)
{
    int64_t deadline = now_ms() + STOP_MS;

    if (c->pid == 0 || kill(c->pid, SIGSTOP) < 0)
        return -1;
    while (wait_for_change(c, deadline)) {
        int status;
        pid_t pid = waitpid(c->pid, &status, WUNTRACED | WNOHANG);

        if (pid > 0 && WIFSTOPPED(status))
            return 0;
        if (pid != 0) {
            note_death(c, pid, status);
            return -1;
        }
    }
    return -1;
}

void child_continue(const struct child *c)
{
    if (c->pid)
        (void)kill(c->pid, SIGCONT);
}

bool child_is_alone(const struct child *c, bool is_counted, size_t tasks)
{
    struct stat st;

    if (!is_counted || c->pid == 0 || fstat(c->task_fd, &st) < 0)
        return false;
    /* One link per thread beside "." and "..", and the warden itself is a task. */
    return st.st_nlink > 2 && tasks == st.st_nlink - 2 + 1;
}

void child_kill_all(struct child *c)
{
    int64_t deadline = now_ms() + KILL_ALL_MS;

    do {
        int status;
        pid_t pid;

        (void)kill(-1, SIGKILL);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            note_death(c, pid, status);
        if (pid < 0)
            return;
    } while (wait_for_change(c, deadline));
}

/* A process that is dead already but not yet collected by its parent. */
static bool is_zombie(int proc_fd, const char *pid)
{
    char path[32], text[512];
    const char *state;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "%.20s/stat", pid);
    fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    /* The state follows the name, which stands in parentheses and may itself contain some. */
    state = strrchr(text, ')');
    return !state || strncmp(state, ") Z", 3) == 0 || strncmp(state, ") X", 3) == 0;
}

/* Kills each living process that /proc shows but pid 1 and the worker; says how many there were. */
static int kill_listed(const struct child *c)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    int found = 0;

    if (!proc)
        return 0;
    while ((entry = readdir(proc))) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);

        if (*end || pid <= 1 || pid == c->pid || is_zombie(dirfd(proc), entry->d_name))
            continue;
        found++;
        (void)kill((pid_t)pid, SIGKILL);
    }
    (void)closedir(proc);
    return found;
}

int child_kill_others(struct child *c)
{
    int64_t deadline = now_ms() + KILL_OTHERS_MS;

    for (;;) {
        child_reap(c);
        if (kill_listed(c) == 0)
            return 0;
        if (now_ms() >= deadline)
            return -1;
        /* Who is a child of the worker is reaped by the worker, so no signal may come here. */
        (void)poll(NULL, 0, 1);
    }
}
