#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { BUF_FIRST = 256 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->is_full = false;
    if (b->data)
        b->data[0] = '\0';
}

static int grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    char *data;

    while (cap < need)
        cap = cap < b->max / 2 ? cap * 2 : b->max + 1;
    data = realloc(b->data, cap);
    if (!data) {
        b->is_full = true;
        return -1;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

char *buf_room(struct buf *b, size_t n)
{
    if (b->is_full || n > b->max || b->len > b->max - n) {
        b->is_full = true;
        return NULL;
    }
    if (b->len + n + 1 > b->cap && grow(b, b->len + n + 1) < 0)
        return NULL;
    return b->data + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(b->len + n < b->cap);
    b->len += n;
    b->data[b->len] = '\0';
}

int buf_add(struct buf *b, const void *data, size_t n)
{
    char *room = buf_room(b, n);

    if (!room)
        return -1;
    if (n)
        memcpy(room, data, n);
    buf_commit(b, n);
    return 0;
}

int buf_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    char *room;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    room = n < 0 ? NULL : buf_room(b, (size_t)n);
    if (room) {
        (void)vsnprintf(room, (size_t)n + 1, fmt, again);
        buf_commit(b, (size_t)n);
    }
    va_end(again);
    return room ? 0 : -1;
}

void buf_drop(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (b->data) {
        memmove(b->data, b->data + n, b->len);
        b->data[b->len] = '\0';
    }
}

const char *buf_get(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
    char *out = b->data ? b->data : xstrdup("");

    *b = (struct buf){.max = b->max};
    return out;
}
