#ifndef BASE_SPOOL_H
#define BASE_SPOOL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Bytes whose amount an outsider decides: in memory while they are few, in an unlinked temporary
 * file beyond that. Append first, then read at any offset, any number of times.
 */
struct spool {
    const char *dir; /* where temporary files go; borrowed, outlives the spool */
    char *mem;       /* the first bytes; NULL once they are in the file */
    size_t mem_len, mem_cap;
    int fd; /* -1 while in memory */
    uint64_t size;
};

enum { SPOOL_MEMORY = 256 * 1024 };

void spool_init(struct spool *s, const char *dir);
void spool_done(struct spool *s);

/*
 * All of it or nothing. ERR_BUSY when the disk is full, which may pass, ERR_INTERNAL otherwise;
 * what was added before is still there. The caller bounds the total.
 */
int spool_add(struct spool *s, const void *data, size_t n, struct err *err) MUST_CHECK;

/* Reads up to `n` bytes at `offset`; 0 past the end. */
ssize_t spool_read(const struct spool *s, uint64_t offset, void *out, size_t n,
                   struct err *err) MUST_CHECK;

/* Moves content and descriptor; `from` is empty afterwards. */
void spool_move(struct spool *to, struct spool *from);

#endif
