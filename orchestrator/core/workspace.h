#ifndef CORE_WORKSPACE_H
#define CORE_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * A directory that persists between runs (aiq). The front has no right to it: a porter, a small
 * process that runs as the directory's owner and sees nothing else (core/porter.h), lists it and
 * opens its files, and the front reads and writes through the descriptors that it gets. Symbolic
 * links are never followed, names are checked on both sides. Any thread.
 */
struct workspace;

struct workspace_entry {
    char *path; /* below the directory */
    bool is_dir;
    mode_t mode;
    uint64_t size;
    int64_t mtime_ns;
};

/* `fd`: the pair to the porter, handed over. `quota`: bytes of all files together. */
struct workspace *workspace_new(int fd, uint64_t quota);
void workspace_free(struct workspace *w);

/* Regular files and directories, parents before children. Caller frees with the next function. */
int workspace_list(struct workspace *w, struct workspace_entry **ret, size_t *ret_n,
                   struct err *err) MUST_CHECK;
void workspace_entries_free(struct workspace_entry *list, size_t n);

/* A descriptor to read the file from, owned by the caller. ERR_NOTFOUND: it is gone by now. */
int workspace_open(struct workspace *w, const char *path, int *ret_fd, struct err *err) MUST_CHECK;

/*
 * A new file that nobody sees until it is committed: write `size` bytes to `*ret_fd`, close it,
 * then commit (an atomic rename over what stands there; the last writer wins) or drop it.
 * ERR_LIMIT: over the quota.
 */
int workspace_create(struct workspace *w, uint64_t size, int *ret_fd, uint64_t *ret_token,
                     struct err *err) MUST_CHECK;
int workspace_commit(struct workspace *w, uint64_t token, const char *path, mode_t mode,
                     struct err *err) MUST_CHECK;
void workspace_drop(struct workspace *w, uint64_t token);

int workspace_make_dir(struct workspace *w, const char *path, struct err *err) MUST_CHECK;

/* Removes a file or empty directory, unless a file has changed since `mtime_ns` (0: whatever). */
int workspace_remove(struct workspace *w, const char *path, int64_t mtime_ns, struct err *err)
    MUST_CHECK;

#endif
