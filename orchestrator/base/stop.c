#include "base/stop.h"

#include <poll.h>

#include "base/clock.h"

void stop_init(struct stop *s, int client_fd)
{
    *s = (struct stop){.client_fd = client_fd};
    (void)pthread_mutex_init(&s->lock, NULL);
}

void stop_done(struct stop *s)
{
    (void)pthread_mutex_destroy(&s->lock);
}

void stop_ask(struct stop *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->is_asked = true;
    if (s->wake)
        s->wake(s->ctx);
    (void)pthread_mutex_unlock(&s->lock);
}

static bool client_is_gone(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, wait_ms) > 0 && fd >= 0;
}

/* Looks at the client for up to `wait_ms`. */
static bool look(struct stop *s, int wait_ms)
{
    bool is_asked = client_is_gone(s->client_fd, wait_ms);

    (void)pthread_mutex_lock(&s->lock);
    is_asked = is_asked || s->is_asked;
    (void)pthread_mutex_unlock(&s->lock);
    return is_asked;
}

bool stop_is_asked(struct stop *s)
{
    return s && look(s, 0);
}

void stop_on_ask(struct stop *s, void (*wake)(void *ctx), void *ctx)
{
    if (!s)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->wake = wake;
    s->ctx = ctx;
    if (wake && s->is_asked)
        wake(ctx);
    (void)pthread_mutex_unlock(&s->lock);
}

bool stop_sleep(struct stop *s, int64_t until_ms)
{
    struct stop nobody = {.client_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

    for (;;) {
        int left = clock_left_ms(until_ms);
        int step = left < 0 || left > STOP_STEP_MS ? STOP_STEP_MS : left;

        if (look(s ? s : &nobody, step))
            return false;
        if (left == 0)
            return true;
    }
}
