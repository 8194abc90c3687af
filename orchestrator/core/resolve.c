#include "core/resolve.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/mem.h"

enum { RESOLVE_STACK = 512 << 10 }; /* modules of the system's own are not modest */

enum lookup_state { LOOKUP_QUEUED, LOOKUP_RUNNING, LOOKUP_DONE };

struct lookup {
    enum lookup_state state;
    bool is_dropped; /* its thread frees it */
    char *host, *port;
    int event_fd;
    struct resolved answer;
    TAILQ_ENTRY(lookup) link;
};

TAILQ_HEAD(lookup_list, lookup);

struct resolver {
    resolve_fn *fn;
    pthread_mutex_t lock; /* guards all that follows, and the lookups */
    pthread_cond_t changed;
    struct lookup_list queue;
    size_t queued, threads_n, idle_n;
    bool is_stopping;
    pthread_t threads[RESOLVE_THREADS];
};

struct resolver *resolver_new(resolve_fn *fn)
{
    struct resolver *r = xcalloc(1, sizeof(*r));

    r->fn = fn ? fn : getaddrinfo;
    TAILQ_INIT(&r->queue);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->changed, NULL);
    return r;
}

static void free_lookup(struct lookup *l)
{
    free(l->host);
    free(l->port);
    free(l);
}

static void keep_answer(struct resolved *answer, const struct addrinfo *list)
{
    for (; list && answer->n < RESOLVE_ADDRESSES; list = list->ai_next) {
        if (list->ai_addrlen > sizeof(answer->list[0]))
            continue;
        memcpy(&answer->list[answer->n], list->ai_addr, list->ai_addrlen);
        answer->len[answer->n++] = list->ai_addrlen;
    }
}

/* Under the lock, which is not held during the call itself. */
static void look_up(struct resolver *r, struct lookup *l)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    const uint64_t one = 1;
    int rc;

    l->state = LOOKUP_RUNNING;
    (void)pthread_mutex_unlock(&r->lock);
    rc = r->fn(l->host, l->port, &hints, &list);
    (void)pthread_mutex_lock(&r->lock);
    if (rc == 0) {
        keep_answer(&l->answer, list);
        freeaddrinfo(list);
    }
    l->state = LOOKUP_DONE;
    if (l->is_dropped)
        free_lookup(l);
    else
        (void)!write(l->event_fd, &one, sizeof(one));
}

static void *work(void *arg)
{
    struct resolver *r = arg;

    (void)pthread_mutex_lock(&r->lock);
    while (!r->is_stopping) {
        struct lookup *l = TAILQ_FIRST(&r->queue);

        if (l) {
            TAILQ_REMOVE(&r->queue, l, link);
            r->queued--;
            look_up(r, l);
            continue;
        }
        r->idle_n++;
        (void)pthread_cond_wait(&r->changed, &r->lock);
        r->idle_n--;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Under the lock. Signals are for the main thread. */
static bool start_thread(struct resolver *r)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int rc;

    if (r->threads_n == RESOLVE_THREADS)
        return true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, RESOLVE_STACK);
    rc = pthread_create(&r->threads[r->threads_n], &attr, work, r);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        r->threads_n++;
    return r->threads_n > 0;
}

struct lookup *resolver_ask(struct resolver *r, const char *host, const char *port, int event_fd)
{
    struct lookup *l = NULL;

    (void)pthread_mutex_lock(&r->lock);
    if (r->queued < RESOLVE_QUEUE && (r->idle_n > r->queued || start_thread(r))) {
        l = xcalloc(1, sizeof(*l));
        l->host = xstrdup(host);
        l->port = xstrdup(port);
        l->event_fd = event_fd;
        TAILQ_INSERT_TAIL(&r->queue, l, link);
        r->queued++;
        (void)pthread_cond_signal(&r->changed);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return l;
}

bool resolver_look(struct resolver *r, const struct lookup *l, struct resolved *ret)
{
    bool is_done;

    (void)pthread_mutex_lock(&r->lock);
    is_done = l->state == LOOKUP_DONE;
    if (is_done)
        *ret = l->answer;
    (void)pthread_mutex_unlock(&r->lock);
    return is_done;
}

/* Under the lock. False: its thread is busy with it. */
static bool withdraw(struct resolver *r, struct lookup *l)
{
    if (l->state == LOOKUP_RUNNING)
        return false;
    if (l->state == LOOKUP_QUEUED) {
        TAILQ_REMOVE(&r->queue, l, link);
        r->queued--;
    }
    free_lookup(l);
    return true;
}

bool resolver_withdraw(struct resolver *r, struct lookup *l)
{
    bool is_gone;

    (void)pthread_mutex_lock(&r->lock);
    is_gone = withdraw(r, l);
    (void)pthread_mutex_unlock(&r->lock);
    return is_gone;
}

void resolver_drop(struct resolver *r, struct lookup *l)
{
    if (!l)
        return;
    (void)pthread_mutex_lock(&r->lock);
    if (!withdraw(r, l))
        l->is_dropped = true;
    (void)pthread_mutex_unlock(&r->lock);
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->threads_n; i++)
        (void)pthread_join(r->threads[i], NULL);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}
