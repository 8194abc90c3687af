/*
 * The life of a member: ordered, booted, measured, parked, handed over, destroyed. Every path ends
 * in life_discard, which closes the stream before any engine call: a stream that nobody reads
 * wedges the engine's kill (security.md 1.1).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "frames/mux.h"
#include "frames/stream.h"
#include "keeper/state.h"
#include "keeper/upkeep.h"

enum {
    SIZING_STEP_MS = 250,
    SIZING_LIMIT_MS = 15000,
    SIZING_STABLE = 1024 * 1024, /* bytes between two looks */
    RETRY_FIRST_MS = 100,
    RETRY_LAST_MS = 5000,
    FATE_WAIT_MS = 1000,
};

/* Room for what is charged to a container before its footprint is known. */
static const uint64_t footprint_guess = 256ULL * 1024 * 1024;

uint64_t life_limit(const struct pool *p, uint64_t memory)
{
    return memory + (p->footprint ? p->footprint : footprint_guess);
}

static void order_start(struct keeper *k, struct pool *p)
{
    struct member *m = member_new(&k->pools, p, k->now_ms);
    struct task *t = task_new(TASK_START);
    struct spec_names names = {.instance = k->o->settings->instance,
                               .epoch = k->epoch,
                               .name = m->name,
                               .image = p->image.digest};

    (void)snprintf(m->name, sizeof(m->name), "oneshot-%s-%s-%llu", names.instance, k->epoch,
                   (unsigned long long)m->id);
    m->memory = (uint64_t)p->policy->memory;
    names.limit = (int64_t)life_limit(p, m->memory);
    t->spec = spec_new(p->policy, &names);
    t->member = m->id;
    m->busy++;
    k->starts_n++;
    crew_add(k->crew, t);
}

static unsigned count_all(const struct keeper *k, enum member_state state)
{
    const struct pool *p;
    unsigned n = 0;

    TAILQ_FOREACH (p, &k->pools.list, link)
        n += p->counts[state];
    return n;
}

static bool is_anyone_waiting(const struct keeper *k)
{
    const struct pool *p;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        if (p->waiting_n)
            return true;
    }
    return false;
}

/* Refill yields to running work, but not when somebody stands in line. */
static unsigned starts_allowed(const struct keeper *k)
{
    if (is_anyone_waiting(k) || !count_all(k, MEMBER_RUNNING))
        return k->starts_max;
    return (k->starts_max + 1) / 2;
}

static unsigned count_alive(const struct keeper *k)
{
    const struct pool *p;
    unsigned n = 0;

    TAILQ_FOREACH (p, &k->pools.list, link) {
        for (unsigned s = 0; s < MEMBER_STATES; s++)
            n += p->counts[s];
    }
    return n;
}

/* Whoever stands in line gets the place of what is only parked, one at a time. */
static void make_room(struct keeper *k)
{
    struct member *m;

    if (count_alive(k) < k->containers_max || !is_anyone_waiting(k) ||
        count_all(k, MEMBER_REMOVING))
        return;
    m = pools_spare(&k->pools);
    if (m)
        life_discard(k, m, DISCARD_SHRINK);
}

/*
 * The quiet time: the runs that came together shall have their replies before what they make due
 * takes the processors. It begins with a take, and ends when all who were taken in it have replied,
 * after KEEPER_QUIET_MS at the latest, or when somebody stands in line; then the engine is given
 * its work, and only then may the next begin.
 */
void life_begin_quiet(struct keeper *k, struct member *m)
{
    if (k->quiet_until_ms == INT64_MIN)
        k->quiet_until_ms = k->now_ms + KEEPER_QUIET_MS;
    m->quiet_until_ms = k->quiet_until_ms;
}

void life_end_quiet(struct keeper *k)
{
    struct member *m;

    if (k->quiet_until_ms > k->now_ms && !k->is_stopping && !is_anyone_waiting(k)) {
        TAILQ_FOREACH (m, &k->pools.members, in_all) {
            if (m->state == MEMBER_RUNNING && !m->is_served &&
                m->quiet_until_ms == k->quiet_until_ms)
                return;
        }
    }
    k->quiet_until_ms = INT64_MIN;
    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (m->state == MEMBER_RUNNING && m->is_served)
            life_discard(k, m, DISCARD_SERVED);
    }
}

static bool is_quiet(const struct keeper *k)
{
    return k->quiet_until_ms != INT64_MIN;
}

void life_start_due(struct keeper *k)
{
    struct pool *p;

    if (k->is_stopping || !k->is_swept || is_quiet(k) || k->now_ms < k->engine_retry_ms)
        return;
    pools_plan(&k->pools, k->now_ms);
    while (k->starts_n < starts_allowed(k) && count_alive(k) < k->containers_max &&
           (p = pools_next_start(&k->pools, k->now_ms)))
        order_start(k, p);
    make_room(k);
}

void life_discard(struct keeper *k, struct member *m, enum discard_reason reason)
{
    if (m->fd >= 0) {
        if (m->is_watched)
            loop_unwatch(k, m->fd);
        (void)shutdown(m->fd, SHUT_RDWR);
        (void)close(m->fd);
        m->fd = -1;
    }
    m->is_watched = false;
    m->client = NULL;
    if (m->state == MEMBER_REMOVING)
        return;
    if (m->state == MEMBER_STARTING) {
        /* Its container is not known yet: remove it when the start is over. */
        m->is_doomed = true;
        m->reason = reason;
        return;
    }
    m->reason = reason;
    m->deadline_ms = k->now_ms;
    member_move(m, MEMBER_REMOVING, k->now_ms);
}

/* Hands a call on a member's container to the crew. */
void life_call(struct keeper *k, struct member *m, struct task *t)
{
    t->member = m->id;
    (void)str_copy(t->container, m->container, sizeof(t->container));
    m->busy++;
    crew_add(k->crew, t);
}

void life_destroy_due(struct keeper *k)
{
    struct member *m;

    if (is_quiet(k))
        return;
    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (k->destroys_n >= k->destroys_max)
            return;
        if (m->state != MEMBER_REMOVING || m->busy || m->deadline_ms > k->now_ms)
            continue;
        k->destroys_n++;
        life_call(k, m, task_new(TASK_DESTROY));
    }
}

enum peeked life_peek(int fd)
{
    uint8_t want[MUX_HEAD + READY_LEN] = {1, 0, 0, 0, 0, 0, 0, READY_LEN};
    uint8_t got[sizeof(want) + 1];
    ssize_t n;

    ready_bytes(want + MUX_HEAD);
    n = recv(fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? PEEK_WAIT : PEEK_BAD;
    if (n == 0 || n > (ssize_t)sizeof(want) || memcmp(got, want, (size_t)n) != 0)
        return PEEK_BAD;
    return n == (ssize_t)sizeof(want) ? PEEK_READY : PEEK_WAIT;
}

static void became_ready(struct keeper *k, struct member *m)
{
    struct pool *p = m->pool;

    pool_note_ready(p, k->now_ms - m->ordered_ms, k->now_ms);
    loop_unwatch(k, m->fd);
    m->is_watched = loop_watch(k, m->fd, WATCH_MEMBER, m, EPOLLRDHUP | EPOLLET) == 0;
    if (p->footprint || p->waiting_n) {
        line_offer(k, m);
        return;
    }
    member_move(m, MEMBER_SIZING, k->now_ms);
    m->deadline_ms = k->now_ms + SIZING_STEP_MS;
}

void life_readable(struct keeper *k, struct member *m, bool is_hung_up)
{
    enum peeked seen = life_peek(m->fd);

    if (m->state == MEMBER_BOOTING && seen == PEEK_READY && !is_hung_up) {
        became_ready(k, m);
        return;
    }
    if (m->state == MEMBER_BOOTING && seen == PEEK_WAIT && !is_hung_up)
        return;
    if (m->state != MEMBER_BOOTING && seen == PEEK_READY && !is_hung_up)
        return;
    log_warning("container %s of policy '%s' is dropped: %s", m->name, m->pool->policy->name,
                seen == PEEK_BAD && !is_hung_up ? "it did not say READY" : "its stream ended");
    life_discard(k, m, m->state == MEMBER_BOOTING ? DISCARD_BAD_READY : DISCARD_STREAM);
}

/* Its stream is left open until the quiet time is over: a container that ends is work, too. */
void life_done(struct member *m)
{
    m->is_served = true;
}

void life_ask_fate(struct keeper *k, struct client *c, uint64_t seq, uint64_t member)
{
    struct handover msg = {.type = HANDOVER_FATE_IS, .seq = seq, .member = member};
    struct member *m = member_find(&k->pools, member);
    struct task *t;

    if (m && m->state == MEMBER_RUNNING && m->client == c) {
        t = task_new(TASK_FATE);
        t->seq = seq;
        t->number = FATE_WAIT_MS;
        life_call(k, m, t);
        return;
    }
    msg.u.fate.member = member;
    for (unsigned i = 0; i < OBITUARIES; i++) {
        const struct obituary *o = &k->obituaries[i];

        if (o->member != member)
            continue;
        msg.u.fate.is_known = true;
        msg.u.fate.was_killed_by_us = o->is_killed;
        msg.u.fate.is_oom = o->is_oom;
    }
    (void)clients_send(c, &msg, -1);
}

/* ---- answers of the engine ---- */

static void refuse_first(struct pool *p, enum refuse_reason reason)
{
    struct waiter *w = TAILQ_FIRST(&p->waiting);

    if (!w)
        return;
    clients_refuse(w->client, w->seq, reason, 2000);
    line_leave(p, w);
}

static void start_failed(struct keeper *k, struct pool *p, const struct err *err)
{
    /* The engine works, and would refuse the same again: no other policy has to wait for that. */
    if (err->kind == ERR_INVALID || err->kind == ERR_DENIED) {
        refuse_first(p, REFUSE_START);
        pool_pause_starts(p, k->now_ms);
        return;
    }
    /* An engine that is only slow may be quicker next time; one that is gone fails the ping. */
    if (err->kind == ERR_NOTFOUND)
        upkeep_image_lost(k, p);
    else if (err->kind != ERR_TIMEOUT)
        refuse_first(p, REFUSE_ENGINE);
    upkeep_engine_failed(k, err);
}

static void start_done(struct keeper *k, struct member *m, struct task *t)
{
    struct pool *p = m->pool;

    k->starts_n--;
    if (t->rc < 0) {
        log_warning("cannot start a container of policy '%s': %s", p->policy->name, t->err.msg);
        m->reason = DISCARD_START;
        member_move(m, MEMBER_REMOVING, k->now_ms);
        member_free(&k->pools, m);
        start_failed(k, p, &t->err);
        return;
    }
    upkeep_engine_works(k);
    pool_resume_starts(p);
    (void)str_copy(m->container, t->container, sizeof(m->container));
    m->fd = take_fd(&t->fd);
    member_move(m, MEMBER_BOOTING, k->now_ms);
    m->deadline_ms = k->now_ms + KEEPER_BOOT_MS;
    if (m->is_doomed || k->is_stopping ||
        loop_watch(k, m->fd, WATCH_MEMBER, m, EPOLLIN | EPOLLET) < 0) {
        life_discard(k, m, m->is_doomed ? m->reason : DISCARD_STOP);
        return;
    }
    m->is_watched = true;
}

static void destroy_done(struct keeper *k, struct member *m, const struct task *t)
{
    int64_t wait = RETRY_FIRST_MS;

    k->destroys_n--;
    if (t->rc == 0) {
        member_free(&k->pools, m);
        return;
    }
    for (unsigned i = 0; i < m->tries && wait < RETRY_LAST_MS; i++)
        wait *= 2;
    m->tries++;
    m->deadline_ms = k->now_ms + wait;
    log_warning("cannot remove container %s yet: %s", m->name, t->err.msg);
}

static void sized(struct keeper *k, struct member *m, uint64_t bytes)
{
    struct pool *p = m->pool;
    struct task *t;

    p->footprint = bytes;
    footprint_save(k, p);
    log_info("policy '%s': a parked container needs %llu MiB", p->policy->name,
             (unsigned long long)(bytes >> 20));
    /* The limit was set from a guess; nobody waits, so the exact one can be set now. */
    t = task_new(TASK_UPDATE);
    t->number = life_limit(p, m->memory);
    life_call(k, m, t);
    line_offer(k, m);
}

static void usage_done(struct keeper *k, struct member *m, const struct task *t)
{
    uint64_t last = m->sized_bytes;

    if (m->state == MEMBER_TUNING)
        line_tune(k, m); /* taken meanwhile */
    if (m->state != MEMBER_SIZING)
        return;
    if (t->rc < 0) {
        log_warning("cannot measure container %s: %s", m->name, t->err.msg);
        line_offer(k, m);
        return;
    }
    m->sized_bytes = t->number;
    m->deadline_ms = k->now_ms + SIZING_STEP_MS;
    m->sized_times = t->number < last + SIZING_STABLE ? m->sized_times + 1 : 0;
    if (m->sized_times >= 3 || k->now_ms - m->since_ms > SIZING_LIMIT_MS)
        sized(k, m, t->number);
}

static void fate_done(const struct member *m, const struct task *t)
{
    struct handover msg = {.type = HANDOVER_FATE_IS, .seq = t->seq, .member = t->member};

    if (!m->client)
        return;
    msg.u.fate = (struct handover_fate){.member = t->member,
                                        .exit_code = t->state.exit_code,
                                        .is_known = t->rc == 0 && !t->state.is_running,
                                        .is_oom = m->is_oom || (t->rc == 0 && t->state.is_oom),
                                        .was_killed_by_us = m->is_killed};
    (void)clients_send(m->client, &msg, -1);
}

void life_task_done(struct keeper *k, struct task *t)
{
    struct member *m = member_find(&k->pools, t->member);

    if (!m) {
        if (t->kind == TASK_DESTROY && t->rc < 0)
            upkeep_orphan_stays(k);
        return;
    }
    m->busy--;
    switch (t->kind) {
    case TASK_START:
        start_done(k, m, t);
        return;
    case TASK_DESTROY:
        destroy_done(k, m, t);
        return;
    case TASK_UPDATE:
        line_tuned(k, m, t);
        return;
    case TASK_USAGE:
        usage_done(k, m, t);
        return;
    case TASK_FATE:
        fate_done(m, t);
        return;
    case TASK_PING:
    case TASK_IMAGE:
    case TASK_LIST:
        return;
    }
}

/* ---- time ---- */

static void member_deadline(struct keeper *k, struct member *m)
{
    if (m->deadline_ms > k->now_ms)
        return;
    if (m->state == MEMBER_BOOTING) {
        log_warning("container %s did not become ready in %d ms", m->name, KEEPER_BOOT_MS);
        life_discard(k, m, DISCARD_START);
    } else if (m->state == MEMBER_SIZING && !m->busy) {
        life_call(k, m, task_new(TASK_USAGE));
    } else if (m->state == MEMBER_RUNNING && !m->is_killed && !m->is_served) {
        /* The front learns it from its stream's end and asks for the fate; DONE follows. */
        m->is_killed = true;
        k->obituaries[k->obituaries_n++ % OBITUARIES] =
            (struct obituary){.member = m->id, .is_killed = true, .is_oom = m->is_oom};
        log_info("container %s passed its hard deadline", m->name);
        life_discard(k, m, DISCARD_DEADLINE);
    }
}

void life_deadlines(struct keeper *k)
{
    enum discard_reason reason;
    struct member *m, *next;
    struct pool *p;

    for (m = TAILQ_FIRST(&k->pools.members); m; m = next) {
        next = TAILQ_NEXT(m, in_all);
        member_deadline(k, m);
    }
    TAILQ_FOREACH (p, &k->pools.list, link) {
        struct waiter *w, *after;

        for (w = TAILQ_FIRST(&p->waiting); w; w = after) {
            after = TAILQ_NEXT(w, link);
            if (w->deadline_ms > k->now_ms)
                continue;
            clients_refuse(w->client, w->seq, REFUSE_WAITED, 1000);
            line_leave(p, w);
        }
    }
    pools_plan(&k->pools, k->now_ms);
    while ((m = pools_surplus(&k->pools, k->now_ms, &reason)))
        life_discard(k, m, reason);
}

static void sooner(int64_t *next, int64_t when)
{
    if (when < *next)
        *next = when;
}

int64_t life_next_ms(const struct keeper *k)
{
    int64_t next = is_quiet(k) ? k->quiet_until_ms : k->now_ms + 1000;
    const struct member *m;
    const struct pool *p;

    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        if (m->state == MEMBER_PARKED || m->busy)
            continue;
        if (m->state == MEMBER_REMOVING && (is_quiet(k) || k->destroys_n >= k->destroys_max))
            continue;
        sooner(&next, m->deadline_ms);
    }
    TAILQ_FOREACH (p, &k->pools.list, link) {
        const struct waiter *w;

        if (p->pause_until_ms > k->now_ms && pool_deficit(p))
            sooner(&next, p->pause_until_ms);
        TAILQ_FOREACH (w, &p->waiting, link)
            sooner(&next, w->deadline_ms);
    }
    return next;
}
