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

/*
 * Every call may fail with ERR_BUSY (there is no porter now, or it was lost meanwhile; come again),
 * ERR_TIMEOUT (it does not answer), ERR_DENIED (the directory's owner has no right to) and
 * ERR_INTERNAL. A path that path_check refuses, or that is reserved for files of ours: ERR_INVALID.
 */

/* `fd`: the pair to the porter, handed over; -1: none yet. `quota`: bytes of all files together. */
struct workspace *workspace_new(int fd, uint64_t quota);
void workspace_free(struct workspace *w); /* no call may be under way */

/* A porter that was started anew; files under way with the old one are lost. `fd` is handed over. */
void workspace_set_fd(struct workspace *w, int fd);
bool workspace_is_up(struct workspace *w);

/* How long a call waits for a sign of life, 10 s unless set before the first call. */
void workspace_set_patience(struct workspace *w, int64_t ms);

/*
 * Regular files that the owner may read, and directories, parents before children, the names of a
 * directory sorted bytewise. ERR_LIMIT: more than 50,000 (PORTER_ENTRIES_MAX). Caller frees with
 * the next function.
 */
int workspace_list(struct workspace *w, struct workspace_entry **ret, size_t *ret_n,
                   struct err *err) MUST_CHECK;
void workspace_entries_free(struct workspace_entry *list, size_t n);

/*
 * A descriptor to read the file from, owned by the caller. ERR_NOTFOUND: it is gone by now, or no
 * longer a regular file that can be opened.
 */
int workspace_open(struct workspace *w, const char *path, int *ret_fd, struct err *err) MUST_CHECK;

/*
 * A new file that nobody sees until it is committed: write to `*ret_fd`, close it, then commit (an
 * atomic rename over what stands there, never over a directory; the last writer wins) or drop it.
 * Directories above it are made. The token is used up by the commit, also by one that fails.
 * ERR_LIMIT: over the quota (bytes that are written but not committed count on their own), no
 * space left, or too many entries. ERR_INVALID: a directory stands there. ERR_DENIED: something
 * above it is no directory, such as a link.
 */
int workspace_create(struct workspace *w, uint64_t size, int *ret_fd, uint64_t *ret_token,
                     struct err *err) MUST_CHECK;
int workspace_commit(struct workspace *w, uint64_t token, const char *path, mode_t mode,
                     struct err *err) MUST_CHECK;
void workspace_drop(struct workspace *w, uint64_t token);

/* Done also when it is there already. Directories above it are made. */
int workspace_make_dir(struct workspace *w, const char *path, struct err *err) MUST_CHECK;

/*
 * Removes a file or an empty directory; done also when it is gone already. ERR_BUSY: a file has
 * changed since `mtime_ns` (0: whatever), or a directory is not empty.
 */
int workspace_remove(struct workspace *w, const char *path, int64_t mtime_ns,
                     struct err *err) MUST_CHECK;

#endif
