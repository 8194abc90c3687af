/*
 * The engine's events are a hint (they get lost when it restarts), so only one thing is taken from
 * them: that the kernel killed something of a member for memory.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/str.h"
#include "keeper/upkeep.h"

enum { WATCH_STACK = 256 * 1024, WATCH_PAUSE_S = 1 };

struct watcher {
    const struct engine_ops *ops;
    struct engine *engine;
    char instance[64];
    int out_fd; /* one struct watch_note per write: atomic, as it is below PIPE_BUF */
};

static bool note(void *ctx, const struct engine_event *ev)
{
    const struct watcher *w = ctx;
    struct watch_note n = {.is_oom = true};

    if (strcmp(ev->action, "oom") != 0 || strcmp(ev->instance, w->instance) != 0)
        return true;
    (void)str_copy(n.container, ev->id, sizeof(n.container));
    (void)!write(w->out_fd, &n, sizeof(n));
    return true;
}

static void *watch_for_ever(void *arg)
{
    struct watcher *w = arg;

    for (;;) {
        struct timespec pause = {.tv_sec = WATCH_PAUSE_S};

        (void)w->ops->watch(w->engine, note, w, NULL);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return NULL;
}

int watch_start(struct keeper *k, struct err *err)
{
    /* Lives as long as the process: the thread may hang in the engine at any time. */
    static struct watcher w;
    pthread_attr_t attr;
    pthread_t thread;
    int fds[2], rc;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(err, "pipe");
    w = (struct watcher){.ops = k->o->ops, .engine = k->o->engine, .out_fd = fds[1]};
    (void)str_copy(w.instance, k->o->settings->instance, sizeof(w.instance));
    k->events_fd = fds[0];
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WATCH_STACK);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, watch_for_ever, &w);
    (void)pthread_attr_destroy(&attr);
    if (rc)
        return err_set(err, ERR_INTERNAL, "cannot start the event thread");
    k->is_watching_events = true;
    return loop_watch(k, fds[0], WATCH_EVENTS, k, EPOLLIN);
}
