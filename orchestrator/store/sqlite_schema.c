#include "store/sqlite_state.h"

/*
 * One entry per version, each from the one before. An entry that was ever released is never
 * changed: what is wrong in it is put right by the next one.
 */
static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE runs ("
    " id TEXT NOT NULL PRIMARY KEY,"
    " started_at INTEGER NOT NULL," /* Unix time, milliseconds */
    " dialect TEXT NOT NULL,"
    " policy TEXT NOT NULL,"
    " policy_hash TEXT NOT NULL,"
    " image TEXT NOT NULL,"
    " container TEXT NOT NULL,"
    " outcome TEXT NOT NULL,"
    " exit_code INTEGER NOT NULL," /* -1: none */
    " term_signal INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " warm INTEGER NOT NULL,"
    " wall_us INTEGER NOT NULL,"
    " cpu_us INTEGER NOT NULL,"
    " memory_peak INTEGER NOT NULL,"
    " queue_us INTEGER NOT NULL,"
    " take_us INTEGER NOT NULL,"
    " run_us INTEGER NOT NULL,"
    " collect_us INTEGER NOT NULL,"
    " stdout_bytes INTEGER NOT NULL,"
    " stderr_bytes INTEGER NOT NULL,"
    " files INTEGER NOT NULL,"
    " client TEXT NOT NULL,"
    " traceparent TEXT NOT NULL,"
    " code_bytes INTEGER NOT NULL,"
    " code_sha256 TEXT NOT NULL,"
    " code TEXT);" /* last: what comes before it is read without it */
    "CREATE INDEX runs_started_at ON runs (started_at);",

    /* 2: lists by policy and outcome do not read the whole table */
    "CREATE INDEX runs_policy ON runs (policy, id);"
    "CREATE INDEX runs_outcome ON runs (outcome, id);",

    /* 3: what the model was asked and what it answered */
    "CREATE TABLE model_calls ("
    " id TEXT NOT NULL PRIMARY KEY,"
    " generation TEXT NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " started_at INTEGER NOT NULL," /* Unix time, milliseconds */
    " dialect TEXT NOT NULL,"
    " client TEXT NOT NULL,"
    " model TEXT NOT NULL,"
    " verdict TEXT NOT NULL,"
    " status INTEGER NOT NULL," /* of HTTP where the model failed; 0: it did not */
    " finish TEXT NOT NULL,"
    " tries INTEGER NOT NULL,"
    " took_us INTEGER NOT NULL,"
    " tokens_in INTEGER NOT NULL," /* -1: not said */
    " tokens_out INTEGER NOT NULL,"
    " run TEXT NOT NULL," /* id in runs, while it is there */
    " prompt TEXT,"
    " reply TEXT,"
    " error TEXT);"
    "CREATE INDEX model_calls_started_at ON model_calls (started_at);"
    "CREATE INDEX model_calls_generation ON model_calls (generation, id);",
};

enum { NEWEST = ARRAY_LEN(migrations) };

static const char has_version[] =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
static const char has_tables[] = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";

/* 0: an empty database. */
static int read_version(sqlite3 *db, int64_t *ret, struct err *err)
{
    int64_t n = 0;

    *ret = 0;
    if (sqlite_number(db, has_version, 0, &n, err) < 0)
        return -1;
    if (n)
        return sqlite_number(db, "SELECT version FROM schema_version", 0, ret, err);
    if (sqlite_number(db, has_tables, 0, &n, err) < 0)
        return -1;
    return n ? err_set(err, ERR_INVALID, "it holds something else than history") : 0;
}

static bool is_known(int64_t version, int newest)
{
    return version >= 0 && version <= newest;
}

static int not_known(int64_t version, int newest, struct err *err)
{
    if (version < 0)
        return err_set(err, ERR_PEER, "it has schema %lld, which there never was",
                       (long long)version);
    return err_set(err, ERR_INVALID,
                   "it was written by a newer program (schema %lld, this one knows %d)",
                   (long long)version, newest);
}

int sqlite_update(sqlite3 *db, const char *const *steps, int newest, int64_t version,
                  struct err *err)
{
    if (!is_known(version, newest))
        return not_known(version, newest, err);
    for (int64_t i = version; i < newest; i++) {
        if (sqlite_run(db, steps[i], err) < 0)
            return err_wrap(err, "schema %lld", (long long)i + 1);
    }
    return 0;
}

static int apply(sqlite3 *db, struct err *err)
{
    char set[80];
    int64_t version;

    if (read_version(db, &version, err) < 0 ||
        sqlite_update(db, migrations, NEWEST, version, err) < 0)
        return -1;
    if (version == NEWEST)
        return 0;
    (void)snprintf(set, sizeof(set), "INSERT INTO schema_version VALUES (%d)", NEWEST);
    if (sqlite_run(db,
                   "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);"
                   "DELETE FROM schema_version",
                   err) < 0)
        return -1;
    return sqlite_run(db, set, err);
}

int sqlite_migrate(sqlite3 *db, struct err *err)
{
    if (sqlite_run(db, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    if (apply(db, err) < 0) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return -1;
    }
    return sqlite_run(db, "COMMIT", err);
}

int sqlite_check_version(sqlite3 *db, struct err *err)
{
    int64_t version;

    if (read_version(db, &version, err) < 0)
        return -1;
    if (version == 0)
        return err_set(err, ERR_NOTFOUND, "it is empty");
    return is_known(version, NEWEST) ? 0 : not_known(version, NEWEST, err);
}
