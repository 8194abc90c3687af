#ifndef FRAMES_HANDOVER_H
#define FRAMES_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What front and keeper say to each other: fixed-size messages of numbers over a SOCK_SEQPACKET
 * pair, one message each. Both ends are the same binary, so the struct itself is the wire format.
 * No text of a client ever stands in one. The keeper checks every number against the policy.
 */
enum handover_type {
    /* front -> keeper */
    HANDOVER_TAKE = 1, /* ask for a container of `policy` */
    HANDOVER_CANCEL,   /* the TAKE with this `seq` is no longer wanted */
    HANDOVER_EXTEND,   /* move the hard deadline of `member` to now + `ms` */
    HANDOVER_DONE,     /* destroy `member` */
    HANDOVER_FATE,     /* what became of `member`, whose stream ended early? */
    HANDOVER_STATS,    /* one POOL message per pool, then COUNTS */

    /* keeper -> front */
    HANDOVER_TAKEN,   /* answer to TAKE; the stream's descriptor travels with it */
    HANDOVER_REFUSED, /* answer to TAKE: `reason`, retry in `ms` */
    HANDOVER_FATE_IS, /* answer to FATE */
    HANDOVER_POOL,    /* answer to STATS */
    HANDOVER_COUNTS,  /* the last answer to STATS */
    HANDOVER_TYPES,
};

enum refuse_reason {
    REFUSE_NONE,
    REFUSE_POLICY, /* no such policy here (or not with these numbers) */
    REFUSE_FULL,   /* the line is full */
    REFUSE_WAITED, /* nothing became free within `ms` */
    REFUSE_ENGINE, /* the engine does not answer or refuses */
    REFUSE_IMAGE,  /* the policy's image is missing */
    REFUSE_START,  /* the engine cannot do what the policy asks for */
    REFUSE_STOPPING,
    REFUSE_REASONS,
};

struct handover_take {
    uint64_t policy;  /* first 8 bytes of the policy's hash */
    uint64_t memory;  /* bytes; 0: the policy's own */
    uint32_t wait_ms; /* how long to stand in line */
    uint32_t run_ms;  /* hard deadline: hand-over + run_ms */
};

struct handover_taken {
    uint64_t member;
    uint8_t container[32]; /* the engine's id, binary */
    uint8_t image[32];     /* sha-256 of the image */
    uint32_t queued_us;    /* TAKE until a container was free */
    uint32_t was_parked;   /* 1: it had been waiting (a warm run), 0: it was made on demand */
    uint32_t lacks, pad;   /* bits of enum engine_lack */
    uint64_t memory;       /* bytes that the program may add */
};

struct handover_fate {
    uint64_t member;
    int32_t exit_code;
    uint8_t is_known, is_oom, was_killed_by_us, pad;
};

/* Why a member left the pool without having served a run, or was destroyed early. */
enum discard_reason {
    DISCARD_SERVED,    /* the normal end */
    DISCARD_DEADLINE,  /* the keeper's hard deadline */
    DISCARD_FRONT,     /* the front died or went away */
    DISCARD_AGE,       /* parked too long */
    DISCARD_STREAM,    /* the stream of a parked member ended */
    DISCARD_BAD_READY, /* something else than READY came */
    DISCARD_START,     /* create, attach or start failed, or READY did not come in time */
    DISCARD_SHRINK,    /* the pool was larger than wanted */
    DISCARD_RELOAD,    /* its policy or image changed */
    DISCARD_STOP,
    DISCARD_REASONS,
};

struct handover_pool {
    uint64_t policy;
    uint32_t parked, starting, running, waiting, removing, target, min, max;
    uint64_t hits, misses; /* TAKEs served from the parked, and others */
    uint64_t started;      /* containers made */
    uint64_t discarded[DISCARD_REASONS];
    uint64_t footprint;      /* bytes of a parked member, 0: not yet measured */
    uint32_t start_ms_p50;   /* create to READY, of the last 64 */
    uint32_t refill_per_min; /* containers that became ready in the last 60 s */
};

enum engine_call {
    ENGINE_PING,
    ENGINE_IMAGE,
    ENGINE_CREATE,
    ENGINE_ATTACH,
    ENGINE_START,
    ENGINE_UPDATE,
    ENGINE_INSPECT,
    ENGINE_WAIT,
    ENGINE_KILL,
    ENGINE_REMOVE,
    ENGINE_LIST,
    ENGINE_USAGE,
    ENGINE_EVENTS,
    ENGINE_CALLS,
};

/* Comfort that an engine may lack; every limit that isolates holds without it. */
enum engine_lack {
    ENGINE_LACKS_SWAP_LIMIT = 1 << 0,
    ENGINE_LACKS_SWAPPINESS = 1 << 1,
    ENGINE_LACKS_END = 1 << 2,
};

/* What one of them means, for people: "swap accounting: …"; static. */
const char *engine_lack_text(enum engine_lack lack);

struct handover_counts {
    uint64_t calls[ENGINE_CALLS], errors[ENGINE_CALLS];
    uint64_t budget, reserved;                /* bytes of the pools' memory budget */
    uint32_t pools, is_engine_up, lacks, pad; /* lacks: bits of enum engine_lack */
};

struct handover {
    uint32_t type; /* enum handover_type */
    uint32_t reason;
    uint64_t seq; /* chosen by the front; answers carry it back */
    uint64_t member;
    uint64_t ms;
    union {
        struct handover_take take;
        struct handover_taken taken;
        struct handover_fate fate;
        struct handover_pool pool;
        struct handover_counts counts;
    } u;
};

/* Length and type are right for a message from the front (or, false, from the keeper). */
bool handover_is_valid(const struct handover *m, ssize_t n, bool is_from_front);

const char *refuse_text(enum refuse_reason reason);   /* "the line is full" … */
const char *discard_name(enum discard_reason reason); /* "bad_ready" …, as metric labels */
const char *engine_call_name(enum engine_call call);  /* "create" … */

#endif
