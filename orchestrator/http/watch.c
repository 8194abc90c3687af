#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/steps.h"

/*
 * libmicrohttpd's own timer starts anew with every byte. Here each connection has one absolute
 * deadline; a thread looks at all of them a few times in the shortest time-out and shuts those
 * that are due, which their own threads see as the end of the stream. A connection's thread moves
 * its deadline without the lock; exchanging the value decides who was first.
 */

#define SHUT INT64_MIN

enum { TICK_LEAST_MS = 10, TICK_MOST_MS = 500 };

static void shut(struct http_connection *c, const char *why)
{
    log_debug("http: %s: connection closed: %s", c->client, why);
    (void)shutdown(c->fd, SHUT_RDWR);
}

/* True for the one caller that closes it. */
static bool claim(struct http_connection *c)
{
    long long seen = atomic_load(&c->deadline_ms);

    return seen != SHUT && atomic_compare_exchange_strong(&c->deadline_ms, &seen, SHUT);
}

void http_watch_until(struct http_connection *c, int64_t deadline_ms)
{
    long long seen = atomic_load(&c->deadline_ms);

    if (seen != SHUT)
        (void)atomic_compare_exchange_strong(&c->deadline_ms, &seen, deadline_ms);
}

void http_watch_idle(struct http_connection *c)
{
    struct http_server *s = c->listener->server;

    http_watch_until(c, clock_ms() + s->limits.idle_ms);
    atomic_store(&c->is_idle, true);
    /* http_watch_quiesce sets is_quiet before it looks at is_idle: one of the two sees it. */
    if (atomic_load(&s->is_quiet) && claim(c))
        shut(c, "the service stops");
}

static int64_t tick_ms(const struct http_limits *l)
{
    int64_t least = l->idle_ms < l->header_ms ? l->idle_ms : l->header_ms;

    least = l->body_ms < least ? l->body_ms : least;
    least = (l->stall_ms < least ? l->stall_ms : least) / 8;
    if (least < TICK_LEAST_MS)
        return TICK_LEAST_MS;
    return least > TICK_MOST_MS ? TICK_MOST_MS : least;
}

/* Under the lock, which keeps the sockets from being closed; shutting one does not wait. */
static void shut_what_is_due(struct http_server *s)
{
    int64_t now = clock_ms();

    for (struct http_connection *c = s->connections; c; c = c->next) {
        long long seen = atomic_load(&c->deadline_ms);

        if (seen != SHUT && seen <= now &&
            atomic_compare_exchange_strong(&c->deadline_ms, &seen, SHUT))
            shut(c, "too slow");
    }
}

static void *watch(void *arg)
{
    struct http_server *s = arg;
    int64_t tick = tick_ms(&s->limits);

    (void)pthread_mutex_lock(&s->lock);
    while (!s->is_over) {
        int64_t wake = clock_ms() + tick;
        struct timespec at = {.tv_sec = wake / 1000, .tv_nsec = wake % 1000 * 1000000};

        if (s->connections)
            (void)pthread_cond_timedwait(&s->changed, &s->lock, &at);
        else
            (void)pthread_cond_wait(&s->changed, &s->lock);
        shut_what_is_due(s);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

int http_watch_start(struct http_server *s, struct err *err)
{
    pthread_condattr_t attr;
    int failed;

    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    failed = pthread_create(&s->watch, NULL, watch, s);
    if (!failed)
        return 0;
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
    return err_set(err, ERR_INTERNAL, "start the watch over connections: error %d", failed);
}

void http_watch_stop(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->is_over = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->watch, NULL);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
}

/* Under the lock. */
static bool shut_longest_idle(struct http_server *s)
{
    struct http_connection *oldest = NULL;

    for (struct http_connection *c = s->connections; c; c = c->next) {
        if (!atomic_load(&c->is_idle) || atomic_load(&c->deadline_ms) == SHUT)
            continue;
        if (!oldest || atomic_load(&c->deadline_ms) < atomic_load(&oldest->deadline_ms))
            oldest = c;
    }
    if (!oldest || !claim(oldest))
        return false;
    shut(oldest, "room for a new one");
    return true;
}

void http_watch_add(struct http_connection *c)
{
    struct http_server *s = c->listener->server;

    atomic_init(&c->deadline_ms, clock_ms() + s->limits.header_ms);
    atomic_init(&c->is_idle, true);
    (void)pthread_mutex_lock(&s->lock);
    if (s->connections_n >= s->limits.connections)
        c->is_over = !shut_longest_idle(s);
    c->next = s->connections;
    if (c->next)
        c->next->prev = c;
    else
        (void)pthread_cond_broadcast(&s->changed);
    s->connections = c;
    s->connections_n++;
    if (atomic_load(&s->is_quiet) && claim(c))
        shut(c, "the service stops");
    (void)pthread_mutex_unlock(&s->lock);
}

void http_watch_remove(struct http_connection *c)
{
    struct http_server *s = c->listener->server;

    (void)pthread_mutex_lock(&s->lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    s->connections_n--;
    (void)pthread_mutex_unlock(&s->lock);
}

void http_watch_quiesce(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    for (struct http_connection *c = s->connections; c; c = c->next) {
        if (atomic_load(&c->is_idle) && claim(c))
            shut(c, "the service stops");
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void http_watch_hang_up(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    for (struct http_connection *c = s->connections; c; c = c->next)
        (void)shutdown(c->fd, SHUT_RD);
    (void)pthread_mutex_unlock(&s->lock);
}
