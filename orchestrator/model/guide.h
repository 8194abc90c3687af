#ifndef MODEL_GUIDE_H
#define MODEL_GUIDE_H

#include "base/err.h"

/*
 * The guide for the model, a file that is read anew for every request. Its directory is opened
 * once, so that a process which later loses its rights still finds it.
 */
struct guide {
    int dir_fd; /* -1: it was not there */
    char *path;
};

void guide_init(struct guide *g, const char *path);
void guide_done(struct guide *g);

/* The text without white space around it; a built-in one, and a warning in the log, where the file
 * is missing, empty, too large or no UTF-8. Caller frees. */
char *guide_read(const struct guide *g);

#endif
