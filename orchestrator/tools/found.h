#ifndef TOOLS_FOUND_H
#define TOOLS_FOUND_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/err.h"
#include "tools/toolset.h"

/* What discovery from either source has in common: documents, references, parameters of schemas. */

enum {
    FOUND_DOC_MAX = 8 * 1024 * 1024,
    FOUND_TOKENS = 400000,
    FOUND_DEPTH = 24,
    FOUND_COPY = 4000,
    FOUND_KNOWN = 512,
};

/* `doc` with what it refers to; the numbers bound the work that one document may make. */
struct found {
    const cJSON *doc;
    unsigned steps, walked;  /* of all of it; members that were passed to find others */
    unsigned copied;         /* nodes of the copy that is being made */
    unsigned open, open_max; /* references that lie within each other there */
    struct {
        const char *ref; /* of the document */
        const cJSON *node;
    } known[FOUND_KNOWN]; /* where references lead to, at a place that their text says */
};

/* A document that passed the scan; NULL with `err` filled unless it is an object. cJSON_Delete it. */
cJSON *found_parse(const char *text, size_t n, struct err *err);

/* `node`, or what its local `$ref` leads to through a few others; NULL: nowhere. Borrowed. */
const cJSON *found_follow(struct found *f, const cJSON *node);

/*
 * A copy with the local references written out, as deep as FOUND_COPY nodes allow; below that
 * stands {}, which is anything.
 */
cJSON *found_copy(struct found *f, const cJSON *schema);

/* The object's member of that key if it is an object, so that its members have names; else NULL. */
const cJSON *found_object(const cJSON *object, const char *key);

/* A text of an object, cut to TOOL_DOC_MAX; "" when it has none. The caller frees. */
char *found_text(const cJSON *object, const char *key);

/* One more parameter, with a Python name of its own. `schema` is moved. False: too many. */
bool found_add(struct tool_function *to, const char *wire, enum tool_in in, cJSON *schema);

/* One for each property of an object's schema, a part of the document. False: too many. */
bool found_add_properties(struct found *f, struct tool_function *to, const cJSON *schema);

#endif
