#include "tools/config_table.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/fetch.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "tools/config.h"
#include "tools/pyname.h"
#include "tools/urls.h"

#define KIB  1024.0
#define MIB  (1024 * KIB)
#define SEC  1000.0
#define HOUR (3600 * SEC)

enum { JSON_MAX = 256 * 1024 };

static bool is_base_url(const char *s)
{
    return !*s || (fetch_is_url(s) && !strpbrk(s, "?{}\"\\"));
}

/* A whole one, with places for arguments and a query if need be. */
static bool is_url(const char *s)
{
    const char *host = strstr(s, "://");

    /* An argument must not say who gets the credentials. */
    return !*s ||
           (fetch_is_url(s) && !strpbrk(s, "\"\\") && host[3 + strcspn(host + 3, "/?{")] != '{');
}

static bool is_path(const char *s)
{
    if (*s && *s != '/')
        return false;
    for (; *s; s++) {
        if (*s <= ' ' || *s == 0x7F || *s == '#' || *s == '"' || *s == '\\')
            return false;
    }
    return true;
}

static bool is_method(const char *s)
{
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i], s) == 0)
            return true;
    }
    return false;
}

static bool is_openapi(const char *s)
{
    return !strstr(s, "://") || fetch_is_url(s);
}

static bool is_not_empty(const char *s)
{
    return *s;
}

static const struct yaml_syntax module_name = {
    pyname_is_module, "a name that Python can import and does not know yet, such as weather"};
static const struct yaml_syntax function_name = {pyname_is_function,
                                                 "a name of a Python function such as get_devices"};
static const struct yaml_syntax param_name = {is_not_empty, "the name of a parameter"};
static const struct yaml_syntax base_url = {is_base_url, "a URL such as http://data-api:8006"};
static const struct yaml_syntax url = {is_url, "a URL such as http://data-api:8006/devices/{id}"};
static const struct yaml_syntax path = {is_path, "a path such as /devices/{id}"};
static const struct yaml_syntax token = {url_is_header_name,
                                         "the name of a header such as X-Api-Key"};
static const struct yaml_syntax method = {is_method, "GET, POST, PUT, PATCH or DELETE"};
static const struct yaml_syntax document = {is_openapi, "a URL, or a file beside this one"};

const struct yaml_word param_types[] = {
    {"any",     0},
    {"string",  1},
    {"integer", 2},
    {"number",  3},
    {"boolean", 4},
    {"array",   5},
    {"object",  6},
    {NULL,      0},
};

static const struct yaml_word in_words[] = {
    {"auto",   TOOL_IN_AUTO  },
    {"body",   TOOL_IN_BODY  },
    {"query",  TOOL_IN_QUERY },
    {"path",   TOOL_IN_PATH  },
    {"header", TOOL_IN_HEADER},
    {NULL,     0             },
};

static const struct yaml_word reply_words[] = {
    {"json", TOOL_REPLY_JSON},
    {"text", TOOL_REPLY_TEXT},
    {"auto", TOOL_REPLY_AUTO},
    {NULL,   0              },
};

/* ---- any value, as JSON ---- */

static void put_json(struct buf *b, const struct yaml_node *node);

static void put_scalar(struct buf *b, const struct yaml_node *node)
{
    const char *text = node->text;
    bool is_word = strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    bool is_number =
        *text && strchr("-0123456789", *text) && json_scan_text(text, strlen(text), 1, NULL) == 0;

    if (node->is_plain && (node->is_null || yaml_is_null_word(text)))
        (void)buf_str(b, "null");
    else if (node->is_plain && (is_word || is_number))
        (void)buf_str(b, text);
    else
        json_put_str(b, text, strlen(text));
}

static void put_json(struct buf *b, const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR) {
        put_scalar(b, node);
        return;
    }
    (void)buf_char(b, node->kind == YAML_LIST ? '[' : '{');
    for (size_t i = 0; i < node->n; i++) {
        (void)buf_str(b, i ? "," : "");
        if (node->kind == YAML_MAP) {
            json_put_str(b, node->keys[i]->text, strlen(node->keys[i]->text));
            (void)buf_char(b, ':');
        }
        put_json(b, node->items[i]);
    }
    (void)buf_char(b, node->kind == YAML_LIST ? ']' : '}');
}

static int bind_json(struct yaml *y, const struct yaml_node *node, const char *key, void *at)
{
    CLEANUP(buf_done) struct buf b = {.max = JSON_MAX};
    char *text;

    put_json(&b, node);
    if (b.is_full)
        return yaml_fault(y, node, key, "is over %d bytes", JSON_MAX);
    text = buf_take(&b);
    memcpy(at, &text, sizeof(text));
    return 0;
}

static int bind_number(struct yaml *y, const struct yaml_node *node, const char *key, void *at)
{
    double v;

    if (node->kind != YAML_SCALAR || !node->is_plain || !str_to_real(node->text, &v))
        return yaml_fault(y, node, key, "must be a number");
    return bind_json(y, node, key, at);
}

static void release_json(void *at)
{
    void *text;

    memcpy(&text, at, sizeof(text));
    memset(at, 0, sizeof(text));
    free(text);
}

static const struct yaml_custom json = {bind_json, NULL, release_json};
static const struct yaml_custom number = {bind_number, NULL, release_json};

/* ---- tables ---- */

/* clang-format off */
#define AT(s, m) .offset = offsetof(struct s, m)
#define RECORDS(s, m, t, r) .type = YAML_RECORDS, AT(s, m), .table = (t), .count_offset = offsetof(struct s, m##_n), .size = sizeof(struct r)

static const struct yaml_field param_fields[] = {
    {.key = "name",       .type = YAML_TEXT,    AT(param_config, name), .is_required = true, .syntax = &param_name, .doc = "as the service calls it"},
    {.key = "type",       .type = YAML_WORD,    AT(param_config, type), .words = param_types, .initial = "any", .doc = "of its JSON value"},
    {.key = "required",   .type = YAML_BOOL,    AT(param_config, is_required), .initial = "false", .doc = "programs must give it"},
    {.key = "default",    .type = YAML_CUSTOM,  AT(param_config, initial), .custom = &json, .doc = "is sent where a program gives none"},
    {.key = "in",         .type = YAML_WORD,    AT(param_config, in), .words = in_words, .initial = "auto", .doc = "path, query, header or body; auto = where the path names it, else query for GET and DELETE, else body"},
    {.key = "enum",       .type = YAML_CUSTOM,  AT(param_config, choices), .custom = &json, .doc = "the values that it may have"},
    {.key = "min",        .type = YAML_CUSTOM,  AT(param_config, min), .custom = &number, .doc = "smallest number"},
    {.key = "max",        .type = YAML_CUSTOM,  AT(param_config, max), .custom = &number, .doc = "largest number"},
    {.key = "pattern",    .type = YAML_TEXT,    AT(param_config, pattern), .initial = "\"\"", .doc = "regular expression that stands somewhere in the text"},
    {.key = "min_length", .type = YAML_INTEGER, AT(param_config, length_min), .min = 0, .max = 1e9, .initial = "0", .doc = "characters of a text, items of a list"},
    {.key = "max_length", .type = YAML_INTEGER, AT(param_config, length_max), .min = 0, .max = 1e9, .initial = "0", .doc = "0 = any"},
    {.key = "schema",     .type = YAML_CUSTOM,  AT(param_config, schema), .custom = &json, .doc = "JSON schema of the value, for what the keys above cannot say"},
    {.key = "doc",        .type = YAML_TEXT,    AT(param_config, doc), .initial = "\"\"", .doc = "what programs read about it"},
    {0},
};

static const struct yaml_field function_fields[] = {
    {.key = "name",        .type = YAML_TEXT,    AT(function_config, name), .is_required = true, .syntax = &function_name, .doc = "as programs call it"},
    {.key = "doc",         .type = YAML_TEXT,    AT(function_config, doc), .initial = "\"\"", .doc = "what programs read about it"},
    {.key = "method",      .type = YAML_TEXT,    AT(function_config, method), .initial = "POST", .syntax = &method, .doc = "of HTTP"},
    {.key = "path",        .type = YAML_TEXT,    AT(function_config, path), .initial = "\"\"", .syntax = &path, .doc = "behind the module's url; {name} is an argument"},
    {.key = "url",         .type = YAML_TEXT,    AT(function_config, url), .initial = "\"\"", .syntax = &url, .doc = "instead of both"},
    {.key = "headers",     .type = YAML_PAIRS,   AT(function_config, headers), .max = 32, .syntax = &token, .doc = "beside those of the module"},
    {.key = "parameters",  RECORDS(function_config, params, param_fields, param_config), .max = TOOL_PARAMS_MAX, .doc = "what it takes, in order"},
    {.key = "reply",       .type = YAML_WORD,    AT(function_config, reply), .words = reply_words, .initial = "json", .doc = "json, text, or auto: as the reply says"},
    {.key = "strict",      .type = YAML_BOOL,    AT(function_config, is_strict), .initial = "false", .doc = "arguments that are not listed are refused instead of passed on"},
    {.key = "timeout",     .type = YAML_TIME,    AT(function_config, timeout_ms), .min = 0, .max = HOUR, .initial = "0", .doc = "of one call; 0 = the module's"},
    {.key = "response",    .type = YAML_SIZE,    AT(function_config, reply_max), .min = 0, .max = 1024 * MIB, .initial = "0", .doc = "largest reply; 0 = the module's"},
    {.key = "concurrency", .type = YAML_INTEGER, AT(function_config, concurrency), .min = 0, .max = 1000, .initial = "0", .doc = "calls at the same time, of all programs; 0 = the module's"},
    {0},
};

static const struct yaml_field module_fields[] = {
    {.key = "name",        .type = YAML_TEXT,    AT(module_config, name), .is_required = true, .syntax = &module_name, .doc = "as programs import it"},
    {.key = "doc",         .type = YAML_TEXT,    AT(module_config, doc), .initial = "\"\"", .doc = "what programs read about it"},
    {.key = "url",         .type = YAML_TEXT,    AT(module_config, url), .initial = "\"\"", .syntax = &base_url, .doc = "of the service; with openapi instead of what the document says"},
    {.key = "headers",     .type = YAML_PAIRS,   AT(module_config, headers), .max = 32, .syntax = &token, .doc = "of every request, such as Authorization: Bearer ${secret:NAME}"},
    {.key = "query",       .type = YAML_PAIRS,   AT(module_config, query), .max = 32, .syntax = &param_name, .doc = "of every URL, such as key: ${secret:NAME}"},
    {.key = "functions",   RECORDS(module_config, functions, function_fields, function_config), .max = TOOL_FUNCTIONS_MAX, .doc = "what it offers"},
    {.key = "openapi",     .type = YAML_TEXT,    AT(module_config, openapi), .initial = "\"\"", .syntax = &document, .doc = "OpenAPI 3 document (JSON) whose operations are the functions: a URL, or a file beside this one"},
    {.key = "mcp",         .type = YAML_TEXT,    AT(module_config, mcp), .initial = "\"\"", .syntax = &url, .doc = "MCP server (streamable HTTP) whose tools are the functions"},
    {.key = "include",     .type = YAML_TEXTS,   AT(module_config, include), .max = 256, .doc = "of what is found, by the service's names; a * at the end stands for any rest; none = all"},
    {.key = "exclude",     .type = YAML_TEXTS,   AT(module_config, exclude), .max = 256, .doc = "of what is found, what is left out"},
    {.key = "timeout",     .type = YAML_TIME,    AT(module_config, timeout_ms), .min = 1, .max = HOUR, .initial = "30s", .doc = "of one call"},
    {.key = "response",    .type = YAML_SIZE,    AT(module_config, reply_max), .min = 1, .max = 1024 * MIB, .initial = "10MiB", .doc = "largest reply"},
    {.key = "concurrency", .type = YAML_INTEGER, AT(module_config, concurrency), .min = 1, .max = 1000, .initial = "16", .doc = "calls of one function at the same time, of all programs"},
    {.key = "proxy",       .type = YAML_BOOL,    AT(module_config, uses_proxy), .initial = "false", .doc = "calls go through the proxy of the environment"},
    {0},
};

const struct yaml_field tools_table[] = {
    {.key = "modules", .type = YAML_RECORDS, AT(tools_config, modules), .max = 64, .table = module_fields, .count_offset = offsetof(struct tools_config, n), .size = sizeof(struct module_config), .doc = "what programs may import"},
    {0},
};
/* clang-format on */
