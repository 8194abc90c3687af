#ifndef TESTS_PROVIDER_RIG_H
#define TESTS_PROVIDER_RIG_H

#include <pthread.h>
#include <time.h>

#include "base/stop.h"
#include "core/host.h"
#include "unit.h"

/*
 * What a provider of host calls is made of: it enters, may stay until the gate is opened or it is
 * asked to stop, and leaves; all of that is counted.
 */
enum { PROVIDER_PATIENCE_S = 60 };

static pthread_mutex_t lock;
static pthread_cond_t changed;
static unsigned begun, at_work, at_work_max, stopped, ended;
static bool gate_is_open;

static inline void provider_begin(void)
{
    begun = at_work = at_work_max = stopped = ended = 0;
    gate_is_open = false;
    (void)pthread_mutex_init(&lock, NULL);
    (void)pthread_cond_init(&changed, NULL);
}

static inline void provider_end(void)
{
    (void)pthread_cond_destroy(&changed);
    (void)pthread_mutex_destroy(&lock);
}

/* `note` keeps what the test wants to know of the call, under the lock. */
static inline void provider_enter(const struct host_call *call,
                                  void (*note)(const struct host_call *call))
{
    (void)pthread_mutex_lock(&lock);
    begun++;
    at_work++;
    at_work_max = at_work > at_work_max ? at_work : at_work_max;
    note(call);
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

static inline void provider_leave(void)
{
    (void)pthread_mutex_lock(&lock);
    at_work--;
    ended++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

static inline void provider_asked(void *is_asked)
{
    (void)pthread_mutex_lock(&lock);
    *(bool *)is_asked = true;
    stopped++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

/* Waits until the gate is open; with `obeys` or until somebody asks to stop. */
static inline void provider_stay(const struct host_call *call, bool obeys)
{
    bool is_asked = false;

    stop_on_ask(call->stop, provider_asked, &is_asked);
    (void)pthread_mutex_lock(&lock);
    while (!gate_is_open && !(obeys && is_asked))
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    stop_on_ask(call->stop, NULL, NULL);
}

/* Waits for one of the counts. */
static inline void wait_for(const unsigned *what, unsigned n)
{
    struct timespec until;
    int rc = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PROVIDER_PATIENCE_S;
    (void)pthread_mutex_lock(&lock);
    while (*what < n && rc == 0)
        rc = pthread_cond_timedwait(&changed, &lock, &until);
    (void)pthread_mutex_unlock(&lock);
    ck_assert_int_eq(rc, 0);
}

static inline void open_gate(void)
{
    (void)pthread_mutex_lock(&lock);
    gate_is_open = true;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

#endif
