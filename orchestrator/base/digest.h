#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>

/* SHA-256 (FIPS 180-4), computed by libcrypto. */
enum { DIGEST_LEN = 32, DIGEST_TEXT = 2 * DIGEST_LEN + 1 };

void digest_sha256(unsigned char out[DIGEST_LEN], const void *data, size_t n);

/* The same as lower-case hex with a NUL. Returns `out`. */
const char *digest_text(char out[DIGEST_TEXT], const void *data, size_t n);

#endif
