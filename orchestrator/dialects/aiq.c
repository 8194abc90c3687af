/*
 * aiq, port 6000: the local code execution sandbox of NVIDIA's AIQ / NeMo Agent Toolkit
 * (contract: process_status, stdout, stderr; 200 once a program was accepted).
 */
#include "dialects/aiq.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "core/run_told.h"
#include "dialects/exec.h"

/* The client's HTTP time-out is the program's: the reply must be on its way a little earlier. */
enum { MARGIN_LEAST_MS = 30, MARGIN_MOST_MS = 200 };
enum { LOSSES_SHOWN = 20 };

enum { ERROR_MAX = 64 * 1024 };

struct aiq_body {
    const char *code;
    double timeout;
    const char *language;
};

/* clang-format off */
static const struct json_field fields[] = {
    JSON_FIELD_TEXT(aiq_body, code,     "generated_code", true,  0),
    JSON_FIELD_REAL(aiq_body, timeout,  "timeout",        true,  -DBL_MAX, DBL_MAX),
    JSON_FIELD_TEXT(aiq_body, language, "language",       false, 0),
};
/* clang-format on */

static void answer_text(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, ERROR_MAX);
    (void)buf_str(&b, "{\"process_status\":\"error\",\"stdout\":\"\",\"stderr\":");
    json_put_str(&b, text, strlen(text));
    (void)buf_char(&b, '}');
    http_reply(x, status, "application/json", &b);
}

/* application/json or application/anything+json, parameters ignored. */
static bool says_json(struct http_exchange *x)
{
    const char *type = http_header(x, "Content-Type");
    char bare[128];
    size_t n;

    if (!type)
        return false;
    n = strcspn(type, "; \t");
    if (n >= sizeof(bare))
        return false;
    memcpy(bare, type, n);
    bare[n] = '\0';
    if (str_eq_nocase(bare, "application/json"))
        return true;
    return n > 5 && strchr(bare, '/') && str_eq_nocase(bare + n - 5, "+json");
}

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    if (fault == HTTP_BAD_JSON)
        text = says_json(x) ? "Invalid JSON data" : "Request must be JSON";
    answer_text(x, status, text);
}

static void headers(struct http_exchange *x)
{
    http_set_header(x, "Strict-Transport-Security", "max-age=31536000; includeSubDomains");
    http_set_header(x, "X-Content-Type-Options", "nosniff");
    http_set_header(x, "X-Frame-Options", "SAMEORIGIN");
    http_set_header(x, "X-XSS-Protection", "1; mode=block");
}

static void answer_fault(struct http_exchange *x, const struct json_fault *fault)
{
    const char *key = fault->field ? fault->field->key : "generated_code";
    char text[160];

    /* What is no object has no fields either. */
    if (!fault->field || fault->problem == JSON_MISSING)
        (void)snprintf(text, sizeof(text), "Missing required field: %s", key);
    else
        (void)snprintf(text, sizeof(text), "Invalid field: %s must be a %s", key,
                       fault->field->type == JSON_REAL ? "number" : "string");
    answer_text(x, 400, text);
}

/*
 * Files that did not get into the workspace, a line for each: what the program wrote is lost, so it
 * did not succeed. Links and sockets are no loss, they never go back.
 */
static bool note_losses(struct run_result *r)
{
    size_t lost = 0;

    for (size_t i = 0; i < r->omitted_n; i++) {
        char line[PATH_REL_MAX + 64];

        if (strcmp(r->omitted[i].reason, "not_regular") == 0 || ++lost > LOSSES_SHOWN)
            continue;
        (void)snprintf(line, sizeof(line), "file not kept: %s (%s)", r->omitted[i].path,
                       r->omitted[i].reason);
        run_note(r, line);
    }
    if (lost > LOSSES_SHOWN)
        run_note(r, "and further files");
    return lost > 0;
}

static const char *status_word(const struct run_result *r, bool is_lossy)
{
    if (r->outcome == OUTCOME_OK)
        return is_lossy ? "error" : "completed";
    return r->outcome == OUTCOME_TIMEOUT ? "timeout" : "error";
}

static void answer_result(struct http_exchange *x, struct run_result *r)
{
    struct http_parts *parts = http_parts_new();
    struct buf *text = http_parts_text(parts);
    bool is_lossy;

    run_mark_cut(r);
    is_lossy = note_losses(r);
    if (r->outcome == OUTCOME_TIMEOUT)
        run_note(r, "Timed out");
    else if (run_limit_line(r)[0])
        run_note(r, run_limit_line(r));
    (void)buf_fmt(text, "{\"process_status\":\"%s\",\"stdout\":", status_word(r, is_lossy));
    http_parts_json_string(parts, &r->out);
    (void)buf_str(http_parts_text(parts), ",\"stderr\":");
    http_parts_json_string(parts, &r->err_out);
    (void)buf_str(http_parts_text(parts), "}");
    http_reply_parts(x, 200, "application/json", parts);
}

/* It was never sent to a container, so asking again is safe. */
static void answer_unavailable(struct http_exchange *x, const struct run_result *r)
{
    char text[sizeof(r->reason) + 40];

    (void)snprintf(text, sizeof(text), "%s; try again in %d s", r->reason, r->retry_after_s);
    answer_text(x, 503, text);
}

static void set_times(struct run_request *q, double timeout, int64_t arrived_ms)
{
    double ms = timeout * 1000, margin = fmin(fmax(MARGIN_LEAST_MS, ms * 0.02), MARGIN_MOST_MS);

    if (ms > (double)q->policy->time_max_ms)
        ms = (double)q->policy->time_max_ms;
    q->timeout_ms = ms <= 0 ? 0 : (int64_t)fmax(1, ms);
    q->deadline_ms = arrived_ms + q->timeout_ms - (int64_t)margin;
    q->give_up_ms = q->deadline_ms + (int64_t)(margin / 2);
}

static void execute(struct http_exchange *x, void *app)
{
    struct aiq_body body = {.language = "python"};
    struct json_fault fault = {0};
    struct run_request *q;
    struct run_result *r;
    struct exec *e;

    if (!says_json(x)) {
        answer_text(x, 400, "Request must be JSON");
        return;
    }
    if (json_bind(http_json(x), fields, ARRAY_LEN(fields), &body, &fault, NULL) < 0) {
        answer_fault(x, &fault);
        return;
    }
    if (strcmp(body.language, "python") != 0) {
        answer_text(x, 400, "Only python execution is supported");
        return;
    }
    e = exec_new(x, app, "aiq", "aiq");
    if (!e) {
        answer_text(x, 503, "The policy 'aiq' is missing");
        return;
    }
    q = exec_program(e, body.code, "<string>");
    q->extract = true;
    q->workspace = app_workspace(app, q->policy);
    if (!q->workspace && q->policy->workspace[0]) {
        answer_text(x, 503, "The workspace is not served: it needs a restart of the service");
        return;
    }
    set_times(q, body.timeout, http_arrived_ms(x));
    r = exec_run(e);
    if (exec_is_unavailable(e))
        answer_unavailable(x, r);
    else
        answer_result(x, r);
}

static void health(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, 64);
    (void)buf_str(&b, "{\"status\":\"ok\"}");
    http_reply(x, 200, "application/json", &b);
}

static const struct http_route routes[] = {
    {.method = "POST", .path = "/execute", .handle = execute, .body = HTTP_BODY_JSON},
    {.method = "GET", .path = "/", .handle = health},
    {.method = "GET", .path = "/health", .handle = health},
    {0},
};

const struct http_api aiq_api = {
    .name = "aiq",
    .routes = routes,
    .fail = fail,
    .headers = headers,
};
