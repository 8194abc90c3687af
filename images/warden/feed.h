#ifndef WARDEN_FEED_H
#define WARDEN_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h"

/*
 * The program's standard input on its way into a pipe. What does not fit into the queue stays in
 * the stream, unread; who does not read its input thereby holds up what the front says later, but
 * not the end of the stream.
 */
struct feed {
    struct queue queue;
    int fd;       /* the pipe's writing end; -1 once everything is written, or nobody reads */
    bool is_over; /* the last part came */
};

/* Takes over `fd`, which is non-blocking. Whatever an earlier input left behind is dropped. */
void feed_open(struct feed *f, int fd);
void feed_close(struct feed *f);

/* Appends a part, for which the queue has room; dropped when nobody reads. */
void feed_add(struct feed *f, const void *data, size_t n, bool is_last);

/* Writes what the pipe takes now and closes it behind the last byte. */
void feed_flush(struct feed *f);

/* There is something to write, so the descriptor is worth polling. */
bool feed_is_waiting(const struct feed *f);

#endif
