#include "guard.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#error "the guard knows no system call numbers for this processor"
#endif

/* x86-64 only: numbers from here on are those of the x32 interface. */
#define X32_BIT 0x40000000u

/* The low half of an argument: pids are ints, the kernel drops the rest. */
#define ARG(n)            offsetof(struct seccomp_data, args[n])
#define LOAD(offset)      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define SKIP_UNLESS(v, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), 0, (n))
#define SKIP_IF(v, n)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), (n), 0)
#define RETURN(action)    BPF_STMT(BPF_RET | BPF_K, (action))
#define ALLOW             RETURN(SECCOMP_RET_ALLOW)
#define REFUSE(number)    RETURN(SECCOMP_RET_ERRNO | (number))

/* "This call with pid 1 as its first argument." */
#define NOT_ON_PID_1(call) \
    SKIP_UNLESS(call, 4), LOAD(ARG(0)), SKIP_UNLESS(1, 1), REFUSE(EPERM), ALLOW

/* "This call with who 1, or with all processes of the user." `which` 0 is one process. */
#define NOT_ON_WHO_1(call, user)                                                              \
    SKIP_UNLESS(call, 6), LOAD(ARG(0)), SKIP_IF(user, 3), LOAD(ARG(1)), SKIP_IF(1, 1), ALLOW, \
        REFUSE(EPERM)

enum { IOPRIO_WHO_USER = 3 };

static struct sock_filter filter[] = {
    LOAD(offsetof(struct seccomp_data, arch)),
    SKIP_IF(THIS_ARCH, 1),
    REFUSE(ENOSYS),
    LOAD(offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
    REFUSE(ENOSYS),
#endif
    NOT_ON_PID_1(SYS_prlimit64),
    NOT_ON_PID_1(SYS_sched_setaffinity),
    NOT_ON_PID_1(SYS_sched_setattr),
    NOT_ON_PID_1(SYS_sched_setparam),
    NOT_ON_PID_1(SYS_sched_setscheduler),
    NOT_ON_WHO_1(SYS_setpriority, PRIO_USER),
    NOT_ON_WHO_1(SYS_ioprio_set, IOPRIO_WHO_USER),
    ALLOW,
};

int guard_install(void)
{
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(*filter), .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
