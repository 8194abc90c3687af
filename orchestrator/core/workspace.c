/*
 * The front's end of the pair to a porter. Many threads ask at once. There is no receiving thread,
 * which would cost every answer a switch more: of those that wait one reads, for itself and for the
 * others, and when it has its own answer it passes the reading on.
 */
#include "core/workspace.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/porter_wire.h"

enum { PATIENCE_MS = 10000 }; /* without any answer the porter, or its disk, hangs */

/* One question under way; lives on its asker's stack. */
struct question {
    struct porter_ask ask;
    pthread_cond_t turn; /* something about it changed, or the reading is free */
    bool is_done, is_lost;
    int64_t deadline_ms; /* moved on by every answer to it */

    struct porter_answer_head {
        uint32_t fault;
        int32_t sys;
        uint64_t token;
    } answer;
    int fd;
    struct workspace_entry *list;
    size_t list_n, list_cap;
    TAILQ_ENTRY(question) link;
};

TAILQ_HEAD(question_list, question);

/* A connection to one porter. It goes with its last user. */
struct conn {
    int fd;
    unsigned users;
    bool is_lost, has_reader;
    struct question_list questions;
    struct porter_answer room; /* of the reader */
};

struct workspace {
    uint64_t quota;
    int64_t patience_ms;
    pthread_condattr_t clock; /* conditions wait by the monotonic clock */
    pthread_mutex_t lock;     /* guards what follows, and every conn */
    struct conn *conn;        /* NULL: no porter */
    uint64_t seq;
};

/* ---- connections; under the lock ---- */

static void release(struct conn *c)
{
    if (--c->users)
        return;
    (void)close(c->fd);
    free(c);
}

static void lose(struct conn *c)
{
    struct question *q;

    c->is_lost = true;
    (void)shutdown(c->fd, SHUT_RDWR); /* whoever reads or writes now comes back */
    TAILQ_FOREACH (q, &c->questions, link) {
        q->is_lost = true;
        (void)pthread_cond_signal(&q->turn);
    }
}

static void set_conn(struct workspace *w, struct conn *c)
{
    struct conn *old = w->conn;

    w->conn = c;
    if (!old)
        return;
    lose(old);
    release(old);
}

static struct conn *conn_new(int fd)
{
    const struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
    struct conn *c;

    if (fd < 0)
        return NULL;
    /* A porter that takes nothing any more is lost after that time. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    c = xcalloc(1, sizeof(*c));
    c->fd = fd;
    c->users = 1;
    TAILQ_INIT(&c->questions);
    return c;
}

struct workspace *workspace_new(int fd, uint64_t quota)
{
    struct workspace *w = xcalloc(1, sizeof(*w));

    w->quota = quota < PORTER_BYTES_MAX ? quota : PORTER_BYTES_MAX;
    w->patience_ms = PATIENCE_MS;
    w->conn = conn_new(fd);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&w->clock);
    (void)pthread_condattr_setclock(&w->clock, CLOCK_MONOTONIC);
    return w;
}

void workspace_free(struct workspace *w)
{
    if (!w)
        return;
    set_conn(w, NULL);
    (void)pthread_condattr_destroy(&w->clock);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

void workspace_set_fd(struct workspace *w, int fd)
{
    struct conn *c = conn_new(fd);

    (void)pthread_mutex_lock(&w->lock);
    set_conn(w, c);
    (void)pthread_mutex_unlock(&w->lock);
}

void workspace_set_patience(struct workspace *w, int64_t ms)
{
    w->patience_ms = ms;
}

bool workspace_is_up(struct workspace *w)
{
    bool is_up;

    (void)pthread_mutex_lock(&w->lock);
    is_up = w->conn && !w->conn->is_lost;
    (void)pthread_mutex_unlock(&w->lock);
    return is_up;
}

/* ---- answers; under the lock ---- */

static struct question *find(struct conn *c, uint64_t seq)
{
    struct question *q;

    TAILQ_FOREACH (q, &c->questions, link) {
        if (q->ask.seq == seq)
            return q;
    }
    return NULL;
}

static bool is_regular(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Nobody waits for it, or not any more. */
static void give_back(struct conn *c, const struct porter_answer *a, int fd)
{
    struct porter_ask drop = {.type = PORTER_DROP, .token = a->token};

    if (fd >= 0)
        (void)close(fd);
    if (a->type == PORTER_CREATE && !a->fault)
        (void)io_send_msg(c->fd, &drop, PORTER_ASK_HEAD, -1);
}

static bool add_entries(struct question *q, const struct porter_answer *a)
{
    struct porter_entry e;
    size_t at = 0;

    if (a->count > PORTER_ENTRIES_MAX - q->list_n)
        return false;
    if (q->list_n + a->count > q->list_cap) {
        q->list_cap = 2 * (q->list_n + a->count);
        q->list = xarray(q->list, q->list_cap, sizeof(*q->list));
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!porter_entry_get(a, &at, &e))
            return false;
        q->list[q->list_n++] = (struct workspace_entry){
            .path = xstrndup(e.path, e.path_len),
            .is_dir = e.is_dir,
            .mode = (mode_t)e.mode,
            .size = e.size,
            .mtime_ns = e.mtime_ns,
        };
    }
    return at == a->data_len;
}

/* Takes `fd` over. False: the porter broke the protocol. */
static bool deliver(struct workspace *w, struct conn *c, ssize_t n, int fd)
{
    const struct porter_answer *a = &c->room;
    struct question *q;

    if (!porter_answer_is_valid(a, n, fd >= 0) || (fd >= 0 && !is_regular(fd))) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    q = find(c, a->seq);
    if (!q || q->is_done) {
        give_back(c, a, fd);
        return true;
    }
    if (fd >= 0) /* such an answer comes once: see porter_answer_is_valid */
        q->fd = fd;
    if (a->type != q->ask.type || !add_entries(q, a))
        return false;
    q->answer = (struct porter_answer_head){a->fault, a->sys, a->token};
    q->deadline_ms = clock_ms() + w->patience_ms;
    q->is_done = a->is_last;
    if (q->is_done)
        (void)pthread_cond_signal(&q->turn);
    return true;
}

/* ---- waiting; the lock is held but for the reading itself ---- */

/* Reads one answer, whosever it is. False: none came until the asker's deadline. */
static bool read_answer(struct workspace *w, struct conn *c, int64_t deadline_ms)
{
    ssize_t n = -1;
    int fd = -1, ready;

    c->has_reader = true;
    (void)pthread_mutex_unlock(&w->lock);
    ready = io_wait(c->fd, POLLIN, deadline_ms);
    if (ready > 0)
        n = io_recv_msg(c->fd, &c->room, sizeof(c->room), &fd);
    (void)pthread_mutex_lock(&w->lock);
    c->has_reader = false;
    if (ready == 0)
        return false;
    if (n <= 0) {
        lose(c);
    } else if (!deliver(w, c, n, fd)) {
        log_warning("workspace: the porter broke the protocol");
        lose(c);
    }
    return true;
}

static bool wait_turn(struct workspace *w, struct question *q)
{
    const struct timespec until = {.tv_sec = q->deadline_ms / 1000,
                                   .tv_nsec = q->deadline_ms % 1000 * 1000000};

    return pthread_cond_timedwait(&q->turn, &w->lock, &until) != ETIMEDOUT;
}

static void await(struct workspace *w, struct conn *c, struct question *q)
{
    bool in_time = true;

    while (!q->is_done && !q->is_lost && in_time) {
        in_time = c->has_reader ? wait_turn(w, q) : read_answer(w, c, q->deadline_ms);
        in_time = in_time || clock_ms() < q->deadline_ms;
    }
}

static void leave(struct conn *c, struct question *q)
{
    struct question *next;

    TAILQ_REMOVE(&c->questions, q, link);
    next = TAILQ_FIRST(&c->questions);
    if (next && !c->has_reader)
        (void)pthread_cond_signal(&next->turn);
}

static void forget_answer(struct question *q)
{
    if (q->fd >= 0)
        (void)close(q->fd);
    q->fd = -1;
    workspace_entries_free(q->list, q->list_n);
    q->list = NULL;
    q->list_n = 0;
}

/* ---- questions ---- */

static int fault_err(const struct question *q, struct err *err)
{
    static const struct {
        enum err_kind kind;
        const char *text;
    } faults[PORTER_FAULTS] = {
        [PORTER_FINE] = {ERR_NONE,     ""                                                   },
        [PORTER_GONE] = {ERR_NOTFOUND, "there is no such file"                              },
        [PORTER_NAME] = {ERR_INVALID,  "the name is reserved"                               },
        [PORTER_IS_DIR] = {ERR_INVALID,  "a directory of that name stands there"              },
        [PORTER_NO_DIR] = {ERR_DENIED,   "a link or a file stands where a directory is needed"},
        [PORTER_CHANGED] = {ERR_BUSY,     "it has changed meanwhile"                           },
        [PORTER_NOT_EMPTY] = {ERR_BUSY,     "the directory is not empty"                         },
        [PORTER_QUOTA] = {ERR_LIMIT,    "over the workspace's quota"                         },
        [PORTER_ENTRIES] = {ERR_LIMIT,    "too many files and directories"                     },
        [PORTER_BUSY] = {ERR_BUSY,     "too much at once"                                   },
        [PORTER_SPACE] = {ERR_LIMIT,    "no space left"                                      },
        [PORTER_DENIED] = {ERR_DENIED,   "the directory's owner has no right to"              },
        [PORTER_TOKEN] = {ERR_NOTFOUND, "the file is no longer under way"                    },
        [PORTER_SYSTEM] = {ERR_INTERNAL, "system error"                                       },
    };
    const char *sys = q->answer.sys ? strerrordesc_np(q->answer.sys) : NULL;
    uint32_t f = q->answer.fault;

    (void)err_set(err, faults[f].kind, "workspace: %s%s%s", faults[f].text, sys ? ": " : "",
                  sys ? sys : "");
    if (err)
        err->sys = q->answer.sys;
    return -1;
}

static int outcome(const struct question *q, struct err *err)
{
    if (q->is_done)
        return q->answer.fault ? fault_err(q, err) : 0;
    if (q->is_lost)
        return err_set(err, ERR_BUSY, "the workspace was lost");
    return err_set(err, ERR_TIMEOUT, "the workspace does not answer");
}

/* Asks and waits for the whole answer. */
static int ask(struct workspace *w, struct question *q, struct err *err)
{
    struct conn *c;
    bool was_sent;
    int rc;

    (void)pthread_mutex_lock(&w->lock);
    c = w->conn;
    if (!c || c->is_lost) {
        (void)pthread_mutex_unlock(&w->lock);
        return err_set(err, ERR_BUSY, "the workspace is not there now");
    }
    c->users++;
    q->ask.seq = ++w->seq;
    q->fd = -1;
    q->deadline_ms = clock_ms() + w->patience_ms;
    (void)pthread_cond_init(&q->turn, &w->clock);
    TAILQ_INSERT_TAIL(&c->questions, q, link);
    (void)pthread_mutex_unlock(&w->lock);

    was_sent = io_send_msg(c->fd, &q->ask, PORTER_ASK_HEAD + q->ask.path_len, -1) == 0;

    (void)pthread_mutex_lock(&w->lock);
    if (!was_sent)
        lose(c);
    await(w, c, q);
    leave(c, q);
    release(c);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_cond_destroy(&q->turn);
    rc = outcome(q, err);
    if (rc < 0)
        forget_answer(q);
    return rc;
}

static int set_path(struct question *q, const char *path, struct err *err)
{
    size_t n = strlen(path);

    if (path_check(path, n, err) < 0)
        return -1;
    memcpy(q->ask.path, path, n);
    q->ask.path_len = (uint32_t)n;
    return 0;
}

void workspace_entries_free(struct workspace_entry *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i].path);
    free(list);
}

int workspace_list(struct workspace *w, struct workspace_entry **ret, size_t *ret_n,
                   struct err *err)
{
    struct question q = {.ask = {.type = PORTER_LIST}};

    if (ask(w, &q, err) < 0)
        return -1;
    *ret = q.list;
    *ret_n = q.list_n;
    return 0;
}

int workspace_open(struct workspace *w, const char *path, int *ret_fd, struct err *err)
{
    struct question q = {.ask = {.type = PORTER_OPEN}};

    if (set_path(&q, path, err) < 0 || ask(w, &q, err) < 0)
        return -1;
    *ret_fd = q.fd;
    return 0;
}

int workspace_create(struct workspace *w, uint64_t size, int *ret_fd, uint64_t *ret_token,
                     struct err *err)
{
    struct question q = {
        .ask = {.type = PORTER_CREATE, .size = size, .quota = w->quota},
    };

    if (size > w->quota)
        return err_set(err, ERR_LIMIT, "workspace: over the workspace's quota");
    if (ask(w, &q, err) < 0)
        return -1;
    *ret_fd = q.fd;
    *ret_token = q.answer.token;
    return 0;
}

int workspace_commit(struct workspace *w, uint64_t token, const char *path, mode_t mode,
                     struct err *err)
{
    struct question q = {
        .ask = {.type = PORTER_COMMIT, .token = token, .mode = mode & 0777, .quota = w->quota},
    };

    if (set_path(&q, path, err) < 0) {
        workspace_drop(w, token);
        return -1;
    }
    return ask(w, &q, err);
}

void workspace_drop(struct workspace *w, uint64_t token)
{
    struct porter_ask drop = {.type = PORTER_DROP, .token = token};
    struct conn *c;

    (void)pthread_mutex_lock(&w->lock);
    c = w->conn;
    if (c)
        c->users++;
    (void)pthread_mutex_unlock(&w->lock);
    if (!c)
        return;
    /* No answer comes; a porter that is gone drops everything anyway. */
    (void)io_send_msg(c->fd, &drop, PORTER_ASK_HEAD, -1);
    (void)pthread_mutex_lock(&w->lock);
    release(c);
    (void)pthread_mutex_unlock(&w->lock);
}

int workspace_make_dir(struct workspace *w, const char *path, struct err *err)
{
    struct question q = {.ask = {.type = PORTER_MAKE_DIR}};

    return set_path(&q, path, err) < 0 ? -1 : ask(w, &q, err);
}

int workspace_remove(struct workspace *w, const char *path, int64_t mtime_ns, struct err *err)
{
    struct question q = {
        .ask = {.type = PORTER_REMOVE, .mtime_ns = mtime_ns}
    };

    return set_path(&q, path, err) < 0 ? -1 : ask(w, &q, err);
}
