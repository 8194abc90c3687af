/* What the tools are made of: names, patterns, schemas, members of objects, results, URLs. */
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "tools/mcp_wire.h"
#include "tools/members.h"
#include "tools/pattern.h"
#include "tools/pyname.h"
#include "tools/schema.h"
#include "tools/urls.h"
#include "unit.h"

static const struct {
    const char *from, *function, *parameter;
} names[] = {
    {"get_devices",      "get_devices",    "get_devices" },
    {"get-weather",      "get_weather",    "get_weather" },
    {"a.b/c d",          "a_b_c_d",        "a_b_c_d"     },
    {"2nd",              "_2nd",           "_2nd"        },
    {"class",            "class_tool",     "class_"      },
    {"from",             "from_tool",      "from_"       },
    {"sync",             "sync_tool",      "sync"        },
    {"ToolError",        "ToolError_tool", "ToolError"   },
    {"__init__",         "init___tool",    "_init___"    },
    {"caf\xC3\xA9",      "caf",            "caf"         },
    {"x\"; import os #", "x_import_os_",   "x_import_os_"},
    {"\xE6\x97\xA5",     NULL,             NULL          },
    {"",                 NULL,             NULL          },
    {"---",              NULL,             NULL          },
};

START_TEST(names_become_pythons)
{
    auto_free char *f = pyname_function(names[_i].from);
    auto_free char *p = pyname_parameter(names[_i].from);

    if (!names[_i].function) {
        ck_assert_ptr_null(f);
        ck_assert_ptr_null(p);
        return;
    }
    ck_assert_str_eq(f, names[_i].function);
    ck_assert_str_eq(p, names[_i].parameter);
    ck_assert(pyname_is_function(f));
    ck_assert(pyname_is_valid(p));
}
END_TEST

START_TEST(modules_may_not_stand_before_pythons)
{
    static const char *const bad[] = {
        "os",  "json",    "tools",  "class", "_x",         "2x",      "a-b",     "",
        "a.b", "secrets", "shutil", "email", "concurrent", "servers", "sklearn", "yaml"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!pyname_is_module(bad[i]), "%s", bad[i]);
    ck_assert(pyname_is_module("data"));
    ck_assert(pyname_is_module("Home_2"));
}
END_TEST

START_TEST(long_names_are_cut)
{
    char name[200];
    auto_free char *f = NULL;

    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    f = pyname_function(name);
    ck_assert(pyname_is_function(f));
    ck_assert(!pyname_is_valid(name));
}
END_TEST

static const struct {
    const char *pattern, *good, *bad; /* good NULL: it cannot be used */
} patterns[] = {
    {"^\\d+$",                                                                       "123",      "12a"   },
    {"^[\\w.-]+@\\w+\\.\\w{2,}$",                                                    "a.b@c.de", "a@b.c" },
    {"^(?:ab|cd)+$",                                                                 "abcd",     "abc"   },
    {"^light\\.",                                                                    "light.x",  "lightx"},
    {"\\s",                                                                          "a b",      "ab"    },
    {"^[^\\s]+$",                                                                    "ab",       "a b"   },
    {"b",                                                                            "abc",      "acd"   },
    {"^a\\tb$",                                                                      "a\tb",     "atb"   },
    {"^[a-z0-9_]{1,64}$",                                                            "x_1",      "X"     },
    {"^a|b$",                                                                        "ax",       "xc"    },
    {"(?=x)",                                                                        NULL,       NULL    },
    {"(a)\\1",                                                                       NULL,       NULL    },
    {"\\bx",                                                                         NULL,       NULL    },
    {"a{2000}",                                                                      NULL,       NULL    },
    {"((a{40}){40}){40}",                                                            NULL,       NULL    },
    {"a{99999999999999999999}",                                                      NULL,       NULL    },
    {"a+?",                                                                          NULL,       NULL    },
    {"((((((((((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+", NULL,       NULL    },
    {"a++++++++++++++++++++++++++++++",                                              NULL,       NULL    },
    {"a)(b",                                                                         NULL,       NULL    },
    {"^(a+)+(b+)+(c+)+(d+)+(e+)+(f+)+(g+)+$",                                        "abcdefg",  "abcdef"},
    {"(^a|b$)",                                                                      "xb",       "xa"    },
    {"^(([a-z]+\\.)+[a-z]+)$",                                                       "a.b.c",    "a..b"  },
    {"(",                                                                            NULL,       NULL    },
    {"[",                                                                            NULL,       NULL    },
    {"\\",                                                                           NULL,       NULL    },
    {"{",                                                                            NULL,       NULL    },
    {"\\u00e9",                                                                      NULL,       NULL    },
};

static bool pattern_matches(const char *pattern, const char *text)
{
    struct pattern_use u = {0};
    enum pattern_answer answer = pattern_match(&u, pattern, text);

    pattern_use_done(&u);
    return answer == PATTERN_YES;
}

START_TEST(patterns_mean_what_they_mean_elsewhere)
{
    const char *pattern = patterns[_i].pattern;
    struct err e = {0};

    if (!patterns[_i].good) {
        ck_assert_int_eq(pattern_check(pattern, &e), -1);
        ck_assert_int_eq(e.kind, ERR_INVALID);
        ck_assert(pattern_matches(pattern, "x")); /* the service decides */
        return;
    }
    ck_assert_msg(pattern_check(pattern, &e) == 0, "%s", e.msg);
    ck_assert(pattern_matches(pattern, patterns[_i].good));
    ck_assert(!pattern_matches(pattern, patterns[_i].bad));
}
END_TEST

START_TEST(patterns_look_at_so_much)
{
    char *text = xmalloc(PATTERN_TEXT_MAX + 2);

    memset(text, 'a', PATTERN_TEXT_MAX + 1);
    text[PATTERN_TEXT_MAX + 1] = '\0';
    ck_assert(!pattern_matches("a", text));
    text[PATTERN_TEXT_MAX] = '\0';
    ck_assert(pattern_matches("^(a|b)*a(a|b){12}$", text));
    free(text);
}
END_TEST

/* Without bounds each of them takes minutes, or all memory. */
START_TEST(patterns_cannot_be_made_to_work_for_ever)
{
    static const char *const slow[] = {
        "(a|b)*a(a|b){30}c", "(a|b)*a(a|b){300}c", "(.*)(.*)(.*)(.*)c",
        "(a{1,9}){1,99}c",   "(x?){500}c",         "[ab]{1,500}c",
    };
    char text[PATTERN_TEXT_MAX + 1] = "";
    int64_t from = unit_cpu_ms();
    unsigned seed = 1;

    for (size_t i = 0; i < PATTERN_TEXT_MAX; i++) {
        seed = seed * 1103515245 + 12345;
        text[i] = "ab"[seed >> 16 & 1];
    }
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        ck_assert(!pattern_matches(slow[i], text));
    /* By characters instead of bytes the C library takes seconds for each of these. */
    for (size_t i = 0; i < PATTERN_TEXT_MAX; i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    for (int i = 0; i < 10; i++)
        ck_assert(!pattern_matches("^.{1,400}$", text));
    ck_assert_int_lt(unit_cpu_ms() - from, patient(10000));
}
END_TEST

static const struct {
    const char *schema, *value, *says; /* says NULL: it is good */
} schemas[] = {
    {"{\"type\":\"string\"}",                                                           "\"x\"",                      NULL                                          },
    {"{\"type\":\"string\"}",                                                           "1",                          "argument 'v' must be a string"               },
    {"{\"type\":[\"string\",\"null\"]}",                                                "null",                       NULL                                          },
    {"{\"type\":[\"string\",\"null\"]}",                                                "1",                          "argument 'v' must be a string"               },
    {"{\"type\":\"string\",\"nullable\":true}",                                         "null",                       NULL                                          },
    {"{\"type\":\"integer\"}",                                                          "1.0",                        NULL                                          },
    {"{\"type\":\"integer\"}",                                                          "1e3",                        NULL                                          },
    {"{\"type\":\"integer\"}",                                                          "1.5",                        "argument 'v' must be an integer"             },
    {"{\"type\":\"integer\"}",                                                          "true",                       "argument 'v' must be an integer"             },
    {"{\"exclusiveMinimum\":0}",                                                        "0",                          "argument 'v' must be over 0"                 },
    {"{\"minimum\":0,\"exclusiveMinimum\":true}",                                       "0",                          "argument 'v' must be over 0"                 },
    {"{\"maximum\":5,\"exclusiveMaximum\":true}",                                       "5",                          "argument 'v' must be under 5"                },
    {"{\"const\":3}",                                                                   "4",                          "argument 'v' has another value"              },
    {"{\"enum\":[1,\"a\",null]}",                                                       "null",                       NULL                                          },
    {"{\"enum\":[1,\"a\"]}",                                                            "2",                          "argument 'v' must be one of 1 \"a\""         },
    {"{\"minLength\":2}",                                                               "\"\xC3\xA4\"",               "argument 'v' must have at least 2 characters"},
    {"{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"a\"],\"properties\":"
     "{\"a\":{\"type\":\"array\",\"maxItems\":1}}}}",                              "[{\"a\":[]},{\"a\":[1,2]}]", "argument 'v[1].a' must have at most 1 items" },
    {"{\"type\":\"object\",\"required\":[\"a\"]}",                                      "{}",                         "argument 'v' lacks 'a'"                      },
    {"{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"a\":{}}}",  "{\"b\":1}",
     "argument 'v.b' is not known"                                                                                                                                  },
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}",                        "null",                       NULL                                          },
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}",                        "\"x\"",
     "argument 'v' must be an integer"                                                                                                                              },
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"boolean\"},{\"type\":\"null\"}]}", "\"x\"",
     "argument 'v' has none of the forms"                                                                                                                           },
    {"{\"allOf\":[{\"minimum\":1},{\"maximum\":2}]}",                                   "3",                          "argument 'v' must be at most 2"              },
    {"{\"properties\":{\"a\":false}}",                                                  "{\"a\":1}",                  "argument 'v.a' is not allowed"               },
    {"{\"type\":17,\"enum\":5,\"items\":7,\"anyOf\":{},\"pattern\":[]}",                "[1]",                        NULL                                          },
    {"{\"type\":[\"string\",\"null\"]}",                                                "\"x\"",                      NULL                                          },
    {"{\"type\":[\"integer\",\"string\"]}",                                             "\"x\"",                      NULL                                          },
    {"{\"type\":[\"integer\",\"string\"]}",                                             "true",                       "argument 'v' must be an integer"             },
    {"{\"const\":3}",                                                                   "3",                          NULL                                          },
    {"{\"exclusiveMinimum\":0,\"exclusiveMaximum\":2}",                                 "1",                          NULL                                          },
    {"{\"minimum\":0,\"maximum\":0,\"exclusiveMinimum\":false}",                        "0",                          NULL                                          },
    {"{\"minLength\":1,\"maxLength\":1}",                                               "\"\xC3\xA4\"",               NULL                                          },
    {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false,\"properties\":{"
     "\"a\":{}}}",                                                                 "{\"a\":1}",                  NULL                                          },
    {"{\"allOf\":[{\"minimum\":1},{\"maximum\":2}]}",                                   "2",                          NULL                                          },
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"boolean\"}]}",                     "true",                       NULL                                          },
    {"{}",                                                                              "{\"anything\":[1,2]}",       NULL                                          },
};

START_TEST(schemas_say_what_is_wrong)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse(schemas[_i].schema);
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_Parse(schemas[_i].value);
    struct err e = {0};

    ck_assert_ptr_nonnull(schema);
    ck_assert_ptr_nonnull(value);
    if (!schemas[_i].says) {
        ck_assert_msg(schema_check(schema, value, "v", &e) == 0, "%s", e.msg);
        return;
    }
    ck_assert_int_eq(schema_check(schema, value, "v", &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_msg(strstr(e.msg, schemas[_i].says) == e.msg, "%s", e.msg);
}
END_TEST

START_TEST(schemas_cannot_be_made_to_work_for_ever)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse("{\"type\":\"integer\"}");
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_Parse("1");
    struct err e = {0};

    /* Each level doubles the work: 2^40 without a bound. */
    for (int i = 0; i < 40; i++) {
        cJSON *outer = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(outer, "allOf");

        (void)cJSON_AddItemReferenceToArray(list, schema);
        (void)cJSON_AddItemToArray(list, schema);
        schema = outer;
    }
    ck_assert_int_eq(schema_check(schema, value, "v", &e), -1);
    ck_assert_str_eq(e.msg, "argument 'v' is too large to be checked");
}
END_TEST

/* A comparison that goes through objects twice at each level takes 2^40 steps. */
START_TEST(deep_values_are_compared_once)
{
    static const char *const keys[] = {"const", "enum"};
    CLEANUP(buf_done) struct buf text = {.max = 4096};
    CLEANUP(cJSON_Delete_p) cJSON *value = NULL;
    struct err e = {0};

    for (int i = 0; i < 40; i++)
        (void)buf_str(&text, "{\"a\":");
    (void)buf_str(&text, "[1,\"x\",null]");
    for (int i = 0; i < 40; i++)
        (void)buf_char(&text, '}');
    value = cJSON_Parse(buf_get(&text));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        auto_free char *form =
            xasprintf("{\"%s\":%s%s%s}", keys[i], i ? "[" : "", buf_get(&text), i ? "]" : "");
        CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse(form);

        ck_assert_ptr_nonnull(schema);
        ck_assert_msg(schema_check(schema, value, "v", &e) == 0, "%s", e.msg);
    }
}
END_TEST

/* Many members on both sides: 10^10 comparisons of names. */
START_TEST(wide_values_are_looked_at_so_far)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse("{\"properties\":{}}");
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_CreateObject();
    cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    struct err e = {0};

    for (int i = 0; i < 100000; i++) {
        auto_free char *key = xasprintf("k%d", i);

        (void)cJSON_AddItemToObject(properties, key, cJSON_CreateTrue());
        key[0] = 'v';
        (void)cJSON_AddItemToObject(value, key, cJSON_CreateTrue());
    }
    ck_assert_int_eq(schema_check(schema, value, "v", &e), -1);
    ck_assert_str_eq(e.msg, "argument 'v' is too large to be checked");
}
END_TEST

/* Every item looks for the same dozen keys among all of them. */
START_TEST(wide_schemas_are_looked_at_so_often)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse("{\"items\":{}}");
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_CreateArray();
    cJSON *items = cJSON_GetObjectItemCaseSensitive(schema, "items");
    struct err e = {0};

    for (int i = 0; i < 4000; i++) {
        auto_free char *key = xasprintf("x-%d", i);

        (void)cJSON_AddTrueToObject(items, key);
    }
    for (int i = 0; i < 100000; i++)
        (void)cJSON_AddItemToArray(value, cJSON_CreateTrue());
    ck_assert_int_eq(schema_check(schema, value, "v", &e), -1);
    ck_assert_ptr_nonnull(strstr(e.msg, "is too large to be checked"));
}
END_TEST

START_TEST(types_have_names)
{
    static const char *const rows[][2] = {
        {"{\"type\":\"string\"}",                                  "string" },
        {"{\"type\":[\"null\",\"integer\"]}",                      "integer"},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\"}]}", "array"  },
        {"{\"type\":\"banana\"}",                                  "any"    },
        {"{}",                                                     "any"    },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse(rows[i][0]);

        ck_assert_str_eq(schema_type(schema), rows[i][1]);
    }
}
END_TEST

/* A list of `n` texts of `text`, against the pattern. -1, and `e` filled. */
static int check_list(const char *pattern, const char *text, int n, struct err *e)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = cJSON_Parse("{\"items\":{}}");
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_CreateArray();

    (void)cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(schema, "items"), "pattern",
                                  pattern);
    for (int i = 0; i < n; i++)
        (void)cJSON_AddItemToArray(value, cJSON_CreateString(text));
    return schema_check(schema, value, "v", e);
}

/* Each text alone is within the bounds: all of them would take minutes. */
START_TEST(lists_of_texts_cannot_be_matched_for_ever)
{
    auto_free char *text = xmalloc(PATTERN_TEXT_MAX + 1);
    int64_t from = clock_ms();
    struct err e = {0};

    for (size_t i = 0; i < PATTERN_TEXT_MAX; i++)
        text[i] = "ab"[i * i / 7 % 3 % 2];
    text[PATTERN_TEXT_MAX] = '\0';
    ck_assert_int_eq(check_list("^(a|b)*(a|b){12}$", text, 20000, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.msg, "is too large to be checked"));
    ck_assert_int_lt(clock_ms() - from, patient(10000));
}
END_TEST

START_TEST(a_list_of_ordinary_names_is_checked)
{
    struct err e = {0};

    ck_assert_msg(check_list("^[a-z0-9_.]+$", "sensor.living_room", 100000, &e) == 0, "%s", e.msg);
}
END_TEST

START_TEST(members_keep_values_as_they_are)
{
    static const char text[] = " { \"a\" : 1e400 ,\"b\\\"\\u00e4\":\t[1, {\"c\": \"},\\\"\"} ] , "
                               "\"\": \"x\", \"d\":{}}\n";
    CLEANUP(members_done) struct members m = {0};
    struct err e = {0};

    ck_assert_int_eq(members_read(text, strlen(text), &m, &e), 0);
    ck_assert_uint_eq(m.n, 4);
    ck_assert(m.list[0].n == 5 && strncmp(m.list[0].value, "1e400", 5) == 0);
    ck_assert_str_eq(m.list[1].key, "b\"\xC3\xA4");
    ck_assert(strncmp(m.list[1].value, "[1, {\"c\": \"},\\\"\"} ]", m.list[1].n) == 0);
    ck_assert_ptr_eq(members_find(&m, ""), &m.list[2]);
    ck_assert_ptr_null(members_find(&m, "e"));
}
END_TEST

START_TEST(what_is_no_object_has_no_members)
{
    static const char *const bad[] = {"",       "[]",       "1",     "{",
                                      "{\"a\"", "{\"a\":1", "{a:1}", "{\"a\" 1}"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct members m;

        ck_assert_msg(members_read(bad[i], strlen(bad[i]), &m, NULL) == -1, "%s", bad[i]);
        members_done(&m);
    }
}
END_TEST

/* What `content` of a tool's result becomes; the caller frees. */
static char *read_content(const char *content)
{
    CLEANUP(buf_done) struct buf result = {.max = 1 << 24}, ret = {.max = 1 << 24};
    struct err e = {0};
    bool has_failed;

    (void)buf_fmt(&result, "{\"content\":%s}", content);
    ck_assert_msg(mcp_read_result(buf_get(&result), result.len, &ret, &has_failed, &e) == 0, "%s",
                  e.msg);
    ck_assert(!has_failed);
    return buf_take(&ret);
}

static const char *const contents[][2] = {
    {"[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]", "\"a\\nb\""},
    {"[{\"type\":\"text\",\"text\":\"a\\u0000b\"}]",                            NULL       },
    {"[{\"type\":\"image\"}]",                                                  NULL       },
    {"\"a\"",                                                                   NULL       },
    {"null",                                                                    NULL       },
};

START_TEST(content_that_is_no_plain_text_goes_on_as_it_is)
{
    auto_free char *got = read_content(contents[_i][0]);

    ck_assert_str_eq(got, contents[_i][1] ? contents[_i][1] : contents[_i][0]);
}
END_TEST

/* Each value that is read takes 64 bytes of the front. */
START_TEST(content_of_very_many_blocks_is_not_read)
{
    CLEANUP(buf_done) struct buf content = {.max = 1 << 24};
    auto_free char *got = NULL;

    for (int i = 0; i < 60000; i++)
        (void)buf_fmt(&content, "%c{\"type\":\"text\",\"text\":\"x\"}", i ? ',' : '[');
    (void)buf_char(&content, ']');
    got = read_content(buf_get(&content));
    ck_assert_str_eq(got, buf_get(&content));
}
END_TEST

START_TEST(origins_are_scheme_host_and_port)
{
    ck_assert(url_is_same_origin("http://Host/a", "HTTP://host:80/b?c"));
    ck_assert(url_is_same_origin("https://h:443", "https://h/"));
    ck_assert(!url_is_same_origin("http://h/", "https://h/"));
    ck_assert(!url_is_same_origin("http://h:8080/", "http://h/"));
    ck_assert(!url_is_same_origin("http://h/", "http://h.example/"));
    ck_assert(!url_is_same_origin("http://h/", "http://h@other/"));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, (double)patient(20000) / 1000);
    tcase_add_loop_test(t, names_become_pythons, 0, ARRAY_LEN(names));
    tcase_add_test(t, modules_may_not_stand_before_pythons);
    tcase_add_test(t, long_names_are_cut);
    tcase_add_loop_test(t, patterns_mean_what_they_mean_elsewhere, 0, ARRAY_LEN(patterns));
    tcase_add_test(t, patterns_look_at_so_much);
    tcase_add_test(t, patterns_cannot_be_made_to_work_for_ever);
    tcase_add_loop_test(t, schemas_say_what_is_wrong, 0, ARRAY_LEN(schemas));
    tcase_add_test(t, schemas_cannot_be_made_to_work_for_ever);
    tcase_add_test(t, deep_values_are_compared_once);
    tcase_add_test(t, wide_values_are_looked_at_so_far);
    tcase_add_test(t, lists_of_texts_cannot_be_matched_for_ever);
    tcase_add_test(t, a_list_of_ordinary_names_is_checked);
    tcase_add_test(t, wide_schemas_are_looked_at_so_often);
    tcase_add_test(t, types_have_names);
    tcase_add_test(t, members_keep_values_as_they_are);
    tcase_add_test(t, what_is_no_object_has_no_members);
    tcase_add_loop_test(t, content_that_is_no_plain_text_goes_on_as_it_is, 0, ARRAY_LEN(contents));
    tcase_add_test(t, content_of_very_many_blocks_is_not_read);
    tcase_add_test(t, origins_are_scheme_host_and_port);
}

UNIT_MAIN_ONE_PROCESS("tools_parts", add_tests)
