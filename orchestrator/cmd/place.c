#include "cmd/place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"

enum { INSTANCE_MAX = 40 };

char *place_path(const struct settings *s, const char *name)
{
    return xasprintf("%s/%s", s->state_dir, name);
}

static int make_dirs(const char *path, struct err *err)
{
    auto_free char *copy = xstrdup(path);

    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return err_sys(err, "make '%s'", copy);
        *slash = '/';
    }
    if (mkdir(copy, 0755) < 0 && errno != EEXIST)
        return err_sys(err, "make '%s'", copy);
    return 0;
}

/* A directory that only the front may use. */
static int make_owned(const struct settings *s, const char *name, struct err *err)
{
    auto_free char *path = place_path(s, name);

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, "make '%s'", path);
    if (geteuid() == 0 && chown(path, (uid_t)s->front_uid, (gid_t)s->front_gid) < 0)
        return err_sys(err, "give '%s' to user %lld", path, (long long)s->front_uid);
    return 0;
}

static int name_instance(struct settings *s, struct err *err)
{
    auto_free char *path = place_path(s, "instance");
    auto_free char *old = NULL;
    char fresh[INSTANCE_MAX];
    auto_fd int fd = -1;
    size_t n;

    if (s->instance && s->instance[0])
        return 0;
    if (io_read_file(path, INSTANCE_MAX, &old, &n, NULL) == 0 && n > 0) {
        old[strcspn(old, "\n")] = '\0';
        free(s->instance);
        s->instance = TAKE(old);
        return 0;
    }
    (void)snprintf(fresh, sizeof(fresh), "%08llx", (unsigned long long)(random_u64() >> 32));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, fresh, strlen(fresh)) < 0)
        return err_sys(err, "write '%s'", path);
    free(s->instance);
    s->instance = xstrdup(fresh);
    return 0;
}

int place_prepare(struct settings *s, struct err *err)
{
    if (make_dirs(s->state_dir, err) < 0 || make_owned(s, "store", err) < 0 ||
        make_owned(s, "spool", err) < 0)
        return -1;
    return name_instance(s, err);
}

int place_lock(const struct settings *s, int *ret_fd, struct err *err)
{
    auto_free char *path = place_path(s, "lock");
    auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_sys(err, "open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_BUSY, "another oneshot uses '%s'", s->state_dir);
        return err_sys(err, "lock '%s'", path);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

static bool holds(char **list, const char *path)
{
    for (; *list; list++) {
        if (strcmp(*list, path) == 0)
            return true;
    }
    return false;
}

char **place_workspaces(const struct settings *s, const struct policy_set *set)
{
    char **list = xcalloc(set->n + 1, sizeof(*list));
    size_t n = 0;

    for (size_t i = 0; settings_has_engine(s) && i < set->n; i++) {
        const char *path = set->list[i].workspace;

        if (path && path[0] && !holds(list, path))
            list[n++] = xstrdup(path);
    }
    return list;
}

void place_free_list(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}
