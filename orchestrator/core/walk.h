#ifndef CORE_WALK_H
#define CORE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/porter_wire.h"

/*
 * A directory tree, entry by entry: regular files that may be read and directories, parents before
 * children, the names of one directory in bytewise order. Links are never followed; whatever else
 * stands there, names that path_check refuses and what lies deeper than it allows are skipped.
 * One thread.
 */
struct walk;

/* Hidden files of ours at the top, which are no part of the tree. */
#define WALK_HIDDEN_PREFIX ".oneshot-"
#define WALK_HIDDEN_SUFFIX ".part"
bool walk_is_hidden(const char *name);

/* `dir_fd` is borrowed until walk_free. */
struct walk *walk_new(int dir_fd);
void walk_free(struct walk *w);

/*
 * 1: `*ret` is the next entry, borrowed until the next call; 0: that was all; -1: ERR_LIMIT after
 * PORTER_ENTRIES_MAX entries (or twice as many names), ERR_INTERNAL when the top cannot be read.
 */
int walk_next(struct walk *w, struct porter_entry *ret, struct err *err) MUST_CHECK;

/* Time of the last change in nanoseconds since 1970, or the nearest that fits. */
struct stat;
int64_t walk_mtime_ns(const struct stat *st);

DEFINE_CLEANUP(struct walk *, walk_free)

#endif
