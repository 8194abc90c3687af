/*
 * slack, port 3030: Slack's Events API. A request is checked, written into the ledger and
 * acknowledged; the bot, a process of its own with the tokens, does the rest (slack/bot.c).
 */
#include "dialects/slack.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "dialects/app.h"
#include "slack/board.h"
#include "slack/event.h"
#include "slack/signature.h"

enum { REPLY_MAX = 8 * 1024 };

static void answer_error(struct http_exchange *x, int status, const char *text)
{
    struct buf b;

    buf_init(&b, REPLY_MAX);
    (void)buf_str(&b, "{\"error\":");
    json_put_str(&b, text, strlen(text));
    (void)buf_char(&b, '}');
    /* Slack need not send again what will be refused again. */
    if (status < 500)
        http_set_header(x, "X-Slack-No-Retry", "1");
    http_reply(x, status, "application/json", &b);
}

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    answer_error(x, status, fault == HTTP_NOT_FOUND ? "Unknown endpoint" : text);
}

static void count(const struct app *app, enum board_event e)
{
    BOARD_COUNT(app->slack_board, events[BOARD_HTTP][e]);
}

static void acknowledge(struct http_exchange *x)
{
    struct buf b = {0};

    http_reply(x, 200, NULL, &b);
}

static void answer_challenge(struct http_exchange *x, const char *challenge)
{
    struct buf b;

    buf_init(&b, REPLY_MAX);
    (void)buf_str(&b, "{\"challenge\":");
    json_put_str(&b, challenge, strlen(challenge));
    (void)buf_char(&b, '}');
    if (b.is_full) {
        buf_done(&b);
        answer_error(x, 400, "the challenge is too long");
        return;
    }
    http_reply(x, 200, "application/json", &b);
}

/* 503: Slack will send it again, in a minute and in five. */
static void take_request(struct http_exchange *x, const struct app *app,
                         const struct ledger_request *r)
{
    struct err err = {0};
    bool is_new;

    if (!app->ledger || ledger_add(app->ledger, r, app->settings->slack_queue, &is_new, &err) < 0) {
        log_error("slack: a request is not taken: %s", app->ledger ? err.msg : "no ledger");
        count(app, BOARD_UNKEPT);
        answer_error(x, 503, "the request cannot be kept now");
        return;
    }
    count(app, is_new ? BOARD_TAKEN : BOARD_DUPLICATE);
    acknowledge(x);
}

static void take_event(struct http_exchange *x, const struct app *app, const char *body, size_t n)
{
    const struct event_place at = {.channel = app->settings->slack_channel,
                                   .users = (const char *const *)app->settings->slack_users};
    CLEANUP(event_done) struct event e = {0};
    struct err err = {0};

    if (event_read(body, n, &at, &e, &err) < 0) {
        count(app, BOARD_UNREADABLE);
        answer_error(x, 400, err.msg);
    } else if (e.kind == EVENT_REQUEST) {
        take_request(x, app, &e.request);
    } else {
        count(app, BOARD_IGNORED);
        if (e.kind == EVENT_CHALLENGE)
            answer_challenge(x, e.challenge);
        else
            acknowledge(x);
    }
}

/* "ssl_check=1&token=…": Slack looks whether the certificate is good; it signs nothing then. */
static bool is_ssl_check(const struct http_exchange *x, const char *body, size_t n)
{
    static const char field[] = "ssl_check=1";
    const char *type = http_header(x, "Content-Type");
    const char *at = memmem(body, n, field, sizeof(field) - 1);

    return type && str_starts(type, "application/x-www-form-urlencoded") && at &&
           (at == body || at[-1] == '&');
}

static void refuse(struct http_exchange *x, const struct app *app)
{
    count(app, BOARD_UNSIGNED);
    answer_error(x, 401, "invalid request");
}

static void events(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    const struct settings *s = app->settings;
    struct signed_request r = {
        .stamp = http_header(x, "X-Slack-Request-Timestamp"),
        .signature = http_header(x, "X-Slack-Signature"),
    };

    r.body = http_body(x, &r.n);
    if (!s->slack_enabled || !s->slack_signing_secret[0])
        http_fail(x, HTTP_NOT_FOUND, 404, "Unknown endpoint");
    else if (is_ssl_check(x, r.body, r.n))
        acknowledge(x);
    else if (signature_is_good(&r, s->slack_signing_secret, clock_wall_ms() / 1000))
        take_event(x, app, r.body, r.n);
    else
        refuse(x, app);
}

static const struct http_route routes[] = {
    {.method = "POST", .path = "/slack/events", .handle = events, .body = HTTP_BODY_RAW},
    {0},
};

const struct http_api slack_api = {
    .name = "slack",
    .routes = routes,
    .fail = fail,
};
