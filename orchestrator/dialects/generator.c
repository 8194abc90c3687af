/*
 * generator, port 3030: the code generator of Western Formula Racing ({prompt} in; code, result and
 * retries out).
 */
#include "dialects/generator.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "dialects/app.h"
#include "dialects/generator_reply.h"

enum { ERROR_BYTES = 64 * 1024 };

static void answer_error(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, ERROR_BYTES);
    generator_put_error(&b, text);
    http_reply(x, status, "application/json", &b);
}

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    answer_error(x, status, fault == HTTP_NOT_FOUND ? "Unknown endpoint" : text);
}

/* As the original, but for pages: those that are listed are named, the others are turned away. */
static void headers(struct http_exchange *x)
{
    if (!http_header(x, "Origin"))
        http_set_header(x, "Access-Control-Allow-Origin", "*");
}

/* ---- the request ---- */

/* NULL when it was answered. */
static const char *read_prompt(struct http_exchange *x)
{
    const cJSON *body = http_json(x);
    const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(body, "prompt");
    const char *text = cJSON_GetStringValue(prompt);
    struct buf b;

    if (!cJSON_IsObject(body)) {
        answer_error(x, 400, "The request must be a JSON object");
        return NULL;
    }
    if (prompt && !cJSON_IsNull(prompt) && !text) {
        answer_error(x, 400, "'prompt' must be a string");
        return NULL;
    }
    if (text && !str_is_blank(text, strlen(text)))
        return text;
    buf_init(&b, 64);
    (void)buf_str(&b, "{\"error\":\"Prompt is required\"}");
    http_reply(x, 400, "application/json", &b);
    return NULL;
}

static bool wants_stream(const struct http_exchange *x)
{
    const char *accept = http_header(x, "Accept");

    return accept && strstr(accept, "text/event-stream");
}

/* ---- a reply as a whole ---- */

struct job {
    struct stop stop;
    struct generation generation;
};

static void forget(void *ctx)
{
    struct job *j = ctx;

    generation_done(&j->generation);
    stop_done(&j->stop);
    free(j);
}

static void answer_whole(struct http_exchange *x, struct generator *g, const char *prompt)
{
    struct job *j = xcalloc(1, sizeof(*j));
    const struct generate_request q = {
        .prompt = prompt,
        .dialect = generator_api.name,
        .client = http_client(x),
        .traceparent = http_header(x, "traceparent"),
        .stop = &j->stop,
    };

    stop_init(&j->stop, http_client_fd(x));
    generate(g, &q, &j->generation);
    http_on_complete(x, forget, j);
    generator_answer(x, &j->generation);
}

static void generate_code(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    const char *prompt = read_prompt(x);

    if (!prompt)
        return;
    /* Without a key even a stream is answered with a status that says so. */
    if (wants_stream(x) && generator_has_key(app->generator))
        generator_stream(x, app->generator, prompt);
    else
        answer_whole(x, app->generator, prompt);
}

static void health(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, 64);
    (void)buf_str(&b, "{\"service\":\"code-generator\",\"status\":\"ok\"}");
    http_reply(x, 200, "application/json", &b);
}

static const struct http_route routes[] = {
    {.method = "POST",
     .path = "/api/generate-code",
     .handle = generate_code,
     .body = HTTP_BODY_JSON},
    {.method = "GET", .path = "/api/health", .handle = health},
    {.method = "GET", .path = "/health", .handle = health},
    {0},
};

const struct http_api generator_api = {
    .name = "generator",
    .routes = routes,
    .fail = fail,
    .headers = headers,
};
