#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "frames/handover.h"

struct core; /* one per front: the link to the keeper, policies, observers, counters */
struct policy;
struct policy_set;
struct run_request;
struct run_result;

struct core_options {
    const char *spool_dir;
    int keeper_fd; /* handed over to the core */
};

int core_new(const struct core_options *o, struct core **ret, struct err *err) MUST_CHECK;
void core_free(struct core *core);

const char *core_spool_dir(const struct core *core); /* where large outputs go; borrowed */

/* A new connection to a keeper that was restarted; owned by the core from now on. */
void core_set_keeper(struct core *core, int fd);
bool core_has_keeper(const struct core *core);

/* Takes `set` over. Runs that began under the old policies keep them until they end. */
void core_set_policies(struct core *core, struct policy_set *set);

/* Pins the current policies; release with core_unpin. NULL when there is no policy of that name. */
const struct policy *core_pin_policy(struct core *core, const char *name);
void core_unpin_policy(struct core *core, const struct policy *policy);

/* Names and keys of the current policies, a copy. Release with policy_names_done. */
struct policy_name {
    char *name;
    uint64_t key;
};

struct policy_names {
    struct policy_name *list;
    size_t n;
};

void core_policy_names(struct core *core, struct policy_names *ret);
const char *policy_names_find(const struct policy_names *names, uint64_t key); /* or "other" */
void policy_names_done(struct policy_names *names);

/* Called for every finished run, in its thread, after the reply. Register before serving. */
typedef void core_observer(void *ctx, const struct run_request *request,
                           const struct run_result *result);
void core_observe(struct core *core, core_observer *fn, void *ctx);

/*
 * Pools and counters as the keeper sees them now. Caller frees `*ret_pools`. ERR_BUSY without a
 * keeper, ERR_TIMEOUT when it does not answer.
 */
int core_stats(struct core *core, struct handover_pool **ret_pools, size_t *ret_n,
               struct handover_counts *ret_counts, struct err *err) MUST_CHECK;

#endif
