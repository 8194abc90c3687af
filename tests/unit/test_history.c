#include "unit.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "policy/policy.h"
#include "store/store.h"

static char dir[64], config[100];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

static void begin(void)
{
    auto_free char *text = NULL, *sub = NULL;

    (void)snprintf(dir, sizeof(dir), "/tmp/oneshot-history-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chmod(dir, 0755), 0);
    (void)snprintf(config, sizeof(config), "%s/oneshot.yaml", dir);
    text = xasprintf("state_dir: %s/state\n", dir);
    write_text(config, text);
    sub = xasprintf("%s/state", dir);
    ck_assert_int_eq(mkdir(sub, 0755), 0);
    free(sub);
    sub = xasprintf("%s/state/store", dir);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
}

static void end(void)
{
    ck_assert_int_eq(nftw(dir, remove_one, 20, FTW_DEPTH | FTW_PHYS), 0);
}

/* Runs 1..n as a service would have recorded them. */
static void record(unsigned n)
{
    auto_free char *place = xasprintf("%s/state/store", dir);
    struct store_options o = {
        .url = "sqlite:oneshot.db", .dir = place, .code_store = STORE_CODE_FULL};
    char policy_name[64] = "a-policy-with-a-rather-long-name-that-no-column-holds";
    struct policy policy = {.name = policy_name, .hash = "0011"};
    struct store *s;
    struct err err = {0};

    ck_assert_msg(store_open(&o, &s, &err) == 0, "%s", err.msg);
    for (unsigned i = 1; i <= n; i++) {
        static const char code[] = "print('hello')\n\x1b[2J# the end";
        struct run_request q = {.dialect = i % 2 ? "native" : "interpreter",
                                .policy = &policy,
                                .code = code,
                                .code_len = strlen(code),
                                .client = "192.0.2.7"};
        struct run_result r = {.outcome = i % 2 ? OUTCOME_OK : OUTCOME_OUTPUT_LIMIT,
                               .exit_code = i % 2 ? 0 : -1,
                               .term_signal = i % 2 ? 0 : 9,
                               .started_wall_ms = 1795255200000,
                               .wall_us = 123456789012ULL / (i * i),
                               .memory_peak = 1 << 20,
                               .container = "c0ffee",
                               .was_warm = true};

        (void)snprintf(r.id, sizeof(r.id), "%020u", i);
        if (i % 2 == 0)
            (void)str_copy(r.reason, "output limit of 64 MiB exceeded", sizeof(r.reason));
        store_observe(s, &q, &r);
    }
    store_close(s);
}

struct told {
    int status;
    char *out, *err;
};

static char *whole(int fd)
{
    char *text = xcalloc(1, 1 << 20);

    ck_assert_int_ge(pread(fd, text, (1 << 20) - 1, 0), 0);
    ck_assert_int_eq(close(fd), 0);
    return text;
}

/* `oneshot history …`, the words separated by single blanks. */
static struct told history_as(uid_t uid, const char *words)
{
    int out = memfd_create("out", MFD_CLOEXEC), errors = memfd_create("err", MFD_CLOEXEC), status;
    auto_free char *line = xasprintf("history --config %s%s%s", config, words[0] ? " " : "", words);
    struct told told;
    pid_t pid = fork();

    if (pid == 0) {
        char *argv[20], *save = NULL;
        int argc = 0;

        for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
            argv[argc++] = w;
        argv[argc] = NULL;
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(errors, STDERR_FILENO);
        if (uid && setuid(uid) < 0)
            _exit(99);
        status = cmd_history(argc, argv);
        (void)fflush(stdout);
        _exit(status);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    told.status = WEXITSTATUS(status);
    told.out = whole(out);
    told.err = whole(errors);
    return told;
}

static struct told history(const char *words)
{
    return history_as(0, words);
}

static void told_done(struct told *t)
{
    free(t->out);
    free(t->err);
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

START_TEST(the_table_fits_a_hundred_columns)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(5);
    t = history("");
    ck_assert_int_eq(t.status, 0);
    ck_assert_str_eq(t.err, "");
    ck_assert_uint_eq(count_lines(t.out), 6);
    for (char *save = NULL, *line = strtok_r(t.out, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        ck_assert_msg(strlen(line) <= 100, "%zu: %s", strlen(line), line);
    end();
}
END_TEST

START_TEST(the_newest_run_stands_first)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(30);
    t = history("--limit 3");
    ck_assert_uint_eq(count_lines(t.out), 4);
    ck_assert_ptr_nonnull(strstr(t.out, "\n00000000000000000030  2026-11-21 10:00:00"));
    ck_assert_ptr_null(strstr(t.out, "00000000000000000027"));
    end();
}
END_TEST

static const struct {
    const char *words;
    unsigned runs; /* of 30 */
} lists[] = {
    {"",                                         20},
    {"--limit 30",                               30},
    {"-n 7",                                     7 },
    {"--limit 30 --outcome ok",                  15},
    {"--limit 30 --dialect interpreter",         15},
    {"--limit 30 --policy default",              0 },
    {"--limit 30 --before 00000000000000000011", 10},
};

START_TEST(runs_are_chosen_by_options)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(30);
    t = history(lists[_i].words);
    ck_assert_int_eq(t.status, 0);
    ck_assert_uint_eq(count_lines(t.out), lists[_i].runs ? lists[_i].runs + 1 : 0);
    ck_assert_str_eq(t.err, lists[_i].runs ? "" : "oneshot: no runs\n");
    end();
}
END_TEST

START_TEST(one_run_is_shown_with_its_program)
{
    static const char *const parts[] = {
        "run          00000000000000000002\n",
        "started      2026-11-21 10:00:00 UTC\n",
        "dialect      interpreter\n",
        "policy       a-policy-with-a-rather-long-name-that-no-column-holds\n",
        "policy hash  0011\n",
        "client       192.0.2.7\n",
        "outcome      output_limit\n",
        "reason       output limit of 64 MiB exceeded\n",
        "signal       9\n",
        "memory peak  1048576 bytes\n",
        "container    c0ffee\n",
        "start        warm\n",
        "code         28 bytes\n",
        "code sha256  ",
        "\nprint('hello')\n\x1b[2J# the end\n",
    };
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(2);
    t = history("00000000000000000002");
    ck_assert_int_eq(t.status, 0);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        ck_assert_msg(strstr(t.out, parts[i]) != NULL, "'%s' is missing in\n%s", parts[i], t.out);
    ck_assert_ptr_null(strstr(t.out, "exit status"));
    ck_assert_ptr_null(strstr(t.out, "trace"));
    end();
}
END_TEST

START_TEST(a_list_is_json_for_programs)
{
    CLEANUP(cJSON_Delete_p) cJSON *root = NULL;
    CLEANUP(told_done) struct told t = {0};
    const cJSON *runs;

    begin();
    record(3);
    t = history("--json --limit 2");
    ck_assert_int_eq(t.status, 0);
    root = cJSON_Parse(t.out);
    runs = cJSON_GetObjectItem(root, "runs");
    ck_assert_int_eq(cJSON_GetArraySize(runs), 2);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(runs, 0), "id")),
                     "00000000000000000003");
    ck_assert_ptr_null(cJSON_GetObjectItem(cJSON_GetArrayItem(runs, 0), "code"));
    end();
}
END_TEST

START_TEST(one_run_is_json_for_programs)
{
    CLEANUP(cJSON_Delete_p) cJSON *root = NULL;
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(3);
    t = history("--json 00000000000000000001");
    ck_assert_int_eq(t.status, 0);
    root = cJSON_Parse(t.out);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(root, "code")),
                     "print('hello')\n\x1b[2J# the end");
    end();
}
END_TEST

static const struct {
    const char *words;
    int status;
    const char *says;
} mistakes[] = {
    {"--limit 0",            EXIT_USAGE,   "1..1000"                               },
    {"--limit 1001",         EXIT_USAGE,   "1..1000"                               },
    {"--limit many",         EXIT_USAGE,   "1..1000"                               },
    {"--outcome fine",       EXIT_USAGE,   "code_error"                            },
    {"one two",              EXIT_USAGE,   "one ID"                                },
    {"--nothing",            EXIT_USAGE,   "--nothing"                             },
    {"00000000000000000009", EXIT_FAILURE, "there is no run '00000000000000000009'"},
};

START_TEST(mistakes_are_told)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    record(1);
    t = history(mistakes[_i].words);
    ck_assert_int_eq(t.status, mistakes[_i].status);
    ck_assert_msg(strstr(t.err, mistakes[_i].says) != NULL, "%s", t.err);
    ck_assert_str_eq(t.out, "");
    end();
}
END_TEST

START_TEST(help_is_no_mistake)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    t = history("--help");
    ck_assert_int_eq(t.status, 0);
    ck_assert_ptr_nonnull(strstr(t.out, "--outcome"));
    end();
}
END_TEST

START_TEST(without_a_database_it_says_where_it_looked)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    t = history("");
    ck_assert_int_eq(t.status, EXIT_FAILURE);
    ck_assert_ptr_nonnull(strstr(t.err, "/state/store/oneshot.db' does not exist"));
    ck_assert_ptr_nonnull(strstr(t.err, "--config"));
    end();
}
END_TEST

START_TEST(who_may_not_read_it_is_told_who_may)
{
    CLEANUP(told_done) struct told t = {0};

    if (geteuid() != 0) {
        (void)puts("skipped: needs root");
        return;
    }
    begin();
    record(1);
    t = history_as(4242, "");
    ck_assert_int_eq(t.status, EXIT_FAILURE);
    ck_assert_msg(strstr(t.err, "Permission denied") != NULL, "%s", t.err);
    ck_assert_ptr_nonnull(strstr(t.err, "as root"));
    end();
}
END_TEST

START_TEST(bad_settings_are_told)
{
    CLEANUP(told_done) struct told t = {0};

    begin();
    write_text(config, "no_such_key: 1\n");
    t = history("");
    ck_assert_int_eq(t.status, EXIT_USAGE);
    ck_assert_msg(strstr(t.err, "no_such_key") != NULL, "%s", t.err);
    end();
}
END_TEST

START_TEST(a_terminal_is_not_commanded_by_a_program)
{
    char seen[8192] = "";
    int master, status;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    begin();
    record(1);
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        (void)puts("skipped: no pseudo terminal");
        end();
        return;
    }
    pid = fork();
    if (pid == 0) {
        char *argv[] = {(char[]){"history"}, (char[]){"--config"}, config,
                        (char[]){"00000000000000000001"}, NULL};
        int slave = open(ptsname(master), O_RDWR | O_NOCTTY);

        (void)dup2(slave, STDOUT_FILENO);
        status = cmd_history(4, argv);
        (void)fflush(stdout);
        _exit(status);
    }
    /* The end of the slave shows as an error. */
    while (len < sizeof(seen) - 1 && (n = read(master, seen + len, sizeof(seen) - 1 - len)) > 0)
        len += (size_t)n;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_ptr_null(strchr(seen, '\x1b'));
    ck_assert_ptr_nonnull(strstr(seen, "\\x1b[2J# the end"));
    (void)close(master);
    end();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, the_table_fits_a_hundred_columns);
    tcase_add_test(t, the_newest_run_stands_first);
    tcase_add_loop_test(t, runs_are_chosen_by_options, 0, ARRAY_LEN(lists));
    tcase_add_test(t, one_run_is_shown_with_its_program);
    tcase_add_test(t, a_list_is_json_for_programs);
    tcase_add_test(t, one_run_is_json_for_programs);
    tcase_add_loop_test(t, mistakes_are_told, 0, ARRAY_LEN(mistakes));
    tcase_add_test(t, help_is_no_mistake);
    tcase_add_test(t, without_a_database_it_says_where_it_looked);
    tcase_add_test(t, who_may_not_read_it_is_told_who_may);
    tcase_add_test(t, bad_settings_are_told);
    tcase_add_test(t, a_terminal_is_not_commanded_by_a_program);
}

UNIT_MAIN_ONE_PROCESS("history", add_tests)
