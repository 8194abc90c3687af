#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Length of the valid UTF-8 sequence at `s` (1..4), 0 when `n` ends inside one that is valid so
 * far, -1 when the first byte starts no valid sequence. Overlong forms, surrogates and values
 * over U+10FFFF are invalid (Unicode 15, table 3-7).
 */
int utf8_step(const unsigned char *s, size_t n);

/* Offset of the first byte that is not valid UTF-8, or `n` when all is valid. */
size_t utf8_valid_prefix(const char *s, size_t n);

/* Largest cut point <= n that does not split a sequence. */
size_t utf8_cut(const char *s, size_t n);

/*
 * Streaming repair: bytes that are not UTF-8 become U+FFFD, one for each maximal invalid part as
 * Python's errors="replace" does. A sequence split over two calls is held back in the state.
 */
struct utf8_repair {
    unsigned char held[4];
    size_t held_len;
};

/* Upper bound of the output of utf8_repair_feed for `n` bytes of input. */
#define UTF8_REPAIR_MAX(n) (3 * ((n) + 4))

/* Both write valid UTF-8 to `out` and return its length. `flush` ends the text. */
size_t utf8_repair_feed(struct utf8_repair *r, const char *s, size_t n, char *out);
size_t utf8_repair_flush(struct utf8_repair *r, char *out);

#endif
