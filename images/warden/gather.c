#include "gather.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64(2) writes; libc's opendir would allocate for each directory. */
struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

static int send_entry(struct gather *g, uint8_t type, const struct entry *e)
{
    uint8_t *p;
    size_t len;

    if (g->wait_room(g->ctx) < 0)
        return -1;
    p = queue_tail(g->out, FRAME_HEAD + ENTRY_LEN_MAX);
    len = entry_encode(p + FRAME_HEAD, e);
    frame_put_head(p, type, 0, 0, (uint32_t)len);
    queue_grow(g->out, FRAME_HEAD + len);
    return 0;
}

/* Names g->path as left out; the last component is escaped when it is no name for the stream. */
static int omit(struct gather *g, enum omit_reason reason, uint64_t size)
{
    char text[ENTRY_PATH_MAX];
    const char *slash = memrchr(g->path, '/', g->path_len);
    size_t dir_len = slash ? (size_t)(slash - g->path) + 1 : 0;
    struct entry e = {.reason = (uint8_t)reason, .is_tmp = g->is_tmp, .size = size, .path = text};

    if (++g->omitted > GATHER_OMITTED_MAX)
        return 0;
    memcpy(text, g->path, dir_len);
    e.path_len = dir_len;
    if (reason == OMIT_NAME) {
        e.path_len += name_escape(text + dir_len, sizeof(text) - dir_len, g->path + dir_len,
                                  g->path_len - dir_len);
    } else {
        memcpy(text + dir_len, g->path + dir_len, g->path_len - dir_len);
        e.path_len = g->path_len;
    }
    return send_entry(g, FRAME_OMITTED, &e);
}

/* Says how many more were left out than were named. */
static int omit_rest(struct gather *g)
{
    struct entry e = {.reason = OMIT_TOO_MANY, .path = ".", .path_len = 1};

    if (g->omitted <= GATHER_OMITTED_MAX)
        return 0;
    e.size = g->omitted - GATHER_OMITTED_MAX;
    return send_entry(g, FRAME_OMITTED, &e);
}

/*
 * What the file is called in the table of known files: files of /tmp with a slash in front, which
 * no path of the work directory has.
 */
static size_t known_key(const struct gather *g, char out[NAME_PATH_MAX + 2])
{
    out[0] = '/';
    memcpy(out + g->is_tmp, g->path, g->path_len);
    return g->path_len + g->is_tmp;
}

/* Sends exactly `left` bytes: a file that has become shorter is filled up with zeros. */
static int send_bytes(struct gather *g, int fd, uint64_t left)
{
    while (left > 0) {
        size_t want = left < FRAME_MAX ? (size_t)left : FRAME_MAX;
        uint8_t *p;
        ssize_t n;

        if (g->wait_room(g->ctx) < 0)
            return -1;
        p = queue_tail(g->out, FRAME_HEAD + want);
        n = read(fd, p + FRAME_HEAD, want);
        if (n <= 0) {
            memset(p + FRAME_HEAD, 0, want);
            n = (ssize_t)want;
        }
        frame_put_head(p, FRAME_OUT_DATA, 0, 0, (uint32_t)n);
        queue_grow(g->out, FRAME_HEAD + (size_t)n);
        left -= (uint64_t)n;
    }
    return 0;
}

static enum omit_reason over_limit(const struct gather *g, uint64_t size)
{
    if (size > g->job->file_max)
        return OMIT_TOO_BIG;
    if (g->files >= g->job->files_count)
        return OMIT_TOO_MANY;
    if (size > g->job->files_max - g->bytes)
        return OMIT_TOTAL;
    return OMIT_NONE;
}

static int send_file(struct gather *g, int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    struct entry e = {.kind = ENTRY_FILE, .is_tmp = g->is_tmp, .path = g->path};
    char key[NAME_PATH_MAX + 2];
    int done;

    if (fd < 0)
        return omit(g, OMIT_UNREADABLE, 0);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return omit(g, OMIT_NOT_REGULAR, 0);
    }
    e.path_len = g->path_len;
    e.mode = st.st_mode & 0777;
    e.size = (uint64_t)st.st_size;
    g->files++;
    g->bytes += e.size;
    done = send_entry(g, FRAME_OUT_ENTRY, &e);
    if (done == 0)
        done = send_bytes(g, fd, e.size);
    (void)close(fd);
    if (done == 0)
        known_add(g->known, key, known_key(g, key), &st);
    return done;
}

static int visit_file(struct gather *g, int dir_fd, const char *name)
{
    struct stat st;
    enum omit_reason reason;
    char key[NAME_PATH_MAX + 2];

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return omit(g, OMIT_UNREADABLE, 0);
    if (!S_ISREG(st.st_mode))
        return omit(g, OMIT_NOT_REGULAR, 0);
    if (known_is_same(g->known, key, known_key(g, key), &st))
        return 0;
    reason = over_limit(g, (uint64_t)st.st_size);
    if (reason != OMIT_NONE)
        return omit(g, reason, (uint64_t)st.st_size);
    return send_file(g, dir_fd, name);
}

/* A directory stands where its files stand: its name is compared as if a slash followed. */
static int compare(const void *pa, const void *pb, void *names)
{
    const struct gather_item *a = pa, *b = pb;
    const char *an = (const char *)names + a->name_at, *bn = (const char *)names + b->name_at;
    size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(an, bn, n);
    unsigned char ac, bc;

    if (order)
        return order;
    ac = a->name_len > n ? (unsigned char)an[n] : a->type == DT_DIR ? '/' : 0;
    bc = b->name_len > n ? (unsigned char)bn[n] : b->type == DT_DIR ? '/' : 0;
    return (ac > bc) - (ac < bc);
}

static uint8_t type_of(int dir_fd, const struct linux_dirent64 *d)
{
    struct stat st;

    if (d->d_type != DT_UNKNOWN)
        return d->d_type;
    if (fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return DT_UNKNOWN;
    return (uint8_t)IFTODT(st.st_mode);
}

/* False when there is no more space for names. */
static bool add_item(struct gather *g, int dir_fd, const struct linux_dirent64 *d, uint32_t first)
{
    size_t len = strlen(d->d_name);

    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
        return true;
    if (g->items_n - first == GATHER_DIR_MAX || g->items_n == GATHER_ITEMS_MAX ||
        len > NAME_MAX_BYTES || GATHER_NAMES_MAX - g->names_len < len + 1)
        return false;
    g->items[g->items_n++] = (struct gather_item){
        .name_at = g->names_len, .name_len = (uint8_t)len, .type = type_of(dir_fd, d)};
    memcpy(g->names + g->names_len, d->d_name, len + 1);
    g->names_len += (uint32_t)len + 1;
    return true;
}

/* Appends the sorted entries of a directory to g->items. False: there are more than were taken. */
static bool list_dir(struct gather *g, int dir_fd)
{
    _Alignas(struct linux_dirent64) char buf[8192];
    uint32_t first = g->items_n;
    bool is_whole = true;
    long n;

    while (is_whole && (n = syscall(SYS_getdents64, dir_fd, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n && is_whole;) {
            const void *p = buf + at;
            const struct linux_dirent64 *d = p;

            is_whole = add_item(g, dir_fd, d, first);
            at += d->d_reclen;
        }
    }
    qsort_r(g->items + first, g->items_n - first, sizeof(*g->items), compare, g->names);
    return is_whole;
}

static int visit_dir(struct gather *g, int dir_fd, unsigned depth);

/* Goes into the directory g->path, `name` below `dir_fd`. */
static int enter(struct gather *g, int dir_fd, const char *name, unsigned depth)
{
    struct entry e = {.kind = ENTRY_DIR, .mode = 0755, .path = g->path, .path_len = g->path_len};
    int fd, done = 0;

    if (depth == NAME_DEPTH_MAX)
        return omit(g, OMIT_TOO_DEEP, 0);
    if (g->job->flags & JOB_SYNC) {
        if (g->dirs++ >= g->job->files_count)
            return omit(g, OMIT_TOO_MANY, 0);
        done = send_entry(g, FRAME_OUT_ENTRY, &e);
    }
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return omit(g, OMIT_UNREADABLE, 0);
    if (done == 0)
        done = visit_dir(g, fd, depth + 1);
    (void)close(fd);
    return done;
}

static int visit_item(struct gather *g, int dir_fd, const struct gather_item *item, unsigned depth)
{
    const char *name = g->names + item->name_at;
    size_t dir_len = g->path_len;
    int done;

    if (item->type == DT_DIR && strcmp(name, "__pycache__") == 0)
        return 0;
    if (dir_len > 0)
        g->path[g->path_len++] = '/';
    memcpy(g->path + g->path_len, name, item->name_len);
    g->path_len += item->name_len;
    if (!name_is_ok(name, item->name_len) || g->path_len > NAME_PATH_MAX)
        done = omit(g, OMIT_NAME, 0);
    else if (item->type == DT_DIR)
        done = enter(g, dir_fd, name, depth);
    else
        done = visit_file(g, dir_fd, name);
    g->path_len = dir_len;
    return done;
}

/* `depth` is that of the entries: 1 in the work directory itself. */
static int visit_dir(struct gather *g, int dir_fd, unsigned depth)
{
    uint32_t first = g->items_n, names_len = g->names_len;
    bool is_whole = list_dir(g, dir_fd);
    uint32_t last = g->items_n;
    int done = 0;

    for (uint32_t i = first; i < last && done == 0; i++)
        done = visit_item(g, dir_fd, &g->items[i], depth);
    if (done == 0 && !is_whole) {
        size_t dir_len = g->path_len;

        if (dir_len == 0)
            g->path[g->path_len++] = '.';
        done = omit(g, OMIT_TOO_MANY, 0);
        g->path_len = dir_len;
    }
    g->items_n = first;
    g->names_len = names_len;
    return done;
}

static bool is_data_name(const char *name)
{
    static const char *const kinds[] = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".csv", ".pdf"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && dot > name && i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (strcasecmp(dot, kinds[i]) == 0)
            return true;
    }
    return false;
}

static int gather_tmp(struct gather *g, const char *tmp_path)
{
    int fd = open(tmp_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int done = 0;

    if (fd < 0)
        return 0;
    g->is_tmp = true;
    g->items_n = g->names_len = 0;
    (void)list_dir(g, fd);
    for (uint32_t i = 0; i < g->items_n && done == 0; i++) {
        const struct gather_item *item = &g->items[i];

        if (item->type == DT_REG && is_data_name(g->names + item->name_at))
            done = visit_item(g, fd, item, 1);
    }
    g->is_tmp = false;
    (void)close(fd);
    return done;
}

/*
 * True when the file or directory is no longer there as what it was, and no link stands in its
 * way. Cuts `path` up.
 */
static bool is_gone(int work_fd, char *path, bool is_dir)
{
    struct stat st;
    char *part = path, *slash;
    int at = openat(work_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), found;
    bool is_lost;

    while (at >= 0 && (slash = strchr(part, '/'))) {
        int next;

        *slash = '\0';
        next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(at);
        at = next;
        part = slash + 1;
    }
    found = at < 0 ? -1 : fstatat(at, part, &st, AT_SYMLINK_NOFOLLOW);
    if (found < 0)
        is_lost = errno == ENOENT || errno == ENOTDIR;
    else
        is_lost = is_dir ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode);
    if (at >= 0)
        (void)close(at);
    return is_lost;
}

/*
 * Before the files: a directory may now stand where a file stood. What came last goes first: a
 * directory was announced before what is in it, and can only be removed empty.
 */
static int send_gone(struct gather *g, int work_fd)
{
    char path[NAME_PATH_MAX + 1];

    for (uint32_t i = g->known->n; i-- > 0;) {
        bool is_dir;
        size_t len;
        const char *known = known_path(g->known, i, &len, &is_dir);

        if (!known || known[0] == '/' || len > NAME_PATH_MAX)
            continue;
        memcpy(path, known, len);
        path[len] = '\0';
        if (!is_gone(work_fd, path, is_dir))
            continue;
        if (g->wait_room(g->ctx) < 0)
            return -1;
        queue_frame(g->out, &(struct frame){.type = FRAME_GONE,
                                            .len = (uint32_t)len,
                                            .data = (const uint8_t *)known});
        known_set_gone(g->known, i);
    }
    return 0;
}

int gather_run(struct gather *g, int work_fd, const char *tmp_path)
{
    int fd = openat(work_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int done = 0;

    g->is_tmp = false;
    g->files = g->dirs = 0;
    g->bytes = g->omitted = 0;
    g->path_len = 0;
    g->items_n = g->names_len = 0;
    if (g->job->flags & JOB_SYNC)
        done = send_gone(g, work_fd);
    if (done == 0 && fd >= 0)
        done = visit_dir(g, fd, 1);
    if (fd >= 0)
        (void)close(fd);
    if (done == 0 && g->job->flags & JOB_TMP)
        done = gather_tmp(g, tmp_path);
    return done == 0 ? omit_rest(g) : done;
}
