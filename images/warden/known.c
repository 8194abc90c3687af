#include "known.h"

#include <string.h>

static uint32_t hash(const char *path, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)path[i]) * 16777619u;
    return h;
}

/* Slot of the path, or the empty slot where it belongs. There is always one: SLOTS > MAX. */
static uint32_t find(const struct known *k, const char *path, size_t len)
{
    uint32_t slot = hash(path, len) % KNOWN_SLOTS;

    while (k->slots[slot]) {
        const struct known_file *f = &k->files[k->slots[slot] - 1];

        if (f->path_len == len && memcmp(k->text + f->path_at, path, len) == 0)
            return slot;
        slot = (slot + 1) % KNOWN_SLOTS;
    }
    return slot;
}

static void set_state(struct known_file *f, const struct stat *st)
{
    f->inode = st->st_ino;
    f->size = st->st_size;
    f->mtime_s = st->st_mtim.tv_sec;
    f->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    f->ctime_s = st->st_ctim.tv_sec;
    f->ctime_ns = (uint32_t)st->st_ctim.tv_nsec;
    f->is_dir = S_ISDIR(st->st_mode);
    f->is_gone = false;
}

void known_add(struct known *k, const char *path, size_t len, const struct stat *st)
{
    uint32_t slot = find(k, path, len);
    struct known_file *f;

    if (!k->slots[slot]) {
        if (k->n == KNOWN_MAX || len > UINT16_MAX || KNOWN_TEXT - k->text_len < len)
            return;
        f = &k->files[k->n++];
        f->path_at = k->text_len;
        f->path_len = (uint16_t)len;
        memcpy(k->text + k->text_len, path, len);
        k->text_len += (uint32_t)len;
        k->slots[slot] = (uint16_t)k->n;
    }
    f = &k->files[k->slots[slot] - 1];
    set_state(f, st);
}

bool known_is_same(const struct known *k, const char *path, size_t len, const struct stat *st)
{
    uint32_t slot = find(k, path, len);
    const struct known_file *f;
    struct known_file now = {0};

    if (!k->slots[slot])
        return false;
    f = &k->files[k->slots[slot] - 1];
    set_state(&now, st);
    return !f->is_gone && f->is_dir == now.is_dir && f->inode == now.inode && f->size == now.size &&
           f->mtime_s == now.mtime_s && f->mtime_ns == now.mtime_ns && f->ctime_s == now.ctime_s &&
           f->ctime_ns == now.ctime_ns;
}

const char *known_path(const struct known *k, uint32_t i, size_t *ret_len, bool *ret_is_dir)
{
    const struct known_file *f = &k->files[i];

    if (f->is_gone)
        return NULL;
    *ret_len = f->path_len;
    *ret_is_dir = f->is_dir;
    return k->text + f->path_at;
}

void known_set_gone(struct known *k, uint32_t i)
{
    k->files[i].is_gone = true;
}
