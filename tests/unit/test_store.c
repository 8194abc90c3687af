#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/metrics.h"
#include "policy/policy.h"
#include "store/store.h"
#include "store/writer.h"

enum { SOON_MS = 20000 }; /* what should come in no time, on a slow machine */

static char dir[64], file[100];
static struct store *store;
static struct err err;

/* ---- a place and a store ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void begin(void)
{
    (void)snprintf(dir, sizeof(dir), "%s/oneshot-store-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chmod(dir, 0755), 0);
    (void)snprintf(file, sizeof(file), "%s/oneshot.db", dir);
    err = (struct err){0};
    store = NULL;
    log_init("test", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static void end(void)
{
    store_close(store);
    store = NULL;
    ck_assert_int_eq(nftw(dir, remove_one, 20, FTW_DEPTH | FTW_PHYS), 0);
}

static struct store_options options(void)
{
    return (struct store_options){
        .url = "sqlite:oneshot.db", .dir = dir, .code_store = STORE_CODE_FULL};
}

static void open_with(const struct store_options *o)
{
    ck_assert_msg(store_open(o, &store, &err) == 0, "%s", err.msg);
}

static void open_again(void)
{
    struct store_options o = options();

    store_close(store);
    open_with(&o);
}

static void fails(int rc, enum err_kind kind)
{
    ck_assert_int_eq(rc, -1);
    ck_assert_msg(err.kind == kind, "%s, not %s: %s", err_kind_name(err.kind), err_kind_name(kind),
                  err.msg);
    err = (struct err){0};
}

/* Run number `i`: its id sorts by it. */
static void observe_run(struct store *s, unsigned i, const char *code, size_t code_len)
{
    static char policy_name[] = "default";
    struct policy policy = {.name = policy_name, .hash = "abcd"};
    struct run_request q = {.dialect = i % 2 ? "native" : "aiq",
                            .policy = &policy,
                            .code = code,
                            .code_len = code_len,
                            .client = "192.0.2.7",
                            .traceparent =
                                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
    struct run_result r = {.outcome = i % 3 ? OUTCOME_OK : OUTCOME_TIMEOUT,
                           .exit_code = (int)i % 3 ? 0 : -1,
                           .started_wall_ms = 1795255200000 + i,
                           .container = "c0ffee",
                           .image = "sha256:11"};

    (void)snprintf(r.id, sizeof(r.id), "%020u", i);
    store_observe(s, &q, &r);
}

static void observe(unsigned i)
{
    observe_run(store, i, "print(1)", 8);
}

static void observe_many(unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++)
        observe(i);
}

static struct store_state state(void)
{
    struct store_state t;

    store_state(store, &t);
    return t;
}

/* Waits for `member` of the state to reach `n`. */
#define WAIT_FOR(member, n)                                 \
    do {                                                    \
        int64_t until_ = clock_ms() + SOON_MS;              \
                                                            \
        while (state().member < (n) && clock_ms() < until_) \
            (void)poll(NULL, 0, 1);                         \
        ck_assert_uint_ge(state().member, (n));             \
    } while (0)

static size_t count_rows(const struct store_filter *f)
{
    struct run_record *list;
    size_t n;

    ck_assert_msg(store_list(store, f, &list, &n, &err) == 0, "%s", err.msg);
    store_records_free(list, n);
    return n;
}

static int try_list(void)
{
    struct run_record *list;
    size_t n;

    if (store_list(store, &(struct store_filter){.limit = 500}, &list, &n, &err) < 0)
        return -1;
    store_records_free(list, n);
    return 0;
}

static size_t rows(void)
{
    return count_rows(&(struct store_filter){.limit = STORE_LIST_MAX});
}

static bool has_row(unsigned i)
{
    struct run_record r;
    char id[RANDOM_ID_MAX];

    (void)snprintf(id, sizeof(id), "%020u", i);
    if (store_get(store, id, &r, &err) < 0)
        return false;
    run_record_done(&r);
    return true;
}

/* A connection beside the store's own. */
static sqlite3 *connect_to(const char *path)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, SOON_MS);
    return db;
}

static void sql(sqlite3 *db, const char *text)
{
    char *message = NULL;

    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &message) == SQLITE_OK, "%s: %s", text,
                  message);
}

static int64_t number(sqlite3 *db, const char *text)
{
    sqlite3_stmt *stmt;
    int64_t n;

    ck_assert_msg(sqlite3_prepare_v2(db, text, -1, &stmt, NULL) == SQLITE_OK, "%s: %s", text,
                  sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return n;
}

static bool is_whole(const char *path)
{
    sqlite3 *db = connect_to(path);
    sqlite3_stmt *stmt;
    bool ok;

    ck_assert_int_eq(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
    ok = sqlite3_step(stmt) == SQLITE_ROW &&
         strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return ok;
}

/* Files of the directory whose names hold `part`. */
static unsigned count_files(const char *part)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while ((e = readdir(d)))
        n += strstr(e->d_name, part) != NULL;
    (void)closedir(d);
    return n;
}

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
    ck_assert_int_eq(number(db, "SELECT version FROM schema_version"), 2);
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

    if (pid == 0)
        _exit(geteuid() == 0 && setuid(uid) < 0 ? 99 : body());
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

/* ---- damage ---- */

static char *read_whole(const char *path, size_t *ret_n)
{
    char *data;

    ck_assert_msg(io_read_file(path, 64 << 20, &data, ret_n, &err) == 0, "%s", err.msg);
    return data;
}

static void write_whole(const char *path, const char *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io_write_all(fd, data, n, INT64_MAX, &err), 0);
    ck_assert_int_eq(close(fd), 0);
}

/* A good database of 300 rows in `file`; its bytes. */
static char *make_good(size_t *ret_n)
{
    struct store_options o = options();

    open_with(&o);
    observe_many(1000, 300);
    store_close(store);
    store = NULL;
    return read_whole(file, ret_n);
}

static const struct {
    const char *what;
    size_t at;    /* where bytes are overwritten */
    size_t n;     /* so many */
    bool is_half; /* the file is cut in the middle instead */
} damages[] = {
    {"no database at all",  0,    100,  false},
    {"a wrong first page",  100,  3996, false},
    {"half of it missing",  0,    0,    true },
    {"a wrong second page", 4096, 4096, false},
};

START_TEST(a_damaged_file_is_moved_aside)
{
    struct store_options o = options();
    auto_free char *data = NULL;
    size_t n;

    begin();
    data = make_good(&n);
    memset(data + damages[_i].at, 0x5a, damages[_i].n);
    if (damages[_i].is_half)
        n /= 2;
    write_whole(file, data, n);
    ck_assert_msg(store_open(&o, &store, &err) == 0, "%s: %s", damages[_i].what, err.msg);
    ck_assert_uint_eq(count_files(".corrupt-"), 1);
    observe(1);
    open_again();
    ck_assert(has_row(1));
    ck_assert_uint_eq(rows(), 1);
    ck_assert_uint_eq(count_files(".corrupt-"), 1);
    end();
}
END_TEST

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

START_TEST(flipped_bytes_never_stop_it)
{
    uint64_t seed = (uint64_t)_i + 1;
    struct store_options o = options();
    auto_free char *data = NULL;
    size_t n;

    begin();
    data = make_good(&n);
    for (int i = 0; i < 1 + _i % 40; i++)
        data[next_random(&seed) % n] ^= (char)(1 << next_random(&seed) % 8);
    write_whole(file, data, n);
    open_with(&o);
    observe(1);
    (void)try_list();
    store_close(store);
    store = NULL;
    /* Whether it was noticed at the start, on the way or not at all: new runs are recorded. */
    open_with(&o);
    ck_assert_msg(has_row(1), "seed %d: %s", _i, err.msg);
    end();
}
END_TEST

START_TEST(damage_at_run_time_costs_the_old_rows_alone)
{
    struct store_options o = options();
    char junk[4096];
    struct stat st;
    sqlite3 *db;
    int fd;

    begin();
    open_with(&o);
    observe_many(1000, 300);
    WAIT_FOR(written, 300);
    ck_assert_int_eq(try_list(), 0);
    /* A change from outside makes the store's own connection read the file anew. */
    db = connect_to(file);
    sql(db, "PRAGMA wal_checkpoint(TRUNCATE); UPDATE runs SET policy = 'p' WHERE id LIKE '%1100'");
    memset(junk, 0x5a, sizeof(junk));
    fd = open(file, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(fstat(fd, &st), 0);
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof(junk))
        ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    ck_assert_int_eq(close(fd), 0);
    observe_many(1, 10);
    WAIT_FOR(written, 310);
    ck_assert_uint_ge(state().errors, 1);
    ck_assert_uint_eq(state().dropped, 0);
    ck_assert(!state().is_failing);
    (void)sqlite3_close(db);
    open_again();
    for (unsigned i = 1; i <= 10; i++)
        ck_assert(has_row(i));
    ck_assert_uint_ge(count_files(".corrupt-"), 1);
    end();
}
END_TEST

START_TEST(a_deleted_database_begins_anew)
{
    struct store_options o = options();
    auto_free char *wal = NULL;

    begin();
    wal = xasprintf("%s-wal", file);
    open_with(&o);
    observe(1);
    WAIT_FOR(written, 1);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(unlink(wal), 0);
    observe(2);
    WAIT_FOR(written, 2);
    ck_assert(!has_row(1));
    ck_assert(has_row(2));
    ck_assert_uint_eq(count_files(".corrupt-"), 0);
    end();
}
END_TEST

/* Observes run after run, and says how many were written. */
static void write_for_ever(int told)
{
    struct store_options o = options();
    uint64_t before = 0;

    if (store_open(&o, &store, &err) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        uint64_t now;

        observe_run(store, (unsigned)getpid() * 100000U + i, "print(1)", 8);
        now = state().written;
        if (now != before && write(told, &now, sizeof(now)) < 0)
            _exit(2);
        before = now;
        if (i % 16 == 0)
            (void)poll(NULL, 0, 1); /* so that the queue does not run full */
    }
}

/* Kills a writer some time after its first acknowledged rows; how many it had acknowledged. */
static uint64_t write_and_kill(unsigned after_us)
{
    uint64_t n = 0, acknowledged = 0;
    int pipe_fds[2], status;
    int64_t until;
    pid_t pid;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(pipe_fds[0]);
        write_for_ever(pipe_fds[1]);
    }
    (void)close(pipe_fds[1]);
    ck_assert_int_eq(read(pipe_fds[0], &acknowledged, sizeof(acknowledged)), sizeof(acknowledged));
    until = clock_us() + after_us;
    while (clock_us() < until) {
        if (io_wait(pipe_fds[0], POLLIN, until / 1000) == 1 &&
            read(pipe_fds[0], &n, sizeof(n)) == sizeof(n))
            acknowledged = n;
    }
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    while (read(pipe_fds[0], &n, sizeof(n)) == sizeof(n))
        acknowledged = n;
    (void)close(pipe_fds[0]);
    return acknowledged;
}

START_TEST(a_killed_service_loses_no_acknowledged_row)
{
    const char *wanted = getenv("ONESHOT_KILLS");
    int64_t kills = 12, before = 0;
    uint64_t seed = 7;

    if (wanted)
        ck_assert(str_to_i64(wanted, 1, 100000, &kills));
    begin();
    for (int64_t i = 0; i < kills; i++) {
        uint64_t acknowledged = write_and_kill((unsigned)(next_random(&seed) % 150000));
        sqlite3 *db;
        int64_t now;

        ck_assert(is_whole(file));
        db = connect_to(file);
        now = number(db, "SELECT count(*) FROM runs");
        ck_assert_int_ge(now - before, (int64_t)acknowledged);
        before = now;
        (void)sqlite3_close(db);
    }
    ck_assert_uint_eq(count_files(".corrupt-"), 0);
    end();
}
END_TEST

/* ---- a disk that is full or read-only, a lock ---- */

/* Mounts a small file system at `dir`; false where that is not possible. */
static bool mount_small(const char *how)
{
    begin();
    if (geteuid() == 0 && mount("tmpfs", dir, "tmpfs", 0, how) == 0)
        return true;
    (void)puts("skipped: cannot mount");
    end();
    return false;
}

static void unmount(void)
{
    store_close(store);
    store = NULL;
    ck_assert_int_eq(umount(dir), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void fill_disk(const char *path)
{
    char piece[4096] = {1};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    while (write(fd, piece, sizeof(piece)) == sizeof(piece))
        continue;
    ck_assert_int_eq(errno, ENOSPC);
    ck_assert_int_eq(close(fd), 0);
}

START_TEST(a_full_disk_is_waited_out)
{
    struct store_options o = options();
    auto_free char *filler = NULL;
    char code[20000];

    if (!mount_small("size=4m"))
        return;
    filler = xasprintf("%s/filler", dir);
    memset(code, 'c', sizeof(code));
    open_with(&o);
    observe(1);
    WAIT_FOR(written, 1);
    fill_disk(filler);
    for (unsigned i = 2; i <= 40; i++)
        observe_run(store, i, code, sizeof(code));
    WAIT_FOR(errors, 1);
    ck_assert(state().is_failing);
    ck_assert(has_row(1)); /* reading goes on */
    ck_assert_int_eq(unlink(filler), 0);
    WAIT_FOR(written, 40);
    ck_assert_uint_eq(state().dropped, 0);
    ck_assert(!state().is_failing);
    ck_assert_uint_eq(rows(), 40);
    unmount();
}
END_TEST

START_TEST(a_disk_that_is_full_at_the_start_is_waited_out)
{
    struct store_options o = options();
    auto_free char *filler = NULL;
    struct run_record r;

    if (!mount_small("size=1m"))
        return;
    filler = xasprintf("%s/filler", dir);
    fill_disk(filler);
    open_with(&o);
    ck_assert(state().is_failing);
    fails(store_get(store, "x", &r, &err), ERR_BUSY);
    fails(try_list(), ERR_BUSY);
    observe(1);
    ck_assert_int_eq(unlink(filler), 0);
    WAIT_FOR(written, 1);
    ck_assert(has_row(1));
    unmount();
}
END_TEST

START_TEST(an_input_output_error_is_waited_out)
{
    struct store_options o = options();
    struct rlimit old, none = {0};

    begin();
    open_with(&o);
    observe(1);
    WAIT_FOR(written, 1);
    /* Every write to a file fails with EFBIG from now on. */
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    none.rlim_max = old.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    observe(2);
    WAIT_FOR(errors, 1);
    ck_assert(state().is_failing);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    WAIT_FOR(written, 2);
    ck_assert(has_row(2));
    ck_assert_uint_eq(state().dropped, 0);
    end();
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_refused_at_the_start)
{
    struct store_options o = options();

    if (!mount_small("size=4m"))
        return;
    open_with(&o);
    store_close(store);
    store = NULL;
    ck_assert_int_eq(mount("tmpfs", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m"), 0);
    fails(store_open(&o, &store, &err), ERR_DENIED);
    ck_assert_int_eq(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    unmount();
}
END_TEST

START_TEST(a_lock_of_somebody_else_is_waited_out)
{
    struct store_options o = options();
    int64_t began;
    sqlite3 *db;

    begin();
    open_with(&o);
    db = connect_to(file);
    sql(db, "BEGIN EXCLUSIVE");
    began = clock_ms();
    observe_many(1, 100);
    ck_assert_int_lt(clock_ms() - began, 1000); /* runs do not wait */
    ck_assert_uint_eq(state().written, 0);
    sql(db, "COMMIT");
    WAIT_FOR(written, 100);
    ck_assert_uint_eq(state().dropped, 0);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(a_lock_at_the_start_is_waited_out)
{
    struct store_options o = options();
    sqlite3 *db;

    begin();
    db = connect_to(file);
    sql(db, "PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE");
    open_with(&o); /* after 5 s, and without a database */
    ck_assert(state().is_failing);
    observe(1);
    sql(db, "COMMIT");
    (void)sqlite3_close(db);
    WAIT_FOR(written, 1);
    ck_assert(has_row(1));
    end();
}
END_TEST

START_TEST(a_stop_does_not_wait_for_ever)
{
    struct store_options o = options();
    int64_t began;
    sqlite3 *db;

    begin();
    o.close_ms = 100;
    open_with(&o);
    db = connect_to(file);
    sql(db, "BEGIN EXCLUSIVE");
    observe_many(1, 600);
    began = clock_ms();
    store_close(store);
    store = NULL;
    ck_assert_int_lt(clock_ms() - began, 3000);
    sql(db, "COMMIT");
    ck_assert_int_eq(number(db, "SELECT count(*) FROM runs"), 0);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(a_full_queue_drops_and_counts)
{
    enum { MORE = BATCH_ROWS + 10 };
    struct store_options o = options();
    int64_t longest = 0;
    sqlite3 *db;

    begin();
    o.close_ms = 100;
    open_with(&o);
    db = connect_to(file);
    sql(db, "BEGIN EXCLUSIVE");
    for (unsigned i = 0; i < QUEUE_ROWS + MORE; i++) {
        int64_t t = clock_ms();

        observe(i);
        t = clock_ms() - t;
        longest = t > longest ? t : longest;
    }
    /* The writer may hold one batch; what is beyond queue and batch was dropped. */
    ck_assert_uint_ge(state().dropped, 10);
    ck_assert_uint_le(state().dropped, MORE);
    ck_assert_int_lt(longest, 1000); /* 50 ms, on a busy machine */
    sql(db, "COMMIT");
    WAIT_FOR(written, QUEUE_ROWS + MORE - state().dropped);
    ck_assert_uint_eq(state().written + state().dropped, QUEUE_ROWS + MORE);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(a_queue_of_large_programs_is_bounded_by_their_bytes)
{
    enum { LARGE = 30 * 1024 * 1024 };
    struct store_options o = options();
    auto_free char *code = xcalloc(1, LARGE);
    sqlite3 *db;

    begin();
    o.close_ms = 100;
    open_with(&o);
    db = connect_to(file);
    sql(db, "BEGIN EXCLUSIVE");
    for (unsigned i = 0; i < 6; i++)
        observe_run(store, i, code, LARGE);
    ck_assert_uint_ge(state().dropped, 1);
    (void)sqlite3_close(db);
    end();
}
END_TEST

START_TEST(rows_that_will_never_do_do_not_stop_the_others)
{
    struct store_options o = options();
    sqlite3 *db;

    begin();
    open_with(&o);
    db = connect_to(file);
    sql(db, "CREATE TRIGGER no_seven BEFORE INSERT ON runs WHEN NEW.id LIKE '%7'"
            " BEGIN SELECT RAISE(ABORT, 'no sevens'); END");
    observe_many(1, 20);
    WAIT_FOR(dropped, 2);
    WAIT_FOR(written, 18);
    ck_assert(!has_row(7));
    ck_assert(has_row(8));
    (void)sqlite3_close(db);
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
    for (int64_t until = clock_ms() + SOON_MS; rows() != 1000 || has_row(1);) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
    }
    ck_assert(has_row(0));
    ck_assert(has_row(2997));
    end();
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

START_TEST(a_large_history_loses_its_oldest_runs)
{
    enum { LIMIT = 3 * 1024 * 1024, RUNS = 1500 };
    struct store_options o = options();
    char code[10000];
    int64_t until;

    begin();
    memset(code, 'c', sizeof(code));
    o.size_max = LIMIT;
    open_with(&o);
    for (unsigned i = 0; i < RUNS; i++) {
        observe_run(store, i, code, sizeof(code));
        if (i % 200 == 0)
            WAIT_FOR(written, i);
    }
    WAIT_FOR(written, RUNS);
    until = clock_ms() + SOON_MS;
    while (size_on_disk() > LIMIT) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
        ck_assert_uint_eq(state().dropped, 0);
    }
    ck_assert(has_row(RUNS - 1));
    ck_assert(!has_row(0));
    ck_assert_uint_gt(rows(), LIMIT / 2 / sizeof(code));
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
    writer_stop(store);
    store->has_thread = false;
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
    CLEANUP(buf_done) struct buf b;

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
    tcase_add_loop_test(t, a_damaged_file_is_moved_aside, 0, ARRAY_LEN(damages));
    tcase_add_loop_test(t, flipped_bytes_never_stop_it, 0, 50);
    tcase_add_test(t, damage_at_run_time_costs_the_old_rows_alone);
    tcase_add_test(t, a_deleted_database_begins_anew);
    tcase_add_test(t, a_killed_service_loses_no_acknowledged_row);
    tcase_add_test(t, a_full_disk_is_waited_out);
    tcase_add_test(t, a_disk_that_is_full_at_the_start_is_waited_out);
    tcase_add_test(t, an_input_output_error_is_waited_out);
    tcase_add_test(t, a_file_that_cannot_be_written_is_refused_at_the_start);
    tcase_add_test(t, a_lock_of_somebody_else_is_waited_out);
    tcase_add_test(t, a_lock_at_the_start_is_waited_out);
    tcase_add_test(t, a_stop_does_not_wait_for_ever);
    tcase_add_test(t, a_full_queue_drops_and_counts);
    tcase_add_test(t, a_queue_of_large_programs_is_bounded_by_their_bytes);
    tcase_add_test(t, rows_that_will_never_do_do_not_stop_the_others);
    tcase_add_test(t, old_runs_are_deleted);
    tcase_add_test(t, a_large_history_loses_its_oldest_runs);
    tcase_add_loop_test(t, the_audit_log_tells_of_every_run, 0, ARRAY_LEN(audits));
    tcase_add_test(t, a_dropped_run_is_told_by_the_audit_log);
    tcase_add_test(t, figures_are_told_to_prometheus);
    tcase_add_test(t, many_threads_write_and_read);
    tcase_add_test(t, observing_is_quick);
}

UNIT_MAIN("store", add_tests)
