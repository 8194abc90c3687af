#include "base/json.h"

#include <math.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "unit.h"

/* ---- writing ---- */

static const struct quoted {
    const char *s;
    size_t n;
    const char *json;
} quoted[] = {
    {"",                         0, "\"\""                                    },
    {"abc",                      3, "\"abc\""                                 },
    {"\"\\/",                    3, "\"\\\"\\\\/\""                           },
    {"\b\t\n\f\r",               5, "\"\\b\\t\\n\\f\\r\""                     },
    {"\0\x01\x0b\x1f\x7f",       5, "\"\\u0000\\u0001\\u000b\\u001f\\u007f\"" },
    {"\xC3\xA9\xF0\x9F\x98\x80", 6, "\"\xC3\xA9\xF0\x9F\x98\x80\""            },
    {"a\xFF"
     "b",                   3,
     "\"a\xEF\xBF\xBD"
     "b\""                                                                    },
    {"\xE2\x82",                 2, "\"\xEF\xBF\xBD\""                        },
    {"\xED\xA0\x80",             3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
};

START_TEST(quotes_what_json_cannot_hold)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 1000);
    json_put_str(&b, quoted[_i].s, quoted[_i].n);
    ck_assert_str_eq(buf_get(&b), quoted[_i].json);
}
END_TEST

/* What Python-like repair makes of it: the text that the JSON must hold. */
static char *repaired(const char *s, size_t n, size_t *ret_n)
{
    struct utf8_repair r = {0};
    char *out = xmalloc(UTF8_REPAIR_MAX(n));

    *ret_n = utf8_repair_feed(&r, s, n, out);
    *ret_n += utf8_repair_flush(&r, out + *ret_n);
    return out;
}

static void check_round_trip(const char *s, size_t n)
{
    CLEANUP(buf_done) struct buf b = {0};
    CLEANUP(cJSON_Delete_p) cJSON *back = NULL;
    auto_free char *want = NULL;
    struct err e = {0};
    size_t want_n;

    buf_init(&b, 1 << 20);
    json_put_str(&b, s, n);
    ck_assert(!b.is_full);
    want = repaired(s, n, &want_n);
    /* cJSON ends strings at a NUL, which the strict scanner refuses: only without. */
    if (memchr(s, 0, n))
        return;
    ck_assert_msg(json_scan_text(buf_get(&b), b.len, 10, &e) == 0, "%s", e.msg);
    back = cJSON_ParseWithLength(buf_get(&b), b.len);
    ck_assert_ptr_nonnull(back);
    ck_assert_uint_eq(strlen(cJSON_GetStringValue(back)), want_n);
    ck_assert_mem_eq(cJSON_GetStringValue(back), want, want_n);
}

START_TEST(any_bytes_come_back_repaired)
{
    char s[300];

    for (int i = 1; i < 256; i++) {
        s[0] = (char)i;
        check_round_trip(s, 1);
        s[0] = 'a';
        s[1] = (char)i;
        s[2] = 'b';
        check_round_trip(s, 3);
    }
    for (int i = 0; i < 300; i++) {
        random_bytes(s, sizeof(s));
        for (size_t k = 0; k < sizeof(s); k++)
            s[k] = s[k] ? s[k] : 1;
        check_round_trip(s, (size_t)i);
    }
}
END_TEST

START_TEST(sequences_across_the_pieces_stay_whole)
{
    enum { N = 3 * 4096 };
    auto_free char *s = xmalloc(N);

    /* A sequence of four bytes at every place around the borders of the pieces. */
    for (size_t at = 4090; at < 4100; at++) {
        memset(s, 'x', N);
        memcpy(s + at, "\xF0\x9F\x98\x80", 4);
        memcpy(s + at + 4096, "\xE2\x82\xAC", 3);
        check_round_trip(s, N);
    }
    memset(s, '\xFF', N);
    check_round_trip(s, N);
    memset(s, '\n', N);
    check_round_trip(s, N);
}
END_TEST

START_TEST(a_string_fits_exactly_or_the_buffer_is_full)
{
    char text[2000];

    memset(text, 'a', sizeof(text));
    for (size_t n = 0; n < sizeof(text); n += 61) {
        CLEANUP(buf_done) struct buf b = {0}, tight = {0};

        buf_init(&b, n + 2);
        json_put_str(&b, text, n);
        ck_assert(!b.is_full);
        ck_assert_uint_eq(b.len, n + 2);
        buf_init(&tight, n + 1);
        json_put_str(&tight, text, n);
        ck_assert(tight.is_full);
    }
}
END_TEST

START_TEST(escaping_alone_gives_the_length)
{
    char out[JSON_ESCAPE_MAX * 4];

    ck_assert_uint_eq(json_escape(out, "a\n\"\x01", 4), 11);
    ck_assert_mem_eq(out, "a\\n\\\"\\u0001", 11);
    ck_assert_uint_eq(json_escape(out, "", 0), 0);
    ck_assert_uint_eq(json_escape(out, "\0\0\0\0", 4), JSON_ESCAPE_MAX * 4);
}
END_TEST

static const struct number {
    double v;
    const char *json;
} numbers[] = {
    {0,                      "0"                      },
    {-0.0,                   "-0"                     },
    {1,                      "1"                      },
    {-2.5,                   "-2.5"                   },
    {0.1,                    "0.1"                    },
    {1.0 / 3,                "0.3333333333333333"     },
    {9007199254740993.0,     "9007199254740992"       },
    {1e20,                   "1e+20"                  },
    {5e-324,                 "4.94065645841247e-324"  },
    {1.7976931348623157e308, "1.7976931348623157e+308"},
    {NAN,                    "null"                   },
    {INFINITY,               "null"                   },
    {-INFINITY,              "null"                   },
};

START_TEST(numbers_are_written_shortest_and_come_back)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 100);
    json_put_real(&b, numbers[_i].v);
    ck_assert_str_eq(buf_get(&b), numbers[_i].json);
    if (isfinite(numbers[_i].v))
        ck_assert(strtod(buf_get(&b), NULL) == numbers[_i].v);
}
END_TEST

/* ---- reading ---- */

struct order {
    const char *name;
    int64_t count;
    double price;
    bool paid;
    const cJSON *extra;
    int64_t any;
};

/* clang-format off */
static const struct json_field order_fields[] = {
    JSON_FIELD_TEXT(order, name,  "name",  true,  5),
    JSON_FIELD_INT (order, count, "count", false, 1, 600),
    JSON_FIELD_REAL(order, price, "price", false, 0, 1e6),
    JSON_FIELD_BOOL(order, paid,  "paid",  false),
    JSON_FIELD_ITEM(order, extra, "extra", false),
    JSON_FIELD_INT (order, any,   "any",   false, -1e30, 1e30),
};
/* clang-format on */

static int bind(const char *text, struct order *o, cJSON **ret, struct json_fault *fault,
                struct err *err)
{
    *ret = cJSON_Parse(text);
    ck_assert_ptr_nonnull(*ret);
    return json_bind(*ret, order_fields, ARRAY_LEN(order_fields), o, fault, err);
}

START_TEST(fills_every_member_from_its_key)
{
    CLEANUP(cJSON_Delete_p) cJSON *j = NULL;
    struct order o = {0};
    struct err e = {0};

    ck_assert_int_eq(
        bind("{\"other\":1,\"name\":\"bolt\",\"count\":600,\"price\":2.5,\"paid\":true,"
             "\"extra\":[1,2],\"any\":-3}",
             &o, &j, NULL, &e),
        0);
    ck_assert_str_eq(o.name, "bolt");
    ck_assert_int_eq(o.count, 600);
    ck_assert(o.price == 2.5 && o.paid);
    ck_assert_int_eq(cJSON_GetArraySize(o.extra), 2);
    ck_assert_int_eq(o.any, -3);
}
END_TEST

START_TEST(missing_and_null_keys_leave_the_default)
{
    CLEANUP(cJSON_Delete_p) cJSON *j = NULL;
    struct order o = {.count = 7, .price = 1.5, .paid = true};

    ck_assert_int_eq(bind("{\"name\":\"\",\"count\":null,\"paid\":null}", &o, &j, NULL, NULL), 0);
    ck_assert_str_eq(o.name, "");
    ck_assert_int_eq(o.count, 7);
    ck_assert(o.price == 1.5 && o.paid);
    ck_assert_ptr_null(o.extra);
}
END_TEST

static const struct fault_case {
    const char *text, *key;
    enum json_problem problem;
    enum err_kind kind;
    const char *words;
} faults[] = {
    {"[]",                                           NULL,    JSON_WRONG_TYPE,   ERR_INVALID, "body must be a JSON object"},
    {"null",                                         NULL,    JSON_WRONG_TYPE,   ERR_INVALID, "body must be a JSON object"},
    {"{}",                                           "name",  JSON_MISSING,      ERR_INVALID, "'name' is required"        },
    {"{\"Name\":\"a\"}",                             "name",  JSON_MISSING,      ERR_INVALID, "'name' is required"        },
    {"{\"name\":null}",                              "name",  JSON_WRONG_TYPE,   ERR_INVALID, "'name' must be a string"   },
    {"{\"name\":1}",                                 "name",  JSON_WRONG_TYPE,   ERR_INVALID, "'name' must be a string"   },
    {"{\"name\":\"abcdef\"}",                        "name",  JSON_OUT_OF_RANGE, ERR_LIMIT,
     "'name' is longer than 5 bytes"                                                                                      },
    {"{\"name\":\"a\",\"count\":1.5}",               "count", JSON_WRONG_TYPE,   ERR_INVALID,
     "'count' must be an integer"                                                                                         },
    {"{\"name\":\"a\",\"count\":\"1\"}",             "count", JSON_WRONG_TYPE,   ERR_INVALID,
     "'count' must be an integer"                                                                                         },
    {"{\"name\":\"a\",\"count\":true}",              "count", JSON_WRONG_TYPE,   ERR_INVALID,
     "'count' must be an integer"                                                                                         },
    {"{\"name\":\"a\",\"count\":0}",                 "count", JSON_OUT_OF_RANGE, ERR_INVALID,
     "'count' must be 1..600"                                                                                             },
    {"{\"name\":\"a\",\"count\":601}",               "count", JSON_OUT_OF_RANGE, ERR_INVALID,
     "'count' must be 1..600"                                                                                             },
    {"{\"name\":\"a\",\"count\":1e300}",             "count", JSON_OUT_OF_RANGE, ERR_INVALID,
     "'count' must be 1..600"                                                                                             },
    {"{\"name\":\"a\",\"price\":-0.1}",              "price", JSON_OUT_OF_RANGE, ERR_INVALID,
     "'price' must be 0..1000000"                                                                                         },
    {"{\"name\":\"a\",\"price\":1e999}",             "price", JSON_OUT_OF_RANGE, ERR_INVALID,
     "'price' must be 0..1000000"                                                                                         },
    {"{\"name\":\"a\",\"price\":[]}",                "price", JSON_WRONG_TYPE,   ERR_INVALID,
     "'price' must be a number"                                                                                           },
    {"{\"name\":\"a\",\"paid\":0}",                  "paid",  JSON_WRONG_TYPE,   ERR_INVALID,
     "'paid' must be true or false"                                                                                       },
    {"{\"name\":\"a\",\"any\":9223372036854775808}", "any",   JSON_OUT_OF_RANGE, ERR_INVALID,
     "'any' must be"                                                                                                      },
    {"{\"name\":\"a\",\"any\":-9.3e18}",             "any",   JSON_OUT_OF_RANGE, ERR_INVALID, "'any' must be"             },
};

START_TEST(names_the_field_that_is_wrong_and_why)
{
    const struct fault_case *c = &faults[_i];
    CLEANUP(cJSON_Delete_p) cJSON *j = NULL;
    struct json_fault fault = {0};
    struct order o = {0};
    struct err e = {0};

    ck_assert_int_eq(bind(c->text, &o, &j, &fault, &e), -1);
    ck_assert_int_eq(fault.problem, c->problem);
    ck_assert_int_eq(e.kind, c->kind);
    ck_assert_ptr_nonnull(strstr(e.msg, c->words));
    if (c->key)
        ck_assert_str_eq(fault.field->key, c->key);
    else
        ck_assert_ptr_null(fault.field);
    if (c->problem == JSON_MISSING)
        ck_assert_ptr_null(fault.found);
    else
        ck_assert_ptr_nonnull(fault.found);
    ck_assert_int_eq(json_bind(j, order_fields, ARRAY_LEN(order_fields), &o, NULL, NULL), -1);
}
END_TEST

START_TEST(the_outermost_integers_of_64_bits_are_read)
{
    CLEANUP(cJSON_Delete_p) cJSON *j = NULL, *k = NULL;
    struct order o = {0};

    /* 2^63 - 1024 is the greatest double below 2^63. */
    ck_assert_int_eq(bind("{\"name\":\"a\",\"any\":9223372036854774784}", &o, &j, NULL, NULL), 0);
    ck_assert_int_eq(o.any, 9223372036854774784);
    ck_assert_int_eq(bind("{\"name\":\"a\",\"any\":-9223372036854775808}", &o, &k, NULL, NULL), 0);
    ck_assert_int_eq(o.any, INT64_MIN);
}
END_TEST

START_TEST(a_text_that_is_not_there_is_empty)
{
    CLEANUP(cJSON_Delete_p) cJSON *j = cJSON_Parse("{\"a\":\"x\",\"b\":1,\"c\":null}");

    ck_assert_str_eq(json_get_text(j, "a"), "x");
    ck_assert_str_eq(json_get_text(j, "A"), "");
    ck_assert_str_eq(json_get_text(j, "b"), "");
    ck_assert_str_eq(json_get_text(j, "c"), "");
    ck_assert_str_eq(json_get_text(NULL, "a"), "");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, a_text_that_is_not_there_is_empty);
    tcase_add_loop_test(t, quotes_what_json_cannot_hold, 0, ARRAY_LEN(quoted));
    tcase_add_test(t, any_bytes_come_back_repaired);
    tcase_add_test(t, sequences_across_the_pieces_stay_whole);
    tcase_add_test(t, a_string_fits_exactly_or_the_buffer_is_full);
    tcase_add_test(t, escaping_alone_gives_the_length);
    tcase_add_loop_test(t, numbers_are_written_shortest_and_come_back, 0, ARRAY_LEN(numbers));
    tcase_add_test(t, fills_every_member_from_its_key);
    tcase_add_test(t, missing_and_null_keys_leave_the_default);
    tcase_add_loop_test(t, names_the_field_that_is_wrong_and_why, 0, ARRAY_LEN(faults));
    tcase_add_test(t, the_outermost_integers_of_64_bits_are_read);
}

UNIT_MAIN("json", add_tests)
