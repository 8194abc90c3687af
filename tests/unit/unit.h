#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Its headers come with valgrind; without them a program is taken to run by itself. */
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif
#ifndef VALGRIND_CLO_CHANGE /* since valgrind 3.17 */
#define VALGRIND_CLO_CHANGE(option) ((void)(option))
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { UNIT_SANITIZER = 1 };
#else
enum { UNIT_SANITIZER = 0 };
#endif

/* Tools keep and shadow freed memory, and take their time: figures say nothing there. */
static inline bool unit_measures(void)
{
    return !UNIT_SANITIZER && !RUNNING_ON_VALGRIND;
}

/*
 * Times in tests are those of a plain build on a busy machine: how long something may take, and how
 * long what never comes is waited for. This makes them longer where everything is slower. valgrind
 * runs one thread of a process at a time, 20 to 50 times slower, after translating what is run.
 */
static inline int64_t patient(int64_t ms)
{
    return RUNNING_ON_VALGRIND ? 10 * ms : UNIT_SANITIZER ? 2 * ms : ms;
}

/* Processor time of this process, which other work on the machine does not make longer. */
static inline int64_t unit_cpu_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * How many rounds of something that is repeated to meet rare cases, or to make a lot of it. What
 * fewer rounds would leave out the other builds run; valgrind sees the same code in all of them.
 */
static inline int unit_rounds(int usual, int under_valgrind)
{
    return RUNNING_ON_VALGRIND ? under_valgrind : usual;
}

/*
 * For a child forked off by a process with several threads, or one that ends in the middle of
 * something: what only the other threads point to, or the stack that _exit leaves, is not lost.
 */
static inline void unit_forget_leaks(void)
{
    VALGRIND_CLO_CHANGE("--leak-check=no");
}

/* Check notes every assertion in a file; loops with many thousands of them use this one. */
#define MUST(condition)                     \
    do {                                    \
        if (!(condition))                   \
            ck_abort_msg("%s", #condition); \
    } while (0)

/* One suite, one case, five seconds a test. */
#define UNIT_MAIN_AS(suite_name, add_tests, status)  \
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
        srunner_set_fork_status(sr, status);         \
        srunner_run_all(sr, CK_NORMAL);              \
        failed = srunner_ntests_failed(sr);          \
        srunner_free(sr);                            \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS; \
    }

/* The main() that every unit test program shares: each test in a process of its own. */
#define UNIT_MAIN(suite_name, add_tests) UNIT_MAIN_AS(suite_name, add_tests, CK_FORK_GETENV)

/*
 * The same for many tests that leave their process as they found it. Under valgrind, which
 * translates a program anew in each child (0.2 s with libcurl or SQLite), they share one.
 */
#define UNIT_MAIN_ONE_PROCESS(suite_name, add_tests) \
    UNIT_MAIN_AS(suite_name, add_tests, RUNNING_ON_VALGRIND ? CK_NOFORK : CK_FORK_GETENV)

#endif
