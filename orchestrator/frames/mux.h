#ifndef FRAMES_MUX_H
#define FRAMES_MUX_H

#include <stddef.h>
#include <stdint.h>

/*
 * What the engine wraps around the bytes of an attached container without a terminal: 8-byte heads
 * {stream, 0, 0, 0, length big endian} (Docker Engine API, "Stream format"). Only stream 1 (stdout)
 * carries frames; stream 2 (what the engine's runtime itself may write) is skipped; a type beyond
 * that or a non-zero padding byte breaks the protocol. Heads may be split over reads.
 */
struct mux {
    uint8_t head[8];
    unsigned head_len;
    uint32_t left; /* bytes of the current payload that are still to come */
    uint8_t stream;
};

enum { MUX_HEAD = 8 };

/*
 * Strips heads in place: the payload of stream 1 among `n` raw bytes at `data` is moved to the
 * front. Returns its length, or -1 when the peer breaks the protocol.
 */
long mux_strip(struct mux *m, uint8_t *data, size_t n);

#endif
