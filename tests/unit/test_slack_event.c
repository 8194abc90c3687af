#include "slack/event.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "slack/command.h"
#include "slack/markup.h"
#include "slack/signature.h"
#include "unit.h"

/* ---- signatures ---- */

#define NOW    1531420618
#define STAMP  "1531420618"
#define SECRET "8f742231b10e8888abcd99yyyzzz85a5"
#define BODY                                                                                   \
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id="     \
    "G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-" \
    "collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F"       \
    "397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."             \
    "803a0bc887a14d10d2c447fce8b6703c"
#define SIGNATURE "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

START_TEST(a_signature_is_made_as_slack_shows)
{
    char out[SIGNATURE_TEXT];

    /* The example of Slack's "Verifying requests from Slack". */
    signature_make(out, SECRET, STAMP, BODY, strlen(BODY));
    ck_assert_str_eq(out, SIGNATURE);
}
END_TEST

static const struct {
    const char *name, *stamp, *signature, *secret;
    int64_t now_s;
    bool is_good;
} signatures[] = {
    {"good",                     STAMP,                     SIGNATURE,      SECRET,     NOW,       true },
    {"five minutes old",         STAMP,                     SIGNATURE,      SECRET,     NOW + 300, true },
    {"older",                    STAMP,                     SIGNATURE,      SECRET,     NOW + 301, false},
    {"five minutes ahead",       STAMP,                     SIGNATURE,      SECRET,     NOW - 300, true },
    {"more",                     STAMP,                     SIGNATURE,      SECRET,     NOW - 301, false},
    {"another stamp",            "1531420619",              SIGNATURE,      SECRET,     NOW,       false},
    {"another secret",           STAMP,                     SIGNATURE,      SECRET "x", NOW,       false},
    {"no secret",                STAMP,                     SIGNATURE,      "",         NOW,       false},
    {"no stamp",                 NULL,                      SIGNATURE,      SECRET,     NOW,       false},
    {"no signature",             STAMP,                     NULL,           SECRET,     NOW,       false},
    {"an empty signature",       STAMP,                     "",             SECRET,     NOW,       false},
    {"another version",          STAMP,
     "v1=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", SECRET,     NOW,       false},
    {"one digit too many",       STAMP,                     SIGNATURE "0",  SECRET,     NOW,       false},
    {"a stamp with more behind", STAMP "x",                 SIGNATURE,      SECRET,     NOW,       false},
    {"no number",                "now",                     SIGNATURE,      SECRET,     NOW,       false},
    {"a huge number",            "99999999999999999999999", SIGNATURE,      SECRET,     NOW,       false},
};

START_TEST(only_good_and_fresh_signatures_count)
{
    const struct signed_request r = {.stamp = signatures[_i].stamp,
                                     .signature = signatures[_i].signature,
                                     .body = BODY,
                                     .n = strlen(BODY)};

    ck_assert_msg(signature_is_good(&r, signatures[_i].secret, signatures[_i].now_s) ==
                      signatures[_i].is_good,
                  "%s", signatures[_i].name);
}
END_TEST

START_TEST(every_byte_of_the_body_is_signed)
{
    char body[] = BODY;
    const struct signed_request r = {
        .stamp = STAMP, .signature = SIGNATURE, .body = body, .n = strlen(BODY)};

    for (size_t i = 0; i < strlen(BODY); i++) {
        body[i] ^= 1;
        MUST(!signature_is_good(&r, SECRET, NOW));
        body[i] ^= 1;
    }
    ck_assert(signature_is_good(&r, SECRET, NOW));
}
END_TEST

/* ---- markup ---- */

static const struct {
    const char *text, *plain;
} markups[] = {
    {"",                                                      ""                         },
    {"plain \xC3\xA4",                                        "plain \xC3\xA4"           },
    {"a &lt; b &amp;&amp; c &gt; d",                          "a < b && c > d"           },
    {"&amp;lt; &quot; &",                                     "&lt; &quot; &"            },
    {"<@U1> and <@U2|ada>",                                   "@U1 and @ada"             },
    {"<#C1|telemetry> <#C2>",                                 "#telemetry #C2"           },
    {"<#C1|>",                                                "#C1"                      },
    {"<!here> <!subteam^S1|@team> <!channel|@channel>",       "@here @team @channel"     },
    {"<!date^1392734382^{date}|Feb 18>",                      "Feb 18"                   },
    {"<http://example.org>",                                  "http://example.org"       },
    {"<http://example.org|example.org>",                      "example.org"              },
    {"<http://a.org/?x=1&amp;y=2|http://a.org/?x=1&amp;y=2>", "http://a.org/?x=1&y=2"    },
    {"<https://a.org|the label>",                             "the label (https://a.org)"},
    {"<mailto:a@b.org|a@b.org> <mailto:c@d.org>",             "a@b.org c@d.org"          },
    {"<> <|> <@> <#> <!> <|x>",                               "  @ # @ x"                },
    {"a < b",                                                 "a < b"                    },
    {"\xE2\x80\x9C"
     "a\xE2\x80\x9D \xE2\x80\x98"
     "b\xE2\x80\x99\xC2\xA0"
     "c",                                                "\"a\" 'b' c"              },
};

START_TEST(what_slack_made_of_a_text_is_undone)
{
    CLEANUP(buf_done) struct buf b = {.max = 1000};

    markup_read(&b, markups[_i].text, strlen(markups[_i].text));
    ck_assert_str_eq(buf_get(&b), markups[_i].plain);
}
END_TEST

START_TEST(texts_for_slack_mention_nobody)
{
    CLEANUP(buf_done) struct buf b = {.max = 1000};
    static const char text[] = "<!channel> & <@U1>";

    markup_put(&b, text, strlen(text));
    ck_assert_str_eq(buf_get(&b), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
}
END_TEST

static const struct {
    const char *text;
    size_t max;
    const char *block;
} blocks[] = {
    {"abc",                               2, "```\nab\xE2\x80\xA6\n```"              },
    {"abc",                               3, "```\nabc\n```"                         },
    {"",                                  3, "```\n\n```"                            },
    {"\xC3\xA4\xC3\xB6\xF0\x9F\x98\x80x", 3,
     "```\n\xC3\xA4\xC3\xB6\xF0\x9F\x98\x80\xE2\x80\xA6\n```"                        },
    {"<&",                                2, "```\n&lt;&amp;\n```"                   },
    {"a\xFF",                             9, "```\na\xEF\xBF\xBD\n```"               },
    {"\xC3",                              9, "```\n\xEF\xBF\xBD\n```"                },
    {"x``````y",                          9,
     "```\nx`\xE2\x80\x8B`\xE2\x80\x8B`\xE2\x80\x8B`\xE2\x80\x8B`\xE2\x80\x8B`y\n```"},
};

START_TEST(a_block_is_cut_by_characters_and_cannot_be_left)
{
    CLEANUP(buf_done) struct buf b = {.max = 1000};

    markup_put_block(&b, blocks[_i].text, strlen(blocks[_i].text), blocks[_i].max);
    ck_assert_str_eq(buf_get(&b), blocks[_i].block);
}
END_TEST

/* ---- commands ---- */

static const struct {
    const char *text;
    enum command_kind kind;
    const char *name, *rest;
} commands[] = {
    {"!agent plot x",                                     COMMAND_AGENT,       "!agent",        "plot x"},
    {" \n!agent\n a \n b \n ",                            COMMAND_AGENT,       "!agent",        "a \n b"},
    {"!agent",                                            COMMAND_AGENT,       "!agent",        ""      },
    {"!Agent x",                                          COMMAND_AGENT,       "!Agent",        "x"     },
    {"!agent-debug x",                                    COMMAND_AGENT_DEBUG, "!agent-debug",  "x"     },
    {"!agent-debugx",                                     COMMAND_UNKNOWN,     "!agent-debugx", ""      },
    {"!agents x",                                         COMMAND_UNKNOWN,     "!agents",       "x"     },
    {"!help me",                                          COMMAND_HELP,        "!help",         "me"    },
    {"!x",                                                COMMAND_UNKNOWN,     "!x",            ""      },
    {"!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xC3\xA4 x", COMMAND_UNKNOWN,
     "!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",                                                 "x"     },
    {"!",                                                 COMMAND_NONE,        "",              ""      },
    {"! agent",                                           COMMAND_NONE,        "",              ""      },
    {"!!agent",                                           COMMAND_NONE,        "",              ""      },
    {"!1",                                                COMMAND_NONE,        "",              ""      },
    {"agent !agent",                                      COMMAND_NONE,        "",              ""      },
    {"",                                                  COMMAND_NONE,        "",              ""      },
};

START_TEST(a_command_is_read)
{
    struct command c;
    auto_free char *rest = NULL;

    command_read(commands[_i].text, &c);
    rest = xstrndup(c.rest, (size_t)c.rest_n);
    ck_assert_int_eq(c.kind, commands[_i].kind);
    ck_assert_str_eq(c.name, commands[_i].name);
    ck_assert_str_eq(rest, commands[_i].rest);
    ck_assert(command_is_work(&c) ==
              (*rest && (c.kind == COMMAND_AGENT || c.kind == COMMAND_AGENT_DEBUG)));
}
END_TEST

/* ---- events ---- */

#define AUTH "\"authorizations\":[{\"user_id\":\"UBOT\",\"is_bot\":true}]"
#define EVENT(fields)                                                                 \
    "{\"type\":\"event_callback\",\"event_id\":\"Ev1\"," AUTH ",\"event\":{\"type\":" \
    "\"message\",\"ts\":\"1.2\"," fields "}}"
#define IN_C1(fields) EVENT("\"channel\":\"C1\",\"user\":\"U1\"," fields)

static const struct event_place place = {.channel = "C1"};

START_TEST(a_message_becomes_a_request)
{
    static const char text[] = IN_C1("\"text\":\"!agent a &lt; b\"");
    CLEANUP(event_done) struct event e = {0};

    ck_assert_int_eq(event_read(text, strlen(text), &place, &e, NULL), 0);
    ck_assert_int_eq(e.kind, EVENT_REQUEST);
    ck_assert_str_eq(e.request.event_id, "Ev1");
    ck_assert_str_eq(e.request.channel, "C1");
    ck_assert_str_eq(e.request.ts, "1.2");
    ck_assert_str_eq(e.request.thread_ts, "1.2");
    ck_assert_str_eq(e.request.user, "U1");
    ck_assert_str_eq(e.request.text, "!agent a < b");
    ck_assert(e.request.is_work);
}
END_TEST

START_TEST(who_may_not_ask_the_model_takes_no_place_in_the_queue)
{
    static const char text[] = IN_C1("\"text\":\"!agent x\"");
    static const char *const others[] = {"U2", "U", NULL}, *const us[] = {"U2", "U1", NULL};
    CLEANUP(event_done) struct event stranger = {0}, e = {0};

    ck_assert_int_eq(event_read(text, strlen(text),
                                &(struct event_place){.channel = "C1", .users = others}, &stranger,
                                NULL),
                     0);
    ck_assert(stranger.kind == EVENT_REQUEST && !stranger.request.is_work);
    ck_assert_int_eq(event_read(text, strlen(text),
                                &(struct event_place){.channel = "C1", .users = us}, &e, NULL),
                     0);
    ck_assert(e.kind == EVENT_REQUEST && e.request.is_work);
}
END_TEST

static const struct {
    const char *text;
    enum event_kind kind;
    const char *thread;
} events[] = {
    {IN_C1("\"text\":\"!help\",\"thread_ts\":\"1.1\""),                                        EVENT_REQUEST,   "1.1"},
    {IN_C1("\"text\":\"!help\",\"thread_ts\":\"<x>\""),                                        EVENT_REQUEST,   "1.2"},
    {IN_C1("\"text\":\"!help\",\"subtype\":null"),                                             EVENT_REQUEST,   "1.2"},
    {IN_C1("\"text\":\"!help\",\"subtype\":\"file_share\""),                                   EVENT_OTHER,     NULL },
    {IN_C1("\"text\":\"!help\",\"bot_id\":\"B1\""),                                            EVENT_OTHER,     NULL },
    {IN_C1("\"text\":\"!help\",\"bot_profile\":{}"),                                           EVENT_OTHER,     NULL },
    {IN_C1("\"text\":\"hello\""),                                                              EVENT_OTHER,     NULL },
    {IN_C1("\"text\":7"),                                                                      EVENT_OTHER,     NULL },
    {EVENT("\"channel\":\"C2\",\"user\":\"U1\",\"text\":\"!help\""),                           EVENT_OTHER,     NULL },
    {EVENT("\"channel\":\"D1\",\"channel_type\":\"im\",\"user\":\"U1\",\"text\":\"!help\""),
     EVENT_REQUEST,                                                                                             "1.2"},
    {EVENT("\"channel\":\"D1\",\"channel_type\":\"mpim\",\"user\":\"U1\",\"text\":\"!help\""),
     EVENT_OTHER,                                                                                               NULL },
    {EVENT("\"channel\":\"C1\",\"user\":\"UBOT\",\"text\":\"!help\""),                         EVENT_OTHER,     NULL },
    {EVENT("\"channel\":\"C1\",\"user\":\"U1> <!here\",\"text\":\"!help\""),                   EVENT_OTHER,     NULL },
    {EVENT("\"channel\":\"C1\",\"text\":\"!help\""),                                           EVENT_OTHER,     NULL },
    {"{\"type\":\"event_callback\"}",                                                          EVENT_OTHER,     NULL },
    {"{\"type\":\"event_callback\",\"event\":null}",                                           EVENT_OTHER,     NULL },
    {"{\"type\":\"app_rate_limited\"}",                                                        EVENT_OTHER,     NULL },
    {"{}",                                                                                     EVENT_OTHER,     NULL },
    {"{\"type\":\"url_verification\",\"challenge\":\"c\"}",                                    EVENT_CHALLENGE, NULL },
    {"{\"type\":\"url_verification\"}",                                                        EVENT_CHALLENGE, NULL },
};

START_TEST(only_new_messages_of_people_in_their_place_are_for_us)
{
    CLEANUP(event_done) struct event e = {0};

    ck_assert_int_eq(event_read(events[_i].text, strlen(events[_i].text), &place, &e, NULL), 0);
    ck_assert_int_eq(e.kind, events[_i].kind);
    if (events[_i].thread)
        ck_assert_str_eq(e.request.thread_ts, events[_i].thread);
    if (e.kind == EVENT_CHALLENGE)
        ck_assert_ptr_nonnull(e.challenge);
}
END_TEST

START_TEST(what_is_no_json_object_is_refused)
{
    static const char *const texts[] = {
        "", "{", "[]", "1", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}"};
    CLEANUP(event_done) struct event e = {0};
    struct err err = {0};

    ck_assert_int_lt(event_read(texts[_i], strlen(texts[_i]), &place, &e, &err), 0);
    ck_assert_int_eq(err.kind, ERR_INVALID);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, a_signature_is_made_as_slack_shows);
    tcase_add_loop_test(t, only_good_and_fresh_signatures_count, 0, ARRAY_LEN(signatures));
    tcase_add_test(t, every_byte_of_the_body_is_signed);
    tcase_add_loop_test(t, what_slack_made_of_a_text_is_undone, 0, ARRAY_LEN(markups));
    tcase_add_test(t, texts_for_slack_mention_nobody);
    tcase_add_loop_test(t, a_block_is_cut_by_characters_and_cannot_be_left, 0, ARRAY_LEN(blocks));
    tcase_add_loop_test(t, a_command_is_read, 0, ARRAY_LEN(commands));
    tcase_add_test(t, a_message_becomes_a_request);
    tcase_add_test(t, who_may_not_ask_the_model_takes_no_place_in_the_queue);
    tcase_add_loop_test(t, only_new_messages_of_people_in_their_place_are_for_us, 0,
                        ARRAY_LEN(events));
    tcase_add_loop_test(t, what_is_no_json_object_is_refused, 0, 6);
}

UNIT_MAIN("slack_event", add_tests)
