/* Functions that are found: in an OpenAPI document, at an MCP server of either era. */
#include "tools_rig.h"

#include <stdatomic.h>

static struct rig_site site;
static struct rig_place place;
static atomic_uint sessions; /* that were begun: S1, S2 … */

static void begin(rig_answer *answer, int mode)
{
    rig_site_begin(&site, answer);
    rig_set_mode(&site, mode);
    atomic_store(&sessions, 0);
    rig_place_begin(&place);
    ck_assert_int_eq(setenv("RIG_URL", site.url, 1), 0);
}

static void end(struct tools *t)
{
    tools_free(t);
    rig_site_end(&site);
    rig_place_end(&place);
}

static struct tools *start(const char *text)
{
    struct tools *t = rig_open(&place, text, "KEY=s3cret-key-0123\n");

    ck_assert(!tools_is_ready(t));
    tools_start(t);
    return t;
}

/* ---- OpenAPI ---- */

static const char document[] =
    "{\"openapi\":\"3.1.0\",\"servers\":[{\"url\":\"/v{n}/"
    "\",\"variables\":{\"n\":{\"default\":\"2\"}}}],"
    "\"components\":{\"schemas\":{"
    "\"Item\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":"
    "\"string\","
    "\"minLength\":1,\"description\":\"its "
    "name\"},\"parts\":{\"type\":\"array\",\"items\":{\"$ref\":"
    "\"#/components/schemas/Item\"}},\"from\":{\"type\":\"integer\"}}},"
    "\"Loop\":{\"$ref\":\"#/components/schemas/Pool\"},\"Pool\":{\"$ref\":\"#/components/schemas/"
    "Loop\"}},"
    "\"parameters\":{\"Limit\":{\"name\":\"limit\",\"in\":\"query\",\"schema\":{\"type\":"
    "\"integer\","
    "\"maximum\":9,\"default\":5}}}},"
    "\"paths\":{"
    "\"/items\":{\"get\":{\"operationId\":\"list-items\",\"summary\":\"All "
    "s3cret-key-0123\",\"description\":\"of "
    "them\","
    "\"parameters\":[{\"$ref\":\"#/components/parameters/"
    "Limit\"},{\"name\":\"X-Key\",\"in\":\"header\"},"
    "{\"name\":\"sid\",\"in\":\"cookie\"}]},"
    "\"post\":{\"operationId\":\"import\",\"requestBody\":{\"content\":{\"application/"
    "json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/Item\"}}}}}},"
    "\"/items/"
    "{item-id}\":{\"parameters\":[{\"name\":\"item-id\",\"in\":\"path\",\"schema\":{\"type\":"
    "\"string\"}}],\"get\":{},\"put\":{\"operationId\":\"put\",\"requestBody\":{\"required\":true,"
    "\"content\":{\"application/vnd.x+json\":{\"schema\":{\"type\":\"array\"}}}}}},"
    "\"/loop\":{\"post\":{\"operationId\":\"loop\",\"requestBody\":{\"content\":{\"application/"
    "json\":"
    "{\"schema\":{\"$ref\":\"#/components/schemas/Loop\"}}}}}},"
    "\"/form\":{\"post\":{\"operationId\":\"form\",\"requestBody\":{\"required\":true,\"content\":"
    "{\"multipart/form-data\":{}}}}},"
    "\"/"
    "cookie\":{\"get\":{\"operationId\":\"cookie\",\"parameters\":[{\"name\":\"c\",\"in\":"
    "\"cookie\","
    "\"required\":true}]}},"
    "\"/hole/{x}\":{\"get\":{\"operationId\":\"hole\"}}}}";

static const char openapi_text[] = "modules:\n"
                                   "  - name: stock\n"
                                   "    openapi: ${RIG_URL}/openapi.json\n"
                                   "    headers: {X-Key: '${secret:KEY}'}\n"
                                   "    query: {v: 'a b'}\n"
                                   "    exclude: [delete*]\n";

enum { GOOD, DEAD, FOREIGN, OLD, GARBAGE };

static void answer_openapi(struct rig_site *s, const char *request, struct buf *reply)
{
    if (strncmp(request, "GET /openapi.json?v=a%20b ", 26) != 0) {
        CLEANUP(buf_done) struct buf b = {.max = 1000};

        (void)buf_fmt(&b, "\"%.*s\"", (int)strcspn(request, "\r"), request);
        rig_say_json(reply, buf_get(&b));
        return;
    }
    if (rig_mode(s) == DEAD)
        rig_say(reply, "503 Later", "", "s3cret-key-0123");
    else if (rig_mode(s) == FOREIGN)
        rig_say_json(reply, "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"http://192.0.2.1/\"}],"
                            "\"paths\":{\"/x\":{\"get\":{}}}}");
    else if (rig_mode(s) == OLD)
        rig_say_json(reply, "{\"swagger\":\"2.0\"}");
    else if (rig_mode(s) == GARBAGE)
        rig_say_json(reply, "{\"openapi\":");
    else
        rig_say_json(reply, document);
}

START_TEST(operations_become_functions)
{
    struct tools *t;
    auto_free char *all = NULL;
    auto_free char *asked = NULL;

    begin(answer_openapi, GOOD);
    t = start(openapi_text);
    RIG_UNTIL(tools_is_ready(t));
    all = tools_catalogue(t, NULL);
    ck_assert_str_eq(
        all,
        "{\"modules\":[{\"name\":\"stock\",\"doc\":\"\",\"functions\":["
        "{\"name\":\"list_items\",\"doc\":\"All ***************\\n\\nof "
        "them\",\"parameters\":[{\"name\":\"limit\","
        "\"type\":\"integer\",\"required\":false,\"default\":5,\"doc\":\"\"}],\"strict\":true},"
        "{\"name\":\"import_tool\",\"doc\":\"\",\"parameters\":["
        "{\"name\":\"name\",\"type\":\"string\",\"required\":true,\"doc\":\"its name\"},"
        "{\"name\":\"parts\",\"type\":\"array\",\"required\":false,\"default\":null,\"doc\":\"\"},"
        "{\"name\":\"from_\",\"type\":\"integer\",\"required\":false,\"default\":null,\"doc\":\"\"}"
        "],"
        "\"strict\":false},"
        "{\"name\":\"get_items_item_id\",\"doc\":\"\",\"parameters\":[{\"name\":\"item_id\","
        "\"type\":"
        "\"string\",\"required\":true,\"doc\":\"\"}],\"strict\":true},"
        "{\"name\":\"put\",\"doc\":\"\",\"parameters\":[{\"name\":\"item_id\",\"type\":\"string\","
        "\"required\":true,\"doc\":\"\"},{\"name\":\"body\",\"type\":\"array\",\"required\":true,"
        "\"doc\":\"\"}],\"strict\":true},"
        "{\"name\":\"loop\",\"doc\":\"\",\"parameters\":[{\"name\":\"body\",\"type\":\"any\","
        "\"required\":false,\"default\":null,\"doc\":\"\"}],\"strict\":true}]}]}");
    rig_check_call(t, "stock.list_items", "{}", "= \"GET /v2/items?v=a%20b HTTP/1.1\"");
    rig_check_call(t, "stock.list_items", "{\"limit\":3}",
                   "= \"GET /v2/items?v=a%20b&limit=3 HTTP/1.1\"");
    rig_check_call(t, "stock.get_items_item_id", "{\"item_id\":\"a/b\"}",
                   "= \"GET /v2/items/a%2Fb?v=a%20b HTTP/1.1\"");
    rig_check_failure(t, "stock.list_items", "{\"limit\":10}", HOST_INVALID, "at most 9");
    rig_check_failure(t, "stock.import_tool",
                      "{\"name\":\"a\",\"parts\":[{\"name\":\"b\",\"parts\":"
                      "[{\"name\":1}]}]}",
                      HOST_INVALID, "argument 'parts[0].parts[0].name'");
    rig_check_call(t, "stock.import_tool", "{\"from_\":1,\"name\":\"a\"}",
                   "= \"POST /v2/items?v=a%20b HTTP/1.1\"");
    asked = rig_asked(&site);
    ck_assert_str_eq(rig_body(asked), "{\"name\":\"a\",\"from\":1}");
    ck_assert_ptr_nonnull(strstr(asked, "\r\nX-Key: s3cret-key-0123\r\n"));
    rig_forget(&site);
    rig_check_call(t, "stock.loop", "{}", "= \"POST /v2/loop?v=a%20b HTTP/1.1\"");
    free(asked);
    asked = rig_asked(&site);
    ck_assert_str_eq(rig_body(asked), ""); /* what was not given is no body */
    rig_forget(&site);
    rig_check_call(t, "stock.put", "{\"item_id\":\"1\",\"body\":[1,2]}",
                   "= \"PUT /v2/items/1?v=a%20b HTTP/1.1\"");
    free(asked);
    asked = rig_asked(&site);
    ck_assert_str_eq(rig_body(asked), "[1,2]");
    end(t);
}
END_TEST

START_TEST(a_document_beside_the_file_is_read)
{
    char path[128], text[256];
    struct tools *t;

    begin(answer_openapi, DEAD);
    (void)snprintf(path, sizeof(path), "%s/stock.json", place.dir);
    rig_write(path, document);
    (void)snprintf(text, sizeof(text),
                   "modules: [{name: stock, openapi: stock.json, url: '%s/own', include: [put]}]\n",
                   site.url);
    t = start(text);
    RIG_UNTIL(tools_is_ready(t));
    rig_check_call(t, "stock.put", "{\"item_id\":\"1\",\"body\":[]}",
                   "= \"PUT /own/items/1 HTTP/1.1\"");
    rig_check_failure(t, "stock.loop", "{}", HOST_FORBIDDEN, "there is no tool");
    (void)unlink(path);
    end(t);
}
END_TEST

static const struct {
    int mode;
    const char *says;
} dead[] = {
    {DEAD,    "module 'stock': status 503\n"                             },
    {FOREIGN, "module 'stock': the document sends calls to another host" },
    {OLD,     "module 'stock': it is no OpenAPI 3 document\n"            },
    {GARBAGE, "module 'stock': the document is not JSON: Expecting value"},
};

START_TEST(a_dead_source_is_tried_again)
{
    struct tools *t;
    auto_free char *faults = NULL;
    int64_t from = clock_ms();

    begin(answer_openapi, dead[_i].mode);
    t = start(openapi_text);
    do {
        free(faults);
        faults = tools_faults(t);
    } while (!*faults && poll(NULL, 0, 1) == 0);
    ck_assert_msg(strncmp(faults, dead[_i].says, strlen(dead[_i].says)) == 0, "%s", faults);
    ck_assert_ptr_null(strstr(faults, "s3cret"));
    ck_assert(!tools_is_ready(t));
    rig_check_failure(t, "stock.put", "{}", HOST_DOWN,
                      "MCP tool 'put' connection failed: its source has not been reached");
    rig_set_mode(&site, GOOD);
    RIG_UNTIL(tools_is_ready(t));
    ck_assert_int_ge(clock_ms() - from, 1000); /* its first pause */
    rig_check_call(t, "stock.list_items", "{}", "= \"GET /v2/items?v=a%20b HTTP/1.1\"");
    end(t);
}
END_TEST

START_TEST(a_source_that_dies_keeps_what_was_found)
{
    struct tools *t;
    struct err e = {0};

    begin(answer_openapi, GOOD);
    t = start(openapi_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_set_mode(&site, DEAD);
    ck_assert_int_eq(tools_reload(t, &e), 0);
    RIG_UNTIL(!tools_is_ready(t));
    rig_check_call(t, "stock.list_items", "{}", "= \"GET /v2/items?v=a%20b HTTP/1.1\"");
    rig_set_mode(&site, GOOD);
    ck_assert_int_eq(tools_reload(t, &e), 0);
    RIG_UNTIL(tools_is_ready(t));
    end(t);
}
END_TEST

/* Starts with the document in a file, whose servers may be anywhere. */
static struct tools *start_with(const char *doc, char path[128])
{
    struct tools *t;

    (void)snprintf(path, 128, "%s/t.json", place.dir);
    rig_write(path, doc);
    t = start("modules: [{name: t, openapi: t.json}]\n");
    RIG_UNTIL(tools_is_ready(t));
    return t;
}

static const struct {
    const char *function, *args, *asked;
} forms[] = {
    {"t.each",  "{\"a\":[1234567890123456789,1.0,\"x y\"]}",
     "/each?a=1234567890123456789&a=1.0&a=x%20y"                                                },
    {"t.each",  "{\"a\":{\"k\":\"v\",\"l\":true}}",          "/each?k=v&l=true"                 },
    {"t.each",  "{\"a\":[]}",                                "/each"                            },
    {"t.comma", "{\"a\":[1,\"x,y\"],\"b\":0}",               "/comma?a=1,x%2Cy&b=0"             },
    {"t.comma", "{\"a\":7}",                                 "/comma?a=7"                       },
    {"t.space", "{\"a\":[1,2]}",                             "/space?a=1%202"                   },
    {"t.pipe",  "{\"a\":[1,2]}",                             "/pipe?a=1%7C2"                    },
    {"t.deep",  "{\"a\":{\"k\":1,\"l\":[2]}}",               "/deep?a%5Bk%5D=1&a%5Bl%5D=%5B2%5D"},
    {"t.json",  "{\"a\":[1,2]}",                             "/json?a=%5B1%2C2%5D"              },
    {"t.json",  "{\"a\":\"x\"}",                             "/json?a=%22x%22"                  },
    {"t.place", "{\"a\":[9007199254740993,\"y\"]}",          "/p/9007199254740993,y"            },
};

START_TEST(arguments_are_written_in_the_documents_form)
{
    CLEANUP(buf_done) struct buf b = {.max = 65536};
    static const char *const queries[][2] = {
        {"each",  "\"schema\":{}"                                     },
        {"comma", "\"explode\":false"                                 },
        {"space", "\"style\":\"spaceDelimited\""                      },
        {"pipe",  "\"style\":\"pipeDelimited\",\"explode\":false"     },
        {"deep",  "\"style\":\"deepObject\",\"explode\":true"         },
        {"json",  "\"content\":{\"application/json\":{\"schema\":{}}}"},
    };
    auto_free char *wanted = xasprintf("= \"GET %s HTTP/1.1\"", forms[_i].asked);
    char path[128];
    struct tools *t;

    begin(answer_openapi, GOOD);
    (void)buf_fmt(&b,
                  "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"%s\"}],\"paths\":{"
                  "\"/p/{a}\":{\"get\":{\"operationId\":\"place\",\"parameters\":[{\"name\":"
                  "\"a\",\"in\":\"path\"}]}}",
                  site.url);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        (void)buf_fmt(&b,
                      ",\"/%s\":{\"get\":{\"operationId\":\"%s\",\"parameters\":[{\"name\":\"a\","
                      "\"in\":\"query\",%s},{\"name\":\"b\",\"in\":\"query\"}]}}",
                      queries[i][0], queries[i][0], queries[i][1]);
    (void)buf_str(&b, "}}");
    t = start_with(buf_get(&b), path);
    rig_check_call(t, forms[_i].function, forms[_i].args, wanted);
    (void)unlink(path);
    end(t);
}
END_TEST

START_TEST(operations_and_paths_may_have_servers_of_their_own)
{
    auto_free char *doc = NULL, *all = NULL;
    char path[128];
    struct tools *t;

    begin(answer_openapi, GOOD);
    doc = xasprintf("{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"%s/v1\"}],\"paths\":{"
                    "\"/a\":{\"get\":{\"operationId\":\"a\"}},"
                    "\"/b\":{\"servers\":[{\"url\":\"%s/{v}/\",\"variables\":{\"v\":{\"default\":"
                    "\"v2\"}}}],\"get\":{\"operationId\":\"b\"},\"post\":{\"operationId\":\"c\","
                    "\"servers\":[{\"url\":\"%s\"}]},\"put\":{\"operationId\":\"far\",\"servers\":"
                    "[{\"url\":\"http://192.0.2.1/\"}]}},"
                    "\"/d\":{\"$ref\":\"other.json#/d\"}}}",
                    site.url, site.url, site.url);
    t = start_with(doc, path);
    all = tools_catalogue(t, NULL);
    rig_check_call(t, "t.a", "{}", "= \"GET /v1/a HTTP/1.1\"");
    rig_check_call(t, "t.b", "{}", "= \"GET /v2/b HTTP/1.1\"");
    rig_check_call(t, "t.c", "{}", "= \"POST /b HTTP/1.1\"");
    ck_assert_ptr_null(strstr(all, "\"far\"")); /* nobody else gets the credentials */
    (void)unlink(path);
    end(t);
}
END_TEST

START_TEST(what_only_the_service_says_is_no_argument)
{
    auto_free char *all = NULL;
    auto_free char *asked = NULL;
    auto_free char *doc = NULL;
    char path[128];
    struct tools *t;

    begin(answer_openapi, GOOD);
    doc = xasprintf(
        "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"%s\"}],\"s\":{\"Id\":{\"type\":\"integer\","
        "\"readOnly\":true},\"Item\":{\"type\":\"object\",\"required\":[\"id\",\"name\",\"at\"],"
        "\"properties\":{\"id\":{\"$ref\":\"#/s/Id\"},\"name\":{},\"at\":{\"readOnly\":true},"
        "\"parts\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/s/Item\"}}}}},\"paths\":{\"/"
        "a\":{\"post\":{"
        "\"operationId\":\"a\",\"requestBody\":{\"content\":{\"application/"
        "json\":{\"schema\":{\"$ref\":"
        "\"#/s/Item\"}}}}}}}}",
        site.url);
    t = start_with(doc, path);
    all = tools_catalogue(t, NULL);
    ck_assert_ptr_nonnull(strstr(all, "\"name\":\"name\""));
    ck_assert_ptr_null(strstr(all, "\"name\":\"id\""));
    ck_assert_ptr_null(strstr(all, "\"name\":\"at\""));
    rig_check_call(t, "t.a", "{\"name\":\"x\",\"parts\":[{\"name\":\"y\"}]}",
                   "= \"POST /a HTTP/1.1\"");
    asked = rig_asked(&site);
    ck_assert_str_eq(rig_body(asked), "{\"name\":\"x\",\"parts\":[{\"name\":\"y\"}]}");
    rig_check_failure(t, "t.a", "{\"name\":\"x\",\"parts\":[{\"id\":1}]}", HOST_INVALID,
                      "argument 'parts[0]' lacks 'name'");
    (void)unlink(path);
    end(t);
}
END_TEST

/* Each of ten refers to all of them: written out it would never end. */
static void put_tangle(struct buf *b)
{
    (void)buf_str(b,
                  "{\"openapi\":\"3.0.0\",\"paths\":{\"/x\":{\"post\":{\"operationId\":\"x\","
                  "\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
                  "\"#/s/0\"}}}}}},\"/y\":{\"post\":{\"operationId\":\"y\",\"requestBody\":{"
                  "\"content\":{\"application/json\":{\"schema\":{\"properties\":{\"n\":{\"type\":"
                  "\"integer\"}}}}}}}}},\"s\":{");
    for (int i = 0; i < 10; i++) {
        (void)buf_fmt(b, "%s\"%d\":{\"type\":\"object\",\"properties\":{", i ? "," : "", i);
        for (int k = 0; k < 10; k++)
            (void)buf_fmt(b, "%s\"p%d\":{\"$ref\":\"#/s/%d\"}", k ? "," : "", k, k);
        (void)buf_str(b, "}}");
    }
    (void)buf_str(b, "}}");
}

START_TEST(schemas_that_hold_each_other_end)
{
    CLEANUP(buf_done) struct buf b = {.max = 65536};
    char path[128], text[256];
    struct tools *t;

    begin(answer_openapi, GOOD);
    put_tangle(&b);
    (void)snprintf(path, sizeof(path), "%s/t.json", place.dir);
    rig_write(path, buf_get(&b));
    (void)snprintf(text, sizeof(text), "modules: [{name: t, openapi: t.json, url: '%s'}]\n",
                   site.url);
    t = start(text);
    RIG_UNTIL(tools_is_ready(t));
    rig_check_failure(t, "t.x", "{\"p1\":{\"p2\":5}}", HOST_INVALID,
                      "argument 'p1.p2' must be a dictionary");
    rig_check_failure(t, "t.y", "{\"n\":\"x\"}", HOST_INVALID, "argument 'n' must be an integer");
    (void)unlink(path);
    end(t);
}
END_TEST

/* Each of 60,000 references is looked for among 60,000 others, more than once. */
START_TEST(references_are_looked_up_so_often)
{
    CLEANUP(buf_done) struct buf b = {.max = 8 << 20};
    char path[128], text[256];
    int64_t from = unit_cpu_ms();
    struct tools *t;

    begin(answer_openapi, GOOD);
    (void)buf_str(&b, "{\"openapi\":\"3.0.0\",\"paths\":{");
    for (int i = 0; i < 400; i++) {
        (void)buf_fmt(&b,
                      "%s\"/p%d\":{\"post\":{\"requestBody\":{\"content\":{"
                      "\"application/json\":{\"schema\":{\"properties\":{\"a\":{\"anyOf\":[",
                      i ? "," : "", i);
        for (int k = 0; k < 150; k++)
            (void)buf_fmt(&b, "%s{\"$ref\":\"#/s/same-beginning-%d\"}", k ? "," : "", i * 150 + k);
        (void)buf_str(&b, "]}}}}}}}}");
    }
    (void)buf_str(&b, "},\"s\":{");
    for (int i = 0; i < 60000; i++)
        (void)buf_fmt(&b, "\"same-beginning-%d\":1,", i);
    (void)buf_str(&b, "\"z\":{\"type\":\"integer\"}}}");
    ck_assert(!b.is_full);
    (void)snprintf(path, sizeof(path), "%s/t.json", place.dir);
    rig_write(path, buf_get(&b));
    (void)snprintf(text, sizeof(text), "modules: [{name: t, openapi: t.json, url: '%s'}]\n",
                   site.url);
    t = start(text);
    RIG_UNTIL(tools_is_ready(t));
    ck_assert_int_lt(unit_cpu_ms() - from, patient(10000));
    (void)unlink(path);
    end(t);
}
END_TEST

START_TEST(a_reload_that_narrows_a_source_holds_at_once)
{
    auto_free char *narrower = xasprintf("%s    include: [other]\n", openapi_text);
    struct tools *t;
    struct err e = {0};

    begin(answer_openapi, GOOD);
    t = start(openapi_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_set_mode(&site, DEAD);
    rig_write(place.file, narrower);
    ck_assert_int_eq(tools_reload(t, &e), 0);
    rig_check_failure(t, "stock.list_items", "{}", HOST_DOWN, "its source has not been reached");
    end(t);
}
END_TEST

/* ---- MCP ---- */

enum {
    MODERN = 1,
    SSE = 2,
    LOST = 4,
    SILENT = 8,
    HELD = 16,
    BEGUN = 32,
    BAD = 64,  /* with LOST: says 400 */
    RPC = 128, /* with BAD: says it as JSON-RPC */
    WRONG = BAD | RPC,
    SLOW = 256, /* calls are answered when the mode is another one */
    NO_LIST = 512,
    LATER = 1024, /* knows a later era, and the old one */
};

static const char mcp_text[] = "modules:\n"
                               "  - name: weather\n"
                               "    mcp: ${RIG_URL}/mcp\n"
                               "    headers: {Authorization: 'Bearer ${secret:KEY}'}\n";

/* `result` NULL: an error. */
static void say_rpc(const char *request, const char *result, struct buf *reply)
{
    bool is_sse = result && rig_mode(&site) & SSE;
    const char *id = strstr(request, "\"id\":");
    CLEANUP(buf_done) struct buf b = {.max = 65536};
    auto_free char *head =
        xasprintf("Content-Type: %s\r\nMcp-Session-Id: S%u\r\n",
                  is_sse ? "text/event-stream" : "application/json", atomic_load(&sessions));

    if (is_sse)
        (void)buf_str(&b, ": hi\r\n\r\nid: 1\r\nretry: 500\r\ndata:\r\n\r\ndata: "
                          "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\","
                          "\"params\":{}}\r\n\r\nevent: message\r\ndata: ");
    /* An event may have its data in several lines. */
    (void)buf_fmt(&b, "{\"jsonrpc\":\"2.0\",%s\"id\":%ld,", is_sse ? "\ndata: " : "",
                  id ? strtol(id + 5, NULL, 10) : 0);
    if (result)
        (void)buf_fmt(&b, "\"result\":{%s}}", result);
    else
        (void)buf_str(&b, "\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}");
    (void)buf_str(&b, is_sse ? "\n\n" : "");
    rig_say(reply, result || !(rig_mode(&site) & MODERN) ? "200 OK" : "404 No", head, buf_get(&b));
}

static const char *list_tools(const char *request)
{
    if (strstr(request, "\"cursor\":\"p\\u00e4ge\"") || strstr(request, "\"cursor\":\"päge\""))
        return "\"tools\":[{\"name\":\"fails\",\"inputSchema\":{\"type\":\"object\"}},{\"name\":"
               "\"say\"},"
               "{\"name\":\"picture\"},{\"name\":\"number\"},{\"name\":\"asks\"},{\"name\":"
               "\"tells\"},{\"name\":"
               "\"unknown\"}]";
    return "\"nextCursor\":\"päge\",\"tools\":[{\"name\":\"get-weather\",\"description\":\"Sky\","
           "\"inputSchema\":{\"type\":\"object\",\"required\":[\"city\"],\"additionalProperties\":"
           "false,"
           "\"properties\":{\"city\":{\"type\":\"string\",\"x-mcp-header\":\"City\"},\"days\":{\"$"
           "ref\":"
           "\"#/$defs/D\"}},\"$defs\":{\"D\":{\"type\":\"integer\",\"maximum\":7}}}}]";
}

static const char *call_tool(const char *request)
{
    static const char *const rows[][2] = {
        {"\"get-weather\"",
         "\"content\":[],\"structuredContent\":{\"sky\":1.50000000000000000001},\"isError\":false" },
        {"\"fails\"",
         "\"content\":[{\"type\":\"text\",\"text\":\"no s3cret-key-0123\"}],\"isError\":true"      },
        {"\"say\"",
         "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]"     },
        {"\"picture\"",     "\"content\":[{\"type\":\"image\",\"data\":\"eA==\"}]"                 },
        {"\"number\"",      "\"content\":[{\"type\":\"text\",\"text\":\"[1, 2]\"}]"                },
        {"\"tells\"",       "\"content\":[{\"type\":\"text\",\"text\":\"I know s3cret-key-0123\"}]"},
        {"\"asks\"",        "\"resultType\":\"input_required\""                                    },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strstr(request, rows[i][0]))
            return rows[i][1];
    }
    return NULL;
}

static const char lost_rpc[] = "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":"
                               "\"Bad Request: No valid session\"},\"id\":null}";
static const char wrong_rpc[] = "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32602,\"message\":"
                                "\"Invalid params\"},\"id\":null}";

/* What a session is for. */
static void answer_in_session(struct rig_site *s, const char *request, struct buf *reply)
{
    int mode = rig_mode(s);

    if (strncmp(request, "DELETE ", 7) == 0) {
        rig_say(reply, "204 No Content", "", "");
    } else if (strstr(request, "\"tools/list\"")) {
        say_rpc(request, mode & NO_LIST ? NULL : list_tools(request), reply);
    } else {
        while (rig_mode(s) & SLOW)
            (void)poll(NULL, 0, 1);
        say_rpc(request, call_tool(request), reply);
    }
}

static const char *eras_of(int mode)
{
    if (mode & MODERN)
        return "\"supportedVersions\":[\"2026-07-28\"]";
    return mode & LATER ? "\"supportedVersions\":[\"2099-01-01\",5]" : NULL;
}

static void answer_mcp(struct rig_site *s, const char *request, struct buf *reply)
{
    int mode = rig_mode(s);

    if (mode & HELD && strstr(request, "\"server/discover\"")) {
        rig_set_mode(s, HELD | BEGUN);
        while (rig_mode(s) & HELD)
            (void)poll(NULL, 0, 1);
        say_rpc(request, NULL, reply);
    } else if (mode & HELD) {
        rig_say(reply, "404 No", "", "who?");
    } else if (mode & SILENT) {
        rig_say(reply, "200 OK", "Content-Type: text/html\r\n", "<html>");
    } else if (strstr(request, "\"server/discover\"")) {
        say_rpc(request, eras_of(mode), reply);
    } else if (strstr(request, "\"initialize\"")) {
        rig_set_mode(s, mode & ~(LOST | BAD | RPC));
        (void)atomic_fetch_add(&sessions, 1);
        say_rpc(request, "\"protocolVersion\":\"2025-06-18\",\"capabilities\":{}", reply);
    } else if (strstr(request, "notifications/initialized")) {
        rig_say(reply, mode & SSE ? "200 OK" : "202 Accepted", "", ""); /* some say so */
    } else if (mode & LOST) {
        rig_say(reply, mode & BAD ? "400 Bad" : "404 No", "", mode & RPC ? lost_rpc : "who?");
    } else if (mode == WRONG) {
        rig_say(reply, "400 Bad", "", wrong_rpc);
    } else {
        answer_in_session(s, request, reply);
    }
}

static const int eras[] = {0, SSE, MODERN, MODERN | SSE, LATER};

START_TEST(tools_of_a_server_become_functions)
{
    struct tools *t;
    auto_free char *all = NULL;

    begin(answer_mcp, eras[_i]);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    all = tools_catalogue(t, NULL);
    ck_assert_msg(
        strstr(all, "{\"name\":\"get_weather\",\"doc\":\"Sky\",\"parameters\":["
                    "{\"name\":\"city\",\"type\":\"string\",\"required\":true,\"doc\":\"\"},"
                    "{\"name\":\"days\",\"type\":\"integer\",\"required\":false,\"default\":null,"
                    "\"doc\":\"\"}],\"strict\":true},{\"name\":\"fails\""),
        "%s", all);
    rig_check_call(t, "weather.get_weather", "{\"city\":\"x\"}",
                   "= {\"sky\":1.50000000000000000001}");
    rig_check_call(t, "weather.say", "{\"any\":1}", "= \"a\\nb\"");
    rig_check_call(t, "weather.picture", "{}", "= [{\"type\":\"image\",\"data\":\"eA==\"}]");
    rig_check_call(t, "weather.number", "{}", "= [1, 2]");
    rig_check_call(t, "weather.tells", "{}", "= \"I know ***************\"");
    rig_check_failure(t, "weather.get_weather", "{\"city\":1}", HOST_INVALID, "must be a string");
    rig_check_failure(t, "weather.get_weather", "{\"city\":\"x\",\"days\":8}", HOST_INVALID,
                      "at most 7");
    rig_check_failure(t, "weather.fails", "{}", HOST_FAILED,
                      "MCP tool 'fails' failed: 200 - no ***************");
    rig_check_failure(t, "weather.unknown", "{}", HOST_FAILED,
                      "MCP tool 'unknown' failed: -32601 - Method not found");
    rig_check_failure(t, "weather.asks", "{}", HOST_DOWN, "asks for something");
    end(t);
}
END_TEST

START_TEST(calls_say_what_their_era_wants)
{
    struct tools *t;
    auto_free char *asked = NULL;
    auto_free char *got = NULL;

    begin(answer_mcp, eras[_i]);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_forget(&site);
    got = rig_call(t, "weather.get_weather", "{\"city\":\"Z\xC3\xBCrich\"}");
    asked = rig_asked(&site);
    ck_assert_ptr_nonnull(strstr(asked, "\r\nAuthorization: Bearer s3cret-key-0123\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nAccept: application/json, text/event-stream\r\n"));
    ck_assert_ptr_nonnull(strstr(rig_body(asked),
                                 "\"method\":\"tools/call\",\"params\":{\"name\":"
                                 "\"get-weather\",\"arguments\":{\"city\":\"Z\xC3\xBCrich\"}"));
    if (eras[_i] & MODERN) {
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Protocol-Version: 2026-07-28\r\n"));
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Method: tools/call\r\n"));
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Name: get-weather\r\n"));
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Param-City: =?base64?WsO8cmljaA==?=\r\n"));
        ck_assert_ptr_nonnull(
            strstr(asked, "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\""));
        ck_assert_ptr_null(strstr(asked, "Mcp-Session-Id"));
    } else {
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Protocol-Version: 2025-06-18\r\n"));
        ck_assert_ptr_nonnull(strstr(asked, "\r\nMcp-Session-Id: S1\r\n"));
        ck_assert_ptr_null(strstr(asked, "Mcp-Method"));
        ck_assert_ptr_null(strstr(asked, "_meta"));
    }
    end(t);
}
END_TEST

static void *call_patiently(void *t)
{
    struct host_answer a = rig_call_within(t, "weather.say", "{}", RIG_WAIT_MS, NULL);

    rig_answer_done(&a);
    return NULL;
}

/* Whether the server was told that this session is over. */
static bool has_ended(const char *session)
{
    auto_free char *asked = rig_asked(&site);
    auto_free char *line = xasprintf("\r\nMcp-Session-Id: %s\r\n", session);

    for (const char *at = asked; (at = strstr(at, "DELETE /mcp HTTP/1.1\r\n")); at++) {
        const char *found = strstr(at, line), *head = strstr(at, "\r\n\r\n");

        if (found && found < head)
            return true;
    }
    return false;
}

static bool has_asked(const char *words)
{
    auto_free char *asked = rig_asked(&site);

    return strstr(asked, words);
}

/* Ready it is before, too, with what was found before: the session tells that it is another one. */
static void reload_found(struct tools *t)
{
    unsigned before = atomic_load(&sessions);
    struct err e = {0};

    ck_assert_int_eq(tools_reload(t, &e), 0);
    if (rig_mode(&site) & MODERN)
        return;
    RIG_UNTIL(atomic_load(&sessions) > before && tools_is_ready(t));
}

START_TEST(a_session_is_ended_when_it_is_over)
{
    struct tools *t;

    begin(answer_mcp, eras[_i]);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    reload_found(t);
    if (eras[_i] & MODERN) {
        tools_free(t);
        ck_assert(!has_asked("DELETE"));
    } else {
        RIG_UNTIL(has_ended("S1"));
        ck_assert(!has_ended("S2"));
        rig_check_call(t, "weather.say", "{}", "= \"a\\nb\"");
        tools_free(t);
        ck_assert(has_ended("S2"));
    }
    rig_site_end(&site);
    rig_place_end(&place);
}
END_TEST

/* A call that was under way when its module was replaced keeps its session to the end. */
START_TEST(a_session_that_is_in_use_is_not_ended)
{
    pthread_t caller;
    struct tools *t;

    begin(answer_mcp, 0);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_set_mode(&site, SLOW);
    ck_assert_int_eq(pthread_create(&caller, NULL, call_patiently, t), 0);
    RIG_UNTIL(has_asked("\"tools/call\""));
    reload_found(t);
    reload_found(t);
    RIG_UNTIL(has_ended("S2")); /* and the one before it was looked at first */
    ck_assert(!has_ended("S1"));
    rig_set_mode(&site, 0);
    ck_assert_int_eq(pthread_join(caller, NULL), 0);
    RIG_UNTIL(has_ended("S1"));
    end(t);
}
END_TEST

/* Each try has its own; without an end there would be one more every minute. */
START_TEST(a_session_of_a_discovery_that_fails_is_ended)
{
    struct tools *t;

    begin(answer_mcp, NO_LIST);
    t = start(mcp_text);
    RIG_UNTIL(has_ended("S1"));
    rig_set_mode(&site, 0);
    RIG_UNTIL(tools_is_ready(t));
    end(t);
}
END_TEST

static const int losses[] = {LOST, LOST | BAD, LOST | BAD | RPC};

START_TEST(a_lost_session_is_begun_anew)
{
    struct tools *t;

    begin(answer_mcp, 0);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_set_mode(&site, losses[_i]);
    rig_check_call(t, "weather.say", "{}", "= \"a\\nb\"");
    rig_set_mode(&site, SILENT);
    rig_check_failure(t, "weather.say", "{}", HOST_DOWN, "the reply is no answer of an MCP server");
    end(t);
}
END_TEST

START_TEST(a_bad_request_loses_no_session)
{
    struct tools *t;
    unsigned before;

    begin(answer_mcp, 0);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    before = rig_requests(&site);
    rig_set_mode(&site, WRONG);
    rig_check_failure(t, "weather.say", "{}", HOST_FAILED, "failed: -32602 - Invalid params");
    ck_assert_uint_eq(rig_requests(&site), before + 1);
    end(t);
}
END_TEST

/* A description that says the key, a thousand tools of one name, and one that is all text. */
static void answer_odd(struct rig_site *s, const char *request, struct buf *reply)
{
    CLEANUP(buf_done) struct buf b = {.max = 1 << 23};
    CLEANUP(buf_done) struct buf body = {.max = 1 << 23};
    const char *id = strstr(request, "\"id\":");

    if (!strstr(request, "\"tools/list\"")) {
        answer_mcp(s, request, reply);
        return;
    }
    (void)buf_str(&b, "\"tools\":[{\"name\":\"a\",\"description\":\"I know s3cret-key-0123\"}");
    for (int i = 0; i < 1000; i++)
        (void)buf_str(&b, ",{\"name\":\"a\"}");
    for (int i = 0; i < rig_mode(s) >> 8; i++)
        (void)buf_fmt(&b,
                      ",{\"name\":\"long%d\",\"description\":\"%04000d\",\"inputSchema\":{"
                      "\"properties\":{\"a\":{\"description\":\"%04000d\"}}}}",
                      i, 7, 7);
    (void)buf_fmt(&body, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":{%s]}}",
                  strtol(id + 5, NULL, 10), buf_get(&b));
    ck_assert(!body.is_full);
    rig_say_json(reply, buf_get(&body));
}

static char *catalogue_of_odd(int longs, const char *text)
{
    struct tools *t;
    char *all;

    begin(answer_odd, MODERN | longs << 8);
    t = start(text);
    RIG_UNTIL(tools_is_ready(t));
    all = tools_catalogue(t, NULL);
    end(t);
    return all;
}

START_TEST(what_a_server_describes_holds_no_credential)
{
    auto_free char *all = catalogue_of_odd(0, mcp_text);

    ck_assert_ptr_nonnull(strstr(all, "\"doc\":\"I know ***************\""));
}
END_TEST

/* An error with the key in it, at the place where its words are cut. */
static const struct leak {
    const char *method;
    int place;
} leaks[] = {
    {"\"tools/list\"", 110},
    {"\"tools/call\"", 497},
};
static const struct leak *leak;

static void answer_leaky(struct rig_site *s, const char *request, struct buf *reply)
{
    CLEANUP(buf_done) struct buf b = {.max = 4096};

    if (!strstr(request, leak->method)) {
        answer_mcp(s, request, reply);
        return;
    }
    (void)buf_fmt(&b,
                  "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"error\":{\"code\":-1,\"message\":"
                  "\"%0*ds3cret-key-0123\"}}",
                  strtol(strstr(request, "\"id\":") + 5, NULL, 10), leak->place, 0);
    rig_say_json(reply, buf_get(&b));
}

START_TEST(no_half_of_a_credential_is_in_an_error)
{
    auto_free char *said = NULL;
    struct tools *t;

    leak = &leaks[_i];
    begin(answer_leaky, MODERN);
    t = start(mcp_text);
    if (_i == 0) {
        do {
            free(said);
            said = tools_faults(t);
        } while (!*said && poll(NULL, 0, 1) == 0);
    } else {
        RIG_UNTIL(tools_is_ready(t));
        said = rig_call(t, "weather.say", "{}");
    }
    ck_assert_ptr_nonnull(strstr(said, "-1 - 0000"));
    ck_assert_msg(!strstr(said, "s3"), "%s", said);
    end(t);
}
END_TEST

START_TEST(what_a_server_describes_cannot_fill_every_run)
{
    auto_free char *some = catalogue_of_odd(200, mcp_text);
    auto_free char *none = catalogue_of_odd(480, mcp_text);

    ck_assert_uint_gt(strlen(some), 200 * 8000);
    ck_assert_str_eq(none, "{\"modules\":[]}");
}
END_TEST

/* Each within its own bound, and three of them within that of all. */
START_TEST(what_all_servers_describe_is_bounded_together)
{
    auto_free char *all = catalogue_of_odd(230, "modules:\n"
                                                "  - {name: m0, mcp: '${RIG_URL}/mcp'}\n"
                                                "  - {name: m1, mcp: '${RIG_URL}/mcp'}\n"
                                                "  - {name: m2, mcp: '${RIG_URL}/mcp'}\n"
                                                "  - {name: m3, mcp: '${RIG_URL}/mcp'}\n");

    ck_assert_uint_gt(strlen(all), 3 * 230 * 8000);
    ck_assert_uint_lt(strlen(all), 6 * 1024 * 1024);
    ck_assert_ptr_nonnull(strstr(all, "{\"name\":\"m2\","));
    ck_assert_ptr_null(strstr(all, "\"m3\""));
}
END_TEST

/* One call begins the session anew, which the server holds up; the other has less time. */
START_TEST(a_call_does_not_wait_for_anothers_session_beyond_its_time)
{
    struct host_answer a;
    struct tools *t;
    pthread_t other;
    int64_t from;

    begin(answer_mcp, 0);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    rig_set_mode(&site, HELD);
    ck_assert_int_eq(pthread_create(&other, NULL, call_patiently, t), 0);
    RIG_UNTIL(rig_mode(&site) & BEGUN);
    from = clock_ms();
    a = rig_call_within(t, "weather.say", "{}", 100, NULL);
    ck_assert_int_lt(clock_ms() - from, patient(10000));
    ck_assert(a.is_error);
    ck_assert_int_eq(a.verdict, HOST_TIMEOUT);
    rig_answer_done(&a);
    rig_set_mode(&site, 0);
    ck_assert_int_eq(pthread_join(other, NULL), 0);
    end(t);
}
END_TEST

static void *call_often(void *t)
{
    for (int i = 0; i < 40; i++) {
        CLEANUP(rig_answer_done)
        struct host_answer a = rig_call_within(t, "weather.say", "{}", RIG_WAIT_MS, NULL);
        auto_free char *all = tools_catalogue(t, NULL);

        ck_assert_msg(!a.is_error, "%s", buf_get(&a.message));
        ck_assert_ptr_nonnull(strstr(all, "\"weather\""));
    }
    return NULL;
}

START_TEST(reloads_do_not_disturb_calls)
{
    pthread_t callers[4];
    struct err e = {0};
    struct tools *t;

    begin(answer_mcp, MODERN);
    t = start(mcp_text);
    RIG_UNTIL(tools_is_ready(t));
    for (size_t i = 0; i < ARRAY_LEN(callers); i++)
        ck_assert_int_eq(pthread_create(&callers[i], NULL, call_often, t), 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(tools_reload(t, &e), 0);
        (void)tools_is_ready(t);
    }
    for (size_t i = 0; i < ARRAY_LEN(callers); i++)
        ck_assert_int_eq(pthread_join(callers[i], NULL), 0);
    end(t);
}
END_TEST

START_TEST(what_is_no_mcp_server_is_told)
{
    struct tools *t;
    auto_free char *faults = NULL;

    begin(answer_mcp, SILENT);
    t = start(mcp_text);
    do {
        free(faults);
        faults = tools_faults(t);
    } while (!*faults && poll(NULL, 0, 1) == 0);
    ck_assert_str_eq(faults, "module 'weather': the reply is no answer of an MCP server\n");
    rig_set_mode(&site, MODERN);
    RIG_UNTIL(tools_is_ready(t));
    end(t);
}
END_TEST

START_TEST(a_stop_does_not_wait_for_a_source)
{
    struct tools *t;
    int64_t from;

    begin(answer_mcp, MODERN);
    rig_hold(&site, true);
    t = start(mcp_text);
    RIG_UNTIL(rig_requests(&site) == 1);
    from = clock_ms();
    tools_free(t);
    ck_assert_int_lt(clock_ms() - from, patient(10000));
    rig_site_end(&site);
    rig_place_end(&place);
}
END_TEST

static void add_tests(TCase *t)
{
    log_init("test", LOG_ERROR, LOG_TEXT, 2);
    tcase_set_timeout(t, (double)patient(60000) / 1000);
    tcase_add_test(t, operations_become_functions);
    tcase_add_test(t, a_document_beside_the_file_is_read);
    tcase_add_loop_test(t, arguments_are_written_in_the_documents_form, 0, ARRAY_LEN(forms));
    tcase_add_test(t, what_only_the_service_says_is_no_argument);
    tcase_add_test(t, operations_and_paths_may_have_servers_of_their_own);
    tcase_add_test(t, schemas_that_hold_each_other_end);
    tcase_add_test(t, references_are_looked_up_so_often);
    tcase_add_test(t, a_reload_that_narrows_a_source_holds_at_once);
    tcase_add_loop_test(t, a_dead_source_is_tried_again, 0, ARRAY_LEN(dead));
    tcase_add_test(t, a_source_that_dies_keeps_what_was_found);
    tcase_add_loop_test(t, tools_of_a_server_become_functions, 0, ARRAY_LEN(eras));
    tcase_add_loop_test(t, calls_say_what_their_era_wants, 0, ARRAY_LEN(eras));
    tcase_add_loop_test(t, a_session_is_ended_when_it_is_over, 0, ARRAY_LEN(eras));
    tcase_add_test(t, a_session_that_is_in_use_is_not_ended);
    tcase_add_test(t, a_session_of_a_discovery_that_fails_is_ended);
    tcase_add_loop_test(t, a_lost_session_is_begun_anew, 0, ARRAY_LEN(losses));
    tcase_add_test(t, a_bad_request_loses_no_session);
    tcase_add_test(t, what_a_server_describes_holds_no_credential);
    tcase_add_loop_test(t, no_half_of_a_credential_is_in_an_error, 0, ARRAY_LEN(leaks));
    tcase_add_test(t, what_a_server_describes_cannot_fill_every_run);
    if (!RUNNING_ON_VALGRIND) /* it reads JSON slowly, and this is much */
        tcase_add_test(t, what_all_servers_describe_is_bounded_together);
    tcase_add_test(t, a_call_does_not_wait_for_anothers_session_beyond_its_time);
    tcase_add_test(t, reloads_do_not_disturb_calls);
    tcase_add_test(t, what_is_no_mcp_server_is_told);
    tcase_add_test(t, a_stop_does_not_wait_for_a_source);
}

UNIT_MAIN_ONE_PROCESS("tools_found", add_tests)
