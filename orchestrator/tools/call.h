#ifndef TOOLS_CALL_H
#define TOOLS_CALL_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/host.h"
#include "tools/arguments.h"
#include "tools/toolset.h"

struct fetch_reply;
struct fetch_request;
struct fetch_pool;
struct stop;

/* What every exchange with a tool's service goes by. Borrowed. */
struct tool_way {
    struct fetch_pool *pool;
    const char *ca_pem; /* NULL: the system's */
    bool uses_proxy;
    const struct secrets *secrets;
    int64_t deadline_ms;
    size_t reply_max;
    struct stop *stop; /* may be NULL */
};

/*
 * The texts of the contract, as ToolError: "MCP tool 'n' failed: 500 - …", "MCP tool 'n' connection
 * failed: …", and "MCP tool 'n': …" for what was not sent. What a service says is cut, made UTF-8,
 * and told without the secrets.
 */
void tool_refuse(struct host_answer *a, const struct tool_function *f, const char *text);
void tool_failed(struct host_answer *a, const struct tool_function *f, const struct tool_way *way,
                 int status, const struct buf *body);
void tool_lost(struct host_answer *a, const struct tool_function *f, const struct tool_way *way,
               const struct err *why);

/* `q` with what the way says; and one exchange that follows redirects within the host. */
void tool_way_fill(const struct tool_way *way, struct fetch_request *q);
int tool_fetch(struct fetch_request *q, struct fetch_reply *ret, struct err *err) MUST_CHECK;

/* Whether a text may be what a service sent as JSON; ERR_INVALID says why not. */
int tool_check_json(const char *text, size_t n, struct err *err) MUST_CHECK;

void tool_call_http(const struct tool_function *f, const struct arguments *args,
                    const struct tool_way *way, struct host_answer *ret);

#endif
