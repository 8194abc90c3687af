/*
 * native, port 8000: Oneshot's own API, the superset of what the core can do. Errors are
 * application/problem+json (RFC 9457).
 */
#include "dialects/native.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "dialects/exec.h"
#include "dialects/native_reply.h"
#include "dialects/native_state.h"

enum { MEMORY_LEAST = 16 * 1024 * 1024 };

struct native_body {
    const char *code, *policy, *language, *input_format, *stdin_text, *result;
    const cJSON *args, *env, *files, *timeout, *memory, *packages;
    bool capture_figures, stream, log;
};

/* clang-format off */
static const struct json_field fields[] = {
    JSON_FIELD_TEXT(native_body, code,            "code",            true,  0),
    JSON_FIELD_TEXT(native_body, policy,          "policy",          false, 128),
    JSON_FIELD_TEXT(native_body, language,        "language",        false, 32),
    JSON_FIELD_TEXT(native_body, input_format,    "input_format",    false, 32),
    JSON_FIELD_TEXT(native_body, stdin_text,      "stdin",           false, 0),
    JSON_FIELD_TEXT(native_body, result,          "result",          false, 32),
    JSON_FIELD_ITEM(native_body, args,            "args",            false),
    JSON_FIELD_ITEM(native_body, env,             "env",             false),
    JSON_FIELD_ITEM(native_body, files,           "files",           false),
    JSON_FIELD_ITEM(native_body, timeout,         "timeout",         false),
    JSON_FIELD_ITEM(native_body, memory,          "memory",          false),
    JSON_FIELD_ITEM(native_body, packages,        "packages",        false),
    JSON_FIELD_BOOL(native_body, capture_figures, "capture_figures", false),
    JSON_FIELD_BOOL(native_body, stream,          "stream",          false),
    JSON_FIELD_BOOL(native_body, log,             "log",             false),
};
/* clang-format on */

/* ---- what the client asks for ---- */

static int read_args(struct exec *e, const cJSON *list, struct err *err)
{
    struct run_request *q = exec_request(e);
    const cJSON *item;
    const char **args;
    size_t n = 0;

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "'args' must be a list of strings");
    args = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*args));
    (void)exec_keep(e, (char *)args);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return err_set(err, ERR_INVALID, "'args[%zu]' must be a string", n);
        args[n++] = item->valuestring;
    }
    q->args = args;
    return 0;
}

static int read_env(struct exec *e, const cJSON *map, struct err *err)
{
    struct run_request *q = exec_request(e);
    struct run_pair *env;
    const cJSON *item;

    if (!map)
        return 0;
    if (!cJSON_IsObject(map))
        return err_set(err, ERR_INVALID, "'env' must be an object of strings");
    env = xcalloc((size_t)cJSON_GetArraySize(map) + 1, sizeof(*env));
    (void)exec_keep(e, (char *)env);
    cJSON_ArrayForEach(item, map)
    {
        if (!cJSON_IsString(item))
            return err_set(err, ERR_INVALID, "'env.%.60s' must be a string", item->string);
        env[q->env_n++] = (struct run_pair){item->string, item->valuestring};
    }
    q->env = env;
    return 0;
}

/* A file's content is either `data` (base64, already decoded aside) or `text`. */
static int read_file(struct http_exchange *x, struct exec *e, const cJSON *item, struct err *err)
{
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "path"));
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(item, "data");
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(item, "text");
    struct spool *s;

    if (!path)
        return err_set(err, ERR_INVALID, "must have a 'path'");
    if (data && !text) {
        exec_add_file(e, path, http_blob(x, data));
        return 0;
    }
    if (!cJSON_IsString(text) || data)
        return err_set(err, ERR_INVALID, "must have either 'data' or 'text'");
    s = exec_spool(e);
    if (spool_add(s, text->valuestring, strlen(text->valuestring), err) < 0)
        return -1;
    exec_add_file(e, path, s);
    return 0;
}

static int read_files(struct http_exchange *x, struct exec *e, const cJSON *list, struct err *err)
{
    const cJSON *item;
    size_t i = 0;

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "'files' must be a list");
    cJSON_ArrayForEach(item, list)
    {
        if (read_file(x, e, item, err) < 0)
            return err_wrap(err, "'files[%zu]'", i);
        i++;
    }
    return 0;
}

static int read_timeout(struct run_request *q, const cJSON *item, struct err *err)
{
    double max = (double)q->policy->time_max_ms / 1000;

    if (!item)
        return 0;
    if (!cJSON_IsNumber(item) || !(item->valuedouble > 0) || item->valuedouble > max)
        return err_set(err, ERR_INVALID,
                       "'timeout' must be a number of seconds over 0 and at most %.15g", max);
    q->timeout_ms = (int64_t)(item->valuedouble * 1000);
    if (q->timeout_ms < 1)
        q->timeout_ms = 1;
    return 0;
}

static int read_memory(struct run_request *q, const cJSON *item, struct err *err)
{
    int64_t bytes = 0;

    if (!item)
        return 0;
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 9e15)
        bytes = (int64_t)item->valuedouble;
    else if (!cJSON_IsString(item) || units_size(item->valuestring, 0, &bytes, NULL) < 0)
        return err_set(err, ERR_INVALID, "'memory' must be bytes or a size such as \"256MiB\"");
    if (bytes < MEMORY_LEAST || bytes > q->policy->memory_max)
        return err_set(err, ERR_INVALID, "'memory' must be 16777216..%lld bytes",
                       (long long)q->policy->memory_max);
    q->memory = (uint64_t)bytes;
    return 0;
}

static int read_words(struct run_request *q, const struct native_body *b, struct err *err)
{
    if (strcmp(b->language, "python") != 0)
        return err_set(err, ERR_INVALID, "'language' must be \"python\"");
    if (strcmp(b->input_format, "auto") == 0)
        q->extract = true;
    else if (strcmp(b->input_format, "raw") != 0)
        return err_set(err, ERR_INVALID, "'input_format' must be \"raw\" or \"auto\"");
    if (strcmp(b->result, "last_expression") == 0)
        q->value = RUN_VALUE_LAST_EXPRESSION;
    else if (strcmp(b->result, "none") != 0)
        return err_set(err, ERR_INVALID, "'result' must be \"none\" or \"last_expression\"");
    if (b->packages && (!cJSON_IsArray(b->packages) || cJSON_GetArraySize(b->packages) > 0))
        return err_set(err, ERR_INVALID, "'packages' must be empty: this service installs none");
    return 0;
}

static int fill(struct http_exchange *x, struct exec *e, const struct native_body *b,
                struct err *err)
{
    struct run_request *q = exec_program(e, b->code, "main.py");

    q->stdin_data = b->stdin_text;
    q->stdin_len = b->stdin_text ? strlen(b->stdin_text) : 0;
    q->wants_log = b->log;
    q->may_await = true;
    if (cJSON_GetObjectItemCaseSensitive(http_json(x), "capture_figures"))
        q->figures = b->capture_figures;
    if (read_words(q, b, err) < 0 || read_timeout(q, b->timeout, err) < 0 ||
        read_memory(q, b->memory, err) < 0 || read_args(e, b->args, err) < 0 ||
        read_env(e, b->env, err) < 0 || read_files(x, e, b->files, err) < 0)
        return -1;
    return exec_check(e, err);
}

static void refuse(struct http_exchange *x, const struct err *err)
{
    if (err->kind == ERR_BUSY)
        http_fail(x, HTTP_UNAVAILABLE, 503, "%s", err->msg);
    else if (err->kind == ERR_INTERNAL)
        http_fail(x, HTTP_INTERNAL, 500, "%s", err->msg);
    else
        native_problem(x, err->kind == ERR_LIMIT ? 413 : 400, "%s", err->msg);
}

static bool wants_stream(struct http_exchange *x, const struct native_body *b)
{
    const char *accept = http_header(x, "Accept");

    return b->stream || (accept && strstr(accept, "text/event-stream"));
}

static void create_run(struct http_exchange *x, void *app)
{
    struct native_body b = {
        .policy = "default", .language = "python", .input_format = "raw", .result = "none"};
    struct err err = {0};
    struct exec *e;

    if (json_bind(http_json(x), fields, ARRAY_LEN(fields), &b, NULL, &err) < 0) {
        native_problem(x, 400, "%s", err.msg);
        return;
    }
    e = exec_new(x, app, "native", b.policy);
    if (!e) {
        native_problem(x, 400, "'policy': there is no policy '%s'", b.policy);
        return;
    }
    if (fill(x, e, &b, &err) < 0) {
        refuse(x, &err);
        return;
    }
    if (wants_stream(x, &b))
        native_stream(x, e);
    else
        native_answer(x, e);
}

static const struct http_blob_field blobs[] = {{"files[].data"}, {NULL}};

static const struct http_route routes[] = {
    {.method = "POST",
     .path = "/v1/runs",
     .handle = create_run,
     .body = HTTP_BODY_JSON,
     .blobs = blobs},
    {.method = "GET", .path = "/v1/policies", .handle = native_policies},
    {.method = "GET", .path = "/v1/pools", .handle = native_pools},
    {.method = "GET", .path = "/metrics", .handle = native_metrics},
    {.method = "GET", .path = "/health", .handle = native_health},
    {.method = "GET", .path = "/ready", .handle = native_ready},
    {0},
};

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    (void)fault;
    native_problem(x, status, "%s", text);
}

const struct http_api native_api = {
    .name = "native",
    .routes = routes,
    .fail = fail,
};
