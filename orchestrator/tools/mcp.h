#ifndef TOOLS_MCP_H
#define TOOLS_MCP_H

#include "base/err.h"
#include "core/host.h"
#include "tools/arguments.h"
#include "tools/call.h"
#include "tools/toolset.h"

/*
 * A client of one MCP server over streamable HTTP, for both eras of the protocol: 2026-07-28, which
 * has no sessions, and the revisions from 2024-11-05 to 2025-11-25, which begin with `initialize`.
 * A session that the server has forgotten is begun anew. Any thread; it must outlive its calls.
 */
struct mcp;

struct mcp *mcp_new(const char *url, char **headers /* lines, moved */);
void mcp_free(struct mcp *m);

/* Connects, and adds a function to `to` for each tool. Blocks as long as the way says. */
int mcp_discover(struct mcp *m, const struct tool_way *way, struct tool_module *to,
                 struct err *err) MUST_CHECK;

/* Says that the session is over, where there is one: some servers keep what nobody ends. */
void mcp_end(struct mcp *m, const struct tool_way *way);

void mcp_call(struct mcp *m, const struct tool_function *f, const struct arguments *args,
              const struct tool_way *way, struct host_answer *ret);

#endif
