/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/names.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "base/path.h"
#include "unit.h"

static const struct {
    const char *path;
    bool is_ok;
} paths[] = {
    {"a",                         true },
    {"a/b.txt",                   true },
    {".hidden",                   true },
    {"..x",                       true },
    {"sp ace",                    true },
    {"caf\xC3\xA9",               true },
    {"\xF0\x9F\x8E\x89",          true },
    {"back\\slash",               true },
    {"",                          false},
    {"/a",                        false},
    {"a/",                        false},
    {"a//b",                      false},
    {".",                         false},
    {"..",                        false},
    {"a/./b",                     false},
    {"a/../b",                    false},
    {"a\nb",                      false},
    {"a\x1F",                     false},
    {"a\x7F",                     false},
    {"\xFF",                      false},
    {"\xC3",                      false},
    {"\xC0\xAF",                  false},
    {"\xED\xA0\x80",              false},
    {"\xF4\x90\x80\x80",          false},
    {"\xE2\x82",                  false},
    {"a/\xE2\x28\xA1",            false},
    {"\xF0\x80\x80\x80/overlong", false},
};

START_TEST(accepts_what_may_cross_the_stream)
{
    const char *path = paths[_i].path;

    ck_assert_int_eq(name_path_is_ok(path, strlen(path)), paths[_i].is_ok);
    ck_assert_int_eq(path_check(path, strlen(path), NULL) == 0, paths[_i].is_ok);
}
END_TEST

START_TEST(length_and_depth_are_exact)
{
    char text[NAME_PATH_MAX + 2];

    memset(text, 'x', sizeof(text));
    ck_assert(name_path_is_ok(text, NAME_MAX_BYTES));
    ck_assert(!name_path_is_ok(text, NAME_MAX_BYTES + 1));
    for (size_t i = 1; i < sizeof(text); i += 2)
        text[i] = '/';
    ck_assert(name_path_is_ok(text, 2 * NAME_DEPTH_MAX - 1));
    ck_assert(!name_path_is_ok(text, 2 * NAME_DEPTH_MAX + 1));
    memset(text, 'x', sizeof(text));
    for (size_t i = 200; i < sizeof(text); i += 201)
        text[i] = '/';
    ck_assert(name_path_is_ok(text, NAME_PATH_MAX));
    ck_assert(!name_path_is_ok(text, NAME_PATH_MAX + 1));
}
END_TEST

/* Pseudo-random bytes, weighted towards those that matter. */
START_TEST(agrees_with_the_rule_of_the_front)
{
    static const unsigned char often[] = {'/', '.', 'a', 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xED, 0x7F};
    uint32_t seed = (uint32_t)_i * 2654435761u + 1;

    for (int round = 0; round < 20000; round++) {
        char path[12];
        size_t n;

        seed = seed * 1664525u + 1013904223u;
        n = seed >> 16 & 7;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525u + 1013904223u;
            path[k] = (char)(seed >> 31 ? often[(seed >> 20) % sizeof(often)] : seed >> 16 & 0xFF);
        }
        ck_assert_int_eq(name_path_is_ok(path, n), path_check(path, n, NULL) == 0);
    }
}
END_TEST

static const struct {
    const char *name, *escaped;
} escapes[] = {
    {"plain",        "plain"         },
    {"a\nb",         "a\\x0ab"       },
    {"\xFF\x80",     "\\xff\\x80"    },
    {"caf\xC3\xA9",  "caf\xC3\xA9"   },
    {"cut \xE2\x82", "cut \\xe2\\x82"},
    {"b\\x41",       "b\\\\x41"      },
    {"a/b",          "a\\x2fb"       },
    {"\x1B[31m\x7F", "\\x1b[31m\\x7f"},
};

START_TEST(escapes_what_is_no_name)
{
    char out[64];
    size_t n = name_escape(out, sizeof(out), escapes[_i].name, strlen(escapes[_i].name));

    ck_assert_uint_eq(n, strlen(escapes[_i].escaped));
    ck_assert_mem_eq(out, escapes[_i].escaped, n);
    ck_assert(name_is_ok(out, n));
}
END_TEST

START_TEST(escaped_names_stop_before_the_end_of_the_buffer)
{
    char out[5];

    ck_assert_uint_eq(name_escape(out, sizeof(out), "\n\n", 2), 4);
    ck_assert_uint_eq(name_escape(out, 3, "\n", 1), 0);
    ck_assert_uint_eq(name_escape(out, 1, "\xC3\xA9", 2), 0);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, accepts_what_may_cross_the_stream, 0, sizeof(paths) / sizeof(*paths));
    tcase_add_test(t, length_and_depth_are_exact);
    tcase_add_loop_test(t, agrees_with_the_rule_of_the_front, 0, 4);
    tcase_add_loop_test(t, escapes_what_is_no_name, 0, sizeof(escapes) / sizeof(*escapes));
    tcase_add_test(t, escaped_names_stop_before_the_end_of_the_buffer);
}

UNIT_MAIN("warden names", add_tests)
