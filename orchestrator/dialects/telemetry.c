/*
 * telemetry, port 8080: the sandbox runner of the Western Formula Racing code generator
 * ({code} in; ok, return_code, std_out, std_err, output_files out).
 */
#include "dialects/telemetry.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "core/run_told.h"
#include "dialects/exec.h"

enum { OMITTED_SHOWN = 20, HEADER_MAX = 2048, ERROR_MAX = 64 * 1024 };

static const char no_code[] = "Request JSON must include non-empty 'code' field.";

static void answer_error(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, ERROR_MAX);
    (void)buf_str(&b, "{\"error\":");
    json_put_str(&b, text, strlen(text));
    (void)buf_char(&b, '}');
    http_reply(x, status, "application/json", &b);
}

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    answer_error(x, status, fault == HTTP_NOT_FOUND ? "Unknown endpoint" : text);
}

/* ---- the request ---- */

static int add_files(struct http_exchange *x, struct exec *e, const cJSON *list, struct err *err)
{
    const cJSON *item;
    size_t i = 0;

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "'files' must be a list");
    cJSON_ArrayForEach(item, list)
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "filename"));
        const cJSON *at = cJSON_GetObjectItemCaseSensitive(item, "b64_data");
        const struct spool *data = at ? http_blob(x, at) : NULL;

        if (!name || !data)
            return err_set(err, ERR_INVALID, "'files[%zu]' must have filename and b64_data", i);
        exec_add_file(e, name, data);
        i++;
    }
    return 0;
}

/* ---- the reply ---- */

static void put_return_code(struct buf *b, const struct run_result *r)
{
    int code;

    if (run_return_code(r, &code))
        (void)buf_fmt(b, "%d", code);
    else
        (void)buf_str(b, "null");
}

/* The base name, as the original says it, unless two files share it: then the relative path. */
static void put_name(struct buf *text, const struct run_result *r, size_t i)
{
    CLEANUP(buf_done) struct buf name = {0};

    buf_init(&name, PATH_REL_MAX + 8);
    run_put_file_name(&name, r, i);
    json_put_str(text, buf_get(&name), name.len);
}

static void put_files(struct http_parts *parts, const struct run_result *r)
{
    (void)buf_str(http_parts_text(parts), ",\"output_files\":[");
    for (size_t i = 0; i < r->files_n; i++) {
        struct buf *text = http_parts_text(parts);

        (void)buf_str(text, i ? ",{\"filename\":" : "{\"filename\":");
        put_name(text, r, i);
        (void)buf_str(text, ",\"b64_data\":\"");
        http_parts_base64(parts, &r->files[i].data);
        (void)buf_str(http_parts_text(parts), "\"}");
    }
    (void)buf_str(http_parts_text(parts), "]}");
}

/* X-Files-Omitted: names as JSON strings would write them, so that any name fits a header. */
static void name_omitted(struct http_exchange *x, const struct run_result *r)
{
    CLEANUP(buf_done) struct buf b = {0};

    if (!r->omitted_n)
        return;
    buf_init(&b, HEADER_MAX);
    for (size_t i = 0; i < r->omitted_n && i < OMITTED_SHOWN; i++) {
        const struct run_omitted *o = &r->omitted[i];

        log_info("run %s: '%s' is left out of the reply: %s", r->id, o->path, o->reason);
        if (i)
            (void)buf_str(&b, ", ");
        for (const unsigned char *p = (const unsigned char *)o->path; *p; p++) {
            if (*p > 0x20 && *p < 0x7F && *p != '%' && *p != ',')
                (void)buf_char(&b, (char)*p);
            else
                (void)buf_fmt(&b, "%%%02X", *p);
        }
        (void)buf_fmt(&b, ";reason=%s", o->reason);
    }
    http_set_header(x, "X-Files-Omitted", buf_get(&b));
}

static void answer_result(struct http_exchange *x, struct run_result *r, double timeout_s)
{
    struct http_parts *parts = http_parts_new();
    struct buf *text = http_parts_text(parts);

    run_mark_cut(r);
    run_note_limit(r, timeout_s);
    name_omitted(x, r);
    (void)buf_fmt(text, "{\"ok\":%s,\"return_code\":", r->outcome == OUTCOME_OK ? "true" : "false");
    put_return_code(text, r);
    (void)buf_str(text, ",\"std_out\":");
    http_parts_json_string(parts, &r->out);
    (void)buf_str(http_parts_text(parts), ",\"std_err\":");
    http_parts_json_string(parts, &r->err_out);
    put_files(parts, r);
    http_reply_parts(x, 200, "application/json", parts);
}

static void execute(struct http_exchange *x, void *app)
{
    const cJSON *body = http_json(x);
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "code"));
    struct err err = {0};
    struct run_request *q;
    struct run_result *r;
    struct exec *e;

    if (!cJSON_IsObject(body) || !code || str_is_blank(code, strlen(code))) {
        answer_error(x, 400, no_code);
        return;
    }
    e = exec_new(x, app, "telemetry", "telemetry");
    if (!e) {
        answer_error(x, 503, "The policy 'telemetry' is missing");
        return;
    }
    q = exec_program(e, code, "snippet.py");
    q->extract = true;
    if (add_files(x, e, cJSON_GetObjectItemCaseSensitive(body, "files"), &err) < 0 ||
        exec_check(e, &err) < 0) {
        answer_error(x, err.kind == ERR_LIMIT ? 413 : 400, err.msg);
        return;
    }
    r = exec_run(e);
    if (exec_is_unavailable(e))
        answer_error(x, 503, r->reason);
    else
        answer_result(x, r, (double)q->policy->time_default_ms / 1000);
}

static void health(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, 64);
    (void)buf_str(&b, "{\"status\":\"ok\"}");
    http_reply(x, 200, "application/json", &b);
}

static const struct http_blob_field blobs[] = {{"files[].b64_data"}, {NULL}};

static const struct http_route routes[] = {
    {.method = "POST", .path = "/", .handle = execute, .body = HTTP_BODY_JSON, .blobs = blobs},
    {.method = "POST",
     .path = "/execute",
     .handle = execute,
     .body = HTTP_BODY_JSON,
     .blobs = blobs},
    {.method = "GET", .path = "/health", .handle = health},
    {0},
};

const struct http_api telemetry_api = {
    .name = "telemetry",
    .routes = routes,
    .fail = fail,
};
