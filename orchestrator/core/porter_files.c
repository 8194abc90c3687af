/*
 * What the porter does with single files. Whoever owns the directory may change it at any moment,
 * so nothing here trusts a name twice: every path is opened from the top without following links,
 * and what is renamed is compared with the descriptor that was written to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/random.h"
#include "base/str.h"
#include "core/porter_state.h"

enum { READ_SIZE = 32 * 1024 };

/* Where a path leads: the open directory that holds its last component. */
struct place {
    int fd; /* O_PATH */
    char path[PATH_REL_MAX + 1];
    const char *name;
};

static void place_done(struct place *at)
{
    if (at->fd >= 0)
        (void)close(at->fd);
}

static enum porter_fault fault_of(int sys)
{
    switch (sys) {
    case ENOENT:
        return PORTER_GONE;
    case ELOOP:
    case ENOTDIR:
    case EXDEV:
        return PORTER_NO_DIR;
    case EACCES:
    case EPERM:
    case EROFS:
        return PORTER_DENIED;
    case ENOSPC:
    case EDQUOT:
        return PORTER_SPACE;
    case ENOTEMPTY:
    case EEXIST:
        return PORTER_NOT_EMPTY;
    default:
        return PORTER_SYSTEM;
    }
}

static enum porter_fault failed(int *ret_sys)
{
    *ret_sys = errno;
    return fault_of(errno);
}

/* Keeps the sums current. */
static void changed(struct porter *p, int64_t bytes, int64_t entries)
{
    p->changes++;
    if (bytes > 0)
        p->bytes_in += (uint64_t)bytes;
    if (entries > 0)
        p->entries_in += (uint64_t)entries;
    p->bytes = bytes < 0 && (uint64_t)-bytes > p->bytes ? 0 : p->bytes + (uint64_t)bytes;
    p->entries = entries < 0 && p->entries == 0 ? 0 : p->entries + (uint64_t)entries;
}

/* ---- paths ---- */

static int64_t count_slashes(const char *s)
{
    int64_t n = 0;

    for (; *s; s++)
        n += *s == '/';
    return n;
}

/* Makes what is missing above the path. Counted as if all of it had been. */
static enum porter_fault make_parents(struct porter *p, const char *path, int *ret_sys)
{
    porter_count(p);
    if (p->entries >= PORTER_ENTRIES_MAX)
        return PORTER_ENTRIES;
    if (path_make_parents(p->dir_fd, path) < 0)
        return failed(ret_sys);
    changed(p, 0, count_slashes(path));
    return PORTER_FINE;
}

static int open_parent(const struct porter *p, const char *path)
{
    char parent[PATH_REL_MAX + 1];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return fcntl(p->dir_fd, F_DUPFD_CLOEXEC, 0);
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    return path_open(p->dir_fd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

/* Finds the place that a question names. */
static enum porter_fault find_place(struct porter *p, const struct porter_ask *a, bool makes,
                                    struct place *ret, int *ret_sys)
{
    enum porter_fault fault;

    memcpy(ret->path, a->path, a->path_len);
    ret->path[a->path_len] = '\0';
    ret->name = path_base(ret->path);
    if (walk_is_hidden(ret->path))
        return PORTER_NAME;
    ret->fd = open_parent(p, ret->path);
    if (ret->fd < 0 && errno == ENOENT && makes) {
        fault = make_parents(p, ret->path, ret_sys);
        if (fault)
            return fault;
        ret->fd = open_parent(p, ret->path);
    }
    return ret->fd < 0 ? failed(ret_sys) : PORTER_FINE;
}

/* ---- reading ---- */

/* Whatever else open says is about the file: it is not one that can be read. */
static bool is_our_trouble(int sys)
{
    return sys == EMFILE || sys == ENFILE || sys == ENOMEM || sys == EIO;
}

enum porter_fault porter_open_file(struct porter *p, const struct porter_ask *a, int *ret_fd,
                                   int *ret_sys)
{
    char path[PATH_REL_MAX + 1];
    auto_fd int fd = -1;
    struct stat st;

    memcpy(path, a->path, a->path_len);
    path[a->path_len] = '\0';
    if (walk_is_hidden(path))
        return PORTER_NAME;
    /* A pipe must not make us wait, a terminal not become ours. */
    fd = path_open(p->dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0) {
        *ret_sys = errno;
        return is_our_trouble(errno) ? PORTER_SYSTEM : PORTER_GONE;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return PORTER_GONE;
    *ret_fd = take_fd(&fd);
    return PORTER_FINE;
}

/* ---- writing ---- */

static struct porter_file *find_file(struct porter *p, uint64_t token)
{
    for (size_t i = 0; i < p->files_n; i++) {
        if (p->files[i].token == token)
            return &p->files[i];
    }
    return NULL;
}

static void forget(struct porter *p, struct porter_file *f)
{
    p->under_way -= f->size;
    (void)close(f->fd);
    *f = p->files[--p->files_n];
}

static bool is_still_there(const struct porter *p, const struct porter_file *f)
{
    struct stat named, open;

    return fstatat(p->dir_fd, f->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(f->fd, &open) == 0 && named.st_ino == open.st_ino && named.st_dev == open.st_dev;
}

static void discard(struct porter *p, struct porter_file *f)
{
    if (is_still_there(p, f))
        (void)unlinkat(p->dir_fd, f->name, 0);
    forget(p, f);
}

void porter_files_done(struct porter *p)
{
    while (p->files_n)
        discard(p, &p->files[0]);
}

void porter_drop(struct porter *p, uint64_t token)
{
    struct porter_file *f = find_file(p, token);

    if (f)
        discard(p, f);
}

/*
 * What is written may replace a file as large, so the quota itself is asked at the commit; here
 * only what lies about uncommitted is bounded, to twice the quota.
 */
enum porter_fault porter_create(struct porter *p, const struct porter_ask *a, int *ret_fd,
                                uint64_t *ret_token, int *ret_sys)
{
    struct porter_file *f = &p->files[p->files_n];

    if (a->size > a->quota)
        return PORTER_QUOTA;
    if (p->files_n == PORTER_FILES_MAX)
        return PORTER_BUSY;
    if (p->under_way + a->size > 2 * a->quota)
        return PORTER_QUOTA;
    *f = (struct porter_file){.token = random_u64(), .size = a->size};
    (void)snprintf(f->name, sizeof(f->name), "%s%016llx%s", WALK_HIDDEN_PREFIX,
                   (unsigned long long)f->token, WALK_HIDDEN_SUFFIX);
    f->fd = openat(p->dir_fd, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return failed(ret_sys);
    /* Held as long as anybody has it open: another porter's sweep leaves it alone. */
    (void)flock(f->fd, LOCK_EX | LOCK_NB);
    p->files_n++;
    p->under_way += a->size;
    *ret_token = f->token;
    *ret_fd = f->fd;
    return PORTER_FINE;
}

/* Whether `size` bytes may take the place of `old` (NULL: nothing is there yet). */
static enum porter_fault check_bounds(struct porter *p, uint64_t quota, uint64_t size,
                                      const struct stat *old)
{
    uint64_t replaced = old ? (uint64_t)old->st_size : 0;

    porter_count(p);
    if (!old && p->entries >= PORTER_ENTRIES_MAX)
        return PORTER_ENTRIES;
    /* A directory that is over its quota already may still shrink. */
    if (size > replaced && p->bytes + (size - replaced) > quota)
        return PORTER_QUOTA;
    return PORTER_FINE;
}

static enum porter_fault put_in_place(struct porter *p, const struct porter_file *f,
                                      const struct porter_ask *a, const struct place *at,
                                      int *ret_sys)
{
    struct stat new, old;
    bool has_old = fstatat(at->fd, at->name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    enum porter_fault fault;

    if (has_old && S_ISDIR(old.st_mode))
        return PORTER_IS_DIR;
    if (has_old && !S_ISREG(old.st_mode))
        old.st_size = 0;
    if (fstat(f->fd, &new) < 0)
        return failed(ret_sys);
    if (!is_still_there(p, f))
        return PORTER_GONE;
    fault = check_bounds(p, a->quota, (uint64_t)new.st_size, has_old ? &old : NULL);
    if (fault)
        return fault;
    if (fchmod(f->fd, (a->mode & 0777) | 0600) < 0 ||
        renameat(p->dir_fd, f->name, at->fd, at->name) < 0)
        return failed(ret_sys);
    changed(p, new.st_size - (has_old ? old.st_size : 0), has_old ? 0 : 1);
    return PORTER_FINE;
}

enum porter_fault porter_commit(struct porter *p, const struct porter_ask *a, int *ret_sys)
{
    struct porter_file *f = find_file(p, a->token);
    CLEANUP(place_done) struct place at = {.fd = -1};
    enum porter_fault fault;

    if (!f)
        return PORTER_TOKEN;
    fault = find_place(p, a, true, &at, ret_sys);
    if (!fault)
        fault = put_in_place(p, f, a, &at, ret_sys);
    if (fault)
        discard(p, f);
    else
        forget(p, f);
    return fault;
}

/* ---- directories, removal, leftovers ---- */

enum porter_fault porter_make_dir(struct porter *p, const struct porter_ask *a, int *ret_sys)
{
    CLEANUP(place_done) struct place at = {.fd = -1};
    enum porter_fault fault = find_place(p, a, true, &at, ret_sys);
    struct stat st;

    if (fault)
        return fault;
    if (fstatat(at.fd, at.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISDIR(st.st_mode) ? PORTER_FINE : PORTER_NO_DIR;
    porter_count(p);
    if (p->entries >= PORTER_ENTRIES_MAX)
        return PORTER_ENTRIES;
    if (mkdirat(at.fd, at.name, 0755) < 0)
        return failed(ret_sys);
    changed(p, 0, 1);
    return PORTER_FINE;
}

enum porter_fault porter_remove(struct porter *p, const struct porter_ask *a, int *ret_sys)
{
    CLEANUP(place_done) struct place at = {.fd = -1};
    enum porter_fault fault = find_place(p, a, false, &at, ret_sys);
    struct stat st;
    bool is_dir;

    if (fault)
        return fault == PORTER_GONE ? PORTER_FINE : fault;
    if (fstatat(at.fd, at.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? PORTER_FINE : failed(ret_sys);
    is_dir = S_ISDIR(st.st_mode);
    if (!is_dir && !S_ISREG(st.st_mode))
        return PORTER_CHANGED;
    if (!is_dir && a->mtime_ns && a->mtime_ns != walk_mtime_ns(&st))
        return PORTER_CHANGED;
    if (unlinkat(at.fd, at.name, is_dir ? AT_REMOVEDIR : 0) < 0)
        return failed(ret_sys);
    changed(p, is_dir ? 0 : -st.st_size, -1);
    return PORTER_FINE;
}

static void sweep_one(const struct porter *p, const char *name)
{
    auto_fd int fd = openat(p->dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(p->dir_fd, name, 0);
}

void porter_sweep(const struct porter *p)
{
    auto_fd int fd = openat(p->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _Alignas(struct dirent64) char data[READ_SIZE];
    ssize_t n;

    while (fd >= 0 && (n = getdents64(fd, data, sizeof(data))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(data + at);

            at += d->d_reclen;
            if (walk_is_hidden(d->d_name))
                sweep_one(p, d->d_name);
        }
    }
}
