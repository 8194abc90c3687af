#include "base/str.h"

#include <math.h>
#include <string.h>

#include "unit.h"

static const struct integer {
    const char *text;
    int64_t min, max;
    bool good;
    int64_t value;
} integers[] = {
    {"0",                    INT64_MIN, INT64_MAX, true,  0        },
    {"42",                   0,         42,        true,  42       },
    {"-42",                  -42,       0,         true,  -42      },
    {"+7",                   0,         9,         true,  7        },
    {"007",                  0,         9,         true,  7        },
    {"9223372036854775807",  INT64_MIN, INT64_MAX, true,  INT64_MAX},
    {"-9223372036854775808", INT64_MIN, INT64_MAX, true,  INT64_MIN},
    {"9223372036854775808",  INT64_MIN, INT64_MAX, false, 0        },
    {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0        },
    {"99999999999999999999", INT64_MIN, INT64_MAX, false, 0        },
    {"43",                   0,         42,        false, 0        },
    {"-1",                   0,         42,        false, 0        },
    {"",                     INT64_MIN, INT64_MAX, false, 0        },
    {" 1",                   INT64_MIN, INT64_MAX, false, 0        },
    {"\t1",                  INT64_MIN, INT64_MAX, false, 0        },
    {"1 ",                   INT64_MIN, INT64_MAX, false, 0        },
    {"1.0",                  INT64_MIN, INT64_MAX, false, 0        },
    {"1e3",                  INT64_MIN, INT64_MAX, false, 0        },
    {"0x10",                 INT64_MIN, INT64_MAX, false, 0        },
    {"-",                    INT64_MIN, INT64_MAX, false, 0        },
    {"+",                    INT64_MIN, INT64_MAX, false, 0        },
    {"--1",                  INT64_MIN, INT64_MAX, false, 0        },
    {"one",                  INT64_MIN, INT64_MAX, false, 0        },
};

START_TEST(reads_whole_integers_within_their_range)
{
    const struct integer *c = &integers[_i];
    int64_t v = 1234;

    ck_assert_msg(str_to_i64(c->text, c->min, c->max, &v) == c->good, "'%s'", c->text);
    ck_assert_int_eq(v, c->good ? c->value : 1234);
}
END_TEST

static const struct real {
    const char *text;
    bool good;
    double value;
} reals[] = {
    {"0",       true,  0      },
    {"1.5",     true,  1.5    },
    {"-2.5e-3", true,  -0.0025},
    {"+1E2",    true,  100    },
    {".5",      true,  0.5    },
    {"5.",      true,  5      },
    {"1e308",   true,  1e308  },
    {"1e309",   false, 0      },
    {"-1e309",  false, 0      },
    {"1e-400",  false, 0      },
    {"inf",     false, 0      },
    {"nan",     false, 0      },
    {"0x1p3",   false, 0      },
    {"",        false, 0      },
    {" 1",      false, 0      },
    {"1 ",      false, 0      },
    {"1,5",     false, 0      },
    {"1e",      false, 0      },
    {"e1",      false, 0      },
    {"-",       false, 0      },
    {".",       false, 0      },
    {"1.2.3",   false, 0      },
};

START_TEST(reads_whole_finite_numbers)
{
    const struct real *c = &reals[_i];
    double v = 1234;

    ck_assert_msg(str_to_real(c->text, &v) == c->good, "'%s'", c->text);
    ck_assert(v == (c->good ? c->value : 1234));
}
END_TEST

START_TEST(compares_beginnings_and_ends)
{
    ck_assert(str_starts("abc", "") && str_starts("abc", "ab") && str_starts("abc", "abc"));
    ck_assert(!str_starts("abc", "abcd") && !str_starts("abc", "b") && !str_starts("", "a"));
    ck_assert(str_ends("abc", "") && str_ends("abc", "bc") && str_ends("abc", "abc"));
    ck_assert(!str_ends("abc", "xabc") && !str_ends("abc", "b") && !str_ends("", "a"));
}
END_TEST

START_TEST(ignores_ascii_case_only)
{
    ck_assert(str_eq_nocase("Content-LENGTH", "content-length"));
    ck_assert(str_eq_nocase("", ""));
    ck_assert(!str_eq_nocase("a", "ab") && !str_eq_nocase("a", "b"));
    ck_assert(!str_eq_nocase("\xC4", "\xE4"));
    ck_assert(!str_eq_nocase("@", "`") && !str_eq_nocase("[", "{"));
}
END_TEST

START_TEST(blank_is_ascii_white_space_or_nothing)
{
    ck_assert(str_is_blank("", 0) && str_is_blank("x", 0) && str_is_blank(" \t\n\r\v\f", 6));
    ck_assert(!str_is_blank(" x", 2) && !str_is_blank("\0", 1) && !str_is_blank("\xC2\xA0", 2));
}
END_TEST

START_TEST(white_space_is_trimmed_at_both_ends)
{
    static const char text[] = " \t a b\r\n";
    const char *s = text;

    ck_assert_uint_eq(str_trim(&s, sizeof(text) - 1), 3);
    ck_assert_ptr_eq(s, text + 3);
    s = text;
    ck_assert_uint_eq(str_trim(&s, 3), 0);
    s = text + 3;
    ck_assert_uint_eq(str_trim(&s, 1), 1);
    ck_assert_ptr_eq(s, text + 3);
    ck_assert_uint_eq(str_trim(&s, 0), 0);
}
END_TEST

START_TEST(a_copy_never_passes_its_room)
{
    char out[5] = "####";

    ck_assert_uint_eq(str_copy(out, "abc", sizeof(out)), 3);
    ck_assert_str_eq(out, "abc");
    ck_assert_uint_eq(str_copy(out, "abcd", sizeof(out)), 4);
    ck_assert_str_eq(out, "abcd");
    ck_assert_uint_eq(str_copy(out, "abcdefgh", sizeof(out)), 8);
    ck_assert_str_eq(out, "abcd");
    ck_assert_uint_eq(str_copy(out, "xyz", 1), 3);
    ck_assert_str_eq(out, "");
    ck_assert_uint_eq(str_copy(out, "", sizeof(out)), 0);
    memcpy(out, "####", 5);
    ck_assert_uint_eq(str_copy(out, "abc", 0), 3);
    ck_assert_str_eq(out, "####");
}
END_TEST

START_TEST(hex_goes_out_and_back)
{
    unsigned char bytes[256], back[256];
    char text[513];

    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    str_hex(text, bytes, sizeof(bytes));
    ck_assert_uint_eq(strlen(text), 512);
    ck_assert_int_eq(strncmp(text, "000102030405060708090a0b0c0d0e0f10", 34), 0);
    ck_assert_str_eq(text + 508, "feff");
    ck_assert(str_unhex(back, sizeof(back), text));
    ck_assert_mem_eq(back, bytes, sizeof(bytes));
    str_hex(text, bytes, 0);
    ck_assert_str_eq(text, "");
}
END_TEST

static const char *const bad_hex[] = {"",     "0",    "000",  "00000", "zz00",      "0g00",
                                      "00 0", "00-1", "0x00", "000G",  "00\xC3\xA9"};

START_TEST(refuses_what_is_not_exactly_so_many_hex_digits)
{
    unsigned char out[2];

    ck_assert_msg(!str_unhex(out, sizeof(out), bad_hex[_i]), "'%s'", bad_hex[_i]);
}
END_TEST

START_TEST(hex_digits_may_have_either_case)
{
    unsigned char out[3];

    ck_assert(str_unhex(out, sizeof(out), "aBCdEf"));
    ck_assert_mem_eq(out, "\xAB\xCD\xEF", 3);
    ck_assert(str_unhex(out, 0, ""));
}
END_TEST

START_TEST(secrets_are_equal_only_when_every_byte_is)
{
    ck_assert(str_eq_secret("", 0, "", 0));
    ck_assert(str_eq_secret("abc", 3, "abc", 3));
    ck_assert(str_eq_secret("a\0c", 3, "a\0c", 3));
    ck_assert(!str_eq_secret("abc", 3, "abd", 3));
    ck_assert(!str_eq_secret("xbc", 3, "abc", 3));
    ck_assert(!str_eq_secret("abc", 3, "ab", 2));
    ck_assert(!str_eq_secret("ab", 2, "abc", 3));
    ck_assert(!str_eq_secret("abab", 4, "ab", 2));
    ck_assert(!str_eq_secret("", 0, "a", 1));
    ck_assert(!str_eq_secret("a", 1, "", 0));
    ck_assert(!str_eq_secret("\0", 1, "", 0));
}
END_TEST

static const struct {
    const char *in, *out;
} lines[] = {
    {"",                 ""                },
    {"one line",         "one line"        },
    {"a\nb\r\n\tc",      "a b   c"         },
    {"\x1B[2J\x7F",      " [2J "           },
    {"a\xC2\x9B"
     "b\xC2\x80",   "a  b  "          },
    {"\xC2\xA0\xC2\xB0", "\xC2\xA0\xC2\xB0"},
    {"\xE2\x82\xAC",     "\xE2\x82\xAC"    },
    {"a\xE2\x82",        "a"               },
    {"a\xC2",            "a"               },
    {"\xF0\x9F\x98",     ""                },
};

START_TEST(words_of_strangers_become_one_line)
{
    char text[32];

    (void)str_copy(text, lines[_i].in, sizeof(text));
    str_one_line(text);
    ck_assert_str_eq(text, lines[_i].out);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, words_of_strangers_become_one_line, 0, ARRAY_LEN(lines));
    tcase_add_loop_test(t, reads_whole_integers_within_their_range, 0, ARRAY_LEN(integers));
    tcase_add_loop_test(t, reads_whole_finite_numbers, 0, ARRAY_LEN(reals));
    tcase_add_test(t, compares_beginnings_and_ends);
    tcase_add_test(t, ignores_ascii_case_only);
    tcase_add_test(t, blank_is_ascii_white_space_or_nothing);
    tcase_add_test(t, white_space_is_trimmed_at_both_ends);
    tcase_add_test(t, a_copy_never_passes_its_room);
    tcase_add_test(t, hex_goes_out_and_back);
    tcase_add_loop_test(t, refuses_what_is_not_exactly_so_many_hex_digits, 0, ARRAY_LEN(bad_hex));
    tcase_add_test(t, hex_digits_may_have_either_case);
    tcase_add_test(t, secrets_are_equal_only_when_every_byte_is);
}

UNIT_MAIN_ONE_PROCESS("str", add_tests)
