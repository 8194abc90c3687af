#ifndef CORE_CORE_STATE_H
#define CORE_CORE_STATE_H

#include "core/core.h"
#include "core/link.h"

/* What runs need of the core, within this room only. */
struct link *core_link(const struct core *core);
void core_tell_observers(const struct core *core, const struct run_request *request,
                         const struct run_result *result);

#endif
