#include "keeper/pool.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

enum { MiB = 1024 * 1024, PAUSE_FIRST_MS = 200, PAUSE_LAST_MS = 5000 };

/* Measured on the shipped images: an interpreter alone, and with the scientific modules. */
static const uint64_t guess_bare = 40 * (uint64_t)MiB, guess_warm = 180 * (uint64_t)MiB;

/* Which moves are legal: a member goes forward only. */
static const unsigned may_move[MEMBER_STATES] = {
    [MEMBER_STARTING] = 1 << MEMBER_BOOTING | 1 << MEMBER_REMOVING,
    [MEMBER_BOOTING] = 1 << MEMBER_SIZING | 1 << MEMBER_PARKED | 1 << MEMBER_REMOVING,
    [MEMBER_SIZING] = 1 << MEMBER_PARKED | 1 << MEMBER_REMOVING,
    [MEMBER_PARKED] = 1 << MEMBER_TUNING | 1 << MEMBER_RUNNING | 1 << MEMBER_REMOVING,
    [MEMBER_TUNING] = 1 << MEMBER_RUNNING | 1 << MEMBER_REMOVING,
    [MEMBER_RUNNING] = 1 << MEMBER_REMOVING,
    [MEMBER_REMOVING] = 0,
};

void pools_init(struct pools *ps, uint64_t budget)
{
    *ps = (struct pools){.budget = budget};
    TAILQ_INIT(&ps->list);
    TAILQ_INIT(&ps->members);
}

void pools_done(struct pools *ps)
{
    struct member *m;
    struct pool *p;

    while ((m = TAILQ_FIRST(&ps->members))) {
        if (m->state != MEMBER_REMOVING)
            member_move(m, MEMBER_REMOVING, 0);
        member_free(ps, m);
    }
    while ((p = TAILQ_FIRST(&ps->list)))
        pool_free(ps, p);
}

struct pool *pool_add(struct pools *ps, const struct policy *policy,
                      const struct engine_image *image)
{
    struct pool *p = xcalloc(1, sizeof(*p));

    p->policy = policy;
    p->image = *image;
    p->used_ms = INT64_MIN;
    TAILQ_INIT(&p->parked);
    TAILQ_INIT(&p->waiting);
    TAILQ_INSERT_HEAD(&ps->list, p, link);
    return p;
}

bool pool_is_empty(const struct pool *p)
{
    for (unsigned s = 0; s < MEMBER_STATES; s++) {
        if (p->counts[s])
            return false;
    }
    return p->waiting_n == 0;
}

void pool_free(struct pools *ps, struct pool *p)
{
    assert(pool_is_empty(p));
    TAILQ_REMOVE(&ps->list, p, link);
    free(p);
}

struct pool *pools_find(const struct pools *ps, uint64_t key)
{
    struct pool *p, *newest = NULL;

    TAILQ_FOREACH (p, &ps->list, link) {
        if (p->policy->key != key)
            continue;
        if (p->counts[MEMBER_PARKED])
            return p;
        if (!newest)
            newest = p;
    }
    return newest;
}

struct pool *pools_line(const struct pools *ps, uint64_t key)
{
    struct pool *p, *best = NULL;

    TAILQ_FOREACH (p, &ps->list, link) {
        const struct waiter *w = TAILQ_FIRST(&p->waiting);

        if (w && p->policy->key == key &&
            (!best || w->asked_us < TAILQ_FIRST(&best->waiting)->asked_us))
            best = p;
    }
    return best;
}

uint64_t pool_cost(const struct pool *p)
{
    if (p->footprint)
        return p->footprint;
    return p->policy->warm && p->policy->warm[0] ? guess_warm : guess_bare;
}

static unsigned wanted(const struct pool *p, int64_t now_ms)
{
    const struct policy *y = p->policy;
    int64_t idle;
    unsigned min = (unsigned)y->pool_min, max = (unsigned)y->pool_max;

    if (p->is_retired)
        return 0;
    if (p->used_ms == INT64_MIN)
        return min;
    idle = now_ms - p->used_ms;
    if (idle < y->pool_idle_ms)
        return max;
    if (idle < 10 * y->pool_idle_ms)
        return min > 1 || max == 0 ? min : 1;
    return min;
}

/* The pool used most recently among those that may still grow to `limit`. */
static struct pool *pick_to_grow(const struct pools *ps, uint64_t left, bool only_min,
                                 int64_t now_ms)
{
    struct pool *p, *best = NULL;

    TAILQ_FOREACH (p, &ps->list, link) {
        unsigned limit = wanted(p, now_ms);

        if (only_min && limit > (unsigned)p->policy->pool_min)
            limit = (unsigned)p->policy->pool_min;
        if (p->target >= limit || pool_cost(p) > left)
            continue;
        if (!best || p->used_ms > best->used_ms ||
            (p->used_ms == best->used_ms && p->target < best->target))
            best = p;
    }
    return best;
}

void pools_plan(struct pools *ps, int64_t now_ms)
{
    uint64_t left = ps->budget;
    struct pool *p;

    TAILQ_FOREACH (p, &ps->list, link)
        p->target = 0;
    /* Every minimum first, then the rest of the budget by how recently a policy was used. */
    for (int only_min = 1; only_min >= 0; only_min--) {
        while ((p = pick_to_grow(ps, left, only_min, now_ms))) {
            p->target++;
            left -= pool_cost(p);
        }
    }
}

static unsigned on_the_way(const struct pool *p)
{
    return p->counts[MEMBER_STARTING] + p->counts[MEMBER_BOOTING] + p->counts[MEMBER_SIZING];
}

unsigned pool_deficit(const struct pool *p)
{
    unsigned have = on_the_way(p) + p->counts[MEMBER_PARKED];
    unsigned want = p->target;

    if (!p->image.digest[0])
        return 0;
    /* The first member of a pool is measured alone; the others follow with the right limit. */
    if (!p->footprint && want > 1)
        want = 1;
    if (want < p->waiting_n)
        want = p->waiting_n;
    return want > have ? want - have : 0;
}

void pool_pause_starts(struct pool *p, int64_t now_ms)
{
    int64_t pause = PAUSE_FIRST_MS;

    for (unsigned i = 0; i < p->pauses && pause < PAUSE_LAST_MS; i++)
        pause *= 2;
    p->pauses++;
    p->pause_until_ms = now_ms + (pause < PAUSE_LAST_MS ? pause : PAUSE_LAST_MS);
}

void pool_resume_starts(struct pool *p)
{
    p->pauses = 0;
    p->pause_until_ms = INT64_MIN;
}

struct pool *pools_next_start(const struct pools *ps, int64_t now_ms)
{
    struct pool *p, *best = NULL;

    TAILQ_FOREACH (p, &ps->list, link) {
        if (!pool_deficit(p) || p->pause_until_ms > now_ms)
            continue;
        if (!best) {
            best = p;
            continue;
        }
        if (p->waiting_n && best->waiting_n) {
            if (TAILQ_FIRST(&p->waiting)->asked_us < TAILQ_FIRST(&best->waiting)->asked_us)
                best = p;
        } else if (p->waiting_n || (!best->waiting_n && p->used_ms > best->used_ms)) {
            best = p;
        }
    }
    return best;
}

bool pool_is_aged(const struct pool *p, const struct member *m, int64_t now_ms)
{
    return now_ms - m->since_ms >= p->policy->pool_age_ms;
}

struct member *pools_surplus(const struct pools *ps, int64_t now_ms,
                             enum discard_reason *ret_reason)
{
    struct pool *p;

    TAILQ_FOREACH (p, &ps->list, link) {
        struct member *oldest = TAILQ_FIRST(&p->parked);

        if (!oldest || p->waiting_n)
            continue;
        if (p->is_retired) {
            if (now_ms < p->retire_at_ms)
                continue;
            *ret_reason = DISCARD_RELOAD;
            return oldest;
        }
        if (p->counts[MEMBER_PARKED] > p->target) {
            *ret_reason = DISCARD_SHRINK;
            return oldest;
        }
        if (pool_is_aged(p, oldest, now_ms)) {
            *ret_reason = DISCARD_AGE;
            return oldest;
        }
    }
    return NULL;
}

struct member *pools_spare(const struct pools *ps)
{
    struct pool *p, *best = NULL;

    TAILQ_FOREACH (p, &ps->list, link) {
        if (!p->waiting_n && p->counts[MEMBER_PARKED] && (!best || p->used_ms < best->used_ms))
            best = p;
    }
    return best ? TAILQ_FIRST(&best->parked) : NULL;
}

struct member *member_new(struct pools *ps, struct pool *p, int64_t now_ms)
{
    struct member *m = xcalloc(1, sizeof(*m));

    m->id = ++ps->next_id;
    m->pool = p;
    m->fd = -1;
    m->state = MEMBER_STARTING;
    m->ordered_ms = m->since_ms = now_ms;
    m->quiet_until_ms = INT64_MIN;
    p->counts[MEMBER_STARTING]++;
    p->started++;
    TAILQ_INSERT_TAIL(&ps->members, m, in_all);
    return m;
}

void member_move(struct member *m, enum member_state to, int64_t now_ms)
{
    assert(may_move[m->state] & 1U << to);
    if (m->state == MEMBER_PARKED)
        TAILQ_REMOVE(&m->pool->parked, m, in_parked);
    m->pool->counts[m->state]--;
    m->pool->counts[to]++;
    m->state = to;
    m->since_ms = now_ms;
    if (to == MEMBER_PARKED)
        TAILQ_INSERT_TAIL(&m->pool->parked, m, in_parked);
    if (to == MEMBER_REMOVING)
        m->pool->discarded[m->reason]++;
}

void member_free(struct pools *ps, struct member *m)
{
    assert(m->state == MEMBER_REMOVING);
    m->pool->counts[m->state]--;
    TAILQ_REMOVE(&ps->members, m, in_all);
    free(m);
}

struct member *member_find(const struct pools *ps, uint64_t id)
{
    struct member *m;

    TAILQ_FOREACH (m, &ps->members, in_all) {
        if (m->id == id)
            return m;
    }
    return NULL;
}

void pool_note_ready(struct pool *p, int64_t took_ms, int64_t now_ms)
{
    p->start_ms[p->start_samples++ % POOL_SAMPLES] = (uint32_t)took_ms;
    p->ready_ms[p->ready_n++ % POOL_SAMPLES] = now_ms;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t pool_start_p50(const struct pool *p)
{
    unsigned n = p->start_samples < POOL_SAMPLES ? p->start_samples : POOL_SAMPLES;
    uint32_t sorted[POOL_SAMPLES];

    if (n == 0)
        return 0;
    memcpy(sorted, p->start_ms, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_value);
    return sorted[n / 2];
}

uint32_t pool_refill_per_min(const struct pool *p, int64_t now_ms)
{
    unsigned n = p->ready_n < POOL_SAMPLES ? p->ready_n : POOL_SAMPLES, recent = 0;
    int64_t oldest = now_ms;

    for (unsigned i = 0; i < n; i++) {
        if (now_ms - p->ready_ms[i] > 60000)
            continue;
        recent++;
        if (p->ready_ms[i] < oldest)
            oldest = p->ready_ms[i];
    }
    /* The ring holds fewer than a busy minute makes: scale by the time that it covers. */
    if (recent == POOL_SAMPLES && now_ms > oldest)
        return (uint32_t)((int64_t)recent * 60000 / (now_ms - oldest));
    return recent;
}

void pool_report(const struct pool *p, int64_t now_ms, struct handover_pool *ret)
{
    *ret = (struct handover_pool){
        .policy = p->policy->key,
        .parked = p->counts[MEMBER_PARKED],
        .starting = on_the_way(p),
        .running = p->counts[MEMBER_RUNNING] + p->counts[MEMBER_TUNING],
        .waiting = p->waiting_n,
        .removing = p->counts[MEMBER_REMOVING],
        .target = p->target,
        .min = (uint32_t)p->policy->pool_min,
        .max = (uint32_t)p->policy->pool_max,
        .hits = p->hits,
        .misses = p->misses,
        .started = p->started,
        .footprint = p->footprint,
        .start_ms_p50 = pool_start_p50(p),
        .refill_per_min = pool_refill_per_min(p, now_ms),
    };
    memcpy(ret->discarded, p->discarded, sizeof(ret->discarded));
}
