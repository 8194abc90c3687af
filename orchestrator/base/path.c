#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/str.h"
#include "base/utf8.h"

static int check_part(const char *part, size_t n, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_INVALID, "path has an empty component");
    if (n > PATH_NAME_MAX)
        return err_set(err, ERR_INVALID, "path has a component over %d bytes", PATH_NAME_MAX);
    if ((n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
        return err_set(err, ERR_INVALID, "path has a '.' or '..' component");
    return 0;
}

int path_check(const char *path, size_t n, struct err *err)
{
    size_t start = 0, depth = 0;

    if (n == 0 || n > PATH_REL_MAX)
        return err_set(err, ERR_INVALID, "path is empty or over %d bytes", PATH_REL_MAX);
    if (utf8_valid_prefix(path, n) != n)
        return err_set(err, ERR_INVALID, "path is not UTF-8");
    for (size_t i = 0; i <= n; i++) {
        if (i < n && ((unsigned char)path[i] < 0x20 || path[i] == 0x7F))
            return err_set(err, ERR_INVALID, "path has a control character");
        if (i < n && path[i] != '/')
            continue;
        if (check_part(path + start, i - start, err) < 0)
            return -1;
        if (++depth > PATH_DEPTH_MAX)
            return err_set(err, ERR_INVALID, "path is deeper than %d", PATH_DEPTH_MAX);
        start = i + 1;
    }
    return 0;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Opens the directory that holds the last component; `*ret_last` is borrowed from `path`. */
static int open_parent(int dir_fd, const char *path, const char **ret_last)
{
    int at = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    const char *slash;

    while (at >= 0 && (slash = strchr(path, '/'))) {
        char part[PATH_NAME_MAX + 1];
        int next;

        memcpy(part, path, (size_t)(slash - path));
        part[slash - path] = '\0';
        next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(at);
        at = next;
        path = slash + 1;
    }
    *ret_last = path;
    return at;
}

static int open_by_hand(int dir_fd, const char *path, int flags, mode_t mode)
{
    const char *last;
    auto_fd int parent = open_parent(dir_fd, path, &last);
    struct stat st;
    int fd;

    if (parent < 0)
        return -1;
    fd = openat(parent, last, flags | O_NOFOLLOW, mode);
    /* With O_PATH alone the link itself is opened. */
    if (fd >= 0 && flags & O_PATH && (fstat(fd, &st) < 0 || S_ISLNK(st.st_mode))) {
        (void)close(fd);
        errno = ELOOP;
        return -1;
    }
    return fd;
}

int path_open(int dir_fd, const char *path, int flags, mode_t mode)
{
    bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
    /* RESOLVE_NO_SYMLINKS says it for all components; with O_PATH, O_NOFOLLOW would undo that. */
    struct open_how how = {.flags = (unsigned)((flags & ~O_NOFOLLOW) | O_CLOEXEC),
                           .mode = makes ? mode : 0, /* else it must be 0 */
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

    /* EPERM: container engines older than the call refuse it in their seccomp filter. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = open_by_hand(dir_fd, path, flags | O_CLOEXEC, mode);
    return (int)fd;
}

int path_make_parents(int dir_fd, const char *path)
{
    char part[PATH_REL_MAX + 1];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        const char *last;
        int parent, made;

        memcpy(part, path, (size_t)(slash - path));
        part[slash - path] = '\0';
        parent = open_parent(dir_fd, part, &last);
        if (parent < 0)
            return -1;
        made = mkdirat(parent, last, 0755);
        if (made < 0 && errno != EEXIST) {
            (void)close(parent);
            return -1;
        }
        (void)close(parent);
    }
    return 0;
}
