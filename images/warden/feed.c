#include "feed.h"

#include <string.h>
#include <unistd.h>

void feed_close(struct feed *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = -1;
    queue_init(&f->queue, f->queue.buf, f->queue.cap);
}

void feed_open(struct feed *f, int fd)
{
    feed_close(f);
    f->fd = fd;
    f->is_over = false;
}

void feed_add(struct feed *f, const void *data, size_t n, bool is_last)
{
    if (f->fd < 0)
        return;
    if (n) {
        memcpy(queue_tail(&f->queue, n), data, n);
        queue_grow(&f->queue, n);
    }
    f->is_over |= is_last;
    feed_flush(f);
}

void feed_flush(struct feed *f)
{
    if (f->fd < 0)
        return;
    if (queue_flush(&f->queue, f->fd) < 0 || (f->is_over && queue_is_empty(&f->queue)))
        feed_close(f);
}

bool feed_is_waiting(const struct feed *f)
{
    return f->fd >= 0 && !queue_is_empty(&f->queue);
}
