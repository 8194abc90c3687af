#include "model/guide.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

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
    auto_fd int fd = g->dir_fd < 0
                         ? open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                         : openat(g->dir_fd, path_base(g->path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "open");
    if (!S_ISREG(st.st_mode)) /* a pipe would be waited for */
        return err_set(err, ERR_INVALID, "it is no file");
    return take_fd(&fd);
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

/* Without blanks around it, and without the mark that some editors put in front. */
static char *strip(const char *s, size_t n)
{
    static const char mark[] = {'\xEF', '\xBB', '\xBF'};
    size_t k = n >= sizeof(mark) && memcmp(s, mark, sizeof(mark)) == 0 ? sizeof(mark) : 0;

    s += k;
    n = str_trim(&s, n - k);
    return xstrndup(s, n);
}

static int read_text(const struct guide *g, char **ret, struct err *err)
{
    auto_fd int fd = open_file(g, err);
    CLEANUP(buf_done) struct buf b = {0};
    auto_free char *text = NULL;

    buf_init(&b, GUIDE_MAX);
    if (fd < 0 || read_all(fd, &b, err) < 0)
        return -1;
    if (utf8_valid_prefix(buf_get(&b), b.len) != b.len || memchr(buf_get(&b), '\0', b.len))
        return err_set(err, ERR_INVALID, "it is not a UTF-8 text");
    text = strip(buf_get(&b), b.len);
    if (!*text)
        return err_set(err, ERR_INVALID, "it is empty");
    *ret = TAKE(text);
    return 0;
}

char *guide_read(const struct guide *g)
{
    struct err err = {0};
    char *text = NULL;

    if (read_text(g, &text, &err) == 0)
        return text;
    log_warning("guide '%s': %s; the built-in one is used (start from prompt-guide.txt.example)",
                g->path, err.msg);
    return xstrdup(fallback);
}
