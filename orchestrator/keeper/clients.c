/*
 * The other end of the handover pair. The front is not trusted: a message is obeyed only within
 * the policy's bounds and only for members that this client holds.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "keeper/state.h"

enum {
    MEMORY_LEAST = 1024 * 1024,
    TRANSFER_MS = 120000, /* sending files in and collecting them may take so long on top */
    MESSAGES_PER_TURN = 64,
};

struct client *clients_add(struct keeper *k, int fd)
{
    struct client *c = xcalloc(1, sizeof(*c));

    c->fd = fd;
    if (io_set_nonblocking(fd, true) < 0 || loop_watch(k, fd, WATCH_CLIENT, c, EPOLLIN) < 0) {
        (void)close(fd);
        free(c);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&k->clients, c, link);
    return c;
}

/* Whatever the client held is destroyed: nobody will ever read those streams again. */
static void forget_members(struct keeper *k, const struct client *c)
{
    struct member *m;

    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (m->client == c)
            life_discard(k, m, DISCARD_FRONT);
    }
}

static bool leave_lines(struct keeper *k, const struct client *c, uint64_t seq, bool every)
{
    struct pool *p;
    bool found = false;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        struct waiter *w, *next;

        for (w = TAILQ_FIRST(&p->waiting); w; w = next) {
            next = TAILQ_NEXT(w, link);
            if (w->client != c || (!every && w->seq != seq))
                continue;
            TAILQ_REMOVE(&p->waiting, w, link);
            p->waiting_n--;
            free(w);
            found = true;
        }
    }
    return found;
}

void clients_drop(struct keeper *k, struct client *c)
{
    if (c->is_gone)
        return;
    c->is_gone = true;
    loop_unwatch(k, c->fd);
    (void)close(c->fd);
    c->fd = -1;
    forget_members(k, c);
    (void)leave_lines(k, c, 0, true);
}

void clients_reap(struct keeper *k)
{
    struct client *c, *next;

    for (c = TAILQ_FIRST(&k->clients); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (!c->is_gone)
            continue;
        TAILQ_REMOVE(&k->clients, c, link);
        free(c);
    }
}

bool clients_send(struct client *c, const struct handover *m, int fd)
{
    /* A client that lets its queue fill up is stuck: its runs are ended by their deadlines. */
    return !c->is_gone && io_send_msg(c->fd, m, sizeof(*m), fd) == 0;
}

void clients_refuse(struct client *c, uint64_t seq, enum refuse_reason reason, uint64_t ms)
{
    struct handover m = {.type = HANDOVER_REFUSED, .reason = reason, .seq = seq, .ms = ms};

    (void)clients_send(c, &m, -1);
}

static bool is_within(const struct policy *p, const struct handover_take *t)
{
    if (t->memory && (t->memory > (uint64_t)p->memory_max || t->memory < MEMORY_LEAST))
        return false;
    return t->run_ms <= p->time_max_ms + TRANSFER_MS && t->wait_ms <= 24 * 3600 * 1000U;
}

static unsigned line_length(const struct keeper *k)
{
    const struct pool *p;
    unsigned n = 0;

    TAILQ_FOREACH (p, &k->pools.list, link)
        n += p->waiting_n;
    return n;
}

static void take(struct keeper *k, struct client *c, const struct handover *m)
{
    const struct pool *p = pools_find(&k->pools, m->u.take.policy);
    struct waiter w = {.client = c,
                       .seq = m->seq,
                       .take = m->u.take,
                       .asked_us = clock_us(),
                       .deadline_ms = k->now_ms + m->u.take.wait_ms};

    if (k->is_stopping)
        clients_refuse(c, m->seq, REFUSE_STOPPING, 1000);
    else if (!p || !is_within(p->policy, &m->u.take))
        clients_refuse(c, m->seq, REFUSE_POLICY, 1000);
    else if (line_length(k) >= KEEPER_LINE_MAX)
        clients_refuse(c, m->seq, REFUSE_FULL, 1000);
    else
        line_take(k, &w);
}

static struct member *held_by(struct keeper *k, const struct client *c, uint64_t id)
{
    struct member *m = member_find(&k->pools, id);

    return m && m->client == c && m->state == MEMBER_RUNNING ? m : NULL;
}

/* CANCEL may cross with TAKEN: then the front will say DONE for what it never wanted. */
static void cancel(struct keeper *k, const struct client *c, uint64_t seq)
{
    struct member *m;

    if (leave_lines(k, c, seq, false))
        return;
    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (m->client == c && m->seq == seq && m->state == MEMBER_TUNING) {
            life_discard(k, m, DISCARD_SERVED);
            return;
        }
    }
}

static void extend(struct keeper *k, struct member *m, uint64_t ms)
{
    uint64_t most = (uint64_t)m->pool->policy->time_max_ms + TRANSFER_MS;

    m->deadline_ms = k->now_ms + (int64_t)(ms < most ? ms : most);
}

static void stats(struct keeper *k, struct client *c, uint64_t seq)
{
    struct handover m = {.type = HANDOVER_POOL, .seq = seq};
    const struct pool *p;
    uint32_t n = 0;

    pools_plan(&k->pools, k->now_ms);
    TAILQ_FOREACH (p, &k->pools.list, link) {
        pool_report(p, k->now_ms, &m.u.pool);
        if (!clients_send(c, &m, -1))
            return;
        n++;
    }
    m = (struct handover){.type = HANDOVER_COUNTS, .seq = seq};
    m.u.counts.pools = n;
    m.u.counts.is_engine_up = k->is_engine_up;
    m.u.counts.budget = k->pools.budget;
    m.u.counts.lacks = k->o->ops->lacks(k->o->engine);
    TAILQ_FOREACH (p, &k->pools.list, link)
        m.u.counts.reserved += p->target * pool_cost(p);
    k->o->ops->counts(k->o->engine, m.u.counts.calls, m.u.counts.errors);
    (void)clients_send(c, &m, -1);
}

static void obey(struct keeper *k, struct client *c, const struct handover *m)
{
    struct member *held = held_by(k, c, m->member);

    switch ((enum handover_type)m->type) {
    case HANDOVER_TAKE:
        take(k, c, m);
        return;
    case HANDOVER_CANCEL:
        cancel(k, c, m->seq);
        return;
    case HANDOVER_EXTEND:
        if (held)
            extend(k, held, m->ms);
        return;
    case HANDOVER_DONE:
        if (held)
            life_done(held);
        return;
    case HANDOVER_FATE:
        life_ask_fate(k, c, m->seq, m->member);
        return;
    case HANDOVER_STATS:
        stats(k, c, m->seq);
        return;
    case HANDOVER_TAKEN:
    case HANDOVER_REFUSED:
    case HANDOVER_FATE_IS:
    case HANDOVER_POOL:
    case HANDOVER_COUNTS:
    case HANDOVER_TYPES:
        return;
    }
}

void clients_readable(struct keeper *k, struct client *c)
{
    for (int i = 0; i < MESSAGES_PER_TURN && !c->is_gone; i++) {
        struct handover m;
        int fd;
        ssize_t n = io_recv_msg(c->fd, &m, sizeof(m), &fd);

        if (fd >= 0)
            (void)close(fd);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (!handover_is_valid(&m, n, true)) {
            if (n > 0)
                log_error("a client broke the handover protocol");
            clients_drop(k, c);
            return;
        }
        obey(k, c, &m);
    }
}

int clients_accept(struct keeper *k)
{
    struct ucred who = {0};
    socklen_t n = sizeof(who);
    const struct client *c;
    unsigned count = 0;
    int fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return -1;
    TAILQ_FOREACH (c, &k->clients, link)
        count++;
    /* The socket's mode keeps others out; this holds even where somebody changed it. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 ||
        (who.uid != 0 && who.uid != geteuid()) || count >= KEEPER_CLIENTS_MAX) {
        (void)close(fd);
        return -1;
    }
    return clients_add(k, fd) ? 0 : -1;
}
