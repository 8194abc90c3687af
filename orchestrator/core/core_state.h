#ifndef CORE_CORE_STATE_H
#define CORE_CORE_STATE_H

#include "core/core.h"
#include "core/host.h"
#include "core/link.h"

struct callers;
struct resolver;

/* What runs need of the core, within this room only. */
struct link *core_link(const struct core *core);
struct resolver *core_resolver(const struct core *core);
struct callers *core_callers(const struct core *core);

/* Who provides calls of that kind. False: nobody. */
bool core_find_host(const struct core *core, const char *kind, host_fn **ret_fn, void **ret_ctx);
void core_tell_observers(const struct core *core, const struct run_request *request,
                         const struct run_result *result);

#endif
