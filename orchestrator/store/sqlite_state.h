#ifndef STORE_SQLITE_STATE_H
#define STORE_SQLITE_STATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store/backend.h"

/* What the files of the SQLite back end share. */

enum { SQLITE_READERS = 4 }; /* connections kept for reading; more are opened and closed */

struct backend {
    char *path;
    bool is_reader;
    sqlite3 *db;               /* of the writing thread; NULL for readers */
    sqlite3_stmt *insert;      /* a run; prepared at the first one */
    sqlite3_stmt *insert_call; /* the same */
    atomic_bool is_interrupted;
    int64_t busy_ms; /* when the wait for a lock began; of the writing thread */

    pthread_mutex_t lock; /* guards what follows */
    sqlite3 *idle[SQLITE_READERS];
    size_t idle_n;
};

/* ---- sqlite.c ---- */

/* The kinds of store/backend.h for a result code. Returns -1. */
int sqlite_fail(sqlite3 *db, int rc, const char *what, struct err *err);

/* Runs statements without results. */
int sqlite_run(sqlite3 *db, const char *sql, struct err *err) MUST_CHECK;

/* The first column of the first row; `fallback` when there is none. */
int sqlite_number(sqlite3 *db, const char *sql, int64_t fallback, int64_t *ret,
                  struct err *err) MUST_CHECK;

/*
 * Runs those of the `newest` steps that come behind `version`. ERR_INVALID: a newer program wrote it,
 * or the tables are others. ERR_PEER: there is no such version, so it is damaged.
 */
int sqlite_update(sqlite3 *db, const char *const *steps, int newest, int64_t version,
                  struct err *err) MUST_CHECK;

/* ERR_PEER: the tables lack what `sql` names; a byte of their definition was changed. */
int sqlite_check_statement(sqlite3 *db, const char *sql, struct err *err) MUST_CHECK;

/* Looks through the file, for a bounded time. ERR_PEER: it is damaged. */
int sqlite_check(sqlite3 *db, struct err *err) MUST_CHECK;

/* Renames the file, and those beside it, to "*.corrupt-TIME"; says so in the log, of `what`. */
void sqlite_move_aside(const char *path, const char *what);

/* A connection for reading: take it, give it back. */
int sqlite_reader_take(struct backend *b, sqlite3 **ret, struct err *err) MUST_CHECK;
void sqlite_reader_give(struct backend *b, sqlite3 *db);

uint64_t sqlite_size(struct backend *b);

/* Copies the write-ahead log into the file and empties it, unless a reader needs it just now. */
void sqlite_fold_log(struct backend *b);

/* ---- sqlite_schema.c ---- */

/* Brings the schema to the newest version, in one transaction. ERR_INVALID: it is newer, or none
 * of ours. */
int sqlite_migrate(sqlite3 *db, struct err *err) MUST_CHECK;

/* The same without changing anything: an older version can be read. ERR_NOTFOUND: it is empty. */
int sqlite_check_version(sqlite3 *db, struct err *err) MUST_CHECK;

/* ---- sqlite_runs.c ---- */

/* Whether the table has all columns; see sqlite_check_statement. */
int sqlite_check_runs(sqlite3 *db, struct err *err) MUST_CHECK;
int sqlite_write(struct backend *b, struct row *const *rows, size_t n, struct err *err);
int sqlite_list(struct backend *b, const struct store_filter *f, struct run_record **ret,
                size_t *ret_n, struct err *err);
int sqlite_get(struct backend *b, const char *id, struct run_record *ret, struct err *err);

/* ---- sqlite_calls.c ---- */
int sqlite_check_calls(sqlite3 *db, struct err *err) MUST_CHECK;

/* SQLITE_DONE, or why it cannot be written. */
int sqlite_insert_call(struct backend *b, const struct call_record *r);
int sqlite_calls(struct backend *b, const struct call_filter *f, struct call_record **ret,
                 size_t *ret_n, struct err *err);

/* ---- sqlite_trim.c ---- */
int sqlite_trim(struct backend *b, const struct backend_bounds *bounds, bool *ret_more,
                struct err *err);

#endif
