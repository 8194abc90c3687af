#include "cmd/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Calls that no HTTP server makes; a program that took the front over would. */
static const char *const refused[] = {
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "io_uring_setup",
    "init_module",
    "finit_module",
    "kexec_load",
    "open_by_handle_at",
    "fsopen",
    "fsmount",
    "move_mount",
    "open_tree",
};

static int drop_user(uid_t uid, gid_t gid, struct err *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_sys(err, "become user %u", (unsigned)uid);
    return 0;
}

/* What is not in the bounding set can never come back. Needs CAP_SETPCAP: root only. */
static void drop_bounding(void)
{
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int filter(struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int rc = ctx ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused); i++) {
        int call = seccomp_syscall_resolve_name(refused[i]);

        /* Not every kernel and architecture knows all of them. */
        if (call >= 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 0);
    }
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot load the front's seccomp filter");
}

int confine_front(int64_t uid, int64_t gid, const char **ret_by, struct err *err)
{
    *ret_by = "seccomp";
    if (geteuid() == 0) {
        drop_bounding();
        if (drop_user((uid_t)uid, (gid_t)gid, err) < 0)
            return -1;
        *ret_by = "uid";
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_sys(err, "prctl");
    return filter(err);
}
