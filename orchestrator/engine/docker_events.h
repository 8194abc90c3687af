#ifndef ENGINE_DOCKER_EVENTS_H
#define ENGINE_DOCKER_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"

enum { DOCKER_EVENT_MAX = 256 * 1024 };

/* Cuts the event stream into lines and tells `fn` of each; storage of the caller. */
struct docker_events {
    struct buf line; /* begun, not yet ended */
    engine_watcher *fn;
    void *ctx;
    bool is_broken; /* the engine broke the protocol: `err` says how */
    struct err err;
};

void docker_events_init(struct docker_events *ev, engine_watcher *fn, void *ctx);
void docker_events_done(struct docker_events *ev);

/* Any split of the same bytes gives the same events. False: `fn` has had enough, or is_broken. */
bool docker_events_feed(struct docker_events *ev, const char *data, size_t n);

#endif
