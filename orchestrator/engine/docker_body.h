#ifndef ENGINE_DOCKER_BODY_H
#define ENGINE_DOCKER_BODY_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"

enum { DOCKER_BODY_MAX = 1024 * 1024 };

/*
 * Adds the body of POST /containers/create for `spec` to `out`: the one place where a container's
 * isolation is decided. `has_swappiness` on cgroup v1 alone. ERR_INVALID names the member that no
 * engine would take, ERR_LIMIT when it is over DOCKER_BODY_MAX.
 */
int docker_body_create(const struct engine_spec *spec, bool has_swappiness, struct buf *out,
                       struct err *err) MUST_CHECK;

/* Adds the body of POST /containers/{id}/update: memory, and no swap beyond it. */
void docker_body_update(int64_t memory, struct buf *out);

/* Fit to be a container's name or id and to stand in a path: [A-Za-z0-9][A-Za-z0-9_.-]{0,127}. */
bool docker_name_is_valid(const char *name);

/* Fit to be an image's name, tag or digest and to stand in a path. */
bool docker_image_is_valid(const char *reference);

#endif
