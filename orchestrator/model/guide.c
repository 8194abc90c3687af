#include "model/guide.h"

#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/utf8.h"

enum { GUIDE_MAX = 512 * 1024 };

static const char fallback[] =
    "You write one complete Python 3 program for each request. Reply with exactly one fenced block "
    "labelled python that holds the whole program, and nothing else.\n"
    "The program runs once in a sandbox without a display, a keyboard or a shell. It may use "
    "numpy, "
    "pandas, scipy, matplotlib and slicks (telemetry data). It writes its files into the current "
    "directory and prints its answer.\n"
    "Save every figure with matplotlib's savefig, never call plt.show().";

void guide_init(struct guide *g, const char *path)
{
    const char *base = path_base(path);
    auto_free char *dir = base > path ? xstrndup(path, (size_t)(base - path)) : xstrdup("./");

    *g = (struct guide){.path = xstrdup(path)};
    g->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void guide_done(struct guide *g)
{
    if (g->dir_fd >= 0)
        (void)close(g->dir_fd);
    free(g->path);
    *g = (struct guide){.dir_fd = -1};
}

static int open_file(const struct guide *g, struct err *err)
{
    int fd = g->dir_fd < 0
                 ? open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                 : openat(g->dir_fd, path_base(g->path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd < 0 ? err_sys(err, "open") : fd;
}

static int read_all(int fd, struct buf *b, struct err *err)
{
    char piece[16384];
    ssize_t n;

    while ((n = io_read_some(fd, piece, sizeof(piece), INT64_MAX, err)) > 0) {
        if (buf_add(b, piece, (size_t)n) < 0)
            return err_set(err, ERR_LIMIT, "it is over %d bytes", GUIDE_MAX);
    }
    return n < 0 ? -1 : 0;
}

static int read_text(const struct guide *g, struct buf *b, struct err *err)
{
    auto_fd int fd = open_file(g, err);

    if (fd < 0 || read_all(fd, b, err) < 0)
        return -1;
    if (str_is_blank(buf_get(b), b->len))
        return err_set(err, ERR_INVALID, "it is empty");
    if (utf8_valid_prefix(b->data, b->len) != b->len || memchr(b->data, '\0', b->len))
        return err_set(err, ERR_INVALID, "it is not a UTF-8 text");
    return 0;
}

static char *strip(const char *s, size_t n)
{
    n = str_trim(&s, n);
    return xstrndup(s, n);
}

char *guide_read(const struct guide *g)
{
    CLEANUP(buf_done) struct buf text = {0};
    struct err err = {0};

    buf_init(&text, GUIDE_MAX);
    if (read_text(g, &text, &err) == 0)
        return strip(text.data, text.len);
    log_warning("guide '%s': %s; the built-in one is used (start from prompt-guide.txt.example)",
                g->path, err.msg);
    return xstrdup(fallback);
}
