#include "frames/frame.h"

#include <assert.h>
#include <string.h>

#include "frames/le.h"

void frame_put_head(uint8_t out[FRAME_HEAD], uint8_t type, uint8_t flags, uint16_t id, uint32_t len)
{
    out[0] = type;
    out[1] = flags;
    le_put16(out + 2, id);
    le_put32(out + 4, len);
}

void frame_reader_init(struct frame_reader *r, uint8_t *storage, size_t cap)
{
    assert(cap >= FRAME_HEAD + FRAME_MAX);
    *r = (struct frame_reader){.buf = storage, .cap = cap};
}

uint8_t *frame_space(struct frame_reader *r, size_t *ret_n)
{
    if (r->start == r->end) {
        r->start = r->end = 0;
    } else if (r->cap - r->start < FRAME_HEAD + FRAME_MAX) {
        memmove(r->buf, r->buf + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    *ret_n = r->cap - r->end;
    return r->buf + r->end;
}

void frame_fill(struct frame_reader *r, size_t n)
{
    assert(n <= r->cap - r->end);
    r->end += n;
}

int frame_next(struct frame_reader *r, struct frame *ret)
{
    const uint8_t *head = r->buf + r->start;
    size_t have = r->end - r->start;
    uint32_t len;

    if (have < FRAME_HEAD)
        return 0;
    len = le_get32(head + 4);
    if (len > FRAME_MAX)
        return -1;
    if (have < FRAME_HEAD + (size_t)len)
        return 0;
    *ret = (struct frame){.type = head[0],
                          .flags = head[1],
                          .id = le_get16(head + 2),
                          .len = len,
                          .data = head + FRAME_HEAD};
    r->start += FRAME_HEAD + (size_t)len;
    return 1;
}
