#include "slack/event.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "slack/command.h"
#include "slack/markup.h"

enum { ID_MAX = 64, TEXT_MAX = 256 * 1024 };

/* Ids go back to Slack, into messages among other places: nothing but what ids are made of. */
static bool is_id(const char *s)
{
    static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(s);

    return n > 0 && n <= ID_MAX && strspn(s, ok) == n;
}

static bool is_set(const cJSON *event, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(event, key);

    return item && !cJSON_IsNull(item);
}

static bool is_own(const cJSON *payload, const char *user)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(payload, "authorizations"), *one;

    cJSON_ArrayForEach(one, list)
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "is_bot")) &&
            strcmp(json_get_text(one, "user_id"), user) == 0)
            return true;
    }
    return false;
}

bool event_is_allowed(const char *const *users, const char *user)
{
    bool is_open = !users || !users[0];

    for (size_t i = 0; !is_open && users[i]; i++) {
        if (strcmp(users[i], user) == 0)
            return true;
    }
    return is_open;
}

static bool is_here(const cJSON *event, const char *channel)
{
    return strcmp(json_get_text(event, "channel_type"), "im") == 0 ||
           (channel[0] && strcmp(json_get_text(event, "channel"), channel) == 0);
}

/* One post may come as a message and as a mention; the ledger knows it by its place and time. */
static bool is_message(const cJSON *event)
{
    const char *type = json_get_text(event, "type");

    return (strcmp(type, "message") == 0 || strcmp(type, "app_mention") == 0) &&
           !is_set(event, "subtype") && !is_set(event, "bot_id") && !is_set(event, "bot_profile") &&
           is_id(json_get_text(event, "channel")) && is_id(json_get_text(event, "user")) &&
           is_id(json_get_text(event, "ts"));
}

static void read_message(const cJSON *payload, const struct event_place *at, struct event *ret)
{
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(payload, "event");
    const char *thread = json_get_text(event, "thread_ts"), *text = json_get_text(event, "text");
    CLEANUP(buf_done) struct buf plain = {0};
    struct command command;

    if (!is_message(event) || !is_here(event, at->channel) ||
        is_own(payload, json_get_text(event, "user")) ||
        !is_id(json_get_text(payload, "event_id")) || strlen(text) > TEXT_MAX)
        return;
    buf_init(&plain, 2 * strlen(text) + 16);
    markup_read(&plain, text, strlen(text));
    command_read(buf_get(&plain), &command);
    if (command.kind == COMMAND_NONE)
        return;
    ret->kind = EVENT_REQUEST;
    ret->request = (struct ledger_request){
        .event_id = xstrdup(json_get_text(payload, "event_id")),
        .channel = xstrdup(json_get_text(event, "channel")),
        .ts = xstrdup(json_get_text(event, "ts")),
        .thread_ts = xstrdup(is_id(thread) ? thread : json_get_text(event, "ts")),
        .user = xstrdup(json_get_text(event, "user")),
        .text = xstrdup(buf_get(&plain)),
        .is_work =
            command_is_work(&command) && event_is_allowed(at->users, json_get_text(event, "user")),
        .accepted_ms = clock_wall_ms(),
    };
}

int event_read(const char *text, size_t n, const struct event_place *at, struct event *ret,
               struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *payload = NULL;
    const char *type;

    *ret = (struct event){0};
    if (json_scan_text(text, n, JSON_SCAN_TOKENS, err) < 0)
        return -1;
    payload = cJSON_ParseWithLength(text, n);
    if (!cJSON_IsObject(payload))
        return err_set(err, ERR_INVALID, "it is no JSON object");
    type = json_get_text(payload, "type");
    if (strcmp(type, "url_verification") == 0) {
        ret->kind = EVENT_CHALLENGE;
        ret->challenge = xstrdup(json_get_text(payload, "challenge"));
    } else if (strcmp(type, "event_callback") == 0) {
        read_message(payload, at, ret);
    }
    return 0;
}

void event_done(struct event *e)
{
    free(e->challenge);
    ledger_request_done(&e->request);
    *e = (struct event){0};
}
