#include "porter_rig.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
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

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

static const char *below(const struct rig *r, const char *path, char out[1200])
{
    (void)snprintf(out, 1200, "%s/%s", r->dir, path);
    return out;
}

void rig_init(struct rig *r, uid_t uid)
{
    char path[100];

    *r = (struct rig){.fd = -1};
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
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(r->dir, uid, uid), 0);
        ck_assert_int_eq(chown(r->outside, uid, uid), 0);
        ck_assert_int_eq(chown(path, uid, uid), 0);
    }
}

static void serve(const char *dir, int fd, struct err *err)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)!porter_serve(dir_fd, fd, err);
}

void rig_start(struct rig *r, const char *dir, enum rig_mode mode)
{
    struct err err = {0};
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    r->pid = fork();
    ck_assert_int_ge(r->pid, 0);
    if (r->pid == 0) {
        (void)close(pair[0]);
        if (mode == RIG_USER_4243 && (setgid(4243) < 0 || setuid(4243) < 0))
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

int rig_wait(struct rig *r)
{
    int status;

    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
    ck_assert_int_eq(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void rig_done(struct rig *r)
{
    if (r->pid) {
        (void)kill(r->pid, SIGKILL);
        (void)rig_wait(r);
    }
    ck_assert_int_eq(nftw(r->base, remove_one, 40, FTW_DEPTH | FTW_PHYS), 0);
}

void rig_write(const struct rig *r, const char *path, const char *text)
{
    char full[1200];

    write_file(below(r, path, full), text);
}

void rig_mkdir(const struct rig *r, const char *path)
{
    char full[1200];

    ck_assert_int_eq(mkdir(below(r, path, full), 0755), 0);
}

void rig_link(const struct rig *r, const char *target, const char *path)
{
    char full[1200];

    ck_assert_int_eq(symlink(target, below(r, path, full)), 0);
}

char *rig_read(const struct rig *r, const char *path)
{
    char full[1200], *data;
    size_t n;

    return io_read_file(below(r, path, full), 1 << 20, &data, &n, NULL) == 0 ? data : NULL;
}

int rig_has(const struct rig *r, const char *path)
{
    char full[1200];
    struct stat st;

    return lstat(below(r, path, full), &st) == 0;
}

void rig_check_outside(const struct rig *r)
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

int rig_put(struct workspace *w, const char *path, const char *text, mode_t mode, struct err *err)
{
    uint64_t token;
    int fd;

    if (workspace_create(w, strlen(text), &fd, &token, err) < 0)
        return -1;
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
    return workspace_commit(w, token, path, mode, err);
}

char *rig_list(struct workspace *w)
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

void rig_ask(int fd, struct porter_ask *ask, const char *path)
{
    ask->path_len = path ? (uint32_t)strlen(path) : 0;
    if (path)
        memcpy(ask->path, path, ask->path_len);
    ck_assert_int_eq(io_send_msg(fd, ask, PORTER_ASK_HEAD + ask->path_len, -1), 0);
}
