#include "base/random.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "unit.h"

START_TEST(bytes_are_filled_and_differ)
{
    /* 2^-192 of a chance that the parts of two draws are equal or zero. */
    unsigned char a[1024] = {0}, b[1024] = {0}, zero[24] = {0};

    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    for (size_t i = 0; i + 24 <= sizeof(a); i += 25) {
        ck_assert_mem_ne(a + i, b + i, 24);
        ck_assert_mem_ne(a + i, zero, 24);
    }
    random_bytes(a, 0);
    ck_assert_int_ne((int)(random_u64() == random_u64()), 1);
}
END_TEST

START_TEST(ids_are_hex_of_one_length_and_never_the_same)
{
    enum { N = 1000 };
    static char ids[N][RANDOM_ID_MAX];

    for (int i = 0; i < N; i++) {
        ck_assert_ptr_eq(random_id(ids[i]), ids[i]);
        ck_assert_uint_eq(strlen(ids[i]), 20);
        ck_assert_uint_eq(strspn(ids[i], "0123456789abcdef"), 20);
        for (int k = 0; k < i; k++)
            MUST(strcmp(ids[i], ids[k]) != 0);
    }
}
END_TEST

START_TEST(ids_sort_by_the_millisecond_of_their_making)
{
    char a[RANDOM_ID_MAX], b[RANDOM_ID_MAX], from[16];
    int64_t before = clock_wall_ms();

    (void)random_id(a);
    while (clock_wall_ms() <= before)
        continue;
    (void)random_id(b);
    ck_assert_int_lt(strcmp(a, b), 0);
    (void)snprintf(from, sizeof(from), "%011llx", (unsigned long long)before);
    ck_assert_int_ge(strncmp(a, from, 11), 0);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, bytes_are_filled_and_differ);
    tcase_add_test(t, ids_are_hex_of_one_length_and_never_the_same);
    tcase_add_test(t, ids_sort_by_the_millisecond_of_their_making);
}

UNIT_MAIN_ONE_PROCESS("random", add_tests)
