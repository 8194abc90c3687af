/* Functions that a file defines, carried out at a service of the test. */
#include "tools_rig.h"

static const char file_text[] =
    "modules:\n"
    "  - name: data\n"
    "    doc: Things\n"
    "    url: ${RIG_URL}\n"
    "    headers: {Authorization: 'Bearer ${secret:TOKEN}', X-Plain: yes-indeed}\n"
    "    functions:\n"
    "      - name: all\n"
    "        path: /mcp/tools/all\n"
    "      - name: find\n"
    "        doc: Finds\n"
    "        path: /find\n"
    "        parameters:\n"
    "          - {name: text, type: string, required: true, max_length: 5}\n"
    "          - {name: limit, type: integer, default: 100, min: 1, max: 1000}\n"
    "          - {name: kind, type: string, enum: [a, b]}\n"
    "          - {name: code, type: string, pattern: '^[A-Z]\\d{3}$$'}\n"
    "          - {name: share, type: number}\n"
    "          - {name: exact, type: boolean}\n"
    "          - {name: ids, type: array, schema: {items: {type: integer}}, max_length: 3}\n"
    "          - {name: more, type: object}\n"
    "          - {name: class, type: string, max_length: 3}\n"
    "      - name: one\n"
    "        method: GET\n"
    "        path: /things/{id}/parts/{part}\n"
    "        strict: true\n"
    "        parameters:\n"
    "          - {name: id, type: string, required: true}\n"
    "          - {name: part}\n"
    "          - {name: q, type: string}\n"
    "          - {name: tags, type: array}\n"
    "          - {name: X-Trace, type: string, in: header}\n"
    "      - name: text\n"
    "        method: GET\n"
    "        path: /text\n"
    "        reply: text\n"
    "      - name: auto\n"
    "        path: /auto\n"
    "        reply: auto\n"
    "      - name: small\n"
    "        path: /small\n"
    "        response: 64\n"
    "      - name: narrow\n"
    "        path: /narrow\n"
    "        concurrency: 2\n"
    "      - name: hasty\n"
    "        path: /hasty\n"
    "        timeout: 50ms\n";

static const char secrets_text[] =
    "# ours\nTOKEN=s3cret-token-0123\nOTHER = 'not used'\nSIGNED=s1gn/ed+key=\n";

enum {
    GOOD,
    FAILS,
    NO_JSON,
    CLOSES,
    REDIRECTS,
    CIRCLES,
    FOREIGN,
    COMPRESSED,
    EMPTY,
    LARGE,
    ECHOES,
    ESCAPES,
    CUT,
};

static void answer(struct rig_site *s, const char *request, struct buf *reply)
{
    char large[4096];

    switch (rig_mode(s)) {
    case FAILS:
        rig_say(reply, "500 Oh", "Content-Type: text/plain\r\n", " boom s3cret-token-0123\n");
        return;
    case NO_JSON:
        rig_say(reply, "200 OK", "Content-Type: text/html\r\n", "<html>");
        return;
    case CLOSES:
        return;
    case REDIRECTS:
        if (strstr(request, "/elsewhere"))
            rig_say_json(reply, "\"there\"");
        else
            rig_say(reply, "307 There", "Location: /elsewhere\r\n", "");
        return;
    case CIRCLES:
        rig_say(reply, "307 There", "Location: /elsewhere\r\n", "");
        return;
    case FOREIGN:
        rig_say(reply, "307 There", "Location: http://192.0.2.1/x\r\n", "");
        return;
    case COMPRESSED:
        rig_say(reply, "200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8b");
        return;
    case EMPTY:
        rig_say(reply, "204 No", "", "");
        return;
    case LARGE:
        memset(large, '7', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        rig_say_json(reply, large);
        return;
    case ECHOES:
        rig_say(reply, "200 OK", "", "{\"sent\": \"Bearer s3cret-token-0123\"}");
        return;
    case ESCAPES:
        rig_say(reply, "200 OK", "",
                "{\"url\": \"/?k=s1gn%2Fed%2Bkey%3D\", \"json\": \"s1gn\\/ed+key=\"}");
        return;
    case CUT:
        (void)buf_str(reply, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 50\r\n\r\n{");
        (void)!io_write_all(s->open_fds[s->peers_n - 1], reply->data, reply->len, INT64_MAX, NULL);
        buf_clear(reply);
        return;
    default:
        rig_say_json(reply, strstr(request, "/text") ? "plain \"text\"\xff"
                                                     : "{\"n\": 12345678901234567890}");
    }
}

static struct rig_site site;
static struct rig_place place;

static struct tools *begin(int mode)
{
    rig_site_begin(&site, answer);
    rig_set_mode(&site, mode);
    rig_place_begin(&place);
    ck_assert_int_eq(setenv("RIG_URL", site.url, 1), 0);
    return rig_open(&place, file_text, secrets_text);
}

static void end(struct tools *t)
{
    tools_free(t);
    rig_site_end(&site);
    rig_place_end(&place);
}

START_TEST(posts_the_arguments_as_json)
{
    struct tools *t = begin(GOOD);
    auto_free char *asked = NULL;

    ck_assert(tools_is_ready(t));
    rig_check_call(t, "data.find", "{\"text\":\"äöü\",\"extra\":[1e400e],\"limit\":7}",
                   "! MCP tool 'find': the arguments cannot be read: "
                   "Invalid number: line 1 column 24 (byte 26)");
    rig_check_call(t, "data.find",
                   "{ \"text\" : \"ab\" , \"big\":12345678901234567890, \"kind\":null}",
                   "= {\"n\": 12345678901234567890}");
    asked = rig_asked(&site);
    ck_assert_str_eq(rig_body(asked),
                     "{\"text\":\"ab\",\"limit\":100,\"big\":12345678901234567890}");
    ck_assert_ptr_nonnull(strstr(asked, "POST /find HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nAuthorization: Bearer s3cret-token-0123\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nX-Plain: yes-indeed\r\n"));
    ck_assert_ptr_nonnull(strstr(asked, "\r\nContent-Type: application/json\r\n"));
    ck_assert_uint_eq(rig_requests(&site), 1);
    end(t);
}
END_TEST

static const struct {
    const char *name, *args, *says;
} wrong[] = {
    {"data.find", "{}",                                                       "MCP tool 'find': argument 'text' is missing"    },
    {"data.find", "{\"text\":1}",                                             "argument 'text' must be a string"               },
    {"data.find", "{\"text\":null}",                                          "argument 'text' must be a string"               },
    {"data.find", "{\"text\":\"ääääää\"}",                                    "argument 'text' must have at most 5 characters" },
    {"data.find", "{\"text\":\"a\",\"limit\":1.5}",                           "argument 'limit' must be an integer"            },
    {"data.find", "{\"text\":\"a\",\"limit\":\"7\"}",                         "argument 'limit' must be an integer"            },
    {"data.find", "{\"text\":\"a\",\"limit\":0}",                             "argument 'limit' must be at least 1"            },
    {"data.find", "{\"text\":\"a\",\"limit\":1001}",                          "argument 'limit' must be at most 1000"          },
    {"data.find", "{\"text\":\"a\",\"kind\":\"c\"}",                          "argument 'kind' must be one of \"a\" \"b\""     },
    {"data.find", "{\"text\":\"a\",\"code\":\"A12\"}",                        "argument 'code' must match ^[A-Z]\\d{3}$"       },
    {"data.find", "{\"text\":\"a\",\"share\":\"x\"}",                         "argument 'share' must be a number"              },
    {"data.find", "{\"text\":\"a\",\"exact\":1}",                             "argument 'exact' must be true or false"         },
    {"data.find", "{\"text\":\"a\",\"ids\":{}}",                              "argument 'ids' must be a list"                  },
    {"data.find", "{\"text\":\"a\",\"ids\":[1,\"2\"]}",                       "argument 'ids[1]' must be an integer"           },
    {"data.find", "{\"text\":\"a\",\"ids\":[1,2,3,4]}",                       "argument 'ids' must have at most 3 items"       },
    {"data.find", "{\"text\":\"a\",\"more\":[]}",                             "argument 'more' must be a dictionary"           },
    {"data.find", "{\"text\":\"a\\u0000b\"}",                                 "the arguments cannot be read"                   },
    {"data.find", "{\"text\":\"a\",\"class_\":\"ok\",\"class\":\"beyond\"}",
     "argument 'class' is given twice"                                                                                         },
    {"data.find", "[]",                                                       "the arguments cannot be read: not a JSON object"},
    {"data.one",  "{\"id\":\"a\",\"part\":1,\"x\":1}",                        "argument 'x' is not known"                      },
    {"data.one",  "{\"id\":\"..\",\"part\":1}",                               "argument 'id' cannot be a part of a path"       },
    {"data.one",  "{\"id\":\".\",\"part\":1}",                                "argument 'id' cannot be a part of a path"       },
    {"data.one",  "{\"id\":\"\",\"part\":1}",                                 "argument 'id' cannot be a part of a path"       },
    {"data.one",  "{\"id\":\"a\"}",                                           "argument 'part' is missing"                     },
    {"data.one",  "{\"id\":\"a\",\"part\":1,\"X_Trace\":\"a\\r\\nEvil: 1\"}",
     "argument 'X_Trace' has characters that no header can have"                                                               },
};

START_TEST(refuses_wrong_arguments_before_anything_is_sent)
{
    struct tools *t = begin(GOOD);

    rig_check_failure(t, wrong[_i].name, wrong[_i].args, HOST_INVALID, wrong[_i].says);
    ck_assert_uint_eq(rig_requests(&site), 0);
    end(t);
}
END_TEST

START_TEST(puts_arguments_where_they_belong)
{
    struct tools *t = begin(GOOD);
    auto_free char *asked = NULL;
    auto_free char *got = rig_call(
        t, "data.one",
        "{\"id\":\"a/../b?c#d%\\r\\n ü\",\"part\":-12,\"q\":\"1&x=2\",\"tags\":[\"x y\",2],"
        "\"X_Trace\":\"it is me\"}");

    ck_assert_str_eq(got, "= {\"n\": 12345678901234567890}");
    asked = rig_asked(&site);
    ck_assert_msg(strstr(asked, "GET /things/a%2F..%2Fb%3Fc%23d%25%0D%0A%20%C3%BC/parts/-12"
                                "?q=1%26x%3D2&tags=x%20y&tags=2 HTTP/1.1\r\n") == asked,
                  "%s", asked);
    ck_assert_ptr_nonnull(strstr(asked, "\r\nX-Trace: it is me\r\n"));
    ck_assert_ptr_null(strcasestr(asked, "content-type"));
    ck_assert_str_eq(rig_body(asked), "");
    end(t);
}
END_TEST

START_TEST(gives_texts_as_strings)
{
    struct tools *t = begin(GOOD);

    rig_check_call(t, "data.text", "{}", "= \"plain \\\"text\\\"\xEF\xBF\xBD\"");
    rig_check_call(t, "data.auto", "{}", "= {\"n\": 12345678901234567890}");
    rig_set_mode(&site, NO_JSON);
    rig_check_call(t, "data.auto", "{}", "= \"<html>\"");
    rig_set_mode(&site, EMPTY);
    rig_check_call(t, "data.auto", "{}", "= null");
    rig_check_call(t, "data.all", "{}", "= null");
    end(t);
}
END_TEST

static const struct {
    int mode;
    const char *name;
    enum host_verdict verdict;
    const char *says;
} failures[] = {
    {FAILS,      "data.all",     HOST_FAILED,    "MCP tool 'all' failed: 500 - boom *****************" },
    {NO_JSON,    "data.all",     HOST_FAILED,    "MCP tool 'all' failed: 200 - the reply is not JSON: "},
    {CLOSES,     "data.all",     HOST_DOWN,      "MCP tool 'all' connection failed: "                  },
    {CUT,        "data.all",     HOST_DOWN,      "MCP tool 'all' connection failed: "                  },
    {FOREIGN,    "data.all",     HOST_FAILED,
     "MCP tool 'all' failed: 307 - it redirects to another place, which is not followed"               },
    {COMPRESSED, "data.all",     HOST_DOWN,      "connection failed: the reply is compressed (gzip)"   },
    {LARGE,      "data.small",   HOST_DOWN,      "connection failed: the reply is over 64 bytes"       },
    {GOOD,       "data.nothing", HOST_FORBIDDEN, "there is no tool 'data.nothing'"                     },
    {GOOD,       "data",         HOST_FORBIDDEN, "there is no tool 'data'"                             },
    {GOOD,       "other.all",    HOST_FORBIDDEN, "there is no tool 'other.all'"                        },
};

START_TEST(says_what_went_wrong)
{
    struct tools *t = begin(failures[_i].mode);

    rig_check_failure(t, failures[_i].name, "{}", failures[_i].verdict, failures[_i].says);
    end(t);
}
END_TEST

START_TEST(follows_redirects_at_the_same_host)
{
    struct tools *t = begin(REDIRECTS);
    auto_free char *asked = NULL;

    rig_check_call(t, "data.all", "{\"k\":1}", "= \"there\"");
    asked = rig_asked(&site);
    ck_assert_ptr_nonnull(strstr(asked, "POST /elsewhere HTTP/1.1\r\n"));
    ck_assert_str_eq(rig_body(asked), "{\"k\":1}");
    end(t);
}
END_TEST

START_TEST(follows_so_many_redirects)
{
    struct tools *t = begin(CIRCLES);

    rig_check_failure(t, "data.all", "{}", HOST_FAILED,
                      "MCP tool 'all' failed: 307 - it redirects");
    ck_assert_uint_eq(rig_requests(&site), 1 + 5);
    end(t);
}
END_TEST

START_TEST(hides_credentials_that_come_back)
{
    struct tools *t = begin(ECHOES);

    rig_check_call(t, "data.all", "{}", "= {\"sent\": \"Bearer *****************\"}");
    rig_set_mode(&site, ESCAPES);
    rig_check_call(t, "data.all", "{}",
                   "= {\"url\": \"/?k=******************\", \"json\": \"*************\"}");
    end(t);
}
END_TEST

/* They would be found in texts that have nothing to do with them. */
START_TEST(does_not_hide_short_values)
{
    struct tools *t = begin(FAILS);

    rig_write(place.secrets, "TOKEN=s3cret-token-0123\nSHORT=boom\n");
    ck_assert_int_eq(tools_reload(t, NULL), 0);
    rig_check_failure(t, "data.all", "{}", HOST_FAILED, "failed: 500 - boom *****************");
    end(t);
}
END_TEST

START_TEST(keeps_connections_open)
{
    struct tools *t = begin(GOOD);

    for (int i = 0; i < 20; i++)
        rig_check_call(t, "data.all", "{}", "= {\"n\": 12345678901234567890}");
    ck_assert_uint_eq(rig_requests(&site), 20);
    ck_assert_uint_eq(site.peers_n, 1);
    end(t);
}
END_TEST

START_TEST(a_connection_that_the_service_closed_is_no_failure)
{
    struct tools *t = begin(GOOD);

    rig_check_call(t, "data.all", "{}", "= {\"n\": 12345678901234567890}");
    ck_assert_uint_eq(rig_requests(&site), 1);
    (void)shutdown(site.open_fds[0], SHUT_RDWR);
    rig_check_call(t, "data.all", "{}", "= {\"n\": 12345678901234567890}");
    end(t);
}
END_TEST

START_TEST(ends_calls_that_take_too_long)
{
    struct tools *t = begin(GOOD);
    struct stop stop;
    struct host_answer a;

    rig_hold(&site, true);
    rig_check_failure(t, "data.hasty", "{}", HOST_TIMEOUT,
                      "MCP tool 'hasty' connection failed: no whole answer in time");
    a = rig_call_within(t, "data.all", "{}", 50, NULL); /* the run's own deadline */
    ck_assert_int_eq(a.verdict, HOST_TIMEOUT);
    rig_answer_done(&a);
    stop_init(&stop, -1);
    stop_ask(&stop);
    a = rig_call_within(t, "data.all", "{}", RIG_WAIT_MS, &stop);
    ck_assert_int_eq(a.verdict, HOST_CANCELLED);
    rig_answer_done(&a);
    stop_done(&stop);
    end(t);
}
END_TEST

static void *call_narrow(void *tools)
{
    return rig_call(tools, "data.narrow", "{}");
}

static void *call_all(void *tools)
{
    return rig_call(tools, "data.all", "{}");
}

START_TEST(lets_so_many_calls_of_a_function_in)
{
    struct tools *t = begin(GOOD);
    pthread_t threads[8], other;
    void *got = NULL;

    rig_hold(&site, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, call_narrow, t), 0);
    RIG_UNTIL(rig_requests(&site) == 2);
    /* Others are not held up. */
    ck_assert_int_eq(pthread_create(&other, NULL, call_all, t), 0);
    RIG_UNTIL(rig_requests(&site) == 3);
    ck_assert_uint_eq(rig_most(&site), 3);
    rig_forget(&site);
    rig_hold(&site, false);
    ck_assert_int_eq(pthread_join(other, &got), 0);
    ck_assert_ptr_nonnull(got);
    free(got);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        ck_assert_int_eq(pthread_join(threads[i], &got), 0);
        ck_assert_str_eq(got, "= {\"n\": 12345678901234567890}");
        free(got);
    }
    ck_assert_uint_le(rig_most(&site), 3);
    end(t);
}
END_TEST

START_TEST(a_service_that_is_not_there_is_told)
{
    struct tools *t = begin(GOOD);
    auto_free char *got = NULL;
    char text[256];
    int fd;

    (void)snprintf(
        text, sizeof(text),
        "modules: [{name: data, url: '%s', headers: {X-Key: '${secret:TOKEN}'}, functions: "
        "[{name: all}]}]\n",
        rig_nowhere(&fd));
    rig_write(place.file, text);
    ck_assert_int_eq(tools_reload(t, NULL), 0);
    got = rig_call(t, "data.all", "{}");
    (void)close(fd);
    ck_assert_msg(strncmp(got, "! MCP tool 'all' connection failed: ", 36) == 0, "%s", got);
    ck_assert_ptr_null(strstr(got, "s3cret"));
    end(t);
}
END_TEST

START_TEST(lists_what_a_policy_permits)
{
    struct tools *t = begin(GOOD);
    char first[] = "data.one", second[] = "nothing";
    char *one[] = {first, second, NULL}, *none[] = {NULL};
    struct policy p = {.tools = one, .key = 1}, q = {.tools = none, .key = 2};
    auto_free char *all = tools_catalogue(t, NULL);
    auto_free char *some = tools_catalogue(t, &p);
    auto_free char *again = tools_catalogue(t, &p);
    auto_free char *nothing = tools_catalogue(t, &q);

    ck_assert_str_eq(nothing, "{\"modules\":[]}");
    ck_assert_str_eq(
        some,
        "{\"modules\":[{\"name\":\"data\",\"doc\":\"Things\",\"functions\":[{\"name\":\"one\","
        "\"doc\":\"\",\"parameters\":["
        "{\"name\":\"id\",\"type\":\"string\",\"required\":true,\"doc\":\"\"},"
        "{\"name\":\"part\",\"type\":\"any\",\"required\":true,\"doc\":\"\"},"
        "{\"name\":\"q\",\"type\":\"string\",\"required\":false,\"default\":null,\"doc\":\"\"},"
        "{\"name\":\"tags\",\"type\":\"array\",\"required\":false,\"default\":null,\"doc\":\"\"},"
        "{\"name\":\"X_Trace\",\"type\":\"string\",\"required\":false,\"default\":null,"
        "\"doc\":\"\"}],\"strict\":true}]}]}");
    ck_assert_str_eq(some, again);
    ck_assert_ptr_nonnull(strstr(all, "{\"name\":\"limit\",\"type\":\"integer\",\"required\":false,"
                                      "\"default\":100,\"doc\":\"\"}"));
    ck_assert_ptr_nonnull(strstr(all, "\"doc\":\"one of [\\\"a\\\",\\\"b\\\"]\""));
    ck_assert_ptr_null(strstr(all, "s3cret"));
    ck_assert_ptr_null(strstr(all, "127.0.0.1"));
    end(t);
}
END_TEST

START_TEST(a_reload_reads_files_and_secrets_again)
{
    struct tools *t = begin(GOOD);
    auto_free char *asked = NULL;
    struct err e = {0};

    rig_write(place.file, "modules: [{name: other, url: '${RIG_URL}', headers: {X-Key: "
                          "'${secret:TOKEN}'}, functions: [{name: all, path: /a}]}]\n");
    rig_write(place.secrets, "TOKEN=another-one-4567\n");
    ck_assert_int_eq(tools_reload(t, &e), 0);
    rig_check_call(t, "other.all", "{}", "= {\"n\": 12345678901234567890}");
    rig_check_failure(t, "data.all", "{}", HOST_FORBIDDEN, "there is no tool");
    asked = rig_asked(&site);
    ck_assert_ptr_nonnull(strstr(asked, "\r\nX-Key: another-one-4567\r\n"));

    /* Where the file may not be opened any more, the one that is open is read. */
    ck_assert_int_eq(unlink(place.secrets), 0);
    ck_assert_int_eq(tools_reload(t, &e), 0);
    rig_check_call(t, "other.all", "{}", "= {\"n\": 12345678901234567890}");

    rig_write(place.file, "modules: [{nam: x}]\n");
    ck_assert_int_eq(tools_reload(t, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    rig_check_call(t, "other.all", "{}", "= {\"n\": 12345678901234567890}");
    end(t);
}
END_TEST

static const struct {
    const char *text, *says;
} faults[] = {
    {"modules: [{name: os, mcp: 'http://x'}]",                                                       "'modules[0].name': must be a name that Python can"                               },
    {"modules: [{name: class, mcp: 'http://x'}]",                                                    "must be a name that Python can"                                                  },
    {"modules: [{name: a}]",                                                                         "must have one of functions, openapi and mcp"                                     },
    {"modules: [{name: a, functions: [{name: b, url: 'http://{c}.x/y', parameters: [{name: c}]}]}]",
     "must be a URL such as"                                                                                                                                                           },
    {"modules: [{name: a, mcp: 'ftp://x'}]",                                                         "'modules[0].mcp': must be a URL"                                                 },
    {"modules: [{name: a, mcp: 'http://x'}, {name: a, mcp: 'http://x'}]",
     "'modules[1].name': is there twice"                                                                                                                                               },
    {"modules: [{name: a, functions: [{name: b, path: /x}]}]",                                       "needs a url, or its module does"                                                 },
    {"modules: [{name: a, url: 'http://x', functions: [{name: sync, path: /x}]}]",
     "must be a name of a Python function"                                                                                                                                             },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, path: x}]}]",                       "must be a path"                                                                  },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, path: '/{c}'}]}]",
     "names a parameter that is not listed"                                                                                                                                            },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b}, {name: b}]}]",
     "there are two functions 'b'"                                                                                                                                                     },
    {"modules: [{name: a, url: 'http://x', headers: {A: '${secret:NO}'}, functions: [{name: b}]}]",
     "there is no secret 'NO'"                                                                                                                                                         },
    {"modules: [{name: a, url: 'http://x', headers: {A: \"x\\ny\"}, functions: [{name: b}]}]",
     "has a value with a control character"                                                                                                                                            },
    {"modules: [{name: a, url: 'http://x', headers: {'A b': x}, functions: [{name: b}]}]",
     "must be the name of a header"                                                                                                                                                    },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: 'c d', in: "
     "header}]}]}]",                                                                            "must be the name of a header"                                                    },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, method: get}]}]",                   "must be GET"                                                                     },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: c, type: "
     "integer, default: x}]}]}]",                                                               "'modules[0].functions[0].parameters[0].default': argument 'c' must be an integer"},
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: c, pattern: "
     "'(?=x)'}]}]}]",                                                                           "the pattern has a special group"                                                 },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: c}, {name: "
     "c}]}]}]",                                                                                 "'b' has a parameter 'c' twice"                                                   },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: c, min: "
     "x}]}]}]",                                                                                 "must be a number"                                                                },
    {"modules: [{name: a, url: 'http://x', functions: [{name: b, parameters: [{name: c, enum: "
     "1}]}]}]",                                                                                 "must be a list"                                                                  },
};

START_TEST(tells_what_is_wrong_with_the_file)
{
    struct err e = {0};

    rig_place_begin(&place);
    rig_write(place.file, faults[_i].text);
    ck_assert_ptr_null(rig_try(&place, false, &e));
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_msg(strstr(e.msg, faults[_i].says) != NULL, "%s", e.msg);
    if (strstr(faults[_i].text, "secret:")) {
        rig_write(place.secrets, "a line without an equals sign\n");
        ck_assert_ptr_null(rig_try(&place, true, &e));
        ck_assert_ptr_nonnull(strstr(e.msg, "line 1 is not NAME=value"));
        ck_assert_ptr_null(strstr(e.msg, "without an equals"));
    }
    rig_place_end(&place);
}
END_TEST

/* Neither whole nor cut, of the file of secrets or of the environment. */
START_TEST(a_fault_does_not_show_a_secret)
{
    static const char *const texts[] = {
        "modules: [{name: a, url: 'ftp://${secret:TOKEN}'}]\n",
        "modules: [{name: a, url: "
        "'http://a-long-name.example.com/and/a/path?k=${secret:TOKEN}'}]\n",
        "modules: [{name: a, url: '${RIG_WITH_USER}'}]\n",
        "modules: [{name: a, concurrency: '${secret:TOKEN}'}]\n",
    };
    struct err e = {0};

    ck_assert_int_eq(setenv("RIG_WITH_USER", "http://me:s3cret-word@data-api:8006", 1), 0);
    rig_place_begin(&place);
    rig_write(place.secrets, secrets_text);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        rig_write(place.file, texts[i]);
        ck_assert_ptr_null(rig_try(&place, true, &e));
        ck_assert_msg(strstr(e.msg, "not '***'") != NULL, "%s", e.msg);
        ck_assert_msg(!strstr(e.msg, "s3cr"), "%s", e.msg);
    }
    rig_place_end(&place);
}
END_TEST

START_TEST(where_no_file_needs_to_be_there_are_no_tools)
{
    const struct tools_files_options o = {
        .file = "", .policies_dir = "/tmp", .secrets = "", .ca_file = ""};
    struct tools_files files;
    struct tools *t = NULL;
    struct err e = {0};

    ck_assert_int_eq(tools_files_open(&o, &files, &e), 0);
    ck_assert_int_eq(tools_open(&files, &t, &e), 0);
    ck_assert(tools_is_ready(t));
    tools_free(t);
    rig_place_begin(&place);
    ck_assert_ptr_null(rig_try(&place, false, &e)); /* one that is named must be there */
    ck_assert_ptr_nonnull(strstr(e.msg, "there is no file"));
    rig_place_end(&place);
}
END_TEST

START_TEST(the_shipped_file_holds_the_contract)
{
    static const char *const urls[] = {"DATA_API_URL", "AUTOMATION_API_URL", "DEVICE_API_URL"};
    static const char *const calls[][3] = {
        {"data.get_devices",               "{}",                                    "POST /mcp/tools/get_devices HTTP/1.1"         },
        {"data.query_device_history",
         "{\"entity_id\":\"a\",\"start_time\":\"-7d\",\"end_time\":\"now\"}",       "POST /mcp/tools/query_device_history HTTP/1.1"},
        {"data.search_events",             "{}",                                    "POST /mcp/tools/search_events HTTP/1.1"       },
        {"automation.detect_patterns",
         "{\"start_time\":\"-7d\",\"end_time\":\"now\",\"pattern_types\":[\"x\"]}", "POST /mcp/tools/detect_patterns HTTP/1.1"     },
        {"device.get_device_capabilities", "{\"entity_id\":\"a\"}",
         "POST /mcp/tools/get_capabilities HTTP/1.1"                                                                               },
    };
    const struct tools_files_options o = {
        .file = "", .policies_dir = "policies", .secrets = "", .ca_file = ""};
    struct tools_files files;
    struct tools *t = NULL;
    struct err e = {0};

    rig_site_begin(&site, answer);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        ck_assert_int_eq(setenv(urls[i], site.url, 1), 0);
    ck_assert_int_eq(tools_files_open(&o, &files, &e), 0);
    ck_assert_msg(tools_open(&files, &t, &e) == 0, "%s", e.msg);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        auto_free char *asked = NULL;

        rig_forget(&site);
        rig_check_call(t, calls[i][0], calls[i][1], "= {\"n\": 12345678901234567890}");
        asked = rig_asked(&site);
        ck_assert_msg(strstr(asked, calls[i][2]) == asked, "%s", asked);
        if (i == 2)
            ck_assert_str_eq(rig_body(asked),
                             "{\"start_time\":\"-24h\",\"end_time\":\"now\",\"limit\":100}");
        else
            ck_assert_str_eq(rig_body(asked), calls[i][1]);
    }
    tools_free(t);
    rig_site_end(&site);
}
END_TEST

START_TEST(a_call_costs_little_beyond_the_tool_itself)
{
    struct tools *t = begin(GOOD);
    enum { CALLS = 300 };
    int64_t us[CALLS], best = INT64_MAX;

    for (int i = 0; i < CALLS; i++) {
        int64_t from = clock_us();

        rig_check_call(t, "data.all", "{}", "= {\"n\": 12345678901234567890}");
        us[i] = clock_us() - from;
        best = us[i] < best ? us[i] : best;
    }
    /* A machine under load says nothing but how fast it can be. */
    ck_assert_msg(!unit_measures() || best < 1000, "%lld us", (long long)best);
    end(t);
}
END_TEST

static void add_tests(TCase *t)
{
    log_init("test", LOG_ERROR, LOG_TEXT, 2);
    tcase_set_timeout(t, (double)patient(60000) / 1000);
    tcase_add_test(t, posts_the_arguments_as_json);
    tcase_add_loop_test(t, refuses_wrong_arguments_before_anything_is_sent, 0, ARRAY_LEN(wrong));
    tcase_add_test(t, puts_arguments_where_they_belong);
    tcase_add_test(t, gives_texts_as_strings);
    tcase_add_loop_test(t, says_what_went_wrong, 0, ARRAY_LEN(failures));
    tcase_add_test(t, follows_redirects_at_the_same_host);
    tcase_add_test(t, follows_so_many_redirects);
    tcase_add_test(t, hides_credentials_that_come_back);
    tcase_add_test(t, does_not_hide_short_values);
    tcase_add_test(t, keeps_connections_open);
    tcase_add_test(t, a_connection_that_the_service_closed_is_no_failure);
    tcase_add_test(t, ends_calls_that_take_too_long);
    tcase_add_test(t, lets_so_many_calls_of_a_function_in);
    tcase_add_test(t, a_service_that_is_not_there_is_told);
    tcase_add_test(t, lists_what_a_policy_permits);
    tcase_add_test(t, a_reload_reads_files_and_secrets_again);
    tcase_add_loop_test(t, tells_what_is_wrong_with_the_file, 0, ARRAY_LEN(faults));
    tcase_add_test(t, a_fault_does_not_show_a_secret);
    tcase_add_test(t, where_no_file_needs_to_be_there_are_no_tools);
    tcase_add_test(t, the_shipped_file_holds_the_contract);
    tcase_add_test(t, a_call_costs_little_beyond_the_tool_itself);
}

UNIT_MAIN_ONE_PROCESS("tools", add_tests)
