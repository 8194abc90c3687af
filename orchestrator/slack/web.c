#include "slack/web.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/spool.h"
#include "base/stop.h"
#include "base/str.h"
#include "slack/board.h"

enum {
    CALL_MS = 30000,      /* one try; what slack_sdk waits */
    PATIENCE_MS = 180000, /* all tries of one call */
    UPLOAD_MS = 120000,   /* of a file; and what its size takes at UPLOAD_RATE */
    UPLOAD_RATE = 128,    /* bytes a millisecond */
    TRIES = 5,            /* after failures that are not about rates */
    RATE_TRIES = 20,      /* after those that are */
    TRIES_QUICK = 20,     /* for all the patience: further ones are WAIT_MAX_MS apart */
    WAIT_FIRST_MS = 500,
    WAIT_MAX_MS = 60000,
    REPLY_MAX = 4 * 1024 * 1024,
    BODY_MAX = 1024 * 1024,
    UPLOAD_TRIES = 3,
    ERROR_NAME_MAX = 60,
    HTTP_OK = 200,
    HTTP_TOO_MANY = 429,
    HTTP_SERVER = 500,
};

/* What Slack's words mean to us, and what to do about them. https://api.slack.com/methods */
static const struct {
    const char *name;
    enum err_kind kind;
    const char *hint;
} errors[] = {
    {"invalid_auth",            ERR_DENIED,   "check SLACK_BOT_TOKEN and SLACK_APP_TOKEN"      },
    {"not_authed",              ERR_DENIED,   "set SLACK_BOT_TOKEN"                            },
    {"account_inactive",        ERR_DENIED,   "the app was removed; install it again"          },
    {"token_revoked",           ERR_DENIED,   "install the app again and set its new token"    },
    {"token_expired",           ERR_DENIED,   "set a new token"                                },
    {"not_allowed_token_type",  ERR_DENIED,   "SLACK_BOT_TOKEN is xoxb-, SLACK_APP_TOKEN xapp-"},
    {"missing_scope",           ERR_DENIED,   "give the app the scopes of its manifest"        },
    {"not_in_channel",          ERR_NOTFOUND, "invite the bot to the channel"                  },
    {"channel_not_found",       ERR_NOTFOUND, "SLACK_DEFAULT_CHANNEL must be a channel's id"   },
    {"is_archived",             ERR_NOTFOUND, "the channel is archived"                        },
    {"thread_not_found",        ERR_NOTFOUND, "the message was deleted"                        },
    {"cannot_reply_to_message", ERR_NOTFOUND, "the message was deleted"                        },
    {"message_not_found",       ERR_NOTFOUND, "the message was deleted"                        },
    {"msg_too_long",            ERR_INVALID,  NULL                                             },
    {"no_text",                 ERR_INVALID,  NULL                                             },
    {"ratelimited",             ERR_LIMIT,    NULL                                             },
    {"rate_limited",            ERR_LIMIT,    NULL                                             },
    {"internal_error",          ERR_BUSY,     NULL                                             },
    {"fatal_error",             ERR_BUSY,     NULL                                             },
    {"service_unavailable",     ERR_BUSY,     NULL                                             },
    {"request_timeout",         ERR_BUSY,     NULL                                             },
};

/* A name of Slack's is a word; whatever else stands there is not told further. */
static int refusal(const char *method, const char *name, struct err *err)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789_.";

    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        if (strcmp(errors[i].name, name) == 0)
            return err_set(err, errors[i].kind, "%s: %s%s%s", method, name,
                           errors[i].hint ? ": " : "", errors[i].hint ? errors[i].hint : "");
    }
    if (!*name || strlen(name) > ERROR_NAME_MAX || strspn(name, word) != strlen(name))
        name = "an error without a name";
    return err_set(err, ERR_INVALID, "%s: %s", method, name);
}

/* ---- one try ---- */

static int read_reply(const char *method, const struct fetch_reply *r, cJSON **ret, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *body = NULL;
    const char *name;

    if (json_scan_text(buf_get(&r->body), r->body.len, JSON_SCAN_TOKENS, NULL) == 0)
        body = cJSON_ParseWithLength(buf_get(&r->body), r->body.len);
    if (r->status == HTTP_TOO_MANY)
        return err_set(err, ERR_LIMIT, "%s: ratelimited", method);
    if (r->status != HTTP_OK)
        return err_set(err, r->status >= HTTP_SERVER ? ERR_BUSY : ERR_PEER, "%s: status %d", method,
                       r->status);
    if (!cJSON_IsObject(body))
        return err_set(err, ERR_PEER, "%s: the reply is no JSON object", method);
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "ok"))) {
        name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "error"));
        return refusal(method, name ? name : "", err);
    }
    *ret = TAKE(body);
    return 0;
}

static int try_call(const struct slack_web *w, const struct slack_call *c, int64_t *ret_wait_ms,
                    cJSON **ret, struct err *err)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    CLEANUP(buf_done) struct buf body = {0};
    auto_free char *url = xasprintf("%s%s", w->url, c->method);
    const struct fetch_request q = {
        .url = url,
        .accept = "application/json",
        .type = c->form ? "application/x-www-form-urlencoded" : "application/json; charset=utf-8",
        .bearer = c->by_app ? w->app_token : w->bot_token,
        .ca_pem = w->ca_pem,
        .body = &body,
        .deadline_ms = clock_ms() + CALL_MS,
        .reply_max = REPLY_MAX,
        .stop = w->stop,
    };
    int rc;

    buf_init(&body, BODY_MAX);
    if (buf_str(&body, c->form ? c->form : c->json) < 0)
        return err_set(err, ERR_INVALID, "%s: the arguments are too long", c->method);
    fetch_reply_init(&reply, REPLY_MAX);
    rc = fetch(&q, &reply, err);
    *ret_wait_ms = reply.retry_after_ms;
    if (rc < 0)
        return err_wrap(err, "%s", c->method);
    return read_reply(c->method, &reply, ret, err);
}

static int call_once(const struct slack_web *w, const struct slack_call *c, int64_t *ret_wait_ms,
                     cJSON **ret, struct err *err)
{
    int rc = try_call(w, c, ret_wait_ms, ret, err);

    BOARD_COUNT(w->board, calls);
    if (rc < 0)
        board_count_fault(w->board, err->kind);
    return rc;
}

/* ---- trying again ---- */

struct patience {
    int64_t until_ms, wait_ms;
    int tries, rate_tries;
    bool is_long;
};

static bool is_worth_another(const struct err *err, struct patience *p)
{
    switch (err->kind) {
    case ERR_LIMIT:
        return ++p->rate_tries < RATE_TRIES || p->is_long;
    case ERR_BUSY:
    case ERR_TIMEOUT:
        return ++p->tries < TRIES || p->is_long;
    case ERR_PEER:
        return ++p->tries < TRIES;
    case ERR_NONE:
    case ERR_INVALID:
    case ERR_NOTFOUND:
    case ERR_DENIED:
    case ERR_CANCELLED:
    case ERR_INTERNAL:
        break;
    }
    return false;
}

/* What Slack asks for, else twice as long each time; a little more, so that not all come at once. */
static bool wait_more(const struct slack_web *w, struct patience *p, int64_t asked_ms)
{
    int64_t wait = asked_ms >= 0 ? asked_ms : p->wait_ms;

    if (asked_ms < 0)
        p->wait_ms = 2 * p->wait_ms < WAIT_MAX_MS ? 2 * p->wait_ms : WAIT_MAX_MS;
    if (p->tries + p->rate_tries > TRIES_QUICK && wait < WAIT_MAX_MS)
        wait = WAIT_MAX_MS;
    wait += (int64_t)(random_u64() % 100);
    if (clock_ms() + wait <= p->until_ms)
        return stop_sleep(w->stop, clock_ms() + wait);
    if (w->rest_until_ms && asked_ms >= 0)
        atomic_store(w->rest_until_ms, clock_ms() + wait);
    return false;
}

static struct patience patience_new(const struct slack_web *w)
{
    return (struct patience){
        .until_ms = clock_ms() + (w->patience_ms ? w->patience_ms : PATIENCE_MS),
        .wait_ms = WAIT_FIRST_MS,
        .is_long = w->patience_ms > 0,
    };
}

/* What the caller is told at the end: that somebody asked to end it goes before all else. */
static int give_up(const struct slack_web *w, const struct err *why, struct err *err)
{
    if (stop_is_asked(w->stop))
        return err_set(err, ERR_CANCELLED, "cancelled");
    if (err)
        *err = *why;
    if (err && (why->kind == ERR_LIMIT || why->kind == ERR_PEER || why->kind == ERR_TIMEOUT))
        err->kind = ERR_BUSY;
    return -1;
}

int slack_call(const struct slack_web *w, const struct slack_call *c, cJSON **ret, struct err *err)
{
    struct patience p = patience_new(w);
    struct err why = {0};
    int64_t wait_ms = -1;

    while (call_once(w, c, &wait_ms, ret, &why) < 0) {
        if (!is_worth_another(&why, &p) || !wait_more(w, &p, wait_ms))
            return give_up(w, &why, err);
        log_debug("slack: %s; once more", why.msg);
    }
    return 0;
}

/* ---- arguments ---- */

static void put_json_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "%s\"%s\":", b->len ? "," : "{", key);
    json_put_str(b, value, strlen(value));
}

static void put_form(struct buf *b, const char *key, const char *value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    (void)buf_fmt(b, "%s%s=", b->len ? "&" : "", key);
    for (; *value; value++) {
        if (strchr(plain, *value))
            (void)buf_char(b, *value);
        else
            (void)buf_fmt(b, "%%%02X", (unsigned)(unsigned char)*value);
    }
}

/* ---- the methods ---- */

int slack_post(const struct slack_web *w, const struct slack_place *at, const char *text,
               struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, BODY_MAX);
    put_json_text(&b, "channel", at->channel);
    put_json_text(&b, "thread_ts", at->thread_ts);
    put_json_text(&b, "text", text);
    (void)buf_str(&b, ",\"unfurl_links\":false,\"unfurl_media\":false}");
    return slack_call(w, &(struct slack_call){.method = "chat.postMessage", .json = buf_get(&b)},
                      &reply, err);
}

int slack_open_socket(const struct slack_web *w, char **ret_url, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    const struct slack_call c = {.method = "apps.connections.open", .form = "", .by_app = true};
    const char *url;

    if (slack_call(w, &c, &reply, err) < 0)
        return -1;
    url = json_get_text(reply, "url");
    /* Where the Web API is protected, what comes over the socket is too. */
    if (!url[0] || (str_starts(w->url, "https://") && !str_starts(url, "wss://")))
        return err_set(err, ERR_PEER, "apps.connections.open: the reply has no good url");
    *ret_url = xstrdup(url);
    return 0;
}

int slack_introduce(const struct slack_web *w, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    const struct slack_call c = {.method = "auth.test", .form = ""};

    if (slack_call(w, &c, &reply, err) < 0)
        return -1;
    log_info("slack: signed in as '%s' (%s) in '%s'", json_get_text(reply, "user"),
             json_get_text(reply, "user_id"), json_get_text(reply, "team"));
    return 0;
}

/* ---- uploads ---- */

static int get_address(const struct slack_web *w, const struct slack_file *f, cJSON **ret,
                       struct err *err)
{
    CLEANUP(buf_done) struct buf form = {0};
    char length[24];
    const char *url;

    (void)snprintf(length, sizeof(length), "%llu", (unsigned long long)f->data->size);
    buf_init(&form, BODY_MAX);
    put_form(&form, "filename", f->name);
    put_form(&form, "length", length);
    if (slack_call(
            w, &(struct slack_call){.method = "files.getUploadURLExternal", .form = buf_get(&form)},
            ret, err) < 0)
        return -1;
    url = json_get_text(*ret, "upload_url");
    /* Where the Web API is protected, what is sent to where it points is too. */
    if (!json_get_text(*ret, "file_id")[0] || !fetch_is_url(url) ||
        (str_starts(w->url, "https://") && !str_starts(url, "https://")))
        return err_set(err, ERR_PEER, "files.getUploadURLExternal: the reply lacks a good address");
    return 0;
}

static int try_bytes(const struct slack_web *w, const struct slack_file *f, const char *url,
                     int64_t *ret_wait_ms, struct err *err)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    const struct fetch_request q = {
        .url = url,
        .accept = "*/*",
        .type = "application/octet-stream",
        .ca_pem = w->ca_pem,
        .file = f->data,
        .deadline_ms = clock_ms() + UPLOAD_MS + (int64_t)(f->data->size / UPLOAD_RATE),
        .reply_max = REPLY_MAX,
        .stop = w->stop,
    };
    int rc;

    fetch_reply_init(&reply, REPLY_MAX);
    rc = fetch(&q, &reply, err);
    *ret_wait_ms = reply.retry_after_ms;
    if (rc < 0)
        return err_wrap(err, "upload");
    if (reply.status == HTTP_OK)
        return 0;
    return err_set(err,
                   reply.status == HTTP_TOO_MANY ? ERR_LIMIT
                   : reply.status >= HTTP_SERVER ? ERR_BUSY
                                                 : ERR_INVALID,
                   "upload: status %d", reply.status);
}

static int send_bytes(const struct slack_web *w, const struct slack_file *f, const char *url,
                      int64_t *ret_wait_ms, struct err *err)
{
    int rc = try_bytes(w, f, url, ret_wait_ms, err);

    BOARD_COUNT(w->board, calls);
    if (rc < 0)
        board_count_fault(w->board, err->kind);
    return rc;
}

static int complete(const struct slack_web *w, const struct slack_place *at,
                    const struct slack_file *f, const char *id, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    CLEANUP(buf_done) struct buf form = {0}, list = {0};

    buf_init(&list, BODY_MAX);
    buf_init(&form, BODY_MAX);
    (void)buf_str(&list, "[{\"id\":");
    json_put_str(&list, id, strlen(id));
    (void)buf_str(&list, ",\"title\":");
    json_put_str(&list, f->name, strlen(f->name));
    (void)buf_str(&list, "}]");
    put_form(&form, "files", buf_get(&list));
    put_form(&form, "channel_id", at->channel);
    put_form(&form, "thread_ts", at->thread_ts);
    put_form(&form, "initial_comment", f->comment);
    return slack_call(
        w, &(struct slack_call){.method = "files.completeUploadExternal", .form = buf_get(&form)},
        &reply, err);
}

static int upload_once(const struct slack_web *w, const struct slack_file *f, char **ret_id,
                       int64_t *ret_wait_ms, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *address = NULL;

    *ret_wait_ms = -1;
    if (get_address(w, f, &address, err) < 0)
        return -1;
    if (send_bytes(w, f, json_get_text(address, "upload_url"), ret_wait_ms, err) < 0)
        return -1;
    *ret_id = xstrdup(json_get_text(address, "file_id"));
    return 0;
}

int slack_upload(const struct slack_web *w, const struct slack_place *at,
                 const struct slack_file *f, struct err *err)
{
    struct patience p = patience_new(w);
    auto_free char *id = NULL;
    struct err why = {0};
    int64_t wait_ms = -1;

    for (int i = 1; upload_once(w, f, &id, &wait_ms, &why) < 0; i++) {
        if ((i >= UPLOAD_TRIES && !p.is_long) || !is_worth_another(&why, &p) ||
            !wait_more(w, &p, wait_ms))
            return give_up(w, &why, err);
    }
    return complete(w, at, f, id, err);
}
