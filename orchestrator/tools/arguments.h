#ifndef TOOLS_ARGUMENTS_H
#define TOOLS_ARGUMENTS_H

#include "base/err.h"
#include "tools/members.h"
#include "tools/toolset.h"

/* One value that goes to the service, as JSON; `param` NULL: one that the function does not list. */
struct argument {
    const struct tool_param *param;
    const char *wire, *value;
    size_t n;
};

struct arguments {
    struct members given; /* what `list` borrows from */
    struct argument *list;
    size_t n;
};

/*
 * Checks what a program gave, a JSON object in `text`, against the function: nothing is sent that
 * it does not take. Values that were not given are those that the definition says, null stands for
 * none where null may not be said. ERR_INVALID names the parameter. Borrows from `f` and `text`.
 * Call arguments_done either way.
 */
int arguments_read(const struct tool_function *f, const char *text, size_t n, struct arguments *ret,
                   struct err *err) MUST_CHECK;
void arguments_done(struct arguments *a);

/* {"wire": value, …} of those that go into the body; with `all`, of every one. */
void arguments_put_object(const struct arguments *a, bool all, struct buf *b);

#endif
