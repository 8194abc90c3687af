#include "tools/gates.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"

struct gate {
    char *name;
    unsigned inside, waiting;
};

/* Names of functions: there are no more than the tools have had. */
struct gates {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t change;
    struct gate *list;
    size_t n;
};

struct gates *gates_new(void)
{
    struct gates *g = xcalloc(1, sizeof(*g));
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&g->change, &attr);
    (void)pthread_condattr_destroy(&attr);
    return g;
}

void gates_free(struct gates *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++)
        free(g->list[i].name);
    free(g->list);
    (void)pthread_cond_destroy(&g->change);
    (void)pthread_mutex_destroy(&g->lock);
    free(g);
}

/* By number: the list may move while somebody waits. */
static size_t find(struct gates *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++) {
        if (strcmp(g->list[i].name, name) == 0)
            return i;
    }
    g->list = xarray(g->list, g->n + 1, sizeof(*g->list));
    g->list[g->n] = (struct gate){.name = xstrdup(name)};
    return g->n++;
}

/* Nobody can be woken by `stop` here, so it is looked at often enough. */
static void wait_step(struct gates *g, int64_t deadline_ms)
{
    int64_t until = clock_ms() + STOP_STEP_MS;
    struct timespec at;

    until = until < deadline_ms ? until : deadline_ms;
    at = (struct timespec){.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    (void)pthread_cond_timedwait(&g->change, &g->lock, &at);
}

static int wait_for(struct gates *g, size_t at, unsigned max, int64_t deadline_ms,
                    struct stop *stop, struct err *err)
{
    while (g->list[at].inside >= max) {
        if (stop_is_asked(stop))
            return err_set(err, ERR_CANCELLED, "nobody waits for the reply any more");
        if (clock_ms() >= deadline_ms)
            return err_set(err, ERR_TIMEOUT, "no place among %u calls in time", max);
        wait_step(g, deadline_ms);
    }
    return 0;
}

int gates_enter(struct gates *g, const char *name, unsigned max, int64_t deadline_ms,
                struct stop *stop, struct err *err)
{
    size_t at;
    int rc;

    (void)pthread_mutex_lock(&g->lock);
    at = find(g, name);
    g->list[at].waiting++;
    rc = wait_for(g, at, max, deadline_ms, stop, err);
    g->list[at].waiting--;
    g->list[at].inside += rc == 0;
    (void)pthread_mutex_unlock(&g->lock);
    return rc;
}

void gates_leave(struct gates *g, const char *name)
{
    struct gate *gate;

    (void)pthread_mutex_lock(&g->lock);
    gate = &g->list[find(g, name)];
    gate->inside--;
    if (gate->waiting)
        (void)pthread_cond_broadcast(&g->change);
    (void)pthread_mutex_unlock(&g->lock);
}
