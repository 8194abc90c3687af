#include "core/link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"

enum {
    LINK_STACK = 128 * 1024,
    TAKE_SPARE_MS = 5000, /* beyond the keeper's own limit on the wait */
    STATS_MS = 2000,
    FATE_MS = 3000,
    TELL_MS = 3000, /* for room in the keeper's queue */
    POOLS_MAX = 4096,
    OWED_FIRST = 16,
};

/* One question under way; lives on its asker's stack. */
struct pending {
    uint64_t seq;
    uint32_t asked; /* enum handover_type */
    int event_fd;
    bool is_done, is_lost;
    struct handover answer;
    int fd;
    struct handover_pool *pools;
    size_t pools_n;
    TAILQ_ENTRY(pending) link;
};

TAILQ_HEAD(pending_list, pending);

struct link {
    pthread_t thread;
    int wake_fd; /* the receiving thread looks again */

    pthread_mutex_t lock; /* guards what follows */
    int fd;
    unsigned generation;
    bool is_stopping;
    uint64_t next_seq;
    struct pending_list pending;
    uint64_t *owed; /* containers to be given back once the keeper's queue has room */
    size_t owed_n, owed_cap;
};

static void wake(int event_fd)
{
    const uint64_t one = 1;

    (void)!write(event_fd, &one, sizeof(one));
}

static struct pending *find(struct link *l, uint64_t seq)
{
    struct pending *p;

    TAILQ_FOREACH (p, &l->pending, link) {
        if (p->seq == seq)
            return p;
    }
    return NULL;
}

static void add_pool(struct pending *p, const struct handover_pool *pool)
{
    if (p->pools_n >= POOLS_MAX)
        return;
    p->pools = xarray(p->pools, p->pools_n + 1, sizeof(*p->pools));
    p->pools[p->pools_n++] = *pool;
}

static bool answers(uint32_t asked, uint32_t type)
{
    if (asked == HANDOVER_TAKE)
        return type == HANDOVER_TAKEN || type == HANDOVER_REFUSED;
    if (asked == HANDOVER_FATE)
        return type == HANDOVER_FATE_IS;
    return type == HANDOVER_POOL || type == HANDOVER_COUNTS;
}

/* Under the lock. */
enum sent { SENT, NO_ROOM, NO_KEEPER };

static enum sent try_to_send(struct link *l, const struct handover *m)
{
    if (l->fd < 0)
        return NO_KEEPER;
    if (io_send_msg(l->fd, m, sizeof(*m), -1) == 0)
        return SENT;
    return errno == EAGAIN ? NO_ROOM : NO_KEEPER;
}

/* Under the lock. What finds no room is said later: the thread that receives cannot wait. */
static void pay(struct link *l)
{
    size_t n = 0;

    while (n < l->owed_n) {
        const struct handover done = {.type = HANDOVER_DONE, .member = l->owed[n]};

        if (try_to_send(l, &done) == NO_ROOM)
            break;
        n++;
    }
    l->owed_n -= n;
    if (n)
        memmove(l->owed, l->owed + n, l->owed_n * sizeof(*l->owed));
}

static void owe(struct link *l, uint64_t member)
{
    if (l->owed_n == l->owed_cap) {
        l->owed_cap = l->owed_cap ? 2 * l->owed_cap : OWED_FIRST;
        l->owed = xarray(l->owed, l->owed_cap, sizeof(*l->owed));
    }
    l->owed[l->owed_n++] = member;
    pay(l);
}

/* Under the lock. An answer that nobody waits for (any more) gives its container back. */
static void deliver(struct link *l, const struct handover *m, int fd)
{
    struct pending *p = find(l, m->seq);

    if (p && !answers(p->asked, m->type))
        p = NULL;
    if (fd >= 0 && m->type != HANDOVER_TAKEN) {
        (void)close(fd);
        fd = -1;
    }
    if (p && m->type == HANDOVER_POOL) {
        add_pool(p, &m->u.pool);
        return;
    }
    if (p) {
        p->answer = *m;
        p->fd = fd;
        p->is_done = true;
        TAILQ_REMOVE(&l->pending, p, link);
        wake(p->event_fd);
        return;
    }
    if (fd >= 0)
        (void)close(fd);
    if (m->type == HANDOVER_TAKEN)
        owe(l, m->member);
}

/* Under the lock. */
static void lose_keeper(struct link *l)
{
    struct pending *p;

    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
    l->owed_n = 0;
    l->generation++;
    while ((p = TAILQ_FIRST(&l->pending))) {
        p->is_lost = true;
        TAILQ_REMOVE(&l->pending, p, link);
        wake(p->event_fd);
    }
}

/* Under the lock. */
static void receive(struct link *l)
{
    for (;;) {
        struct handover m;
        int fd;
        ssize_t n = io_recv_msg(l->fd, &m, sizeof(m), &fd);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (!handover_is_valid(&m, n, false)) {
            if (fd >= 0)
                (void)close(fd);
            lose_keeper(l);
            return;
        }
        deliver(l, &m, fd);
    }
}

static void *run_link(void *arg)
{
    struct link *l = arg;
    bool stopping = false;

    while (!stopping) {
        struct pollfd p[2] = {
            {.fd = l->wake_fd, .events = POLLIN},
            {.fd = -1}
        };
        uint64_t count;

        (void)pthread_mutex_lock(&l->lock);
        p[1].fd = l->fd;
        p[1].events = (short)(POLLIN | (l->owed_n ? POLLOUT : 0));
        (void)pthread_mutex_unlock(&l->lock);
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            (void)!read(l->wake_fd, &count, sizeof(count));
        (void)pthread_mutex_lock(&l->lock);
        stopping = l->is_stopping;
        if (p[1].revents && p[1].fd == l->fd) {
            receive(l);
            pay(l);
        }
        (void)pthread_mutex_unlock(&l->lock);
    }
    return NULL;
}

int link_new(int fd, struct link **ret, struct err *err)
{
    struct link *l = xcalloc(1, sizeof(*l));
    pthread_attr_t attr;
    int rc;

    l->fd = fd;
    if (fd >= 0)
        (void)io_set_nonblocking(fd, true);
    TAILQ_INIT(&l->pending);
    (void)pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, LINK_STACK);
    rc = l->wake_fd < 0 ? errno : pthread_create(&l->thread, &attr, run_link, l);
    (void)pthread_attr_destroy(&attr);
    if (rc) {
        (void)pthread_mutex_destroy(&l->lock);
        if (l->wake_fd >= 0)
            (void)close(l->wake_fd);
        free(l);
        return err_set(err, ERR_INTERNAL, "cannot start the link to the keeper");
    }
    *ret = l;
    return 0;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    (void)pthread_mutex_lock(&l->lock);
    l->is_stopping = true;
    (void)pthread_mutex_unlock(&l->lock);
    wake(l->wake_fd);
    (void)pthread_join(l->thread, NULL);
    lose_keeper(l);
    (void)close(l->wake_fd);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->owed);
    free(l);
}

void link_set_fd(struct link *l, int fd)
{
    (void)io_set_nonblocking(fd, true);
    (void)pthread_mutex_lock(&l->lock);
    lose_keeper(l);
    l->fd = fd;
    (void)pthread_mutex_unlock(&l->lock);
    wake(l->wake_fd);
}

bool link_is_up(struct link *l)
{
    bool up;

    (void)pthread_mutex_lock(&l->lock);
    up = l->fd >= 0;
    (void)pthread_mutex_unlock(&l->lock);
    return up;
}

/* ---- questions ---- */

/* False: there was none in time. */
static bool wait_for_room(int fd, int64_t deadline_ms)
{
    (void)io_wait(fd, POLLOUT, deadline_ms);
    return clock_ms() < deadline_ms;
}

static int ask(struct link *l, struct handover *m, struct pending *p, unsigned *ret_generation,
               struct err *err)
{
    int64_t deadline = clock_ms() + TELL_MS;
    enum sent sent;
    int fd;

    p->event_fd = eventfd(0, EFD_CLOEXEC);
    if (p->event_fd < 0)
        return err_sys(err, "eventfd");
    p->asked = m->type;
    do {
        (void)pthread_mutex_lock(&l->lock);
        p->seq = m->seq = ++l->next_seq;
        sent = try_to_send(l, m);
        if (sent == SENT)
            TAILQ_INSERT_TAIL(&l->pending, p, link);
        *ret_generation = l->generation;
        fd = l->fd;
        (void)pthread_mutex_unlock(&l->lock);
    } while (sent == NO_ROOM && wait_for_room(fd, deadline));
    if (sent == SENT)
        return 0;
    (void)close(p->event_fd);
    return err_set(err, ERR_BUSY, "%s",
                   sent == NO_ROOM ? "the keeper has too much to do" : "the keeper is not there");
}

/* Takes the question back; false when the answer came first. */
static bool withdraw(struct link *l, struct pending *p)
{
    bool was_open;

    (void)pthread_mutex_lock(&l->lock);
    was_open = !p->is_done && !p->is_lost;
    if (was_open)
        TAILQ_REMOVE(&l->pending, p, link);
    (void)pthread_mutex_unlock(&l->lock);
    return was_open;
}

/* ERR_TIMEOUT or ERR_CANCELLED only if the question was withdrawn in time. */
static int await(struct link *l, struct pending *p, const struct link_wait *wait,
                 int64_t deadline_ms, struct err *err)
{
    struct pollfd f[3] = {
        {.fd = p->event_fd,                 .events = POLLIN   },
        {.fd = wait ? wait->client_fd : -1, .events = POLLRDHUP},
        {.fd = wait ? wait->cancel_fd : -1, .events = POLLIN   }
    };
    int n;

    do
        n = poll(f, 3, clock_left_ms(deadline_ms));
    while (n < 0 && errno == EINTR);
    /* Also what an answer wrote is read behind the lock, not behind the event alone. */
    if (withdraw(l, p)) {
        (void)close(p->event_fd);
        if (f[1].revents || f[2].revents)
            return err_set(err, ERR_CANCELLED, "the client is gone");
        return err_set(err, ERR_TIMEOUT, "the keeper did not answer in time");
    }
    (void)close(p->event_fd);
    if (p->is_lost)
        return err_set(err, ERR_BUSY, "the keeper was lost");
    return 0;
}

/*
 * No answer comes, so a message that is dropped is missed by nobody: a container that was given
 * back would live on until its deadline. Hence the wait for a keeper that has much to do.
 */
static void tell(struct link *l, const struct lease *lease, struct handover *m)
{
    int64_t deadline = clock_ms() + TELL_MS;
    enum sent sent;
    int fd;

    m->member = lease->member;
    do {
        (void)pthread_mutex_lock(&l->lock);
        sent = lease->generation == l->generation ? try_to_send(l, m) : NO_KEEPER;
        fd = l->fd;
        (void)pthread_mutex_unlock(&l->lock);
    } while (sent == NO_ROOM && wait_for_room(fd, deadline));
}

static void tell_cancel(struct link *l, uint64_t seq)
{
    struct handover m = {.type = HANDOVER_CANCEL, .seq = seq};

    (void)pthread_mutex_lock(&l->lock);
    if (l->fd >= 0)
        (void)io_send_msg(l->fd, &m, sizeof(m), -1);
    (void)pthread_mutex_unlock(&l->lock);
}

int link_take(struct link *l, const struct handover_take *take, const struct link_wait *wait,
              struct lease *ret, struct handover *ret_refusal, struct err *err)
{
    struct handover m = {.type = HANDOVER_TAKE, .u.take = *take};
    struct pending p = {.fd = -1};
    unsigned generation;

    *ret_refusal = (struct handover){.ms = 1000};
    if (ask(l, &m, &p, &generation, err) < 0)
        return -1;
    if (await(l, &p, wait, clock_ms() + take->wait_ms + TAKE_SPARE_MS, err) < 0) {
        tell_cancel(l, p.seq);
        return -1;
    }
    if (p.answer.type == HANDOVER_TAKEN && p.fd >= 0) {
        *ret = (struct lease){.member = p.answer.member,
                              .generation = generation,
                              .fd = p.fd,
                              .taken = p.answer.u.taken};
        return 0;
    }
    if (p.answer.type == HANDOVER_TAKEN) {
        /* The stream got lost on the way: no descriptor was left here to take it with. */
        struct lease lost = {.member = p.answer.member, .generation = generation, .fd = -1};

        tell(l, &lost, &(struct handover){.type = HANDOVER_DONE});
        return err_set(err, ERR_BUSY, "no descriptor was left for the container's stream");
    }
    *ret_refusal = p.answer;
    return err_set(err, ERR_BUSY, "%s", refuse_text((enum refuse_reason)p.answer.reason));
}

void link_done(struct link *l, struct lease *lease)
{
    struct handover m = {.type = HANDOVER_DONE};

    if (lease->fd < 0)
        return;
    /* Close first: an engine that cannot write to us must not delay the kill. */
    (void)close(lease->fd);
    lease->fd = -1;
    tell(l, lease, &m);
}

void link_extend(struct link *l, const struct lease *lease, uint64_t ms)
{
    struct handover m = {.type = HANDOVER_EXTEND, .ms = ms};

    tell(l, lease, &m);
}

void link_fate(struct link *l, const struct lease *lease, struct handover_fate *ret)
{
    struct handover m = {.type = HANDOVER_FATE, .member = lease->member};
    struct pending p = {.fd = -1};
    unsigned generation = 0;

    *ret = (struct handover_fate){0};
    if (ask(l, &m, &p, &generation, NULL) < 0 || await(l, &p, NULL, clock_ms() + FATE_MS, NULL) < 0)
        return;
    if (generation == lease->generation && p.answer.type == HANDOVER_FATE_IS)
        *ret = p.answer.u.fate;
}

int link_stats(struct link *l, struct handover_pool **ret_pools, size_t *ret_n,
               struct handover_counts *ret_counts, struct err *err)
{
    struct handover m = {.type = HANDOVER_STATS};
    struct pending p = {.fd = -1};
    unsigned generation;

    if (ask(l, &m, &p, &generation, err) < 0)
        return -1;
    if (await(l, &p, NULL, clock_ms() + STATS_MS, err) < 0) {
        free(p.pools);
        return -1;
    }
    *ret_pools = p.pools;
    *ret_n = p.pools_n;
    *ret_counts = p.answer.u.counts;
    return 0;
}
