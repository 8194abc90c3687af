#ifndef KEEPER_SPEC_H
#define KEEPER_SPEC_H

#include "engine/engine.h"
#include "policy/policy.h"

struct spec; /* an engine_spec with the storage behind it */

struct spec_names {
    const char *instance, *epoch, *name; /* of labels and container */
    const char *image;                   /* digest */
    int64_t limit;                       /* memory of the cgroup: policy's + footprint, bytes */
};

/*
 * The only place where a policy becomes a container: the baseline of docs/security (no network,
 * read-only root, no capability, private namespaces, limits). Caller frees; `p` is borrowed for
 * the call only.
 */
struct spec *spec_new(const struct policy *p, const struct spec_names *names);
void spec_free(struct spec *s);
const struct engine_spec *spec_get(const struct spec *s);

#endif
