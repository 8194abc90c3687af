#ifndef TOOLS_MCP_WIRE_H
#define TOOLS_MCP_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sse.h"
#include "tools/toolset.h"

/* JSON-RPC messages of an MCP server: bytes of a stranger, in any split. */

/* What came back for one request. */
struct mcp_message {
    bool has_come;
    struct buf text;    /* the whole message; `result` points into it */
    const char *result; /* JSON, NULL: an error */
    size_t result_n;
    long long code; /* of the error */
    char *error;    /* and its words, NULL: none */
};

/* Reads the reply to request `id`: one JSON object, or a stream of events with one in it. */
struct mcp_reader {
    struct mcp_message *message;
    long long id;
    struct buf whole; /* of what is no stream */
    struct sse sse;
    bool is_stream, is_begun;
    struct err err;
};

/* `ret` is storage of the caller, released with mcp_message_done. */
void mcp_reader_init(struct mcp_reader *r, long long id, size_t max, struct mcp_message *ret);
void mcp_reader_done(struct mcp_reader *r);

/* False: it cannot be read; the end says why. */
bool mcp_reader_feed(struct mcp_reader *r, const char *type, const char *data, size_t n);

/* ERR_PEER unless the reply was there. */
int mcp_reader_end(struct mcp_reader *r, struct err *err) MUST_CHECK;

void mcp_message_done(struct mcp_message *m);

/* A reply that came with a status other than 200; false when it is none to request `id`. */
bool mcp_message_read(struct mcp_message *ret, long long id, const char *text, size_t n);

/*
 * One page of tools/list as functions of `to`; `ret_cursor` gets the JSON text of the next page's
 * cursor, NULL where this is the last (the caller frees).
 */
int mcp_read_tools(struct tool_module *to, const char *result, size_t n, char **ret_cursor,
                   struct err *err) MUST_CHECK;

/*
 * The result of tools/call: `ret` gets JSON, the structured content if there is some, else the text
 * (as JSON if it is some), else the blocks. `ret_failed`: the tool says that it failed, and `ret`
 * holds its words as they are.
 */
int mcp_read_result(const char *result, size_t n, struct buf *ret, bool *ret_failed,
                    struct err *err) MUST_CHECK;

#endif
