#include "frames/handover.h"

#define LEN(a) (sizeof(a) / sizeof(*(a)))

bool handover_is_valid(const struct handover *m, ssize_t n, bool is_from_front)
{
    if (n != (ssize_t)sizeof(*m))
        return false;
    if (is_from_front)
        return m->type >= HANDOVER_TAKE && m->type <= HANDOVER_STATS;
    return m->type >= HANDOVER_TAKEN && m->type < HANDOVER_TYPES && m->reason < REFUSE_REASONS;
}

const char *refuse_text(enum refuse_reason reason)
{
    static const char *const texts[REFUSE_REASONS] = {
        [REFUSE_NONE] = "no reason",
        [REFUSE_POLICY] = "the policy is not known to the keeper",
        [REFUSE_FULL] = "too many requests are waiting",
        [REFUSE_WAITED] = "no container became free in time",
        [REFUSE_ENGINE] = "the container engine is not available",
        [REFUSE_IMAGE] = "the policy's image is not available",
        [REFUSE_START] = "the engine cannot start a container of this policy",
        [REFUSE_STOPPING] = "the service is stopping",
    };

    return (unsigned)reason < REFUSE_REASONS ? texts[reason] : "no reason";
}

const char *discard_name(enum discard_reason reason)
{
    static const char *const names[DISCARD_REASONS] = {
        [DISCARD_SERVED] = "served",       [DISCARD_DEADLINE] = "deadline",
        [DISCARD_FRONT] = "front_gone",    [DISCARD_AGE] = "age",
        [DISCARD_STREAM] = "stream_ended", [DISCARD_BAD_READY] = "bad_ready",
        [DISCARD_START] = "start_failed",  [DISCARD_SHRINK] = "shrink",
        [DISCARD_RELOAD] = "reload",       [DISCARD_STOP] = "stop",
    };

    return (unsigned)reason < DISCARD_REASONS ? names[reason] : "unknown";
}

const char *engine_call_name(enum engine_call call)
{
    static const char *const names[] = {"ping",   "image",   "create", "attach", "start",
                                        "update", "inspect", "wait",   "kill",   "remove",
                                        "list",   "usage",   "events"};

    return (unsigned)call < LEN(names) ? names[call] : "unknown";
}

const char *engine_lack_text(enum engine_lack lack)
{
    switch (lack) {
    case ENGINE_LACKS_SWAP_LIMIT:
        return "swap accounting: a container may swap where the machine has swap";
    case ENGINE_LACKS_SWAPPINESS:
        return "memory swappiness";
    case ENGINE_LACKS_END:
        break;
    }
    return "nothing";
}
