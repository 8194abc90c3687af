#ifndef WARDEN_INTAKE_H
#define WARDEN_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/stream.h"
#include "known.h"
#include "names.h"
#include "queue.h"

/*
 * Takes in the frames from JOB to GO: the job's numbers are kept, META and CODE are passed on to
 * the worker, files are written below the work directory.
 */
enum {
    INTAKE_META_MAX = JOB_META_MAX,
    INTAKE_CODE_MAX = 10 << 20,
};

struct intake {
    int work_fd; /* the work directory */
    struct known *known;

    struct job job;
    bool is_open; /* a JOB came, its GO did not */
    size_t meta_len, code_len;

    int file_fd; /* the ENTRY that is being written; -1: none, or it failed */
    uint64_t file_left;
    struct entry entry;
    char path[NAME_PATH_MAX + 1];

    int failed_errno; /* of the first file that could not be written, else 0 */
    char failed_path[NAME_PATH_MAX + 1];
};

enum intake_state { INTAKE_MORE, INTAKE_GO, INTAKE_BAD };

/*
 * One frame; its forwarded form goes to `worker`, which has room for it. INTAKE_BAD: the front
 * breaks the protocol. A file that cannot be written is no such breach: see failed_errno at GO.
 */
enum intake_state intake_frame(struct intake *in, const struct frame *f, struct queue *worker);

#endif
