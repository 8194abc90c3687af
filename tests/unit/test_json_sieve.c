#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/json_sieve.h"
#include "base/mem.h"
#include "base/str.h"
#include "unit.h"

static const char *const file_paths[] = {"files[].b64_data", "image", "[].data", "a.b[][]", NULL};

static const struct json_sieve_options options = {
    .paths = file_paths,
    .spool_dir = "/tmp",
    .text_max = 1 << 20,
    .tokens_max = 1000,
    .blobs_max = 4,
    .blob_max = 1 << 20,
    .total_max = 2 << 20,
};

/* Feeds `text` in pieces of `step` bytes; NULL when it is refused. */
static struct json_sieve *sift(const struct json_sieve_options *o, const char *text, size_t step,
                               struct err *err)
{
    CLEANUP(json_sieve_free_p) struct json_sieve *s = json_sieve_new(o);
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i += step) {
        if (json_sieve_feed(s, text + i, n - i < step ? n - i : step, err) < 0)
            return NULL;
    }
    if (json_sieve_end(s, err) < 0)
        return NULL;
    return TAKE(s);
}

static void expect_blob(struct json_sieve *s, size_t i, const char *want)
{
    const struct spool *blob = json_sieve_blob(s, i);
    char got[64];
    ssize_t n;

    ck_assert_ptr_nonnull(blob);
    n = spool_read(blob, 0, got, sizeof(got), NULL);
    ck_assert_int_eq(n, (ssize_t)strlen(want));
    ck_assert_mem_eq(got, want, strlen(want));
}

/* clang-format off */
static const struct kept {
    const char *text, *copy;
    const char *blobs[4];
} kept[] = {
    {"{\"a\":1}", "{\"a\":1}", {NULL}},
    {"{\"files\":[{\"b64_data\":\"aGk=\",\"n\":\"x\"}]}",
     "{\"files\":[{\"b64_data\":0,\"n\":\"x\"}]}", {"hi"}},
    {"{\"files\":[{\"b64_data\":\"aGk=\"},{\"b64_data\":\"\"},{\"b64_data\":\"aG8=\"}]}",
     "{\"files\":[{\"b64_data\":0},{\"b64_data\":1},{\"b64_data\":2}]}", {"hi", "", "ho"}},
    /* The same key elsewhere is left alone, whatever its type. */
    {"{\"b64_data\":\"aGk=\",\"files\":{\"b64_data\":1},\"x\":[{\"b64_data\":null}]}",
     "{\"b64_data\":\"aGk=\",\"files\":{\"b64_data\":1},\"x\":[{\"b64_data\":null}]}", {NULL}},
    {"{\"files\":[[{\"b64_data\":2}],{\"c\":{\"b64_data\":3}}]}",
     "{\"files\":[[{\"b64_data\":2}],{\"c\":{\"b64_data\":3}}]}", {NULL}},
    {"{\"image\":\"aGk=\",\"i\":\"aGk=\"}", "{\"image\":0,\"i\":\"aGk=\"}", {"hi"}},
    {"[{\"data\":\"aGk=\"},{\"data\":\"aG8=\"}]", "[{\"data\":0},{\"data\":1}]", {"hi", "ho"}},
    {"{\"a\":{\"b\":[[\"aGk=\"],[],[\"aG8=\"]],\"c\":[\"x\"]}}",
     "{\"a\":{\"b\":[[0],[],[1]],\"c\":[\"x\"]}}", {"hi", "ho"}},
    /* Escapes in key and value, white space inside base64. */
    {"{\"im\\u0061ge\":\"\\u0061G\\n\\tk=\"}", "{\"im\\u0061ge\":0}", {"hi"}},
    {"{ \"image\" :\n \"\\/\\/\\/\\/\" }", "{ \"image\" :\n 0 }", {"\xff\xff\xff"}},
    {"{\"a\":{\"b\":1e5},\"d\":[1,-2.50,true]}", "{\"a\":{\"b\":1e5},\"d\":[1,-2.50,true]}",
     {NULL}},
};
/* clang-format on */

START_TEST(diverts_strings_at_the_paths_and_copies_the_rest)
{
    const struct kept *k = &kept[_i];

    for (size_t step = 1; step <= strlen(k->text); step++) {
        struct err e = {0};
        CLEANUP(json_sieve_free_p) struct json_sieve *s = NULL;
        struct json_sieve_options o = options;
        size_t n = 0;

        if (strstr(k->text, "\"b\":1e5")) /* there "a.b" is a number and must stay one */
            o.paths = NULL;
        s = sift(&o, k->text, step, &e);
        ck_assert_msg(s != NULL, "%s: %s", k->text, e.msg);
        ck_assert_str_eq(buf_get(json_sieve_text(s)), k->copy);
        for (; n < 4 && k->blobs[n]; n++)
            expect_blob(s, n, k->blobs[n]);
        ck_assert_uint_eq(json_sieve_blobs(s), n);
        ck_assert_ptr_null(json_sieve_blob(s, n));
    }
}
END_TEST

/* clang-format off */
static const struct refused {
    const char *text;
    enum err_kind kind;
    const char *words;
} refused[] = {
    {"{\"image\":1}", ERR_INVALID, "'image' must be a base64 string"},
    {"{\"image\":null}", ERR_INVALID, "'image' must be a base64 string"},
    {"{\"image\":{\"x\":1}}", ERR_INVALID, "'image' must be a base64 string"},
    {"{\"image\":[]}", ERR_INVALID, "'image' must be a base64 string"},
    {"{\"files\":[{\"b64_data\":true}]}", ERR_INVALID,
     "'files[].b64_data' must be a base64 string"},
    {"{\"image\":\"aGk\"}", ERR_INVALID, "'image' ends inside a group of base64"},
    {"{\"image\":\"aGk-\"}", ERR_INVALID, "'image' is not base64"},
    {"{\"image\":\"aG_k\"}", ERR_INVALID, "'image' is not base64"},
    {"{\"image\":\"aGk=aGk=\"}", ERR_INVALID, "'image' is not base64"},
    {"{\"image\":\"aGk=", ERR_INVALID,
     "Unterminated string starting at: line 1 column 10 (byte 9)"},
    {"{\"image\":\"aGk=\",\"image\":\"aGk=\"}", ERR_INVALID,
     "Duplicate key \"image\": line 1 column 17 (byte 16)"},
    {"[{\"data\":\"\"},{\"data\":\"\"},{\"data\":\"\"},{\"data\":\"\"},{\"data\":\"\"}]",
     ERR_LIMIT, "more than 4 values at '[].data'"},
};
/* clang-format on */

START_TEST(refuses_by_name)
{
    for (size_t step = 1; step <= strlen(refused[_i].text); step++) {
        struct err e = {0};

        ck_assert_ptr_null(sift(&options, refused[_i].text, step, &e));
        ck_assert_int_eq(e.kind, refused[_i].kind);
        ck_assert_str_eq(e.msg, refused[_i].words);
    }
}
END_TEST

START_TEST(keeps_each_bound)
{
    struct json_sieve_options o = options;
    struct err e = {0};

    o.blob_max = 3;
    o.total_max = 5;
    json_sieve_free(sift(&o, "[{\"data\":\"AAAA\"},{\"data\":\"AAA=\"}]", 99, &e));
    ck_assert_int_eq(e.kind, ERR_NONE);
    ck_assert_ptr_null(sift(&o, "{\"image\":\"AAAAAA==\"}", 99, &e));
    ck_assert_int_eq(e.kind, ERR_LIMIT);
    ck_assert_str_eq(e.msg, "'image' is larger than 3 bytes");
    ck_assert_ptr_null(sift(&o, "[{\"data\":\"AAAA\"},{\"data\":\"AAAA\"}]", 99, &e));
    ck_assert_str_eq(e.msg, "the values at '[].data' are larger than 5 bytes");
    o.text_max = 10;
    ck_assert_ptr_null(sift(&o, "{\"a\":\"12345\"}", 99, &e));
    ck_assert_int_eq(e.kind, ERR_LIMIT);
    ck_assert_str_eq(e.msg, "the JSON text is longer than 10 bytes");
}
END_TEST

START_TEST(a_spool_that_cannot_be_made_is_not_the_clients_fault)
{
    struct json_sieve_options o = options;
    auto_free char *text = xmalloc(600000);
    struct err e = {0};

    o.spool_dir = "/nowhere/at/all";
    memset(text, 'A', 600000);
    memcpy(text, "{\"image\":\"", 10);
    memcpy(text + 500000, "\"}", 3);
    ck_assert_ptr_null(sift(&o, text, 65536, &e));
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
}
END_TEST

START_TEST(long_numbers_are_written_as_the_nearest_double)
{
    char text[128] = "[0.1", want[64];
    struct err e = {0};
    CLEANUP(json_sieve_free_p) struct json_sieve *s = NULL;
    CLEANUP(cJSON_Delete_p) cJSON *got = NULL;

    memset(text + 4, '0', 80);
    (void)str_copy(text + 84, ",7]", 44);
    s = sift(&options, text, 7, &e);
    ck_assert_ptr_nonnull(s);
    (void)snprintf(want, sizeof(want), "[%.17g,7]", 0.1);
    ck_assert_str_eq(buf_get(json_sieve_text(s)), want);
    got = cJSON_Parse(buf_get(json_sieve_text(s)));
    ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetArrayItem(got, 0)), 0.1);
}
END_TEST

START_TEST(deep_texts_pass_and_too_deep_ones_do_not_touch_memory)
{
    char text[200];
    struct err e = {0};

    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = '\0';
    json_sieve_free(sift(&options, text, 5, &e));
    ck_assert_int_eq(e.kind, ERR_NONE);
    memset(text, '[', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    ck_assert_ptr_null(sift(&options, text, 5, &e));
    ck_assert_int_eq(strncmp(e.msg, "Nesting deeper", 14), 0);
}
END_TEST

static long peak_kib(void)
{
    struct rusage use;

    (void)getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}

/* 50 MiB in two files, in lines of 76 characters as mail programs write base64. */
START_TEST(fifty_mebibytes_of_files_grow_memory_by_little)
{
    enum { LINE = 57 };
    const int lines = unit_rounds((25 << 20) / LINE, (3 << 20) / LINE);
    struct json_sieve_options o = options;
    unsigned char raw[LINE], back[LINE];
    char text[BASE64_LEN(LINE) + 3];
    CLEANUP(json_sieve_free_p) struct json_sieve *s = NULL;
    struct err e = {0};
    long before;

    o.blob_max = o.total_max = 64 << 20;
    for (size_t i = 0; i < LINE; i++)
        raw[i] = (unsigned char)(i * 37);
    (void)base64_encode(text, raw, LINE);
    memcpy(text + BASE64_LEN(LINE), "\\n", 3);
    before = peak_kib();
    s = json_sieve_new(&o);
    for (int file = 0; file < 2; file++) {
        ck_assert_int_eq(json_sieve_feed(s, file ? ",{\"data\":\"" : "[{\"data\":\"", 10, &e), 0);
        for (int i = 0; i < lines; i++)
            MUST(json_sieve_feed(s, text, sizeof(text) - 1, &e) == 0);
        ck_assert_int_eq(json_sieve_feed(s, "\"}", 2, &e), 0);
    }
    ck_assert_int_eq(json_sieve_feed(s, "]", 1, &e), 0);
    ck_assert_int_eq(json_sieve_end(s, &e), 0);
    if (unit_measures())
        ck_assert_int_lt(peak_kib() - before, 2048);
    ck_assert_str_eq(buf_get(json_sieve_text(s)), "[{\"data\":0},{\"data\":1}]");
    for (size_t file = 0; file < 2; file++) {
        const struct spool *blob = json_sieve_blob(s, file);

        ck_assert_uint_eq(blob->size, (uint64_t)LINE * (uint64_t)lines);
        ck_assert_int_eq(spool_read(blob, blob->size - LINE, back, LINE, NULL), LINE);
        ck_assert_mem_eq(back, raw, LINE);
    }
}
END_TEST

/* clang-format off */
static const struct {
    const char *text, *copy; /* NULL: it is refused */
} nuls[] = {
    {"[\"a\\u0000b\"]",             "[\"a\\ufffdb\"]"            },
    {"[\"\\u0000\\u0000\"]",        "[\"\\ufffd\\ufffd\"]"       },
    {"{\"\\u0000\":1}",             "{\"\\ufffd\":1}"            },
    {"[\"\\\\u0000\"]",             "[\"\\\\u0000\"]"            },
    {"[\"\\\\\\u0000\"]",           "[\"\\\\\\ufffd\"]"          },
    {"[\"\\u0001\\u00b0\\n\\u000\"]", NULL                       },
    {"[\"\\u0001\\u00b0\\n\"]",      "[\"\\u0001\\u00b0\\n\"]"     },
    {"{\"image\":\"\\u0000\"}",      NULL                       },
    {"[\"\\u000",                   NULL                       },
    {"{}\\",                        NULL                       },
    {"{}\\u",                       NULL                       },
};
/* clang-format on */

START_TEST(an_escaped_nul_is_refused_or_replaced_as_it_was_asked)
{
    struct json_sieve_options o = options;

    for (size_t step = 1; step <= strlen(nuls[_i].text); step++) {
        CLEANUP(json_sieve_free_p) struct json_sieve *s = NULL, *plain = NULL;
        struct err err = {0};

        o.replaces_nul = true;
        s = sift(&o, nuls[_i].text, step, &err);
        if (!nuls[_i].copy) {
            ck_assert_ptr_null(s);
            ck_assert_int_eq(err.kind, ERR_INVALID);
            continue;
        }
        ck_assert_msg(s != NULL, "%s", err.msg);
        ck_assert_str_eq(buf_get(json_sieve_text(s)), nuls[_i].copy);
        o.replaces_nul = false;
        plain = sift(&o, nuls[_i].text, step, NULL);
        ck_assert_int_eq(plain != NULL, strcmp(nuls[_i].text, nuls[_i].copy) == 0);
    }
}
END_TEST

/* More of them than one piece holds. */
START_TEST(many_escaped_nuls_are_replaced)
{
    enum { MANY = 20000 };
    CLEANUP(json_sieve_free_p) struct json_sieve *s = NULL;
    CLEANUP(buf_done) struct buf text = {.max = 1 << 20}, copy = {.max = 1 << 20};
    struct json_sieve_options o = options;

    o.replaces_nul = true;
    (void)buf_char(&text, '"');
    (void)buf_char(&copy, '"');
    for (int i = 0; i < MANY; i++) {
        (void)buf_str(&text, "x\\u0000");
        (void)buf_str(&copy, "x\\ufffd");
    }
    (void)buf_char(&text, '"');
    (void)buf_char(&copy, '"');
    s = sift(&o, buf_get(&text), text.len, NULL);
    ck_assert_ptr_nonnull(s);
    ck_assert_str_eq(buf_get(json_sieve_text(s)), buf_get(&copy));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, diverts_strings_at_the_paths_and_copies_the_rest, 0, ARRAY_LEN(kept));
    tcase_add_loop_test(t, refuses_by_name, 0, ARRAY_LEN(refused));
    tcase_add_loop_test(t, an_escaped_nul_is_refused_or_replaced_as_it_was_asked, 0,
                        ARRAY_LEN(nuls));
    tcase_add_test(t, many_escaped_nuls_are_replaced);
    tcase_add_test(t, keeps_each_bound);
    tcase_add_test(t, a_spool_that_cannot_be_made_is_not_the_clients_fault);
    tcase_add_test(t, long_numbers_are_written_as_the_nearest_double);
    tcase_add_test(t, deep_texts_pass_and_too_deep_ones_do_not_touch_memory);
    tcase_add_test(t, fifty_mebibytes_of_files_grow_memory_by_little);
}

UNIT_MAIN_ONE_PROCESS("json_sieve", add_tests)
