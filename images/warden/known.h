#ifndef WARDEN_KNOWN_H
#define WARDEN_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * The files and directories of the work directory that the front knows already: inputs as they
 * were written, outputs as they were sent. Fixed storage; what no longer fits is not remembered,
 * so that it is sent once more rather than lost.
 */
enum { KNOWN_MAX = 16384, KNOWN_SLOTS = 32768, KNOWN_TEXT = 1 << 20 };

struct known_file {
    uint64_t inode;
    int64_t size, mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
    uint32_t path_at;
    uint16_t path_len;
    bool is_dir, is_gone;
};

struct known {
    uint32_t n, text_len;
    uint16_t slots[KNOWN_SLOTS]; /* open addressing by path; index + 1, 0 is empty */
    struct known_file files[KNOWN_MAX];
    char text[KNOWN_TEXT];
};

/* Remembers `path` with its state; a path that is known already gets the new state. */
void known_add(struct known *k, const char *path, size_t len, const struct stat *st);

/* The front has this very file with this very content. */
bool known_is_same(const struct known *k, const char *path, size_t len, const struct stat *st);

/* Path of number `i` (0 .. n - 1), not NUL-terminated; NULL once it was said to be gone. */
const char *known_path(const struct known *k, uint32_t i, size_t *ret_len, bool *ret_is_dir);

void known_set_gone(struct known *k, uint32_t i);

#endif
