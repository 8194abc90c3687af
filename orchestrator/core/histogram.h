#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/counter.h"

/* How many values were how large, as Prometheus counts them. */

enum { HISTOGRAM_BUCKETS = 20 };

struct histogram_scale {
    const int64_t *bounds; /* the largest value of each bucket; one without a bound follows */
    size_t n;              /* bounds, fewer than HISTOGRAM_BUCKETS */
    double unit;           /* so many make one of the unit that is printed */
};

/* Zeroed storage is an empty one. Any thread adds. */
struct histogram {
    atomic_uint_fast64_t buckets[HISTOGRAM_BUCKETS]; /* each on its own; summed up in the text */
    atomic_uint_fast64_t sum;
};

/* The bucket of a value. */
size_t histogram_bucket(const struct histogram_scale *s, int64_t value);

void histogram_add(struct histogram *h, const struct histogram_scale *s, int64_t value);

/* Appends its samples; `label` is a further one, `name="value"`, or "". */
void histogram_put(struct buf *b, const char *name, const char *label, const struct histogram *h,
                   const struct histogram_scale *s);

#endif
