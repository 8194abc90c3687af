#include "tools/mcp_wire.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "tools/config.h"
#include "tools/found.h"
#include "tools/members.h"
#include "tools/pyname.h"
#include "tools/urls.h"

enum {
    TOKENS_MAX = 4000000, /* of a message that goes on as it is, and is not read here */
    ERROR_PART_MAX = 64 * 1024,
};

/* ---- messages ---- */

void mcp_message_done(struct mcp_message *m)
{
    buf_done(&m->text);
    free(m->error);
    m->error = NULL;
}

static void read_error(struct mcp_message *m, const struct member *error)
{
    CLEANUP(cJSON_Delete_p) cJSON *object = NULL;
    const cJSON *code, *text;

    if (error->n <= ERROR_PART_MAX)
        object = cJSON_ParseWithLength(error->value, error->n);
    code = cJSON_GetObjectItemCaseSensitive(object, "code");
    text = cJSON_GetObjectItemCaseSensitive(object, "message");
    if (cJSON_IsNumber(code) && code->valuedouble > -1e9 && code->valuedouble < 1e9)
        m->code = (long long)code->valuedouble;
    free(m->error);
    m->error = xstrdup(cJSON_IsString(text) ? text->valuestring : "no message");
}

/* The id as we wrote it; an error may have null, where the server could not read so far. */
static bool is_id(const struct member *id, long long wanted, bool is_error)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%lld", wanted);

    if (!id)
        return false;
    if (id->n == (size_t)n && strncmp(id->value, text, id->n) == 0)
        return true;
    return is_error && id->n == 4 && strncmp(id->value, "null", 4) == 0;
}

bool mcp_message_read(struct mcp_message *ret, long long id, const char *text, size_t n)
{
    CLEANUP(members_done) struct members m = {0};
    const struct member *result, *error;

    if (json_scan_passed_on(text, n, TOKENS_MAX, NULL) < 0)
        return false;
    buf_clear(&ret->text);
    if (buf_add(&ret->text, text, n) < 0 ||
        members_read(ret->text.data, ret->text.len, &m, NULL) < 0)
        return false;
    result = members_find(&m, "result");
    error = members_find(&m, "error");
    if ((!result && !error) || members_find(&m, "method") ||
        !is_id(members_find(&m, "id"), id, error))
        return false;
    ret->result = error ? NULL : result->value;
    ret->result_n = error ? 0 : result->n;
    if (error)
        read_error(ret, error);
    ret->has_come = true;
    return true;
}

/* ---- reading ---- */

static int on_event(void *ctx, const char *event, const char *data, size_t n, struct err *err)
{
    struct mcp_reader *r = ctx;

    (void)event;
    (void)err;
    /* Progress, messages for people, a server's own questions: nothing that is waited for. */
    if (!r->message->has_come)
        (void)mcp_message_read(r->message, r->id, data, n);
    return 0;
}

void mcp_reader_init(struct mcp_reader *r, long long id, size_t max, struct mcp_message *ret)
{
    *r = (struct mcp_reader){.message = ret, .id = id};
    *ret = (struct mcp_message){0};
    buf_init(&ret->text, max);
    buf_init(&r->whole, max);
    sse_init(&r->sse, SSE_EVENTS, on_event, r);
    sse_limit(&r->sse, max);
}

void mcp_reader_done(struct mcp_reader *r)
{
    buf_done(&r->whole);
    sse_done(&r->sse);
}

static bool is_event_stream(const char *type)
{
    static const char name[] = "text/event-stream";

    return strncasecmp(type, name, strlen(name)) == 0;
}

bool mcp_reader_feed(struct mcp_reader *r, const char *type, const char *data, size_t n)
{
    if (!r->is_begun)
        r->is_stream = is_event_stream(type);
    r->is_begun = true;
    if (r->is_stream)
        return sse_feed(&r->sse, data, n, &r->err) == 0;
    if (buf_add(&r->whole, data, n) == 0)
        return true;
    (void)err_set(&r->err, ERR_LIMIT, "the reply is over %zu bytes", r->whole.max);
    return false;
}

int mcp_reader_end(struct mcp_reader *r, struct err *err)
{
    if (r->err.kind != ERR_NONE)
        return err_set(err, ERR_PEER, "%s", r->err.msg);
    if (r->is_stream)
        (void)!sse_end(&r->sse, &r->err);
    else if (!r->message->has_come)
        (void)mcp_message_read(r->message, r->id, buf_get(&r->whole), r->whole.len);
    if (!r->message->has_come)
        return err_set(err, ERR_PEER, "the reply is no answer of an MCP server");
    return 0;
}

/* ---- tools/list ---- */

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* x-mcp-header: what stands between may look at that argument without reading the body. */
static void read_headers(struct tool_function *f)
{
    for (size_t i = 0; i < f->params_n; i++) {
        const char *name = cJSON_GetStringValue(get(f->params[i].schema, "x-mcp-header"));

        if (name && url_is_header_name(name) && strlen(name) <= PYNAME_MAX)
            f->params[i].header = xasprintf("Mcp-Param-%s", name);
    }
}

static bool fill(struct tool_function *f, const cJSON *tool)
{
    const cJSON *schema = get(tool, "inputSchema");
    struct found found = {.doc = schema};

    f->doc = found_text(tool, "description");
    f->is_strict = cJSON_IsFalse(get(schema, "additionalProperties"));
    if (!found_add_properties(&found, f, schema))
        return false;
    read_headers(f);
    return true;
}

static int add_tool(struct tool_module *to, const cJSON *tool, struct err *err)
{
    const char *wire = cJSON_GetStringValue(get(tool, "name"));
    auto_free char *name = wire ? pyname_function(wire) : NULL;
    struct tool_function *f;

    if (wire && !tools_config_wants(to->about, wire))
        return 0;
    if (!name || tool_module_find(to, name)) {
        tool_module_skip(to, wire ? wire : "",
                         name ? "there is one of that name" : "it has no name");
        return 0;
    }
    f = tool_module_add(to);
    if (!f)
        return err_set(err, ERR_LIMIT, "it has over %d tools", TOOL_FUNCTIONS_MAX);
    f->name = TAKE(name);
    f->wire = xstrdup(wire);
    if (!fill(f, tool)) {
        tool_module_skip(to, f->name, "it has too many parameters");
        tool_module_undo(to);
    }
    return 0;
}

int mcp_read_tools(struct tool_module *to, const char *result, size_t n, char **ret_cursor,
                   struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *page = found_parse(result, n, err);
    const cJSON *tools = get(page, "tools"), *one;
    const cJSON *cursor = get(page, "nextCursor");
    char *text;

    if (!page)
        return -1;
    if (!cJSON_IsArray(tools))
        return err_set(err, ERR_PEER, "it has no list of tools");
    cJSON_ArrayForEach(one, tools)
    {
        if (add_tool(to, one, err) < 0)
            return -1;
    }
    text = cJSON_IsString(cursor) && *cursor->valuestring ? cJSON_PrintUnformatted(cursor) : NULL;
    *ret_cursor = xstrdup(text);
    cJSON_free(text);
    return 0;
}

/* ---- tools/call ---- */

/* The blocks as a list; NULL where they are none, or too many to be read. */
static cJSON *parse_blocks(const struct member *content)
{
    cJSON *blocks;

    if (!content || json_scan_text(content->value, content->n, JSON_SCAN_TOKENS, NULL) < 0)
        return NULL;
    blocks = cJSON_ParseWithLength(content->value, content->n);
    if (cJSON_IsArray(blocks))
        return blocks;
    cJSON_Delete(blocks);
    return NULL;
}

/* All blocks are texts: they one below the other. */
static bool join_texts(const cJSON *content, struct buf *ret)
{
    const cJSON *one;
    bool is_first = true;

    cJSON_ArrayForEach(one, content)
    {
        const char *type = cJSON_GetStringValue(get(one, "type"));
        const char *text = cJSON_GetStringValue(get(one, "text"));

        if (!type || strcmp(type, "text") != 0 || !text)
            return false;
        (void)buf_str(ret, is_first ? "" : "\n");
        (void)buf_str(ret, text);
        is_first = false;
    }
    return true;
}

static void put_content(const struct member *content, struct buf *ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *blocks = parse_blocks(content);
    CLEANUP(buf_done) struct buf text = {.max = ret->max};

    if (!blocks || !join_texts(blocks, &text))
        (void)buf_add(ret, content->value, content->n);
    else if (cJSON_GetArraySize(blocks) == 1 &&
             json_scan_passed_on(buf_get(&text), text.len, TOKENS_MAX, NULL) == 0)
        (void)buf_add(ret, text.data, text.len);
    else
        json_put_str(ret, buf_get(&text), text.len);
}

static void put_failure(const struct member *content, struct buf *ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *blocks = parse_blocks(content);

    if (!blocks || !join_texts(blocks, ret) || !ret->len) {
        buf_clear(ret);
        (void)buf_str(ret, "the tool says that it failed");
    }
}

static bool is_word(const struct member *m, const char *word)
{
    return m && m->n == strlen(word) && strncmp(m->value, word, m->n) == 0;
}

int mcp_read_result(const char *result, size_t n, struct buf *ret, bool *ret_failed,
                    struct err *err)
{
    CLEANUP(members_done) struct members m = {0};
    const struct member *content, *structured, *kind;

    if (members_read(result, n, &m, err) < 0)
        return err_set(err, ERR_PEER, "the tool's result is no object");
    content = members_find(&m, "content");
    structured = members_find(&m, "structuredContent");
    kind = members_find(&m, "resultType");
    *ret_failed = is_word(members_find(&m, "isError"), "true");
    if (kind && !is_word(kind, "\"complete\""))
        return err_set(err, ERR_PEER, "the tool asks for something that programs cannot give");
    if (*ret_failed)
        put_failure(content, ret);
    else if (structured && !is_word(structured, "null"))
        (void)buf_add(ret, structured->value, structured->n);
    else if (content)
        put_content(content, ret);
    else
        (void)buf_str(ret, "null");
    return ret->is_full ? err_set(err, ERR_PEER, "the reply is over %zu bytes", ret->max) : 0;
}
