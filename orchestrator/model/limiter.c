#include "model/limiter.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"

enum {
    MINUTE_MS = 60000,
    NEXT_MS = 5, /* who is due and not the first yet soon will be */
};

/* On the stack of the thread that waits. */
struct limiter_place {
    struct limiter_place *next;
};

void limiter_init(struct limiter *l, unsigned per_minute)
{
    *l = (struct limiter){.n = per_minute};
    (void)pthread_mutex_init(&l->lock, NULL);
    if (!l->n)
        return;
    l->begun_ms = xarray(NULL, l->n, sizeof(*l->begun_ms));
    for (size_t i = 0; i < l->n; i++)
        l->begun_ms[i] = INT64_MIN / 2;
}

void limiter_done(struct limiter *l)
{
    free(l->begun_ms);
    (void)pthread_mutex_destroy(&l->lock);
    *l = (struct limiter){0};
}

/* The call that begins n calls earlier must be a minute old; it may itself still wait. */
int64_t limiter_due(const struct limiter *l, size_t ahead, int64_t now_ms)
{
    int64_t due = l->begun_ms[(l->at + ahead % l->n) % l->n] + MINUTE_MS;

    if (due < now_ms)
        due = now_ms;
    return due + (int64_t)(ahead / l->n) * MINUTE_MS;
}

void limiter_begin(struct limiter *l, int64_t now_ms)
{
    l->begun_ms[l->at] = now_ms;
    l->at = (l->at + 1) % l->n;
}

/* How many stand in front of `place`. Under the lock. */
static size_t ahead_of(const struct limiter *l, const struct limiter_place *place)
{
    size_t n = 0;

    for (const struct limiter_place *p = l->first; p != place; p = p->next)
        n++;
    return n;
}

static void enter(struct limiter *l, struct limiter_place *place)
{
    if (l->last)
        l->last->next = place;
    else
        l->first = place;
    l->last = place;
    l->waiting++;
}

static void leave(struct limiter *l, const struct limiter_place *place)
{
    struct limiter_place *before = NULL;

    for (struct limiter_place *p = l->first; p != place; p = p->next)
        before = p;
    if (before)
        before->next = place->next;
    else
        l->first = place->next;
    if (l->last == place)
        l->last = before;
    l->waiting--;
}

/* 0 when it is in line, else when its turn would be. */
static int64_t stand_in_line(struct limiter *l, struct limiter_place *place, int64_t deadline_ms)
{
    int64_t due;

    (void)pthread_mutex_lock(&l->lock);
    due = limiter_due(l, l->waiting, clock_ms());
    if (due <= deadline_ms)
        enter(l, place);
    (void)pthread_mutex_unlock(&l->lock);
    return due <= deadline_ms ? 0 : due;
}

/* Begins where it is one's turn. Else false, and when to look again. */
static bool is_turn(struct limiter *l, const struct limiter_place *place, int64_t *ret_look_ms)
{
    int64_t now = clock_ms(), due;
    size_t ahead;

    (void)pthread_mutex_lock(&l->lock);
    ahead = ahead_of(l, place);
    due = limiter_due(l, ahead, now);
    if (ahead == 0 && due <= now) {
        limiter_begin(l, now);
        leave(l, place);
        (void)pthread_mutex_unlock(&l->lock);
        return true;
    }
    (void)pthread_mutex_unlock(&l->lock);
    *ret_look_ms = due <= now ? now + NEXT_MS : due < now + STOP_STEP_MS ? due : now + STOP_STEP_MS;
    return false;
}

int limiter_wait(struct limiter *l, int64_t deadline_ms, struct stop *stop, int *ret_after_s,
                 struct err *err)
{
    struct limiter_place place = {0};
    int64_t look = 0, due;

    if (!l->n)
        return 0;
    due = stand_in_line(l, &place, deadline_ms);
    if (due) {
        *ret_after_s = (int)((due - clock_ms() + 999) / 1000);
        return err_set(err, ERR_BUSY, "%zu calls a minute are allowed and are used up", l->n);
    }
    while (!is_turn(l, &place, &look)) {
        if (stop_sleep(stop, look))
            continue;
        (void)pthread_mutex_lock(&l->lock);
        leave(l, &place);
        (void)pthread_mutex_unlock(&l->lock);
        return err_set(err, ERR_CANCELLED, "nobody waits for the reply any more");
    }
    return 0;
}
