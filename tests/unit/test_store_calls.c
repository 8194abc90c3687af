#include "store_rig.h"

#include "store/call_record.h"

static void add_call(unsigned i, const char *generation, int64_t started_ms, const char *text)
{
    struct call_record r = {.attempt = 1 + (int)i % 3,
                            .started_ms = started_ms,
                            .status = i % 2 ? 429 : 0,
                            .tries = 2,
                            .took_us = 1234567,
                            .tokens_in = 71,
                            .tokens_out = -1,
                            .prompt = xstrdup(text),
                            .reply = i % 2 ? NULL : xstrdup("print(1)"),
                            .error = xstrdup("E")};

    (void)snprintf(r.id, sizeof(r.id), "%020u", i);
    (void)str_copy(r.generation, generation, sizeof(r.generation));
    (void)str_copy(r.dialect, "generator", sizeof(r.dialect));
    (void)str_copy(r.client, "192.0.2.7", sizeof(r.client));
    (void)str_copy(r.model, "command-a", sizeof(r.model));
    (void)str_copy(r.verdict, "failed", sizeof(r.verdict));
    (void)str_copy(r.finish, "complete", sizeof(r.finish));
    (void)str_copy(r.run, "r1", sizeof(r.run));
    store_add_call(store, &r);
}

/* How many there are; `*ret_first` is the newest one's id. */
static size_t count(const struct call_filter *f, char *ret_first)
{
    struct call_record *list = NULL;
    size_t n = 0;

    ck_assert_msg(store_calls(store, f, &list, &n, &err) == 0, "%s", err.msg);
    ret_first[0] = '\0';
    if (n)
        (void)str_copy(ret_first, list[0].id, RANDOM_ID_MAX);
    store_calls_free(list, n);
    return n;
}

START_TEST(a_call_comes_back_as_it_was)
{
    struct store_options o = options();
    struct call_record *list = NULL;
    size_t n = 0;

    begin();
    open_with(&o);
    add_call(4, "g1", 1795255200123, "plot °C");
    open_again();
    ck_assert_int_eq(store_calls(store, &(struct call_filter){.limit = 10}, &list, &n, &err), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(list[0].id, "00000000000000000004");
    ck_assert_str_eq(list[0].generation, "g1");
    ck_assert_int_eq(list[0].attempt, 2);
    ck_assert_int_eq(list[0].started_ms, 1795255200123);
    ck_assert_str_eq(list[0].dialect, "generator");
    ck_assert_str_eq(list[0].client, "192.0.2.7");
    ck_assert_str_eq(list[0].model, "command-a");
    ck_assert_str_eq(list[0].verdict, "failed");
    ck_assert_int_eq(list[0].status, 0);
    ck_assert_str_eq(list[0].finish, "complete");
    ck_assert_int_eq(list[0].tries, 2);
    ck_assert_int_eq(list[0].took_us, 1234567);
    ck_assert_int_eq(list[0].tokens_in, 71);
    ck_assert_int_eq(list[0].tokens_out, -1);
    ck_assert_str_eq(list[0].run, "r1");
    ck_assert_str_eq(list[0].prompt, "plot °C");
    ck_assert_str_eq(list[0].reply, "print(1)");
    ck_assert_str_eq(list[0].error, "E");
    store_calls_free(list, n);
    end();
}
END_TEST

START_TEST(calls_are_listed_newest_first_and_by_generation)
{
    struct store_options o = options();
    char first[RANDOM_ID_MAX];

    begin();
    open_with(&o);
    for (unsigned i = 0; i < 9; i++) {
        add_call(i, i < 3 ? "g1" : "g2", 1795255200000 + i, "p");
        observe(i);
    }
    WAIT_FOR(written, 18);
    ck_assert_uint_eq(rows(), 9);
    ck_assert_uint_eq(count(&(struct call_filter){.limit = 100}, first), 9);
    ck_assert_str_eq(first, "00000000000000000008");
    ck_assert_uint_eq(count(&(struct call_filter){.limit = 2}, first), 2);
    ck_assert_uint_eq(count(&(struct call_filter){.limit = 100, .generation = "g1"}, first), 3);
    ck_assert_str_eq(first, "00000000000000000002");
    ck_assert_uint_eq(
        count(&(struct call_filter){.limit = 100, .before = "00000000000000000002"}, first), 2);
    ck_assert_uint_eq(count(&(struct call_filter){.limit = 9, .generation = "' OR 1"}, first), 0);
    fails(store_calls(store, &(struct call_filter){0}, NULL, NULL, &err), ERR_INVALID);
    end();
}
END_TEST

START_TEST(texts_are_kept_only_where_programs_are)
{
    static const enum store_code kept[] = {STORE_CODE_OFF, STORE_CODE_DIGEST, STORE_CODE_FULL};
    struct store_options o = options();
    struct call_record *list = NULL;
    size_t n = 0;

    begin();
    o.code_store = kept[_i];
    open_with(&o);
    add_call(2, "g", 1, "secret prompt");
    WAIT_FOR(written, 1);
    ck_assert_int_eq(store_calls(store, &(struct call_filter){.limit = 1}, &list, &n, &err), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(list[0].prompt != NULL, kept[_i] == STORE_CODE_FULL);
    ck_assert_int_eq(list[0].reply != NULL, kept[_i] == STORE_CODE_FULL);
    ck_assert_int_eq(list[0].tokens_in, 71);
    store_calls_free(list, n);
    end();
}
END_TEST

START_TEST(old_calls_are_deleted)
{
    struct store_options o = options();
    char first[RANDOM_ID_MAX];
    int64_t until;

    begin();
    open_with(&o);
    for (unsigned i = 0; i < 300; i++)
        add_call(i, "g", clock_wall_ms() - (i % 3 ? 7200000 : 0), "p");
    store_close(store);
    o.age_ms = 3600000;
    open_with(&o);
    until = clock_ms() + patient(SOON_MS);
    while (count(&(struct call_filter){.limit = 1000}, first) != 100) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
    }
    ck_assert_str_eq(first, "00000000000000000297");
    end();
}
END_TEST

/* With no run at all, and with runs that are newer. */
START_TEST(a_large_history_loses_its_oldest_calls)
{
    enum { LIMIT = 3 * 1024 * 1024, CALLS = 600 };
    struct store_options o = options();
    char text[10001] = {0}, first[RANDOM_ID_MAX];
    int64_t until;

    begin();
    memset(text, 'p', sizeof(text) - 1);
    o.size_max = LIMIT;
    open_with(&o);
    if (_i)
        observe(5000);
    for (unsigned i = 0; i < CALLS; i++)
        add_call(i, "g", 1795255200000 + i, text);
    WAIT_FOR(written, CALLS);
    until = clock_ms() + patient(SOON_MS);
    while (state().size > LIMIT) {
        ck_assert_int_lt(clock_ms(), until);
        (void)poll(NULL, 0, 5);
    }
    ck_assert_uint_lt(count(&(struct call_filter){.limit = 1000}, first), CALLS);
    if (!_i)
        ck_assert_str_eq(first, "00000000000000000599");
    ck_assert_uint_eq(state().dropped, 0);
    end();
}
END_TEST

START_TEST(a_database_without_calls_has_none)
{
    struct store_options o = options();
    char first[RANDOM_ID_MAX];
    sqlite3 *db;

    begin();
    open_with(&o);
    observe(1);
    store_close(store);
    store = NULL;
    db = connect_to(file);
    sql(db, "DROP TABLE model_calls; UPDATE schema_version SET version = 2");
    (void)sqlite3_close(db);
    ck_assert_int_eq(store_open_reader("sqlite:oneshot.db", dir, &store, &err), 0);
    ck_assert_uint_eq(count(&(struct call_filter){.limit = 10}, first), 0);
    end();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 30);
    tcase_add_test(t, a_call_comes_back_as_it_was);
    tcase_add_test(t, calls_are_listed_newest_first_and_by_generation);
    tcase_add_loop_test(t, texts_are_kept_only_where_programs_are, 0, 3);
    tcase_add_test(t, old_calls_are_deleted);
    tcase_add_loop_test(t, a_large_history_loses_its_oldest_calls, 0, 2);
    tcase_add_test(t, a_database_without_calls_has_none);
}

UNIT_MAIN("store_calls", add_tests)
