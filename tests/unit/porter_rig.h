#ifndef TESTS_PORTER_RIG_H
#define TESTS_PORTER_RIG_H

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "core/porter.h"
#include "core/porter_wire.h"
#include "core/workspace.h"
#include "unit.h"

#define RIG __attribute__((unused)) static

/*
 * valgrind lives in the process that it looks at: it needs memory that may be executed to go on
 * behind the porter's filter, and looks for signals. There it has both; all else stays refused.
 */
int seccomp_load(const scmp_filter_ctx ctx)
{
    int (*load)(scmp_filter_ctx) = (int (*)(scmp_filter_ctx))dlsym(RTLD_NEXT, "seccomp_load");

    if (RUNNING_ON_VALGRIND &&
        (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 0) < 0 ||
         seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(rt_sigtimedwait), 0) < 0))
        return -1;
    return load(ctx);
}

/* A directory, a second one that nobody may reach from the first, and a porter. */
struct rig {
    char base[64];    /* holds both; removed at the end */
    char dir[80];     /* the workspace */
    char outside[80]; /* holds "secret", 0644 */
    uid_t uid;        /* their owner, where we are root */
    pid_t pid;        /* of the porter; 0: none */
    int fd;           /* our end of the pair; -1 once it was handed on */
};

enum rig_mode {
    RIG_RUN,       /* porter_run, as whoever runs the test; SERVE where lines are counted */
    RIG_SERVE,     /* porter_serve as the owner: the paths alone must hold, without chroot */
    RIG_USER_4243, /* porter_run by a user who is not root */
    RIG_CONFINED,  /* porter_run in any case */
};

/* What a test puts into the workspace is its owner's. */
RIG void give_away(const struct rig *r, const char *path)
{
    if (geteuid() == 0)
        ck_assert_int_eq(lchown(path, r->uid, r->uid), 0);
}

RIG void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

RIG const char *below(const struct rig *r, const char *path, char out[1200])
{
    (void)snprintf(out, 1200, "%s/%s", r->dir, path);
    return out;
}

/* The directory belongs to `uid`, where we are root. No porter yet. */
RIG void rig_init(struct rig *r, uid_t uid)
{
    char path[100];

    *r = (struct rig){.fd = -1, .uid = uid};
    /* Some tests make tens of thousands of files: in memory where there is such a place. */
    (void)snprintf(r->base, sizeof(r->base), "%s/oneshot-porter-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(r->base));
    ck_assert_int_eq(chmod(r->base, 0755), 0);
    (void)snprintf(r->dir, sizeof(r->dir), "%s/in", r->base);
    (void)snprintf(r->outside, sizeof(r->outside), "%s/outside", r->base);
    ck_assert_int_eq(mkdir(r->dir, 0755), 0);
    ck_assert_int_eq(mkdir(r->outside, 0777), 0);
    ck_assert_int_eq(chmod(r->outside, 0777), 0);
    (void)snprintf(path, sizeof(path), "%s/secret", r->outside);
    write_file(path, "secret");
    give_away(r, r->dir);
    give_away(r, r->outside);
    give_away(r, path);
}

/* There where the counting of lines is compiled in; exit() then writes the counts. */
struct gcov_info;
extern void __gcov_init(struct gcov_info *info) __attribute__((weak));

RIG bool counts_lines(void)
{
    return __gcov_init != NULL;
}

/* As the directory's owner, but able to come back. */
RIG void serve(const char *dir, int fd, struct err *err)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    if (geteuid() == 0 &&
        (fstat(dir_fd, &st) < 0 || setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0))
        _exit(ERR_INTERNAL);
    (void)!porter_serve(dir_fd, fd, err);
    (void)!seteuid(getuid());
    if (counts_lines())
        exit((int)err->kind);
}

/* Starts a porter on `dir` in a process of its own. */
RIG void rig_start(struct rig *r, const char *dir, enum rig_mode mode)
{
    struct err err = {0};
    int pair[2];

    if (mode == RIG_RUN && counts_lines())
        mode = RIG_SERVE;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    r->pid = fork();
    ck_assert_int_ge(r->pid, 0);
    if (r->pid == 0) {
        (void)close(pair[0]);
        if (mode == RIG_USER_4243 && geteuid() == 0 && (setgid(4243) < 0 || setuid(4243) < 0))
            _exit(ERR_INTERNAL);
        if (mode == RIG_SERVE)
            serve(dir, pair[1], &err);
        else
            (void)!porter_run(dir, pair[1], &err);
        _exit((int)err.kind);
    }
    (void)close(pair[1]);
    r->fd = pair[0];
}

struct child {
    int (*body)(const void *arg);
    const void *arg;
};

RIG int run_child(void *arg)
{
    const struct child *c = arg;

    _exit(c->body(c->arg));
}

RIG pid_t start_child(struct child *c)
{
    static char stack[1024 * 1024];
    pid_t pid;

    if (counts_lines())
        return clone(run_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, c);
    pid = fork();
    if (pid == 0)
        (void)run_child(c);
    return pid;
}

/*
 * Runs `body` in a process of its own; its exit status. Where lines are counted it shares our
 * memory, because a process that has given up its rights cannot write its counts anywhere.
 */
RIG int rig_in_child(int (*body)(const void *arg), const void *arg)
{
    struct child c = {body, arg};
    pid_t pid = start_child(&c);
    int status;

    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Closes our end if it is still here, waits for the porter: its error kind, or 128 + signal. */
RIG int rig_wait(struct rig *r)
{
    int status;

    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
    ck_assert_int_eq(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

RIG int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* Waits as well, if there is a porter still; removes everything. */
RIG void rig_done(struct rig *r)
{
    if (r->pid)
        (void)rig_wait(r);
    ck_assert_int_eq(nftw(r->base, remove_one, 40, FTW_DEPTH | FTW_PHYS), 0);
}

/* Below the workspace. */
RIG void rig_write(const struct rig *r, const char *path, const char *text)
{
    char full[1200];

    write_file(below(r, path, full), text);
    give_away(r, full);
}

/* `n` empty files, their names numbered behind `prefix`; links to one file, which is quick. */
RIG void rig_write_many(const struct rig *r, const char *prefix, int n)
{
    int dir = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char first[60], path[60];

    (void)snprintf(first, sizeof(first), "%s0", prefix);
    rig_write(r, first, "");
    for (int i = 1; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s%d", prefix, i);
        MUST(linkat(dir, first, dir, path, 0) == 0);
    }
    ck_assert_int_eq(close(dir), 0);
}

RIG void rig_mkdir(const struct rig *r, const char *path)
{
    char full[1200];

    ck_assert_int_eq(mkdir(below(r, path, full), 0755), 0);
    give_away(r, full);
}

RIG void rig_link(const struct rig *r, const char *target, const char *path)
{
    char full[1200];

    ck_assert_int_eq(symlink(target, below(r, path, full)), 0);
    give_away(r, full);
}

/* NULL: there is none. Caller frees. */
RIG char *rig_read(const struct rig *r, const char *path)
{
    char full[1200], *data;
    size_t n;

    return io_read_file(below(r, path, full), 1 << 20, &data, &n, NULL) == 0 ? data : NULL;
}

RIG int rig_has(const struct rig *r, const char *path)
{
    char full[1200];
    struct stat st;

    return lstat(below(r, path, full), &st) == 0;
}

/* The outside directory still holds its one file as it was. */
RIG void rig_check_outside(const struct rig *r)
{
    char path[100], *data;
    struct stat st;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/secret", r->outside);
    ck_assert_int_eq(io_read_file(path, 100, &data, &n, NULL), 0);
    ck_assert_str_eq(data, "secret");
    free(data);
    /* rmdir succeeds only when nothing else is there. */
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 1);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(r->outside), 0);
    ck_assert_int_eq(mkdir(r->outside, 0777), 0);
    write_file(path, "secret");
}

/* Creates, writes and commits. 0 or -1 with `err`. */
RIG int rig_put(struct workspace *w, const char *path, const char *text, mode_t mode,
                struct err *err)
{
    uint64_t token;
    int fd;

    if (workspace_create(w, strlen(text), &fd, &token, err) < 0)
        return -1;
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
    return workspace_commit(w, token, path, mode, err);
}

/* The paths of a list joined by blanks, directories with a slash behind. Caller frees. */
RIG char *rig_list(struct workspace *w)
{
    struct workspace_entry *list;
    struct err err = {0};
    struct buf b;
    size_t n;

    ck_assert_msg(workspace_list(w, &list, &n, &err) == 0, "%s", err.msg);
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < n; i++)
        (void)buf_fmt(&b, "%s%s%s", i ? " " : "", list[i].path, list[i].is_dir ? "/" : "");
    workspace_entries_free(list, n);
    if (!b.data)
        return xstrdup("");
    return buf_take(&b);
}

/* One question over the raw socket. */
RIG void rig_ask(int fd, struct porter_ask *ask, const char *path)
{
    ask->path_len = path ? (uint32_t)strlen(path) : 0;
    if (path)
        memcpy(ask->path, path, ask->path_len);
    ck_assert_int_eq(io_send_msg(fd, ask, PORTER_ASK_HEAD + ask->path_len, -1), 0);
}

#endif
