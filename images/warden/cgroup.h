#ifndef WARDEN_CGROUP_H
#define WARDEN_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the kernel counted for the container. The files are those of cgroup v1 or v2, whichever
 * exist below `root`, opened once and read again at each look.
 */
enum cgroup_file {
    CGROUP_USAGE,
    CGROUP_PEAK,
    CGROUP_OOM,   /* the file with the oom_kill line */
    CGROUP_LIMIT, /* how often the memory limit was met */
    CGROUP_PIDS,  /* the file with the max line */
    CGROUP_CPU,
    CGROUP_TASKS, /* no part of a look: only asked for by itself */
    CGROUP_FILES,
};

struct cgroup {
    int fd[CGROUP_FILES]; /* -1: not there */
    bool is_v2[CGROUP_FILES];
};

/* A value that could not be read is 0 and its bit in `known` (1 << enum cgroup_file) is clear. */
struct cgroup_look {
    uint32_t known;
    uint64_t value[CGROUP_TASKS]; /* bytes, bytes, events, events, events, microseconds */
};

void cgroup_open(struct cgroup *cg, const char *root);
void cgroup_close(struct cgroup *cg);

uint64_t cgroup_read(const struct cgroup *cg, enum cgroup_file file, bool *ret_known);
void cgroup_look(const struct cgroup *cg, struct cgroup_look *ret);

static inline bool cgroup_knows(const struct cgroup_look *look, enum cgroup_file file)
{
    return look->known & (1u << file);
}

/* How far a counter moved from `a` to `b`; 0 when either is unknown. */
uint64_t cgroup_moved(const struct cgroup_look *a, const struct cgroup_look *b,
                      enum cgroup_file file);

/* Most bytes that were used beyond `before`'s usage, as far as the two looks can tell. */
bool cgroup_peak(const struct cgroup_look *before, const struct cgroup_look *after,
                 uint64_t *ret_bytes);

/*
 * The number behind `key` and a blank at the start of a line of `text`; the number that `text`
 * begins with when `key` is "". Saturates at UINT64_MAX. False when there is none.
 */
bool cgroup_parse(const char *text, const char *key, uint64_t *ret);

#endif
