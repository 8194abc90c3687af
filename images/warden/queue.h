#ifndef WARDEN_QUEUE_H
#define WARDEN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/frame.h"

/*
 * Bytes on their way to one non-blocking descriptor: bounded, over storage of the caller, written
 * when the descriptor takes them. Who appends asks for the room first.
 */
struct queue {
    uint8_t *buf;
    size_t cap, start, end;
};

void queue_init(struct queue *q, uint8_t *storage, size_t cap);
bool queue_is_empty(const struct queue *q);
size_t queue_room(const struct queue *q);

/* Room for one frame of any length. */
bool queue_has_room(const struct queue *q);

/* Where the next `n` bytes go (n <= queue_room); they count once queue_grow says so. */
uint8_t *queue_tail(struct queue *q, size_t n);
void queue_grow(struct queue *q, size_t n);

/* Appends a whole frame, for which there is room. */
void queue_frame(struct queue *q, const struct frame *f);

/* Writes what `fd` takes now. 0, or -1 when the peer is gone. */
int queue_flush(struct queue *q, int fd);

#endif
