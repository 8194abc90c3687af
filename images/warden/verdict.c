#include "verdict.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* Free space below this counts as none: a larger write fails and leaves the remainder. */
enum { FULL_BYTES = 64 << 10, FULL_SHARE = 128 };

/* What became of the program by itself: the worker's word, else its real status. */
static void set_status(const struct ending *e, struct outcome_report *ret)
{
    ret->exit_code = ret->term_signal = 0;
    if (e->has_report)
        ret->exit_code = e->report.exit_code;
    else if (e->is_dead && WIFEXITED(e->status))
        ret->exit_code = WEXITSTATUS(e->status);
    else if (e->is_dead && WIFSIGNALED(e->status))
        ret->term_signal = WTERMSIG(e->status);
    else
        ret->term_signal = SIGKILL;
}

static bool hit_memory(const struct ending *e, const struct cgroup_look *before,
                       const struct cgroup_look *after)
{
    if (cgroup_moved(before, after, CGROUP_OOM) > 0)
        return true;
    return e->has_report && e->report.is_no_memory && cgroup_moved(before, after, CGROUP_LIMIT) > 0;
}

static bool hit_disk(const struct ending *e, const struct outcome_report *r)
{
    int number = e->has_report ? e->report.os_errno : 0;

    if (r->term_signal == SIGXFSZ || number == EFBIG)
        return e->has_file_limit || e->is_disk_full;
    return (number == ENOSPC || number == EDQUOT) && e->is_disk_full;
}

static uint8_t natural_end(const struct ending *e, const struct cgroup_look *before,
                           const struct cgroup_look *after, const struct outcome_report *r)
{
    if (e->has_report && e->report.is_blocked)
        return END_BLOCKED;
    if (r->exit_code == 0 && r->term_signal == 0)
        return END_NORMAL;
    if (hit_memory(e, before, after))
        return END_OOM;
    if (cgroup_moved(before, after, CGROUP_PIDS) > 0)
        return END_PIDS;
    return hit_disk(e, r) ? END_DISK : END_NORMAL;
}

void verdict_decide(const struct ending *e, const struct cgroup_look *before,
                    const struct cgroup_look *after, struct outcome_report *ret)
{
    bool is_ours = e->is_cancelled || e->is_over_output || e->is_timeout;

    set_status(e, ret);
    if (!is_ours) {
        ret->end = natural_end(e, before, after, ret);
        return;
    }
    /* Whatever the worker managed to say, it was the warden that ended it. */
    ret->exit_code = 0;
    ret->term_signal = SIGKILL;
    if (e->is_cancelled)
        ret->end = END_CANCELLED;
    else
        ret->end = e->is_over_output ? END_OUTPUT : END_TIMEOUT;
}

static bool is_full(const char *path)
{
    struct statfs fs;
    uint64_t free_bytes, all_bytes;

    if (statfs(path, &fs) < 0)
        return false;
    free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    all_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
    if (all_bytes == 0)
        return false;
    if (fs.f_files > 0 && fs.f_ffree == 0)
        return true;
    return free_bytes < FULL_BYTES || free_bytes < all_bytes / FULL_SHARE;
}

bool verdict_disk_is_full(const char *work_dir)
{
    return is_full(work_dir) || is_full("/tmp") || is_full("/dev/shm");
}

bool verdict_has_file_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}
