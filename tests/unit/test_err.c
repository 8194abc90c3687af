#include "base/err.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

START_TEST(a_failure_carries_its_kind_and_text)
{
    struct err e = {.sys = 7};

    ck_assert_int_eq(err_set(&e, ERR_LIMIT, "'%s' is over %d bytes", "x", 3), -1);
    ck_assert_int_eq(e.kind, ERR_LIMIT);
    ck_assert_int_eq(e.sys, 0);
    ck_assert_str_eq(e.msg, "'x' is over 3 bytes");
}
END_TEST

START_TEST(a_system_failure_carries_errno_and_its_text)
{
    struct err e = {0};

    errno = ENOENT;
    ck_assert_int_eq(err_sys(&e, "open '%s'", "x"), -1);
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
    ck_assert_int_eq(e.sys, ENOENT);
    ck_assert_str_eq(e.msg, "open 'x': No such file or directory");
}
END_TEST

START_TEST(context_is_prepended_and_keeps_kind_and_errno)
{
    struct err e = {0};

    errno = EACCES;
    (void)err_sys(&e, "open");
    ck_assert_int_eq(err_wrap(&e, "start box %s", "b1"), -1);
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
    ck_assert_int_eq(e.sys, EACCES);
    ck_assert_str_eq(e.msg, "start box b1: open: Permission denied");
}
END_TEST

START_TEST(context_may_quote_the_text_that_it_wraps)
{
    struct err e = {0};

    (void)err_set(&e, ERR_PEER, "cause");
    (void)err_wrap(&e, "again (%s)", "cause");
    ck_assert_str_eq(e.msg, "again (cause): cause");
}
END_TEST

START_TEST(nobody_has_to_ask_for_the_reason)
{
    ck_assert_int_eq(err_set(NULL, ERR_BUSY, "%d", 1), -1);
    ck_assert_int_eq(err_sys(NULL, "%d", 1), -1);
    ck_assert_int_eq(err_wrap(NULL, "%d", 1), -1);
}
END_TEST

START_TEST(long_texts_are_cut_within_the_value)
{
    char text[2 * ERR_MSG_MAX];
    struct {
        struct err e;
        char guard[8];
    } s = {.guard = "guarded"};

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&s.e, ERR_INVALID, "%s", text);
    ck_assert_uint_eq(strlen(s.e.msg), ERR_MSG_MAX - 1);
    (void)err_wrap(&s.e, "%s", text);
    ck_assert_uint_eq(strlen(s.e.msg), ERR_MSG_MAX - 1);
    errno = ENOENT;
    (void)err_sys(&s.e, "%.*s", ERR_MSG_MAX - 4, text);
    ck_assert_uint_eq(strlen(s.e.msg), ERR_MSG_MAX - 1);
    ck_assert_str_eq(s.guard, "guarded");
}
END_TEST

START_TEST(every_kind_has_a_word_of_its_own)
{
    ck_assert_str_eq(err_kind_name(ERR_NONE), "none");
    ck_assert_str_eq(err_kind_name(ERR_INTERNAL), "internal");
    ck_assert_str_eq(err_kind_name((enum err_kind)99), "unknown");
    ck_assert_str_eq(err_kind_name((enum err_kind) - 1), "unknown");
    for (int a = ERR_NONE; a <= ERR_INTERNAL; a++) {
        for (int b = ERR_NONE; b < a; b++)
            ck_assert_str_ne(err_kind_name((enum err_kind)a), err_kind_name((enum err_kind)b));
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, a_failure_carries_its_kind_and_text);
    tcase_add_test(t, a_system_failure_carries_errno_and_its_text);
    tcase_add_test(t, context_is_prepended_and_keeps_kind_and_errno);
    tcase_add_test(t, context_may_quote_the_text_that_it_wraps);
    tcase_add_test(t, nobody_has_to_ask_for_the_reason);
    tcase_add_test(t, long_texts_are_cut_within_the_value);
    tcase_add_test(t, every_kind_has_a_word_of_its_own);
}

UNIT_MAIN("err", add_tests)
