#ifndef WARDEN_GATHER_H
#define WARDEN_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/stream.h"
#include "known.h"
#include "names.h"
#include "queue.h"

/*
 * Sends what the program left in the work directory: regular files, in bytewise order of their
 * paths, by openat and O_NOFOLLOW alone. What is not sent is named with the reason. All processes
 * of the program are dead or stopped; were one to run on, the walk could show a mixture of times,
 * never anything outside of the directory and never more bytes than announced.
 */
enum {
    GATHER_DIR_MAX = 16384,     /* entries of one directory that are looked at */
    GATHER_ITEMS_MAX = 65536,   /* entries of all directories on one path */
    GATHER_NAMES_MAX = 4 << 20, /* bytes of their names */
    GATHER_OMITTED_MAX = 1000,  /* OMITTED frames; a last one for "." then counts the rest */
};

struct gather_item {
    uint32_t name_at;
    uint8_t name_len;
    uint8_t type; /* as d_type */
};

struct gather {
    const struct job *job;
    struct known *known;
    struct queue *out;
    /* Waits until `out` has room for a frame. -1: stop, nobody wants the rest. */
    int (*wait_room)(void *ctx);
    void *ctx;

    bool is_tmp;
    uint32_t files, dirs;
    uint64_t bytes, omitted;
    char path[NAME_PATH_MAX + NAME_MAX_BYTES + 2]; /* of what is being looked at */
    size_t path_len;
    uint32_t items_n, names_len;
    struct gather_item items[GATHER_ITEMS_MAX];
    char names[GATHER_NAMES_MAX];
};

/*
 * Walks the directory `work_fd` and, with JOB_TMP, looks at /tmp. The first five members of `g`
 * are set by the caller. 0; -1 when wait_room said so.
 */
int gather_run(struct gather *g, int work_fd, const char *tmp_path);

#endif
