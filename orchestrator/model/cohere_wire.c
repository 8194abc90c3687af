#include "model/cohere_wire.h"

#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/str.h"

enum { TOKENS_MAX = 20000, WHOLE_MAX = 4 * 1024 * 1024 };

#define COUNT_MAX 1e12 /* tokens; what is more was never counted */

/* ---- asking ---- */

static void put_common(struct buf *b, const struct cohere_ask *ask)
{
    (void)buf_str(b, "{\"model\":");
    json_put_str(b, ask->name, strlen(ask->name));
    (void)buf_str(b, ",\"stream\":true,\"temperature\":");
    json_put_real(b, ask->temperature);
    if (ask->max_tokens > 0)
        (void)buf_fmt(b, ",\"max_tokens\":%lld", (long long)ask->max_tokens);
}

static void put_v2(struct buf *b, const struct cohere_ask *ask)
{
    static const char *const roles[] = {"system", "user", "assistant"};

    (void)buf_str(b, ",\"messages\":[");
    for (size_t i = 0; i < ask->n; i++) {
        (void)buf_fmt(b, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
                      roles[ask->messages[i].role]);
        json_put_str(b, ask->messages[i].text, strlen(ask->messages[i].text));
        (void)buf_char(b, '}');
    }
    (void)buf_str(b, "]}");
}

/* The system message goes by a name of its own, and so does the last one. */
static void put_v1(struct buf *b, const struct cohere_ask *ask)
{
    const struct model_message *m = ask->messages;
    size_t first = ask->n && m[0].role == MODEL_SYSTEM, last = ask->n ? ask->n - 1 : 0;

    if (first) {
        (void)buf_str(b, ",\"preamble\":");
        json_put_str(b, m[0].text, strlen(m[0].text));
    }
    (void)buf_str(b, ",\"chat_history\":[");
    for (size_t i = first; i < last; i++) {
        (void)buf_fmt(b, "%s{\"role\":\"%s\",\"message\":", i > first ? "," : "",
                      m[i].role == MODEL_ASSISTANT ? "CHATBOT" : "USER");
        json_put_str(b, m[i].text, strlen(m[i].text));
        (void)buf_char(b, '}');
    }
    (void)buf_str(b, "],\"message\":");
    json_put_str(b, ask->n > first ? m[last].text : "", ask->n > first ? strlen(m[last].text) : 0);
    (void)buf_char(b, '}');
}

void cohere_put_ask(struct buf *b, enum cohere_api api, const struct cohere_ask *ask)
{
    put_common(b, ask);
    if (api == COHERE_V1)
        put_v1(b, ask);
    else
        put_v2(b, ask);
}

/* ---- reading ---- */

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* NULL with `err` filled unless it is an object; release with cJSON_Delete. */
static cJSON *parse(const char *data, size_t n, struct err *err)
{
    cJSON *value;

    if (json_scan_text(data, n, TOKENS_MAX, err) < 0)
        return NULL;
    value = cJSON_ParseWithLength(data, n);
    if (cJSON_IsObject(value))
        return value;
    cJSON_Delete(value);
    (void)err_set(err, ERR_PEER, "not a JSON object");
    return NULL;
}

static int add_text(struct cohere_reader *r, const char *text, struct err *err)
{
    if (buf_str(&r->reply->text, text) < 0)
        return err_set(err, ERR_PEER, "its text is over %zu bytes", r->reply->text.max);
    return 0;
}

static bool is_count(const cJSON *number)
{
    return cJSON_IsNumber(number) && number->valuedouble >= 0 && number->valuedouble <= COUNT_MAX;
}

static void read_tokens(const cJSON *usage, struct model_reply *reply)
{
    const cJSON *tokens = get(usage, "tokens");
    const cJSON *in = get(tokens, "input_tokens"), *out = get(tokens, "output_tokens");

    if (is_count(in))
        reply->tokens_in = in->valuedouble;
    if (is_count(out))
        reply->tokens_out = out->valuedouble;
}

/* Rows end with NULL. What is not there is taken for a good end. */
static const struct {
    const char *name;
    enum model_finish finish;
    enum err_kind failure; /* ERR_NONE: it is none */
} finishes[] = {
    {"COMPLETE",      MODEL_COMPLETE,   ERR_NONE   },
    {"STOP_SEQUENCE", MODEL_STOPPED,    ERR_NONE   },
    {"TOOL_CALL",     MODEL_STOPPED,    ERR_NONE   },
    {"MAX_TOKENS",    MODEL_MAX_TOKENS, ERR_NONE   },
    {"ERROR_LIMIT",   MODEL_MAX_TOKENS, ERR_NONE   },
    {"TIMEOUT",       MODEL_COMPLETE,   ERR_TIMEOUT},
    {"ERROR",         MODEL_COMPLETE,   ERR_PEER   },
    {"ERROR_TOXIC",   MODEL_COMPLETE,   ERR_PEER   },
    {"USER_CANCEL",   MODEL_COMPLETE,   ERR_PEER   },
    {NULL,            MODEL_COMPLETE,   ERR_NONE   },
};

static int read_finish(struct cohere_reader *r, const char *name, const char *why, struct err *err)
{
    size_t i = 0;

    r->is_over = true;
    while (finishes[i].name && strcmp(finishes[i].name, name) != 0)
        i++;
    r->reply->finish = finishes[i].finish;
    if (finishes[i].failure == ERR_NONE && !why[0])
        return 0;
    return err_set(err, finishes[i].failure == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_PEER,
                   "the model ended with %s%s%.120s", finishes[i].name ? name : "an error",
                   why[0] ? ": " : "", why);
}

/* ---- version 2 ---- */

static bool is_thinking(const struct cohere_reader *r, const cJSON *event)
{
    const cJSON *index = get(event, "index");
    double i = cJSON_IsNumber(index) ? index->valuedouble : -1;

    return i >= 0 && i < COHERE_BLOCKS && r->is_thinking[(size_t)i];
}

static int start_block(struct cohere_reader *r, const cJSON *event, const cJSON *content,
                       struct err *err)
{
    const cJSON *index = get(event, "index");
    bool thinks = strcmp(json_get_text(content, "type"), "thinking") == 0;

    if (cJSON_IsNumber(index) && index->valuedouble >= 0 && index->valuedouble < COHERE_BLOCKS)
        r->is_thinking[(size_t)index->valuedouble] = thinks;
    return thinks ? 0 : add_text(r, json_get_text(content, "text"), err);
}

static int add_block(struct cohere_reader *r, const cJSON *event, const cJSON *content,
                     struct err *err)
{
    if (is_thinking(r, event)) {
        r->thinking_bytes += strlen(json_get_text(content, "thinking"));
        return 0;
    }
    return add_text(r, json_get_text(content, "text"), err);
}

static int read_v2_event(struct cohere_reader *r, const cJSON *event, struct err *err)
{
    const char *type = json_get_text(event, "type");
    const cJSON *delta = get(event, "delta");
    const cJSON *content = get(get(delta, "message"), "content");

    if (strcmp(type, "content-start") == 0)
        return start_block(r, event, content, err);
    if (strcmp(type, "content-delta") == 0)
        return add_block(r, event, content, err);
    if (strcmp(type, "message-end") != 0)
        return 0;
    read_tokens(get(delta, "usage"), r->reply);
    return read_finish(r, json_get_text(delta, "finish_reason"), json_get_text(delta, "error"),
                       err);
}

static int read_v2_whole(struct cohere_reader *r, const cJSON *reply, struct err *err)
{
    const cJSON *content = get(get(reply, "message"), "content"), *block;

    if (!cJSON_IsObject(get(reply, "message")))
        return err_set(err, ERR_PEER, "it has no 'message'");
    cJSON_ArrayForEach(block, content)
    {
        const char *type = json_get_text(block, "type");

        if (strcmp(type, "thinking") == 0)
            r->thinking_bytes += strlen(json_get_text(block, "thinking"));
        else if (strcmp(type, "text") == 0 && add_text(r, json_get_text(block, "text"), err) < 0)
            return -1;
    }
    read_tokens(get(reply, "usage"), r->reply);
    return read_finish(r, json_get_text(reply, "finish_reason"), "", err);
}

/* ---- version 1 ---- */

static int read_v1_whole(struct cohere_reader *r, const cJSON *reply, struct err *err)
{
    if (!r->reply->text.len && add_text(r, json_get_text(reply, "text"), err) < 0)
        return -1;
    read_tokens(get(reply, "meta"), r->reply);
    return read_finish(r, json_get_text(reply, "finish_reason"), "", err);
}

static int read_v1_event(struct cohere_reader *r, const cJSON *event, struct err *err)
{
    const char *type = json_get_text(event, "event_type");

    if (strcmp(type, "text-generation") == 0)
        return add_text(r, json_get_text(event, "text"), err);
    if (strcmp(type, "stream-end") != 0)
        return 0;
    if (read_v1_whole(r, get(event, "response"), err) < 0)
        return -1;
    return read_finish(r, json_get_text(event, "finish_reason"), "", err);
}

/* ---- both ---- */

static int on_event(void *ctx, const char *name, const char *data, size_t n, struct err *err)
{
    struct cohere_reader *r = ctx;
    CLEANUP(cJSON_Delete_p) cJSON *event = NULL;

    (void)name; /* the type in the data is what counts */
    if (r->is_over || (n == 6 && memcmp(data, "[DONE]", 6) == 0))
        return 0;
    event = parse(data, n, err);
    if (!event)
        return err_wrap(err, "an event");
    return r->api == COHERE_V1 ? read_v1_event(r, event, err) : read_v2_event(r, event, err);
}

void cohere_reader_init(struct cohere_reader *r, enum cohere_api api, struct model_reply *reply)
{
    *r = (struct cohere_reader){.api = api, .reply = reply};
    buf_init(&r->whole, WHOLE_MAX);
    sse_init(&r->events, api == COHERE_V1 ? SSE_LINES : SSE_EVENTS, on_event, r);
}

void cohere_reader_done(struct cohere_reader *r)
{
    buf_done(&r->whole);
    sse_done(&r->events);
}

/* Version 1 calls its streams application/stream+json; both answer plain objects as JSON. */
static void open_reader(struct cohere_reader *r, const char *type)
{
    r->is_open = true;
    r->is_stream = strncasecmp(type, "application/json", strlen("application/json")) != 0;
}

bool cohere_reader_feed(struct cohere_reader *r, const char *type, const char *data, size_t n)
{
    if (!r->is_open)
        open_reader(r, type);
    if (r->is_stream)
        return sse_feed(&r->events, data, n, &r->err) == 0;
    if (buf_add(&r->whole, data, n) == 0)
        return true;
    (void)err_set(&r->err, ERR_PEER, "it is over %d bytes", WHOLE_MAX);
    return false;
}

static int read_whole(struct cohere_reader *r, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = parse(buf_get(&r->whole), r->whole.len, err);

    if (!reply)
        return -1;
    return r->api == COHERE_V1 ? read_v1_whole(r, reply, err) : read_v2_whole(r, reply, err);
}

int cohere_reader_end(struct cohere_reader *r, struct err *err)
{
    int rc;

    if (r->err.kind == ERR_NONE) {
        rc = r->is_stream ? sse_end(&r->events, &r->err) : read_whole(r, &r->err);
        if (rc == 0 && !r->is_over)
            (void)err_set(&r->err, ERR_PEER, "it ends before its last event");
    }
    if (r->err.kind == ERR_NONE)
        return 0;
    if (r->err.kind != ERR_TIMEOUT)
        r->err.kind = ERR_PEER;
    str_one_line(r->err.msg);
    if (err)
        *err = r->err;
    return -1;
}

void cohere_read_error(const char *body, size_t n, char *out, size_t size)
{
    CLEANUP(cJSON_Delete_p) cJSON *value = parse(body, n, NULL);

    (void)str_copy(out, json_get_text(value, "message"), size);
    str_one_line(out);
}
