#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "unit.h"

enum { WORDS_MAX = 8, WORD_MAX = 64 };

struct printed {
    int status;
    char *out, *err;
};

static void printed_done(struct printed *p)
{
    free(p->out);
    free(p->err);
}

static char *take_text(const char *path)
{
    char *text = NULL;
    struct err e = {0};
    size_t n;

    ck_assert_msg(io_read_file(path, 1 << 20, &text, &n, &e) == 0, "%s", e.msg);
    ck_assert_int_eq(unlink(path), 0);
    return text;
}

/* `oneshot check` with the words behind it, which end with NULL. */
static struct printed check(const char *const *words)
{
    char out[] = "/tmp/test_check.XXXXXX", err[] = "/tmp/test_check.XXXXXX";
    auto_fd int out_fd = mkstemp(out);
    auto_fd int err_fd = mkstemp(err);
    char storage[WORDS_MAX][WORD_MAX] = {"check"}, *argv[WORDS_MAX + 1] = {storage[0]};
    struct printed p = {0};
    int argc = 1;

    ck_assert(out_fd >= 0 && err_fd >= 0);
    for (; words[argc - 1]; argc++) {
        ck_assert_uint_lt(str_copy(storage[argc], words[argc - 1], WORD_MAX), WORD_MAX);
        argv[argc] = storage[argc];
    }
    ck_assert_ptr_nonnull(freopen(out, "w", stdout));
    ck_assert_ptr_nonnull(freopen(err, "w", stderr));
    p.status = cmd_check(argc, argv);
    (void)fflush(stdout);
    (void)fflush(stderr);
    p.out = take_text(out);
    p.err = take_text(err);
    return p;
}

static void start_clean(void)
{
    ck_assert_int_eq(clearenv(), 0);
    ck_assert_int_eq(setenv("HOME", "/home/me", 1), 0);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

START_TEST(shows_settings_and_all_policies)
{
    CLEANUP(printed_done) struct printed p = {0};

    start_clean();
    p = check((const char *[]){"--config", "oneshot.yaml.example", "--policies=policies", NULL});
    ck_assert_str_eq(p.err, "");
    ck_assert_int_eq(p.status, 0);
    ck_assert(str_starts(p.out, "# settings: oneshot.yaml.example\ninstance: \"\"\n"));
    ck_assert_uint_eq(count(p.out, "\n---\n# policy "), 7);
    ck_assert_ptr_nonnull(strstr(p.out, "\n# policy telemetry: policies/telemetry.yaml, sha256 "));
    ck_assert_uint_eq(count(p.out, "[isolation]"), 0);
}
END_TEST

START_TEST(explains_the_policies_that_are_named)
{
    CLEANUP(printed_done) struct printed p = {0};

    start_clean();
    p = check((const char *[]){"large", "--policies", "policies", "--", "aiq", NULL});
    ck_assert_str_eq(p.err, "");
    ck_assert_int_eq(p.status, 0);
    ck_assert(str_starts(p.out, "# policy large: policies/large.yaml, sha256 "));
    ck_assert_uint_eq(count(p.out, "\n---\n"), 1);
    ck_assert_uint_eq(count(p.out, "# policy "), 2);
    ck_assert_ptr_nonnull(strstr(p.out, "  # [isolation] a request may ask for so long\n"));
    ck_assert_ptr_null(strstr(p.out, "instance:"));
}
END_TEST

START_TEST(is_quiet_where_all_is_well)
{
    CLEANUP(printed_done) struct printed all = {0}, one = {0};

    start_clean();
    all = check((const char *[]){"-q", "--policies", "policies", NULL});
    ck_assert_int_eq(all.status, 0);
    ck_assert_str_eq(all.out, "");
    one = check((const char *[]){"--quiet", "--policies", "policies", "aiq", NULL});
    ck_assert_int_eq(one.status, 0);
    ck_assert_str_eq(one.out, "");
}
END_TEST

/* clang-format off */
static const struct {
    const char *words[5];
    const char *mention;
} wrong[] = {
    {{"--prove"}, "there is no option '--prove'"},
    {{"--config"}, "--config"},
    {{"--policies", "policies", "nobody"}, "there is no policy 'nobody'\n"},
    {{"--policies", "policies", "--quiet", "nobody"}, "there is no policy 'nobody'\n"},
    {{"--policies", "/nowhere"}, "list '/nowhere': No such file or directory\n"},
    {{"--config", "/nowhere"}, "open '/nowhere': No such file or directory\n"},
};
/* clang-format on */

START_TEST(fails_with_two_and_says_why)
{
    CLEANUP(printed_done) struct printed p = {0};

    start_clean();
    p = check(wrong[_i].words);
    ck_assert_int_eq(p.status, 2);
    ck_assert_str_eq(p.out, "");
    ck_assert_msg(strstr(p.err, wrong[_i].mention), "%s", p.err);
}
END_TEST

START_TEST(tells_every_fault_of_settings_and_policies)
{
    char dir[] = "/tmp/test_check.XXXXXX", policy[64];
    CLEANUP(printed_done) struct printed p = {0};
    auto_fd int fd = -1;

    start_clean();
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(policy, sizeof(policy), "%s/p.yaml", dir);
    fd = open(policy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "pids: x\npdis: 1\n", 16), 16);
    ck_assert_int_eq(setenv("ONESHOT_DRAIN", "soon", 1), 0);
    p = check((const char *[]){"--policies", dir, NULL});
    ck_assert_int_eq(p.status, 2);
    ck_assert_str_eq(p.out, "");
    ck_assert_ptr_nonnull(strstr(p.err, "environment variable ONESHOT_DRAIN: 'drain': must be a"));
    ck_assert_ptr_nonnull(strstr(p.err, "/p.yaml:1:7: 'pids': must be an integer, not 'x'\n"));
    ck_assert_ptr_nonnull(strstr(p.err, "/p.yaml:2:1: 'pdis': is not a key here; did you mean "
                                        "'pids'?\n"));
    ck_assert_ptr_nonnull(strstr(p.err, "/p.yaml:1:1: 'image': is missing\n"));
    ck_assert_int_eq(unlink(policy), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(prints_its_arguments)
{
    CLEANUP(printed_done) struct printed p = {0};

    p = check((const char *[]){"--help", NULL});
    ck_assert_int_eq(p.status, 0);
    ck_assert(str_starts(p.out, "usage: oneshot check "));
}
END_TEST

START_TEST(a_full_disk_is_an_error)
{
    char storage[][WORD_MAX] = {"check", "--policies", "policies"};
    char *argv[] = {storage[0], storage[1], storage[2], NULL};

    start_clean();
    ck_assert_ptr_nonnull(freopen("/dev/full", "w", stdout));
    ck_assert_int_eq(cmd_check(3, argv), 2);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, shows_settings_and_all_policies);
    tcase_add_test(t, explains_the_policies_that_are_named);
    tcase_add_test(t, is_quiet_where_all_is_well);
    tcase_add_loop_test(t, fails_with_two_and_says_why, 0, ARRAY_LEN(wrong));
    tcase_add_test(t, tells_every_fault_of_settings_and_policies);
    tcase_add_test(t, prints_its_arguments);
    tcase_add_test(t, a_full_disk_is_an_error);
}

UNIT_MAIN("check", add_tests)
