#include "slack/web.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/spool.h"
#include "base/stop.h"
#include "http_script.h"
#include "slack/answer.h"
#include "slack/ask.h"
#include "unit.h"

#define OK        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
#define FINE      OK "{\"ok\":true}"
#define ERROR(e)  OK "{\"ok\":false,\"error\":\"" e "\"}"
#define NOW       "Retry-After: 0\r\n"
#define BUSY      "HTTP/1.1 429 Too Many\r\n" NOW "\r\n{\"ok\":false,\"error\":\"ratelimited\"}"
#define BROKEN    "HTTP/1.1 500 Oops\r\n" NOW "\r\n"
#define BOT_TOKEN "xoxb-0123456789-secret"
#define APP_TOKEN "xapp-0123456789-secret"

/* Slack and the generator are one server: what comes when is part of the test. */
struct rig {
    struct http_script script;
    char url[80];
    struct stop stop;
    struct slack_web web;
    struct ask_options ask;
    struct err err;
};

static void begin(struct rig *g, const char *const *replies)
{
    *g = (struct rig){0};
    http_script_begin(&g->script, replies);
    (void)snprintf(g->url, sizeof(g->url), "%s/api/", g->script.url);
    stop_init(&g->stop, -1);
    g->web = (struct slack_web){
        .url = g->url, .bot_token = BOT_TOKEN, .app_token = APP_TOKEN, .stop = &g->stop};
    g->ask = (struct ask_options){
        .url = g->script.url, .spool_dir = "/tmp", .start_ms = patient(5000), .stop = &g->stop};
}

/* Returns what was asked of the server; the caller frees. */
static char *end(struct rig *g, int served)
{
    http_script_end(&g->script);
    stop_done(&g->stop);
    ck_assert_int_eq(g->script.served, served);
    ck_assert_ptr_null(strstr(g->err.msg, "secret"));
    return g->script.asked.len ? buf_take(&g->script.asked) : xstrdup("");
}

static const struct slack_place here = {.channel = "C1", .thread_ts = "1.2"};

/* ---- one call ---- */

START_TEST(a_message_is_posted_into_its_thread)
{
    static const char *const replies[] = {FINE, NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(slack_post(&g.web, &here, "a \"b\"", &g.err), 0);
    asked = end(&g, 1);
    ck_assert_ptr_nonnull(strstr(asked, "POST /api/chat.postMessage HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nAuthorization: Bearer " BOT_TOKEN "\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nContent-Type: application/json; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(asked,
                                 "\r\n\r\n{\"channel\":\"C1\",\"thread_ts\":\"1.2\",\"text\":"
                                 "\"a \\\"b\\\"\",\"unfurl_links\":false,"
                                 "\"unfurl_media\":false}"));
}
END_TEST

static const struct {
    const char *reply;
    enum err_kind kind;
    const char *text;
} refusals[] = {
    {ERROR("invalid_auth"),     ERR_DENIED,   "invalid_auth: check SLACK_BOT_TOKEN"},
    {ERROR("missing_scope"),    ERR_DENIED,   "manifest"                           },
    {ERROR("not_in_channel"),   ERR_NOTFOUND, "invite"                             },
    {ERROR("thread_not_found"), ERR_NOTFOUND, "deleted"                            },
    {ERROR("msg_too_long"),     ERR_INVALID,  "chat.postMessage: msg_too_long"     },
    {ERROR("something_new"),    ERR_INVALID,  "chat.postMessage: something_new"    },
    {ERROR("<b>Secrets</b>"),   ERR_INVALID,  "an error without a name"            },
    {OK "{\"ok\":false}",       ERR_INVALID,  "an error without a name"            },
    {OK "{\"ok\":\"true\"}",    ERR_INVALID,  "an error without a name"            },
};

START_TEST(a_refusal_is_told_and_not_asked_again)
{
    const char *replies[] = {refusals[_i].reply, FINE, NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(g.err.kind, refusals[_i].kind);
    ck_assert_msg(strstr(g.err.msg, refusals[_i].text), "%s", g.err.msg);
    asked = end(&g, 1);
}
END_TEST

static const char *const passing[] = {
    BUSY,
    OK "",
    OK "[]",
    OK "{\"ok\":",
    ERROR("ratelimited"),
    ERROR("internal_error"),
    BROKEN,
    "HTTP/1.1 503 No\r\n" NOW "\r\n<html>",
    "HTTP/1.1 404 No\r\n" NOW "\r\n",
    "",
};

START_TEST(what_may_pass_is_asked_again)
{
    const char *replies[] = {passing[_i], FINE, NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(slack_post(&g.web, &here, "x", &g.err), 0);
    asked = end(&g, 2);
}
END_TEST

START_TEST(what_does_not_pass_is_given_up)
{
    static const char *const replies[] = {BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, FINE, NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "status 500"));
    asked = end(&g, 5);
}
END_TEST

/* More of them than a call without patience tries. */
START_TEST(patience_outlasts_an_outage)
{
    static const char *const replies[] = {BROKEN, BROKEN, BROKEN, BROKEN, BROKEN,
                                          "",     BUSY,   BROKEN, FINE,   NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    g.web.patience_ms = 60000;
    ck_assert_int_eq(slack_post(&g.web, &here, "x", &g.err), 0);
    asked = end(&g, 9);
}
END_TEST

START_TEST(patience_ends)
{
    static const char *const replies[] = {"HTTP/1.1 503 No\r\nRetry-After: 50\r\n\r\n", FINE, NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    g.web.patience_ms = 30000;
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_BUSY);
    asked = end(&g, 1);
}
END_TEST

static void *ask_to_stop(void *arg)
{
    struct rig *g = arg;

    while (!atomic_load(&g->script.served))
        (void)poll(NULL, 0, 1);
    stop_ask(&g->stop);
    return NULL;
}

START_TEST(a_stop_during_a_pause_is_no_failure_of_slack)
{
    static const char *const replies[] = {"HTTP/1.1 503 No\r\nRetry-After: 60\r\n\r\n", FINE, NULL};
    auto_free char *asked = NULL;
    pthread_t thread;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_to_stop, &g), 0);
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(g.err.kind, ERR_CANCELLED);
    asked = end(&g, 1);
}
END_TEST

START_TEST(slack_is_waited_for_no_longer_than_is_sensible)
{
    static const char *const replies[] = {"HTTP/1.1 429 Too Many\r\nRetry-After: 3600\r\n\r\n",
                                          FINE, NULL};
    auto_free char *asked = NULL;
    _Atomic int64_t rest_until_ms = 0;
    int64_t from = clock_ms();
    struct rig g;

    begin(&g, replies);
    g.web.rest_until_ms = &rest_until_ms;
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_BUSY);
    ck_assert_int_ge(rest_until_ms - from, 3600 * 1000); /* whoever asks again knows when */
    asked = end(&g, 1);
}
END_TEST

START_TEST(a_stop_ends_a_call)
{
    static const char *const replies[] = {NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    stop_ask(&g.stop);
    ck_assert_int_lt(slack_post(&g.web, &here, "x", &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_CANCELLED);
    asked = end(&g, 0);
}
END_TEST

START_TEST(the_socket_is_asked_for_with_the_apps_token)
{
    static const char *const replies[] = {OK "{\"ok\":true,\"url\":\"wss://x/?ticket=1\"}", FINE,
                                          NULL};
    auto_free char *asked = NULL, *url = NULL, *none = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(slack_open_socket(&g.web, &url, &g.err), 0);
    ck_assert_str_eq(url, "wss://x/?ticket=1");
    ck_assert_int_lt(slack_open_socket(&g.web, &none, &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_PEER);
    asked = end(&g, 2);
    ck_assert_ptr_nonnull(strstr(asked, "POST /api/apps.connections.open HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nAuthorization: Bearer " APP_TOKEN "\r\n"));
}
END_TEST

START_TEST(who_we_are_is_asked_for)
{
    static const char *const replies[] = {OK "{\"ok\":true,\"user\":\"bot\"}",
                                          ERROR("account_inactive"), NULL};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(slack_introduce(&g.web, &g.err), 0);
    ck_assert_int_lt(slack_introduce(&g.web, &g.err), 0);
    asked = end(&g, 2);
    ck_assert_ptr_nonnull(strstr(asked, "POST /api/auth.test HTTP/1.1\r\n"));
}
END_TEST

/* ---- uploads ---- */

enum { FILE_BYTES = 300000 }; /* more than a spool keeps in memory */

static void fill(struct spool *s, size_t n)
{
    char piece[1000];

    spool_init(s, "/tmp");
    memset(piece, 'x', sizeof(piece));
    for (size_t i = 0; i < n; i += sizeof(piece))
        ck_assert_int_eq(spool_add(s, piece, sizeof(piece), NULL), 0);
}

/* Where bytes go is another server: its address must be known before Slack's replies are made. */
static char *address(const struct http_script *store, const char *path)
{
    return xasprintf(OK "{\"ok\":true,\"file_id\":\"F1\",\"upload_url\":\"%s%s\"}", store->url,
                     path);
}

static char *end_store(struct http_script *store, int served)
{
    http_script_end(store);
    ck_assert_int_eq(store->served, served);
    return buf_take(&store->asked);
}

START_TEST(a_file_goes_in_three_steps_and_the_second_again_from_the_first)
{
    static const char *const taken[] = {BUSY, "HTTP/1.1 200 OK\r\n\r\nOK - 300000", NULL};
    const char *replies[] = {NULL, NULL, FINE, NULL};
    CLEANUP(spool_done) struct spool data = {.fd = -1};
    auto_free char *first = NULL, *second = NULL, *asked = NULL, *stored = NULL;
    const struct slack_file file = {.name = "a b&c.png", .comment = "<@U1> x=1", .data = &data};
    struct http_script store;
    struct rig g;

    fill(&data, FILE_BYTES);
    http_script_begin(&store, taken);
    replies[0] = first = address(&store, "/upload/1");
    replies[1] = second = address(&store, "/upload/2");
    begin(&g, replies);
    ck_assert_int_eq(slack_upload(&g.web, &here, &file, &g.err), 0);
    asked = end(&g, 3);
    stored = end_store(&store, 2);
    ck_assert_ptr_nonnull(strstr(asked, "\r\n\r\nfilename=a%20b%26c.png&length=300000POST "));
    ck_assert_ptr_nonnull(strstr(asked, "POST /api/files.completeUploadExternal HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked,
                                 "\r\n\r\nfiles=%5B%7B%22id%22%3A%22F1%22%2C%22title%22%3A%22"
                                 "a%20b%26c.png%22%7D%5D&channel_id=C1&thread_ts=1.2&"
                                 "initial_comment=%3C%40U1%3E%20x%3D1"));
    ck_assert_ptr_nonnull(strstr(stored, "POST /upload/1 HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(stored, "POST /upload/2 HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(stored, "\r\nContent-Length: 300000\r\n"));
    ck_assert_uint_gt(strlen(stored), 2 * FILE_BYTES);
    /* The bytes are for whoever holds the address: no token goes with them. */
    ck_assert_ptr_null(strstr(stored, "Authorization"));
    ck_assert_ptr_null(strstr(stored, "xoxb"));
}
END_TEST

static const char *const bad_addresses[] = {
    FINE,
    OK "{\"ok\":true,\"file_id\":\"F1\",\"upload_url\":\"file:///etc/passwd\"}",
    OK "{\"ok\":true,\"file_id\":\"F1\",\"upload_url\":\"https://u:p@h/\"}",
    OK "{\"ok\":true,\"upload_url\":\"https://h/\"}",
};

START_TEST(bytes_go_to_a_good_address_only)
{
    /* A reply that makes no sense is asked for once more; then Slack says no. */
    const char *replies[] = {bad_addresses[_i], ERROR("invalid_arguments"), NULL};
    CLEANUP(spool_done) struct spool data = {.fd = -1};
    auto_free char *asked = NULL;
    const struct slack_file file = {.name = "a", .comment = "c", .data = &data};
    struct rig g;

    fill(&data, 1000);
    begin(&g, replies);
    ck_assert_int_lt(slack_upload(&g.web, &here, &file, &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_INVALID);
    asked = end(&g, 2);
    ck_assert_ptr_null(strstr(asked, "xxx"));
}
END_TEST

START_TEST(an_address_that_refuses_the_bytes_is_told)
{
    static const char *const taken[] = {"HTTP/1.1 400 Bad\r\n\r\nno such upload", NULL};
    const char *replies[] = {NULL, NULL};
    CLEANUP(spool_done) struct spool data = {.fd = -1};
    auto_free char *first = NULL, *asked = NULL, *stored = NULL;
    const struct slack_file file = {.name = "a", .comment = "c", .data = &data};
    struct http_script store;
    struct rig g;

    fill(&data, 1000);
    http_script_begin(&store, taken);
    replies[0] = first = address(&store, "/upload/1");
    begin(&g, replies);
    ck_assert_int_lt(slack_upload(&g.web, &here, &file, &g.err), 0);
    ck_assert_str_eq(g.err.msg, "upload: status 400");
    asked = end(&g, 1);
    stored = end_store(&store, 1);
}
END_TEST

/* ---- the generator ---- */

#define ANSWER(status, output, error, files, retries)                               \
    OK "{\"code\":\"c\",\"result\":{\"status\":\"" status "\",\"output\":\"" output \
       "\",\"error\":\"" error "\",\"files\":[" files "]},\"retries\":[" retries "]}"

START_TEST(an_answer_is_read_with_its_files)
{
    static const char *const replies[] = {
        ANSWER("success", "out", "warning",
               "{\"name\":\"dir/a.png\",\"data\":\"AAEC\",\"type\":\"image\"},"
               "{\"name\":\"b.csv\",\"data\":\"\",\"type\":\"file\"}",
               "{},{}"),
        NULL};
    CLEANUP(ask_answer_done) struct ask_answer a = {0};
    auto_free char *asked = NULL;
    char bytes[8];
    struct rig g;

    begin(&g, replies);
    ck_assert_int_eq(ask(&g.ask, "a \"b\"", clock_ms() + patient(10000), &a, &g.err), 0);
    ck_assert(a.is_success);
    ck_assert_int_eq(a.retries, 2);
    ck_assert_str_eq(a.output, "out");
    ck_assert_str_eq(a.error, "warning");
    ck_assert_uint_eq(a.files_n, 2);
    ck_assert_str_eq(a.files[0].name, "a.png");
    ck_assert(a.files[0].is_image && !a.files[1].is_image);
    ck_assert_int_eq(spool_read(&a.files[0].data, 0, bytes, sizeof(bytes), NULL), 3);
    ck_assert_mem_eq(bytes, "\0\1\2", 3);
    ck_assert_uint_eq(a.files[1].data.size, 0);
    asked = end(&g, 1);
    ck_assert_ptr_nonnull(strstr(asked, "POST /api/generate-code HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\n\r\n{\"prompt\":\"a \\\"b\\\"\"}"));
    ck_assert_ptr_null(strstr(asked, "Authorization"));
}
END_TEST

static const struct {
    const char *reply, *text;
} bad_answers[] = {
    {"HTTP/1.1 503 No\r\n\r\n{\"error\":\"no key\"}", "status 503: no key"},
    {"HTTP/1.1 502 No\r\n\r\n<html>", "status 502"},
    {OK "{}", "the reply has no result"},
    {OK "[1]", "the reply has no result"},
    {OK "{\"result\":", "the reply"},
    {ANSWER("maybe", "", "", "", ""), "the reply has no result"},
    {ANSWER("success", "", "", "{\"name\":\"a\"}", ""), "has no data"},
    {ANSWER("success", "", "", "{\"name\":\"a\",\"data\":\"!\"}", ""), "the reply"},
    {ANSWER("success", "", "", "{\"name\":\"a\",\"data\":5}", ""), "the reply"},
};

START_TEST(a_generator_that_fails_is_told)
{
    const char *replies[] = {bad_answers[_i].reply, NULL};
    CLEANUP(ask_answer_done) struct ask_answer a = {0};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_lt(ask(&g.ask, "x", clock_ms() + patient(10000), &a, &g.err), 0);
    ck_assert_int_eq(g.err.kind == ERR_TIMEOUT || g.err.kind == ERR_CANCELLED, 0);
    ck_assert_msg(strstr(g.err.msg, bad_answers[_i].text), "%s", g.err.msg);
    asked = end(&g, 1);
}
END_TEST

START_TEST(a_generator_that_is_slow_is_left)
{
    static const char *const replies[] = {NULL};
    CLEANUP(ask_answer_done) struct ask_answer a = {0};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_int_lt(ask(&g.ask, "x", clock_ms() + 300, &a, &g.err), 0);
    ck_assert_int_eq(g.err.kind, ERR_TIMEOUT);
    asked = end(&g, 0);
}
END_TEST

START_TEST(a_generator_that_is_just_starting_is_waited_for)
{
    static const char *const replies[] = {"", ANSWER("success", "", "", "", ""), NULL};
    CLEANUP(ask_answer_done) struct ask_answer a = {0};
    auto_free char *asked = NULL;
    struct rig g;

    begin(&g, replies);
    ck_assert_msg(ask(&g.ask, "x", clock_ms() + patient(10000), &a, &g.err) == 0, "%s", g.err.msg);
    asked = end(&g, 2);
}
END_TEST

/* ---- from a request to its messages ---- */

static const char *const nobody[] = {NULL}, *const others[] = {"U2", NULL};

static const struct {
    const char *text;
    bool is_refused, is_interrupted, is_undelivered;
    const char *const *users;
    const char *replies[8];
    int served;
    const char *told[4]; /* in this order */
    bool counts;
} answers[] = {
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, ANSWER("success", "hi", "", "", ""), FINE, FINE, NULL},
     .served = 4,
     .told = {"\"<@U1> Processing your request...\"", "\"<@U1> Code executed successfully!\"",
              "\"<@U1> Output: ```\\nhi\\n```\"", NULL},
     .counts = true},
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, ANSWER("success", " \\n", "", "", "{}"), FINE, FINE, NULL},
     .served = 4,
     .told = {"\"<@U1> Initial code had errors. Retried 1 time(s) with error feedback.\"",
              "\"<@U1> Code executed successfully! (after 1 retry)\"", NULL},
     .counts = true},
    {.text = "!agent-debug x",
     .users = nobody,
     .replies = {FINE, ANSWER("error", "", "boom", "", "{},{}"), FINE, FINE, NULL},
     .served = 4,
     .told = {"\"<@U1> Initial code had errors. Retried 2 time(s) with error feedback.\"",
              "\"<@U1> Code execution failed after 2 retries:\\nERROR_TRACE: "
              "```\\nboom\\n```\"",
              NULL},
     .counts = true},
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, ANSWER("error", "", "", "", ""), FINE, NULL},
     .served = 3,
     .told = {"ERROR_TRACE: ```\\nthe program said nothing about it\\n```", NULL},
     .counts = true},
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, "HTTP/1.1 502 x\r\n\r\n{\"error\":\"a<b\"}", FINE, NULL},
     .served = 3,
     .told = {"\"<@U1> Failed to connect to code generation service: status 502: a&lt;b\"", NULL},
     .counts = true},
    /* What did nothing costs nobody a request of the day. */
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, "HTTP/1.1 503 x\r\n\r\n{\"error\":\"no key\"}", FINE, NULL},
     .served = 3,
     .told = {"\"<@U1> Failed to connect to code generation service: status 503: no key\"", NULL}},
    {.text = "!agent x",
     .users = nobody,
     .replies = {FINE, "HTTP/1.1 429 x\r\n\r\n{\"error\":\"slow\"}", FINE, NULL},
     .served = 3,
     .told = {"service: status 429: slow\"", NULL}},
    {.text = "!agent x",
     .users = others,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"You are not allowed", NULL}},
    {.text = "!agent x",
     .is_refused = true,
     .users = nobody,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"The service is busy: 9 requests", NULL}},
    {.text = "!agent x",
     .is_interrupted = true,
     .users = nobody,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"was interrupted by a restart", NULL},
     .counts = true},
    {.text = "!agent x",
     .is_undelivered = true,
     .users = nobody,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"Slack could not be reached when", NULL},
     .counts = true},
    {.text = "!agent",
     .users = nobody,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"\"<@U1> Please provide instructions after !agent.\"", NULL}},
    {.text = "!help",
     .users = others,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"`!agent-debug <instructions>`", NULL}},
    {.text = "!x<y",
     .users = nobody,
     .replies = {FINE, NULL},
     .served = 1,
     .told = {"\"<@U1> There is no command !x&lt;y. `!help`", NULL}},
};

START_TEST(a_request_is_answered_with_the_texts_of_the_contract)
{
    const struct ledger_request request = {
        .channel = (char[]){"C1"},
        .thread_ts = (char[]){"1.2"},
        .user = (char[]){"U1"},
        .text = xstrdup(answers[_i].text),
        .is_refused = answers[_i].is_refused,
        .is_interrupted = answers[_i].is_interrupted,
        .is_undelivered = answers[_i].is_undelivered,
    };
    struct answer_options o = {
        .users = answers[_i].users, .timeout_ms = 5000, .debug_timeout_ms = 9000, .queue_max = 9};
    auto_free char *asked = NULL;
    const char *at;
    bool counts;
    struct rig g;

    begin(&g, answers[_i].replies);
    o.web = &g.web;
    o.ask = &g.ask;
    ck_assert_int_eq(answer(&o, &request, &counts, &g.err), 0);
    ck_assert_int_eq(counts, answers[_i].counts);
    at = asked = end(&g, answers[_i].served);
    for (size_t i = 0; answers[_i].told[i]; i++) {
        at = strstr(at, answers[_i].told[i]);
        ck_assert_msg(at, "no %s in: %s", answers[_i].told[i], asked);
    }
    free(request.text);
}
END_TEST

START_TEST(time_that_is_up_is_told)
{
    const struct ledger_request request = {.channel = (char[]){"C1"},
                                           .thread_ts = (char[]){"1.2"},
                                           .user = (char[]){"U1"},
                                           .text = (char[]){"!agent x"}};
    struct answer_options o = {.users = nobody, .timeout_ms = 300};
    struct http_script generator;
    static const char *const silent[] = {NULL};
    static const char *const replies[] = {FINE, FINE, NULL};
    auto_free char *asked = NULL;
    bool counts;
    struct rig g;

    http_script_begin(&generator, silent);
    begin(&g, replies);
    g.ask.url = generator.url;
    o.web = &g.web;
    o.ask = &g.ask;
    ck_assert_int_eq(answer(&o, &request, &counts, &g.err), 0);
    asked = end(&g, 2);
    http_script_end(&generator);
    buf_done(&generator.asked);
    ck_assert_ptr_nonnull(strstr(asked, "\"<@U1> Request timed out. The task might be too complex "
                                        "or the service is busy.\""));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, a_message_is_posted_into_its_thread);
    tcase_add_loop_test(t, a_refusal_is_told_and_not_asked_again, 0, ARRAY_LEN(refusals));
    tcase_add_loop_test(t, what_may_pass_is_asked_again, 0, ARRAY_LEN(passing));
    tcase_add_test(t, what_does_not_pass_is_given_up);
    tcase_add_test(t, patience_outlasts_an_outage);
    tcase_add_test(t, patience_ends);
    tcase_add_test(t, a_stop_during_a_pause_is_no_failure_of_slack);
    tcase_add_test(t, slack_is_waited_for_no_longer_than_is_sensible);
    tcase_add_test(t, a_stop_ends_a_call);
    tcase_add_test(t, the_socket_is_asked_for_with_the_apps_token);
    tcase_add_test(t, who_we_are_is_asked_for);
    tcase_add_test(t, a_file_goes_in_three_steps_and_the_second_again_from_the_first);
    tcase_add_loop_test(t, bytes_go_to_a_good_address_only, 0, ARRAY_LEN(bad_addresses));
    tcase_add_test(t, an_address_that_refuses_the_bytes_is_told);
    tcase_add_test(t, an_answer_is_read_with_its_files);
    tcase_add_loop_test(t, a_generator_that_fails_is_told, 0, ARRAY_LEN(bad_answers));
    tcase_add_test(t, a_generator_that_is_slow_is_left);
    tcase_add_test(t, a_generator_that_is_just_starting_is_waited_for);
    tcase_add_loop_test(t, a_request_is_answered_with_the_texts_of_the_contract, 0,
                        ARRAY_LEN(answers));
    tcase_add_test(t, time_that_is_up_is_told);
}

UNIT_MAIN("slack_web", add_tests)
