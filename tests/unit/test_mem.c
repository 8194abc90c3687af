#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "unit.h"

START_TEST(no_bytes_are_storage_too)
{
    auto_free char *a = xmalloc(0), *b = xcalloc(0, 8), *c = xcalloc(8, 0), *d = NULL;

    d = xarray(NULL, 0, 8);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_nonnull(d);
}
END_TEST

START_TEST(fresh_arrays_are_zero)
{
    static const char zero[64];
    auto_free char *a = xcalloc(4, 16);

    ck_assert_mem_eq(a, zero, sizeof(zero));
}
END_TEST

START_TEST(a_growing_array_keeps_its_content)
{
    auto_free int *a = NULL;

    for (int i = 0; i < 1000; i++) {
        a = xarray(a, (size_t)i + 1, sizeof(*a));
        a[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(a[i], i);
}
END_TEST

START_TEST(copies_are_whole_and_of_their_own)
{
    char text[] = "abc";
    auto_free char *a = xstrdup(text), *b = xstrndup(text, 2), *c = xstrndup(text, 9);
    auto_free char *d = xmemdup("a\0b", 3), *e = xmemdup("", 0);
    auto_free char *f = xasprintf("%s-%d", text, 7);

    text[0] = 'X';
    ck_assert_str_eq(a, "abc");
    ck_assert_str_eq(b, "ab");
    ck_assert_str_eq(c, "abc");
    ck_assert_mem_eq(d, "a\0b", 3);
    ck_assert_ptr_nonnull(e);
    ck_assert_str_eq(f, "abc-7");
    ck_assert_ptr_null(xstrdup(NULL));
}
END_TEST

START_TEST(an_array_that_overflows_ends_the_process)
{
    /* 2^33 elements of 2^33 bytes are 4 bytes in 64 bits. */
    void *p = xarray(NULL, (SIZE_MAX >> 31) + 2, (SIZE_MAX >> 31) + 2);

    free(p);
}
END_TEST

START_TEST(text_that_cannot_be_made_ends_the_process)
{
    /* The C locale has no bytes for it: vasprintf gives EILSEQ. */
    free(xasprintf("%ls", L"\x20ac"));
}
END_TEST

static char *steal(void)
{
    auto_free char *p = xstrdup("kept");

    return TAKE(p);
}

START_TEST(what_is_taken_out_of_a_cleanup_local_stays)
{
    auto_free char *p = steal();
    int fd = 5, taken = take_fd(&fd);

    ck_assert_str_eq(p, "kept");
    ck_assert_int_eq(taken, 5);
    ck_assert_int_eq(fd, -1);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, no_bytes_are_storage_too);
    tcase_add_test(t, fresh_arrays_are_zero);
    tcase_add_test(t, a_growing_array_keeps_its_content);
    tcase_add_test(t, copies_are_whole_and_of_their_own);
    tcase_add_test_raise_signal(t, an_array_that_overflows_ends_the_process, SIGABRT);
    tcase_add_test_raise_signal(t, text_that_cannot_be_made_ends_the_process, SIGABRT);
    tcase_add_test(t, what_is_taken_out_of_a_cleanup_local_stays);
}

UNIT_MAIN("mem", add_tests)
