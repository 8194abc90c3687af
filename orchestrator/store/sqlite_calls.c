#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/sqlite_state.h"

enum { LIST_FIRST = 16 };

static const char insert_sql[] =
    "INSERT OR IGNORE INTO model_calls (id, generation, attempt, started_at, dialect, client,"
    " model, verdict, status, finish, tries, took_us, tokens_in, tokens_out, run, prompt, reply,"
    " error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

static const char list_sql[] =
    "SELECT id, generation, attempt, started_at, dialect, client, model, verdict, status, finish,"
    " tries, took_us, tokens_in, tokens_out, run, prompt, reply, error FROM model_calls"
    " WHERE (?1 IS NULL OR id < ?1) AND (?2 IS NULL OR generation = ?2)"
    " ORDER BY id DESC LIMIT ?3";

int sqlite_check_calls(sqlite3 *db, struct err *err)
{
    return sqlite_check_statement(db, list_sql, err);
}

/* ---- writing ---- */

/* Columns in the order of both statements. */
static int bind_call(sqlite3_stmt *s, const struct call_record *r)
{
    const char *const front[] = {r->id, r->generation};
    const char *const middle[] = {r->dialect, r->client, r->model, r->verdict};
    const int64_t figures[] = {r->tries, r->took_us, r->tokens_in, r->tokens_out};
    const char *const back[] = {r->run, r->prompt, r->reply, r->error};
    int i = 0, rc = 0;

    for (size_t k = 0; k < ARRAY_LEN(front); k++)
        rc |= sqlite3_bind_text(s, ++i, front[k], -1, SQLITE_STATIC);
    rc |= sqlite3_bind_int(s, ++i, r->attempt);
    rc |= sqlite3_bind_int64(s, ++i, r->started_ms);
    for (size_t k = 0; k < ARRAY_LEN(middle); k++)
        rc |= sqlite3_bind_text(s, ++i, middle[k], -1, SQLITE_STATIC);
    rc |= sqlite3_bind_int(s, ++i, r->status);
    rc |= sqlite3_bind_text(s, ++i, r->finish, -1, SQLITE_STATIC);
    for (size_t k = 0; k < ARRAY_LEN(figures); k++)
        rc |= sqlite3_bind_int64(s, ++i, figures[k]);
    /* A NULL text is SQL's NULL. */
    for (size_t k = 0; k < ARRAY_LEN(back); k++)
        rc |= sqlite3_bind_text(s, ++i, back[k], -1, SQLITE_STATIC);
    return rc;
}

int sqlite_insert_call(struct backend *b, const struct call_record *r)
{
    int rc = SQLITE_OK;

    if (!b->insert_call)
        rc = sqlite3_prepare_v3(b->db, insert_sql, -1, SQLITE_PREPARE_PERSISTENT, &b->insert_call,
                                NULL);
    if (rc != SQLITE_OK)
        return rc;
    if (bind_call(b->insert_call, r) != 0)
        rc = SQLITE_TOOBIG;
    else
        rc = sqlite3_step(b->insert_call);
    (void)sqlite3_reset(b->insert_call);
    (void)sqlite3_clear_bindings(b->insert_call);
    return rc;
}

/* ---- reading ---- */

static void read_text(sqlite3_stmt *s, int i, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(s, i);

    (void)str_copy(out, text ? (const char *)text : "", size);
}

static char *dup_text(sqlite3_stmt *s, int i)
{
    return xstrdup((const char *)sqlite3_column_text(s, i));
}

static void read_call(sqlite3_stmt *s, struct call_record *r)
{
    *r = (struct call_record){
        .attempt = sqlite3_column_int(s, 2),
        .started_ms = sqlite3_column_int64(s, 3),
        .status = sqlite3_column_int(s, 8),
        .tries = sqlite3_column_int(s, 10),
        .took_us = sqlite3_column_int64(s, 11),
        .tokens_in = sqlite3_column_int64(s, 12),
        .tokens_out = sqlite3_column_int64(s, 13),
        .prompt = dup_text(s, 15),
        .reply = dup_text(s, 16),
        .error = dup_text(s, 17),
    };
    read_text(s, 0, r->id, sizeof(r->id));
    read_text(s, 1, r->generation, sizeof(r->generation));
    read_text(s, 4, r->dialect, sizeof(r->dialect));
    read_text(s, 5, r->client, sizeof(r->client));
    read_text(s, 6, r->model, sizeof(r->model));
    read_text(s, 7, r->verdict, sizeof(r->verdict));
    read_text(s, 9, r->finish, sizeof(r->finish));
    read_text(s, 14, r->run, sizeof(r->run));
}

static sqlite3_stmt *prepare(sqlite3 *db, const struct call_filter *f, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, list_sql, -1, &s, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 1, f->before, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 2, f->generation, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(s, 3, (int64_t)f->limit);
    if (rc == SQLITE_OK)
        return s;
    (void)sqlite_fail(db, rc, "database", err);
    (void)sqlite3_finalize(s);
    return NULL;
}

static int read_calls(sqlite3 *db, sqlite3_stmt *s, struct call_record **ret, size_t *ret_n,
                      struct err *err)
{
    struct call_record *list = NULL;
    size_t n = 0, cap = 0;
    int rc;

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (n == cap) {
            cap = cap ? 2 * cap : LIST_FIRST;
            list = xarray(list, cap, sizeof(*list));
        }
        read_call(s, &list[n++]);
    }
    if (rc != SQLITE_DONE) {
        store_calls_free(list, n);
        return sqlite_fail(db, rc, "database", err);
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

/* A database of an earlier version, which only its writer brings up to date, has no such table. */
static int has_table(sqlite3 *db, int64_t *ret, struct err *err)
{
    return sqlite_number(
        db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'model_calls'", 0,
        ret, err);
}

int sqlite_calls(struct backend *b, const struct call_filter *f, struct call_record **ret,
                 size_t *ret_n, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int64_t exists = 0;
    sqlite3 *db;
    int rc;

    if (f->limit < 1 || f->limit > STORE_LIST_MAX)
        return err_set(err, ERR_INVALID, "'limit' must be 1..%d", STORE_LIST_MAX);
    if (sqlite_reader_take(b, &db, err) < 0)
        return -1;
    *ret = NULL;
    *ret_n = 0;
    rc = has_table(db, &exists, err);
    if (rc == 0 && exists) {
        s = prepare(db, f, err);
        rc = s ? read_calls(db, s, ret, ret_n, err) : -1;
    }
    (void)sqlite3_finalize(s);
    sqlite_reader_give(b, db);
    return rc;
}
