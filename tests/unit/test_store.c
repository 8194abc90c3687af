#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/metrics.h"
#include "store/writer.h"
#include "store_rig.h"
#include "unit.h"

/* ---- rows ---- */

START_TEST(a_run_comes_back_as_it_was)
{
    static const char code[] = "print('\xc3\xa4')\n# second line\n";
    char long_reason[] = "time limit of 2 s exceeded";
    struct policy policy = {.name = (char[]){"telemetry"}, .hash = "0123456789abcdef"};
    struct run_request q = {.dialect = "telemetry",
                            .policy = &policy,
                            .code = code,
                            .code_len = strlen(code),
                            .client = "2001:db8::1",
                            .traceparent = "00-aa-bb-01"};
    struct run_result r = {.id = "0123456789abcdef0123",
                           .outcome = OUTCOME_TIMEOUT,
                           .exit_code = -1,
                           .term_signal = 9,
                           .started_wall_ms = 1795255200123,
                           .wall_us = 1234567,
                           .cpu_us = 99,
                           .memory_peak = 1ULL << 33,
                           .queue_us = 1,
                           .take_us = 2,
                           .run_us = 3,
                           .collect_us = 4,
                           .out_bytes = 5,
                           .err_bytes = UINT64_MAX,
                           .files_n = 7,
                           .was_warm = true,
                           .container = "c0ffee",
                           .image = "sha256:1234"};
    struct store_options o = options();
    struct run_record got;

    begin();
    (void)str_copy(r.reason, long_reason, sizeof(r.reason));
    open_with(&o);
    store_observe(store, &q, &r);
    open_again();
    ck_assert_msg(store_get(store, r.id, &got, &err) == 0, "%s", err.msg);
    ck_assert_str_eq(got.id, r.id);
    ck_assert_int_eq(got.started_ms, r.started_wall_ms);
    ck_assert_str_eq(got.dialect, "telemetry");
    ck_assert_str_eq(got.policy, "telemetry");
    ck_assert_str_eq(got.policy_hash, "0123456789abcdef");
    ck_assert_str_eq(got.image, "sha256:1234");
    ck_assert_str_eq(got.container, "c0ffee");
    ck_assert_int_eq(got.outcome, OUTCOME_TIMEOUT);
    ck_assert_int_eq(got.exit_code, -1);
    ck_assert_int_eq(got.term_signal, 9);
    ck_assert_str_eq(got.reason, long_reason);
    ck_assert(got.was_warm);
    ck_assert_uint_eq(got.wall_us, 1234567);
    ck_assert_uint_eq(got.cpu_us, 99);
    ck_assert_uint_eq(got.memory_peak, 1ULL << 33);
    ck_assert_int_eq(got.queue_us, 1);
    ck_assert_int_eq(got.take_us, 2);
    ck_assert_int_eq(got.run_us, 3);
    ck_assert_int_eq(got.collect_us, 4);
    ck_assert_uint_eq(got.out_bytes, 5);
    ck_assert_uint_eq(got.err_bytes, INT64_MAX); /* what a column can hold */
    ck_assert_uint_eq(got.files, 7);
    ck_assert_str_eq(got.client, "2001:db8::1");
    ck_assert_str_eq(got.traceparent, "00-aa-bb-01");
    ck_assert_uint_eq(got.code_bytes, strlen(code));
    ck_assert_str_eq(got.code, code);
    ck_assert_uint_eq(strlen(got.code_sha256), 64);
    run_record_done(&got);
    end();
}
END_TEST

static const struct {
    enum store_code kept;
    bool has_sha, has_code;
} captures[] = {
    {STORE_CODE_OFF,    false, false},
    {STORE_CODE_DIGEST, true,  false},
    {STORE_CODE_FULL,   true,  true },
};

START_TEST(a_row_keeps_as_much_of_the_program_as_it_may)
{
    struct store_options o = options();
    struct run_record got;

    begin();
    o.code_store = captures[_i].kept;
    o.code_log = STORE_CODE_FULL; /* goes to the log alone */
    open_with(&o);
    observe(1);
    WAIT_FOR(written, 1);
    ck_assert_int_eq(store_get(store, "00000000000000000001", &got, &err), 0);
    ck_assert_uint_eq(strlen(got.code_sha256), captures[_i].has_sha ? 64 : 0);
    ck_assert_int_eq(got.code != NULL, captures[_i].has_code);
    ck_assert_uint_eq(got.code_bytes, 8);
    run_record_done(&got);
    end();
}
END_TEST

START_TEST(lists_are_newest_first_and_paged)
{
    struct store_filter f = {.limit = 4};
    struct run_record *list;
    struct store_options o = options();
    unsigned seen = 0, expected = 10;
    char before[RANDOM_ID_MAX];
    size_t n;

    begin();
    open_with(&o);
    observe_many(1, 10);
    WAIT_FOR(written, 10);
    do {
        ck_assert_int_eq(store_list(store, &f, &list, &n, &err), 0);
        for (size_t i = 0; i < n; i++) {
            ck_assert_uint_eq(strtoul(list[i].id, NULL, 10), expected--);
            ck_assert_ptr_null(list[i].code);
            (void)str_copy(before, list[i].id, sizeof(before));
        }
        seen += (unsigned)n;
        f.before = before;
        store_records_free(list, n);
    } while (n);
    ck_assert_uint_eq(seen, 10);
    end();
}
END_TEST

static const struct {
    struct store_filter f;
    size_t n; /* of runs 1..12: dialects alternate, every third is a timeout */
} filters[] = {
    {{.limit = 100},                                                         12},
    {{.limit = 5},                                                           5 },
    {{.limit = 100, .policy = "default"},                                    12},
    {{.limit = 100, .policy = "other"},                                      0 },
    {{.limit = 100, .policy = "default' OR '1'='1"},                         0 },
    {{.limit = 100, .dialect = "aiq"},                                       6 },
    {{.limit = 100, .outcome = "timeout"},                                   4 },
    {{.limit = 100, .outcome = "ok", .dialect = "native"},                   4 },
    {{.limit = 100, .before = "00000000000000000005"},                       4 },
    {{.limit = 100, .before = "00000000000000000005", .outcome = "timeout"}, 1 },
    {{.limit = 100, .before = ""},                                           0 },
};

START_TEST(lists_are_filtered)
{
    struct store_options o = options();

    begin();
    open_with(&o);
    observe_many(1, 12);
    WAIT_FOR(written, 12);
    ck_assert_uint_eq(count_rows(&filters[_i].f), filters[_i].n);
    end();
}
END_TEST

START_TEST(limits_of_a_list_are_checked)
{
    struct store_options o = options();
    struct run_record *list;
    size_t n;

    begin();
    open_with(&o);
    fails(store_list(store, &(struct store_filter){.limit = 0}, &list, &n, &err), ERR_INVALID);
    fails(store_list(store, &(struct store_filter){.limit = STORE_LIST_MAX + 1}, &list, &n, &err),
          ERR_INVALID);
    ck_assert_uint_eq(rows(), 0);
    end();
}
END_TEST

START_TEST(an_unknown_run_is_not_found)
{
    struct store_options o = options();
    struct run_record r;

    begin();
    open_with(&o);
    fails(store_get(store, "nothing", &r, &err), ERR_NOTFOUND);
    end();
}
END_TEST

START_TEST(a_run_is_recorded_once)
{
    struct store_options o = options();

    begin();
    open_with(&o);
    observe(1);
    observe(1);
    open_again();
    ck_assert_uint_eq(rows(), 1);
    end();
}
END_TEST

START_TEST(a_stop_loses_nothing)
{
    struct store_options o = options();
    sqlite3 *db;

    begin();
    open_with(&o);
    observe_many(0, 3000);
    store_close(store);
    store = NULL;
    db = connect_to(file);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM runs"), 3000);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(an_empty_program_and_one_with_a_nul_are_kept)
{
    struct store_options o = options();
    struct run_record r;

    begin();
    open_with(&o);
    observe_run(store, 1, "", 0);
    observe_run(store, 2, "a\0b", 3);
    WAIT_FOR(written, 2);
    ck_assert_int_eq(store_get(store, "00000000000000000001", &r, &err), 0);
    ck_assert_str_eq(r.code, "");
    run_record_done(&r);
    ck_assert_int_eq(store_get(store, "00000000000000000002", &r, &err), 0);
    ck_assert_uint_eq(r.code_bytes, 3);
    ck_assert_mem_eq(r.code, "a\0b", 3);
    run_record_done(&r);
    end();
}
END_TEST

/* ---- the file ---- */

static const struct {
    const char *url, *path; /* %s: the directory */
} places[] = {
    {"sqlite:oneshot.db",            "%s/oneshot.db"           },
    {"sqlite:with %3f odd?name#.db", "%s/with %3f odd?name#.db"},
    {"sqlite://%s/absolute.db",      "%s/absolute.db"          },
    {"sqlite:%s/absolute.db",        "%s/absolute.db"          },
};

static char *fill_in(const char *pattern)
{
    const char *at = strstr(pattern, "%s");

    return at ? xasprintf("%.*s%s%s", (int)(at - pattern), pattern, dir, at + 2) : xstrdup(pattern);
}

START_TEST(the_database_lies_where_its_url_says)
{
    struct store_options o = options();
    auto_free char *url = NULL, *path = NULL;
    struct store *reader;
    struct stat st;

    begin();
    url = fill_in(places[_i].url);
    path = fill_in(places[_i].path);
    o.url = url;
    open_with(&o);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600); /* programs are nobody else's to read */
    observe(1);
    WAIT_FOR(written, 1);
    ck_assert_msg(store_open_reader(url, dir, &reader, &err) == 0, "%s", err.msg);
    store_close(reader);
    end();
}
END_TEST

static const struct {
    const char *url;
    const char *dir; /* below the directory */
    enum err_kind kind;
} refused[] = {
    {"postgresql://host/db", "",         ERR_INVALID},
    {"oneshot.db",           "",         ERR_INVALID},
    {"sqlite:oneshot.db",    "/missing", ERR_DENIED },
    {"sqlite:.",             "",         ERR_INVALID},
    {"sqlite:plain/below",   "",         ERR_INVALID},
};

START_TEST(places_that_cannot_be_are_refused)
{
    struct store_options o = options();
    auto_free char *where = NULL;
    int fd;

    begin();
    where = xasprintf("%s/plain", dir);
    fd = open(where, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    ck_assert_int_eq(close(fd), 0);
    free(where);
    where = xasprintf("%s%s", dir, refused[_i].dir);
    o.url = refused[_i].url;
    o.dir = where;
    fails(store_open(&o, &store, &err), refused[_i].kind);
    end();
}
END_TEST

/* The first version, as it was; a copy, because what it is in the program might be changed. */
static const char version_1[] =
    "PRAGMA auto_vacuum = INCREMENTAL;"
    "CREATE TABLE runs (id TEXT NOT NULL PRIMARY KEY, started_at INTEGER NOT NULL,"
    " dialect TEXT NOT NULL, policy TEXT NOT NULL, policy_hash TEXT NOT NULL, image TEXT NOT NULL,"
    " container TEXT NOT NULL, outcome TEXT NOT NULL, exit_code INTEGER NOT NULL,"
    " term_signal INTEGER NOT NULL, reason TEXT NOT NULL, warm INTEGER NOT NULL,"
    " wall_us INTEGER NOT NULL, cpu_us INTEGER NOT NULL, memory_peak INTEGER NOT NULL,"
    " queue_us INTEGER NOT NULL, take_us INTEGER NOT NULL, run_us INTEGER NOT NULL,"
    " collect_us INTEGER NOT NULL, stdout_bytes INTEGER NOT NULL, stderr_bytes INTEGER NOT NULL,"
    " files INTEGER NOT NULL, client TEXT NOT NULL, traceparent TEXT NOT NULL,"
    " code_bytes INTEGER NOT NULL, code_sha256 TEXT NOT NULL, code TEXT);"
    "CREATE INDEX runs_started_at ON runs (started_at);"
    "CREATE TABLE schema_version (version INTEGER NOT NULL);"
    "INSERT INTO schema_version VALUES (1);"
    "INSERT INTO runs VALUES ('00000000000000000007', 1795255200000, 'native', 'default', 'h', 'i',"
    " 'c', 'oom', 137, 9, 'why', 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'cl', 'tp', 5, 'sha', 'code!');";

START_TEST(an_old_schema_is_brought_up_to_date_with_its_rows)
{
    struct store_options o = options();
    struct run_record r;
    sqlite3 *db;

    begin();
    db = connect_to(file);
    sql(db, version_1);
    (void)sqlite3_close(db);
    open_with(&o);
    observe(8);
    WAIT_FOR(written, 1);
    ck_assert_uint_eq(rows(), 2);
    ck_assert_int_eq(store_get(store, "00000000000000000007", &r, &err), 0);
    ck_assert_int_eq(r.outcome, OUTCOME_OOM);
    ck_assert_str_eq(r.code, "code!");
    ck_assert_uint_eq(r.files, 10);
    run_record_done(&r);
    db = connect_to(file);
    ck_assert_int_eq(number(db, "SELECT version FROM schema_version"), 3);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM schema_version"), 1);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'runs_outcome'"),
                     1);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(an_old_schema_can_be_read_without_changing_it)
{
    struct run_record r;
    sqlite3 *db;

    begin();
    db = connect_to(file);
    sql(db, version_1);
    (void)sqlite3_close(db);
    ck_assert_msg(store_open_reader("sqlite:oneshot.db", dir, &store, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(store_get(store, "00000000000000000007", &r, &err), 0);
    run_record_done(&r);
    db = connect_to(file);
    ck_assert_int_eq(number(db, "SELECT version FROM schema_version"), 1);
    (void)sqlite3_close(db);
    end();
}
END_TEST

static const struct {
    const char *what, *sql;
} strangers[] = {
    {"of a newer program",    "CREATE TABLE schema_version (version INTEGER NOT NULL);"
                           "INSERT INTO schema_version VALUES (1000);"   },
    {"of something else",     "CREATE TABLE contacts (name TEXT);"                                 },
    {"with half a migration", "CREATE TABLE schema_version (version INTEGER NOT NULL);"
                              "INSERT INTO schema_version VALUES (1);"},
};

START_TEST(a_database_of_others_is_left_alone)
{
    struct store_options o = options();
    sqlite3 *db;

    begin();
    db = connect_to(file);
    sql(db, strangers[_i].sql);
    (void)sqlite3_close(db);
    ck_assert_msg(store_open(&o, &store, &err) == -1, "%s", strangers[_i].what);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.msg, file));
    ck_assert_uint_eq(count_files("corrupt"), 0);
    db = connect_to(file);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'runs'"), 0);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(a_reader_says_why_it_cannot_read)
{
    sqlite3 *db;
    int fd;

    begin();
    fails(store_open_reader("sqlite:oneshot.db", dir, &store, &err), ERR_NOTFOUND);
    fails(store_open_reader("mysql:x", dir, &store, &err), ERR_INVALID);
    ck_assert_uint_eq(count_files("oneshot"), 0); /* it makes nothing */
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    fails(store_open_reader("sqlite:oneshot.db", dir, &store, &err), ERR_NOTFOUND);
    ck_assert_int_eq(write(fd, "this is not a database, whatever its name says", 46), 46);
    ck_assert_int_eq(close(fd), 0);
    fails(store_open_reader("sqlite:oneshot.db", dir, &store, &err), ERR_PEER);
    ck_assert_int_eq(unlink(file), 0);
    db = connect_to(file);
    sql(db, strangers[0].sql);
    (void)sqlite3_close(db);
    fails(store_open_reader("sqlite:oneshot.db", dir, &store, &err), ERR_INVALID);
    end();
}
END_TEST

/* Runs `body` as another user; the exit status. */
static int as_user(uid_t uid, int (*body)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        unit_forget_leaks(); /* of the writer's thread, which is not in here */
        _exit(geteuid() == 0 && setuid(uid) < 0 ? 99 : body());
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int read_one(void)
{
    if (store_open_reader("sqlite:oneshot.db", dir, &store, &err) < 0)
        return (int)err.kind;
    return has_row(1) ? 0 : 98;
}

static int open_to_write(void)
{
    struct store_options o = options();

    return store_open(&o, &store, &err) < 0 ? (int)err.kind : 0;
}

START_TEST(users_without_rights_are_told)
{
    struct store_options o = options();

    if (geteuid() != 0) {
        (void)puts("skipped: needs root");
        return;
    }
    begin();
    open_with(&o);
    observe(1);
    WAIT_FOR(written, 1);
    ck_assert_int_eq(as_user(4242, read_one), ERR_DENIED);
    ck_assert_int_eq(as_user(4242, open_to_write), ERR_DENIED);
    /* May read, may not write: works after the service has stopped, too. */
    store_close(store);
    store = NULL;
    ck_assert_int_eq(chmod(file, 0644), 0);
    ck_assert_int_eq(as_user(4242, read_one), 0);
    ck_assert_int_eq(as_user(4242, open_to_write), ERR_DENIED);
    end();
}
END_TEST

/* ---- age and size ---- */

START_TEST(old_runs_are_deleted)
{
    struct store_options o = options();
    static char name[] = "default";
    struct policy policy = {.name = name};
    struct run_request q = {.dialect = "native", .policy = &policy, .code = "x", .code_len = 1};

    begin();
    open_with(&o);
    for (unsigned i = 0; i < 3000; i++) {
        struct run_result r = {.started_wall_ms = clock_wall_ms() - (i % 3 ? 7200000 : 0)};

        (void)snprintf(r.id, sizeof(r.id), "%020u", i);
        store_observe(store, &q, &r);
    }
    store_close(store);
    o.age_ms = 3600000;
    open_with(&o);
    for (int64_t until = clock_ms() + patient(SOON_MS); rows() != 1000 || has_row(1);) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
    }
    ck_assert(has_row(0));
    ck_assert(has_row(2997));
    end();
}
END_TEST

static const struct {
    int64_t leap_ms;
    bool is_steady;
} leaps[] = {
    {0,                     true },
    {5000,                  true },
    {-5000,                 true },
    {3600000,               false},
    {-3600000,              false},
    {10LL * 365 * 86400000, false},
};

START_TEST(a_clock_that_leaps_deletes_nothing_at_once)
{
    int64_t wall = 1795255200000, offset = 0;

    ck_assert(writer_clock_is_steady(&offset, wall, 1000));
    wall += 60000 + leaps[_i].leap_ms;
    ck_assert_int_eq(writer_clock_is_steady(&offset, wall, 61000), leaps[_i].is_steady);
    /* The second look finds it where it was left. */
    ck_assert(writer_clock_is_steady(&offset, wall + 60000, 121000));
}
END_TEST

static uint64_t size_on_disk(void)
{
    static const char *const ends[] = {"", "-wal"};
    uint64_t sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        auto_free char *path = xasprintf("%s%s", file, ends[i]);
        struct stat st;

        sum += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    }
    return sum;
}

/* Many small ones, and a few that come together and are too large together. */
static const struct {
    unsigned runs;
    size_t code_len;
} large[] = {
    {1500, 10000 },
    {15,   300000},
};

START_TEST(a_large_history_loses_its_oldest_runs)
{
    enum { LIMIT = 3 * 1024 * 1024 };
    const unsigned runs = large[_i].runs;
    struct store_options o = options();
    auto_free char *code = xmalloc(large[_i].code_len);
    int64_t until;

    begin();
    memset(code, 'c', large[_i].code_len);
    o.size_max = LIMIT;
    open_with(&o);
    for (unsigned i = 0; i < runs; i++) {
        observe_run(store, i, code, large[_i].code_len);
        if (i % 200 == 0)
            WAIT_FOR(written, i);
    }
    WAIT_FOR(written, runs);
    until = clock_ms() + patient(SOON_MS);
    while (size_on_disk() > LIMIT) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
        ck_assert_uint_eq(state().dropped, 0);
    }
    ck_assert(has_row(runs - 1));
    ck_assert(!has_row(0));
    ck_assert_uint_gt(rows(), LIMIT / 2 / large[_i].code_len);
    ck_assert_uint_le(state().size, LIMIT);
    store_close(store);
    store = NULL;
    ck_assert(is_whole(file));
    end();
}
END_TEST

/* ---- audit and figures ---- */

static const struct {
    enum store_code how;
    const char *has, *has_not;
} audits[] = {
    {STORE_CODE_OFF,    NULL,                    "message\":\"run\""},
    {STORE_CODE_DIGEST, "\"sha256\":\"",         "\"code\""         },
    {STORE_CODE_FULL,   "\"code\":\"print(1)\"", "\"code\":\"\""    },
};

START_TEST(the_audit_log_tells_of_every_run)
{
    struct store_options o = options();
    char text[4096];
    int fd;
    ssize_t n;

    begin();
    fd = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_INFO, LOG_JSON, fd);
    o.code_log = audits[_i].how;
    o.code_store = STORE_CODE_OFF;
    open_with(&o);
    observe(3);
    store_close(store);
    store = NULL;
    n = pread(fd, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    if (audits[_i].has) {
        ck_assert_msg(strstr(text, audits[_i].has) != NULL, "%s", text);
        ck_assert_ptr_nonnull(strstr(text, "\"run\":\"00000000000000000003\""));
        ck_assert_ptr_nonnull(strstr(text, "\"dialect\":\"native\""));
        ck_assert_ptr_nonnull(strstr(text, "\"policy\":\"default\""));
        ck_assert_ptr_nonnull(strstr(text, "\"client\":\"192.0.2.7\""));
        ck_assert_ptr_nonnull(strstr(text, "\"outcome\":\"timeout\""));
        ck_assert_ptr_nonnull(strstr(text, "\"wall_ms\":0"));
    }
    ck_assert_msg(!strstr(text, audits[_i].has_not), "%s", text);
    ck_assert_int_eq(close(fd), 0);
    end();
}
END_TEST

START_TEST(a_dropped_run_is_told_by_the_audit_log)
{
    struct store_options o = options();
    auto_free char *text = xcalloc(1, 1 << 20);
    int fd;

    begin();
    fd = memfd_create("log", MFD_CLOEXEC);
    o.code_log = STORE_CODE_DIGEST;
    open_with(&o);
    log_init("test", LOG_INFO, LOG_JSON, fd);
    store_stop(store);
    store_stop(store);
    observe(5);
    ck_assert_uint_eq(state().dropped, 1);
    ck_assert_int_gt(pread(fd, text, (1 << 20) - 1, 0), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"run\":\"00000000000000000005\""));
    ck_assert_ptr_nonnull(strstr(text, "1 runs are lost"));
    ck_assert_int_eq(close(fd), 0);
    end();
}
END_TEST

START_TEST(figures_are_told_to_prometheus)
{
    struct store_options o = options();
    CLEANUP(buf_done) struct buf b = {0};

    begin();
    buf_init(&b, 1 << 16);
    open_with(&o);
    observe_many(1, 5);
    WAIT_FOR(written, 5);
    store_metrics(&b, store);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\noneshot_store_rows_written_total 5\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\noneshot_store_rows_dropped_total 0\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\noneshot_store_errors_total 0\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\noneshot_store_queue_rows 0\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\noneshot_store_up 1\n"));
    ck_assert_ptr_null(strstr(buf_get(&b), "\noneshot_store_size_bytes 0\n"));
    end();
}
END_TEST

/* ---- many at once ---- */

enum { THREADS = 4, EACH = 300 };

static atomic_uint next_run;

static void *observe_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++)
        observe_run(store, atomic_fetch_add(&next_run, 1), "print(1)", 8);
    return NULL;
}

static void *read_some(void *arg)
{
    struct store_filter f = {.limit = 50, .outcome = "ok"};
    struct err e = {0};
    struct run_record *list;
    size_t n;

    (void)arg;
    for (int i = 0; i < 100; i++) {
        struct store_state t;

        ck_assert_msg(store_list(store, &f, &list, &n, &e) == 0, "%s", e.msg);
        store_records_free(list, n);
        store_state(store, &t);
    }
    return NULL;
}

START_TEST(many_threads_write_and_read)
{
    struct store_options o = options();
    pthread_t threads[2 * THREADS];

    begin();
    open_with(&o);
    for (int i = 0; i < 2 * THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i % 2 ? observe_some : read_some, NULL),
                         0);
    for (int i = 0; i < 2 * THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    WAIT_FOR(written, THREADS * EACH);
    ck_assert_uint_eq(state().dropped, 0);
    end();
}
END_TEST

START_TEST(observing_is_quick)
{
    enum { RUNS = 2000 };
    struct store_options o = options();
    int64_t took;

    begin();
    open_with(&o);
    took = clock_us();
    observe_many(0, RUNS);
    took = clock_us() - took;
    (void)printf("observing a run: %.2f us\n", (double)took / RUNS);
    ck_assert_int_lt(took / RUNS, 1000);
    end();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_run_comes_back_as_it_was);
    tcase_add_loop_test(t, a_row_keeps_as_much_of_the_program_as_it_may, 0, ARRAY_LEN(captures));
    tcase_add_test(t, lists_are_newest_first_and_paged);
    tcase_add_loop_test(t, lists_are_filtered, 0, ARRAY_LEN(filters));
    tcase_add_test(t, limits_of_a_list_are_checked);
    tcase_add_test(t, an_unknown_run_is_not_found);
    tcase_add_test(t, a_run_is_recorded_once);
    tcase_add_test(t, a_stop_loses_nothing);
    tcase_add_test(t, an_empty_program_and_one_with_a_nul_are_kept);
    tcase_add_loop_test(t, the_database_lies_where_its_url_says, 0, ARRAY_LEN(places));
    tcase_add_loop_test(t, places_that_cannot_be_are_refused, 0, ARRAY_LEN(refused));
    tcase_add_test(t, an_old_schema_is_brought_up_to_date_with_its_rows);
    tcase_add_test(t, an_old_schema_can_be_read_without_changing_it);
    tcase_add_loop_test(t, a_database_of_others_is_left_alone, 0, ARRAY_LEN(strangers));
    tcase_add_test(t, a_reader_says_why_it_cannot_read);
    tcase_add_test(t, users_without_rights_are_told);
    tcase_add_test(t, old_runs_are_deleted);
    tcase_add_loop_test(t, a_clock_that_leaps_deletes_nothing_at_once, 0, ARRAY_LEN(leaps));
    tcase_add_loop_test(t, a_large_history_loses_its_oldest_runs, 0, ARRAY_LEN(large));
    tcase_add_loop_test(t, the_audit_log_tells_of_every_run, 0, ARRAY_LEN(audits));
    tcase_add_test(t, a_dropped_run_is_told_by_the_audit_log);
    tcase_add_test(t, figures_are_told_to_prometheus);
    tcase_add_test(t, many_threads_write_and_read);
    tcase_add_test(t, observing_is_quick);
}

UNIT_MAIN_ONE_PROCESS("store", add_tests)
