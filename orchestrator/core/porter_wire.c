#include "core/porter_wire.h"

#include <string.h>

enum { ENTRY_MODE = 0, ENTRY_LEN = 4, ENTRY_KIND = 6, ENTRY_SIZE = 8, ENTRY_MTIME = 16 };
enum { ENTRY_HEAD = 24 };

/* Whether a question of that type names a file. */
static bool has_path(uint32_t type)
{
    return type == PORTER_OPEN || type == PORTER_COMMIT || type == PORTER_MAKE_DIR ||
           type == PORTER_REMOVE;
}

bool porter_ask_is_valid(const struct porter_ask *a, ssize_t n)
{
    if (n < (ssize_t)PORTER_ASK_HEAD || a->type < PORTER_LIST || a->type >= PORTER_TYPES)
        return false;
    if (a->path_len > PATH_REL_MAX || (size_t)n != PORTER_ASK_HEAD + (size_t)a->path_len)
        return false;
    if (a->pad || a->mode & ~0777U || a->size > PORTER_BYTES_MAX || a->quota > PORTER_BYTES_MAX)
        return false;
    if (!has_path(a->type))
        return a->path_len == 0;
    return path_check(a->path, a->path_len, NULL) == 0;
}

/* Descriptors travel with what was opened, and with nothing else. */
static bool wants_fd(const struct porter_answer *a)
{
    return a->fault == PORTER_FINE && (a->type == PORTER_OPEN || a->type == PORTER_CREATE);
}

bool porter_answer_is_valid(const struct porter_answer *a, ssize_t n, bool has_fd)
{
    if (n < (ssize_t)PORTER_ANSWER_HEAD || a->type < PORTER_LIST || a->type >= PORTER_TYPES)
        return false;
    if (a->data_len > PORTER_DATA_MAX || (size_t)n != PORTER_ANSWER_HEAD + (size_t)a->data_len)
        return false;
    if (a->fault >= PORTER_FAULTS || a->is_last > 1 || a->type == PORTER_DROP)
        return false;
    if (a->type != PORTER_LIST && (a->data_len || a->count || !a->is_last))
        return false;
    if (a->fault && (a->data_len || a->count || !a->is_last))
        return false;
    return wants_fd(a) == has_fd;
}

bool porter_entry_put(struct porter_answer *a, const struct porter_entry *e)
{
    uint8_t *at = a->data + a->data_len;
    uint16_t len = (uint16_t)e->path_len;

    if (e->path_len > PATH_REL_MAX || ENTRY_HEAD + e->path_len > PORTER_DATA_MAX - a->data_len)
        return false;
    memset(at, 0, ENTRY_HEAD);
    memcpy(at + ENTRY_MODE, &e->mode, sizeof(e->mode));
    memcpy(at + ENTRY_LEN, &len, sizeof(len));
    at[ENTRY_KIND] = e->is_dir;
    memcpy(at + ENTRY_SIZE, &e->size, sizeof(e->size));
    memcpy(at + ENTRY_MTIME, &e->mtime_ns, sizeof(e->mtime_ns));
    memcpy(at + ENTRY_HEAD, e->path, e->path_len);
    a->data_len += (uint32_t)(ENTRY_HEAD + e->path_len);
    a->count++;
    return true;
}

bool porter_entry_get(const struct porter_answer *a, size_t *at, struct porter_entry *ret)
{
    struct porter_entry e = {0};
    const uint8_t *p = a->data + *at;
    uint16_t len;

    if (*at > a->data_len || a->data_len - *at < ENTRY_HEAD)
        return false;
    memcpy(&e.mode, p + ENTRY_MODE, sizeof(e.mode));
    memcpy(&len, p + ENTRY_LEN, sizeof(len));
    memcpy(&e.size, p + ENTRY_SIZE, sizeof(e.size));
    memcpy(&e.mtime_ns, p + ENTRY_MTIME, sizeof(e.mtime_ns));
    e.is_dir = p[ENTRY_KIND];
    e.path = (const char *)p + ENTRY_HEAD;
    e.path_len = len;
    if (p[ENTRY_KIND] > 1 || e.mode & ~0777U || (e.is_dir && e.size) || e.size > INT64_MAX)
        return false;
    if (a->data_len - *at - ENTRY_HEAD < len || path_check(e.path, len, NULL) < 0)
        return false;
    *at += ENTRY_HEAD + (size_t)len;
    *ret = e;
    return true;
}
