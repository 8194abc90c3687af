/*
 * A damaged file is put aside while the other process has it open, too: every use holds a shared
 * lock of the directory and first looks whether the file is still the one that is open; whoever moves
 * it holds the lock alone. What is put aside is therefore never added to.
 */
#include "store/ledger.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/sqlite_state.h"

enum {
    BUSY_MS = 2000,  /* Slack waits for three seconds */
    OPEN_FACTOR = 8, /* as many requests as that of the queue may be open, refusals and all */
    OPEN_SPARE = 64,
};

enum state { STATE_NEW, STATE_BEGUN, STATE_DONE, STATE_INTERRUPTED, STATE_UNDELIVERED };

static const char name[] = "requests of the chat";

struct ledger {
    pthread_mutex_t lock; /* guards all of it */
    char *path;
    int dir_fd; /* for the lock that processes share */
    sqlite3 *db;
    dev_t dev; /* of the file that is open */
    ino_t ino;
    int64_t version; /* of the data, as ledger_has_news saw it */
};

/* One entry per version, each from the one before; a released one is never changed. */
static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE slack_events ("
    " id INTEGER PRIMARY KEY,"
    " event_id TEXT NOT NULL UNIQUE,"
    " channel TEXT NOT NULL,"
    " ts TEXT NOT NULL,"
    " thread_ts TEXT NOT NULL,"
    " user TEXT NOT NULL,"
    " text TEXT NOT NULL,"
    " is_work INTEGER NOT NULL,"
    " is_refused INTEGER NOT NULL,"
    " accepted_at INTEGER NOT NULL," /* Unix time, milliseconds */
    " state INTEGER NOT NULL,"       /* 0 new, 1 begun, 2 done, 3 interrupted, 4 undelivered */
    " UNIQUE (channel, ts));"
    "CREATE INDEX slack_events_open ON slack_events (state, id) WHERE state <> 2;"
    "CREATE INDEX slack_events_user ON slack_events (user, accepted_at) WHERE is_work;",
    /* 2: what was postponed comes behind the others */
    "ALTER TABLE slack_events ADD COLUMN postponed_at INTEGER NOT NULL DEFAULT 0;",
};

enum { NEWEST = ARRAY_LEN(migrations) };

void ledger_request_done(struct ledger_request *r)
{
    free(r->event_id);
    free(r->channel);
    free(r->ts);
    free(r->thread_ts);
    free(r->user);
    free(r->text);
    *r = (struct ledger_request){0};
}

/* ---- opening ---- */

static int migrate_in(sqlite3 *db, struct err *err)
{
    char set[40];
    int64_t version;

    if (sqlite_number(db, "PRAGMA user_version", 0, &version, err) < 0)
        return -1;
    if (sqlite_update(db, migrations, NEWEST, version, err) < 0)
        return -1;
    (void)snprintf(set, sizeof(set), "PRAGMA user_version = %d", NEWEST);
    return sqlite_run(db, set, err);
}

static int migrate(sqlite3 *db, struct err *err)
{
    if (sqlite_run(db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    if (migrate_in(db, err) < 0) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    return sqlite_run(db, "COMMIT", err);
}

/* FULL: what was acknowledged outlives a machine that loses power. */
static const char pragmas[] = "PRAGMA journal_mode = WAL;"
                              "PRAGMA synchronous = FULL;"
                              "PRAGMA cell_size_check = ON;"
                              "PRAGMA temp_store = MEMORY;";

static const char every_column[] =
    "SELECT id, event_id, channel, ts, thread_ts, user, text, is_work, is_refused, accepted_at,"
    " state, postponed_at FROM slack_events";

static int open_file(struct ledger *l, struct err *err)
{
    /* Prompts of people stand in it: nobody else's to read. */
    auto_fd int fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "open");
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return 0;
}

static int open_once(struct ledger *l, struct err *err)
{
    int rc;

    if (open_file(l, err) < 0)
        return -1;
    rc = sqlite3_open_v2(l->path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc)
        return sqlite_fail(l->db, rc, "database", err);
    (void)sqlite3_extended_result_codes(l->db, 1);
    (void)sqlite3_db_config(l->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(l->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_busy_timeout(l->db, BUSY_MS);
    if (sqlite_run(l->db, pragmas, err) < 0 || sqlite_check(l->db, err) < 0 ||
        migrate(l->db, err) < 0)
        return -1;
    return sqlite_check_statement(l->db, every_column, err);
}

static void close_db(struct ledger *l)
{
    (void)sqlite3_close_v2(l->db);
    l->db = NULL;
}

/* Whether the file that is open still stands in its place. */
static bool is_in_place(const struct ledger *l)
{
    struct stat st;

    return l->db && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

static int open_db(struct ledger *l, struct err *err)
{
    struct err why = {0};
    int rc = open_once(l, &why);

    if (rc < 0 && why.kind == ERR_PEER) {
        log_error("%s: %s", name, why.msg);
        close_db(l);
        sqlite_move_aside(l->path, name);
        rc = open_once(l, &why);
    }
    if (rc < 0) {
        close_db(l);
        if (err)
            *err = why;
    }
    return rc;
}

/* Opens what stands in its place; what is open there and damaged is put aside first. */
static int reopen(struct ledger *l, bool is_damaged, struct err *err)
{
    if (flock(l->dir_fd, LOCK_EX) < 0)
        return err_sys(err, "lock");
    is_damaged = is_damaged && is_in_place(l);
    close_db(l);
    l->version = 0; /* no version of a database: all of the next one is news */
    if (is_damaged)
        sqlite_move_aside(l->path, name);
    return open_db(l, err);
}

static int open_dir(struct ledger *l, struct err *err)
{
    const char *slash = strrchr(l->path, '/');
    auto_free char *dir = slash ? xstrndup(l->path, (size_t)(slash - l->path) + 1) : xstrdup(".");

    l->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return l->dir_fd < 0 ? err_sys(err, "open '%s'", dir) : 0;
}

int ledger_open(const char *path, struct ledger **ret, struct err *err)
{
    struct ledger *l = xcalloc(1, sizeof(*l));

    (void)pthread_mutex_init(&l->lock, NULL);
    l->path = xstrdup(path);
    l->dir_fd = -1;
    if (open_dir(l, err) < 0 || reopen(l, false, err) < 0) {
        ledger_close(l);
        return err_wrap(err, "%s, '%s'", name, path);
    }
    (void)flock(l->dir_fd, LOCK_UN);
    *ret = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    close_db(l);
    if (l->dir_fd >= 0)
        (void)close(l->dir_fd);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->path);
    free(l);
}

/* One thing to do with the database; `arg` is what it needs and what it finds. */
typedef int ledger_job(struct ledger *l, void *arg, struct err *err);

/* Under both locks. A damaged database is put aside, and the new one gets another try. */
static int do_job(struct ledger *l, ledger_job *job, void *arg, struct err *err)
{
    struct err why = {0};
    int rc;

    (void)pthread_mutex_lock(&l->lock);
    rc = flock(l->dir_fd, LOCK_SH) < 0 ? err_sys(&why, "lock") : 0;
    if (rc == 0 && !is_in_place(l))
        rc = reopen(l, false, &why);
    if (rc == 0)
        rc = job(l, arg, &why);
    if (rc < 0 && why.kind == ERR_PEER) {
        log_error("%s: %s", name, why.msg);
        rc = reopen(l, true, &why);
        if (rc == 0)
            rc = job(l, arg, &why);
    }
    (void)flock(l->dir_fd, LOCK_UN);
    (void)pthread_mutex_unlock(&l->lock);
    if (rc < 0 && err)
        *err = why;
    return rc;
}

/* ---- statements ---- */

/* A value for "?": text where it is not NULL. */
struct value {
    const char *text;
    int64_t number;
};

#define TEXT(s)   ((struct value){.text = (s)})
#define NUMBER(n) ((struct value){.number = (n)})

static int prepare(struct ledger *l, const char *sql, const struct value *values, int n,
                   sqlite3_stmt **ret, struct err *err)
{
    int rc = sqlite3_prepare_v2(l->db, sql, -1, ret, NULL);

    for (int i = 0; rc == SQLITE_OK && i < n; i++)
        rc = values[i].text ? sqlite3_bind_text(*ret, i + 1, values[i].text, -1, SQLITE_STATIC)
                            : sqlite3_bind_int64(*ret, i + 1, values[i].number);
    return rc == SQLITE_OK ? 0 : sqlite_fail(l->db, rc, "database", err);
}

/* Runs it; `*ret` is the first column of the first row, 0 without one. */
static int run(struct ledger *l, const char *sql, const struct value *values, int n, int64_t *ret,
               struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = SQLITE_DONE;

    *ret = 0;
    if (prepare(l, sql, values, n, &s, err) < 0) {
        (void)sqlite3_finalize(s);
        return -1;
    }
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : sqlite_fail(l->db, rc, "database", err);
}

struct statement {
    const char *sql;
    const struct value *values;
    int n;
    int64_t number;
};

static int run_statement(struct ledger *l, void *arg, struct err *err)
{
    struct statement *s = arg;

    return run(l, s->sql, s->values, s->n, &s->number, err);
}

/* ---- adding ---- */

static int count_open(struct ledger *l, int64_t *ret_all, int64_t *ret_waiting, struct err *err)
{
    if (sqlite_number(l->db, "SELECT count(*) FROM slack_events WHERE state <> 2", 0, ret_all,
                      err) < 0)
        return -1;
    return sqlite_number(l->db,
                         "SELECT count(*) FROM slack_events WHERE state = 0 AND is_work"
                         " AND NOT is_refused",
                         0, ret_waiting, err);
}

static int insert(struct ledger *l, const struct ledger_request *r, bool is_refused,
                  bool *ret_is_new, struct err *err)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO slack_events (event_id, channel, ts, thread_ts, user, text, is_work,"
        " is_refused, accepted_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)";
    const struct value values[] = {
        TEXT(r->event_id),
        TEXT(r->channel),
        TEXT(r->ts),
        TEXT(r->thread_ts),
        TEXT(r->user),
        TEXT(r->text),
        NUMBER(r->is_work && !is_refused),
        NUMBER(is_refused),
        NUMBER(r->accepted_ms),
    };
    int64_t nothing;

    if (run(l, sql, values, ARRAY_LEN(values), &nothing, err) < 0)
        return -1;
    *ret_is_new = sqlite3_changes(l->db) > 0;
    return 0;
}

static int is_there(struct ledger *l, const struct ledger_request *r, int64_t *ret, struct err *err)
{
    const struct value values[] = {TEXT(r->event_id), TEXT(r->channel), TEXT(r->ts)};

    return run(l, "SELECT 1 FROM slack_events WHERE event_id = ?1 OR (channel = ?2 AND ts = ?3)",
               values, ARRAY_LEN(values), ret, err);
}

struct addition {
    const struct ledger_request *r;
    int64_t queue_max;
    bool is_new;
};

static int add(struct ledger *l, void *arg, struct err *err)
{
    struct addition *a = arg;
    int64_t known, open, waiting;

    a->is_new = false;
    if (is_there(l, a->r, &known, err) < 0)
        return -1;
    if (known)
        return 0;
    if (count_open(l, &open, &waiting, err) < 0)
        return -1;
    if (open >= OPEN_FACTOR * a->queue_max + OPEN_SPARE)
        return err_set(err, ERR_BUSY, "%lld requests are open", (long long)open);
    return insert(l, a->r, a->r->is_work && waiting >= a->queue_max, &a->is_new, err);
}

int ledger_add(struct ledger *l, const struct ledger_request *r, int64_t queue_max,
               bool *ret_is_new, struct err *err)
{
    struct addition a = {.r = r, .queue_max = queue_max};

    if (do_job(l, add, &a, err) < 0)
        return -1;
    *ret_is_new = a.is_new;
    return 0;
}

/* ---- working ---- */

/* What had not begun costs its user nothing. */
int ledger_recover(struct ledger *l, int64_t oldest_ms, struct err *err)
{
    struct statement s = {.sql =
                              "UPDATE slack_events SET state = 3, is_work = is_work AND state = 1"
                              " WHERE state = 1 OR (state = 0 AND accepted_at < ?)",
                          .values = (const struct value[]){NUMBER(oldest_ms)},
                          .n = 1};

    return do_job(l, run_statement, &s, err);
}

static char *column(sqlite3_stmt *s, int i)
{
    const unsigned char *text = sqlite3_column_text(s, i);

    return xstrdup(text ? (const char *)text : "");
}

static void read_row(sqlite3_stmt *s, struct ledger_request *ret)
{
    *ret = (struct ledger_request){
        .id = sqlite3_column_int64(s, 0),
        .event_id = column(s, 1),
        .channel = column(s, 2),
        .ts = column(s, 3),
        .thread_ts = column(s, 4),
        .user = column(s, 5),
        .text = column(s, 6),
        .is_work = sqlite3_column_int(s, 7),
        .is_refused = sqlite3_column_int(s, 8),
        .accepted_ms = sqlite3_column_int64(s, 9),
        .is_interrupted = sqlite3_column_int(s, 10) == STATE_INTERRUPTED,
        .is_undelivered = sqlite3_column_int(s, 10) == STATE_UNDELIVERED,
    };
}

struct taking {
    bool is_work, is_found;
    struct ledger_request *ret;
};

static int find_next(struct ledger *l, struct taking *t, struct err *err)
{
    static const char sql[] =
        "SELECT id, event_id, channel, ts, thread_ts, user, text, is_work, is_refused, accepted_at,"
        " state FROM slack_events WHERE (state = 0 AND is_work = ?1) OR (state IN (3, 4) AND NOT "
        "?1)"
        " ORDER BY postponed_at, id LIMIT 1";
    const struct value values[] = {NUMBER(t->is_work)};
    sqlite3_stmt *s = NULL;
    int rc = prepare(l, sql, values, 1, &s, err) < 0 ? -1 : sqlite3_step(s);

    t->is_found = rc == SQLITE_ROW;
    if (t->is_found)
        read_row(s, t->ret);
    else if (rc > 0 && rc != SQLITE_DONE)
        (void)sqlite_fail(l->db, rc, "database", err);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

static int take(struct ledger *l, void *arg, struct err *err)
{
    struct taking *t = arg;
    int64_t nothing;

    if (find_next(l, t, err) < 0)
        return -1;
    if (!t->is_found || run(l, "UPDATE slack_events SET state = 1 WHERE id = ?",
                            (const struct value[]){NUMBER(t->ret->id)}, 1, &nothing, err) == 0)
        return 0;
    ledger_request_done(t->ret);
    return -1;
}

int ledger_take(struct ledger *l, bool is_work, struct ledger_request *ret, bool *ret_found,
                struct err *err)
{
    struct taking t = {.is_work = is_work, .ret = ret};

    if (do_job(l, take, &t, err) < 0)
        return -1;
    *ret_found = t.is_found;
    return 0;
}

/* By the event's id: in a database that was begun meanwhile the number is another one's. */
int ledger_end(struct ledger *l, const struct ledger_request *r, bool counts, struct err *err)
{
    struct statement s = {
        .sql = "UPDATE slack_events SET state = 2, text = '', is_work = is_work AND ?"
               " WHERE event_id = ?",
        .values = (const struct value[]){NUMBER(counts), TEXT(r->event_id)},
        .n = 2,
    };

    return do_job(l, run_statement, &s, err);
}

static enum state state_after(const struct ledger_request *r, bool is_undone)
{
    if (r->is_interrupted)
        return STATE_INTERRUPTED;
    if (r->is_undelivered || (r->is_work && !is_undone))
        return STATE_UNDELIVERED;
    return STATE_NEW;
}

int ledger_postpone(struct ledger *l, const struct ledger_request *r, bool is_undone, bool counts,
                    struct err *err)
{
    enum state state = state_after(r, is_undone);

    struct statement s = {
        .sql = "UPDATE slack_events SET state = ?1, is_work = is_work AND ?2, postponed_at ="
               " (SELECT 1 + max(postponed_at) FROM slack_events) WHERE event_id = ?3",
        .values = (const struct value[]){NUMBER(state), NUMBER(counts || state == STATE_NEW),
                                         TEXT(r->event_id)},
        .n = 3,
    };

    return do_job(l, run_statement, &s, err);
}

int ledger_spent(struct ledger *l, const char *user, int64_t since_ms, int64_t id, int64_t *ret,
                 struct err *err)
{
    struct statement s = {
        .sql = "SELECT count(*) FROM slack_events"
               " WHERE user = ? AND is_work AND accepted_at >= ? AND id <= ?",
        .values = (const struct value[]){TEXT(user), NUMBER(since_ms), NUMBER(id)},
        .n = 3,
    };

    if (do_job(l, run_statement, &s, err) < 0)
        return -1;
    *ret = s.number;
    return 0;
}

int ledger_trim(struct ledger *l, int64_t before_ms, struct err *err)
{
    struct statement s = {.sql = "DELETE FROM slack_events WHERE state = 2 AND accepted_at < ?",
                          .values = (const struct value[]){NUMBER(before_ms)},
                          .n = 1};

    return do_job(l, run_statement, &s, err);
}

static int count_load(struct ledger *l, void *arg, struct err *err)
{
    struct ledger_load *ret = arg;

    if (sqlite_number(l->db, "SELECT count(*) FROM slack_events WHERE state = 0 AND is_work", 0,
                      &ret->waiting, err) < 0 ||
        sqlite_number(l->db, "SELECT count(*) FROM slack_events WHERE state = 1", 0, &ret->begun,
                      err) < 0)
        return -1;
    return sqlite_number(l->db, "SELECT count(*) FROM slack_events WHERE state IN (3, 4)", 0,
                         &ret->untold, err);
}

int ledger_count(struct ledger *l, struct ledger_load *ret, struct err *err)
{
    return do_job(l, count_load, ret, err);
}

static int look_for_news(struct ledger *l, void *arg, struct err *err)
{
    return sqlite_number(l->db, "PRAGMA data_version", 0, arg, err);
}

bool ledger_has_news(struct ledger *l)
{
    int64_t version = 0;
    bool is_new;

    /* What cannot be asked may be new: whoever looks is told what is wrong. */
    if (do_job(l, look_for_news, &version, NULL) < 0)
        return true;
    (void)pthread_mutex_lock(&l->lock);
    is_new = version != l->version;
    l->version = version;
    (void)pthread_mutex_unlock(&l->lock);
    return is_new;
}
