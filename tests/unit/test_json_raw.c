#include <string.h>

#include "base/json.h"
#include "base/json_raw.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "unit.h"

static const struct row {
    const char *text, *key, *wanted; /* NULL: there is none */
} rows[] = {
    {"{\"a\":1}",                                     "a",                "1"                       },
    {"{\"a\":1.0}",                                   "a",                "1.0"                     },
    {"{\"a\":-12345678901234567890e-5}",              "a",                "-12345678901234567890e-5"},
    {"{\"a\":true,\"b\":0}",                          "a",                "true"                    },
    {"{\"b\":0,\"a\":null}",                          "a",                "null"                    },
    {"{\"a\":\"\"}",                                  "a",                "\"\""                    },
    {"{\"a\":\"x\\\"}, \\\\\"}",                      "a",                "\"x\\\"}, \\\\\""        },
    {"{\"a\":{}}",                                    "a",                "{}"                      },
    {"{\"a\":[]}",                                    "a",                "[]"                      },
    {"{\"a\":[[1],{\"b\":\"]}\"}],\"c\":2}",          "a",                "[[1],{\"b\":\"]}\"}]"    },
    {"{\"a\":[[1],{\"b\":\"]}\"}],\"c\":2}",          "c",                "2"                       },
    {"{\"a\":{\"b\":1, \"c\": [ 2 ] } }",             "a",                "{\"b\":1, \"c\": [ 2 ] }"},
    {" \r\n\t{ \n\"a\" \t:\r 7 \n, \"b\" : [ ] }\n ", "a",                "7"                       },
    {" \r\n\t{ \n\"a\" \t:\r 7 \n, \"b\" : [ ] }\n ", "b",                "[ ]"                     },
    {"{ \"a\" : true }",                              "a",                "true"                    },
    {"{\"a\":\"x\" }",                                "a",                "\"x\""                   },

    /* a name within another value, or as a value, is none */
    {"{\"b\":{\"a\":1}}",                             "a",                NULL                      },
    {"{\"b\":{\"a\":1},\"a\":2}",                     "a",                "2"                       },
    {"{\"b\":[{\"a\":1}],\"a\":2}",                   "a",                "2"                       },
    {"{\"a\":{\"a\":{\"a\":3}}}",                     "a",                "{\"a\":{\"a\":3}}"       },
    {"{\"b\":\"a\",\"c\":\"\\\"a\\\":5\",\"a\":6}",   "a",                "6"                       },
    {"{\"b\":\"a\"}",                                 "a",                NULL                      },

    /* names are compared whole, and by what they mean */
    {"{\"aa\":1,\"a\":2,\"\":3}",                     "a",                "2"                       },
    {"{\"aa\":1,\"a\":2,\"\":3}",                     "",                 "3"                       },
    {"{\"ab\":1}",                                    "a",                NULL                      },
    {"{\"a\":1}",                                     "ab",               NULL                      },
    {"{\"\\u0061\":1}",                               "a",                "1"                       },
    {"{\"c\\u006Fntext\":{}}",                        "context",          "{}"                      },
    {"{\"\\\"a\":1,\"a\\\\\":2,\"a\":3}",             "a",                "3"                       },
    {"{\"a\\\\\":2}",                                 "a\\",              "2"                       },
    {"{\"\\u00e9\":1}",                               "\xc3\xa9",         "1"                       },
    {"{\"\xc3\xa9\":1}",                              "\xc3\xa9",         "1"                       },
    {"{\"\\ud83d\\ude00\":1}",                        "\xf0\x9f\x98\x80", "1"                       },
    {"{\"\\u0061b\":1}",                              "a",                NULL                      },

    /* what is no object has no members */
    {"{}",                                            "a",                NULL                      },
    {" { } ",                                         "a",                NULL                      },
    {"[]",                                            "a",                NULL                      },
    {"[{\"a\":1}]",                                   "a",                NULL                      },
    {"\"a\"",                                         "a",                NULL                      },
    {"\"{\\\"a\\\":1}\"",                             "a",                NULL                      },
    {"1",                                             "a",                NULL                      },
    {"null",                                          "a",                NULL                      },
};

/* A copy of just that size: what is read beyond its end is seen by the sanitizers. */
static bool find(const char *text, const char *key, char **ret)
{
    size_t n = strlen(text), found_n = 0;
    auto_free char *copy = xmalloc(n ? n : 1);
    const char *found = NULL;
    bool is_there;

    memcpy(copy, text, n);
    is_there = json_raw_member(copy, n, key, &found, &found_n);
    if (is_there) {
        ck_assert(found >= copy && found + found_n <= copy + n);
        *ret = xstrndup(found, found_n);
    }
    return is_there;
}

START_TEST(gives_the_text_of_a_member_as_it_came)
{
    const struct row *row = &rows[_i];
    auto_free char *got = NULL;

    ck_assert_int_eq(json_scan_text(row->text, strlen(row->text), 1000, NULL), 0);
    ck_assert_int_eq(find(row->text, row->key, &got), row->wanted != NULL);
    if (row->wanted)
        ck_assert_str_eq(got, row->wanted);
}
END_TEST

START_TEST(agrees_with_a_parser_about_every_member)
{
    static const char *const pieces[] = {
        "1.0",    "-0",     "\"}\"", "\"\\\\\"", "[1,[],{\"k\":\"]\"}]", "{\"k0\":{\"k1\":[]}}",
        " null ", "false\n"};
    CLEANUP(buf_done) struct buf b = {.max = 1 << 16};

    (void)buf_str(&b, "{");
    for (unsigned i = 0; i < 200; i++)
        (void)buf_fmt(&b, "%s \"k\\u00%02x%u\"%s:%s", i ? "," : "", '0' + i % 10, i,
                      i % 3 ? " " : "", pieces[i % ARRAY_LEN(pieces)]);
    (void)buf_str(&b, "}");
    for (unsigned i = 0; i < 200; i++) {
        CLEANUP(cJSON_Delete_p) cJSON *whole = cJSON_Parse(buf_get(&b)), *part = NULL;
        auto_free char *text = NULL;
        char key[16];

        (void)snprintf(key, sizeof(key), "k%u%u", i % 10, i);
        ck_assert(find(buf_get(&b), key, &text));
        part = cJSON_Parse(text);
        ck_assert(cJSON_Compare(part, cJSON_GetObjectItemCaseSensitive(whole, key), true));
    }
}
END_TEST

/* Its texts are JSON; of others it says nothing, but reads no byte beyond them. */
START_TEST(stays_within_a_text_that_is_cut_anywhere)
{
    const char *text = rows[_i].text;

    for (size_t n = 0; n < strlen(text); n++) {
        auto_free char *part = xstrndup(text, n), *got = NULL;

        (void)find(part, rows[_i].key, &got);
    }
}
END_TEST

/* Each in <> */
static const struct {
    const char *text, *items;
} lists[] = {
    {"[]",                                       ""                                          },
    {" [ ] ",                                    ""                                          },
    {"[1]",                                      "<1>"                                       },
    {"[9007199254740993,1.0, -0 ,\"a,]\",null]", "<9007199254740993><1.0><-0><\"a,]\"><null>"},
    {"[[1,2],{\"a\":[3]} , []]",                 "<[1,2]><{\"a\":[3]}><[]>"                  },
};

START_TEST(gives_the_items_of_a_list_as_they_came)
{
    const char *text = lists[_i].text;
    char got[200] = "";
    struct json_raw_walk w;
    struct json_raw item;

    ck_assert(json_raw_begin_list(&w, text, strlen(text)));
    while (json_raw_next_item(&w, &item)) {
        ck_assert_ptr_null(item.key);
        (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "<%.*s>", (int)item.n,
                       item.value);
    }
    ck_assert_str_eq(got, lists[_i].items);
    for (size_t n = 0; n < strlen(text); n++) { /* cut anywhere it ends, too */
        auto_free char *part = xstrndup(text, n);

        if (json_raw_begin_list(&w, part, n)) {
            while (json_raw_next_item(&w, &item))
                ck_assert(item.value + item.n <= part + n);
        }
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, gives_the_items_of_a_list_as_they_came, 0, ARRAY_LEN(lists));
    tcase_add_loop_test(t, gives_the_text_of_a_member_as_it_came, 0, ARRAY_LEN(rows));
    tcase_add_test(t, agrees_with_a_parser_about_every_member);
    tcase_add_loop_test(t, stays_within_a_text_that_is_cut_anywhere, 0, ARRAY_LEN(rows));
}

UNIT_MAIN_ONE_PROCESS("json_raw", add_tests)
