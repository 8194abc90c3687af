#include "core/porter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "core/porter_state.h"

static bool has_links(int dir_fd)
{
    struct stat st;

    return fstat(dir_fd, &st) == 0 && st.st_nlink > 0;
}

static struct porter *porter_new(int dir_fd, int fd)
{
    struct porter *p = xcalloc(1, sizeof(*p));

    p->dir_fd = dir_fd;
    p->fd = fd;
    p->tells_links = has_links(dir_fd);
    TAILQ_INIT(&p->listings);
    return p;
}

static void porter_free(struct porter *p)
{
    porter_lists_done(p);
    porter_files_done(p);
    free(p);
}

DEFINE_CLEANUP(struct porter *, porter_free)

static void answer_open(struct porter *p, const struct porter_ask *a, struct porter_answer *out,
                        int *ret_fd)
{
    int sys = 0;

    out->fault = porter_open_file(p, a, ret_fd, &sys);
    out->sys = sys;
}

static void answer_create(struct porter *p, const struct porter_ask *a, struct porter_answer *out,
                          int *ret_fd)
{
    int sys = 0, fd = -1;

    out->fault = porter_create(p, a, &fd, &out->token, &sys);
    out->sys = sys;
    if (out->fault)
        return;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (*ret_fd >= 0)
        return;
    out->fault = PORTER_SYSTEM;
    out->sys = errno;
    porter_drop(p, out->token);
}

static void answer_change(struct porter *p, const struct porter_ask *a, struct porter_answer *out)
{
    int sys = 0;

    if (a->type == PORTER_COMMIT)
        out->fault = porter_commit(p, a, &sys);
    else if (a->type == PORTER_MAKE_DIR)
        out->fault = porter_make_dir(p, a, &sys);
    else
        out->fault = porter_remove(p, a, &sys);
    out->sys = sys;
}

/* Answers one question. -1: the front is gone. */
static int answer(struct porter *p, const struct porter_ask *a)
{
    struct porter_answer *out = &p->answer;
    auto_fd int fd = -1;

    out->type = a->type;
    out->seq = a->seq;
    out->fault = PORTER_FINE;
    out->sys = 0;
    out->is_last = 1;
    out->count = out->data_len = 0;
    out->token = 0;
    switch ((enum porter_type)a->type) {
    case PORTER_LIST:
        out->fault = porter_list_begin(p, a->seq);
        if (!out->fault)
            return 0;
        break;
    case PORTER_OPEN:
        answer_open(p, a, out, &fd);
        break;
    case PORTER_CREATE:
        answer_create(p, a, out, &fd);
        break;
    case PORTER_DROP:
        porter_drop(p, a->token);
        return 0;
    case PORTER_COMMIT:
    case PORTER_MAKE_DIR:
    case PORTER_REMOVE:
        answer_change(p, a, out);
        break;
    case PORTER_TYPES:
        break;
    }
    return io_send_msg(p->fd, out, PORTER_ANSWER_HEAD, fd);
}

/* 1: a question was answered; 0: the front is gone; -1: no more of this. */
static int receive(struct porter *p, struct err *err)
{
    struct porter_ask ask;
    auto_fd int stray = -1;
    ssize_t n = io_recv_msg(p->fd, &ask, sizeof(ask), &stray);

    if (n == 0)
        return 0;
    if (n < 0)
        return err_sys(err, "receive a question");
    if (!porter_ask_is_valid(&ask, n))
        return err_set(err, ERR_PEER, "the front broke the protocol");
    if (p->tells_links && !has_links(p->dir_fd))
        return err_set(err, ERR_NOTFOUND, "the directory was deleted");
    return answer(p, &ask) < 0 ? 0 : 1;
}

int porter_serve(int dir_fd, int fd, struct err *err)
{
    CLEANUP(porter_free_p) struct porter *p = porter_new(dir_fd, fd);
    int rc = 1;

    porter_sweep(p);
    while (rc > 0) {
        bool has_listings = !TAILQ_EMPTY(&p->listings);

        if (!has_listings || io_wait(fd, POLLIN, 0) > 0)
            rc = receive(p, err);
        /* A question in between, then the next part: neither holds the other up. */
        if (rc > 0 && has_listings && porter_list_step(p) < 0)
            rc = 0;
    }
    return rc;
}

int porter_run(const char *dir, int fd, struct err *err)
{
    auto_fd int dir_fd = -1;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(022);
    if (porter_open_dir(dir, &dir_fd, err) < 0 || porter_confine(dir_fd, fd, err) < 0)
        return err_wrap(err, "workspace '%s'", dir);
    return porter_serve(dir_fd, fd, err) < 0 ? err_wrap(err, "workspace '%s'", dir) : 0;
}
