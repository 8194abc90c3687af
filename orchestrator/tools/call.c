#include "tools/call.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/json_raw.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "tools/files.h"
#include "tools/urls.h"

enum {
    URL_SIZE = 64 * 1024,
    HEADERS_SIZE = 16 * 1024,
    SHOWN_MAX = 500, /* of what a service says with a failure */
    LOOKED_MAX = 64 * 1024,
    REDIRECTS_MAX = 5,
    TOKENS_MAX = 4000000,
    OK_FROM = 200,
    OK_TO = 299,
};

/* ---- answers ---- */

void tool_refuse(struct host_answer *a, const struct tool_function *f, const char *text)
{
    host_fail(a, HOST_INVALID, "ToolError", "MCP tool '%s': %s", f->name, text);
}

/* Cut, in UTF-8 and without secrets; the caller frees. */
static char *shown(const struct tool_way *way, const char *text, size_t n)
{
    struct utf8_repair repair = {0};
    char out[UTF8_REPAIR_MAX(SHOWN_MAX)];
    auto_free char *copy = NULL;
    size_t k;

    /* Hidden before it is cut: half a secret would not be known as one. */
    n = n > LOOKED_MAX ? LOOKED_MAX : n;
    copy = xmalloc(n + 1);
    memcpy(copy, text, n);
    copy[n] = '\0';
    secrets_hide(way->secrets, copy, n);
    k = utf8_repair_feed(&repair, copy, utf8_cut(copy, n > SHOWN_MAX ? SHOWN_MAX : n), out);
    return xstrndup(out, k);
}

void tool_failed(struct host_answer *a, const struct tool_function *f, const struct tool_way *way,
                 int status, const struct buf *body)
{
    const char *start = buf_get(body);
    size_t n = str_trim(&start, body->len);
    auto_free char *text = shown(way, start, n);

    host_fail(a, HOST_FAILED, "ToolError", "MCP tool '%s' failed: %d - %s", f->name, status, text);
}

static enum host_verdict verdict_of(enum err_kind kind)
{
    if (kind == ERR_TIMEOUT)
        return HOST_TIMEOUT;
    return kind == ERR_CANCELLED ? HOST_CANCELLED : HOST_DOWN;
}

void tool_lost(struct host_answer *a, const struct tool_function *f, const struct tool_way *way,
               const struct err *why)
{
    auto_free char *text = shown(way, why->msg, strlen(why->msg));

    host_fail(a, verdict_of(why->kind), "ToolError", "MCP tool '%s' connection failed: %s", f->name,
              text);
}

int tool_check_json(const char *text, size_t n, struct err *err)
{
    return json_scan_passed_on(text, n, TOKENS_MAX, err);
}

/* ---- exchanges ---- */

void tool_way_fill(const struct tool_way *way, struct fetch_request *q)
{
    q->pool = way->pool;
    q->ca_pem = way->ca_pem;
    q->is_near = !way->uses_proxy;
    q->deadline_ms = way->deadline_ms;
    q->reply_max = way->reply_max;
    q->stop = way->stop;
}

static bool may_follow(const struct fetch_request *q, const struct fetch_reply *r)
{
    bool is_get = q->method && strcmp(q->method, "GET") == 0;
    bool keeps = r->status == 307 || r->status == 308;

    if (!r->redirect || r->status < 300 || r->status > 399 || !(is_get || keeps))
        return false;
    return fetch_is_url(r->redirect) && url_is_same_origin(r->redirect, q->url);
}

int tool_fetch(struct fetch_request *q, struct fetch_reply *ret, struct err *err)
{
    auto_free char *url = NULL;
    const char *first = q->url;
    int rc = fetch(q, ret, err);

    for (int i = 0; i < REDIRECTS_MAX && rc == 0 && may_follow(q, ret); i++) {
        size_t max = ret->body.max;

        free(url);
        url = TAKE(ret->redirect);
        q->url = url;
        fetch_reply_done(ret);
        fetch_reply_init(ret, max);
        rc = fetch(q, ret, err);
    }
    q->url = first;
    return rc;
}

/* ---- requests ---- */

struct request {
    const struct tool_function *f;
    const struct arguments *args;
    struct buf url, body, lines; /* lines: one behind the other, each with a NUL */
    const char **headers;
    bool has_query;
    bool has_item; /* of the list that is being written */
    struct err *err;
};

/* A value as a text: what was in quotes, everything else as it is written. */
static char *plain(const char *value, size_t n)
{
    CLEANUP(cJSON_Delete_p) cJSON *text = *value == '"' ? cJSON_ParseWithLength(value, n) : NULL;
    const char *inside = cJSON_GetStringValue(text);

    return inside ? xstrdup(inside) : xstrndup(value, n);
}

static enum tool_form form_of(const struct argument *a)
{
    return a->param ? a->param->form : TOOL_FORM_PLAIN;
}

/* Calls `put` with each item of a list, or with the one value. */
static int each(struct request *r, const struct argument *a,
                int (*put)(struct request *r, const struct argument *a, const char *text))
{
    bool is_json = form_of(a) == TOOL_FORM_JSON;
    struct json_raw_walk w;
    struct json_raw item;

    r->has_item = false;
    if (is_json || !json_raw_begin_list(&w, a->value, a->n)) {
        auto_free char *text = is_json ? xstrndup(a->value, a->n) : plain(a->value, a->n);

        return put(r, a, text);
    }
    while (json_raw_next_item(&w, &item)) {
        auto_free char *text = plain(item.value, item.n);

        if (put(r, a, text) < 0)
            return -1;
        r->has_item = true;
    }
    return 0;
}

static void put_pair(struct request *r, const char *name, const char *text)
{
    (void)buf_char(&r->url, r->has_query ? '&' : '?');
    r->has_query = true;
    url_put(&r->url, name, strlen(name));
    (void)buf_char(&r->url, '=');
    url_put(&r->url, text, strlen(text));
}

static int put_query(struct request *r, const struct argument *a, const char *text)
{
    static const char *const joints[] = {
        [TOOL_FORM_COMMA] = ",", [TOOL_FORM_SPACE] = "%20", [TOOL_FORM_PIPE] = "%7C"};
    enum tool_form form = form_of(a);
    const char *joint = form < ARRAY_LEN(joints) ? joints[form] : NULL;

    if (joint && r->has_item) {
        (void)buf_str(&r->url, joint);
        url_put(&r->url, text, strlen(text));
    } else {
        put_pair(r, a->wire, text);
    }
    return 0;
}

static int put_members(struct request *r, const struct argument *a)
{
    CLEANUP(members_done) struct members m = {0};

    if (members_read(a->value, a->n, &m, r->err) < 0)
        return -1;
    for (size_t i = 0; i < m.n; i++) {
        auto_free char *text = plain(m.list[i].value, m.list[i].n);
        auto_free char *deep = xasprintf("%s[%s]", a->wire, m.list[i].key);

        put_pair(r, form_of(a) == TOOL_FORM_DEEP ? deep : m.list[i].key, text);
    }
    return 0;
}

static int put_part(struct request *r, const struct argument *a, const char *text)
{
    (void)a;
    if (r->has_item)
        (void)buf_char(&r->url, ',');
    url_put(&r->url, text, strlen(text));
    return 0;
}

static const struct argument *find_path(const struct request *r, const char *wire, size_t n)
{
    for (size_t i = 0; i < r->args->n; i++) {
        const struct argument *a = &r->args->list[i];

        if (a->param && a->param->in == TOOL_IN_PATH && strlen(a->wire) == n &&
            strncmp(a->wire, wire, n) == 0)
            return a;
    }
    return NULL;
}

/* A dot or two alone would be another place, and nothing would be one, too. */
static int put_place(struct request *r, const char *wire, size_t n)
{
    const struct argument *a = find_path(r, wire, n);
    size_t from = r->url.len, k;
    const char *text;

    if (!a)
        return err_set(r->err, ERR_INVALID, "argument '%.*s' is missing", (int)n, wire);
    if (each(r, a, put_part) < 0)
        return -1;
    text = buf_get(&r->url) + from;
    k = r->url.len - from;
    if (!k || (k <= 2 && strspn(text, ".") == k))
        return err_set(r->err, ERR_INVALID, "argument '%s' cannot be a part of a path",
                       a->param->name);
    return 0;
}

static int put_url(struct request *r)
{
    for (const char *s = r->f->url; *s;) {
        size_t n = strcspn(s, "{"), name;

        (void)buf_add(&r->url, s, n);
        s += n;
        if (!*s)
            break;
        name = strcspn(s + 1, "}");
        if (put_place(r, s + 1, name) < 0)
            return -1;
        s += name + 1 + (s[1 + name] == '}');
    }
    r->has_query = strchr(r->f->url, '?');
    if (*r->f->query) {
        (void)buf_fmt(&r->url, "%c%s", r->has_query ? '&' : '?', r->f->query);
        r->has_query = true;
    }
    return 0;
}

static bool is_in_query(const struct request *r, const struct argument *a)
{
    if (a->param)
        return a->param->in == TOOL_IN_QUERY;
    return !r->f->has_body;
}

static int put_queries(struct request *r)
{
    for (size_t i = 0; i < r->args->n; i++) {
        const struct argument *a = &r->args->list[i];
        bool has_members =
            *a->value == '{' && (form_of(a) == TOOL_FORM_EACH || form_of(a) == TOOL_FORM_DEEP);

        if (is_in_query(r, a) && (has_members ? put_members(r, a) : each(r, a, put_query)) < 0)
            return -1;
    }
    return r->url.is_full ? err_set(r->err, ERR_INVALID, "the URL would be over %d bytes", URL_SIZE)
                          : 0;
}

static int put_header(struct request *r, const struct argument *a, const char *text)
{
    if (!url_is_header_value(text))
        return err_set(r->err, ERR_INVALID, "argument '%s' has characters that no header can have",
                       a->param->name);
    (void)buf_fmt(&r->lines, "%s: %s", a->wire, text);
    return buf_char(&r->lines, '\0');
}

static int put_headers(struct request *r)
{
    size_t n = 0, own = 0;

    for (size_t i = 0; i < r->args->n; i++) {
        const struct argument *a = &r->args->list[i];

        if (a->param && a->param->in == TOOL_IN_HEADER && each(r, a, put_header) < 0)
            return -1;
    }
    if (r->lines.is_full)
        return err_set(r->err, ERR_INVALID, "the headers would be over %d bytes", HEADERS_SIZE);
    for (size_t i = 0; i < r->lines.len; i++)
        n += r->lines.data[i] == '\0';
    while (r->f->headers && r->f->headers[own])
        own++;
    r->headers = xcalloc(n + own + 1, sizeof(*r->headers));
    for (size_t i = 0; i < own; i++)
        r->headers[i] = r->f->headers[i];
    for (const char *s = buf_get(&r->lines); n--; s += strlen(s) + 1)
        r->headers[own++] = s;
    return 0;
}

/* A function whose body is one argument sends none where that was not given. */
static bool has_body(const struct request *r)
{
    return r->f->has_body && r->body.len;
}

static bool is_whole_body(const struct tool_function *f)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (f->params[i].in == TOOL_IN_WHOLE_BODY)
            return true;
    }
    return false;
}

static void put_body(struct request *r)
{
    for (size_t i = 0; i < r->args->n; i++) {
        const struct argument *a = &r->args->list[i];

        if (a->param && a->param->in == TOOL_IN_WHOLE_BODY) {
            (void)buf_add(&r->body, a->value, a->n);
            return;
        }
    }
    if (!is_whole_body(r->f))
        arguments_put_object(r->args, false, &r->body);
}

static void request_done(struct request *r)
{
    buf_done(&r->url);
    buf_done(&r->body);
    buf_done(&r->lines);
    free(r->headers);
}

/* ---- replies ---- */

static bool is_json_reply(const struct tool_function *f, const struct fetch_reply *r)
{
    size_t n = strcspn(r->type, "; ");

    if (f->reply != TOOL_REPLY_AUTO)
        return f->reply == TOOL_REPLY_JSON;
    return (n >= 4 && strncasecmp(r->type + n - 4, "json", 4) == 0) || !r->body.len;
}

static int put_result(const struct tool_function *f, struct fetch_reply *r, struct host_answer *ret,
                      struct err *err)
{
    const char *text = buf_get(&r->body);

    if (!is_json_reply(f, r))
        json_put_str(&ret->result, text, r->body.len);
    else if (str_is_blank(text, r->body.len))
        (void)buf_str(&ret->result, "null");
    else if (tool_check_json(text, r->body.len, err) < 0)
        return err_wrap(err, "the reply is not JSON");
    else
        (void)buf_add(&ret->result, text, r->body.len);
    if (ret->result.is_full)
        return err_set(err, ERR_PEER, "the reply is over %zu bytes", ret->result.max);
    return 0;
}

static void read_reply(const struct tool_function *f, const struct tool_way *way,
                       struct fetch_reply *r, struct host_answer *ret)
{
    static const char elsewhere[] = "it redirects to another place, which is not followed";
    CLEANUP(buf_done) struct buf said = {.max = ERR_MSG_MAX};
    struct err err = {0};

    if (r->redirect)
        (void)buf_str(&said, elsewhere);
    if (r->status < OK_FROM || r->status > OK_TO) {
        tool_failed(ret, f, way, r->status, r->redirect ? &said : &r->body);
        return;
    }
    if (r->encoding[0] && !str_eq_nocase(r->encoding, "identity")) {
        (void)err_set(&err, ERR_PEER, "the reply is compressed (%.15s), which nobody asked for",
                      r->encoding);
        tool_lost(ret, f, way, &err);
        return;
    }
    if (r->body.data)
        secrets_hide(way->secrets, r->body.data, r->body.len);
    if (put_result(f, r, ret, &err) < 0) {
        (void)buf_str(&said, err.msg);
        tool_failed(ret, f, way, r->status, &said);
    }
}

static const char *accept_of(const struct tool_function *f)
{
    if (f->reply == TOOL_REPLY_JSON)
        return "application/json";
    return f->reply == TOOL_REPLY_TEXT ? "text/plain, */*;q=0.8" : "application/json, */*;q=0.5";
}

static void exchange(struct request *r, const struct tool_way *way, struct host_answer *ret)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    struct fetch_request q = {
        .url = buf_get(&r->url),
        .method = r->f->method,
        .accept = accept_of(r->f),
        .headers = r->headers,
        .body = has_body(r) ? &r->body : NULL,
    };
    struct err err = {0};
    int rc;

    tool_way_fill(way, &q);
    fetch_reply_init(&reply, way->reply_max);
    rc = tool_fetch(&q, &reply, &err);
    /* Of a long page that says what went wrong the beginning is enough. */
    if (rc < 0 && reply.status >= 400 && err.kind == ERR_PEER)
        rc = 0;
    if (rc < 0)
        tool_lost(ret, r->f, way, &err);
    else
        read_reply(r->f, way, &reply, ret);
}

void tool_call_http(const struct tool_function *f, const struct arguments *args,
                    const struct tool_way *way, struct host_answer *ret)
{
    struct err err = {0};
    CLEANUP(request_done) struct request r = {.f = f, .args = args, .err = &err};

    buf_init(&r.url, URL_SIZE);
    buf_init(&r.body, SIZE_MAX / 2);
    buf_init(&r.lines, HEADERS_SIZE);
    if (put_url(&r) < 0 || put_queries(&r) < 0 || put_headers(&r) < 0) {
        tool_refuse(ret, f, err.msg);
        return;
    }
    put_body(&r);
    exchange(&r, way, ret);
}
