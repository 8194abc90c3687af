/*
 * The database file: opening, moving a damaged one aside, connections. One connection writes, a few
 * read; WAL lets them do both at once, and lets `oneshot history` read beside the service.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/sqlite_state.h"

enum {
    BUSY_MS = 5000, /* a write waits so long for somebody else's lock */
    BUSY_READ_MS = 1000,
    BUSY_FOLD_MS = 20,
    CHECK_MS = 2000, /* looking through the file when it is opened */
    PROGRESS_STEPS = 10000,
    URI_MAX = 64 * 1024,
};

static const char scheme[] = "sqlite:";

/* ---- errors ---- */

static enum err_kind kind_of(int rc)
{
    switch (rc & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_FULL:
        return ERR_LIMIT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_PEER;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_ERROR:
        return ERR_INVALID;
    default:
        return ERR_INTERNAL;
    }
}

int sqlite_fail(sqlite3 *db, int rc, const char *what, struct err *err)
{
    return err_set(err, kind_of(rc), "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

int sqlite_run(sqlite3 *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc ? sqlite_fail(db, rc, "database", err) : 0;
}

int sqlite_number(sqlite3 *db, const char *sql, int64_t fallback, int64_t *ret, struct err *err)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    *ret = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : fallback;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        (void)sqlite_fail(db, rc, "database", err);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

/* ---- the file ---- */

static char *path_of(const struct backend_options *o)
{
    const char *path = o->url + strlen(scheme);

    if (str_starts(path, "//"))
        path += 2;
    return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", o->dir, path);
}

static int file_fail(const char *path, struct err *err)
{
    int sys = errno;

    if (sys == ENOENT)
        return err_set(err, ERR_NOTFOUND, "'%s' does not exist", path);
    if (sys == EACCES || sys == EPERM || sys == EROFS)
        return err_set(err, ERR_DENIED, "'%s': %s", path, strerrordesc_np(sys));
    if (sys == ENOSPC || sys == EDQUOT)
        return err_set(err, ERR_LIMIT, "'%s': %s", path, strerrordesc_np(sys));
    if (sys == EISDIR || sys == ENOTDIR || sys == ELOOP || sys == ENAMETOOLONG)
        return err_set(err, ERR_INVALID, "'%s': %s", path, strerrordesc_np(sys));
    return err_sys(err, "open '%s'", path);
}

/* Programs and their authors' secrets stand in it: the file is nobody else's to read. */
static int make_file(const char *path, struct err *err)
{
    auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        return 0;
    /* A missing directory is no "there is nothing yet": nobody will make it later. */
    return errno == ENOENT ? err_set(err, ERR_DENIED, "'%s': its directory does not exist", path)
                           : file_fail(path, err);
}

static int find_file(const char *path, struct err *err)
{
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 ? 0 : file_fail(path, err);
}

/* The log goes first: a log that stayed behind would be taken for the new database's. */
void sqlite_move_aside(const char *path, const char *what)
{
    static const char *const ends[] = {"-wal", "-shm", ""};
    int64_t now = clock_wall_ms();

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        auto_free char *from = xasprintf("%s%s", path, ends[i]);
        auto_free char *to = xasprintf("%s.corrupt-%lld%s", path, (long long)now, ends[i]);

        if (rename(from, to) < 0 && errno != ENOENT)
            log_error("%s: cannot move '%s' aside: %s", what, from, strerrordesc_np(errno));
    }
    log_error("%s: the database is damaged; it is kept as '%s.corrupt-%lld', a new one begins",
              what, path, (long long)now);
}

static uint64_t file_size(const char *path, const char *end)
{
    auto_free char *name = xasprintf("%s%s", path, end);
    struct stat st;

    return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t sqlite_size(struct backend *b)
{
    return file_size(b->path, "") + file_size(b->path, "-wal");
}

/* ---- connections ---- */

/* Waits for another connection's lock, unless the service wants to end. */
static int on_busy(void *ctx, int times)
{
    struct backend *b = ctx;

    if (times == 0)
        b->busy_ms = clock_ms();
    if (atomic_load(&b->is_interrupted) || clock_ms() - b->busy_ms >= BUSY_MS)
        return 0;
    (void)sqlite3_sleep(times < 20 ? 1 : 20);
    return 1;
}

void sqlite_fold_log(struct backend *b)
{
    /* Rows wait to be written meanwhile: no patience with readers, there is a next time. */
    (void)sqlite3_busy_timeout(b->db, BUSY_FOLD_MS);
    (void)sqlite3_wal_checkpoint_v2(b->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    (void)sqlite3_busy_handler(b->db, on_busy, b);
}

/* Nobody's statements but ours are run, on a file that may be anything. */
static int harden(sqlite3 *db, struct err *err)
{
    (void)sqlite3_extended_result_codes(db, 1);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return sqlite_run(db, "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY", err);
}

static int is_late(void *ctx)
{
    const int64_t *until = ctx;

    return clock_ms() >= *until;
}

static bool says_ok(sqlite3_stmt *stmt)
{
    const unsigned char *text = sqlite3_column_text(stmt, 0);

    return text && memcmp(text, "ok", sizeof("ok")) == 0;
}

int sqlite_check_statement(sqlite3 *db, const char *sql, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    (void)sqlite3_finalize(stmt);
    if (rc == SQLITE_ERROR)
        return err_set(err, ERR_PEER, "database: its tables are not as they were made: %s",
                       sqlite3_errmsg(db));
    return rc ? sqlite_fail(db, rc, "database", err) : 0;
}

/* Looks through the file for as long as a start may take; the rest shows itself when it is used. */
int sqlite_check(sqlite3 *db, struct err *err)
{
    int64_t until = clock_ms() + CHECK_MS;
    sqlite3_stmt *stmt = NULL;
    int rc;

    sqlite3_progress_handler(db, PROGRESS_STEPS, is_late, &until);
    rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && !says_ok(stmt))
        rc = SQLITE_CORRUPT;
    (void)sqlite3_finalize(stmt);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    if (rc == SQLITE_ROW || (rc & 0xFF) == SQLITE_INTERRUPT)
        return 0;
    return sqlite_fail(NULL, rc, "database", err);
}

/*
 * NORMAL: a killed process loses nothing; a machine that loses power loses the last moments, never
 * the database. auto_vacuum must stand before the first table.
 */
static const char settings[] = "PRAGMA auto_vacuum = INCREMENTAL;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = NORMAL;"
                               "PRAGMA wal_autocheckpoint = 1000;"
                               "PRAGMA journal_size_limit = 4194304;";

static int open_writer(struct backend *b, struct err *err)
{
    int rc;

    if (make_file(b->path, err) < 0)
        return -1;
    rc = sqlite3_open_v2(b->path, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc)
        return sqlite_fail(b->db, rc, b->path, err);
    (void)sqlite3_busy_handler(b->db, on_busy, b);
    if (harden(b->db, err) < 0 || sqlite_run(b->db, settings, err) < 0 ||
        sqlite_check(b->db, err) < 0 || sqlite_migrate(b->db, err) < 0 ||
        sqlite_check_runs(b->db, err) < 0 || sqlite_check_calls(b->db, err) < 0)
        return err_wrap(err, "'%s'", b->path);
    return 0;
}

/* `flags` beside those of every connection for reading. */
static int open_read_only(const char *name, int flags, sqlite3 **ret, struct err *err)
{
    sqlite3 *db = NULL;
    int64_t tables;
    int rc = sqlite3_open_v2(name, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | flags, NULL);

    if (rc)
        (void)sqlite_fail(db, rc, "database", err);
    else
        (void)sqlite3_busy_timeout(db, BUSY_READ_MS);
    /* The first statement is what really opens the file. */
    if (rc || harden(db, err) < 0 ||
        sqlite_number(db, "SELECT count(*) FROM sqlite_master", 0, &tables, err) < 0) {
        (void)sqlite3_close_v2(db);
        return -1;
    }
    *ret = db;
    return 0;
}

/*
 * Where nobody writes and we may not either, SQLite cannot make the files beside the database that
 * it wants for WAL; it can do without them as long as nobody writes.
 */
static int open_alone(const char *path, sqlite3 **ret, struct err *err)
{
    CLEANUP(buf_done) struct buf uri = {0};

    buf_init(&uri, URI_MAX);
    (void)buf_str(&uri, "file:");
    for (const char *s = path; *s; s++) {
        if (strchr("%?#", *s))
            (void)buf_fmt(&uri, "%%%02x", (unsigned)*s);
        else
            (void)buf_char(&uri, *s);
    }
    (void)buf_str(&uri, "?immutable=1");
    return open_read_only(buf_get(&uri), SQLITE_OPEN_URI, ret, err);
}

static int open_reader(const struct backend *b, sqlite3 **ret, struct err *err)
{
    struct err first = {0};

    if (open_read_only(b->path, 0, ret, &first) == 0)
        return 0;
    if (b->is_reader && (first.kind == ERR_INTERNAL || first.kind == ERR_DENIED) &&
        file_size(b->path, "-wal") == 0)
        return open_alone(b->path, ret, err);
    if (err)
        *err = first;
    return -1;
}

int sqlite_reader_take(struct backend *b, sqlite3 **ret, struct err *err)
{
    sqlite3 *db = NULL;

    (void)pthread_mutex_lock(&b->lock);
    if (b->idle_n)
        db = b->idle[--b->idle_n];
    (void)pthread_mutex_unlock(&b->lock);
    if (!db)
        return open_reader(b, ret, err);
    *ret = db;
    return 0;
}

void sqlite_reader_give(struct backend *b, sqlite3 *db)
{
    bool is_kept = false;

    if (!db)
        return;
    (void)pthread_mutex_lock(&b->lock);
    if (b->idle_n < SQLITE_READERS) {
        b->idle[b->idle_n++] = db;
        is_kept = true;
    }
    (void)pthread_mutex_unlock(&b->lock);
    if (!is_kept)
        (void)sqlite3_close_v2(db);
}

/* ---- the back end ---- */

static void close_files(struct backend *b)
{
    while (b->idle_n)
        (void)sqlite3_close_v2(b->idle[--b->idle_n]);
    (void)sqlite3_finalize(b->insert);
    (void)sqlite3_finalize(b->insert_call);
    (void)sqlite3_close_v2(b->db);
    b->insert = NULL;
    b->insert_call = NULL;
    b->db = NULL;
}

static void sqlite_close(struct backend *b)
{
    if (!b)
        return;
    close_files(b);
    (void)pthread_mutex_destroy(&b->lock);
    free(b->path);
    free(b);
}

static int open_for_reading(struct backend *b, struct err *err)
{
    sqlite3 *db = NULL;
    int rc;

    if (find_file(b->path, err) < 0)
        return -1;
    if (sqlite_reader_take(b, &db, err) < 0)
        return err_wrap(err, "'%s'", b->path);
    rc = sqlite_check_version(db, err);
    sqlite_reader_give(b, db);
    return rc < 0 ? err_wrap(err, "'%s'", b->path) : 0;
}

static int open_for_writing(struct backend *b, bool is_damaged, struct err *err)
{
    struct err why = {0};
    int rc;

    if (is_damaged)
        sqlite_move_aside(b->path, "history");
    rc = open_writer(b, &why);
    if (rc < 0 && why.kind == ERR_PEER) {
        log_error("history: %s", why.msg);
        close_files(b);
        sqlite_move_aside(b->path, "history");
        rc = open_writer(b, &why);
    }
    if (rc < 0 && err)
        *err = why;
    return rc;
}

static int sqlite_open(const struct backend_options *o, struct backend **ret, struct err *err)
{
    struct backend *b = xcalloc(1, sizeof(*b));
    int rc;

    b->path = path_of(o);
    b->is_reader = o->is_reader;
    (void)pthread_mutex_init(&b->lock, NULL);
    rc = o->is_reader ? open_for_reading(b, err) : open_for_writing(b, o->is_damaged, err);
    if (rc < 0) {
        sqlite_close(b);
        return -1;
    }
    *ret = b;
    return 0;
}

static void sqlite_interrupt(struct backend *b)
{
    atomic_store(&b->is_interrupted, true);
    sqlite3_interrupt(b->db);
}

const struct backend_ops sqlite_ops = {
    .scheme = scheme,
    .open = sqlite_open,
    .close = sqlite_close,
    .write = sqlite_write,
    .trim = sqlite_trim,
    .list = sqlite_list,
    .get = sqlite_get,
    .calls = sqlite_calls,
    .size = sqlite_size,
    .interrupt = sqlite_interrupt,
};
