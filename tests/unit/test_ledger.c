#include "store/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "store_rig.h"

enum { QUEUE = 3, THREADS = 4, EACH = 25 };

static struct ledger *ledger;

static void start(void)
{
    begin();
    ck_assert_int_eq(ledger_open(file, &ledger, NULL), 0);
}

static void stop(void)
{
    ledger_close(ledger);
    end();
}

static void again(void)
{
    ledger_close(ledger);
    ck_assert_int_eq(ledger_open(file, &ledger, &err), 0);
}

/* Event "E<n>" of user U at place and time "C", "<n>". */
static struct ledger_request make(int n, bool is_work)
{
    return (struct ledger_request){
        .event_id = xasprintf("E%d", n),
        .channel = xstrdup("C"),
        .ts = xasprintf("%d", n),
        .thread_ts = xstrdup("7"),
        .user = xstrdup("U"),
        .text = xasprintf("text %d", n),
        .is_work = is_work,
        .accepted_ms = 1000 + n,
    };
}

static bool add(int n, bool is_work)
{
    CLEANUP(ledger_request_done) struct ledger_request r = make(n, is_work);
    bool is_new = false;

    ck_assert_int_eq(ledger_add(ledger, &r, QUEUE, &is_new, NULL), 0);
    return is_new;
}

/* The number of the request that comes next, negative when it was interrupted; 0: there is none. */
static int take(bool is_work, int64_t *ret_id)
{
    CLEANUP(ledger_request_done) struct ledger_request r = {0};
    bool is_found = false;
    int n = 0;

    ck_assert_int_eq(ledger_take(ledger, is_work, &r, &is_found, NULL), 0);
    if (!is_found)
        return 0;
    ck_assert_int_eq(sscanf(r.event_id, "E%d", &n), 1);
    if (ret_id)
        *ret_id = r.id;
    return r.is_interrupted ? -n : n;
}

static void finish(int n, bool counts)
{
    CLEANUP(ledger_request_done) struct ledger_request r = make(n, true);

    ck_assert_int_eq(ledger_end(ledger, &r, counts, NULL), 0);
}

static int64_t spent(void)
{
    int64_t n = -1;

    ck_assert_int_eq(ledger_spent(ledger, "U", 0, INT64_MAX, &n, NULL), 0);
    return n;
}

START_TEST(requests_come_in_order_each_once)
{
    CLEANUP(ledger_request_done) struct ledger_request r = {0};
    bool is_found;

    start();
    ck_assert(add(1, true));
    ck_assert(add(2, false));
    ck_assert(add(3, true));
    ck_assert_int_eq(ledger_take(ledger, true, &r, &is_found, NULL), 0);
    ck_assert(is_found && r.is_work && !r.is_refused && !r.is_interrupted);
    ck_assert_str_eq(r.event_id, "E1");
    ck_assert_str_eq(r.channel, "C");
    ck_assert_str_eq(r.ts, "1");
    ck_assert_str_eq(r.thread_ts, "7");
    ck_assert_str_eq(r.user, "U");
    ck_assert_str_eq(r.text, "text 1");
    ck_assert_int_eq(r.accepted_ms, 1001);
    ck_assert_int_eq(take(true, NULL), 3);
    ck_assert_int_eq(take(true, NULL), 0);
    ck_assert_int_eq(take(false, NULL), 2);
    ck_assert_int_eq(take(false, NULL), 0);
    stop();
}
END_TEST

START_TEST(the_same_event_and_the_same_place_and_time_are_known)
{
    struct ledger_request r;
    bool is_new = true;

    start();
    ck_assert(add(1, true));
    ck_assert(!add(1, true));
    r = make(2, true); /* a mention: another event about the same message */
    free(r.ts);
    r.ts = xstrdup("1");
    ck_assert_int_eq(ledger_add(ledger, &r, QUEUE, &is_new, NULL), 0);
    ck_assert(!is_new);
    free(r.channel);
    r.channel = xstrdup("D");
    ck_assert_int_eq(ledger_add(ledger, &r, QUEUE, &is_new, NULL), 0);
    ck_assert(is_new);
    ledger_request_done(&r);
    again();
    ck_assert(!add(1, true));
    stop();
}
END_TEST

START_TEST(work_beyond_the_queue_is_refused_at_once)
{
    CLEANUP(ledger_request_done) struct ledger_request r = {0};
    bool is_found;

    start();
    for (int n = 1; n <= QUEUE + 1; n++)
        ck_assert(add(n, true));
    ck_assert(add(9, false));
    ck_assert_int_eq(ledger_take(ledger, false, &r, &is_found, NULL), 0);
    ck_assert(is_found && r.is_refused && !r.is_work);
    ck_assert_str_eq(r.event_id, "E4");
    ck_assert_int_eq(take(true, NULL), 1);
    ck_assert(add(10, true)); /* there is room again */
    ck_assert_int_eq(take(false, NULL), 9);
    ck_assert_int_eq(take(false, NULL), 0);
    stop();
}
END_TEST

START_TEST(what_is_far_too_much_is_not_taken)
{
    CLEANUP(ledger_request_done) struct ledger_request r = make(1000, false);
    struct err why = {0};
    bool is_new;

    start();
    for (int n = 1; n <= 8 * QUEUE + 64; n++)
        ck_assert(add(n, false));
    ck_assert_int_lt(ledger_add(ledger, &r, QUEUE, &is_new, &why), 0);
    ck_assert_int_eq(why.kind, ERR_BUSY);
    ck_assert(!add(1, false)); /* known: nothing to be kept */
    ck_assert_int_eq(take(false, NULL), 1);
    ck_assert_int_lt(ledger_add(ledger, &r, QUEUE, &is_new, &why), 0); /* not answered yet */
    stop();
}
END_TEST

START_TEST(a_start_finds_what_was_begun_and_what_is_old)
{
    start();
    for (int n = 1; n <= 4; n++)
        ck_assert(add(n == 4 ? 2000 : n, n < 4));
    ck_assert_int_eq(take(true, NULL), 1);
    ck_assert_int_eq(take(true, NULL), 2);
    finish(2, true);
    again();
    ck_assert_int_eq(ledger_recover(ledger, 2000, NULL), 0);
    ck_assert_int_eq(take(true, NULL), 0); /* 3 is too old to be begun */
    ck_assert_int_eq(take(false, NULL), -1);
    again(); /* before 1 was told */
    ck_assert_int_eq(ledger_recover(ledger, 0, NULL), 0);
    ck_assert_int_eq(take(false, NULL), -1);
    finish(1, true);
    ck_assert_int_eq(take(false, NULL), -3);
    finish(3, true);
    ck_assert_int_eq(spent(), 2); /* 3 was not begun */
    ck_assert_int_eq(take(false, NULL), 2000);
    ck_assert_int_eq(take(false, NULL), 0);
    stop();
}
END_TEST

START_TEST(a_budget_counts_work_of_its_day_up_to_a_request)
{
    int64_t id[4], n_spent;

    start();
    for (int n = 1; n <= 3; n++) {
        ck_assert(add(n, true));
        ck_assert_int_eq(take(true, &id[n]), n);
    }
    ck_assert(add(4, false));
    finish(2, false); /* was refused */
    ck_assert_int_eq(ledger_spent(ledger, "U", 0, id[3], &n_spent, NULL), 0);
    ck_assert_int_eq(n_spent, 2);
    ck_assert_int_eq(ledger_spent(ledger, "U", 0, id[1], &n_spent, NULL), 0);
    ck_assert_int_eq(n_spent, 1);
    ck_assert_int_eq(ledger_spent(ledger, "U", 1002, id[3], &n_spent, NULL), 0);
    ck_assert_int_eq(n_spent, 1);
    ck_assert_int_eq(ledger_spent(ledger, "V", 0, id[3], &n_spent, NULL), 0);
    ck_assert_int_eq(n_spent, 0);
    stop();
}
END_TEST

START_TEST(only_what_was_answered_is_forgotten)
{
    start();
    ck_assert(add(1, true));
    ck_assert(add(2, true));
    ck_assert_int_eq(take(true, NULL), 1);
    finish(1, true);
    ck_assert_int_eq(ledger_trim(ledger, 1001, NULL), 0);
    ck_assert(!add(1, true));
    ck_assert_int_eq(ledger_trim(ledger, 1002, NULL), 0);
    ck_assert(add(1, true));
    ck_assert_int_eq(ledger_trim(ledger, INT64_MAX, NULL), 0);
    ck_assert(!add(2, true));
    stop();
}
END_TEST

START_TEST(another_process_shows_as_news)
{
    CLEANUP(ledger_request_done) struct ledger_request r = make(1, true);
    struct ledger *other = NULL;
    bool is_new;

    start();
    (void)ledger_has_news(ledger);
    ck_assert(!ledger_has_news(ledger));
    ck_assert_int_eq(ledger_open(file, &other, NULL), 0);
    ck_assert_int_eq(ledger_add(other, &r, QUEUE, &is_new, NULL), 0);
    ledger_close(other);
    ck_assert(ledger_has_news(ledger));
    ck_assert(!ledger_has_news(ledger));
    ck_assert_int_eq(take(true, NULL), 1);
    stop();
}
END_TEST

/* Every thread has a connection of its own, as the front and the bot have. */
static void *add_many(void *arg)
{
    struct ledger *own = NULL;
    size_t *added = arg;

    MUST(ledger_open(file, &own, NULL) == 0);
    for (int n = 1; n <= EACH; n++) {
        CLEANUP(ledger_request_done) struct ledger_request r = make(n, false);
        bool is_new;

        MUST(ledger_add(own, &r, QUEUE, &is_new, NULL) == 0);
        *added += is_new;
    }
    ledger_close(own);
    return NULL;
}

START_TEST(two_processes_take_the_same_event_once)
{
    pthread_t threads[THREADS];
    size_t added[THREADS] = {0}, all = 0;

    start();
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, add_many, &added[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        all += added[i];
    }
    ck_assert_uint_eq(all, EACH);
    for (int n = 1; n <= EACH; n++)
        ck_assert_int_ne(take(false, NULL), 0);
    ck_assert_int_eq(take(false, NULL), 0);
    stop();
}
END_TEST

static void write_file(const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

/* How many files of the directory were put aside. */
static int count_aside(void)
{
    DIR *d = opendir(dir);
    int n = 0;

    ck_assert_ptr_nonnull(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d))
        n += strstr(e->d_name, ".db.corrupt-") && !strstr(e->d_name, "-wal") &&
             !strstr(e->d_name, "-shm");
    (void)closedir(d);
    return n;
}

START_TEST(a_damaged_file_is_put_aside_and_a_new_one_begun)
{
    begin();
    write_file("this is no database, however long one looks at it; it is only text in a file, "
               "and there is more of it than a header has");
    ck_assert_int_eq(ledger_open(file, &ledger, &err), 0);
    ck_assert_int_eq(count_aside(), 1);
    ck_assert(add(1, true));
    ck_assert_int_eq(take(true, NULL), 1);
    again();
    ck_assert(!add(1, true));
    ck_assert_int_eq(count_aside(), 1);
    stop();
}
END_TEST

static void run_sql(const char *sql)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(file, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* All pages but the first, behind the back of whoever has it open; then a change, so that what they
 * have in memory no longer counts. */
static void damage(void)
{
    static const char junk[4096] = "junk";
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    struct stat st;

    ck_assert_int_eq(fstat(fd, &st), 0);
    for (off_t at = sizeof(junk); at < st.st_size; at += (off_t)sizeof(junk))
        ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
    ck_assert_int_eq(close(fd), 0);
    run_sql("PRAGMA user_version = 2");
}

START_TEST(damage_that_shows_later_costs_the_next_request_nothing)
{
    struct ledger *other = NULL;
    CLEANUP(ledger_request_done) struct ledger_request second = make(2, true);
    bool is_new = false;

    start();
    ck_assert(add(7, true));
    again(); /* what was in the log is in the file */
    ck_assert_int_eq(ledger_open(file, &other, NULL), 0);
    (void)ledger_has_news(other);
    damage();
    ck_assert(add(1, true));
    ck_assert_int_eq(count_aside(), 1);
    /* The other process has the old file open, and must not add to that one. */
    ck_assert(ledger_has_news(other));
    ck_assert_int_eq(ledger_add(other, &second, QUEUE, &is_new, NULL), 0);
    ck_assert(is_new);
    ck_assert_int_eq(count_aside(), 1);
    ck_assert_int_eq(take(true, NULL), 1);
    /* Its number is that of the first one here. */
    finish(7, true);
    ck_assert_int_eq(spent(), 2);
    ck_assert_int_eq(take(true, NULL), 2);
    ledger_close(other);
    stop();
}
END_TEST

START_TEST(a_file_that_is_gone_is_begun_anew)
{
    start();
    ck_assert(add(1, true));
    ck_assert_int_eq(unlink(file), 0);
    ck_assert(add(2, true));
    ck_assert_int_eq(take(true, NULL), 2);
    stop();
}
END_TEST

START_TEST(what_cannot_be_told_now_comes_behind_the_others)
{
    CLEANUP(ledger_request_done) struct ledger_request work = {0}, quick = {0}, again_work = {0};
    struct ledger_load load = {0};
    bool is_found;

    start();
    ck_assert(add(1, true));
    ck_assert(add(2, false));
    ck_assert(add(3, false));
    ck_assert_int_eq(ledger_take(ledger, true, &work, &is_found, NULL), 0);
    ck_assert_int_eq(ledger_take(ledger, false, &quick, &is_found, NULL), 0);
    ck_assert_int_eq(ledger_count(ledger, &load, NULL), 0);
    ck_assert(load.waiting == 0 && load.begun == 2 && load.untold == 0);
    ck_assert_int_eq(ledger_postpone(ledger, &quick, false, false, NULL), 0);
    ck_assert_int_eq(ledger_postpone(ledger, &work, false, false, NULL), 0);
    ck_assert_int_eq(ledger_count(ledger, &load, NULL), 0);
    ck_assert(load.waiting == 0 && load.begun == 0 && load.untold == 1);
    ck_assert_int_eq(spent(), 0);
    ck_assert_int_eq(take(true, NULL), 0); /* it is not done again */
    ck_assert_int_eq(take(false, NULL), 3);
    ck_assert_int_eq(take(false, NULL), 2);
    ck_assert_int_eq(ledger_take(ledger, false, &again_work, &is_found, NULL), 0);
    ck_assert(is_found && again_work.is_undelivered && !again_work.is_interrupted);
    ck_assert_str_eq(again_work.event_id, "E1");
    ck_assert_int_eq(ledger_postpone(ledger, &again_work, true, true, NULL), 0);
    ck_assert_int_eq(take(false, NULL), 1);
    stop();
}
END_TEST

START_TEST(work_that_was_not_done_waits_again)
{
    CLEANUP(ledger_request_done) struct ledger_request r = {0};
    bool is_found;

    start();
    ck_assert(add(1, true));
    ck_assert(add(2, true));
    ck_assert_int_eq(ledger_take(ledger, true, &r, &is_found, NULL), 0);
    ck_assert_int_eq(ledger_postpone(ledger, &r, true, false, NULL), 0);
    ck_assert_int_eq(spent(), 2); /* as everything that waits */
    ck_assert_int_eq(take(false, NULL), 0);
    ck_assert_int_eq(take(true, NULL), 2);
    ck_assert_int_eq(take(true, NULL), 1);
    stop();
}
END_TEST

START_TEST(a_file_of_the_first_version_is_brought_up_to_date)
{
    start();
    ck_assert(add(1, true));
    ledger_close(ledger);
    run_sql("ALTER TABLE slack_events DROP COLUMN postponed_at; PRAGMA user_version = 1");
    ck_assert_int_eq(ledger_open(file, &ledger, &err), 0);
    ck_assert_int_eq(count_aside(), 0);
    ck_assert_int_eq(take(true, NULL), 1);
    stop();
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    start();
    ledger_close(ledger);
    run_sql("PRAGMA user_version = 99");
    ck_assert_int_lt(ledger_open(file, &ledger, &err), 0);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    end();
}
END_TEST

static const int no_versions[] = {-1, -2147483647 - 1};

START_TEST(a_version_that_cannot_be_is_damage)
{
    char sql[64];

    start();
    ledger_close(ledger);
    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", no_versions[_i]);
    run_sql(sql);
    ck_assert_msg(ledger_open(file, &ledger, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(count_aside(), 1);
    ck_assert(add(1, true));
    stop();
}
END_TEST

START_TEST(nobody_else_may_read_it)
{
    struct stat st;

    start();
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    stop();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, requests_come_in_order_each_once);
    tcase_add_test(t, the_same_event_and_the_same_place_and_time_are_known);
    tcase_add_test(t, work_beyond_the_queue_is_refused_at_once);
    tcase_add_test(t, what_is_far_too_much_is_not_taken);
    tcase_add_test(t, a_start_finds_what_was_begun_and_what_is_old);
    tcase_add_test(t, a_budget_counts_work_of_its_day_up_to_a_request);
    tcase_add_test(t, only_what_was_answered_is_forgotten);
    tcase_add_test(t, another_process_shows_as_news);
    tcase_add_test(t, two_processes_take_the_same_event_once);
    tcase_add_test(t, what_cannot_be_told_now_comes_behind_the_others);
    tcase_add_test(t, work_that_was_not_done_waits_again);
    tcase_add_test(t, a_damaged_file_is_put_aside_and_a_new_one_begun);
    tcase_add_test(t, damage_that_shows_later_costs_the_next_request_nothing);
    tcase_add_test(t, a_file_that_is_gone_is_begun_anew);
    tcase_add_test(t, a_file_of_the_first_version_is_brought_up_to_date);
    tcase_add_test(t, a_newer_schema_is_refused);
    tcase_add_loop_test(t, a_version_that_cannot_be_is_damage, 0, ARRAY_LEN(no_versions));
    tcase_add_test(t, nobody_else_may_read_it);
}

UNIT_MAIN("ledger", add_tests)
