#include "core/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

enum {
    LEVELS = PATH_DEPTH_MAX,
    NAMES_MAX = 2 * PORTER_ENTRIES_MAX, /* looked at, whatever they are */
    NAMES_SIZE_MAX = NAMES_MAX * 64,    /* bytes of the names of one directory */
    READ_SIZE = 32 * 1024,
};

/* A directory that is being read. */
struct level {
    int fd;
    struct buf text;
    const char **names;
    size_t n, at;
    size_t path_len; /* of its own path with the slash behind it */
};

struct walk {
    int dir_fd;
    bool has_begun;
    struct level levels[LEVELS];
    size_t depth;
    size_t seen, found;
    char path[PATH_REL_MAX + 1];
};

bool walk_is_hidden(const char *name)
{
    return str_starts(name, WALK_HIDDEN_PREFIX) && str_ends(name, WALK_HIDDEN_SUFFIX) &&
           !strchr(name, '/');
}

struct walk *walk_new(int dir_fd)
{
    struct walk *w = xcalloc(1, sizeof(*w));

    w->dir_fd = dir_fd;
    return w;
}

static void leave(struct walk *w)
{
    struct level *l = &w->levels[--w->depth];

    (void)close(l->fd);
    buf_done(&l->text);
    free(l->names);
    *l = (struct level){.fd = -1};
}

void walk_free(struct walk *w)
{
    if (!w)
        return;
    while (w->depth)
        leave(w);
    free(w);
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* One piece of what getdents told. */
static int add_names(struct walk *w, struct level *l, const char *data, size_t n, struct err *err)
{
    for (size_t at = 0; at < n;) {
        const struct dirent64 *d = (const void *)(data + at);

        at += d->d_reclen;
        if (is_dot(d->d_name) || (w->depth == 1 && walk_is_hidden(d->d_name)))
            continue;
        if (++w->seen > NAMES_MAX || l->text.is_full)
            return err_set(err, ERR_LIMIT, "more than %d names", NAMES_MAX);
        if (d->d_type != DT_REG && d->d_type != DT_DIR && d->d_type != DT_UNKNOWN)
            continue;
        (void)buf_add(&l->text, d->d_name, strlen(d->d_name) + 1);
        l->n++;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static void sort_names(struct level *l)
{
    const char *at = buf_get(&l->text);

    l->names = xarray(NULL, l->n, sizeof(*l->names));
    for (size_t i = 0; i < l->n; i++) {
        l->names[i] = at;
        at += strlen(at) + 1;
    }
    qsort(l->names, l->n, sizeof(*l->names), by_name);
}

/* Begins with the directory `name` below the innermost one. */
static int enter(struct walk *w, int at_fd, const char *name, size_t path_len, struct err *err)
{
    int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct level *l = &w->levels[w->depth];
    _Alignas(struct dirent64) char data[READ_SIZE];
    ssize_t n;

    if (fd < 0)
        return err_sys(err, "open '%s'", name);
    *l = (struct level){.fd = fd, .path_len = path_len};
    buf_init(&l->text, NAMES_SIZE_MAX);
    w->depth++;
    while ((n = getdents64(fd, data, sizeof(data))) > 0) {
        if (add_names(w, l, data, (size_t)n, err) < 0)
            return -1;
    }
    if (n < 0)
        return err_sys(err, "read the directory");
    sort_names(l);
    return 0;
}

/* A file of somebody else may stand in the directory; what its owner cannot read is not there. */
static bool is_readable(int fd, const char *name, const struct stat *st)
{
    if (st->st_uid == geteuid() && st->st_mode & S_IRUSR)
        return true;
    return faccessat(fd, name, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == 0;
}

int64_t walk_mtime_ns(const struct stat *st)
{
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)st->st_mtim.tv_sec, 1000000000, &ns) ||
        __builtin_add_overflow(ns, (int64_t)st->st_mtim.tv_nsec, &ns))
        return st->st_mtim.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

/* Fills `ret` from the name; false when it is to be skipped. */
static bool look(struct walk *w, const struct level *l, const char *name, struct porter_entry *ret)
{
    size_t n = strlen(name), len = l->path_len + n;
    struct stat st;

    if (len > PATH_REL_MAX)
        return false;
    memcpy(w->path + l->path_len, name, n + 1);
    if (path_check(w->path, len, NULL) < 0)
        return false;
    if (fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (!S_ISDIR(st.st_mode) && !(S_ISREG(st.st_mode) && is_readable(l->fd, name, &st)))
        return false;
    *ret = (struct porter_entry){
        .path = w->path,
        .path_len = len,
        .is_dir = S_ISDIR(st.st_mode),
        .mode = st.st_mode & 0777,
        .size = S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size,
        .mtime_ns = walk_mtime_ns(&st),
    };
    return true;
}

/*
 * A directory that cannot be read, or that is gone by now, is as good as empty; nothing but the
 * bounds and a lack of resources ends the walk.
 */
static int descend(struct walk *w, const struct porter_entry *e, struct err *err)
{
    const struct level *l = &w->levels[w->depth - 1];
    char name[PATH_NAME_MAX + 1];
    struct err why = {0};

    if (w->depth == LEVELS || e->path_len == PATH_REL_MAX)
        return 0;
    (void)str_copy(name, w->path + l->path_len, sizeof(name));
    w->path[e->path_len] = '/';
    if (enter(w, l->fd, name, e->path_len + 1, &why) == 0)
        return 0;
    if (why.sys != EACCES && why.sys != ENOENT && why.sys != ENOTDIR && why.sys != ELOOP) {
        if (err)
            *err = why;
        return -1;
    }
    return 0;
}

int walk_next(struct walk *w, struct porter_entry *ret, struct err *err)
{
    if (!w->has_begun && enter(w, w->dir_fd, ".", 0, err) < 0)
        return -1;
    w->has_begun = true;
    while (w->depth) {
        struct level *l = &w->levels[w->depth - 1];
        const char *name = l->at < l->n ? l->names[l->at++] : NULL;

        if (!name) {
            leave(w);
            continue;
        }
        if (!look(w, l, name, ret))
            continue;
        if (++w->found > PORTER_ENTRIES_MAX)
            return err_set(err, ERR_LIMIT, "more than %d files and directories",
                           PORTER_ENTRIES_MAX);
        if (ret->is_dir && descend(w, ret, err) < 0)
            return -1;
        return 1;
    }
    return 0;
}
