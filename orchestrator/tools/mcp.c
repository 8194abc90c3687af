#include "tools/mcp.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "tools/config.h"
#include "tools/found.h"
#include "tools/mcp_wire.h"
#include "tools/members.h"
#include "tools/urls.h"

enum {
    SESSION_MAX = 256,
    VERSION_MAX = 24,
    PAGES_MAX = 100,
    HEADERS_MAX = TOOL_PARAMS_MAX + 48,
    LINGER_MS = 50, /* for the end of a stream whose reply has come: its connection can be kept */
    STATUS_LOST = 404,
    STATUS_BAD = 400,
    CODE_SERVER = -32000, /* an error of the server's own */
};

static const char modern[] = "2026-07-28";

/* Of the era that begins with `initialize`, the newest first; ends with NULL. */
static const char *const legacy[] = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", NULL};

/* How the server wants to be spoken to; a value, so that a call is not held up by another's. */
struct talk {
    bool is_open, is_modern;
    char version[VERSION_MAX], session[SESSION_MAX];
    unsigned turn; /* which one it is: two calls that lose the same begin one new one */
};

struct mcp {
    char *url;
    char **headers;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t opened;
    bool is_opening; /* one is begun now, by one thread */
    struct talk talk;
    long long last_id;
};

struct mcp *mcp_new(const char *url, char **headers)
{
    struct mcp *m = xcalloc(1, sizeof(*m));
    pthread_condattr_t attr;

    m->url = xstrdup(url);
    m->headers = headers;
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->opened, &attr);
    (void)pthread_condattr_destroy(&attr);
    return m;
}

void mcp_free(struct mcp *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->headers && m->headers[i]; i++)
        free(m->headers[i]);
    free(m->headers);
    free(m->url);
    (void)pthread_mutex_destroy(&m->lock);
    (void)pthread_cond_destroy(&m->opened);
    free(m);
}

static struct talk current(struct mcp *m)
{
    struct talk t;

    (void)pthread_mutex_lock(&m->lock);
    t = m->talk;
    (void)pthread_mutex_unlock(&m->lock);
    return t;
}

static long long next_id(struct mcp *m)
{
    long long id;

    (void)pthread_mutex_lock(&m->lock);
    id = ++m->last_id;
    (void)pthread_mutex_unlock(&m->lock);
    return id;
}

/* ---- one exchange ---- */

struct ask {
    const char *method;
    const char *name;             /* of the tool; NULL: none */
    const char *params;           /* members of `params`, without braces; "" */
    const struct arguments *args; /* for Mcp-Param-…; NULL: none */
    bool is_notice;
};

struct got {
    int status;
    char session[SESSION_MAX];
    struct mcp_message message;
};

struct exchange {
    struct fetch_request q;
    struct mcp_reader reader;
    const char *lines[HEADERS_MAX];
    char *own[HEADERS_MAX]; /* those of `lines` that are freed */
    size_t n, own_n;
};

static void put_line(struct exchange *x, char *line)
{
    if (x->n + 1 == HEADERS_MAX) {
        free(line);
        return;
    }
    x->own[x->own_n++] = line;
    x->lines[x->n++] = line;
}

static void exchange_done(struct exchange *x)
{
    for (size_t i = 0; i < x->own_n; i++)
        free(x->own[i]);
}

/* As it is where a header may be so, else in base64. */
static char *header_value(const char *text)
{
    size_t n = strlen(text);
    auto_free char *code = NULL;
    bool is_plain = url_is_header_value(text) && !str_starts(text, "=?base64?");

    for (const char *c = text; *c && is_plain; c++)
        is_plain = (unsigned char)*c < 0x80;
    if (is_plain)
        return xstrdup(text);
    code = xmalloc(BASE64_LEN(n) + 1);
    code[base64_encode(code, text, n)] = '\0';
    return xasprintf("=?base64?%s?=", code);
}

static void put_param_headers(struct exchange *x, const struct arguments *args)
{
    for (size_t i = 0; args && i < args->n; i++) {
        const struct argument *a = &args->list[i];
        CLEANUP(cJSON_Delete_p) cJSON *v = NULL;
        auto_free char *text = NULL;
        auto_free char *value = NULL;

        if (!a->param || !a->param->header || strchr("[{n", *a->value))
            continue;
        v = cJSON_ParseWithLength(a->value, a->n);
        text = cJSON_IsString(v) ? xstrdup(v->valuestring) : xstrndup(a->value, a->n);
        value = header_value(text);
        put_line(x, xasprintf("%s: %s", a->param->header, value));
    }
}

static void put_headers(struct exchange *x, const struct mcp *m, const struct talk *t,
                        const struct ask *ask)
{
    for (size_t i = 0; m->headers && m->headers[i] && x->n < HEADERS_MAX / 2; i++)
        x->lines[x->n++] = m->headers[i];
    if (*t->version)
        put_line(x, xasprintf("Mcp-Protocol-Version: %s", t->version));
    if (*t->session)
        put_line(x, xasprintf("Mcp-Session-Id: %s", t->session));
    if (!t->is_modern)
        return;
    put_line(x, xasprintf("Mcp-Method: %s", ask->method));
    if (ask->name) {
        auto_free char *name = header_value(ask->name);

        put_line(x, xasprintf("Mcp-Name: %s", name));
    }
    put_param_headers(x, ask->args);
}

static void put_body(struct buf *b, const struct talk *t, const struct ask *ask, long long id)
{
    (void)buf_str(b, "{\"jsonrpc\":\"2.0\",");
    if (!ask->is_notice)
        (void)buf_fmt(b, "\"id\":%lld,", id);
    (void)buf_fmt(b, "\"method\":\"%s\"", ask->method);
    if (*ask->params || t->is_modern)
        (void)buf_fmt(b, ",\"params\":{%s", ask->params);
    if (t->is_modern)
        (void)buf_fmt(b,
                      "%s\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"%s\","
                      "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"oneshot\",\"version\":"
                      "\"" ONESHOT_VERSION "\"},\"io.modelcontextprotocol/clientCapabilities\":{}}",
                      *ask->params ? "," : "", t->version);
    (void)buf_str(b, *ask->params || t->is_modern ? "}}" : "}");
}

static bool on_data(void *ctx, const char *type, const char *data, size_t n)
{
    struct exchange *x = ctx;
    int64_t linger = clock_ms() + LINGER_MS;

    if (!mcp_reader_feed(&x->reader, type, data, n))
        return false;
    if (x->reader.message->has_come && x->q.deadline_ms > linger)
        x->q.deadline_ms = linger;
    return true;
}

static bool is_session(const char *s)
{
    for (const char *c = s; *c; c++) {
        if (*c < '!' || *c > '~')
            return false;
    }
    return strlen(s) < SESSION_MAX;
}

/* 0: `ret` says what came. The reply that was waited for counts, however the stream went on. */
static int finish(struct exchange *x, struct fetch_reply *r, struct got *ret, struct err *why)
{
    ret->status = r->status;
    if (is_session(r->wanted))
        (void)str_copy(ret->session, r->wanted, sizeof(ret->session));
    if (ret->message.has_come)
        return 0;
    if (x->reader.err.kind != ERR_NONE)
        return err_set(why, ERR_PEER, "%s", x->reader.err.msg);
    if (why->kind != ERR_NONE)
        return -1;
    if (r->status != 200)
        (void)mcp_message_read(&ret->message, x->reader.id, buf_get(&r->body), r->body.len);
    if (r->status == 200)
        return mcp_reader_end(&x->reader, why);
    if (!ret->message.has_come) { /* what it says instead */
        buf_clear(&ret->message.text);
        (void)buf_add(&ret->message.text, buf_get(&r->body), r->body.len);
    }
    return 0;
}

/* `ret` is released with mcp_message_done. */
static int exchange(struct mcp *m, const struct talk *t, const struct ask *ask,
                    const struct tool_way *way, struct got *ret, struct err *err)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    CLEANUP(buf_done) struct buf body = {.max = SIZE_MAX / 2};
    struct exchange x = {0};
    struct err why = {0};
    int rc;

    *ret = (struct got){0};
    mcp_reader_init(&x.reader, next_id(m), way->reply_max, &ret->message);
    put_headers(&x, m, t, ask);
    put_body(&body, t, ask, x.reader.id);
    x.q = (struct fetch_request){
        .url = m->url,
        .accept = "application/json, text/event-stream",
        .headers = x.lines,
        .wants = "mcp-session-id",
        .body = &body,
        .on_data = on_data,
        .ctx = &x,
    };
    tool_way_fill(way, &x.q);
    fetch_reply_init(&reply, way->reply_max);
    (void)!tool_fetch(&x.q, &reply, &why);
    rc = ask->is_notice && why.kind == ERR_NONE ? 0 : finish(&x, &reply, ret, &why);
    ret->status = reply.status;
    /* Before anybody cuts it: half a secret would not be known as one. */
    if (ret->message.error)
        secrets_hide(way->secrets, ret->message.error, strlen(ret->message.error));
    mcp_reader_done(&x.reader);
    exchange_done(&x);
    return rc < 0 ? err_set(err, why.kind, "%s", why.msg) : 0;
}

static bool is_good(const struct got *g)
{
    return g->status == 200 && g->message.has_come && g->message.result;
}

static int refused(const struct got *g, const char *method, struct err *err)
{
    if (g->message.has_come)
        return err_set(err, ERR_PEER, "%s: %lld - %.120s", method, g->message.code,
                       g->message.error);
    return err_set(err, ERR_PEER, "%s: status %d", method, g->status);
}

/* ---- beginning ---- */

/* Whether the text is in the list of versions of a discovery. */
static bool lists_modern(const struct got *g)
{
    CLEANUP(cJSON_Delete_p)
    cJSON *result = found_parse(g->message.result, g->message.result_n, NULL);
    const cJSON *one;

    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(result, "supportedVersions"))
    {
        if (cJSON_IsString(one) && strcmp(one->valuestring, modern) == 0)
            return true;
    }
    return false;
}

/* 1: it is of the newer era, 0: not, -1: it is not there. */
static int try_modern(struct mcp *m, const struct tool_way *way, struct talk *ret, struct err *err)
{
    const struct ask ask = {.method = "server/discover", .params = ""};
    struct talk t = {.is_open = true, .is_modern = true};
    struct got got;
    int rc;

    (void)str_copy(t.version, modern, sizeof(t.version));
    rc = exchange(m, &t, &ask, way, &got, err);
    /* An older server may answer anything at all. */
    if (rc < 0 && err->kind == ERR_PEER)
        rc = 0;
    else if (rc == 0)
        rc = is_good(&got) && lists_modern(&got);
    if (rc == 1)
        *ret = t;
    mcp_message_done(&got.message);
    return rc;
}

static int take_version(const struct got *g, struct talk *t, struct err *err)
{
    CLEANUP(cJSON_Delete_p)
    cJSON *result = found_parse(g->message.result, g->message.result_n, NULL);
    const char *version =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(result, "protocolVersion"));

    for (size_t i = 0; version && legacy[i]; i++) {
        if (strcmp(legacy[i], version) == 0) {
            (void)str_copy(t->version, version, sizeof(t->version));
            return 0;
        }
    }
    return err_set(err, ERR_PEER, "it speaks no version of the protocol that is known here");
}

static int tell_initialized(struct mcp *m, const struct talk *t, const struct tool_way *way,
                            struct err *err)
{
    const struct ask ask = {.method = "notifications/initialized", .params = "", .is_notice = true};
    struct got got;
    int rc = exchange(m, t, &ask, way, &got, err);

    if (rc == 0 && got.status >= 400)
        rc = refused(&got, ask.method, err);
    mcp_message_done(&got.message);
    return rc;
}

static int initialize(struct mcp *m, const struct tool_way *way, struct talk *ret, struct err *err)
{
    auto_free char *params =
        xasprintf("\"protocolVersion\":\"%s\",\"capabilities\":{},\"clientInfo\":{\"name\":"
                  "\"oneshot\",\"version\":\"" ONESHOT_VERSION "\"}",
                  legacy[0]);
    const struct ask ask = {.method = "initialize", .params = params};
    struct talk t = {.is_open = true};
    struct got got;
    int rc = exchange(m, &t, &ask, way, &got, err);

    if (rc == 0 && !is_good(&got))
        rc = refused(&got, ask.method, err);
    if (rc == 0)
        rc = take_version(&got, &t, err);
    (void)str_copy(t.session, got.session, sizeof(t.session));
    mcp_message_done(&got.message);
    if (rc < 0 || tell_initialized(m, &t, way, err) < 0)
        return -1;
    *ret = t;
    return 0;
}

static int begin(struct mcp *m, const struct tool_way *way, struct talk *ret, struct err *err)
{
    int rc = try_modern(m, way, ret, err);

    return rc == 0 ? initialize(m, way, ret, err) : rc < 0 ? -1 : 0;
}

/* Under the lock: until nobody else begins. Nothing can be woken by `stop`, so it is looked at. */
static int wait_for_opening(struct mcp *m, const struct tool_way *way, struct err *err)
{
    while (m->is_opening) {
        int64_t until = clock_ms() + STOP_STEP_MS;
        struct timespec at;

        if (stop_is_asked(way->stop))
            return err_set(err, ERR_CANCELLED, "nobody waits for the reply any more");
        if (clock_ms() >= way->deadline_ms)
            return err_set(err, ERR_TIMEOUT, "no session with the server in time");
        until = until < way->deadline_ms ? until : way->deadline_ms;
        at = (struct timespec){.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
        (void)pthread_cond_timedwait(&m->opened, &m->lock, &at);
    }
    return 0;
}

/* Begins one and makes it the one that is spoken. Called with the lock, given up meanwhile. */
static int begin_now(struct mcp *m, const struct tool_way *way, struct err *err)
{
    struct talk now = {0};
    struct err why = {0};
    int rc;

    m->is_opening = true;
    (void)pthread_mutex_unlock(&m->lock);
    rc = begin(m, way, &now, &why);
    (void)pthread_mutex_lock(&m->lock);
    now.turn = m->talk.turn + 1;
    if (rc == 0)
        m->talk = now;
    else
        m->talk.is_open = false;
    m->is_opening = false;
    (void)pthread_cond_broadcast(&m->opened);
    return rc < 0 ? err_set(err, why.kind, "%s", why.msg) : 0;
}

/* What is spoken now; begun (anew) where the one with that turn is what has been lost. */
static int open_talk(struct mcp *m, unsigned lost, const struct tool_way *way, struct talk *ret,
                     struct err *err)
{
    int rc;

    (void)pthread_mutex_lock(&m->lock);
    rc = wait_for_opening(m, way, err);
    if (rc == 0 && (!m->talk.is_open || m->talk.turn == lost))
        rc = begin_now(m, way, err);
    *ret = m->talk;
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

/* The protocol wants 404. Servers that are made after the SDKs' examples say 400, in two ways. */
static bool has_lost_session(const struct talk *t, const struct got *g)
{
    bool is_bad = g->status == STATUS_BAD &&
                  (!g->message.has_come || (!g->message.result && g->message.code == CODE_SERVER));

    return *t->session && (g->status == STATUS_LOST || is_bad);
}

/* A request within what is spoken; once more when the server has forgotten the session. */
static int ask_server(struct mcp *m, const struct ask *ask, const struct tool_way *way,
                      struct got *ret, struct err *err)
{
    struct talk t = current(m);

    *ret = (struct got){0};
    if (!t.is_open && open_talk(m, t.turn, way, &t, err) < 0)
        return -1;
    if (exchange(m, &t, ask, way, ret, err) < 0)
        return -1;
    if (!has_lost_session(&t, ret))
        return 0;
    mcp_message_done(&ret->message);
    *ret = (struct got){0};
    if (open_talk(m, t.turn, way, &t, err) < 0)
        return -1;
    return exchange(m, &t, ask, way, ret, err);
}

/* ---- discovery ---- */

static int read_page(struct mcp *m, const struct tool_way *way, const char *cursor,
                     struct tool_module *to, char **ret_cursor, struct err *err)
{
    auto_free char *params = cursor ? xasprintf("\"cursor\":%s", cursor) : xstrdup("");
    const struct ask ask = {.method = "tools/list", .params = params};
    struct got got;
    int rc = ask_server(m, &ask, way, &got, err);

    if (rc == 0 && !is_good(&got))
        rc = refused(&got, ask.method, err);
    /* What is found is shown to programs: nothing that was sent comes back in it. */
    if (got.message.text.data)
        secrets_hide(way->secrets, got.message.text.data, got.message.text.len);
    if (rc == 0)
        rc = mcp_read_tools(to, got.message.result, got.message.result_n, ret_cursor, err);
    mcp_message_done(&got.message);
    return rc;
}

int mcp_discover(struct mcp *m, const struct tool_way *way, struct tool_module *to, struct err *err)
{
    auto_free char *cursor = NULL;

    for (int i = 0; i < PAGES_MAX; i++) {
        auto_free char *last = TAKE(cursor);

        if (read_page(m, way, last, to, &cursor, err) < 0)
            return -1;
        if (!cursor)
            return tool_module_seal(to, err) ? 0 : -1;
    }
    return err_set(err, ERR_LIMIT, "its list of tools has over %d pages", PAGES_MAX);
}

/* ---- calls ---- */

static void read_answer(const struct tool_function *f, const struct tool_way *way, struct got *got,
                        struct host_answer *ret)
{
    CLEANUP(buf_done) struct buf text = {.max = way->reply_max};
    bool has_failed = false;
    struct err err = {0};

    if (!is_good(got)) {
        if (!got->message.has_come) {
            tool_failed(ret, f, way, got->status, &got->message.text);
            return;
        }
        (void)buf_str(&text, got->message.error);
        tool_failed(ret, f, way, (int)got->message.code, &text);
        return;
    }
    if (mcp_read_result(got->message.result, got->message.result_n, &text, &has_failed, &err) < 0) {
        tool_lost(ret, f, way, &err);
        return;
    }
    if (text.data)
        secrets_hide(way->secrets, text.data, text.len);
    if (has_failed)
        tool_failed(ret, f, way, got->status, &text);
    else if (buf_add(&ret->result, buf_get(&text), text.len) < 0)
        tool_refuse(ret, f, "the reply is over what the policy lets through");
}

void mcp_call(struct mcp *m, const struct tool_function *f, const struct arguments *args,
              const struct tool_way *way, struct host_answer *ret)
{
    CLEANUP(buf_done) struct buf params = {.max = SIZE_MAX / 2};
    struct ask ask = {.method = "tools/call", .name = f->wire, .args = args};
    struct err err = {0};
    struct got got;

    (void)buf_str(&params, "\"name\":");
    json_put_str(&params, f->wire, strlen(f->wire));
    (void)buf_str(&params, ",\"arguments\":");
    arguments_put_object(args, true, &params);
    ask.params = buf_get(&params);
    if (ask_server(m, &ask, way, &got, &err) < 0)
        tool_lost(ret, f, way, &err);
    else
        read_answer(f, way, &got, ret);
    mcp_message_done(&got.message);
}

/* ---- the end ---- */

void mcp_end(struct mcp *m, const struct tool_way *way)
{
    const struct ask nothing = {.method = ""};
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    struct exchange x = {0};
    struct talk t = current(m);

    if (!t.is_open || !*t.session)
        return;
    put_headers(&x, m, &t, &nothing);
    x.q = (struct fetch_request){
        .url = m->url, .method = "DELETE", .accept = "*/*", .headers = x.lines};
    tool_way_fill(way, &x.q);
    fetch_reply_init(&reply, way->reply_max);
    (void)!tool_fetch(&x.q, &reply, NULL); /* it may have no such thing */
    exchange_done(&x);
}
