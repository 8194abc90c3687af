/*
 * Age and size of the history. Rows go in batches, each a transaction of its own, so that a reader
 * or a crash never waits for a long one; the pages that they leave are given back to the file
 * system, which the size limit is about.
 */
#include "store/sqlite_state.h"

enum {
    AGE_BATCH = 1000,
    SIZE_BATCH = 64,
    BATCHES = 16, /* in one call: rows to be written wait meanwhile */
    VACUUM_PAGES = 4096,
};

/* Deletes what `sql` finds by its two numbers; `*ret_rows` says how much. */
static int delete_rows(struct backend *b, const char *sql, int64_t first, int64_t second,
                       int *ret_rows, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(b->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 1, first);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 2, second);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_DONE)
        (void)sqlite_fail(b->db, rc, "database", err);
    (void)sqlite3_finalize(stmt);
    *ret_rows = sqlite3_changes(b->db);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int trim_table(struct backend *b, const char *sql, int64_t oldest_ms, bool *ret_more,
                      struct err *err)
{
    int rows = AGE_BATCH;

    for (int i = 0; i < BATCHES && rows == AGE_BATCH; i++) {
        if (delete_rows(b, sql, oldest_ms, AGE_BATCH, &rows, err) < 0)
            return -1;
    }
    *ret_more = *ret_more || rows == AGE_BATCH;
    return 0;
}

static int trim_age(struct backend *b, int64_t oldest_ms, bool *ret_more, struct err *err)
{
    static const char runs[] = "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM runs"
                               " WHERE started_at < ? ORDER BY started_at LIMIT ?)";
    static const char calls[] =
        "DELETE FROM model_calls WHERE rowid IN (SELECT rowid FROM model_calls"
        " WHERE started_at < ? ORDER BY started_at LIMIT ?)";

    if (trim_table(b, runs, oldest_ms, ret_more, err) < 0)
        return -1;
    return trim_table(b, calls, oldest_ms, ret_more, err);
}

/* Bytes of the pages that hold something. */
static int used_bytes(sqlite3 *db, int64_t *ret, struct err *err)
{
    int64_t pages, free_pages, size;

    if (sqlite_number(db, "PRAGMA page_count", 0, &pages, err) < 0 ||
        sqlite_number(db, "PRAGMA freelist_count", 0, &free_pages, err) < 0 ||
        sqlite_number(db, "PRAGMA page_size", 4096, &size, err) < 0)
        return -1;
    *ret = (pages - free_pages) * size;
    return 0;
}

/*
 * How many rows to delete next, to get from `used` bytes down to `target`: rows may hold bytes or
 * megabytes, and what is young is not to go with what is old.
 */
static int count_doomed(sqlite3 *db, int64_t used, int64_t target, int64_t *ret, struct err *err)
{
    static const char count[] =
        "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM model_calls)";
    int64_t rows;

    if (sqlite_number(db, count, 0, &rows, err) < 0)
        return -1;
    rows = (int64_t)((double)rows * (double)(used - target) / (double)used);
    *ret = rows < 1 ? 1 : rows > SIZE_BATCH ? SIZE_BATCH : rows;
    return 0;
}

/*
 * `most` of the oldest rows of both tables: calls that are older than what is left of the runs go
 * too.
 */
static int delete_oldest(struct backend *b, int64_t most, int *ret_rows, struct err *err)
{
    static const char runs[] = "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM runs"
                               " ORDER BY started_at LIMIT ?2 OFFSET ?1)";
    static const char calls[] =
        "DELETE FROM model_calls WHERE rowid IN (SELECT rowid FROM model_calls"
        " WHERE started_at < coalesce((SELECT min(started_at) FROM runs), ?1)"
        " ORDER BY started_at LIMIT ?2)";
    int rows = 0;

    if (delete_rows(b, runs, 0, most, ret_rows, err) < 0 ||
        delete_rows(b, calls, INT64_MAX, most, &rows, err) < 0)
        return -1;
    *ret_rows += rows;
    return 0;
}

/* Down to nine tenths, so that not every further row is one too many. */
static int trim_size(struct backend *b, int64_t size_max, bool *ret_more, struct err *err)
{
    const int64_t target = size_max / 10 * 9;
    int64_t used, doomed;
    int rows = 1;

    if (used_bytes(b->db, &used, err) < 0)
        return -1;
    for (int i = 0; i < BATCHES && used > target && rows; i++) {
        if (count_doomed(b->db, used, target, &doomed, err) < 0 ||
            delete_oldest(b, doomed, &rows, err) < 0 || used_bytes(b->db, &used, err) < 0)
            return -1;
    }
    *ret_more = *ret_more || (used > target && rows);
    return 0;
}

/* Free pages go back to the file system when the log is folded into the file. */
static int shrink(struct backend *b, bool *ret_more, struct err *err)
{
    int64_t free_pages;
    char sql[60];

    if (sqlite_number(b->db, "PRAGMA freelist_count", 0, &free_pages, err) < 0)
        return -1;
    (void)snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
    if (free_pages && sqlite_run(b->db, sql, err) < 0)
        return -1;
    *ret_more = *ret_more || free_pages > VACUUM_PAGES;
    sqlite_fold_log(b);
    return 0;
}

int sqlite_trim(struct backend *b, const struct backend_bounds *bounds, bool *ret_more,
                struct err *err)
{
    bool is_large = bounds->size_max > 0 && sqlite_size(b) > (uint64_t)bounds->size_max;

    *ret_more = false;
    if (bounds->oldest_ms > 0 && trim_age(b, bounds->oldest_ms, ret_more, err) < 0)
        return -1;
    if (is_large && trim_size(b, bounds->size_max, ret_more, err) < 0)
        return -1;
    return shrink(b, ret_more, err);
}
