#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Standard alphabet with padding (RFC 4648 section 4). */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/*
 * Encodes `n` bytes; `out` holds BASE64_LEN(n), no NUL. To stream, give multiples of 3 bytes until
 * the last call.
 */
size_t base64_encode(char *out, const void *data, size_t n);

/* Streaming decoder: feed text in any split, white space is skipped, then check the end. */
struct base64_dec {
    uint32_t bits;
    unsigned have, pad;
};

/* Decodes into `out` (at least n*3/4+3 bytes). ERR_INVALID on a foreign character. */
int base64_feed(struct base64_dec *d, const char *s, size_t n, unsigned char *out, size_t *ret_len,
                struct err *err) MUST_CHECK;

/* ERR_INVALID when the text stopped inside a group of four. */
int base64_end(const struct base64_dec *d, struct err *err) MUST_CHECK;

#endif
