#include <errno.h>
#include <sys/stat.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/cgroup.c"
#include "../../images/warden/verdict.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "unit.h"

static const struct {
    const char *text, *key;
    bool is_found;
    uint64_t value;
} numbers[] = {
    {"12345\n",                                       "",           true,  12345     },
    {"0\n",                                           "",           true,  0         },
    {"18446744073709551615\n",                        "",           true,  UINT64_MAX},
    {"99999999999999999999999\n",                     "",           true,  UINT64_MAX},
    {"max\n",                                         "",           false, 0         },
    {"",                                              "",           false, 0         },
    {"-1\n",                                          "",           false, 0         },
    {"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill",   true,  3         },
    {"oom_kill_disable 0\nunder_oom 0\n",             "oom_kill",   false, 0         },
    {"max 7\n",                                       "max",        true,  7         },
    {"low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n",    "max",        true,  12        },
    {"low 0\nhigh 0\nmax 12\noom 1\noom_kill 4",      "oom_kill",   true,  4         },
    {"usage_usec 99\nuser_usec 60\nsystem_usec 39\n", "usage_usec", true,  99        },
    {"user_usec 60\n",                                "usage_usec", false, 0         },
    {"max \n",                                        "max",        false, 0         },
};

START_TEST(finds_numbers_in_the_kernels_files)
{
    uint64_t v = 0;

    ck_assert_int_eq(cgroup_parse(numbers[_i].text, numbers[_i].key, &v), numbers[_i].is_found);
    ck_assert_uint_eq(v, numbers[_i].value);
}
END_TEST

/* As recorded in containers of an engine with cgroup v1 (kernel 6.18), and of v2's documentation. */
static const struct recorded {
    const char *path, *before, *after;
} v1[] =
    {
        {"memory/memory.usage_in_bytes",     "16805888\n",                                    "17068032\n"},
        {"memory/memory.max_usage_in_bytes", "16924672\n",                                    "90000000\n"},
        {"memory/memory.oom_control",        "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
         "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"                                                  },
        {"memory/memory.failcnt",            "5\n",                                           "19\n"      },
        {"pids/pids.events",                 "max 0\n",                                       "max 2\n"   },
        {"pids/pids.current",                "2\n",                                           "9\n"       },
        {"cpuacct/cpuacct.usage",            "49879441\n",                                    "52617913\n"},
},
  v2[] = {
      {"memory.current", "16805888\n", "17068032\n"},
      {"memory.peak", "16924672\n", "90000000\n"},
      {"memory.events", "low 0\nhigh 0\nmax 5\noom 0\noom_kill 0\noom_group_kill 0\n",
       "low 0\nhigh 0\nmax 19\noom 1\noom_kill 1\noom_group_kill 0\n"},
      {"pids.events", "max 0\n", "max 2\n"},
      {"pids.current", "2\n", "9\n"},
      {"cpu.stat", "usage_usec 49879\nuser_usec 30000\nsystem_usec 19879\nnr_periods 0\n",
       "usage_usec 52617\nuser_usec 31000\nsystem_usec 21617\nnr_periods 0\n"},
  };

static char root[] = "/tmp/warden-cgroup-XXXXXX";

static void make_root(void)
{
    static const char *const dirs[] = {"memory", "pids", "cpuacct"};

    memcpy(strrchr(root, '-') + 1, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(root));
    for (size_t i = 0; i < 3; i++) {
        char path[100];

        (void)snprintf(path, sizeof(path), "%s/%s", root, dirs[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
}

static void write_all(const struct recorded *files, size_t n, bool is_after)
{
    for (size_t i = 0; i < n; i++) {
        char path[100];
        const char *text = is_after ? files[i].after : files[i].before;
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", root, files[i].path);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
    }
}

static void remove_root(const struct recorded *files, size_t n)
{
    static const char *const dirs[] = {"/memory", "/pids", "/cpuacct", ""};
    char path[100];

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, files[i].path);
        ck_assert_int_eq(unlink(path), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", root, dirs[i]);
        ck_assert_int_eq(rmdir(path), 0);
    }
}

START_TEST(reads_what_moved_on_both_versions)
{
    const struct recorded *files = _i ? v2 : v1;
    size_t n = _i ? sizeof(v2) / sizeof(*v2) : sizeof(v1) / sizeof(*v1);
    struct cgroup cg;
    struct cgroup_look before, after;
    uint64_t peak = 0;
    bool is_known = false;

    make_root();
    write_all(files, n, false);
    cgroup_open(&cg, root);
    cgroup_look(&cg, &before);
    write_all(files, n, true);
    cgroup_look(&cg, &after);
    ck_assert_uint_eq(before.known, (1u << CGROUP_TASKS) - 1);
    ck_assert_uint_eq(cgroup_moved(&before, &after, CGROUP_OOM), 1);
    ck_assert_uint_eq(cgroup_moved(&before, &after, CGROUP_LIMIT), 14);
    ck_assert_uint_eq(cgroup_moved(&before, &after, CGROUP_PIDS), 2);
    ck_assert_uint_eq(cgroup_moved(&before, &after, CGROUP_CPU), 2738);
    ck_assert_uint_eq(cgroup_read(&cg, CGROUP_TASKS, &is_known), 9);
    ck_assert(is_known);
    ck_assert(cgroup_peak(&before, &after, &peak));
    ck_assert_uint_eq(peak, 90000000 - 16805888);
    cgroup_close(&cg);
    remove_root(files, n);
}
END_TEST

START_TEST(knows_nothing_where_there_are_no_files)
{
    struct cgroup cg;
    struct cgroup_look look;
    uint64_t peak;

    cgroup_open(&cg, "/nonexistent");
    cgroup_look(&cg, &look);
    ck_assert_uint_eq(look.known, 0);
    ck_assert_uint_eq(cgroup_moved(&look, &look, CGROUP_CPU), 0);
    ck_assert(!cgroup_peak(&look, &look, &peak));
    cgroup_close(&cg);
}
END_TEST

static const uint32_t all_known = (1u << CGROUP_TASKS) - 1;

START_TEST(peak_of_the_imports_is_not_that_of_the_run)
{
    struct cgroup_look before = {.known = all_known}, after;
    uint64_t peak = 0;

    before.value[CGROUP_USAGE] = 100;
    before.value[CGROUP_PEAK] = 180;
    after = before;
    after.value[CGROUP_USAGE] = 130;
    ck_assert(cgroup_peak(&before, &after, &peak));
    ck_assert_uint_eq(peak, 30);
    after.value[CGROUP_USAGE] = 90;
    ck_assert(cgroup_peak(&before, &after, &peak));
    ck_assert_uint_eq(peak, 0);
    after.value[CGROUP_PEAK] = 181;
    ck_assert(cgroup_peak(&before, &after, &peak));
    ck_assert_uint_eq(peak, 81);
}
END_TEST

/* ---- the verdict ---- */

enum { NOTHING = CGROUP_FILES };

#define EXITED(n) ((n) << 8)

static const struct {
    struct ending e;
    int moved; /* the counter that moved, or NOTHING */
    uint8_t end;
    int32_t exit_code, term_signal;
} verdicts[] = {
    {{.has_report = true},                                                                        NOTHING,      END_NORMAL,    0, 0      },
    {{.has_report = true, .report = {.exit_code = 3}},                                            NOTHING,      END_NORMAL,    3, 0      },
    {{.is_dead = true, .status = EXITED(9)},                                                      NOTHING,      END_NORMAL,    9, 0      },
    {{.is_dead = true, .status = SIGSEGV},                                                        NOTHING,      END_NORMAL,    0, SIGSEGV},
    {{.is_dead = false},                                                                          NOTHING,      END_NORMAL,    0, SIGKILL},
    {{.has_report = true, .is_dead = true, .status = SIGKILL},                                    NOTHING,      END_NORMAL,    0, 0      },
    /* limits need a failure and a counter */
    {{.has_report = true},                                                                        CGROUP_OOM,   END_NORMAL,    0, 0      },
    {{.has_report = true, .report = {.exit_code = 1}},                                            CGROUP_OOM,   END_OOM,       1, 0      },
    {{.is_dead = true, .status = SIGKILL},                                                        CGROUP_OOM,   END_OOM,       0, SIGKILL},
    {{.has_report = true, .report = {.exit_code = 1}},                                            CGROUP_LIMIT, END_NORMAL,    1, 0      },
    {{.has_report = true, .report = {.exit_code = 1, .is_no_memory = true}},
     CGROUP_LIMIT,                                                                                              END_OOM,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .is_no_memory = true}},
     NOTHING,                                                                                                   END_NORMAL,
     1,                                                                                                                           0      },
    {{.has_report = true},                                                                        CGROUP_PIDS,  END_NORMAL,    0, 0      },
    {{.has_report = true, .report = {.exit_code = 1}},                                            CGROUP_PIDS,  END_PIDS,      1, 0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = ENOSPC}},
     NOTHING,                                                                                                   END_NORMAL,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = ENOSPC}, .is_disk_full = true},
     NOTHING,                                                                                                   END_DISK,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = EDQUOT}, .is_disk_full = true},
     NOTHING,                                                                                                   END_DISK,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 0, .os_errno = ENOSPC}, .is_disk_full = true},
     NOTHING,                                                                                                   END_NORMAL,
     0,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = ENOENT}, .is_disk_full = true},
     NOTHING,                                                                                                   END_NORMAL,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = EFBIG}, .has_file_limit = true},
     NOTHING,                                                                                                   END_DISK,
     1,                                                                                                                           0      },
    {{.has_report = true, .report = {.exit_code = 1, .os_errno = EFBIG}},
     NOTHING,                                                                                                   END_NORMAL,
     1,                                                                                                                           0      },
    {{.is_dead = true, .status = SIGXFSZ, .has_file_limit = true},                                NOTHING,      END_DISK,      0, SIGXFSZ},
    {{.has_report = true, .report = {.exit_code = 1, .is_blocked = true}},
     CGROUP_OOM,                                                                                                END_BLOCKED,
     1,                                                                                                                           0      },
    /* what the warden did itself comes first, in this order */
    {{.is_timeout = true, .has_report = true},                                                    NOTHING,      END_TIMEOUT,   0, SIGKILL},
    {{.is_timeout = true, .is_dead = true, .status = EXITED(3)},
     CGROUP_OOM,                                                                                                END_TIMEOUT,
     0,                                                                                                                           SIGKILL},
    {{.is_timeout = true, .is_over_output = true},                                                NOTHING,      END_OUTPUT,    0, SIGKILL},
    {{.is_timeout = true, .is_over_output = true, .is_cancelled = true},
     NOTHING,                                                                                                   END_CANCELLED,
     0,                                                                                                                           SIGKILL},
};

START_TEST(names_a_limit_only_with_evidence)
{
    struct cgroup_look before = {.known = all_known}, after = {.known = all_known};
    struct outcome_report r = {.wall_us = 7};

    if (verdicts[_i].moved != NOTHING)
        after.value[verdicts[_i].moved] = 1;
    verdict_decide(&verdicts[_i].e, &before, &after, &r);
    ck_assert_int_eq(r.end, verdicts[_i].end);
    ck_assert_int_eq(r.exit_code, verdicts[_i].exit_code);
    ck_assert_int_eq(r.term_signal, verdicts[_i].term_signal);
    ck_assert_uint_eq(r.wall_us, 7);
}
END_TEST

START_TEST(sees_whether_a_disk_is_full)
{
    struct rlimit old, small = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};

    ck_assert(!is_full("/nonexistent"));
    ck_assert(!is_full("/proc")); /* no size at all */
    ck_assert_int_eq(verdict_disk_is_full("/"),
                     is_full("/") || is_full("/tmp") || is_full("/dev/shm"));
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_assert(verdict_has_file_limit());
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_int_eq(verdict_has_file_limit(), old.rlim_cur != RLIM_INFINITY);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, finds_numbers_in_the_kernels_files, 0,
                        sizeof(numbers) / sizeof(*numbers));
    tcase_add_loop_test(t, reads_what_moved_on_both_versions, 0, 2);
    tcase_add_test(t, knows_nothing_where_there_are_no_files);
    tcase_add_test(t, peak_of_the_imports_is_not_that_of_the_run);
    tcase_add_loop_test(t, names_a_limit_only_with_evidence, 0,
                        sizeof(verdicts) / sizeof(*verdicts));
    tcase_add_test(t, sees_whether_a_disk_is_full);
}

UNIT_MAIN("warden cgroup", add_tests)
