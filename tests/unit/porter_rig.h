#ifndef TESTS_PORTER_RIG_H
#define TESTS_PORTER_RIG_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "core/porter_wire.h"
#include "core/workspace.h"

/* A directory, a second one that nobody may reach from the first, and a porter. */
struct rig {
    char base[64];    /* holds both; removed at the end */
    char dir[80];     /* the workspace */
    char outside[80]; /* holds "secret", 0644 */
    pid_t pid;        /* of the porter; 0: none */
    int fd;           /* our end of the pair; -1 once it was handed on */
};

enum rig_mode {
    RIG_RUN,       /* porter_run, as whoever runs the test */
    RIG_SERVE,     /* porter_serve: the paths alone must hold, without chroot */
    RIG_USER_4243, /* porter_run by a user who is not root; skipped where we are not either */
};

/* The directory belongs to `uid`, where we are root. No porter yet. */
void rig_init(struct rig *r, uid_t uid);

/* Starts a porter on `dir` in a process of its own. */
void rig_start(struct rig *r, const char *dir, enum rig_mode mode);

/* Closes our end if it is still here, waits for the porter: its error kind, or 128 + signal. */
int rig_wait(struct rig *r);
void rig_done(struct rig *r); /* ends the porter, removes everything */

/* Below the workspace. */
void rig_write(const struct rig *r, const char *path, const char *text);
void rig_mkdir(const struct rig *r, const char *path);
void rig_link(const struct rig *r, const char *target, const char *path);
char *rig_read(const struct rig *r, const char *path); /* NULL: none; caller frees */
int rig_has(const struct rig *r, const char *path);

/* The outside directory still holds its one file as it was. */
void rig_check_outside(const struct rig *r);

/* Creates, writes and commits. 0 or -1 with `err`. */
int rig_put(struct workspace *w, const char *path, const char *text, mode_t mode, struct err *err);

/* The paths of a list joined by blanks, directories with a slash behind. Caller frees. */
char *rig_list(struct workspace *w);

/* One question over the raw socket. */
void rig_ask(int fd, struct porter_ask *ask, const char *path);

#endif
