/*
 * Programs at another service that speaks the telemetry dialect. What it answers is read as
 * suspiciously as any stranger's words: through the sieve, within bounds.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/json_sieve.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/utf8.h"
#include "model/runner.h"

enum {
    SPARE_MS = 30000, /* beside the program's own time: its wait for a container, its files */
    ASK_MAX = 16 * 1024 * 1024,
    TEXT_MAX = 64 * 1024 * 1024,
    REPLY_MAX = 640 * 1024 * 1024, /* 20 files of 20 MiB as base64, and 64 MiB of text */
    TOKENS_MAX = 10000,
    FILES_MAX = 100,
    FILE_MAX = 256 * 1024 * 1024,
    STATUS_BAD_GATEWAY = 502,
    RETRY_S = 5,
};

static const char late[] = "The time for the whole request was up.";

struct runner_http {
    struct runner base;
    char *url, *ca_pem;
    int64_t timeout_ms;
};

struct reading {
    struct json_sieve *sieve;
    struct err err;
};

/* ---- the reply ---- */

static bool on_data(void *ctx, const char *type, const char *data, size_t n)
{
    struct reading *g = ctx;

    (void)type;
    return json_sieve_feed(g->sieve, data, n, &g->err) == 0;
}

static int add_text(const cJSON *reply, const char *key, struct spool *to, struct err *err)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, key));

    if (!text)
        return err_set(err, ERR_PEER, "it has no text '%s'", key);
    return spool_add(to, text, strlen(text), err);
}

static int add_file(struct json_sieve *sieve, const cJSON *item, struct runner_file *ret,
                    struct err *err)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "filename"));
    const cJSON *at = cJSON_GetObjectItemCaseSensitive(item, "b64_data");
    double index = cJSON_IsNumber(at) ? at->valuedouble : -1;
    struct spool *data = NULL;

    if (index >= 0 && index < FILES_MAX)
        data = json_sieve_blob(sieve, (size_t)index);
    if (!name || !data)
        return err_set(err, ERR_PEER, "an output file lacks filename or b64_data");
    if (path_check(name, strlen(name), err) < 0)
        return err_wrap(err, "an output file");
    ret->name = xstrdup(name);
    spool_move(&ret->data, data);
    return 0;
}

static int add_files(struct json_sieve *sieve, const cJSON *reply, struct runner_result *ret,
                     struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(reply, "output_files"), *item;

    ret->files = xcalloc(FILES_MAX, sizeof(*ret->files));
    cJSON_ArrayForEach(item, list)
    {
        if (ret->files_n == FILES_MAX)
            return err_set(err, ERR_PEER, "it has over %d files", FILES_MAX);
        if (add_file(sieve, item, &ret->files[ret->files_n], err) < 0)
            return -1;
        ret->files_n++;
    }
    return 0;
}

static int read_reply(struct json_sieve *sieve, struct runner_result *ret, struct err *err)
{
    struct buf *text = json_sieve_text(sieve);
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    const cJSON *ok, *code;

    if (json_sieve_end(sieve, err) < 0)
        return -1;
    reply = cJSON_ParseWithLength(buf_get(text), text->len);
    ok = cJSON_GetObjectItemCaseSensitive(reply, "ok");
    code = cJSON_GetObjectItemCaseSensitive(reply, "return_code");
    if (!cJSON_IsBool(ok))
        return err_set(err, ERR_PEER, "it has no 'ok'");
    ret->is_ok = cJSON_IsTrue(ok);
    ret->has_code = cJSON_IsNumber(code) && code->valuedouble > -1e9 && code->valuedouble < 1e9;
    ret->return_code = ret->has_code ? (int)code->valuedouble : 0;
    if (add_text(reply, "std_out", &ret->out, err) < 0 ||
        add_text(reply, "std_err", &ret->err_out, err) < 0)
        return -1;
    return add_files(sieve, reply, ret, err);
}

/* A runner that lost its engine says so at the end of stderr; it is not the program's fault. */
static void look_for_loss(struct runner_result *ret)
{
    static const char words[] = "infrastructure failure, the program may have run";
    char tail[ERR_MSG_MAX] = "";
    uint64_t from = ret->err_out.size < sizeof(tail) ? 0 : ret->err_out.size - sizeof(tail) + 1;
    ssize_t n = spool_read(&ret->err_out, from, tail, sizeof(tail) - 1, NULL);
    const char *line;

    if (ret->is_ok || n <= 0)
        return;
    tail[n] = '\0';
    line = strstr(tail, words);
    if (!line)
        return;
    ret->end = RUNNER_LOST;
    ret->has_code = false;
    (void)str_copy(ret->reason, line, sizeof(ret->reason));
    ret->reason[strcspn(ret->reason, "\n")] = '\0';
    str_one_line(ret->reason);
}

/* ---- failures ---- */

static void refuse(struct runner_result *ret, int status, const char *text)
{
    ret->end = RUNNER_UNAVAILABLE;
    ret->status = status;
    ret->retry_after_s = RETRY_S;
    (void)snprintf(ret->reason, sizeof(ret->reason), "sandbox (SANDBOX_URL): %.200s", text);
    str_one_line(ret->reason);
}

static void read_status(const struct fetch_reply *r, struct runner_result *ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *body = NULL;
    const char *text;
    char line[ERR_MSG_MAX];

    if (json_scan_text(buf_get(&r->body), r->body.len, TOKENS_MAX, NULL) == 0)
        body = cJSON_ParseWithLength(buf_get(&r->body), r->body.len);
    text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "error"));
    (void)snprintf(line, sizeof(line), "status %d%s%.150s", r->status, text ? ": " : "",
                   text ? text : "");
    refuse(ret, r->status == 503 ? 503 : STATUS_BAD_GATEWAY, line);
    if (r->retry_after_ms > 0)
        ret->retry_after_s = (int)((r->retry_after_ms + 999) / 1000);
}

static void failed(const struct err *err, struct runner_result *ret)
{
    if (err->kind == ERR_CANCELLED)
        ret->end = RUNNER_CANCELLED;
    else
        refuse(ret, STATUS_BAD_GATEWAY, err->msg);
}

/* ---- the run ---- */

/* It goes into a header and a directory's name. */
static bool is_id(const char *s)
{
    return strspn(s, "0123456789abcdef") == strlen(s);
}

static void put_ask(struct buf *b, const char *code)
{
    (void)buf_str(b, "{\"code\":");
    json_put_str(b, code, strlen(code));
    (void)buf_char(b, '}');
}

static void exchange(const struct runner_http *r, const struct runner_call *c, struct reading *g,
                     struct runner_result *ret)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    CLEANUP(buf_done) struct buf ask = {0};
    int64_t own = clock_ms() + r->timeout_ms + SPARE_MS;
    struct fetch_request q = {
        .url = r->url,
        .accept = "application/json",
        .ca_pem = r->ca_pem,
        .is_near = true,
        .body = &ask,
        .deadline_ms = own < c->deadline_ms ? own : c->deadline_ms,
        .reply_max = REPLY_MAX,
        .stop = c->stop,
        .on_data = on_data,
        .ctx = g,
    };
    struct err err = {0};
    int rc;

    buf_init(&ask, ASK_MAX);
    put_ask(&ask, c->code);
    fetch_reply_init(&reply, SPOOL_MEMORY);
    rc = fetch(&q, &reply, &err);
    if (is_id(reply.run_id))
        (void)str_copy(ret->id, reply.run_id, sizeof(ret->id));
    ret->is_late = rc < 0 && err.kind == ERR_TIMEOUT && clock_ms() >= c->deadline_ms;
    if (ret->is_late)
        (void)!spool_add(&ret->err_out, late, sizeof(late) - 1, NULL);
    else if (rc == 0 && reply.status != 200)
        read_status(&reply, ret);
    else if (g->err.kind != ERR_NONE)
        failed(&g->err, ret);
    else if (rc < 0 || read_reply(g->sieve, ret, &err) < 0)
        failed(&err, ret);
    else
        look_for_loss(ret);
}

/* All at once: this dialect has no stream. */
static void tell_output(const struct runner_call *c, bool is_stderr, const struct spool *s)
{
    char piece[16384];
    uint64_t at = 0;
    ssize_t n;

    while (c->on_output && (n = spool_read(s, at, piece, sizeof(piece), NULL)) > 0) {
        size_t k = utf8_cut(piece, (size_t)n);

        k = k ? k : (size_t)n;
        c->on_output(c->ctx, is_stderr, piece, k);
        at += k;
    }
}

static void run_there(struct runner *base, const struct runner_call *c, struct runner_result *ret)
{
    static const char *const paths[] = {"output_files[].b64_data", NULL};
    const struct json_sieve_options o = {
        .paths = paths,
        .spool_dir = c->spool_dir,
        .text_max = TEXT_MAX,
        .tokens_max = TOKENS_MAX,
        .blobs_max = FILES_MAX,
        .blob_max = FILE_MAX,
        .total_max = REPLY_MAX,
        .replaces_nul = true,
    };
    CLEANUP(json_sieve_free_p) struct json_sieve *sieve = json_sieve_new(&o);
    struct reading g = {.sieve = sieve};

    exchange((struct runner_http *)base, c, &g, ret);
    tell_output(c, false, &ret->out);
    tell_output(c, true, &ret->err_out);
}

static void free_http(struct runner *base)
{
    struct runner_http *r = (struct runner_http *)base;

    free(r->url);
    free(r->ca_pem);
    free(r);
}

int runner_http_new(const char *url, int64_t timeout_ms, const char *ca_pem, struct runner **ret,
                    struct err *err)
{
    static const struct runner_ops ops = {.run = run_there, .free = free_http};
    struct runner_http *r;

    if (!fetch_is_url(url))
        return err_set(err, ERR_INVALID,
                       "generate.sandbox_url (SANDBOX_URL) must be http:// or https:// and a host");
    r = xcalloc(1, sizeof(*r));
    r->base.ops = &ops;
    r->url = xstrdup(url);
    r->ca_pem = xstrdup(ca_pem);
    r->timeout_ms = timeout_ms;
    *ret = &r->base;
    return 0;
}
