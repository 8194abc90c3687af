#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Sizes and times as people write them. Fractions are exact or refused: "1.5GiB" is a size,
 * "0.1KiB" is not. Errors are ERR_INVALID and say what was expected; the number is never negative.
 */

/*
 * Bytes: "4096" or "4096B", "512KiB", "256MiB", "1.5GiB". Other units (k, M, MB, GB) are refused,
 * because people disagree about what they mean. "50%" is a share of `whole`, rounded down to 4 KiB;
 * ERR_INVALID where `whole` is 0. "min(10GiB, 50%)" is the smallest of the sizes in it.
 */
int units_size(const char *s, int64_t whole, int64_t *ret_bytes, struct err *err) MUST_CHECK;

/*
 * Milliseconds: "250ms", "30s", "5m", "2h", "7d". A plain number is seconds ("30", "0.3"), because
 * that is what environment variables like SANDBOX_TIMEOUT hold.
 */
int units_time(const char *s, int64_t *ret_ms, struct err *err) MUST_CHECK;

/* Appends with the largest unit that needs no fraction; both functions above read it back. */
void units_put_size(struct buf *b, int64_t bytes);
void units_put_time(struct buf *b, int64_t ms);

#endif
