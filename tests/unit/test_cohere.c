#include "model/cohere.h"

#include <string.h>

#include "base/clock.h"
#include "base/fetch.h"
#include "base/stop.h"
#include "http_script.h"
#include "model/cohere_wire.h"
#include "unit.h"

#define KEY "sk-0123456789-secret"

static const struct model_message dialogue[] = {
    {MODEL_SYSTEM,    "guide \"x\""},
    {MODEL_USER,      "plot"       },
    {MODEL_ASSISTANT, "code\n"     },
    {MODEL_USER,      "fix"        },
};

/* ---- asking ---- */

static void check_ask(enum cohere_api api, size_t first, size_t n, const char *wanted)
{
    const struct cohere_ask ask = {
        .name = "m", .temperature = 0.2, .messages = dialogue + first, .n = n};
    CLEANUP(buf_done) struct buf b = {.max = 4096};

    cohere_put_ask(&b, api, &ask);
    ck_assert_str_eq(buf_get(&b), wanted);
}

START_TEST(version_2_has_all_messages_in_one_list)
{
    check_ask(COHERE_V2, 0, 4,
              "{\"model\":\"m\",\"stream\":true,\"temperature\":0.2,\"messages\":["
              "{\"role\":\"system\",\"content\":\"guide \\\"x\\\"\"},"
              "{\"role\":\"user\",\"content\":\"plot\"},"
              "{\"role\":\"assistant\",\"content\":\"code\\n\"},"
              "{\"role\":\"user\",\"content\":\"fix\"}]}");
}
END_TEST

START_TEST(version_1_has_a_preamble_a_history_and_a_message)
{
    check_ask(COHERE_V1, 0, 4,
              "{\"model\":\"m\",\"stream\":true,\"temperature\":0.2,"
              "\"preamble\":\"guide \\\"x\\\"\",\"chat_history\":["
              "{\"role\":\"USER\",\"message\":\"plot\"},"
              "{\"role\":\"CHATBOT\",\"message\":\"code\\n\"}],\"message\":\"fix\"}");
    check_ask(COHERE_V1, 1, 1,
              "{\"model\":\"m\",\"stream\":true,\"temperature\":0.2,\"chat_history\":[],"
              "\"message\":\"plot\"}");
}
END_TEST

/* ---- reading ---- */

#define START(i, type)                               \
    "data: {\"type\":\"content-start\",\"index\":" i \
    ",\"delta\":{\"message\":{\"content\":{\"type\":\"" type "\"}}}}\n\n"
#define DELTA(i, key, text)                          \
    "data: {\"type\":\"content-delta\",\"index\":" i \
    ",\"delta\":{\"message\":{\"content\":{\"" key "\":\"" text "\"}}}}\n\n"
#define END_WITH(reason)                                                     \
    "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"" reason \
    "\",\"usage\":{\"tokens\":{\"input_tokens\":18.0,\"output_tokens\":9}}}}\n\n"

#define SSE  "text/event-stream; charset=utf-8"
#define JSON "application/json"

static const struct {
    const char *name;
    enum cohere_api api;
    const char *type, *body;
    const char *text; /* NULL: it fails */
    enum model_finish finish;
    double tokens_in;
    enum err_kind kind;
} replies[] = {
    {"a stream", COHERE_V2, SSE,
     START("0", "text") DELTA("0", "text", "a") DELTA("0", "text", "b")
         END_WITH("COMPLETE") "data: [DONE]\n\n",
     "ab", MODEL_COMPLETE, 18, 0},
    {"thinking is skipped", COHERE_V2, SSE,
     START("0", "thinking") DELTA("0", "thinking", "hm") DELTA("0", "text", "no") START("1", "text")
         DELTA("1", "text", "yes") END_WITH("COMPLETE"),
     "yes", MODEL_COMPLETE, 18, 0},
    {"text blocks are joined", COHERE_V2, SSE,
     START("0", "text") DELTA("0", "text", "a") START("1", "text") DELTA("1", "text", "b")
         END_WITH("COMPLETE"),
     "ab", MODEL_COMPLETE, 18, 0},
    {"thinking alone", COHERE_V2, SSE,
     START("0", "thinking") DELTA("0", "thinking", "hm") END_WITH("MAX_TOKENS"), "",
     MODEL_MAX_TOKENS, 18, 0},
    {"text in the start", COHERE_V2, SSE,
     "data: "
     "{\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":"
     "\"text\",\"text\":\"a\"}}}}\n\n" END_WITH("COMPLETE"),
     "a", MODEL_COMPLETE, 18, 0},
    {"events that are not known", COHERE_V2, SSE,
     "event: x\ndata: "
     "{\"type\":\"tool-plan-delta\",\"delta\":{\"message\":{\"tool_plan\":\"I\"}}}\n\ndata: "
     "{}\n\n" DELTA("0", "text", "a") END_WITH("TOOL_CALL"),
     "a", MODEL_STOPPED, 18, 0},
    {"no usage", COHERE_V2, SSE,
     DELTA("0", "text",
     "a") "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n",
     "a", MODEL_COMPLETE, -1, 0},
    {"an index beyond all", COHERE_V2, SSE,
     START("1e9", "text") DELTA("1e9", "text", "a") DELTA("-1", "text", "b") END_WITH("COMPLETE"),
     "ab", MODEL_COMPLETE, 18, 0},
    {"no stream", COHERE_V2, JSON,
     "{\"finish_reason\":\"COMPLETE\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":"
     "\"thinking\",\"thinking\":\"x\"},{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
     "\"text\":\"b\"}]},\"usage\":{\"tokens\":{\"input_tokens\":5}}}", "ab", MODEL_COMPLETE, 5, 0},
    {"more tokens than there are", COHERE_V2, JSON,
     "{\"message\":{},\"usage\":{\"tokens\":{\"input_tokens\":1e300}}}", "", MODEL_COMPLETE, -1, 0},
    {"fewer than none", COHERE_V2, JSON,
     "{\"message\":{},\"usage\":{\"tokens\":{\"input_tokens\":-1}}}", "", MODEL_COMPLETE, -1, 0},
    {"tokens that are no number", COHERE_V2, JSON,
     "{\"message\":{},\"usage\":{\"tokens\":{\"input_tokens\":\"9\"}}}", "", MODEL_COMPLETE, -1, 0},
    {"no content", COHERE_V2, JSON, "{\"message\":{}}", "", MODEL_COMPLETE, -1, 0},
    {"version 1", COHERE_V1, "application/stream+json",
     "{\"event_type\":\"stream-start\"}\n{\"event_type\":\"text-generation\",\"text\":\"a\"}\n{"
     "\"event_type\":\"stream-end\",\"finish_reason\":\"COMPLETE\",\"response\":{\"text\":\"a\","
     "\"meta\":{\"tokens\":{\"input_tokens\":7}}}}\n", "a", MODEL_COMPLETE, 7, 0},
    {"version 1 at once", COHERE_V1, JSON,
     "{\"text\":\"a\",\"finish_reason\":\"ERROR_LIMIT\",\"meta\":{}}", "a", MODEL_MAX_TOKENS, -1,
     0},
    {"a cut stream", COHERE_V2, SSE, DELTA("0", "text", "a"), NULL, 0, 0, ERR_PEER},
    {"a cut event", COHERE_V2, SSE, "data: {\"type\":\"content-del", NULL, 0, 0, ERR_PEER},
    {"nothing", COHERE_V2, SSE, "", NULL, 0, 0, ERR_PEER},
    {"no JSON", COHERE_V2, SSE, "data: {bad}\n\n", NULL, 0, 0, ERR_PEER},
    {"no object", COHERE_V2, SSE, "data: [1]\n\n", NULL, 0, 0, ERR_PEER},
    {"a NUL", COHERE_V2, SSE, DELTA("0", "text", "a\\u0000b") END_WITH("COMPLETE"), NULL, 0, 0,
     ERR_PEER},
    {"a lone surrogate", COHERE_V2, SSE, DELTA("0", "text", "\\ud800") END_WITH("COMPLETE"), NULL,
     0, 0, ERR_PEER},
    {"no UTF-8", COHERE_V2, SSE, DELTA("0", "text", "\xFF") END_WITH("COMPLETE"), NULL, 0, 0,
     ERR_PEER},
    {"another shape", COHERE_V2, JSON, "{\"message\":\"print(1)\",\"finish_reason\":\"COMPLETE\"}",
     NULL, 0, 0, ERR_PEER},
    {"cut JSON", COHERE_V2, JSON, "{\"message\":{\"cont", NULL, 0, 0, ERR_PEER},
    {"an error in the stream", COHERE_V2, SSE,
     DELTA("0", "text", "a") "data: "
                             "{\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\","
                             "\"error\":\"broken\"}}\n\n", NULL, 0, 0, ERR_PEER},
    {"its own time limit", COHERE_V2, SSE, END_WITH("TIMEOUT"), NULL, 0, 0, ERR_TIMEOUT},
    {"version 1 toxic", COHERE_V1, JSON, "{\"text\":\"\",\"finish_reason\":\"ERROR_TOXIC\"}", NULL,
     0, 0, ERR_PEER},
};

static void feed(struct cohere_reader *r, size_t i, size_t step)
{
    size_t n = strlen(replies[i].body);

    if (n == 0)
        (void)cohere_reader_feed(r, replies[i].type, "", 0);
    for (size_t k = 0; k < n; k += step) {
        if (!cohere_reader_feed(r, replies[i].type, replies[i].body + k,
                                n - k < step ? n - k : step))
            return;
    }
}

START_TEST(reads_replies_in_any_split)
{
    static const size_t steps[] = {1, 2, 7, 64, 100000};

    for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
        CLEANUP(cohere_reader_done) struct cohere_reader r = {0};
        CLEANUP(model_reply_done)
        struct model_reply reply = {.tokens_in = -1, .tokens_out = -1, .text = {.max = 4096}};
        struct err err = {0};
        int rc;

        cohere_reader_init(&r, replies[_i].api, &reply);
        feed(&r, (size_t)_i, steps[s]);
        rc = cohere_reader_end(&r, &err);
        ck_assert_msg((rc == 0) == (replies[_i].text != NULL), "%s: %s", replies[_i].name, err.msg);
        if (rc < 0) {
            ck_assert_int_eq(err.kind, replies[_i].kind);
            ck_assert_str_ne(err.msg, "");
            continue;
        }
        ck_assert_str_eq(buf_get(&reply.text), replies[_i].text);
        ck_assert_int_eq(reply.finish, replies[_i].finish);
        ck_assert_double_eq(reply.tokens_in, replies[_i].tokens_in);
    }
}
END_TEST

START_TEST(a_text_beyond_the_bound_is_refused)
{
    CLEANUP(cohere_reader_done) struct cohere_reader r = {0};
    CLEANUP(model_reply_done) struct model_reply reply = {.text = {.max = 10}};
    static const char event[] = DELTA("0", "text", "123456");
    bool goes_on = true;

    cohere_reader_init(&r, COHERE_V2, &reply);
    for (int i = 0; i < 2; i++)
        goes_on = cohere_reader_feed(&r, SSE, event, strlen(event));
    ck_assert(!goes_on);
    ck_assert_int_eq(cohere_reader_end(&r, NULL), -1);
}
END_TEST

static const struct {
    const char *body, *words;
} errors[] = {
    {"{\"id\":\"x\",\"message\":\"invalid api token\"}",                      "invalid api token"},
    {"{\"message\":\"two\\nlines\"}",                                         "two lines"        },
    {"{\"message\":\"\\u001b[2J\\u009b2J\\u007f\"}",                          " [2J  2J "        },
    {"{\"message\":\"a \xE2\x82\xAC b\"}",                                    "a \xE2\x82\xAC b" },
    {"{\"message\":\"123456789012345678901234567890123456789\xE2\x82\xAC\"}",
     "123456789012345678901234567890123456789"                                                   },
    {"{\"message\":\"12345678901234567890123456789012345678\xE2\x82\xAC\"}",
     "12345678901234567890123456789012345678"                                                    },
    {"{\"message\":5}",                                                       ""                 },
    {"<html>",                                                                ""                 },
    {"",                                                                      ""                 },
};

START_TEST(the_words_of_an_error_are_one_line)
{
    char out[40];

    cohere_read_error(errors[_i].body, strlen(errors[_i].body), out, sizeof(out));
    ck_assert_str_eq(out, errors[_i].words);
}
END_TEST

/* ---- calls ---- */

#define HEAD(status, more) "HTTP/1.1 " status "\r\nConnection: close\r\n" more "\r\n"
#define GOOD                                              \
    HEAD("200 OK", "Content-Type: text/event-stream\r\n") \
    DELTA("0", "text", "print(1)") END_WITH("COMPLETE")
#define REFUSED(status, more, words) \
    HEAD(status, "Content-Type: application/json\r\n" more) "{\"message\":\"" words "\"}"

static int64_t try_ms = 4000;

static struct model *make(const char *url)
{
    const struct cohere_options o = {.url = url,
                                     .key = " " KEY "\r\n", /* what an .env may make of it */
                                     .name = "command-a-03-2025",
                                     .api = COHERE_V2,
                                     .temperature = 0.2,
                                     .timeout_ms = try_ms,
                                     .retries = 2,
                                     .rate_per_minute = 0,
                                     .backoff_ms = 1};
    struct model *m = NULL;
    struct err err = {0};

    ck_assert_msg(cohere_new(&o, &m, &err) == 0, "%s", err.msg);
    return m;
}

struct outcome {
    int rc;
    struct model_reply reply;
    struct model_fault fault;
};

static struct outcome ask(const char *url, int64_t within_ms, struct stop *stop)
{
    struct model_call call = {
        .messages = dialogue, .n = 2, .deadline_ms = clock_ms() + within_ms, .stop = stop};
    struct model *m = make(url);
    struct outcome o;

    o.rc = model_call(m, &call, &o.reply, &o.fault);
    model_free(m);
    ck_assert_ptr_null(strstr(o.fault.text, "sk-0"));
    return o;
}

#define FIFTY "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *name;
    const char *replies[5];
    int tries;  /* that were made */
    int status; /* 0 with a kind: none; 200 with ERR_NONE: it went well */
    enum err_kind kind;
    int retry_after_s;
    const char *words; /* in the fault's text */
} calls[] = {
    {"good",                            {GOOD, NULL},                                             1, 200, ERR_NONE,     0,       ""            },
    {"500 twice",
     {REFUSED("500 x", "", ""), REFUSED("503 x", "", ""), GOOD, NULL},
     3,                                                                                              200,
     ERR_NONE,                                                                                                          0,
     ""                                                                                                                                        },
    {"500 for ever",
     {REFUSED("500 x", "", "sorry"), REFUSED("500 x", "", "sorry"), REFUSED("500 x", "", "sorry"),
      NULL},
     3,                                                                                              500,
     ERR_PEER,                                                                                                          0,
     "(status 500: sorry)"                                                                                                                     },
    {"a 503 that is cut",
     {HEAD("503 x", "Content-Length: 999\r\n") "{", GOOD, NULL},
     2,                                                                                              200,
     ERR_NONE,                                                                                                          0,
     ""                                                                                                                                        },
    {"a 401 that is cut",
     {HEAD("401 x", "Content-Length: 999\r\n") "{", NULL},
     1,                                                                                              401,
     ERR_DENIED,                                                                                                        0,
     "COHERE_API_KEY"                                                                                                                          },
    {"429 for ever",
     {REFUSED("429 x", "Retry-After: 99999999999\r\n", ""), NULL},
     1,                                                                                              429,
     ERR_BUSY,                                                                                                          1000000,
     "rate limit"                                                                                                                              },
    {"429 until a day that is far",
     {REFUSED("429 x", "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n", ""), NULL},
     1,                                                                                              429,
     ERR_BUSY,                                                                                                          1000000,
     "rate limit"                                                                                                                              },
    {"429 until a day that is past",
     {REFUSED("429 x", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", ""), GOOD, NULL},
     2,                                                                                              200,
     ERR_NONE,                                                                                                          0,
     ""                                                                                                                                        },
    {"the key where the words are cut",
     {REFUSED("401 x", "", FIFTY FIFTY KEY), NULL},
     1,                                                                                              401,
     ERR_DENIED,                                                                                                        0,
     "x*****"                                                                                                                                  },
    {"the key where an event is cut",
     {HEAD("200 OK", "Content-Type: text/event-stream\r\n") "data: "
                                                            "{\"type\":\"message-end\",\"delta\":{"
                                                            "\"error\":\"" FIFTY FIFTY "1234567" KEY
                                                            "\"}}\n\n",
      NULL},
     1,                                                                                              200,
     ERR_PEER,                                                                                                          0,
     "7*****"                                                                                                                                  },
    {"an event for a terminal",
     {HEAD("200 OK", "Content-Type: text/event-stream\r\n") "data: "
                                                            "{\"type\":\"message-end\",\"delta\":{"
                                                            "\"finish_reason\":\"\\u001b[1m\","
                                                            "\"error\":\"a\\u001b[2Jb\\n\"}}\n\n",
      NULL},
     1,                                                                                              200,
     ERR_PEER,                                                                                                          0,
     "with an error: a [2Jb "                                                                                                                  },
    {"429 once",                        {REFUSED("429 x", "Retry-After: 0\r\n", ""), GOOD, NULL}, 2, 200, ERR_NONE,     0,       ""            },
    {"429 for longer",
     {REFUSED("429 x", "Retry-After: 90\r\n", "trial"), NULL},
     1,                                                                                              429,
     ERR_BUSY,                                                                                                          90,
     "rate limit"                                                                                                                              },
    {"429 in milliseconds",
     {REFUSED("429 x", "retry-after-ms: 3\r\nRetry-After: 90\r\n", ""), GOOD, NULL},
     2,                                                                                              200,
     ERR_NONE,                                                                                                          0,
     ""                                                                                                                                        },
    {"408",                             {REFUSED("408 x", "", ""), GOOD, NULL},                   2, 200, ERR_NONE,     0,       ""            },
    {"lost before the reply",           {"", GOOD, NULL},                                         2, 200, ERR_NONE,     0,       ""            },
    {"lost in the reply",
     {HEAD("200 OK", "Content-Type: text/event-stream\r\nContent-Length: 9999\r\n")
          DELTA("0", "text", "a"),
      NULL},
     1,                                                                                              200,
     ERR_PEER,                                                                                                          0,
     "cannot be used"                                                                                                                          },
    {"400",
     {REFUSED("400 x", "", "too many tokens"), NULL},
     1,                                                                                              400,
     ERR_INVALID,                                                                                                       0,
     "too many tokens"                                                                                                                         },
    {"401",
     {REFUSED("401 x", "", "invalid api token " KEY), NULL},
     1,                                                                                              401,
     ERR_DENIED,                                                                                                        0,
     "COHERE_API_KEY"                                                                                                                          },
    {"402",                             {REFUSED("402 x", "", ""), NULL},                         1, 402, ERR_DENIED,   0,       "credits"     },
    {"403",                             {REFUSED("403 x", "", ""), NULL},                         1, 403, ERR_DENIED,   0,       "forbidden"   },
    {"404",                             {REFUSED("404 x", "", ""), NULL},                         1, 404, ERR_NOTFOUND, 0,       "COHERE_MODEL"},
    {"409",                             {REFUSED("409 x", "", ""), NULL},                         1, 409, ERR_PEER,     0,       "status 409"  },
    {"498",                             {REFUSED("498 x", "", ""), NULL},                         1, 498, ERR_DENIED,   0,       "new one"     },
    {"HTML",
     {HEAD("404 x", "Content-Type: text/html\r\n") "<html>", NULL},
     1,                                                                                              404,
     ERR_NOTFOUND,                                                                                                      0,
     "(status 404)"                                                                                                                            },
    {"a redirect",
     {HEAD("302 x", "Location: http://127.0.0.1:1/\r\n"), NULL},
     1,                                                                                              302,
     ERR_PEER,                                                                                                          0,
     "CO_API_URL (status 302)"                                                                                                                 },
    {"an event that quotes the key",
     {HEAD("200 OK", "Content-Type: text/event-stream\r\n") "data: "
                                                            "{\"type\":\"message-end\",\"delta\":{"
                                                            "\"error\":\"" KEY "\"}}\n\n",
      NULL},
     1,                                                                                              200,
     ERR_PEER,                                                                                                          0,
     "***"                                                                                                                                     },
};

START_TEST(tries_again_what_may_pass_and_nothing_else)
{
    struct http_script s;
    struct outcome o;

    http_script_begin(&s, calls[_i].replies);
    o = ask(s.url, 4500, NULL);
    http_script_end(&s);
    ck_assert_msg((o.rc == 0) == (calls[_i].kind == ERR_NONE), "%s: %s", calls[_i].name,
                  o.fault.text);
    ck_assert_int_eq(s.served, calls[_i].tries);
    ck_assert_int_eq(o.reply.tries, calls[_i].tries);
    if (o.rc == 0) {
        ck_assert_str_eq(buf_get(&o.reply.text), "print(1)");
    } else {
        ck_assert_int_eq(o.fault.kind, calls[_i].kind);
        ck_assert_int_eq(o.fault.status, calls[_i].status);
        ck_assert_int_eq(o.fault.retry_after_s, calls[_i].retry_after_s);
        ck_assert_msg(strstr(o.fault.text, calls[_i].words), "%s", o.fault.text);
    }
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "POST /v2/chat HTTP/1.1"));
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "Authorization: Bearer " KEY "\r\n"));
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

START_TEST(a_silent_service_is_left_at_the_deadline)
{
    static const char *const silent[] = {NULL};
    struct http_script s;
    struct outcome o;

    http_script_begin(&s, silent);
    o = ask(s.url, 300, NULL);
    http_script_end(&s);
    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.kind, ERR_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(o.fault.text, "model.timeout"));
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

/* ---- services that do not come to an end ---- */

#define STREAM_HEAD HEAD("200 OK", "Content-Type: text/event-stream\r\n")
#define TEN(s)      s s s s s s s s s s

static const struct {
    const char *name, *reply;
    enum script_ending ending;
    const char *more;
    enum err_kind kind;
    int status;
    const char *words;
} endless[] = {
    {"drips comments", STREAM_HEAD, SCRIPT_DRIPS, ": x\n", ERR_TIMEOUT, 200,
     "no whole answer in time"},
    {"drips thoughts", STREAM_HEAD START("0", "thinking"), SCRIPT_DRIPS,
     DELTA("0", "thinking", "x"), ERR_TIMEOUT, 200, "no whole answer in time"},
    {"drips its head", "HTTP/1.1 200 OK\r\n", SCRIPT_DRIPS, "X: y\r\n", ERR_TIMEOUT, 200,
     "no whole answer in time"},
    {"says no and never ends", HEAD("401 x", ""), SCRIPT_DRIPS, "x", ERR_DENIED, 401,
     "COHERE_API_KEY"},
    {"says no and then nothing", HEAD("403 x", "Content-Length: 9\r\n"), SCRIPT_HOLDS, "",
     ERR_DENIED, 403, "forbidden"},
    {"floods with text", STREAM_HEAD, SCRIPT_FLOODS, DELTA("0", "text", TEN(TEN(TEN("text ")))),
     ERR_PEER, 200, "its text is over 1048576 bytes"},
    {"floods with thoughts", STREAM_HEAD START("0", "thinking"), SCRIPT_FLOODS,
     DELTA("0", "thinking", TEN(TEN(TEN("hm ")))), ERR_PEER, 200,
     "the reply is over 33554432 bytes"},
    {"floods with one line", STREAM_HEAD "data: ", SCRIPT_FLOODS, TEN(TEN(TEN("line "))), ERR_PEER,
     200, "an event is over 1048576 bytes"},
    {"floods with headers", "HTTP/1.1 200 OK\r\n", SCRIPT_FLOODS, "X-" TEN(TEN("y")) ": z\r\n",
     ERR_PEER, 200, "cannot be used"},
};

START_TEST(what_has_no_end_is_left_at_a_bound_or_the_deadline)
{
    const char *const said[] = {endless[_i].reply, NULL};
    struct http_script s = {
        .replies = said, .ending = endless[_i].ending, .more = endless[_i].more};
    bool is_flood = endless[_i].ending == SCRIPT_FLOODS;
    int64_t began = clock_ms();
    struct outcome o;

    if (strstr(endless[_i].words, "the reply is over") && !unit_measures())
        return; /* tens of mebibytes of JSON: too much for tools */
    try_ms = 60000;
    http_script_go(&s);
    o = ask(s.url, is_flood ? 60000 : patient(1500), NULL);
    ck_assert(is_flood || clock_ms() - began < patient(20000));
    http_script_end(&s);
    try_ms = 4000;
    ck_assert_int_eq(o.rc, -1);
    ck_assert_msg(o.fault.kind == endless[_i].kind, "%s: %d %s", endless[_i].name, o.fault.kind,
                  o.fault.text);
    ck_assert_int_eq(o.fault.status, endless[_i].status);
    ck_assert_int_eq(o.fault.tries, 1);
    ck_assert_msg(strstr(o.fault.text, endless[_i].words), "%s: %s", endless[_i].name,
                  o.fault.text);
    ck_assert_uint_le(o.reply.text.cap, (2 << 20) + 1);
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

struct leaver {
    struct http_script *script;
    struct stop *stop;
};

static void *leave(void *arg)
{
    struct leaver *l = arg;

    while (!atomic_load(&l->script->said))
        (void)poll(NULL, 0, 1);
    stop_ask(l->stop);
    return NULL;
}

START_TEST(who_leaves_while_an_error_is_told_is_gone_and_nobody_failed)
{
    const char *const said[] = {HEAD("503 x", "Content-Length: 9\r\n") "{", NULL};
    struct http_script s = {.replies = said, .ending = SCRIPT_HOLDS};
    struct stop stop;
    struct leaver l = {&s, &stop};
    struct outcome o;
    pthread_t thread;

    stop_init(&stop, -1);
    http_script_go(&s);
    ck_assert_int_eq(pthread_create(&thread, NULL, leave, &l), 0);
    o = ask(s.url, 60000, &stop);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    http_script_end(&s);
    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.kind, ERR_CANCELLED);
    ck_assert_int_eq(o.fault.status, 0);
    stop_done(&stop);
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

/* As `oneshot check` shows it, copied back. */
START_TEST(a_key_of_stars_is_refused_as_any_other)
{
    const char *const said[] = {REFUSED("401 x", "", "invalid api token ***"), NULL};
    const struct cohere_options opts = {
        .key = "***", .name = "m", .api = COHERE_V2, .timeout_ms = 4000};
    struct cohere_options options = opts;
    struct model_call call = {
        .messages = dialogue, .n = 2, .deadline_ms = clock_ms() + patient(4000)};
    struct model *m = NULL;
    struct http_script s;
    struct outcome o;

    http_script_begin(&s, said);
    options.url = s.url;
    ck_assert_int_eq(cohere_new(&options, &m, NULL), 0);
    o.rc = model_call(m, &call, &o.reply, &o.fault);
    http_script_end(&s);
    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.status, 401);
    model_free(m);
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

/* ---- proxies ---- */

START_TEST(a_proxy_of_the_environment_is_used_for_other_machines_only)
{
    const char *const said[] = {GOOD, GOOD, NULL};
    struct http_script s;
    struct outcome o;

    http_script_begin(&s, said);
    ck_assert_int_eq(setenv("http_proxy", s.url, 1), 0);
    o = ask("http://model.invalid", 4500, NULL);
    ck_assert_msg(o.rc == 0, "%s", o.fault.text);
    model_reply_done(&o.reply);
    ck_assert_int_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    o = ask(s.url, 4500, NULL);
    ck_assert_msg(o.rc == 0, "%s", o.fault.text);
    model_reply_done(&o.reply);
    http_script_end(&s);
    ck_assert_ptr_nonnull(
        strstr(buf_get(&s.asked), "POST http://model.invalid/v2/chat HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "POST /v2/chat HTTP/1.1\r\n"));
    buf_done(&s.asked);
}
END_TEST

/* What a proxy answers is not the model's word, and the key is only for behind the tunnel. */
START_TEST(a_tunnel_that_is_refused_is_no_reply)
{
    const char *const said[] = {HEAD("502 x", "") "sorry", HEAD("502 x", ""), HEAD("502 x", ""),
                                NULL};
    struct http_script s;
    struct outcome o;

    http_script_begin(&s, said);
    ck_assert_int_eq(setenv("https_proxy", s.url, 1), 0);
    o = ask("https://model.invalid", 4500, NULL);
    http_script_end(&s);
    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.kind, ERR_BUSY);
    ck_assert_int_eq(o.fault.tries, 3);
    ck_assert_ptr_nonnull(strstr(o.fault.text, "cannot reach"));
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "CONNECT model.invalid:443 HTTP/1.1\r\n"));
    ck_assert_ptr_null(strstr(buf_get(&s.asked), "Authorization"));
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

static const struct {
    const char *url;
    bool is_here;
} urls[] = {
    {"http://127.0.0.1:5/x",     true },
    {"http://127.9",             true },
    {"https://localhost/",       true },
    {"http://LOCALHOST:1",       true },
    {"http://[::1]:8",           true },
    {"http://localhost.example", false},
    {"http://127.0.0.1.example", false},
    {"http://[::2]",             false},
    {"http://1.2.3.4",           false},
};

START_TEST(this_machine_is_known_by_its_whole_name)
{
    ck_assert_int_eq(fetch_is_this_machine(urls[_i].url), urls[_i].is_here);
}
END_TEST

static void *hang_up(void *fd)
{
    (void)close(*(int *)fd);
    return NULL;
}

START_TEST(a_client_that_leaves_ends_the_call)
{
    static const char *const silent[] = {NULL};
    int pair[2];
    struct http_script s;
    struct outcome o;
    struct stop stop;
    pthread_t thread;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    http_script_begin(&s, silent);
    stop_init(&stop, pair[0]);
    ck_assert_int_eq(pthread_create(&thread, NULL, hang_up, &pair[1]), 0);
    o = ask(s.url, 60000, &stop);
    (void)pthread_join(thread, NULL);
    http_script_end(&s);
    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.kind, ERR_CANCELLED);
    stop_done(&stop);
    (void)close(pair[0]);
    model_reply_done(&o.reply);
    buf_done(&s.asked);
}
END_TEST

START_TEST(nobody_listens)
{
    struct outcome o = ask("http://127.0.0.1:1", 4000, NULL);

    ck_assert_int_eq(o.rc, -1);
    ck_assert_int_eq(o.fault.kind, ERR_BUSY);
    ck_assert_int_eq(o.fault.status, 0);
    ck_assert_int_eq(o.fault.tries, 3);
    ck_assert_ptr_nonnull(strstr(o.fault.text, "CO_API_URL"));
    model_reply_done(&o.reply);
}
END_TEST

/* ---- what is known, and what cannot stand in a request ---- */

START_TEST(models_and_their_rates_are_known)
{
    ck_assert_uint_eq(cohere_known_rate("", COHERE_MODEL), 20);
    ck_assert_uint_eq(cohere_known_rate(COHERE_URL, COHERE_MODEL), 20);
    ck_assert_uint_eq(cohere_known_rate("http://127.0.0.1:9", COHERE_MODEL), 0);
    ck_assert_uint_eq(cohere_known_rate("", "command-a-03-2025"), 0);
    ck_assert_str_eq(cohere_replacement("command-r-plus"), "command-r-plus-08-2024");
    ck_assert_ptr_null(cohere_replacement("command-r-plus-08-2024"));
    ck_assert_ptr_null(cohere_replacement(COHERE_MODEL));
}
END_TEST

static const struct cohere_options wrong[] = {
    {.key = "a b", .name = "m"},
    {.key = "a\nX: y", .name = "m"},
    {.key = "k", .name = ""},
    {.key = "k", .name = "m\"x "},
    {.key = "k", .name = "m", .url = "ftp://x"},
    {.key = "k", .name = "m", .url = "http://user:pass@host"},
    {.key = "k", .name = "m", .url = "http://"},
};

START_TEST(what_cannot_stand_in_a_request_is_refused)
{
    struct model *m = NULL;
    struct err err = {0};

    ck_assert_int_eq(cohere_new(&wrong[_i], &m, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    ck_assert_ptr_null(strstr(err.msg, "a b"));
}
END_TEST

static const struct {
    const char *value;
    int64_t ms;
} waits[] = {
    {"5",                             5000      },
    {"0",                             0         },
    {"1.5",                           1500      },
    {"-1",                            -1        },
    {"soon",                          -1        },
    {"",                              -1        },
    {"99999999999",                   1000000000},
    {"1e30",                          1000000000},
    {"nan",                           -1        },
    {"0x10",                          -1        },
    {"Fri, 01 Jan 2100 00:00:00 GMT", 1000000000},
    {"Thu, 01 Jan 1970 00:00:30 GMT", 10000     },
    {"Thu, 01 Jan 1970 00:00:10 GMT", 0         },
};

START_TEST(retry_after_is_seconds_or_a_date)
{
    ck_assert_int_eq(fetch_retry_after(waits[_i].value, 20), waits[_i].ms);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, version_2_has_all_messages_in_one_list);
    tcase_add_test(t, version_1_has_a_preamble_a_history_and_a_message);
    tcase_add_loop_test(t, reads_replies_in_any_split, 0, ARRAY_LEN(replies));
    tcase_add_test(t, a_text_beyond_the_bound_is_refused);
    tcase_add_loop_test(t, the_words_of_an_error_are_one_line, 0, ARRAY_LEN(errors));
    tcase_add_loop_test(t, tries_again_what_may_pass_and_nothing_else, 0, ARRAY_LEN(calls));
    tcase_add_test(t, a_silent_service_is_left_at_the_deadline);
    tcase_add_loop_test(t, what_has_no_end_is_left_at_a_bound_or_the_deadline, 0,
                        ARRAY_LEN(endless));
    tcase_add_test(t, who_leaves_while_an_error_is_told_is_gone_and_nobody_failed);
    tcase_add_test(t, a_key_of_stars_is_refused_as_any_other);
    tcase_add_test(t, a_proxy_of_the_environment_is_used_for_other_machines_only);
    tcase_add_test(t, a_tunnel_that_is_refused_is_no_reply);
    tcase_add_loop_test(t, this_machine_is_known_by_its_whole_name, 0, ARRAY_LEN(urls));
    tcase_add_test(t, a_client_that_leaves_ends_the_call);
    tcase_add_test(t, nobody_listens);
    tcase_add_test(t, models_and_their_rates_are_known);
    tcase_add_loop_test(t, what_cannot_stand_in_a_request_is_refused, 0, ARRAY_LEN(wrong));
    tcase_add_loop_test(t, retry_after_is_seconds_or_a_date, 0, ARRAY_LEN(waits));
}

UNIT_MAIN("cohere", add_tests)
