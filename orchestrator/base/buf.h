#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

/*
 * A growing byte buffer that cannot pass `max`. Adding beyond it (or running out of memory) sets
 * `is_full`, drops the addition and every later one; writers may add many times and ask once.
 * The content is always followed by a NUL that `len` does not count.
 */
struct buf {
    char *data;
    size_t len, cap, max;
    bool is_full;
};

void buf_init(struct buf *b, size_t max); /* storage of the caller; no allocation yet */
void buf_done(struct buf *b);
void buf_clear(struct buf *b); /* empty again, keeps storage and max */

/* All return 0, or -1 once the buffer is full. Callers may look at is_full at the end instead. */
int buf_add(struct buf *b, const void *data, size_t n);
int buf_str(struct buf *b, const char *s);
int buf_char(struct buf *b, char c);
int buf_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for `n` more bytes, or NULL; follow with buf_commit of what was used. */
char *buf_room(struct buf *b, size_t n) MUST_CHECK;
void buf_commit(struct buf *b, size_t n);

/* Drops `n` bytes from the front. */
void buf_drop(struct buf *b, size_t n);

/* The content as a string, "" when empty; borrowed until the next call on `b`. */
const char *buf_get(const struct buf *b);

/* Moves the content to the caller (free it); `b` is empty afterwards. */
char *buf_take(struct buf *b);

#endif
