#ifndef CMD_SAVE_H
#define CMD_SAVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/spool.h"

/* Files that a program left, into a directory of the user's. */

struct save_options {
    const char *dir; /* NULL: ./oneshot-ID, which must not be there yet */
    const char *id;
    bool force; /* over existing files, and hidden ones too */
    bool quiet;
};

struct save_file {
    const char *path; /* passed path_check */
    const struct spool *data;
};

/* Says on standard error what was saved and what was not. -1: not all of it was. */
int save_files(const struct save_options *o, const struct save_file *files, size_t n);

#endif
