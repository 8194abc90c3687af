/*
 * How the porter loses its rights. The order matters: the bounding set can only be emptied while
 * there is a capability left to do it with, the directory only be entered as root, and the system
 * call filter comes last because it forbids all of this.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "base/log.h"
#include "core/porter_state.h"

enum { FILES_WANTED = 4096 };

/* ---- the directory ---- */

/* The next component of `*path`, which is moved behind it; 0 at the end. */
static size_t next_part(const char **path, char part[PATH_NAME_MAX + 1], struct err *err)
{
    size_t n;

    *path += strspn(*path, "/");
    n = strcspn(*path, "/");
    if (n > PATH_NAME_MAX) {
        (void)err_set(err, ERR_INVALID, "a component is over %d bytes", PATH_NAME_MAX);
        return 0;
    }
    memcpy(part, *path, n);
    part[n] = '\0';
    *path += n;
    return n;
}

static int open_dir(int at, const char *name, int more)
{
    return openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC | more);
}

/* For a while only what the owner of `fd` may do; whatever is made belongs to him. */
static int act_as_owner(int fd, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, "stat");
    if (geteuid() == 0 && (setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0))
        return err_sys(err, "act as user %d", (int)st.st_uid);
    return 0;
}

/* Opens one component of the path, made if it is missing. Closes `at`. */
static int step_into(int at, const char *part, struct err *err)
{
    auto_fd int from = at;
    int fd = open_dir(from, part, 0);

    if (fd >= 0)
        return fd;
    if (errno != ENOENT)
        return err_sys(err, "open '%s'", part);
    if (act_as_owner(from, err) < 0)
        return -1;
    if (mkdirat(from, part, 0755) < 0 && errno != EEXIST)
        return err_sys(err, "make '%s'", part);
    fd = open_dir(from, part, O_NOFOLLOW);
    return fd < 0 ? err_sys(err, "open '%s'", part) : fd;
}

static int make_path(const char *dir, struct err *err)
{
    int at = open_dir(AT_FDCWD, dir[0] == '/' ? "/" : ".", 0);
    char part[PATH_NAME_MAX + 1];
    struct err bad = {0};

    while (at >= 0 && next_part(&dir, part, &bad))
        at = step_into(at, part, err);
    if (at >= 0 && bad.kind) {
        (void)close(at);
        return err_set(err, bad.kind, "%s", bad.msg);
    }
    return at;
}

static bool is_root_dir(int fd)
{
    struct stat st, root;

    return fstat(fd, &st) == 0 && stat("/", &root) == 0 && st.st_ino == root.st_ino &&
           st.st_dev == root.st_dev;
}

int porter_open_dir(const char *dir, int *ret_fd, struct err *err)
{
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    auto_fd int at = make_path(dir, err);
    auto_fd int fd = -1;

    if (seteuid(uid) < 0 || setegid(gid) < 0)
        return err_sys(err, "become user %d again", (int)uid);
    if (at < 0)
        return -1;
    fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "open the directory");
    if (is_root_dir(fd))
        return err_set(err, ERR_INVALID, "the root directory cannot be a workspace");
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- rights ---- */

/* Whoever starts us may have left descriptors open. */
static void close_others(int a, int b)
{
    unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

    if (low > 3)
        (void)close_range(3, low - 1, 0);
    if (high > low + 1)
        (void)close_range(low + 1, high - 1, 0);
    (void)close_range(high + 1, ~0U, 0);
}

/* Without the right to (a container may have taken it from root) paths stay checked as they are. */
static void enter(int dir_fd)
{
    /* Times are written in UTC; read the zone now, not from a file within the workspace. */
    tzset();
    if (fchdir(dir_fd) < 0 || chroot(".") < 0)
        log_warning("workspace: cannot enter the directory: %s", strerrordesc_np(errno));
}

static void empty_bounding_set(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int become_owner(int dir_fd, struct err *err)
{
    struct stat st;

    if (fstat(dir_fd, &st) < 0)
        return err_sys(err, "stat");
    if (setgroups(0, NULL) < 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
        setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
        return err_sys(err, "become user %d", (int)st.st_uid);
    return 0;
}

/* All of them, also where the owner is root. */
static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, none) < 0)
        return err_sys(err, "drop capabilities");
    return 0;
}

/*
 * What the serving part and the C library below it need; everything else fails with EPERM. (sysinfo:
 * qsort of glibc before 2.37 asks it how much memory there is, and takes the answer unseen.)
 */
static const char *const calls[] = {
    "recvmsg",      "sendmsg",      "poll",        "ppoll",           "read",
    "write",        "writev",       "close",       "openat",          "openat2",
    "fstat",        "newfstatat",   "statx",       "fcntl",           "flock",
    "fchmod",       "getdents64",   "mkdirat",     "renameat",        "renameat2",
    "unlinkat",     "faccessat",    "faccessat2",  "getrandom",       "brk",
    "munmap",       "mremap",       "madvise",     "futex",           "clock_gettime",
    "gettid",       "getpid",       "tgkill",      "geteuid",         "rt_sigprocmask",
    "rt_sigaction", "rt_sigreturn", "sigaltstack", "restart_syscall", "sched_yield",
    "exit",         "exit_group",   "sysinfo",
};

static int allow_calls(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        int nr = seccomp_syscall_resolve_name(calls[i]);

        if (nr != __NR_SCMP_ERROR && seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0) < 0)
            return -1;
    }
    /* Memory, but none that could be executed. */
    if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                         SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) < 0)
        return -1;
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

static void filter_calls(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));

    if (!ctx || allow_calls(ctx) < 0 || seccomp_load(ctx) < 0)
        log_warning("workspace: system calls cannot be filtered here");
    if (ctx)
        seccomp_release(ctx);
}

int porter_confine(int dir_fd, int fd, struct err *err)
{
    const bool is_root = geteuid() == 0;

    close_others(dir_fd, fd);
    io_want_files(FILES_WANTED);
    if (is_root) {
        enter(dir_fd);
        empty_bounding_set();
        if (become_owner(dir_fd, err) < 0)
            return -1;
    }
    if (drop_capabilities(err) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(err, "give up privileges");
    filter_calls();
    return 0;
}
