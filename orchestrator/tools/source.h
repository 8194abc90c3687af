#ifndef TOOLS_SOURCE_H
#define TOOLS_SOURCE_H

#include "base/err.h"
#include "tools/call.h"
#include "tools/config.h"
#include "tools/toolset.h"

/* Whether the functions of that module have to be found. */
bool source_is(const struct module_config *about);

/* Finds them: `ret` is the caller's. Blocks as long as the way says. No text holds a credential. */
int source_discover(struct tools_config *config, const struct module_config *about,
                    const struct tools_files *files, const struct tool_way *way,
                    struct tool_module **ret, struct err *err) MUST_CHECK;

#endif
