#ifndef CORE_PORTER_STATE_H
#define CORE_PORTER_STATE_H

#include <sys/queue.h>

#include "base/err.h"
#include "core/porter_wire.h"
#include "core/walk.h"

/* What the files of the porter share. One thread. */

enum { PORTER_NAME_LEN = sizeof(WALK_HIDDEN_PREFIX) + 16 + sizeof(WALK_HIDDEN_SUFFIX) };

/* A file under way: it stands at the top of the directory under a name that nobody lists. */
struct porter_file {
    uint64_t token;
    uint64_t size; /* as announced */
    int fd;        /* kept open: the name alone would not say that it is still this file */
    char name[PORTER_NAME_LEN];
};

/* A LIST under way. */
struct listing {
    uint64_t seq;
    struct walk *walk; /* NULL until its turn comes */
    bool has_held;     /* `held` did not fit into the last answer */
    struct porter_entry held;
    uint64_t bytes, entries;                /* found so far */
    uint64_t changes, bytes_in, entries_in; /* of the porter when it began */
    TAILQ_ENTRY(listing) link;
};

TAILQ_HEAD(listing_list, listing);

struct porter {
    int dir_fd, fd;
    bool tells_links; /* the file system counts a directory's links: none are left once deleted */

    /* What the directory holds: as the last LIST found it, kept current since. */
    bool is_counted;
    uint64_t bytes, entries;
    uint64_t changes, bytes_in, entries_in; /* how often, and how much was ever added */

    struct porter_file files[PORTER_FILES_MAX];
    size_t files_n;
    uint64_t under_way; /* bytes announced by `files` */

    struct listing_list listings; /* the first ones are walked, the others wait */
    size_t listings_n;
    struct porter_answer answer; /* storage for what is sent */
};

/* ---- porter_files.c ---- */

/* Removes what a porter that was killed left behind; files that another one writes to stay. */
void porter_sweep(const struct porter *p);

/* Each answers one question. `*ret_fd`, where there is one, is owned by the porter's file list,
 * but for OPEN, whose caller closes it. `*ret_sys` gets the errno behind a fault. */
enum porter_fault porter_open_file(struct porter *p, const struct porter_ask *a, int *ret_fd,
                                   int *ret_sys);
enum porter_fault porter_create(struct porter *p, const struct porter_ask *a, int *ret_fd,
                                uint64_t *ret_token, int *ret_sys);
enum porter_fault porter_commit(struct porter *p, const struct porter_ask *a, int *ret_sys);
void porter_drop(struct porter *p, uint64_t token);
enum porter_fault porter_make_dir(struct porter *p, const struct porter_ask *a, int *ret_sys);
enum porter_fault porter_remove(struct porter *p, const struct porter_ask *a, int *ret_sys);

/* Drops every file under way. */
void porter_files_done(struct porter *p);

/* ---- porter_lists.c ---- */

/* Takes a LIST in; PORTER_BUSY when too many wait. */
enum porter_fault porter_list_begin(struct porter *p, uint64_t seq);

/* Sends the next answer of one of the LISTs. -1: the front is gone. */
int porter_list_step(struct porter *p);
void porter_lists_done(struct porter *p);

/* Counts bytes and entries now unless a LIST has done so. */
void porter_count(struct porter *p);

/* ---- porter_confine.c ---- */

/* Opens `dir`, made if it is missing. The caller owns `*ret_fd`. */
int porter_open_dir(const char *dir, int *ret_fd, struct err *err) MUST_CHECK;

/* Gives up every right but those of the directory's owner; `fd` and `dir_fd` stay open. */
int porter_confine(int dir_fd, int fd, struct err *err) MUST_CHECK;

#endif
