/*
 * Footprints outlive the keeper: measuring one takes a second or two in which a pool holds a
 * single member. One line per image and list of warm modules: "<key> <bytes>".
 */
#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "keeper/upkeep.h"

enum { FILE_MAX = 1024 * 1024 };

static void key_of(const struct pool *p, char out[DIGEST_TEXT])
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, FILE_MAX);
    (void)buf_str(&b, p->image.digest);
    for (char *const *w = p->policy->warm; w && *w; w++)
        (void)buf_fmt(&b, " %s", *w);
    (void)digest_text(out, buf_get(&b), b.len);
}

static char *file_path(const struct keeper *k)
{
    return xasprintf("%s/footprints", k->o->settings->state_dir);
}

static char *read_all(const struct keeper *k)
{
    auto_free char *path = file_path(k);
    char *data = NULL;
    size_t n;

    return io_read_file(path, FILE_MAX, &data, &n, NULL) == 0 ? data : NULL;
}

uint64_t footprint_load(const struct keeper *k, const struct pool *p)
{
    auto_free char *data = read_all(k);
    char key[DIGEST_TEXT];
    uint64_t bytes = 0;
    char *save = NULL;

    key_of(p, key);
    for (char *line = data ? strtok_r(data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        int64_t v;

        if (strncmp(line, key, DIGEST_TEXT - 1) == 0 && line[DIGEST_TEXT - 1] == ' ' &&
            str_to_i64(line + DIGEST_TEXT, 1, INT64_MAX, &v))
            bytes = (uint64_t)v;
    }
    return bytes;
}

void footprint_save(const struct keeper *k, const struct pool *p)
{
    auto_free char *path = file_path(k);
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char key[DIGEST_TEXT], line[DIGEST_TEXT + 32];
    int n;

    key_of(p, key);
    n = snprintf(line, sizeof(line), "%s %llu\n", key, (unsigned long long)p->footprint);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        log_warning("cannot remember a footprint in '%s'", path);
}
