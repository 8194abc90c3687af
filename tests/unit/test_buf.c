#include "base/buf.h"

#include <stdint.h>
#include <string.h>

#include "unit.h"

START_TEST(an_empty_buffer_is_an_empty_string)
{
    CLEANUP(buf_done) struct buf b = {0};
    auto_free char *taken = NULL;

    buf_init(&b, 100);
    ck_assert_ptr_null(b.data);
    ck_assert_str_eq(buf_get(&b), "");
    buf_clear(&b);
    buf_drop(&b, 0);
    taken = buf_take(&b);
    ck_assert_str_eq(taken, "");
}
END_TEST

START_TEST(content_is_what_was_added_and_a_nul)
{
    CLEANUP(buf_done) struct buf b = {0};
    char *room;

    buf_init(&b, 100);
    ck_assert_int_eq(buf_str(&b, "ab"), 0);
    ck_assert_int_eq(buf_char(&b, 'c'), 0);
    ck_assert_int_eq(buf_fmt(&b, "-%d-%s", 12, "x"), 0);
    ck_assert_int_eq(buf_add(&b, "\0y", 2), 0);
    ck_assert_int_eq(buf_add(&b, NULL, 0), 0);
    room = buf_room(&b, 10);
    ck_assert_ptr_nonnull(room);
    memcpy(room, "zz", 2);
    buf_commit(&b, 2);
    ck_assert_uint_eq(b.len, 12);
    ck_assert_mem_eq(buf_get(&b), "abc-12-x\0yzz", 13);
    ck_assert(!b.is_full);
}
END_TEST

START_TEST(every_length_up_to_the_maximum_fits_and_none_beyond)
{
    for (size_t max = 0; max < 1030; max += max < 600 ? 1 : 43) {
        CLEANUP(buf_done) struct buf b = {0};

        buf_init(&b, max);
        for (size_t i = 0; i < max; i++)
            MUST(buf_char(&b, 'a') == 0);
        MUST(b.len == max);
        MUST(buf_char(&b, 'b') == -1 && b.is_full);
        MUST(b.len == max && strlen(buf_get(&b)) == max);
    }
}
END_TEST

START_TEST(what_does_not_fit_is_dropped_with_all_that_follows)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 4);
    ck_assert_int_eq(buf_str(&b, "ab"), 0);
    ck_assert_int_eq(buf_str(&b, "cde"), -1);
    ck_assert_int_eq(buf_char(&b, 'f'), -1);
    ck_assert_int_eq(buf_fmt(&b, "%s", ""), -1);
    ck_assert_ptr_null(buf_room(&b, 0));
    ck_assert_str_eq(buf_get(&b), "ab");
    buf_clear(&b);
    ck_assert(!b.is_full);
    ck_assert_str_eq(buf_get(&b), "");
    ck_assert_int_eq(buf_str(&b, "cdef"), 0);
    ck_assert_str_eq(buf_get(&b), "cdef");
}
END_TEST

START_TEST(lengths_that_would_wrap_around_are_refused)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, SIZE_MAX);
    ck_assert_int_eq(buf_str(&b, "abc"), 0);
    ck_assert_ptr_null(buf_room(&b, SIZE_MAX - 1));
    ck_assert(b.is_full);
    ck_assert_uint_eq(b.len, 3);
}
END_TEST

START_TEST(memory_that_is_not_there_makes_it_full)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, SIZE_MAX / 4);
    ck_assert_int_eq(buf_str(&b, "abc"), 0);
    /* More than any address space has, less than the limit. */
    ck_assert_ptr_null(buf_room(&b, SIZE_MAX / 8));
    ck_assert(b.is_full);
    ck_assert_str_eq(buf_get(&b), "abc");
}
END_TEST

START_TEST(bytes_leave_at_the_front)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 100);
    (void)buf_str(&b, "abcdef");
    buf_drop(&b, 2);
    ck_assert_str_eq(buf_get(&b), "cdef");
    buf_drop(&b, 4);
    ck_assert_str_eq(buf_get(&b), "");
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(taken_content_belongs_to_the_taker)
{
    CLEANUP(buf_done) struct buf b = {0};
    auto_free char *taken = NULL;

    buf_init(&b, 100);
    (void)buf_str(&b, "abc");
    taken = buf_take(&b);
    ck_assert_str_eq(taken, "abc");
    ck_assert_str_eq(buf_get(&b), "");
    ck_assert_uint_eq(b.max, 100);
    ck_assert_int_eq(buf_str(&b, "new"), 0);
    ck_assert_str_eq(taken, "abc");
}
END_TEST

START_TEST(formatted_text_may_be_longer_than_the_storage)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 5000);
    ck_assert_int_eq(buf_fmt(&b, "%0*d", 3000, 7), 0);
    ck_assert_uint_eq(b.len, 3000);
    ck_assert_int_eq(b.data[2999], '7');
    ck_assert_int_eq(buf_fmt(&b, "%0*d", 2001, 7), -1);
    ck_assert_uint_eq(b.len, 3000);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, an_empty_buffer_is_an_empty_string);
    tcase_add_test(t, content_is_what_was_added_and_a_nul);
    tcase_add_test(t, every_length_up_to_the_maximum_fits_and_none_beyond);
    tcase_add_test(t, what_does_not_fit_is_dropped_with_all_that_follows);
    tcase_add_test(t, lengths_that_would_wrap_around_are_refused);
    tcase_add_test(t, memory_that_is_not_there_makes_it_full);
    tcase_add_test(t, bytes_leave_at_the_front);
    tcase_add_test(t, taken_content_belongs_to_the_taker);
    tcase_add_test(t, formatted_text_may_be_longer_than_the_storage);
}

/* malloc gives NULL under ASan too, as it does without. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

UNIT_MAIN("buf", add_tests)
