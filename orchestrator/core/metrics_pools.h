#ifndef CORE_METRICS_POOLS_H
#define CORE_METRICS_POOLS_H

#include "base/buf.h"
#include "core/core.h"

struct metrics_pools;

/* What the keeper says of itself, as a part of metrics_render. */

void metrics_put_pools(struct buf *b, const struct metrics_pools *in);
void metrics_put_engine(struct buf *b, const struct handover_counts *c);

#endif
