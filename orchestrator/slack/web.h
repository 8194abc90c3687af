#ifndef SLACK_WEB_H
#define SLACK_WEB_H

#include <cjson/cJSON.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct board;
struct spool;
struct stop;

/* Slack's Web API. Tokens are only ever in the head of a request. Any number of threads. */
struct slack_web {
    const char *url;       /* ends with "/api/" */
    const char *bot_token; /* xoxb-…, for everything but the next */
    const char *app_token; /* xapp-…, for apps.connections.open; "": none */
    const char *ca_pem;    /* certificates to trust instead of the system's; NULL: those */
    struct stop *stop;     /* ends every call; may be NULL */
    int64_t patience_ms;   /* so long a call is tried while Slack cannot be reached or has had too
                              much; 0: a few times, three minutes at most */
    struct board *board;   /* counts; may be NULL */
    /* Of clock_ms: until when Slack wants no call, where a call did not wait so long; may be NULL. */
    _Atomic int64_t *rest_until_ms;
};

/*
 * One call, tried again while Slack says that it is too much (HTTP 429, or `ok: false` with
 * "ratelimited") and after 5xx and lost connections, for a bounded time; a call whose reply got lost
 * may therefore be carried out twice. `form` or `json` is its arguments, the other NULL. `*ret` is
 * the reply, `ok: true`; free it with cJSON_Delete. ERR_DENIED: the token will not do; ERR_NOTFOUND:
 * no such place, or none for us; ERR_BUSY: Slack cannot be reached, or has had too much for too long;
 * ERR_INVALID: other refusals; ERR_CANCELLED.
 */
struct slack_call {
    const char *method;
    const char *form, *json;
    bool by_app; /* with the app's token */
};

int slack_call(const struct slack_web *w, const struct slack_call *c, cJSON **ret,
               struct err *err) MUST_CHECK;

/* Where messages go. */
struct slack_place {
    const char *channel, *thread_ts;
};

/* chat.postMessage; `text` as Slack's markup. */
int slack_post(const struct slack_web *w, const struct slack_place *at, const char *text,
               struct err *err) MUST_CHECK;

struct slack_file {
    const char *name, *comment; /* comment as Slack's markup */
    const struct spool *data;   /* not empty: Slack takes no empty files */
};

/* The three steps of an upload. Step two is tried again from step one: its address is good once. */
int slack_upload(const struct slack_web *w, const struct slack_place *at,
                 const struct slack_file *f, struct err *err) MUST_CHECK;

/* apps.connections.open: where the WebSocket is. The URL is a secret. Caller frees. */
int slack_open_socket(const struct slack_web *w, char **ret_url, struct err *err) MUST_CHECK;

/* auth.test: tells in the log who we are. */
int slack_introduce(const struct slack_web *w, struct err *err) MUST_CHECK;

#endif
