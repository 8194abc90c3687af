#include "dialects/executor_reply.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "core/run_told.h"
#include "policy/policy.h"

enum {
    MIB = 1024 * 1024,
    DETAIL_MAX = 256 * 1024,
    INPUT_MAX = 64 * 1024,
    ERROR_MAX = 4 * MIB, /* whatever a run's fault may hold, and the words around it */
};

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

void executor_refuse(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, DETAIL_MAX);
    (void)buf_char(&b, '{');
    put_text(&b, "detail", text);
    (void)buf_char(&b, '}');
    http_reply(x, status, "application/json", &b);
}

/* What the client sent, as the original says it back; null where that would be a large text. */
static void put_input(struct buf *b, const cJSON *input)
{
    char *text = input ? cJSON_PrintUnformatted(input) : NULL;

    (void)buf_str(b, text && strlen(text) <= INPUT_MAX ? text : "null");
    cJSON_free(text);
}

void executor_invalid(struct http_exchange *x, const struct executor_fault *f)
{
    struct buf b;

    buf_init(&b, DETAIL_MAX);
    (void)buf_str(&b, "{\"detail\":[{");
    put_text(&b, "type", f->type);
    (void)buf_str(&b, ",\"loc\":[\"body\"");
    if (f->field) {
        (void)buf_char(&b, ',');
        json_put_str(&b, f->field, strlen(f->field));
    }
    (void)buf_str(&b, "],");
    put_text(&b, "msg", f->msg);
    (void)buf_str(&b, ",\"input\":");
    put_input(&b, f->input);
    (void)buf_str(&b, "}]}");
    http_reply(x, 422, "application/json", &b);
}

/* ---- what went wrong ---- */

/* "ValueError: no such day": the class without its module, as the original's users know it. */
static void put_exception(struct buf *b, const struct run_result *r)
{
    CLEANUP(cJSON_Delete_p) cJSON *fault = cJSON_ParseWithLength(buf_get(&r->fault), r->fault.len);
    const char *type = json_get_text(fault, "type"), *message = json_get_text(fault, "message");
    const char *dot = strrchr(type, '.');

    (void)buf_str(b, dot ? dot + 1 : type);
    if (*message)
        (void)buf_fmt(b, ": %s", message);
}

static void put_blocked(struct buf *b, const struct run_result *r)
{
    CLEANUP(cJSON_Delete_p) cJSON *fault = cJSON_ParseWithLength(buf_get(&r->fault), r->fault.len);

    (void)buf_fmt(b, "Security validation failed: %s", json_get_text(fault, "message"));
}

static void describe(struct buf *b, const struct run_request *q, const struct run_result *r)
{
    if (r->outcome == OUTCOME_TIMEOUT)
        (void)buf_fmt(b, "Execution exceeded %.15gs timeout",
                      (double)q->policy->time_default_ms / 1000);
    else if (r->outcome == OUTCOME_OOM)
        (void)buf_fmt(b, "Memory limit of %.15g MB exceeded", (double)r->memory / MIB);
    else if (r->outcome == OUTCOME_BLOCKED)
        put_blocked(b, r);
    else if (r->fault.len)
        put_exception(b, r);
    else if (r->reason[0])
        (void)buf_str(b, r->reason);
    else
        (void)buf_fmt(b, "SystemExit: %d", r->exit_code);
}

static void put_error(struct buf *text, const struct run_request *q, const struct run_result *r)
{
    CLEANUP(buf_done) struct buf b = {0};

    if (r->outcome == OUTCOME_OK) {
        (void)buf_str(text, ",\"error\":null}");
        return;
    }
    buf_init(&b, ERROR_MAX);
    describe(&b, q, r);
    (void)buf_str(text, ",\"error\":");
    json_put_str(text, buf_get(&b), b.len);
    (void)buf_char(text, '}');
}

void executor_answer(struct http_exchange *x, const struct run_request *q, struct run_result *r)
{
    bool is_ok = r->outcome == OUTCOME_OK;
    int status = r->outcome == OUTCOME_BLOCKED ? (int)q->policy->rules.status : 200;
    struct http_parts *parts = http_parts_new();
    struct buf *text;

    run_mark_cut(r);
    (void)buf_fmt(http_parts_text(parts), "{\"success\":%s,\"stdout\":", is_ok ? "true" : "false");
    http_parts_json_string(parts, &r->out);
    (void)buf_str(http_parts_text(parts), ",\"stderr\":");
    http_parts_json_string(parts, &r->err_out);
    text = http_parts_text(parts);
    (void)buf_str(text, ",\"return_value\":");
    (void)buf_str(text, is_ok && r->value.len ? buf_get(&r->value) : "null");
    (void)buf_fmt(text, ",\"execution_time\":%.6f,\"memory_used_mb\":%.2f",
                  (double)r->wall_us / 1e6, (double)r->memory_peak / MIB);
    put_error(text, q, r);
    http_reply_parts(x, status, "application/json", parts);
}
