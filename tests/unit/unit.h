#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/* Check notes every assertion in a file; loops with many thousands of them use this one. */
#define MUST(condition)                     \
    do {                                    \
        if (!(condition))                   \
            ck_abort_msg("%s", #condition); \
    } while (0)

/* The main() that every unit test program shares: one suite, one case, five seconds a test. */
#define UNIT_MAIN(suite_name, add_tests)             \
    int main(void)                                   \
    {                                                \
        Suite *s = suite_create(suite_name);         \
        TCase *t = tcase_create("all");              \
        SRunner *sr = srunner_create(s);             \
        int failed;                                  \
                                                     \
        tcase_set_timeout(t, 5);                     \
        add_tests(t);                                \
        suite_add_tcase(s, t);                       \
        srunner_run_all(sr, CK_NORMAL);              \
        failed = srunner_ntests_failed(sr);          \
        srunner_free(sr);                            \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS; \
    }

#endif
