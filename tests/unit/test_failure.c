#include "model/failure.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/runner.h"
#include "unit.h"

static struct runner_result result(bool has_code, int code, const char *out, const char *err)
{
    struct runner_result r = {.has_code = has_code, .return_code = code};

    spool_init(&r.out, "/tmp");
    spool_init(&r.err_out, "/tmp");
    ck_assert_int_eq(spool_add(&r.out, out, strlen(out), NULL), 0);
    ck_assert_int_eq(spool_add(&r.err_out, err, strlen(err), NULL), 0);
    return r;
}

static const struct {
    bool has_code;
    int code;
    const char *out, *err, *text;
} texts[] = {
    {true,  1,  "x",                      "Trace\nValueError: bad",
     "STATUS: ERROR (return code: 1)\nERROR_TRACE: Trace\nValueError: bad\nOUTPUT: x"                                     },
    {true,  1,  "",                       "bad",                    "STATUS: ERROR (return code: 1)\nERROR_TRACE: bad"    },
    {true,  -9, "x",                      "",                       "STATUS: ERROR (return code: -9)\nOUTPUT: x"          },
    {false, 0,  "",                       "late",                   "STATUS: ERROR (return code: None)\nERROR_TRACE: late"},
    {true,  0,  "Error fetching data: x", "Error fetching data: x",
     "ERROR_TRACE: Error fetching data: x\nOUTPUT: Error fetching data: x"                                                },
    {true,  0,  "",                       "",                       ""                                                    },
    {true,  1,  "\xFF",                   "a\xC3",
     "STATUS: ERROR (return code: 1)\nERROR_TRACE: a\xEF\xBF\xBD\nOUTPUT: \xEF\xBF\xBD"                                   },
};

START_TEST(the_error_text_is_the_contracts)
{
    CLEANUP(runner_result_done)
    struct runner_result r =
        result(texts[_i].has_code, texts[_i].code, texts[_i].out, texts[_i].err);
    auto_free char *text = failure_text(&r, 8192);

    ck_assert_str_eq(text, texts[_i].text);
}
END_TEST

/* Head and tail stay, whatever was long; nothing grows beyond the bound and the marks. */
START_TEST(long_texts_lose_their_middle)
{
    static const size_t sizes[][2] = {
        {100000, 10    },
        {10,     100000},
        {100000, 100000},
        {3000,   6000  }
    };
    auto_free char *out = xcalloc(1, sizes[_i][0] + 1), *err = xcalloc(1, sizes[_i][1] + 1);
    CLEANUP(runner_result_done) struct runner_result r = {0};
    auto_free char *text = NULL;

    memset(out, 'o', sizes[_i][0]);
    memset(err, 'e', sizes[_i][1]);
    out[0] = err[0] = '<';
    out[sizes[_i][0] - 1] = err[sizes[_i][1] - 1] = '>';
    r = result(true, 1, out, err);
    text = failure_text(&r, 8192);
    ck_assert_uint_lt(strlen(text), 8192 + 300);
    ck_assert_ptr_nonnull(strstr(text, "ERROR_TRACE: <e"));
    ck_assert_ptr_nonnull(strstr(text, "e>\nOUTPUT: <o"));
    ck_assert_str_eq(text + strlen(text) - 2, "o>");
    if (sizes[_i][0] + sizes[_i][1] > 9000)
        ck_assert_ptr_nonnull(strstr(text, " bytes left out ...]"));
}
END_TEST

/* Bytes that grow when they are repaired, and NULs, which no text may have. */
START_TEST(what_is_no_text_is_bounded_all_the_same)
{
    static const char bytes[] = {'\xFF', '\0', '\xC3', '\xF0'};
    static const size_t sizes[] = {8192, 8191, 6000, 100000};
    auto_free char *out = xmalloc(100000), *text = NULL;
    CLEANUP(runner_result_done) struct runner_result r = result(true, 1, "", "");

    memset(out, bytes[_i / 4], sizes[_i % 4]);
    ck_assert_int_eq(spool_add(&r.err_out, out, sizes[_i % 4], NULL), 0);
    text = failure_text(&r, 8192);
    ck_assert_uint_lt(strlen(text), 8192 + 300);
    ck_assert_uint_gt(strlen(text), 5000);
    ck_assert_uint_eq(utf8_valid_prefix(text, strlen(text)), strlen(text));
}
END_TEST

/* Cuts of every phase: the program's own bytes stand on both sides, and nothing was replaced. */
START_TEST(no_character_at_a_cut_is_replaced)
{
    auto_free char *out = xmalloc(30003), *text = NULL, *cut = NULL;
    CLEANUP(runner_result_done) struct runner_result r = result(true, 1, "", "");

    memset(out, 'x', 3);
    for (size_t i = 0; i < 30000; i += 3)
        memcpy(out + (size_t)_i + i, "\xE2\x82\xAC", 3);
    ck_assert_int_eq(spool_add(&r.err_out, out, 30000 + (size_t)_i, NULL), 0);
    out[30000 + _i] = '\0';
    text = failure_text(&r, 8192);
    cut = failure_clip(out, 1000);
    ck_assert_ptr_nonnull(strstr(text, "left out"));
    ck_assert_ptr_nonnull(strstr(cut, "left out"));
    ck_assert_ptr_null(strstr(text, "\xEF\xBF\xBD"));
    ck_assert_ptr_null(strstr(cut, "\xEF\xBF\xBD"));
}
END_TEST

START_TEST(a_cut_splits_no_character)
{
    auto_free char *text = xcalloc(1, 30001), *cut = NULL;

    for (size_t i = 0; i < 30000; i += 3)
        memcpy(text + i, "\xE2\x82\xAC", 3);
    cut = failure_clip(text, 100);
    ck_assert_uint_lt(strlen(cut), 200);
    ck_assert_mem_eq(cut, "\xE2\x82\xAC", 3);
    free(cut);
    cut = failure_clip("short", 100);
    ck_assert_str_eq(cut, "short");
}
END_TEST

START_TEST(the_retry_prompt_is_the_contracts)
{
    auto_free char *text = failure_prompt("plot it", "STATUS: x\nERROR_TRACE: y");

    ck_assert_str_eq(text,
                     "plot it\n\nThe previous code generated had the following error:\n\n"
                     "STATUS: x\nERROR_TRACE: y\n\nPlease fix the code to address this error.");
}
END_TEST

static const struct {
    const char *a, *b;
    bool is_same;
} pairs[] = {
    {"  File \"snippet.py\", line 3\nValueError: bad",
     "  File \"snippet.py\", line 9\nValueError: bad",                               true },
    {"ValueError: bad",                                "ValueError: worse",          false},
    {"ValueError: bad",                                "TypeError: bad",             false},
    {"<Axes at 0x7f12ab> is gone\n\n",                 "<Axes at 0x55ff00> is gone", true },
    {"row 12 of 100",                                  "row 13 of 99",               true },
    {"KeyError: 'INV_A'",                              "KeyError: 'INV_B'",          false},
    {"",                                               "",                           true },
};

START_TEST(the_same_error_is_recognised)
{
    CLEANUP(runner_result_done) struct runner_result a = result(true, 1, "", pairs[_i].a);
    CLEANUP(runner_result_done) struct runner_result b = result(true, 1, "", pairs[_i].b);
    CLEANUP(runner_result_done) struct runner_result c = result(true, 2, "", pairs[_i].a);
    auto_free char *key_a = failure_key(&a), *key_b = failure_key(&b), *key_c = failure_key(&c);

    ck_assert_int_eq(strcmp(key_a, key_b) == 0, pairs[_i].is_same);
    ck_assert_str_ne(key_a, key_c);
}
END_TEST

static const struct {
    const char *prompt;
    bool wants;
} prompts[] = {
    {"plot inverter voltage vs current", true },
    {"Plot it",                          true },
    {"make a scatterplot of x",          true },
    {"show me two CHARTS",               true },
    {"a bar graph, please",              true },
    {"visualize the data",               true },
    {"visualise the data",               true },
    {"I need a histogram",               true },
    {"print 1 to 5",                     false},
    {"what exploits are there",          false},
    {"figure out why it fails",          false},
    {"no plot, just numbers",            false},
    {"do not draw any plots",            false},
    {"don't plot it",                    false},
    {"the mean without a chart",         false},
    {"Do not wait. Plot it",             true },
    {"",                                 false},
};

START_TEST(a_plot_is_asked_for_in_so_many_words)
{
    ck_assert_int_eq(failure_wants_plot(prompts[_i].prompt), prompts[_i].wants);
}
END_TEST

START_TEST(what_slicks_prints_is_found_wherever_it_stands)
{
    static const size_t before[] = {0, 1, 65535, 65536, 65536 - 21, 65536 - 10, 200000};
    auto_free char *text = xcalloc(1, before[_i] + 100);
    CLEANUP(runner_result_done) struct runner_result r = {0};
    char line[40];

    memset(text, 'x', before[_i]);
    if (before[_i])
        text[before[_i] - 1] = '\n';
    memcpy(text + before[_i], "Error fetching data: no table\nmore\n", 35);
    r = result(true, 0, text, "");
    ck_assert(failure_of_slicks(&r.out, line, sizeof(line)));
    ck_assert_str_eq(line, "Error fetching data: no table");
}
END_TEST

/* Looked for in one pass, however often the words stand where they mean nothing. */
START_TEST(words_of_slicks_in_the_middle_of_lines_cost_little)
{
    const size_t times = unit_measures() ? 500000 : 10000;
    static const char words[] = "Error fetching data:";
    CLEANUP(runner_result_done) struct runner_result r = result(true, 0, "x", "");
    auto_free char *text = xmalloc(times * 20);
    int64_t began = unit_cpu_ms();
    char line[40];

    for (size_t i = 0; i < times; i++)
        memcpy(text + 20 * i, words, 20);
    ck_assert_int_eq(spool_add(&r.out, text, times * 20, NULL), 0);
    ck_assert(!failure_of_slicks(&r.out, line, sizeof(line)));
    ck_assert_int_lt(unit_cpu_ms() - began, patient(3000));
}
END_TEST

/* A NUL in the last line does not hide what is behind it. */
START_TEST(errors_with_a_nul_differ)
{
    CLEANUP(runner_result_done) struct runner_result a = result(true, 1, "", "");
    CLEANUP(runner_result_done) struct runner_result b = result(true, 1, "", "");
    auto_free char *key_a = NULL, *key_b = NULL;

    ck_assert_int_eq(spool_add(&a.err_out, "\0 KeyError", 10, NULL), 0);
    ck_assert_int_eq(spool_add(&b.err_out, "\0 TypeErro", 10, NULL), 0);
    key_a = failure_key(&a);
    key_b = failure_key(&b);
    ck_assert_str_ne(key_a, key_b);
}
END_TEST

START_TEST(what_only_quotes_slicks_is_no_error)
{
    CLEANUP(runner_result_done)
    struct runner_result r =
        result(true, 0, "it said 'Error fetching data: x'\nError fetching\n", "");
    char line[40];

    ck_assert(!failure_of_slicks(&r.out, line, sizeof(line)));
}
END_TEST

static const struct {
    const char *in, *out;
} strips[] = {
    {"",           ""   },
    {" \n\t ",     ""   },
    {"a",          "a"  },
    {"\n a b\r\n", "a b"},
};

START_TEST(white_space_is_taken_from_both_ends)
{
    CLEANUP(runner_result_done) struct runner_result r = result(true, 0, strips[_i].in, "");
    char got[16] = "";

    ck_assert_int_eq(failure_strip(&r.out, NULL), 0);
    ck_assert_uint_eq(r.out.size, strlen(strips[_i].out));
    ck_assert_int_ge(spool_read(&r.out, 0, got, sizeof(got) - 1, NULL), 0);
    ck_assert_str_eq(got, strips[_i].out);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, the_error_text_is_the_contracts, 0, ARRAY_LEN(texts));
    tcase_add_loop_test(t, long_texts_lose_their_middle, 0, 4);
    tcase_add_loop_test(t, what_is_no_text_is_bounded_all_the_same, 0, 16);
    tcase_add_loop_test(t, no_character_at_a_cut_is_replaced, 0, 3);
    tcase_add_test(t, words_of_slicks_in_the_middle_of_lines_cost_little);
    tcase_add_test(t, errors_with_a_nul_differ);
    tcase_add_test(t, a_cut_splits_no_character);
    tcase_add_test(t, the_retry_prompt_is_the_contracts);
    tcase_add_loop_test(t, the_same_error_is_recognised, 0, ARRAY_LEN(pairs));
    tcase_add_loop_test(t, a_plot_is_asked_for_in_so_many_words, 0, ARRAY_LEN(prompts));
    tcase_add_loop_test(t, what_slicks_prints_is_found_wherever_it_stands, 0, 7);
    tcase_add_test(t, what_only_quotes_slicks_is_no_error);
    tcase_add_loop_test(t, white_space_is_taken_from_both_ends, 0, ARRAY_LEN(strips));
}

UNIT_MAIN("failure", add_tests)
