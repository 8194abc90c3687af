#ifndef TOOLS_OPENAPI_H
#define TOOLS_OPENAPI_H

#include "base/err.h"
#include "tools/toolset.h"

/*
 * The operations of an OpenAPI 3.0 or 3.1 document (JSON) as functions of `m`; operationId is the
 * name. `place` is the document's URL, "" for a file: a document that was fetched may send calls,
 * and the credentials with them, to no other host than its own unless the module has a url. What
 * cannot be called with JSON is left out, with a line in the log.
 */
int openapi_read(struct tool_module *m, const char *place, const char *text, size_t n,
                 struct err *err) MUST_CHECK;

#endif
