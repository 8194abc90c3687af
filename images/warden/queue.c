#include "queue.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

void queue_init(struct queue *q, uint8_t *storage, size_t cap)
{
    *q = (struct queue){.buf = storage, .cap = cap};
}

bool queue_is_empty(const struct queue *q)
{
    return q->start == q->end;
}

size_t queue_room(const struct queue *q)
{
    return q->cap - (q->end - q->start);
}

bool queue_has_room(const struct queue *q)
{
    return queue_room(q) >= FRAME_HEAD + FRAME_MAX;
}

uint8_t *queue_tail(struct queue *q, size_t n)
{
    assert(n <= queue_room(q));
    if (q->cap - q->end < n) {
        memmove(q->buf, q->buf + q->start, q->end - q->start);
        q->end -= q->start;
        q->start = 0;
    }
    return q->buf + q->end;
}

void queue_grow(struct queue *q, size_t n)
{
    assert(n <= q->cap - q->end);
    q->end += n;
}

void queue_frame(struct queue *q, const struct frame *f)
{
    uint8_t *p = queue_tail(q, FRAME_HEAD + f->len);

    frame_put_head(p, f->type, f->flags, f->id, f->len);
    if (f->len)
        memcpy(p + FRAME_HEAD, f->data, f->len);
    queue_grow(q, FRAME_HEAD + f->len);
}

int queue_flush(struct queue *q, int fd)
{
    while (q->start < q->end) {
        ssize_t n = write(fd, q->buf + q->start, q->end - q->start);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        q->start += (size_t)n;
    }
    q->start = q->end = 0;
    return 0;
}
