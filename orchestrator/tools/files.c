#include "tools/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "policy/policy.h"
#include "tools/urls.h"

enum { SECRETS_SIZE = 64 * 1024, CA_SIZE = 4 * 1024 * 1024, HIDDEN_MIN = 8 };

/* ---- opening ---- */

static int open_dir(const char *path, struct err *err)
{
    const char *base = path_base(path);
    auto_free char *dir = base > path ? xstrndup(path, (size_t)(base - path)) : xstrdup("./");
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_sys(err, "open '%s'", dir) : fd;
}

static int open_secrets(const char *path, struct tools_files *f, struct err *err)
{
    f->secrets_path = xstrdup(path);
    if (!*path)
        return 0;
    f->secrets_dir_fd = open_dir(path, err);
    if (f->secrets_dir_fd < 0)
        return err_wrap(err, "tools.secrets");
    f->secrets_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return f->secrets_fd < 0 ? err_sys(err, "tools.secrets: open '%s'", path) : 0;
}

int tools_files_open(const struct tools_files_options *o, struct tools_files *ret, struct err *err)
{
    struct tools_files f = {
        .dir_fd = -1, .secrets_dir_fd = -1, .secrets_fd = -1, .is_wanted = *o->file};
    size_t n;

    f.path = *o->file ? xstrdup(o->file) : xasprintf("%s/%s", o->policies_dir, POLICY_TOOLS_FILE);
    f.name = xstrdup(path_base(f.path));
    f.dir_fd = open_dir(f.path, err);
    if (f.dir_fd < 0 || open_secrets(o->secrets, &f, err) < 0 ||
        (*o->ca_file && io_read_file(o->ca_file, CA_SIZE, &f.ca_pem, &n, err) < 0)) {
        tools_files_done(&f);
        return -1;
    }
    *ret = f;
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void tools_files_done(struct tools_files *f)
{
    close_fd(&f->dir_fd);
    close_fd(&f->secrets_dir_fd);
    close_fd(&f->secrets_fd);
    free(f->name);
    free(f->path);
    free(f->secrets_path);
    free(f->ca_pem);
    *f = (struct tools_files){.dir_fd = -1, .secrets_dir_fd = -1, .secrets_fd = -1};
}

static int read_all(int fd, struct buf *ret, struct err *err)
{
    char piece[16384];
    ssize_t n;

    while ((n = pread(fd, piece, sizeof(piece), (off_t)ret->len)) > 0) {
        if (buf_add(ret, piece, (size_t)n) < 0)
            return err_set(err, ERR_LIMIT, "it is over %zu bytes", ret->max);
    }
    return n < 0 ? err_sys(err, "read") : 0;
}

int tools_files_read(const struct tools_files *f, const char *name, struct buf *ret,
                     struct err *err)
{
    auto_fd int fd = openat(f->dir_fd, name ? name : f->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOTFOUND, "there is no file '%s'", name ? name : f->path);
    if (fd < 0)
        return err_sys(err, "open '%s'", name ? name : f->path);
    return read_all(fd, ret, err);
}

/* ---- secrets ---- */

struct secret {
    char *name, *value; /* name NULL: only to be hidden */
};

struct secrets {
    struct secret *list;
    size_t n;
};

static void add(struct secrets *s, char *name, char *value)
{
    s->list = xarray(s->list, s->n + 1, sizeof(*s->list));
    s->list[s->n++] = (struct secret){name, value};
}

static void wipe(char *text)
{
    explicit_bzero(text, strlen(text));
    free(text);
}

/* `form` is moved. */
static void add_form(struct secrets *s, const char *value, char *form)
{
    if (strcmp(form, value) == 0)
        wipe(form);
    else
        add(s, NULL, form);
}

/* A service that sends a value back may write it as URLs do, or JSON with every escape it has. */
static void add_forms(struct secrets *s, const char *value)
{
    struct buf in_url, in_json;

    if (strlen(value) < HIDDEN_MIN)
        return;
    buf_init(&in_url, 3 * strlen(value));
    buf_init(&in_json, 2 * strlen(value));
    url_put(&in_url, value, strlen(value));
    for (const char *c = value; *c; c++) {
        if (strchr("\"\\/", *c))
            (void)buf_char(&in_json, '\\');
        (void)buf_char(&in_json, *c);
    }
    add_form(s, value, buf_take(&in_url));
    add_form(s, value, buf_take(&in_json));
}

void secrets_add(struct secrets *s, const char *value)
{
    add(s, NULL, xstrdup(value));
    add_forms(s, value);
}

void secrets_free(struct secrets *s)
{
    for (size_t i = 0; s && i < s->n; i++) {
        free(s->list[i].name);
        wipe(s->list[i].value);
    }
    if (s)
        free(s->list);
    free(s);
}

static int parse_line(struct secrets *s, const char *line, size_t n, unsigned number,
                      struct err *err)
{
    const char *equals, *value;
    size_t value_n;

    n = str_trim(&line, n);
    if (!n || *line == '#')
        return 0;
    equals = memchr(line, '=', n);
    if (!equals || equals == line)
        return err_set(err, ERR_INVALID, "line %u is not NAME=value", number);
    value = equals + 1;
    value_n = str_trim(&value, (size_t)(line + n - value));
    /* Between quotes as they are written for a shell. */
    if (value_n >= 2 && (*value == '"' || *value == '\'') && value[value_n - 1] == *value) {
        value++;
        value_n -= 2;
    }
    for (size_t i = 0; i < value_n; i++) {
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7F)
            return err_set(err, ERR_INVALID, "line %u has a control character", number);
    }
    n = str_trim(&line, (size_t)(equals - line));
    add(s, xstrndup(line, n), xstrndup(value, value_n));
    add_forms(s, s->list[s->n - 1].value);
    return 0;
}

static int parse(struct secrets *s, const struct buf *text, struct err *err)
{
    const char *at = buf_get(text), *end = at + text->len;

    for (unsigned number = 1; at < end; number++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((line_end ? line_end : end) - at);

        if (parse_line(s, at, n, number, err) < 0)
            return -1;
        at += n + 1;
    }
    return 0;
}

static void wipe_buf(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    buf_done(b);
}

int secrets_read(const struct tools_files *f, struct secrets **ret, struct err *err)
{
    CLEANUP(wipe_buf) struct buf text = {.max = SECRETS_SIZE};
    struct secrets *s = xcalloc(1, sizeof(*s));
    int rc = 0;

    if (f->secrets_fd >= 0) {
        auto_fd int fd = openat(f->secrets_dir_fd, path_base(f->secrets_path),
                                O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        rc = read_all(fd < 0 ? f->secrets_fd : fd, &text, err);
    }
    if (rc < 0 || parse(s, &text, err) < 0) {
        secrets_free(s);
        return err_wrap(err, "tools.secrets: '%s'", f->secrets_path);
    }
    *ret = s;
    return 0;
}

const char *secrets_find(const struct secrets *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->list[i].name && strcmp(s->list[i].name, name) == 0)
            return s->list[i].value;
    }
    return NULL;
}

void secrets_hide(const struct secrets *s, char *text, size_t n)
{
    for (size_t i = 0; i < s->n; i++) {
        const char *value = s->list[i].value;
        size_t k = strlen(value);
        char *at = text;

        if (k < HIDDEN_MIN)
            continue;
        while ((at = memmem(at, n - (size_t)(at - text), value, k))) {
            memset(at, '*', k);
            at += k;
        }
    }
}
