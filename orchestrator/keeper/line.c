/*
 * TAKEs: who gets a parked member, who stands in line, and the hand-over itself.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "keeper/state.h"

static void send_taken(struct keeper *k, struct member *m)
{
    struct handover msg = {.type = HANDOVER_TAKEN, .seq = m->seq, .member = m->id};
    struct handover_taken *t = &msg.u.taken;

    t->member = m->id;
    t->queued_us = (uint32_t)(clock_us() - m->asked_us);
    t->was_parked = m->was_parked;
    t->memory = m->memory;
    t->lacks = k->o->ops->lacks(k->o->engine);
    /* A back end whose ids are not 32 bytes leaves zeros here. */
    (void)!str_unhex(t->container, sizeof(t->container), m->container);
    (void)!str_unhex(t->image, sizeof(t->image), m->pool->image.digest + strlen("sha256:"));
    member_move(m, MEMBER_RUNNING, k->now_ms);
    m->deadline_ms = k->now_ms + m->take.run_ms;
    life_begin_quiet(k, m);
    if (!clients_send(m->client, &msg, m->fd))
        life_discard(k, m, DISCARD_FRONT);
}

/* Orders the memory limit of a taken member, alone: of two calls under way either may be last. */
void line_tune(struct keeper *k, struct member *m)
{
    struct task *t;

    if (m->busy)
        return;
    t = task_new(TASK_UPDATE);
    t->number = life_limit(m->pool, m->memory);
    life_call(k, m, t);
}

static void hand_over(struct keeper *k, struct member *m, const struct waiter *w, bool was_parked)
{
    m->client = w->client;
    m->seq = w->seq;
    m->take = w->take;
    m->asked_us = w->asked_us;
    m->was_parked = was_parked;
    if (m->is_watched)
        loop_unwatch(k, m->fd);
    m->is_watched = false;
    if (!w->take.memory || w->take.memory == m->memory) {
        send_taken(k, m);
        return;
    }
    member_move(m, MEMBER_TUNING, k->now_ms);
    m->memory = w->take.memory;
    line_tune(k, m);
}

void line_leave(struct pool *p, struct waiter *w)
{
    TAILQ_REMOVE(&p->waiting, w, link);
    p->waiting_n--;
    free(w);
}

/*
 * A new member serves the first in line, or is parked. The line may be that of another pool: the
 * successor of one that was replaced while this member was on its way.
 */
void line_offer(struct keeper *k, struct member *m)
{
    struct pool *line = pools_line(&k->pools, m->pool->policy->key);
    struct waiter *w = line ? TAILQ_FIRST(&line->waiting) : NULL;

    member_move(m, MEMBER_PARKED, k->now_ms);
    if (!w)
        return;
    line->misses++;
    hand_over(k, m, w, false);
    line_leave(line, w);
}

void line_refuse_all(struct pool *p, enum refuse_reason reason, uint64_t ms)
{
    struct waiter *w;

    while ((w = TAILQ_FIRST(&p->waiting))) {
        clients_refuse(w->client, w->seq, reason, ms);
        line_leave(p, w);
    }
}

static void stand_in_line(struct keeper *k, struct pool *p, const struct waiter *w)
{
    struct waiter *own;

    if (!k->is_engine_up) {
        clients_refuse(w->client, w->seq, REFUSE_ENGINE, 2000);
        return;
    }
    if (p->waiting_n >= (unsigned)p->policy->queue_max) {
        clients_refuse(w->client, w->seq, REFUSE_FULL, 1000);
        return;
    }
    own = xmemdup(w, sizeof(*w));
    TAILQ_INSERT_TAIL(&p->waiting, own, link);
    p->waiting_n++;
}

/* The oldest parked member that is not too old and whose stream is still as it was parked. */
static struct member *take_parked(struct keeper *k, struct pool *p)
{
    struct member *m;

    while ((m = TAILQ_FIRST(&p->parked))) {
        if (pool_is_aged(p, m, k->now_ms))
            life_discard(k, m, DISCARD_AGE);
        else if (life_peek(m->fd) == PEEK_READY)
            return m;
        else
            life_discard(k, m, DISCARD_STREAM);
    }
    return NULL;
}

void line_take(struct keeper *k, const struct waiter *w)
{
    struct pool *p = pools_find(&k->pools, w->take.policy);
    struct member *m;

    p->used_ms = k->now_ms;
    m = TAILQ_EMPTY(&p->waiting) ? take_parked(k, p) : NULL;
    if (m) {
        p->hits++;
        hand_over(k, m, w, true);
        return;
    }
    if (k->is_engine_up && !p->image.digest[0] && p->retry_ms > k->now_ms) {
        clients_refuse(w->client, w->seq, REFUSE_IMAGE, 5000);
        return;
    }
    TAILQ_FOREACH (m, &k->pools.members, in_all) {
        /* Being measured is no reason to let somebody wait. */
        if (m->pool == p && m->state == MEMBER_SIZING) {
            member_move(m, MEMBER_PARKED, k->now_ms);
            p->hits++;
            hand_over(k, m, w, true);
            return;
        }
    }
    stand_in_line(k, p, w);
}

void line_tuned(struct keeper *k, struct member *m, const struct task *t)
{
    if (m->state != MEMBER_TUNING)
        return;
    if (t->number != life_limit(m->pool, m->memory)) {
        line_tune(k, m); /* that was the limit of before */
        return;
    }
    if (t->rc == 0) {
        send_taken(k, m);
        return;
    }
    log_warning("cannot set the memory of container %s: %s", m->name, t->err.msg);
    clients_refuse(m->client, m->seq, REFUSE_ENGINE, 1000);
    life_discard(k, m, DISCARD_START);
}
