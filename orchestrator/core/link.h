#ifndef CORE_LINK_H
#define CORE_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "frames/handover.h"

/*
 * The front's end of the handover pair. Many threads ask at once; one thread of the link's own
 * receives and hands answers out. When the keeper dies every question under way fails with
 * ERR_BUSY, and so do new ones until link_set_fd brings the next keeper.
 */
struct link;

/* A container in our hands. */
struct lease {
    uint64_t member;
    unsigned generation; /* of the keeper that gave it */
    int fd;              /* the stream; owned by the lease */
    struct handover_taken taken;
};

/* What may end a wait early. Descriptors of -1 are not watched. */
struct link_wait {
    int client_fd; /* the client hangs up: ERR_CANCELLED */
    int cancel_fd; /* becomes readable: ERR_CANCELLED */
};

/* `fd` is handed over; -1: no keeper yet. */
int link_new(int fd, struct link **ret, struct err *err) MUST_CHECK;
void link_free(struct link *l);
void link_set_fd(struct link *l, int fd);
bool link_is_up(struct link *l);

/*
 * Blocks until a container is there. ERR_BUSY: refused; `*ret_reason` (enum refuse_reason) and
 * `*ret_retry_ms` say why and when to come back. ERR_CANCELLED: see link_wait.
 */
int link_take(struct link *l, const struct handover_take *take, const struct link_wait *wait,
              struct lease *ret, struct handover *ret_refusal, struct err *err) MUST_CHECK;

/* Gives it back to be destroyed and closes the stream. The lease is empty afterwards. */
void link_done(struct link *l, struct lease *lease);

void link_extend(struct link *l, const struct lease *lease, uint64_t ms);

/* What became of a container whose stream ended; all zero when nobody knows. */
void link_fate(struct link *l, const struct lease *lease, struct handover_fate *ret);

/* See core_stats. */
int link_stats(struct link *l, struct handover_pool **ret_pools, size_t *ret_n,
               struct handover_counts *ret_counts, struct err *err) MUST_CHECK;

#endif
