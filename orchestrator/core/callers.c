#include "core/callers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"
#include "core/call_wire.h"

enum job_state { JOB_QUEUED, JOB_WORKING, JOB_DONE };

struct call_job {
    struct call_order o;
    char *texts[7]; /* what `o.call` points to */
    struct stop stop;

    /* under the lock */
    enum job_state state;
    unsigned refs; /* of the run, and of the thread that works on it */
    bool is_dropped;
    struct call_done done;
    TAILQ_ENTRY(call_job) link;
};

struct caller {
    struct callers *pool;
    pthread_t thread;
    LIST_ENTRY(caller) link;
};

TAILQ_HEAD(job_list, call_job);
LIST_HEAD(caller_list, caller);

struct callers {
    int64_t idle_ms;
    pthread_mutex_t lock; /* guards all that follows, and the jobs */
    pthread_cond_t changed;
    struct job_list queue;
    size_t queued, threads_n, idle_n;
    struct caller_list live, ended; /* the latter are only to be joined */
    bool is_stopping;
};

struct callers *callers_new(int64_t idle_ms)
{
    struct callers *c = xcalloc(1, sizeof(*c));
    pthread_condattr_t attr;

    c->idle_ms = idle_ms;
    TAILQ_INIT(&c->queue);
    LIST_INIT(&c->live);
    LIST_INIT(&c->ended);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return c;
}

/* ---- jobs ---- */

static struct call_job *new_job(const struct call_order *o)
{
    struct call_job *job = xcalloc(1, sizeof(*job));
    const char **texts[] = {&job->o.call.run_id, &job->o.call.dialect, &job->o.call.policy,
                            &job->o.call.client, &job->o.call.kind,    &job->o.call.name};

    job->o = *o;
    job->refs = 1;
    stop_init(&job->stop, -1);
    job->o.call.stop = &job->stop;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = job->texts[i] = xstrdup(*texts[i] ? *texts[i] : "");
    job->texts[ARRAY_LEN(texts)] = xstrndup(o->call.args, o->call.args_len);
    job->o.call.args = job->texts[ARRAY_LEN(texts)];
    return job;
}

static void free_job(struct call_job *job)
{
    for (size_t i = 0; i < ARRAY_LEN(job->texts); i++)
        free(job->texts[i]);
    buf_done(&job->done.reply);
    stop_done(&job->stop);
    free(job);
}

/* Under the lock. */
static void unref(struct call_job *job)
{
    if (--job->refs == 0)
        free_job(job);
}

/* ---- threads ---- */

static void call_provider(const struct call_order *o, struct call_done *ret)
{
    struct host_answer answer = {.verdict = HOST_OK};
    int64_t began = clock_us();

    buf_init(&answer.result, o->call.reply_max);
    buf_init(&answer.message, HOST_MESSAGE_MAX);
    o->fn(o->ctx, &o->call, &answer);
    /* A head for each FRAME_MAX bytes, and the few bytes around the result. */
    buf_init(&ret->reply,
             o->call.reply_max + o->call.reply_max / 1024 + (size_t)HOST_MESSAGE_MAX * 8);
    call_reply_put(&ret->reply, o->id, &answer, o->call.reply_max);
    ret->verdict = answer.verdict;
    ret->bytes = answer.is_error ? answer.message.len : answer.result.len;
    ret->was_begun = true;
    ret->us = clock_us() - began;
    buf_done(&answer.result);
    buf_done(&answer.message);
}

/* Under the lock, which is not held during the call itself. */
static void serve(struct callers *c, struct call_job *job)
{
    struct call_done done = {0};
    const uint64_t one = 1;

    TAILQ_REMOVE(&c->queue, job, link);
    c->queued--;
    job->state = JOB_WORKING;
    job->refs++;
    (void)pthread_mutex_unlock(&c->lock);
    call_provider(&job->o, &done);
    (void)pthread_mutex_lock(&c->lock);
    job->done = done;
    job->state = JOB_DONE;
    if (!job->is_dropped)
        (void)!write(job->o.event_fd, &one, sizeof(one));
    unref(job);
}

/* Under the lock. False: nothing came for so long that the thread may go. */
static bool wait_idle(struct callers *c)
{
    int64_t until = clock_ms() + c->idle_ms;
    struct timespec t = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    int rc = 0;

    c->idle_n++;
    while (rc == 0 && TAILQ_EMPTY(&c->queue) && !c->is_stopping)
        rc = pthread_cond_timedwait(&c->changed, &c->lock, &t);
    c->idle_n--;
    return !TAILQ_EMPTY(&c->queue);
}

static void *work(void *arg)
{
    struct caller *me = arg;
    struct callers *c = me->pool;

    (void)pthread_mutex_lock(&c->lock);
    do {
        struct call_job *job;

        while ((job = TAILQ_FIRST(&c->queue)))
            serve(c, job);
    } while (!c->is_stopping && wait_idle(c));
    c->threads_n--;
    LIST_REMOVE(me, link);
    LIST_INSERT_HEAD(&c->ended, me, link);
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Under the lock: these threads have nothing left to do but to return. */
static void join_ended(struct callers *c)
{
    struct caller *t;

    while ((t = LIST_FIRST(&c->ended))) {
        LIST_REMOVE(t, link);
        (void)pthread_mutex_unlock(&c->lock);
        (void)pthread_join(t->thread, NULL);
        free(t);
        (void)pthread_mutex_lock(&c->lock);
    }
}

/* Under the lock. Signals are for the main thread. */
static void start_thread(struct callers *c)
{
    struct caller *t = xcalloc(1, sizeof(*t));
    sigset_t all, old;
    int rc;

    t->pool = c;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&t->thread, NULL, work, t);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        free(t);
        return;
    }
    c->threads_n++;
    LIST_INSERT_HEAD(&c->live, t, link);
}

size_t callers_threads(struct callers *c)
{
    size_t n;

    (void)pthread_mutex_lock(&c->lock);
    n = c->threads_n;
    (void)pthread_mutex_unlock(&c->lock);
    return n;
}

void callers_free(struct callers *c)
{
    struct caller *t;

    if (!c)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->is_stopping = true;
    (void)pthread_cond_broadcast(&c->changed);
    while ((t = LIST_FIRST(&c->live)) || (t = LIST_FIRST(&c->ended))) {
        (void)pthread_mutex_unlock(&c->lock);
        (void)pthread_join(t->thread, NULL);
        (void)pthread_mutex_lock(&c->lock);
        LIST_REMOVE(t, link); /* from the ended ones by now */
        free(t);
    }
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- for the runs ---- */

struct call_job *callers_ask(struct callers *c, const struct call_order *order)
{
    struct call_job *job = NULL;

    (void)pthread_mutex_lock(&c->lock);
    join_ended(c);
    if (c->idle_n <= c->queued && c->threads_n < HOST_THREADS)
        start_thread(c);
    if (c->threads_n) {
        job = new_job(order);
        TAILQ_INSERT_TAIL(&c->queue, job, link);
        c->queued++;
        (void)pthread_cond_signal(&c->changed);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return job;
}

bool callers_look(struct callers *c, struct call_job *job, struct call_done *ret)
{
    bool is_done;

    (void)pthread_mutex_lock(&c->lock);
    is_done = job->state == JOB_DONE;
    if (is_done) {
        *ret = job->done;
        job->done.reply = (struct buf){0};
    }
    (void)pthread_mutex_unlock(&c->lock);
    return is_done;
}

void callers_drop(struct callers *c, struct call_job *job)
{
    (void)pthread_mutex_lock(&c->lock);
    job->is_dropped = true;
    if (job->state == JOB_QUEUED) {
        TAILQ_REMOVE(&c->queue, job, link);
        c->queued--;
    }
    (void)pthread_mutex_unlock(&c->lock);
    stop_ask(&job->stop); /* may call the provider's own: not under the lock */
    (void)pthread_mutex_lock(&c->lock);
    unref(job);
    (void)pthread_mutex_unlock(&c->lock);
}
