/*
 * executor, port 8030: the code executor of a smart home's agents ({code, context} in; output,
 * return value, time and memory out), whose programs call tools without a network.
 */
#include "dialects/executor.h"

#include <string.h>

#include "base/json.h"
#include "base/json_raw.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "dialects/exec.h"
#include "dialects/executor_counts.h"
#include "dialects/executor_reply.h"
#include "tools/tools.h"

enum {
    CONTEXT_MAX = 1024 * 1024,
    CONTEXT_DEPTH = 4, /* objects and lists within one of its values */
    VALUE_MAX = 1024 * 1024,
    TEXT_MAX = 16 * 1024 * 1024,
};

static const char policy_name[] = "executor";

/* ---- who may ask ---- */

static bool admit(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    const char *token = app->settings->executor_token, *given = http_header(x, "X-Executor-Token");

    return !token[0] || (given && str_eq_secret(token, strlen(token), given, strlen(given)));
}

/* ---- the request ---- */

/* Of containers alone: a number has none, [1] has one. */
static bool is_deeper(const cJSON *item, int most)
{
    const cJSON *child;

    if (!cJSON_IsObject(item) && !cJSON_IsArray(item))
        return false;
    if (most == 0)
        return true;
    cJSON_ArrayForEach(child, item)
    {
        if (is_deeper(child, most - 1))
            return true;
    }
    return false;
}

static bool is_reserved(const char *name)
{
    static const char *const names[] = {"__builtins__", "__name__", "__package__"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* True when it may be used; else it is answered. */
static bool check_context(struct http_exchange *x, const cJSON *context, size_t n)
{
    struct executor_fault f = {.type = "value_error", .field = "context", .input = context};
    auto_free char *text = NULL;
    const cJSON *item;

    if (n > CONTEXT_MAX) {
        f.msg = "Value error, Context exceeds 1048576 bytes";
        f.input = NULL;
        executor_invalid(x, &f);
        return false;
    }
    cJSON_ArrayForEach(item, context)
    {
        if (is_reserved(item->string))
            text = xasprintf("Value error, Context key '%s' is reserved", item->string);
        else if (is_deeper(item, CONTEXT_DEPTH))
            text = xstrdup("Value error, Context nesting exceeds allowed depth");
        if (text) {
            f.msg = text;
            executor_invalid(x, &f);
            return false;
        }
    }
    return true;
}

/* The context's own text: numbers stay what they are. False: it is answered. */
static bool read_context(struct http_exchange *x, struct exec *e, const cJSON *body)
{
    const cJSON *context = cJSON_GetObjectItemCaseSensitive(body, "context");
    struct executor_fault f = {.type = "dict_type",
                               .field = "context",
                               .msg = "Input should be a valid dictionary",
                               .input = context};
    const char *raw, *text;
    size_t n, text_n;

    if (!context || cJSON_IsNull(context))
        return true;
    if (!cJSON_IsObject(context)) {
        executor_invalid(x, &f);
        return false;
    }
    raw = http_body(x, &n);
    if (!json_raw_member(raw, n, "context", &text, &text_n)) {
        http_fail(x, HTTP_INTERNAL, 500, "internal error");
        return false;
    }
    exec_request(e)->context = exec_keep(e, xstrndup(text, text_n));
    return check_context(x, context, text_n);
}

/* NULL: it is answered. */
static const char *read_code(struct http_exchange *x, const cJSON *body)
{
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(body, "code");
    struct executor_fault f = {.field = "code", .input = code};

    if (cJSON_IsString(code))
        return code->valuestring;
    f.type = code ? "string_type" : "missing";
    f.msg = code ? "Input should be a valid string" : "Field required";
    if (!code)
        f.input = body;
    executor_invalid(x, &f);
    return NULL;
}

static void forget(void *body)
{
    cJSON_Delete(body);
}

static void refuse_json(struct http_exchange *x, const struct err *err)
{
    auto_free char *text = xasprintf("JSON decode error: %s", err->msg);
    const struct executor_fault f = {.type = "json_invalid", .msg = text};

    if (err->kind == ERR_LIMIT)
        executor_refuse(x, 413, err->msg);
    else
        executor_invalid(x, &f);
}

/* The body as an object, kept until the exchange is complete. NULL: it is answered. */
static const cJSON *read_body(struct http_exchange *x, const struct app *app)
{
    struct executor_fault f;
    struct err err = {0};
    size_t n;
    const char *raw = http_body(x, &n);
    cJSON *body;

    if (n == 0) {
        f = (struct executor_fault){.type = "missing", .msg = "Field required"};
        executor_invalid(x, &f);
        return NULL;
    }
    if (json_scan_text(raw, n, (size_t)app->settings->json_tokens, &err) < 0) {
        refuse_json(x, &err);
        return NULL;
    }
    body = cJSON_ParseWithLength(raw, n);
    if (!body) {
        http_fail(x, HTTP_INTERNAL, 500, "no memory for the body");
        return NULL;
    }
    http_on_complete(x, forget, body);
    if (cJSON_IsObject(body))
        return body;
    f = (struct executor_fault){
        .type = "model_attributes_type",
        .msg = "Input should be a valid dictionary or object to extract fields from",
        .input = body};
    executor_invalid(x, &f);
    return NULL;
}

static void run(struct http_exchange *x, struct app *app, struct exec *e)
{
    struct run_result *r;

    executor_counts_begin(app->executor);
    r = exec_run(e);
    executor_counts_end(app->executor, r);
    if (exec_is_unavailable(e))
        executor_refuse(x, 503, r->reason);
    else
        executor_answer(x, exec_request(e), r);
}

static void execute(struct http_exchange *x, void *ctx)
{
    struct app *app = ctx;
    const cJSON *body = read_body(x, app);
    const char *code = body ? read_code(x, body) : NULL;
    struct run_request *q;
    struct err err = {0};
    struct exec *e;

    if (!code)
        return;
    e = exec_new(x, app, executor_api.name, policy_name);
    if (!e) {
        executor_refuse(x, 503, "The policy 'executor' is missing");
        return;
    }
    q = exec_program(e, code, "<agent>");
    q->value = RUN_VALUE_BRANCH;
    q->value_max = VALUE_MAX;
    q->tools_workspace = app->settings->executor_workspace;
    if (!read_context(x, e, body))
        return;
    if (exec_check(e, &err) < 0) {
        executor_refuse(x, err.kind == ERR_LIMIT ? 413 : 422, err.msg);
        return;
    }
    run(x, app, e);
}

/* ---- what there is ---- */

static void health(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    struct buf b;

    buf_init(&b, 256);
    (void)buf_fmt(&b,
                  "{\"status\":\"healthy\",\"service\":\"ai-code-executor\",\"version\":\"1.0.0\","
                  "\"mcp_initialized\":%s}",
                  tools_is_ready(app->tools) ? "true" : "false");
    http_reply(x, 200, "application/json", &b);
}

static void list_tools(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    const struct policy *policy = core_pin_policy(app->core, policy_name);
    auto_free char *text = policy ? tools_catalogue(app->tools, policy) : NULL;
    struct buf b;

    if (policy)
        core_unpin_policy(app->core, policy);
    buf_init(&b, TEXT_MAX);
    (void)buf_str(&b, text ? text : "{\"modules\":[]}");
    http_reply(x, 200, "application/json", &b);
}

static void figures(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    struct buf b;

    buf_init(&b, TEXT_MAX);
    executor_counts_render(&b, app->executor);
    http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

static const struct http_route routes[] = {
    {.method = "POST",
     .path = "/execute",
     .handle = execute,
     .body = HTTP_BODY_RAW,
     .admit = admit},
    {.method = "GET", .path = "/tools", .handle = list_tools, .admit = admit},
    {.method = "GET", .path = "/health", .handle = health},
    {.method = "GET", .path = "/metrics", .handle = figures},
    {0},
};

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    if (fault == HTTP_UNAUTHORIZED)
        text = "Invalid or missing executor token";
    else if (fault == HTTP_NOT_FOUND)
        text = "Not Found";
    else if (fault == HTTP_METHOD)
        text = "Method Not Allowed";
    executor_refuse(x, status, text);
}

const struct http_api executor_api = {
    .name = "executor",
    .routes = routes,
    .fail = fail,
};
