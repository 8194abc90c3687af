#include "keeper/crew.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/mem.h"

enum { CREW_STACK = 256 * 1024 };

struct task_line {
    struct task *first, **last;
};

struct crew {
    const struct engine_ops *ops;
    struct engine *engine;
    int event_fd;
    unsigned threads_n;
    pthread_t *threads;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    struct task_line todo, done;
    bool is_stopping;
};

static void line_init(struct task_line *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void line_put(struct task_line *l, struct task *t)
{
    t->next = NULL;
    *l->last = t;
    l->last = &t->next;
}

static struct task *line_get(struct task_line *l)
{
    struct task *t = l->first;

    if (!t)
        return NULL;
    l->first = t->next;
    if (!l->first)
        l->last = &l->first;
    return t;
}

struct task *task_new(enum task_kind kind)
{
    struct task *t = xcalloc(1, sizeof(*t));

    t->kind = kind;
    t->fd = -1;
    return t;
}

void task_free(struct task *t)
{
    if (!t)
        return;
    spec_free(t->spec);
    free(t->text);
    free(t->list);
    if (t->fd >= 0)
        (void)close(t->fd);
    free(t);
}

/* An exit is not over for the engine the moment the stream ends: give it time, then look. */
static int find_fate(const struct crew *c, struct task *t)
{
    int exit_code;

    if (c->ops->inspect(c->engine, t->container, &t->state, &t->err) < 0)
        return -1;
    if (!t->state.is_running)
        return 0;
    if (c->ops->wait(c->engine, t->container, (int64_t)t->number, &exit_code, NULL) < 0)
        return 0;
    return c->ops->inspect(c->engine, t->container, &t->state, &t->err);
}

static int perform(const struct crew *c, struct task *t)
{
    const struct engine_ops *ops = c->ops;

    switch (t->kind) {
    case TASK_PING:
        return ops->ping(c->engine, &t->err);
    case TASK_IMAGE:
        return ops->image(c->engine, t->text, &t->image, &t->err);
    case TASK_START:
        return ops->park(c->engine, spec_get(t->spec), t->container, &t->fd, &t->err);
    case TASK_DESTROY:
        return ops->destroy(c->engine, t->container, &t->err);
    case TASK_UPDATE:
        return ops->update(c->engine, t->container, (int64_t)t->number, &t->err);
    case TASK_USAGE:
        return ops->usage(c->engine, t->container, &t->number, &t->err);
    case TASK_FATE:
        return find_fate(c, t);
    case TASK_LIST:
        return ops->list(c->engine, &t->list, &t->list_n, &t->err);
    }
    return err_set(&t->err, ERR_INTERNAL, "no such task");
}

static void finish(struct crew *c, struct task *t)
{
    const uint64_t one = 1;

    (void)pthread_mutex_lock(&c->lock);
    line_put(&c->done, t);
    (void)pthread_mutex_unlock(&c->lock);
    (void)!write(c->event_fd, &one, sizeof(one));
}

static struct task *next_task(struct crew *c)
{
    struct task *t = NULL;

    (void)pthread_mutex_lock(&c->lock);
    while (!c->is_stopping && !(t = line_get(&c->todo)))
        (void)pthread_cond_wait(&c->more, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
    return t;
}

static void *work(void *arg)
{
    struct crew *c = arg;
    struct task *t;

    while ((t = next_task(c))) {
        t->rc = perform(c, t);
        finish(c, t);
    }
    return NULL;
}

int crew_new(const struct engine_ops *ops, struct engine *engine, unsigned threads,
             struct crew **ret, struct err *err)
{
    struct crew *c = xcalloc(1, sizeof(*c));
    pthread_attr_t attr;

    c->ops = ops;
    c->engine = engine;
    line_init(&c->todo);
    line_init(&c->done);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->more, NULL);
    c->threads = xcalloc(threads, sizeof(*c->threads));
    c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->event_fd < 0) {
        crew_free(c);
        return err_sys(err, "eventfd");
    }
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, CREW_STACK);
    while (c->threads_n < threads && pthread_create(&c->threads[c->threads_n], &attr, work, c) == 0)
        c->threads_n++;
    (void)pthread_attr_destroy(&attr);
    if (c->threads_n < threads) {
        crew_free(c);
        return err_set(err, ERR_INTERNAL, "cannot start %u engine threads", threads);
    }
    *ret = c;
    return 0;
}

void crew_add(struct crew *c, struct task *t)
{
    (void)pthread_mutex_lock(&c->lock);
    line_put(&c->todo, t);
    (void)pthread_cond_signal(&c->more);
    (void)pthread_mutex_unlock(&c->lock);
}

int crew_fd(const struct crew *c)
{
    return c->event_fd;
}

struct task *crew_take(struct crew *c)
{
    struct task *t;
    uint64_t count;

    (void)pthread_mutex_lock(&c->lock);
    t = line_get(&c->done);
    /* Under the lock, so that no task can be added between the look and the reset. */
    if (!t)
        (void)!read(c->event_fd, &count, sizeof(count));
    (void)pthread_mutex_unlock(&c->lock);
    return t;
}

void crew_free(struct crew *c)
{
    struct task *t;

    if (!c)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->is_stopping = true;
    (void)pthread_cond_broadcast(&c->more);
    (void)pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->threads_n; i++)
        (void)pthread_join(c->threads[i], NULL);
    while ((t = line_get(&c->todo)))
        task_free(t);
    while ((t = line_get(&c->done)))
        task_free(t);
    if (c->event_fd >= 0)
        (void)close(c->event_fd);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_cond_destroy(&c->more);
    free(c->threads);
    free(c);
}
