#include "cmd/connect.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "cmd/child.h"
#include "core/core.h"
#include "keeper/keeper.h"

int connect_service(const struct settings *s, struct connection *ret, struct err *err)
{
    auto_free char *path = keeper_socket_path(s);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    auto_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_sys(err, "socket");
    if (str_copy(at.sun_path, path, sizeof(at.sun_path)) >= sizeof(at.sun_path))
        return err_set(err, ERR_INVALID, "'%s' is too long for a socket", path);
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        return err_set(err, ERR_BUSY, "no service runs with '%s'", s->state_dir);
    *ret = (struct connection){.fd = take_fd(&fd), .control = -1};
    return 0;
}

/*
 * Our own keeper must not take the service's containers for orphans, nor the other way round: it
 * goes by a name of its own.
 */
static int name_instance(const struct settings *s, struct err *err)
{
    auto_free char *name =
        xasprintf("%.40s" KEEPER_RUN_MARK "%08x", s->instance[0] ? s->instance : "oneshot",
                  (unsigned)random_u64());

    return setenv("ONESHOT_INSTANCE", name, 1) < 0 ? err_sys(err, "setenv") : 0;
}

/* A keeper of our own, which parks nothing ahead. */
static int connect_own(const struct settings *s, const char *config, struct connection *ret,
                       struct err *err)
{
    char name[] = "_keeper", lazy[] = "--on-demand", flag[] = "--config";
    auto_free char *file = xstrdup(config);
    char *argv[] = {name, lazy, config ? flag : NULL, file, NULL};
    int control[2], handover[2], rc;
    pid_t pid;

    if (name_instance(s, err) < 0 || child_pair(control, err) < 0)
        return -1;
    if (child_pair(handover, err) < 0) {
        (void)close(control[0]);
        (void)close(control[1]);
        return -1;
    }
    rc = child_start(argv, (const int[]){control[1], handover[1]}, 2, &pid, err);
    (void)close(control[1]);
    (void)close(handover[1]);
    *ret = (struct connection){.fd = handover[0], .control = control[0], .pid = rc ? 0 : pid};
    return rc;
}

int connect_core(const struct settings *s, const char *config, struct connection *ret_connection,
                 struct core **ret_core, struct err *err)
{
    const char *tmp = getenv("TMPDIR");

    if (!getenv("LOG_LEVEL") && setenv("LOG_LEVEL", "error", 1) < 0)
        return err_sys(err, "setenv");
    if (connect_service(s, ret_connection, NULL) < 0 &&
        connect_own(s, config, ret_connection, err) < 0)
        return -1;
    return core_new(&(struct core_options){.spool_dir = tmp && *tmp ? tmp : "/tmp",
                                           .keeper_fd = ret_connection->fd},
                    ret_core, err);
}

int connect_own_core(const struct settings *s, const char *config, struct connection *c,
                     struct core *core, struct err *err)
{
    struct connection own;

    if (c->pid || connect_own(s, config, &own, err) < 0)
        return -1;
    *c = own;
    core_set_keeper(core, own.fd);
    return 0;
}

void connect_close(struct connection *c)
{
    int status;

    if (c->control >= 0)
        (void)close(c->control);
    c->control = -1;
    if (c->pid > 0)
        (void)waitpid(c->pid, &status, 0);
    c->pid = 0;
}
