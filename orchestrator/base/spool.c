#include "base/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"

void spool_init(struct spool *s, const char *dir)
{
    *s = (struct spool){.dir = dir, .fd = -1};
}

void spool_done(struct spool *s)
{
    free(s->mem);
    if (s->fd >= 0)
        (void)close(s->fd);
    spool_init(s, s->dir);
}

void spool_move(struct spool *to, struct spool *from)
{
    *to = *from;
    spool_init(from, to->dir);
}

static int open_file(const char *dir)
{
    char *name;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    /* Overlay file systems of older kernels have no O_TMPFILE. */
    name = xasprintf("%s/spool-XXXXXX", dir);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(name);
    free(name);
    return fd;
}

/* What was written before a failure is not counted, and the next addition writes over it. */
static int append_file(struct spool *s, const void *data, size_t n, struct err *err)
{
    const char *p = data;
    uint64_t at = s->size;

    while (n) {
        ssize_t k = pwrite(s->fd, p, n, (off_t)at);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && (errno == ENOSPC || errno == EDQUOT))
            return err_set(err, ERR_BUSY, "no space left in '%s'", s->dir);
        if (k < 0)
            return err_sys(err, "write to a spool file in '%s'", s->dir);
        p += k;
        n -= (size_t)k;
        at += (uint64_t)k;
    }
    s->size = at;
    return 0;
}

/* On failure everything is still in memory. */
static int to_file(struct spool *s, struct err *err)
{
    s->fd = open_file(s->dir);
    if (s->fd < 0)
        return err_sys(err, "make a spool file in '%s'", s->dir);
    s->size = 0;
    if (append_file(s, s->mem, s->mem_len, err) < 0) {
        (void)close(s->fd);
        s->fd = -1;
        s->size = s->mem_len;
        return -1;
    }
    free(s->mem);
    s->mem = NULL;
    return 0;
}

int spool_add(struct spool *s, const void *data, size_t n, struct err *err)
{
    bool outgrows = s->fd < 0 && s->mem_len + n > SPOOL_MEMORY;

    if (n == 0)
        return 0;
    if (outgrows && to_file(s, err) < 0)
        return -1;
    if (outgrows || s->fd >= 0)
        return append_file(s, data, n, err);
    if (s->mem_len + n > s->mem_cap) {
        s->mem_cap = s->mem_len + n < 1024 ? 1024 : 2 * (s->mem_len + n);
        s->mem = xarray(s->mem, s->mem_cap, 1);
    }
    memcpy(s->mem + s->mem_len, data, n);
    s->mem_len += n;
    s->size = s->mem_len;
    return 0;
}

ssize_t spool_read(const struct spool *s, uint64_t offset, void *out, size_t n, struct err *err)
{
    ssize_t k;

    if (offset >= s->size || n == 0)
        return 0;
    if (n > s->size - offset)
        n = (size_t)(s->size - offset);
    if (s->fd < 0) {
        memcpy(out, s->mem + offset, n);
        return (ssize_t)n;
    }
    do
        k = pread(s->fd, out, n, (off_t)offset);
    while (k < 0 && errno == EINTR);
    if (k <= 0)
        return err_sys(err, "read a spool file");
    return k;
}
