#ifndef TESTS_STORE_RIG_H
#define TESTS_STORE_RIG_H

/* A directory, a store in it, runs to observe, and a look at the file from beside. */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/policy.h"
#include "store/store.h"
#include "unit.h"

#define RIG __attribute__((unused)) static

enum { SOON_MS = 20000 }; /* what should come in no time, on a slow machine */

RIG char dir[64], file[100];
RIG struct store *store;
RIG struct err err;

/* ---- a place and a store ---- */

RIG int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

RIG void begin(void)
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

RIG void end(void)
{
    store_close(store);
    store = NULL;
    ck_assert_int_eq(nftw(dir, remove_one, 20, FTW_DEPTH | FTW_PHYS), 0);
}

RIG struct store_options options(void)
{
    return (struct store_options){
        .url = "sqlite:oneshot.db", .dir = dir, .code_store = STORE_CODE_FULL};
}

RIG void open_with(const struct store_options *o)
{
    ck_assert_msg(store_open(o, &store, &err) == 0, "%s", err.msg);
}

RIG void open_again(void)
{
    struct store_options o = options();

    store_close(store);
    open_with(&o);
}

RIG void fails(int rc, enum err_kind kind)
{
    ck_assert_int_eq(rc, -1);
    ck_assert_msg(err.kind == kind, "%s, not %s: %s", err_kind_name(err.kind), err_kind_name(kind),
                  err.msg);
    err = (struct err){0};
}

/* Run number `i`: its id sorts by it. */
RIG void observe_run(struct store *s, unsigned i, const char *code, size_t code_len)
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

RIG void observe(unsigned i)
{
    observe_run(store, i, "print(1)", 8);
}

RIG void observe_many(unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++)
        observe(i);
}

RIG struct store_state state(void)
{
    struct store_state t;

    store_state(store, &t);
    return t;
}

/* Waits for `member` of the state to reach `n`. */
#define WAIT_FOR(member, n)                                 \
    do {                                                    \
        int64_t until_ = clock_ms() + patient(SOON_MS);     \
                                                            \
        while (state().member < (n) && clock_ms() < until_) \
            (void)poll(NULL, 0, 1);                         \
        ck_assert_uint_ge(state().member, (n));             \
    } while (0)

RIG size_t count_rows(const struct store_filter *f)
{
    struct run_record *list;
    size_t n;

    ck_assert_msg(store_list(store, f, &list, &n, &err) == 0, "%s", err.msg);
    store_records_free(list, n);
    return n;
}

RIG int try_list(void)
{
    struct run_record *list;
    size_t n;

    if (store_list(store, &(struct store_filter){.limit = 500}, &list, &n, &err) < 0)
        return -1;
    store_records_free(list, n);
    return 0;
}

RIG size_t rows(void)
{
    return count_rows(&(struct store_filter){.limit = STORE_LIST_MAX});
}

RIG bool has_row(unsigned i)
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
RIG sqlite3 *connect_to(const char *path)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, (int)patient(SOON_MS));
    return db;
}

RIG void sql(sqlite3 *db, const char *text)
{
    char *message = NULL;

    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &message) == SQLITE_OK, "%s: %s", text,
                  message);
}

RIG int64_t number(sqlite3 *db, const char *text)
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

RIG bool is_whole(const char *path)
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
RIG unsigned count_files(const char *part)
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

#endif
