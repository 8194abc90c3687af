#ifndef TOOLS_MEMBERS_H
#define TOOLS_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The members of a JSON object with their values as they were written: numbers that are no doubles
 * and the order of keys pass through unharmed. The text must have passed json_scan and outlive this.
 */
struct member {
    char *key;         /* decoded */
    const char *value; /* in the text */
    size_t n;
    bool is_used; /* the caller's mark */
};

struct members {
    struct member *list;
    size_t n;
};

/* ERR_INVALID: no object. Call members_done either way. */
int members_read(const char *text, size_t n, struct members *ret, struct err *err) MUST_CHECK;
void members_done(struct members *m);

struct member *members_find(const struct members *m, const char *key);

#endif
