#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/writer.h"
#include "store_rig.h"
#include "unit.h"

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

START_TEST(a_version_that_cannot_be_is_damage)
{
    struct store_options o = options();
    auto_free char *data = NULL;
    sqlite3 *db;
    size_t n;

    begin();
    data = make_good(&n);
    write_whole(file, data, n);
    db = connect_to(file);
    /* 2, with one bit more. */
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE schema_version SET version = -126", NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
    open_with(&o);
    ck_assert_uint_eq(count_files(".corrupt-"), 1);
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
    /* In a mount table of our own, which goes with this process whatever happens. */
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, how) == 0)
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
    ck_assert_int_lt(clock_ms() - began, 4000); /* runs do not wait for the lock's five seconds */
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

/* Neither where it was never opened: each try takes five seconds, and there are several batches. */
START_TEST(a_stop_does_not_wait_for_a_database_that_was_never_open)
{
    struct store_options o = options();
    int64_t began;
    sqlite3 *db;

    begin();
    o.close_ms = 100;
    db = connect_to(file);
    sql(db, "PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE");
    open_with(&o);
    observe_many(1, 600);
    began = clock_ms();
    store_close(store);
    store = NULL;
    ck_assert_int_lt(clock_ms() - began, patient(8000));
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
    ck_assert_int_lt(longest, 4000); /* 50 ms, on a busy machine */
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

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_damaged_file_is_moved_aside, 0, ARRAY_LEN(damages));
    tcase_add_loop_test(t, flipped_bytes_never_stop_it, 0, 50);
    tcase_add_test(t, a_version_that_cannot_be_is_damage);
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
    tcase_add_test(t, a_stop_does_not_wait_for_a_database_that_was_never_open);
    tcase_add_test(t, a_full_queue_drops_and_counts);
    tcase_add_test(t, a_queue_of_large_programs_is_bounded_by_their_bytes);
    tcase_add_test(t, rows_that_will_never_do_do_not_stop_the_others);
}

UNIT_MAIN_ONE_PROCESS("store_faults", add_tests)
