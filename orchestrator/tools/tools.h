#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include <stdbool.h>

#include "base/err.h"
#include "core/host.h"
#include "tools/files.h"

struct policy;
struct tools;
struct yaml;

/*
 * The tools that programs call: modules of functions, defined in a file or found at their source,
 * carried out over HTTP with credentials that no program sees. Any thread.
 */

/* Reads the file; its faults are ERR_INVALID. `files` are moved, also where it fails. */
int tools_open(struct tools_files *files, struct tools **ret, struct err *err) MUST_CHECK;

/* Begins to look for what has to be found; not before the process has given its rights away. */
void tools_start(struct tools *t);

/* No call may be under way any more. */
void tools_free(struct tools *t);

/*
 * Reads the file again and looks at every source again. What was found before holds until then, and
 * everything as it was where the file is faulty.
 */
int tools_reload(struct tools *t, struct err *err) MUST_CHECK;

/* The file's faults into `y`, as `oneshot check` tells them. */
void tools_check(struct yaml *y, const struct tools_files *files);

/* Every module is there: no source has failed, or has not been asked yet. */
bool tools_is_ready(struct tools *t);

/* What is wrong with the sources, one line each; "" where nothing is. The caller frees. */
char *tools_faults(struct tools *t);

/*
 * {"modules": [{"name", "doc", "functions": [{"name", "doc", "parameters": [{"name", "type",
 * "required", "default", "doc"}], "strict"}]}]} of what the policy permits, NULL: of everything.
 * The caller frees.
 */
char *tools_catalogue(struct tools *t, const struct policy *policy);

/* A host_fn for the kind "tool". */
void tools_call(void *tools, const struct host_call *call, struct host_answer *ret);

#endif
