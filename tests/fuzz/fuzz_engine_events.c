/*
 * The event stream in a split that the input chooses, against the same bytes in one piece: the
 * same events in the same order, and the same verdict.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "engine/docker_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_event(void *ctx, const struct engine_event *ev)
{
    struct buf *seen = ctx;

    (void)buf_fmt(seen, "%s|%s|%s|%s|%lld\n", ev->action, ev->id, ev->name, ev->instance,
                  (long long)ev->time_ns);
    /* Some watchers have enough. */
    return strcmp(ev->action, "destroy") != 0;
}

static void feed(struct docker_events *ev, const char *data, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step) {
        size_t take = n - i < step ? n - i : step;

        if (!docker_events_feed(ev, data + i, take))
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct docker_events whole, split;
    struct buf a, b;

    if (size < 1 || size > 64 * 1024)
        return 0;
    buf_init(&a, 1 << 22);
    buf_init(&b, 1 << 22);
    docker_events_init(&whole, on_event, &a);
    docker_events_init(&split, on_event, &b);
    feed(&whole, (const char *)data + 1, size - 1, size);
    feed(&split, (const char *)data + 1, size - 1, (size_t)data[0] + 1);
    assert(strcmp(buf_get(&a), buf_get(&b)) == 0);
    assert(whole.is_broken == split.is_broken);
    assert(!whole.is_broken || whole.err.kind == ERR_PEER);
    docker_events_done(&whole);
    docker_events_done(&split);
    buf_done(&a);
    buf_done(&b);
    return 0;
}
