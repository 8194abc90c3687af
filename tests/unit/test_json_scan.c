#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "unit.h"

extern char **environ;

#define MANY 1000

static const char *const good[] = {
    "0",
    "-0",
    "-0.5e-7",
    "1E+2",
    "123456789012345678901234567890",
    "2.2250738585072014e-308",
    "1e-999", /* too small is zero, not out of range */
    "true",
    "false",
    "null",
    "\"\"",
    "[]",
    "{}",
    " \t\r\n [ ] \n",
    "[[],{},[{}],{\"a\":[]}]",
    "{\"a\":1,\"b\":{\"a\":1},\"c\":[{\"a\":1},{\"a\":1}]}",
    "[1, -2.5 , \"x\" ,true,null]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u00e9\\u20AC\\ud83d\\ude00\"",
    "\"\x7f h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xef\xbf\xbf\"",
    "{\"\":0,\" \":0,\"\\n\":0}",
};

struct bad {
    const char *text, *words;
};

/* Every row of the table of what cJSON lets through stands here too. */
/* clang-format off */
static const struct bad bad[] = {
    {"", "Expecting value, the text is empty: line 1 column 1 (byte 0)"},
    {"  \n ", "Expecting value: line 2 column 2 (byte 4)"},
    {"[1,]", "Expecting value: line 1 column 4 (byte 3)"},
    {"[1 2]", "Expecting ',' delimiter: line 1 column 4 (byte 3)"},
    {"[1,\n  }", "Expecting value: line 2 column 3 (byte 6)"},
    {"[", "Expecting value: line 1 column 2 (byte 1)"},
    {"]", "Expecting value: line 1 column 1 (byte 0)"},
    {"[}", "Expecting value: line 1 column 2 (byte 1)"},
    {"[1", "Expecting ',' delimiter: line 1 column 3 (byte 2)"},
    {"{\"a\":1,}", "Expecting property name enclosed in double quotes: line 1 column 8 (byte 7)"},
    {"{1:2}", "Expecting property name enclosed in double quotes: line 1 column 2 (byte 1)"},
    {"{'a':1}", "Expecting property name enclosed in double quotes: line 1 column 2 (byte 1)"},
    {"{", "Expecting property name enclosed in double quotes: line 1 col"},
    {"{\"a\":1,", "Expecting property name enclosed in double quotes: line 1 col"},
    {"{\"a\" 1}", "Expecting ':' delimiter: line 1 column 6 (byte 5)"},
    {"{\"a\"", "Expecting ':' delimiter: line 1 column 5 (byte 4)"},
    {"{\"a\":", "Expecting value: line 1 column 6 (byte 5)"},
    {"{\"a\":1 \"b\"}", "Expecting ',' delimiter: line 1 column 8 (byte 7)"},
    {"{\"a\":1]", "Expecting ',' delimiter: line 1 column 7 (byte 6)"},
    {"nul", "Expecting value: line 1 column 1 (byte 0)"},
    {"[nulx]", "Expecting value: line 1 column 2 (byte 1)"},
    {"nullx", "Extra data: line 1 column 5 (byte 4)"},
    {"1 2", "Extra data: line 1 column 3 (byte 2)"},
    {"{} x", "Extra data: line 1 column 4 (byte 3)"},
    {"NaN", "Expecting value: line 1 column 1 (byte 0)"},
    {"-Infinity", "Invalid number: line 1 column 1 (byte 0)"},
    {"/* c */ 1", "Expecting value: line 1 column 1 (byte 0)"},
    {"01", "Invalid number: line 1 column 1 (byte 0)"},
    {"[1.]", "Invalid number: line 1 column 2 (byte 1)"},
    {"-", "Invalid number: line 1 column 1 (byte 0)"},
    {"+1", "Expecting value: line 1 column 1 (byte 0)"},
    {".5", "Expecting value: line 1 column 1 (byte 0)"},
    {"1e", "Invalid number: line 1 column 1 (byte 0)"},
    {"1e+", "Invalid number: line 1 column 1 (byte 0)"},
    {"1.e1", "Invalid number: line 1 column 1 (byte 0)"},
    {"1-1", "Invalid number: line 1 column 1 (byte 0)"},
    {"[1e999]", "Number out of range: line 1 column 2 (byte 1)"},
    {"-1e400", "Number out of range: line 1 column 1 (byte 0)"},
    {"\"abc", "Unterminated string starting at: line 1 column 1 (byte 0)"},
    {"[\"abc\\", "Unterminated string starting at: line 1 column 2 (byte 1)"},
    {"\"a\\x\"", "Invalid \\escape: line 1 column 3 (byte 2)"},
    {"\"\\u12g4\"", "Invalid \\uXXXX escape: line 1 column 3 (byte 2)"},
    {"\"a\nb\"", "Invalid control character at: line 1 column 3 (byte 2)"},
    {"\"\x1f\"", "Invalid control character at: line 1 column 2 (byte 1)"},
    {"\"\\u0000\"", "NUL character in a string: line 1 column 2 (byte 1)"},
    {"{\"\\u0000\":1}", "NUL character in a string: line 1 column 3 (byte 2)"},
    {"\"\\ud800\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\\udc00\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\\ud800x\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\\ud800\\n\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\\ud800\\ud800\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\\ud800\\u0041\"", "Lone surrogate in \\uXXXX escape: line 1 column 2 (byte 1)"},
    {"\"\xff\"", "Invalid UTF-8: line 1 column 2 (byte 1)"},
    {"\"\xc3\xa9\xc3(\"", "Invalid UTF-8: line 1 column 3 (byte 3)"},
    {"\"\xc0\x80\"", "Invalid UTF-8: line 1 column 2 (byte 1)"},
    {"\"\xed\xa0\x80\"", "Invalid UTF-8: line 1 column 2 (byte 1)"},
    {"\"\xf4\x90\x80\x80\"", "Invalid UTF-8: line 1 column 2 (byte 1)"},
    {"\"\xe2\x82\"", "Invalid UTF-8: line 1 column 2 (byte 1)"},
    {"\"\xe2\x82", "Unterminated string starting at: line 1 column 1 (byte 0)"},
    {"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM: line 1 column 1 (byte 0)"},
    {"\xff\xfe{", "Expecting value: line 1 column 1 (byte 0)"},
    {"{\"a\":1,\"a\":2}", "Duplicate key \"a\": line 1 column 8 (byte 7)"},
    {"{\"\\u0061\":1,\n\"a\":2}", "Duplicate key \"a\": line 2 column 1 (byte 13)"},
    {"[{\"x\":{\"k\":0,\"k\":0}}]", "Duplicate key \"k\": line 1 column 14 (byte 13)"},
    {"[\"\xc3\xa9\xe2\x82\xac\" x", "Expecting ',' delimiter: line 1 column 7 (byte 9)"},
};
/* clang-format on */

START_TEST(accepts_strict_json)
{
    struct err e = {0};
    const char *text = good[_i];

    ck_assert_msg(json_scan_text(text, strlen(text), MANY, &e) == 0, "%s: %s", text, e.msg);
}
END_TEST

START_TEST(refuses_what_is_not_json_and_says_where)
{
    const struct bad *b = &bad[_i];
    struct err e = {0};

    ck_assert_int_eq(json_scan_text(b->text, strlen(b->text), MANY, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_msg(strncmp(e.msg, b->words, strlen(b->words)) == 0, "%s: %s", b->text, e.msg);
}
END_TEST

START_TEST(refuses_raw_nul_everywhere)
{
    static const char in_string[] = "\"a\0b\"", between[] = "[1\0,2]", behind[] = "{}\0";
    struct err e = {0};

    ck_assert_int_eq(json_scan_text(in_string, sizeof(in_string) - 1, MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Invalid control character at: line 1 column 3 (byte 2)");
    ck_assert_int_eq(json_scan_text(between, sizeof(between) - 1, MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Expecting ',' delimiter: line 1 column 3 (byte 2)");
    ck_assert_int_eq(json_scan_text(behind, sizeof(behind) - 1, MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Extra data: line 1 column 3 (byte 2)");
}
END_TEST

/* Feeds `text` in pieces of `step` bytes. */
static int scan_split(const char *text, size_t n, size_t step, struct err *err)
{
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(MANY, NULL, NULL);

    for (size_t i = 0; i < n; i += step) {
        if (json_scan_feed(s, text + i, n - i < step ? n - i : step, err) < 0)
            return -1;
    }
    return json_scan_end(s, err);
}

START_TEST(any_split_gives_the_same_answer)
{
    size_t step = (size_t)_i;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err e = {0};

        ck_assert_msg(scan_split(good[i], strlen(good[i]), step, &e) == 0, "%s: %s", good[i],
                      e.msg);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};

        ck_assert_int_eq(scan_split(bad[i].text, strlen(bad[i].text), step, &e), -1);
        ck_assert_msg(strncmp(e.msg, bad[i].words, strlen(bad[i].words)) == 0, "%s: %s",
                      bad[i].text, e.msg);
    }
}
END_TEST

START_TEST(nests_64_levels_and_no_more)
{
    struct err e = {0};
    char text[2 * (JSON_SCAN_DEPTH + 1)];
    size_t n = JSON_SCAN_DEPTH;

    memset(text, '[', n);
    memset(text + n, ']', n);
    ck_assert_int_eq(json_scan_text(text, 2 * n, MANY, &e), 0);
    memset(text, '[', sizeof(text));
    ck_assert_int_eq(json_scan_text(text, sizeof(text), MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Nesting deeper than 64 levels: line 1 column 65 (byte 64)");
}
END_TEST

START_TEST(counts_values_and_keys_up_to_the_limit)
{
    static const char text[] = "{\"a\":[1,true]}";
    struct err e = {0};

    ck_assert_int_eq(json_scan_text(text, strlen(text), 5, &e), 0);
    ck_assert_int_eq(json_scan_text(text, strlen(text), 4, &e), -1);
    ck_assert_int_eq(e.kind, ERR_LIMIT);
    ck_assert_str_eq(e.msg, "More than 4 values and keys: line 1 column 9 (byte 8)");
    ck_assert_int_eq(json_scan_text(text, strlen(text), 1, &e), -1);
    ck_assert_str_eq(e.msg, "More than 1 values and keys: line 1 column 2 (byte 1)");
}
END_TEST

START_TEST(takes_400_characters_of_a_number_and_no_more)
{
    struct err e = {0};
    char text[JSON_SCAN_DIGITS + 1];

    memset(text, '0', sizeof(text));
    text[1] = '.';
    ck_assert_int_eq(json_scan_text(text, JSON_SCAN_DIGITS, MANY, &e), 0);
    ck_assert_int_eq(json_scan_text(text, sizeof(text), MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Number longer than 400 characters: line 1 column 1 (byte 0)");
    memset(text, '9', sizeof(text));
    ck_assert_int_eq(json_scan_text(text, 308, MANY, &e), 0);
    ck_assert_int_eq(json_scan_text(text, 309, MANY, &e), -1);
    ck_assert_str_eq(e.msg, "Number out of range: line 1 column 1 (byte 0)");
}
END_TEST

START_TEST(shows_only_the_head_of_a_long_duplicate_key)
{
    struct err e = {0};
    struct buf text;

    buf_init(&text, 1 << 20);
    for (int i = 0; i < 2; i++) {
        (void)buf_str(&text, i ? "\":1,\"" : "{\"");
        for (int k = 0; k < 300; k++)
            (void)buf_str(&text, "\\n\xe2\x82\xac");
    }
    (void)buf_str(&text, "\":2}");
    ck_assert_int_eq(json_scan_text(text.data, text.len, MANY, &e), -1);
    ck_assert_int_eq(strncmp(e.msg, "Duplicate key \"\\n\xe2\x82\xac\\n", 20), 0);
    ck_assert_uint_lt(strlen(e.msg), 160);
    buf_done(&text);
}
END_TEST

START_TEST(tells_many_keys_apart)
{
    enum { KEYS = 60000 };
    struct err e = {0};
    struct buf text;

    buf_init(&text, 8 << 20);
    (void)buf_char(&text, '{');
    for (int i = 0; i < KEYS; i++)
        (void)buf_fmt(&text, "\"%d\":0,", i);
    (void)buf_fmt(&text, "\"%d\":0}", KEYS);
    ck_assert_msg(json_scan_text(text.data, text.len, JSON_SCAN_TOKENS, &e) == 0, "%s", e.msg);
    text.data[text.len - 1] = ',';
    (void)buf_fmt(&text, "\"%d\":0}", KEYS / 2);
    ck_assert_int_eq(json_scan_text(text.data, text.len, JSON_SCAN_TOKENS, &e), -1);
    ck_assert_int_eq(strncmp(e.msg, "Duplicate key \"30000\"", 21), 0);
    buf_done(&text);
}
END_TEST

START_TEST(fails_again_in_the_same_words)
{
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(MANY, NULL, NULL);
    struct err first = {0}, later = {0};

    ck_assert_int_eq(json_scan_feed(s, "[}", 2, &first), -1);
    ck_assert_int_eq(json_scan_feed(s, "1]", 2, &later), -1);
    ck_assert_str_eq(first.msg, later.msg);
    later = (struct err){0};
    ck_assert_int_eq(json_scan_end(s, &later), -1);
    ck_assert_str_eq(first.msg, later.msg);
    ck_assert_int_eq(json_scan_feed(s, "", 0, NULL), -1);
}
END_TEST

static int refuse_silently(void *ctx, enum json_scan_kind kind, bool *divert, struct err *err)
{
    (void)ctx, (void)divert, (void)err;
    return kind == JSON_SCAN_WORD ? -1 : 0;
}

START_TEST(a_sink_that_refuses_without_words_is_still_a_failure)
{
    static const struct json_scan_sink sink = {.begin = refuse_silently};
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(MANY, &sink, NULL);
    struct err e = {0};

    ck_assert_int_eq(json_scan_feed(s, "[1,null]", 8, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
    ck_assert_int_eq(json_scan_end(s, &e), -1);
}
END_TEST

/* ---- the same corpus for this scanner and for Python's json ---- */

static uint32_t random_state = 20261121;

static uint32_t dice(uint32_t sides)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % sides;
}

static void make_string(struct buf *b)
{
    static const char *const bits[] = {
        "a",    "b",  "\\n", "\\u0041", "\\ud83d\\ude00", "\\u00e9", "\xc3\xa9", "\xf0\x9f\x98\x80",
        "\\\\", "\\/"};
    static const char *const rare[] = {"\\u0000", "\\ud800", "\\udfff",      "\xff",
                                       "\\x",     "\\u12",   "\xed\xa0\x80", "\x01"};

    (void)buf_char(b, '"');
    for (uint32_t n = dice(4); n; n--)
        (void)buf_str(b, dice(60) ? bits[dice(ARRAY_LEN(bits))] : rare[dice(ARRAY_LEN(rare))]);
    (void)buf_char(b, '"');
}

static void make_leaf(struct buf *b)
{
    static const char *const leaves[] = {
        "0", "-1", "1.5", "1e5", "true", "false", "null", "-0", "12345678901234567890", "1E-400"};
    static const char *const rare[] = {"01",  "1.", "-",  "1e999", "NaN", "-Infinity",
                                       "tru", ".5", "1e", "+1",    "'a'"};

    if (dice(2))
        make_string(b);
    else
        (void)buf_str(b, dice(60) ? leaves[dice(ARRAY_LEN(leaves))] : rare[dice(ARRAY_LEN(rare))]);
}

static void make_value(struct buf *b, int depth)
{
    uint32_t kind = depth > 5 ? 9 : dice(10), n = dice(4);

    if (kind > 5) {
        make_leaf(b);
        return;
    }
    (void)buf_char(b, kind & 1 ? '{' : '[');
    for (uint32_t i = 0; i < n; i++) {
        if (kind & 1) {
            make_string(b);
            (void)buf_str(b, dice(8) ? ":" : " :\n ");
        }
        make_value(b, depth + 1);
        if (i + 1 < n)
            (void)buf_str(b, dice(8) ? "," : "\t,\r\n");
    }
    (void)buf_char(b, kind & 1 ? '}' : ']');
}

static void spoil(struct buf *b)
{
    static const char junk[] = "{}[],:\"\\ x1\n\x80-e";

    if (b->len == 0 || dice(3) == 0)
        return;
    switch (dice(3)) {
    case 0:
        b->data[dice((uint32_t)b->len)] = junk[dice(sizeof(junk) - 1)];
        break;
    case 1:
        b->len -= dice((uint32_t)b->len);
        break;
    default:
        (void)buf_char(b, junk[dice(sizeof(junk) - 1)]);
        break;
    }
}

enum { CORPUS = 6000, CORPUS_TOKENS = 200 };

static int corpus_fd(void)
{
    int fd = memfd_create("corpus", MFD_CLOEXEC);
    struct buf text;

    ck_assert_int_ge(fd, 0);
    buf_init(&text, 1 << 20);
    for (int i = 0; i < CORPUS; i++) {
        uint32_t n;

        buf_clear(&text);
        make_value(&text, 0);
        spoil(&text);
        n = (uint32_t)text.len;
        ck_assert_int_eq(io_write_all(fd, &n, 4, INT64_MAX, NULL), 0);
        ck_assert_int_eq(io_write_all(fd, buf_get(&text), n, INT64_MAX, NULL), 0);
    }
    buf_done(&text);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Python's verdicts, one line each; NULL when there is no Python here. */
static FILE *judge(int corpus)
{
    static char program[] = "python3", script[] = "tests/unit/json_judge.py";
    char *const argv[] = {program, script, NULL};
    int out = memfd_create("verdicts", MFD_CLOEXEC), status;
    posix_spawn_file_actions_t io;
    pid_t pid;

    ck_assert_int_ge(out, 0);
    ck_assert_int_eq(posix_spawn_file_actions_init(&io), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&io, corpus, 0), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&io, out, 1), 0);
    if (posix_spawnp(&pid, argv[0], &io, NULL, argv, environ) != 0)
        return NULL;
    (void)posix_spawn_file_actions_destroy(&io);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(lseek(out, 0, SEEK_SET), 0);
    return fdopen(out, "r");
}

/* Python says "(char n)" of characters; only texts of one byte per character can be compared. */
static bool same_place(const char *ours, const char *theirs)
{
    return strcmp(strchr(ours, ':'), strchr(theirs, ':')) == 0;
}

static int compare(const char *text, uint32_t n, char *verdict)
{
    struct err e = {0};
    bool is_ok = json_scan_text(text, n, CORPUS_TOKENS, &e) == 0, is_ascii = true;
    char *unit = strstr(verdict, "(char ");

    verdict[strcspn(verdict, "\n")] = '\0';
    ck_assert_msg(is_ok == (strcmp(verdict, "ok") == 0), "%.*s: %s / %s", (int)n, text, e.msg,
                  verdict);
    for (uint32_t i = 0; i < n; i++)
        is_ascii = is_ascii && (unsigned char)text[i] < 0x80;
    if (is_ok || !is_ascii || !unit || strncmp(e.msg, verdict, strcspn(e.msg, ":")) != 0)
        return 0;
    if (strstr(verdict, "':'") || strstr(verdict, "Unterminated"))
        return 0; /* the first colon of the message is not the one before the place */
    memcpy(unit, "(byte ", 6);
    ck_assert_msg(same_place(e.msg, verdict), "%.*s: %s / %s", (int)n, text, e.msg, verdict);
    return 1;
}

START_TEST(agrees_with_python_on_a_made_corpus)
{
    int fd = corpus_fd(), places = 0, accepted = 0;
    FILE *verdicts = judge(fd);
    static char text[1 << 16];
    char verdict[256];

    if (!verdicts) {
        printf("skipped: no python3 to compare with\n");
        close(fd);
        return;
    }
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < CORPUS; i++) {
        uint32_t n;

        ck_assert_int_eq(read(fd, &n, 4), 4);
        ck_assert_uint_lt(n, sizeof(text));
        ck_assert_int_eq(read(fd, text, n), (ssize_t)n);
        ck_assert_ptr_nonnull(fgets(verdict, sizeof(verdict), verdicts));
        accepted += strncmp(verdict, "ok", 2) == 0;
        places += compare(text, n, verdict);
    }
    ck_assert_int_gt(accepted, CORPUS / 10);
    ck_assert_int_gt(places, CORPUS / 10);
    (void)fclose(verdicts);
    close(fd);
}
END_TEST

START_TEST(what_is_passed_on_may_hold_nul)
{
    static const char nul[] = "[\"a\\u0000b\", {\"\\u0000\": 1}]", open[] = "[\"\\u0000\"";

    ck_assert_int_eq(json_scan_text(nul, strlen(nul), 100, NULL), -1);
    ck_assert_int_eq(json_scan_passed_on(nul, strlen(nul), 100, NULL), 0);
    ck_assert_int_eq(json_scan_passed_on(nul, strlen(nul), 3, NULL), -1);
    ck_assert_int_eq(json_scan_passed_on(open, strlen(open), 100, NULL), -1);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, accepts_strict_json, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, refuses_what_is_not_json_and_says_where, 0, ARRAY_LEN(bad));
    tcase_add_test(t, what_is_passed_on_may_hold_nul);
    tcase_add_test(t, refuses_raw_nul_everywhere);
    tcase_add_loop_test(t, any_split_gives_the_same_answer, 1, 8);
    tcase_add_test(t, nests_64_levels_and_no_more);
    tcase_add_test(t, counts_values_and_keys_up_to_the_limit);
    tcase_add_test(t, takes_400_characters_of_a_number_and_no_more);
    tcase_add_test(t, shows_only_the_head_of_a_long_duplicate_key);
    tcase_add_test(t, tells_many_keys_apart);
    tcase_add_test(t, fails_again_in_the_same_words);
    tcase_add_test(t, a_sink_that_refuses_without_words_is_still_a_failure);
    tcase_add_test(t, agrees_with_python_on_a_made_corpus);
}

UNIT_MAIN_ONE_PROCESS("json_scan", add_tests)
