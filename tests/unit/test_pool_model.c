/*
 * The decisions about pools under random interleavings of what fronts and the engine may do. The
 * keeper around them is played by the shortest code that obeys them; after every step the books
 * are compared with a recount and the promises of pool.h are checked.
 */
#include <string.h>

#include "base/mem.h"
#include "keeper/pool.h"
#include "unit.h"

enum { POLICIES = 3, STEPS = 4000, SEEDS = 40, ALIVE_MAX = 40 };

struct world {
    struct pools ps;
    struct policy policies[POLICIES];
    int64_t now;
    uint64_t ticket; /* of the last TAKE; a waiter's is its asked_us */
    uint32_t random;
    unsigned alive;
};

static char *no_modules[] = {NULL};

static uint32_t draw(struct world *w, uint32_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return w->random % below;
}

static struct pool *fresh_pool(struct world *w, const struct policy *y)
{
    struct engine_image image = {.digest = "sha256:1"};
    struct pool *p;

    if (draw(w, 8) == 0)
        image.digest[0] = '\0';
    p = pool_add(&w->ps, y, &image);
    p->footprint = draw(w, 3) ? 10 + draw(w, 90) : 0;
    return p;
}

static void begin(struct world *w, uint32_t seed)
{
    *w = (struct world){.random = seed * 2654435761U + 1};
    pools_init(&w->ps, draw(w, 3) ? draw(w, 1000) : 1ULL << 40);
    for (unsigned i = 0; i < POLICIES; i++) {
        unsigned max = draw(w, 7);

        w->policies[i] = (struct policy){.key = i + 1,
                                         .pool_max = max,
                                         .pool_min = draw(w, max + 1),
                                         .pool_idle_ms = 50 + draw(w, 500),
                                         .pool_age_ms = 100 + draw(w, 3000),
                                         .warm = no_modules};
        (void)fresh_pool(w, &w->policies[i]);
    }
}

/* ---- what fronts and the engine do ---- */

static struct member *any_in(struct world *w, enum member_state state)
{
    struct member *m, *found = NULL;
    uint32_t seen = 0;

    TAILQ_FOREACH (m, &w->ps.members, in_all) {
        if (m->state == state && draw(w, ++seen) == 0)
            found = m;
    }
    return found;
}

/* There is always one. */
static struct pool *any_pool(struct world *w)
{
    struct pool *p, *found = NULL;
    uint32_t seen = 0;

    TAILQ_FOREACH (p, &w->ps.list, link) {
        if (draw(w, ++seen) == 0)
            found = p;
    }
    if (!found)
        ck_abort_msg("no pool is left");
    return found;
}

static void hand_over(struct world *w, struct member *m)
{
    if (draw(w, 4) == 0) {
        member_move(m, MEMBER_TUNING, w->now);
        return;
    }
    member_move(m, MEMBER_RUNNING, w->now);
}

static void leave_line(struct pool *p, struct waiter *waiter)
{
    TAILQ_REMOVE(&p->waiting, waiter, link);
    p->waiting_n--;
    free(waiter);
}

static void offer(struct world *w, struct member *m)
{
    struct pool *line = pools_line(&w->ps, m->pool->policy->key);

    member_move(m, MEMBER_PARKED, w->now);
    if (!line)
        return;
    hand_over(w, m);
    leave_line(line, TAILQ_FIRST(&line->waiting));
}

static void take(struct world *w)
{
    struct pool *p = pools_find(&w->ps, 1 + draw(w, POLICIES));
    struct waiter *waiter;

    p->used_ms = w->now;
    if (!TAILQ_EMPTY(&p->parked)) {
        hand_over(w, TAILQ_FIRST(&p->parked));
        return;
    }
    waiter = xcalloc(1, sizeof(*waiter));
    waiter->asked_us = (int64_t)++w->ticket;
    TAILQ_INSERT_TAIL(&p->waiting, waiter, link);
    p->waiting_n++;
}

static void give_up(struct world *w)
{
    struct pool *p = any_pool(w);

    if (!TAILQ_EMPTY(&p->waiting))
        leave_line(p, draw(w, 2) ? TAILQ_FIRST(&p->waiting) : TAILQ_LAST(&p->waiting, waiter_list));
}

static void discard(struct world *w, struct member *m, enum discard_reason reason)
{
    m->reason = reason;
    member_move(m, MEMBER_REMOVING, w->now);
}

static void removed(struct world *w)
{
    struct member *m = any_in(w, MEMBER_REMOVING);

    if (!m)
        return;
    member_free(&w->ps, m);
    w->alive--;
}

static void engine_answers(struct world *w)
{
    struct member *m = any_in(w, (enum member_state)draw(w, MEMBER_REMOVING));

    if (!m)
        return;
    if (draw(w, 10) == 0) {
        discard(w, m, (enum discard_reason)draw(w, DISCARD_REASONS));
        return;
    }
    switch (m->state) {
    case MEMBER_STARTING:
        member_move(m, MEMBER_BOOTING, w->now);
        return;
    case MEMBER_BOOTING:
        pool_note_ready(m->pool, w->now - m->ordered_ms, w->now);
        if (m->pool->footprint || pools_line(&w->ps, m->pool->policy->key))
            offer(w, m);
        else
            member_move(m, MEMBER_SIZING, w->now);
        return;
    case MEMBER_SIZING:
        m->pool->footprint = 10 + draw(w, 90);
        offer(w, m);
        return;
    case MEMBER_TUNING:
        member_move(m, MEMBER_RUNNING, w->now);
        return;
    case MEMBER_RUNNING:
        discard(w, m, DISCARD_SERVED);
        return;
    case MEMBER_PARKED:
    case MEMBER_REMOVING:
    case MEMBER_STATES:
        return;
    }
}

/* A reload: the newest pool of a policy is replaced. */
static void replace(struct world *w)
{
    struct pool *p = any_pool(w), *q, *next;

    if (!p->is_retired) {
        p->is_retired = true;
        p->retire_at_ms = w->now + draw(w, 100);
        (void)fresh_pool(w, p->policy);
    }
    for (p = TAILQ_FIRST(&w->ps.list); p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->is_retired && pool_is_empty(p))
            pool_free(&w->ps, p);
    }
    q = any_pool(w);
    if (!q->image.digest[0])
        q->image = (struct engine_image){.digest = "sha256:2"};
}

/* ---- what the keeper does in each turn ---- */

static void look_after(struct world *w)
{
    enum discard_reason reason = DISCARD_SERVED;
    struct member *m;
    struct pool *p;

    pools_plan(&w->ps, w->now);
    while ((m = pools_surplus(&w->ps, w->now, &reason))) {
        MUST(m->state == MEMBER_PARKED && !m->pool->waiting_n);
        MUST(reason == DISCARD_RELOAD || reason == DISCARD_SHRINK || reason == DISCARD_AGE);
        discard(w, m, reason);
    }
    while (w->alive < ALIVE_MAX && (p = pools_next_start(&w->ps, w->now))) {
        MUST(pool_deficit(p) > 0 && p->image.digest[0]);
        (void)member_new(&w->ps, p, w->now);
        w->alive++;
    }
}

/* ---- promises ---- */

static void check_counts(const struct world *w, const struct pool *p)
{
    unsigned counts[MEMBER_STATES] = {0}, waiting = 0;
    const struct member *m, *last = NULL;
    const struct waiter *waiter;
    int64_t ticket = 0;

    TAILQ_FOREACH (m, &w->ps.members, in_all) {
        if (m->pool != p)
            continue;
        counts[m->state]++;
    }
    MUST(memcmp(counts, p->counts, sizeof(counts)) == 0);
    TAILQ_FOREACH (m, &p->parked, in_parked) {
        MUST(m->state == MEMBER_PARKED && m->pool == p && counts[MEMBER_PARKED]-- > 0);
        MUST(!last || last->since_ms <= m->since_ms); /* oldest first */
        last = m;
    }
    MUST(counts[MEMBER_PARKED] == 0);
    TAILQ_FOREACH (waiter, &p->waiting, link) {
        MUST(waiter->asked_us > ticket); /* first come, first in line */
        ticket = waiter->asked_us;
        waiting++;
    }
    MUST(waiting == p->waiting_n);
}

static bool is_anyone_parked(const struct world *w, uint64_t key)
{
    const struct pool *p;

    TAILQ_FOREACH (p, &w->ps.list, link) {
        if (p->policy->key == key && !TAILQ_EMPTY(&p->parked))
            return true;
    }
    return false;
}

/* Right behind look_after: the plan is fresh. */
static void check_plan(const struct world *w)
{
    const struct pool *p;
    uint64_t spent = 0, on_minimum = 0;

    TAILQ_FOREACH (p, &w->ps.list, link) {
        unsigned min = p->is_retired ? 0 : (unsigned)p->policy->pool_min;

        MUST(p->target <= (unsigned)p->policy->pool_max && (!p->is_retired || p->target == 0));
        spent += p->target * pool_cost(p);
        on_minimum += (p->target < min ? p->target : min) * pool_cost(p);
    }
    MUST(spent <= w->ps.budget);
    TAILQ_FOREACH (p, &w->ps.list, link) {
        unsigned have = p->counts[MEMBER_PARKED] + p->counts[MEMBER_STARTING] +
                        p->counts[MEMBER_BOOTING] + p->counts[MEMBER_SIZING];
        unsigned most = p->target > p->waiting_n ? p->target : p->waiting_n;

        /* A minimum is short only where the budget ended among the minimums. */
        MUST(p->is_retired || p->target >= (unsigned)p->policy->pool_min ||
             on_minimum + pool_cost(p) > w->ps.budget);
        MUST(!pool_deficit(p) || have + pool_deficit(p) <= most);
        MUST(w->alive >= ALIVE_MAX || !pool_deficit(p));
        MUST(!p->waiting_n || !p->image.digest[0] || w->alive >= ALIVE_MAX || have >= p->waiting_n);
    }
}

static void check(const struct world *w)
{
    const struct pool *p;

    TAILQ_FOREACH (p, &w->ps.list, link) {
        check_counts(w, p);
        MUST(!p->waiting_n || !is_anyone_parked(w, p->policy->key));
    }
}

static void step(struct world *w)
{
    switch (draw(w, 12)) {
    case 0:
    case 1:
        take(w);
        return;
    case 2:
        give_up(w);
        return;
    case 3:
    case 4:
        removed(w);
        return;
    case 5:
        w->now += draw(w, 200);
        return;
    case 6:
        if (draw(w, 10) == 0)
            replace(w);
        return;
    default:
        engine_answers(w);
        return;
    }
}

START_TEST(books_and_promises_hold_whatever_happens)
{
    struct world w;
    struct pool *p;
    uint64_t served = 0;
    const uint32_t seeds = (uint32_t)unit_rounds(SEEDS, SEEDS / 10);

    for (uint32_t seed = 0; seed < seeds; seed++) {
        begin(&w, (uint32_t)_i * SEEDS + seed);
        for (int i = 0; i < STEPS; i++) {
            step(&w);
            check(&w);
            look_after(&w);
            check(&w);
            check_plan(&w);
        }
        TAILQ_FOREACH (p, &w.ps.list, link) {
            served += p->discarded[DISCARD_SERVED];
            while (!TAILQ_EMPTY(&p->waiting))
                leave_line(p, TAILQ_FIRST(&p->waiting));
        }
        pools_done(&w.ps);
    }
    ck_assert_uint_gt(served, seeds * 10);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, books_and_promises_hold_whatever_happens, 0, 4);
}

UNIT_MAIN_ONE_PROCESS("pool_model", add_tests)
