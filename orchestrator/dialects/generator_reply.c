#include "dialects/generator_reply.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

enum { ERROR_BYTES = 64 * 1024 };

void generator_put_error(struct buf *b, const char *text)
{
    size_t n = strlen(text);

    (void)buf_str(b, "{\"error\":");
    json_put_str(b, text, n);
    (void)buf_str(b, ",\"code\":null,\"result\":{\"status\":\"error\",\"error\":");
    json_put_str(b, text, n);
    (void)buf_str(b, ",\"output\":\"\",\"files\":[]}}");
}

static const char *type_of(const char *name)
{
    static const char *const images[] = {".png", ".jpg", ".jpeg", ".gif", ".svg"};
    size_t n = strlen(name);

    for (size_t i = 0; i < ARRAY_LEN(images); i++) {
        size_t k = strlen(images[i]);

        if (n >= k && str_eq_nocase(name + n - k, images[i]))
            return "image";
    }
    return "file";
}

static void put_files(struct http_parts *parts, const struct runner_result *r)
{
    (void)buf_str(http_parts_text(parts), ",\"files\":[");
    for (size_t i = 0; i < r->files_n; i++) {
        struct buf *text = http_parts_text(parts);

        (void)buf_str(text, i ? ",{\"name\":" : "{\"name\":");
        json_put_str(text, r->files[i].name, strlen(r->files[i].name));
        (void)buf_str(text, ",\"data\":\"");
        http_parts_base64(parts, &r->files[i].data);
        (void)buf_fmt(http_parts_text(parts), "\",\"type\":\"%s\"}", type_of(r->files[i].name));
    }
    (void)buf_str(http_parts_text(parts), "]}");
}

static void put_run(struct http_parts *parts, const struct generation *x)
{
    const struct runner_result *r = &x->result;

    (void)buf_fmt(http_parts_text(parts),
                  "{\"status\":\"%s\",\"output\":", x->end == GENERATE_OK ? "success" : "error");
    http_parts_json_string(parts, &r->out);
    (void)buf_str(http_parts_text(parts), ",\"error\":");
    http_parts_json_string(parts, &r->err_out);
    if (r->has_code)
        (void)buf_fmt(http_parts_text(parts), ",\"return_code\":%d", r->return_code);
    else
        (void)buf_str(http_parts_text(parts), ",\"return_code\":null");
    put_files(parts, r);
}

static void put_retries(struct buf *b, const struct generation *x)
{
    (void)buf_str(b, ",\"retries\":[");
    for (size_t i = 0; i < x->retries_n; i++) {
        const struct generate_retry *r = &x->retries[i];

        (void)buf_fmt(b, "%s{\"attempt\":%d,\"error\":", i ? "," : "", r->attempt);
        json_put_str(b, r->error, strlen(r->error));
        (void)buf_char(b, '}');
    }
    (void)buf_char(b, ']');
}

void generator_put_result(struct http_parts *parts, const struct generation *x)
{
    struct buf *text = http_parts_text(parts);

    (void)buf_str(text, "{\"code\":");
    json_put_str(text, x->code, strlen(x->code));
    (void)buf_str(text, ",\"result\":");
    put_run(parts, x);
    text = http_parts_text(parts);
    put_retries(text, x);
    if (x->end == GENERATE_FAILED && x->is_used_up)
        (void)buf_str(text, ",\"max_retries_reached\":true");
    if (x->stopped_early)
        (void)buf_fmt(text, ",\"stopped_early\":\"%s\"", x->stopped_early);
    if (x->is_late)
        (void)buf_str(text, ",\"timed_out\":true");
    (void)buf_char(text, '}');
}

static void answer_fault(struct http_exchange *x, const struct generation *g)
{
    char seconds[16];
    struct buf b;

    if (g->retry_after_s > 0) {
        (void)snprintf(seconds, sizeof(seconds), "%d", g->retry_after_s);
        http_set_header(x, "Retry-After", seconds);
    }
    buf_init(&b, ERROR_BYTES);
    generator_put_error(&b, g->error);
    http_reply(x, g->status, "application/json", &b);
}

void generator_answer(struct http_exchange *x, const struct generation *g)
{
    struct http_parts *parts;

    http_set_header(x, "X-Generation-Id", g->id);
    if (g->result.id[0])
        http_set_header(x, "X-Run-Id", g->result.id);
    if (g->end == GENERATE_FAULT || g->end == GENERATE_CANCELLED) {
        answer_fault(x, g);
        return;
    }
    parts = http_parts_new();
    generator_put_result(parts, g);
    http_reply_parts(x, 200, "application/json", parts);
}
