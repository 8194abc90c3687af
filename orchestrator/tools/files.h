#ifndef TOOLS_FILES_H
#define TOOLS_FILES_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The tools' files. They are opened before the process gives its rights away and read again later,
 * at a reload: the directory stays open, and so does the file of secrets, which nobody else may read.
 */
struct tools_files {
    int dir_fd;
    char *name;     /* in the directory */
    char *path;     /* for people */
    bool is_wanted; /* it must be there */
    int secrets_dir_fd, secrets_fd;
    char *secrets_path; /* "" = none */
    char *ca_pem;       /* NULL: the system's certificates */
};

struct tools_files_options {
    const char *file; /* "" = tools.yaml in `policies_dir`, where it is */
    const char *policies_dir;
    const char *secrets, *ca_file; /* "" = none */
};

int tools_files_open(const struct tools_files_options *o, struct tools_files *ret,
                     struct err *err) MUST_CHECK;
void tools_files_done(struct tools_files *f);

/* The file `name` (NULL: the tools' own) of the directory. ERR_NOTFOUND, ERR_LIMIT, ERR_INTERNAL. */
int tools_files_read(const struct tools_files *f, const char *name, struct buf *ret,
                     struct err *err) MUST_CHECK;

/* ---- secrets ---- */

struct secrets;

/*
 * NAME=value lines; blank ones and those that begin with # are skipped. Where it cannot be opened
 * any more, what is in the file that was opened first is read. Never NULL on success.
 */
int secrets_read(const struct tools_files *f, struct secrets **ret, struct err *err) MUST_CHECK;
void secrets_free(struct secrets *s);

/* NULL when there is none. Borrowed. */
const char *secrets_find(const struct secrets *s, const char *name);

/* A further text that must not be shown; those under 8 bytes would only make holes. */
void secrets_add(struct secrets *s, const char *value);

/* Replaces every secret by as many `*`, also where it is written as in a URL or in JSON. */
void secrets_hide(const struct secrets *s, char *text, size_t n);

#endif
