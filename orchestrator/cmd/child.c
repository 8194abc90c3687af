#include "cmd/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/secrets.h"

extern char **environ;

enum { FDS_MAX = 32, FIRST = 3, HIGH = 100 };

int child_pair(int ret_fds[2], struct err *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return err_sys(err, "socketpair");
    return 0;
}

void child_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

/*
 * A descriptor may stand where another one must go, so all are first moved out of the way: above
 * HIGH, close-on-exec, and dup2 in the child then clears that flag.
 */
static int move_up(const int *fds, size_t n, int *ret_high, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        ret_high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HIGH);
        if (ret_high[i] < 0)
            return err_sys(err, "dup");
    }
    return 0;
}

/* The entry, or one without its value: a settings file may name the variable, which must be set. */
static const char *entry_for(const char *child, const char *entry)
{
    static const char *const owners[] = {[SECRET_FRONT] = "_front", [SECRET_BOT] = "_slack"};

    for (const struct secret *s = secrets_all; s->entry; s++) {
        if (str_starts(entry, s->entry) && strcmp(child, owners[s->owner]) != 0)
            return s->entry;
    }
    return entry;
}

/* Our variables without other processes' secrets; the list is the caller's, the texts are not. */
static char **make_environment(const char *child)
{
    char **list;
    size_t n = 0;

    while (environ[n])
        n++;
    list = xcalloc(n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] = (char *)(uintptr_t)entry_for(child, environ[i]); /* posix_spawn only reads */
    return list;
}

static int spawn(char *const argv[], const int *high, size_t n, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    char *full[16] = {0};
    char self[] = "/proc/self/exe", name[] = "oneshot";
    auto_free char **environment = make_environment(argv[0]);
    int rc;

    full[0] = name;
    for (size_t i = 0; argv[i] && i + 2 < ARRAY_LEN(full); i++)
        full[i + 1] = argv[i];
    (void)posix_spawn_file_actions_init(&actions);
    for (size_t i = 0; i < n; i++)
        (void)posix_spawn_file_actions_adddup2(&actions, high[i], FIRST + (int)i);
    (void)posix_spawnattr_init(&attr);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setpgroup(&attr, 0);
    /* A group of its own: Ctrl-C at the terminal is for the monitor, which stops in order. */
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    rc = posix_spawn(ret_pid, self, &actions, &attr, full, environment);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int child_start(char *const argv[], const int *fds, size_t fds_n, pid_t *ret_pid, struct err *err)
{
    int high[FDS_MAX], rc;

    if (fds_n > FDS_MAX)
        return err_set(err, ERR_INTERNAL, "too many descriptors for a child");
    memset(high, -1, sizeof(high));
    rc = move_up(fds, fds_n, high, err);
    if (rc == 0 && spawn(argv, high, fds_n, ret_pid) != 0)
        rc = err_set(err, ERR_INTERNAL, "cannot start '%s'", argv[0]);
    for (size_t i = 0; i < fds_n; i++) {
        if (high[i] >= 0)
            (void)close(high[i]);
    }
    return rc;
}
