#include "cmd/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/path.h"

/* Files of strangers: never over what exists, never hidden, unless the user said so. */
static int save_one(const struct save_options *o, int dir_fd, const struct save_file *f)
{
    int flags = O_WRONLY | O_CREAT | (o->force ? O_TRUNC : O_EXCL);
    bool is_hidden = f->path[0] == '.' || strstr(f->path, "/.");
    auto_fd int fd = -1;
    char piece[65536];
    uint64_t at = 0;

    if (is_hidden && !o->force) {
        (void)fprintf(stderr, "oneshot: '%s' is hidden and was not saved (--force)\n", f->path);
        return -1;
    }
    if (path_make_parents(dir_fd, f->path) == 0)
        fd = path_open(dir_fd, f->path, flags, 0644);
    if (fd < 0) {
        (void)fprintf(stderr, "oneshot: '%s' was not saved: %s%s\n", f->path, strerror(errno),
                      errno == EEXIST ? " (--force)" : "");
        return -1;
    }
    while (at < f->data->size) {
        struct err err = {0};
        ssize_t n = spool_read(f->data, at, piece, sizeof(piece), &err);

        if (n <= 0 || io_write_all(fd, piece, (size_t)n, INT64_MAX, &err) < 0) {
            (void)fprintf(stderr, "oneshot: '%s' was saved in part: %s\n", f->path, err.msg);
            return -1;
        }
        at += (uint64_t)n;
    }
    return 0;
}

int save_files(const struct save_options *o, const struct save_file *files, size_t n)
{
    auto_free char *name = o->dir ? xstrdup(o->dir) : xasprintf("oneshot-%s", o->id);
    auto_fd int dir_fd = -1;
    size_t failed = 0;

    if (!n)
        return 0;
    if (mkdir(name, 0755) < 0 && (errno != EEXIST || !o->dir)) {
        (void)fprintf(stderr, "oneshot: cannot make '%s': %s\n", name, strerror(errno));
        return -1;
    }
    dir_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; dir_fd >= 0 && i < n; i++)
        failed += save_one(o, dir_fd, &files[i]) < 0;
    if (!o->quiet)
        (void)fprintf(stderr, "oneshot: %zu file%s in %s/\n", n - failed,
                      n - failed == 1 ? "" : "s", name);
    return failed || dir_fd < 0 ? -1 : 0;
}
