#ifndef ENGINE_DOCKER_JSON_H
#define ENGINE_DOCKER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"

/*
 * Decoders of what the engine sends (Docker Engine API 1.41 to 1.52, and Podman's imitation of
 * it). All of it is scanned strictly and in bounds before it is parsed; a member that is missing or of
 * the wrong type is ERR_PEER or the "unknown" value that the field's owner names, never 0.
 */

enum { DOCKER_TEXT_MAX = 208 };

/* What a create or update reply says about limits that do not hold. */
struct docker_warnings {
    uint32_t lacks;               /* enum engine_lack: comfort only */
    char denied[DOCKER_TEXT_MAX]; /* the first other one, "" = none */
};

/*
 * The engine's own words from the body of an error reply (JSON "message" or "cause", else the
 * text itself): one line, no control characters, valid UTF-8, "" when there are none.
 */
void docker_json_text(const char *data, size_t n, char out[DOCKER_TEXT_MAX]);

/* Reply of POST /containers/create. The id is fit to stand in a path. */
int docker_json_created(const char *data, size_t n, char ret_id[ENGINE_ID_MAX],
                        struct docker_warnings *ret_warnings, struct err *err) MUST_CHECK;

/* Reply of POST /containers/{id}/update. */
int docker_json_updated(const char *data, size_t n, struct docker_warnings *ret_warnings,
                        struct err *err) MUST_CHECK;

/* Reply of GET /containers/{id}/json. */
int docker_json_state(const char *data, size_t n, struct engine_state *ret,
                      struct err *err) MUST_CHECK;

/* Reply of POST /containers/{id}/wait; an empty or cut one is ERR_PEER. */
int docker_json_exit(const char *data, size_t n, int *ret_exit, struct err *err) MUST_CHECK;

/* Reply of GET /containers/json. The caller frees the array; NULL when there are none. */
int docker_json_list(const char *data, size_t n, struct engine_container **ret, size_t *ret_n,
                     struct err *err) MUST_CHECK;

/* Reply of GET /images/{name}/json. ERR_DENIED when the image declares volumes. */
int docker_json_image(const char *data, size_t n, struct engine_image *ret,
                      struct err *err) MUST_CHECK;

/* Reply of GET /containers/{id}/stats, cgroup v1 and v2: use without reclaimable cache. */
int docker_json_usage(const char *data, size_t n, uint64_t *ret_bytes, struct err *err) MUST_CHECK;

/* Reply of GET /info: 1 or 2, 0 = the engine does not say. */
int docker_json_cgroup(const char *data, size_t n, int *ret_version, struct err *err) MUST_CHECK;

/*
 * One line of GET /events, in the form up to API 1.51 or in that from 1.52. 1: `fn` was called and
 * `*ret_go_on` is its answer; 0: the line is not about a container; -1: ERR_PEER.
 */
int docker_json_event(const char *data, size_t n, engine_watcher *fn, void *ctx, bool *ret_go_on,
                      struct err *err) MUST_CHECK;

#endif
