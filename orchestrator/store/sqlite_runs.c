#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/sqlite_state.h"

enum { SQL_MAX = 4096, LIST_FIRST = 64 };

enum column_type { TEXT, INT, INT64, UINT64, BOOL, OUTCOME };

/* A column and the member it holds. The program's text is not among them: it comes last. */
struct column {
    const char *name;
    enum column_type type;
    size_t offset, size; /* TEXT: of the array */
};

#define AT(m) .offset = offsetof(struct run_record, m), .size = sizeof(((struct run_record *)0)->m)

/* clang-format off */
static const struct column columns[] = {
    {"id",           TEXT,    AT(id)},
    {"started_at",   INT64,   AT(started_ms)},
    {"dialect",      TEXT,    AT(dialect)},
    {"policy",       TEXT,    AT(policy)},
    {"policy_hash",  TEXT,    AT(policy_hash)},
    {"image",        TEXT,    AT(image)},
    {"container",    TEXT,    AT(container)},
    {"outcome",      OUTCOME, AT(outcome)},
    {"exit_code",    INT,     AT(exit_code)},
    {"term_signal",  INT,     AT(term_signal)},
    {"reason",       TEXT,    AT(reason)},
    {"warm",         BOOL,    AT(was_warm)},
    {"wall_us",      UINT64,  AT(wall_us)},
    {"cpu_us",       UINT64,  AT(cpu_us)},
    {"memory_peak",  UINT64,  AT(memory_peak)},
    {"queue_us",     INT64,   AT(queue_us)},
    {"take_us",      INT64,   AT(take_us)},
    {"run_us",       INT64,   AT(run_us)},
    {"collect_us",   INT64,   AT(collect_us)},
    {"stdout_bytes", UINT64,  AT(out_bytes)},
    {"stderr_bytes", UINT64,  AT(err_bytes)},
    {"files",        UINT64,  AT(files)},
    {"client",       TEXT,    AT(client)},
    {"traceparent",  TEXT,    AT(traceparent)},
    {"code_bytes",   UINT64,  AT(code_bytes)},
    {"code_sha256",  TEXT,    AT(code_sha256)},
};
/* clang-format on */

enum { COLUMNS = ARRAY_LEN(columns) };

static void put_names(struct buf *sql, bool with_code)
{
    for (int i = 0; i < COLUMNS; i++)
        (void)buf_fmt(sql, "%s%s", i ? ", " : "", columns[i].name);
    if (with_code)
        (void)buf_str(sql, ", code");
}

int sqlite_check_runs(sqlite3 *db, struct err *err)
{
    CLEANUP(buf_done) struct buf sql = {0};

    buf_init(&sql, SQL_MAX);
    (void)buf_str(&sql, "SELECT ");
    put_names(&sql, true);
    (void)buf_str(&sql, " FROM runs");
    return sqlite_check_statement(db, buf_get(&sql), err);
}

/* ---- writing ---- */

static int prepare_insert(struct backend *b, struct err *err)
{
    CLEANUP(buf_done) struct buf sql = {0};
    int rc;

    buf_init(&sql, SQL_MAX);
    (void)buf_str(&sql, "INSERT OR IGNORE INTO runs (");
    put_names(&sql, true);
    (void)buf_str(&sql, ") VALUES (");
    for (int i = 0; i < COLUMNS; i++)
        (void)buf_str(&sql, "?, ");
    (void)buf_str(&sql, "?)");
    rc = sqlite3_prepare_v3(b->db, buf_get(&sql), -1, SQLITE_PREPARE_PERSISTENT, &b->insert, NULL);
    return rc ? sqlite_fail(b->db, rc, "database", err) : 0;
}

static int64_t clamp(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static int bind_column(sqlite3_stmt *stmt, int index, const struct column *c,
                       const struct run_record *r)
{
    const char *at = (const char *)r + c->offset;
    enum outcome outcome;
    uint64_t u64;
    int64_t i64;
    bool yes;
    int i;

    switch (c->type) {
    case TEXT:
        return sqlite3_bind_text(stmt, index, at, -1, SQLITE_STATIC);
    case INT:
        memcpy(&i, at, sizeof(i));
        return sqlite3_bind_int(stmt, index, i);
    case INT64:
        memcpy(&i64, at, sizeof(i64));
        return sqlite3_bind_int64(stmt, index, i64);
    case UINT64:
        memcpy(&u64, at, sizeof(u64));
        return sqlite3_bind_int64(stmt, index, clamp(u64));
    case BOOL:
        memcpy(&yes, at, sizeof(yes));
        return sqlite3_bind_int(stmt, index, yes);
    case OUTCOME:
        memcpy(&outcome, at, sizeof(outcome));
        return sqlite3_bind_text(stmt, index, outcome_name(outcome), -1, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static int insert(struct backend *b, const struct run_record *r)
{
    int rc = SQLITE_OK;

    for (int i = 0; i < COLUMNS && rc == SQLITE_OK; i++)
        rc = bind_column(b->insert, i + 1, &columns[i], r);
    if (rc == SQLITE_OK && r->code)
        rc = sqlite3_bind_text64(b->insert, COLUMNS + 1, r->code, r->code_bytes, SQLITE_STATIC,
                                 SQLITE_UTF8);
    else if (rc == SQLITE_OK)
        rc = sqlite3_bind_null(b->insert, COLUMNS + 1);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(b->insert);
    (void)sqlite3_reset(b->insert);
    return rc;
}

/* Whoever deletes the file means to begin anew; SQLite would go on writing where nobody looks. */
static int check_place(struct backend *b, struct err *err)
{
    int has_moved = 0;

    (void)sqlite3_file_control(b->db, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved);
    return has_moved ? err_set(err, ERR_NOTFOUND, "'%s' was moved or deleted", b->path) : 0;
}

static int insert_row(struct backend *b, const struct row *r)
{
    return r->kind == ROW_RUN ? insert(b, &r->run) : sqlite_insert_call(b, &r->call);
}

int sqlite_write(struct backend *b, struct row *const *rows, size_t n, struct err *err)
{
    if (check_place(b, err) < 0)
        return -1;
    if (!b->insert && prepare_insert(b, err) < 0)
        return -1;
    if (sqlite_run(b->db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int rc = insert_row(b, rows[i]);

        if (rc == SQLITE_DONE)
            continue;
        (void)sqlite_fail(b->db, rc, "database", err);
        (void)sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    if (sqlite_run(b->db, "COMMIT", err) == 0)
        return 0;
    (void)sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

/* ---- reading ---- */

static const char *text_of(sqlite3_stmt *stmt, int index)
{
    const unsigned char *text = sqlite3_column_text(stmt, index);

    return text ? (const char *)text : "";
}

static void read_column(sqlite3_stmt *stmt, int index, const struct column *c, struct run_record *r)
{
    char *at = (char *)r + c->offset;
    int64_t i64 = sqlite3_column_int64(stmt, index);
    enum outcome outcome;
    bool yes = i64 != 0;
    int i = (int)i64;

    switch (c->type) {
    case TEXT:
        (void)str_copy(at, text_of(stmt, index), c->size);
        return;
    case INT:
        memcpy(at, &i, sizeof(i));
        return;
    case INT64:
    case UINT64:
        memcpy(at, &i64, sizeof(i64));
        return;
    case BOOL:
        memcpy(at, &yes, sizeof(yes));
        return;
    case OUTCOME:
        outcome = outcome_find(text_of(stmt, index));
        memcpy(at, &outcome, sizeof(outcome));
        return;
    }
}

static void read_row(sqlite3_stmt *stmt, struct run_record *ret)
{
    *ret = (struct run_record){0};
    for (int i = 0; i < COLUMNS; i++)
        read_column(stmt, i, &columns[i], ret);
}

/* `code_bytes` must be the length of the text that we hand out, whatever the column said. */
static void read_code(sqlite3_stmt *stmt, struct run_record *r)
{
    const unsigned char *text = sqlite3_column_text(stmt, COLUMNS);
    size_t n = (size_t)sqlite3_column_bytes(stmt, COLUMNS);

    if (!text)
        return;
    r->code = xmalloc(n + 1);
    memcpy(r->code, text, n);
    r->code[n] = '\0';
    r->code_bytes = n;
}

struct condition {
    const char *sql, *value;
};

static sqlite3_stmt *prepare_list(sqlite3 *db, const struct store_filter *f, struct err *err)
{
    const struct condition all[] = {
        {"id < ?",      f->before },
        {"policy = ?",  f->policy },
        {"dialect = ?", f->dialect},
        {"outcome = ?", f->outcome},
    };
    CLEANUP(buf_done) struct buf sql = {0};
    sqlite3_stmt *stmt = NULL;
    const char *glue = " WHERE ";
    int rc, index = 1;

    buf_init(&sql, SQL_MAX);
    (void)buf_str(&sql, "SELECT ");
    put_names(&sql, false);
    (void)buf_str(&sql, " FROM runs");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!all[i].value)
            continue;
        (void)buf_fmt(&sql, "%s%s", glue, all[i].sql);
        glue = " AND ";
    }
    (void)buf_str(&sql, " ORDER BY id DESC LIMIT ?");
    rc = sqlite3_prepare_v2(db, buf_get(&sql), -1, &stmt, NULL);
    for (size_t i = 0; i < ARRAY_LEN(all) && rc == SQLITE_OK; i++) {
        if (all[i].value)
            rc = sqlite3_bind_text(stmt, index++, all[i].value, -1, SQLITE_STATIC);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, index, (int64_t)f->limit);
    if (rc == SQLITE_OK)
        return stmt;
    (void)sqlite_fail(db, rc, "database", err);
    (void)sqlite3_finalize(stmt);
    return NULL;
}

/* Fills the list from all rows of the statement. */
static int read_rows(sqlite3 *db, sqlite3_stmt *stmt, struct run_record **ret, size_t *ret_n,
                     struct err *err)
{
    struct run_record *list = NULL;
    size_t n = 0, cap = 0;
    int rc;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (n == cap) {
            cap = cap ? 2 * cap : LIST_FIRST;
            list = xarray(list, cap, sizeof(*list));
        }
        read_row(stmt, &list[n++]);
    }
    if (rc != SQLITE_DONE) {
        free(list);
        return sqlite_fail(db, rc, "database", err);
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int sqlite_list(struct backend *b, const struct store_filter *f, struct run_record **ret,
                size_t *ret_n, struct err *err)
{
    sqlite3_stmt *stmt;
    sqlite3 *db;
    int rc;

    if (f->limit < 1 || f->limit > STORE_LIST_MAX)
        return err_set(err, ERR_INVALID, "'limit' must be 1..%d", STORE_LIST_MAX);
    if (sqlite_reader_take(b, &db, err) < 0)
        return -1;
    stmt = prepare_list(db, f, err);
    rc = stmt ? read_rows(db, stmt, ret, ret_n, err) : -1;
    (void)sqlite3_finalize(stmt);
    sqlite_reader_give(b, db);
    return rc;
}

static sqlite3_stmt *prepare_get(sqlite3 *db, const char *id, struct err *err)
{
    CLEANUP(buf_done) struct buf sql = {0};
    sqlite3_stmt *stmt = NULL;
    int rc;

    buf_init(&sql, SQL_MAX);
    (void)buf_str(&sql, "SELECT ");
    put_names(&sql, true);
    (void)buf_str(&sql, " FROM runs WHERE id = ?");
    rc = sqlite3_prepare_v2(db, buf_get(&sql), -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        return stmt;
    (void)sqlite_fail(db, rc, "database", err);
    (void)sqlite3_finalize(stmt);
    return NULL;
}

int sqlite_get(struct backend *b, const char *id, struct run_record *ret, struct err *err)
{
    sqlite3_stmt *stmt;
    int rc = SQLITE_ERROR;
    sqlite3 *db;

    if (sqlite_reader_take(b, &db, err) < 0)
        return -1;
    stmt = prepare_get(db, id, err);
    if (stmt)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        read_row(stmt, ret);
        read_code(stmt, ret);
    } else if (rc == SQLITE_DONE) {
        (void)err_set(err, ERR_NOTFOUND, "there is no run '%.40s' in the history", id);
    } else if (stmt) {
        (void)sqlite_fail(db, rc, "database", err);
    }
    (void)sqlite3_finalize(stmt);
    sqlite_reader_give(b, db);
    return rc == SQLITE_ROW ? 0 : -1;
}
