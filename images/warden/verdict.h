#ifndef WARDEN_VERDICT_H
#define WARDEN_VERDICT_H

#include <stdbool.h>

#include "cgroup.h"
#include "frames/stream.h"

/*
 * Why a run ended. A limit is named only when the program failed and the kernel's own counters, or
 * the state of the file systems, show that it was met: neither is enough by itself.
 */
struct ending {
    bool is_cancelled, is_over_output, is_timeout; /* the warden's own doing */
    bool has_report;
    struct end_report report; /* what the worker said */
    bool is_dead;             /* the worker is gone; `status` as waitpid(2) gives it */
    int status;
    bool is_disk_full;
    bool has_file_limit; /* RLIMIT_FSIZE is finite */
};

/* Fills end, exit_code and term_signal of `ret` alone. */
void verdict_decide(const struct ending *e, const struct cgroup_look *before,
                    const struct cgroup_look *after, struct outcome_report *ret);

/* One of the writable file systems has no room or no inode left. */
bool verdict_disk_is_full(const char *work_dir);

/* RLIMIT_FSIZE is set. */
bool verdict_has_file_limit(void);

#endif
