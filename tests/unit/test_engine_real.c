/*
 * Against the engine of this machine ($DOCKER_HOST or the usual socket). Skipped, with the reason,
 * where there is none or it lacks the image oneshot/python-slim; with $ONESHOT_TEST_IMAGE, another
 * image, that is a failure. Makes containers whose names begin with oneshot-engtest-PID and removes
 * them by id.
 */
#include "unit.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "base/random.h"
#include "base/str.h"
#include "engine/docker.h"
#include "engine/docker_body.h"
#include "engine_baseline.h"
#include "frames/mux.h"

#define EXPECTED "tests/e2e/expected_create_body.json"

enum { TEST_S = 300, LONG_MS = 120000 };

static char image[256], prefix[64];
static char *profile;

static struct engine *open_engine(void)
{
    struct engine *e = NULL;

    ck_assert_int_eq(docker_open("", &e, NULL), 0);
    return e;
}

struct box {
    char name[96], id[ENGINE_ID_MAX];
    int fd;
};

static struct engine_spec new_spec(struct box *b)
{
    char unique[RANDOM_ID_MAX];

    (void)snprintf(b->name, sizeof(b->name), "%s-%s", prefix, random_id(unique));
    b->fd = -1;
    return baseline_spec(b->name, image, profile);
}

static struct box park(struct engine *e)
{
    struct box b = {0};
    struct engine_spec s = new_spec(&b);
    struct err err = {0};

    ck_assert_msg(docker_ops.park(e, &s, b.id, &b.fd, &err) == 0, "%s", err.msg);
    return b;
}

/* A busy engine may need more than the time of one call: the keeper asks again, too. */
static void drop(struct engine *e, struct box *b)
{
    int64_t until = clock_ms() + LONG_MS;
    struct err err = {0};

    (void)shutdown(b->fd, SHUT_RDWR);
    (void)close(b->fd);
    while (docker_ops.destroy(e, b->id, &err) < 0) {
        ck_assert_msg(err.kind == ERR_TIMEOUT && clock_ms() < until, "%s", err.msg);
        err = (struct err){0};
    }
}

/* Whether a container of this name is there, and whether with our labels. */
static bool is_listed(struct engine *e, const char *name)
{
    auto_free struct engine_container *list = NULL;
    struct err err = {0};
    size_t n = 0;

    ck_assert_msg(docker_ops.list(e, &list, &n, &err) == 0, "%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) != 0)
            continue;
        ck_assert_str_eq(list[i].instance, "engine-test");
        ck_assert_str_eq(list[i].epoch, "e1");
        ck_assert_str_eq(list[i].policy, "baseline");
        ck_assert_int_gt(list[i].created_s, 1600000000);
        return true;
    }
    return false;
}

START_TEST(a_parked_container_answers_over_its_stream)
{
    struct engine *e = open_engine();
    struct box b = park(e);
    struct engine_state state;
    uint64_t before = 0;
    char got[13];

    ck_assert_int_eq(io_write_all(b.fd, "hello", 5, clock_ms() + LONG_MS, NULL), 0);
    for (size_t i = 0; i < sizeof(got); i++)
        ck_assert_int_eq(io_read_some(b.fd, got + i, 1, clock_ms() + LONG_MS, NULL), 1);
    ck_assert_mem_eq(got, "\1\0\0\0\0\0\0\5hello", sizeof(got));
    ck_assert(is_listed(e, b.name));
    ck_assert_int_eq(docker_ops.inspect(e, b.id, &state, NULL), 0);
    ck_assert(state.is_running && !state.is_oom);
    ck_assert_int_eq(state.exit_code, ENGINE_EXIT_UNKNOWN);
    ck_assert_int_eq(docker_ops.usage(e, b.id, &before, NULL), 0);
    ck_assert_uint_gt(before, 0);
    ck_assert_uint_lt(before, 64 << 20);
    ck_assert_uint_eq(docker_ops.lacks(e), 0);
    drop(e, &b);
    docker_ops.close(e);
}
END_TEST

START_TEST(an_update_moves_the_memory_limit_both_ways)
{
    struct engine *e = open_engine();
    struct box b = park(e);
    struct err err = {0};

    ck_assert_msg(docker_ops.update(e, b.id, 512 << 20, &err) == 0, "%s", err.msg);
    ck_assert_msg(docker_ops.update(e, b.id, 64 << 20, &err) == 0, "%s", err.msg);
    drop(e, &b);
    docker_ops.close(e);
}
END_TEST

START_TEST(a_wait_sees_the_exit_code_after_the_stream_was_closed)
{
    struct engine *e = open_engine();
    struct box b = park(e);
    struct engine_state state;
    struct err err = {0};
    int code = -7;

    ck_assert_int_eq(docker_ops.wait(e, b.id, 100, &code, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_eq(code, -7);
    ck_assert_int_eq(shutdown(b.fd, SHUT_WR), 0);
    ck_assert_msg(docker_ops.wait(e, b.id, LONG_MS, &code, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(docker_ops.inspect(e, b.id, &state, NULL), 0);
    ck_assert(!state.is_running && !state.is_oom);
    ck_assert_int_eq(state.exit_code, 0);
    drop(e, &b);
    docker_ops.close(e);
}
END_TEST

START_TEST(destroying_twice_is_done_twice)
{
    struct engine *e = open_engine();
    struct box b = park(e);
    struct engine_state state;
    struct err err = {0};
    uint64_t bytes;

    drop(e, &b);
    ck_assert_int_eq(docker_ops.destroy(e, b.id, NULL), 0);
    ck_assert(!is_listed(e, b.name));
    ck_assert_int_eq(docker_ops.inspect(e, b.id, &state, &err), -1);
    ck_assert_int_eq(err.kind, ERR_NOTFOUND);
    ck_assert_int_eq(docker_ops.usage(e, b.id, &bytes, &err), -1);
    docker_ops.close(e);
}
END_TEST

START_TEST(a_flood_that_nobody_reads_does_not_hold_the_removal_up)
{
    static const char *const yes[] = {"/usr/bin/yes", NULL};
    struct engine *e = open_engine();
    struct box b = {0};
    struct engine_spec s = new_spec(&b);
    struct err err = {0};
    char first;

    s.argv = yes;
    ck_assert_msg(docker_ops.park(e, &s, b.id, &b.fd, &err) == 0, "%s", err.msg);
    ck_assert_int_eq(io_read_some(b.fd, &first, 1, clock_ms() + LONG_MS, NULL), 1);
    drop(e, &b);
    docker_ops.close(e);
}
END_TEST

static const char *const no_command[] = {"/no/such/program", NULL};

static void no_image(struct engine_spec *s)
{
    s->image = "oneshot/no-such-image:none";
}

static void no_program(struct engine_spec *s)
{
    s->argv = no_command;
}

static void no_network(struct engine_spec *s)
{
    s->network = "oneshot-no-such-network";
}

static void no_runtime(struct engine_spec *s)
{
    s->runtime = "oneshot-no-such-runtime";
}

static void bad_profile(struct engine_spec *s)
{
    s->seccomp_json = "{\"defaultAction\":7}";
}

static const struct spoiled {
    void (*spoil)(struct engine_spec *s);
    enum err_kind kind;
    const char *mention;
} spoiled[] = {
    {no_image,    ERR_NOTFOUND, "No such image"          },
    {no_program,  ERR_INVALID,  "no such file"           },
    {no_network,  ERR_INVALID,  "oneshot-no-such-network"},
    {no_runtime,  ERR_INVALID,  "oneshot-no-such-runtime"},
    {bad_profile, ERR_PEER,     ""                       },
};

START_TEST(a_park_that_fails_leaves_nothing_behind)
{
    struct engine *e = open_engine();
    struct box b = {0};
    struct engine_spec s = new_spec(&b);
    struct err err = {0};

    spoiled[_i].spoil(&s);
    ck_assert_int_eq(docker_ops.park(e, &s, b.id, &b.fd, &err), -1);
    ck_assert_msg(err.kind == spoiled[_i].kind, "%s", err.msg);
    ck_assert_msg(strcasestr(err.msg, spoiled[_i].mention) != NULL, "%s", err.msg);
    ck_assert(!is_listed(e, b.name));
    docker_ops.close(e);
}
END_TEST

START_TEST(a_name_that_is_taken_is_busy)
{
    struct engine *e = open_engine();
    struct box b = park(e), other = {0};
    struct engine_spec s = new_spec(&other);
    struct err err = {0};

    s.name = b.name;
    ck_assert_int_eq(docker_ops.park(e, &s, other.id, &other.fd, &err), -1);
    ck_assert_int_eq(err.kind, ERR_BUSY);
    ck_assert(is_listed(e, b.name));
    drop(e, &b);
    docker_ops.close(e);
}
END_TEST

START_TEST(an_image_is_known_by_its_digest)
{
    struct engine *e = open_engine();
    struct engine_image by_name = {0}, by_digest = {0};
    struct err err = {0};

    ck_assert_int_eq(docker_ops.image(e, image, &by_name, NULL), 0);
    ck_assert_uint_gt(by_name.size, 1 << 20);
    ck_assert_int_eq(docker_ops.image(e, by_name.digest, &by_digest, NULL), 0);
    ck_assert_str_eq(by_digest.digest, by_name.digest);
    ck_assert_int_eq(docker_ops.image(e, "oneshot/no-such-image:none", &by_name, &err), -1);
    ck_assert_int_eq(err.kind, ERR_NOTFOUND);
    docker_ops.close(e);
}
END_TEST

START_TEST(a_version_that_is_too_new_or_old_is_settled_again)
{
    struct engine *e = open_engine();
    unsigned api;

    ck_assert_int_eq(docker_ops.ping(e, NULL), 0);
    api = atomic_load(&e->api);
    for (unsigned wrong = 5; wrong <= 99; wrong += 94) {
        auto_free struct engine_container *list = NULL;
        struct err err = {0};
        size_t n;

        atomic_store(&e->api, wrong);
        ck_assert_msg(docker_ops.list(e, &list, &n, &err) == 0, "%s", err.msg);
        ck_assert_uint_eq(atomic_load(&e->api), api);
    }
    docker_ops.close(e);
}
END_TEST

struct witness {
    struct engine *e;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    const char *name;
    bool has_died, is_gone;
};

static bool witness(void *ctx, const struct engine_event *ev)
{
    struct witness *w = ctx;
    bool is_gone;

    (void)pthread_mutex_lock(&w->lock);
    if (strcmp(ev->name, w->name) == 0 && strcmp(ev->instance, "engine-test") == 0) {
        w->has_died |= strcmp(ev->action, "die") == 0;
        w->is_gone |= strcmp(ev->action, "destroy") == 0;
    }
    is_gone = w->is_gone;
    (void)pthread_cond_signal(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
    return !is_gone;
}

static void *watch_thread(void *arg)
{
    struct witness *w = arg;

    return docker_ops.watch(w->e, witness, w, NULL) == 0 ? NULL : arg;
}

/* One container comes and goes; true when the watch has told of it soon. */
static bool is_told_of_one(struct witness *w)
{
    struct box b = park(w->e);
    struct timespec until;
    int rc = 0;
    bool is_gone;

    (void)pthread_mutex_lock(&w->lock);
    w->name = b.name;
    (void)pthread_mutex_unlock(&w->lock);
    drop(w->e, &b);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->is_gone && rc == 0)
        rc = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    w->name = "none";
    is_gone = w->is_gone;
    (void)pthread_mutex_unlock(&w->lock);
    return is_gone;
}

START_TEST(a_watch_sees_a_container_die_and_go)
{
    struct witness w = {.e = open_engine(),
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .name = "none"};
    int64_t deadline = clock_ms() + LONG_MS;
    pthread_t thread;
    void *failed = NULL;

    ck_assert_int_eq(pthread_create(&thread, NULL, watch_thread, &w), 0);
    /* The engine does not say when it has begun to watch, so the first may go unseen. */
    while (!is_told_of_one(&w) && clock_ms() < deadline)
        continue;
    docker_ops.unwatch(w.e);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert(w.has_died);
    ck_assert(w.is_gone);
    docker_ops.close(w.e);
}
END_TEST

/* ---- what the engine made of the body ---- */

static bool is_empty_list(const cJSON *item)
{
    return !item || cJSON_IsNull(item) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

/* Nothing that the engine adds by itself may give the container anything. */
static bool is_nothing(const cJSON *item)
{
    const cJSON *child;

    if (cJSON_IsTrue(item) || (cJSON_IsNumber(item) && item->valuedouble != 0) ||
        (cJSON_IsString(item) && item->valuestring[0]))
        return false;
    cJSON_ArrayForEach(child, item)
    {
        if (!is_nothing(child))
            return false;
    }
    return true;
}

static void expect_same(const cJSON *want, const cJSON *got, const char *where);

static void expect_members(const cJSON *want, const cJSON *got, const char *where)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, want)
    {
        expect_same(item, cJSON_GetObjectItemCaseSensitive(got, item->string), item->string);
    }
    cJSON_ArrayForEach(item, got)
    {
        if (cJSON_GetObjectItemCaseSensitive(want, item->string))
            continue;
        ck_assert_msg(is_nothing(item), "%s: the engine added '%s'", where, item->string);
    }
}

static void expect_same(const cJSON *want, const cJSON *got, const char *where)
{
    ck_assert_msg(got != NULL, "'%s' is missing", where);
    if (is_empty_list(want) && is_empty_list(got))
        return;
    if (cJSON_IsObject(want) && cJSON_IsObject(got)) {
        expect_members(want, got, where);
        return;
    }
    ck_assert_msg(cJSON_Compare(want, got, true), "'%s' is %s, not %s", where,
                  cJSON_PrintUnformatted(got), cJSON_PrintUnformatted(want));
}

/* What the image brings along may stand beside ours: labels, and variables of other names. */
static void take_image_part(cJSON *want, cJSON *config)
{
    const cJSON *item, *labels = cJSON_GetObjectItemCaseSensitive(want, "Labels");
    cJSON *env = cJSON_DetachItemFromObjectCaseSensitive(want, "Env");
    cJSON *got = cJSON_DetachItemFromObjectCaseSensitive(config, "Env");
    int i = 0;

    cJSON_ArrayForEach(item, env)
    {
        ck_assert(cJSON_Compare(item, cJSON_GetArrayItem(got, i++), true));
    }
    item = cJSON_GetObjectItemCaseSensitive(config, "Labels")->child;
    while (item) {
        const cJSON *next = item->next;

        if (!cJSON_GetObjectItemCaseSensitive(labels, item->string))
            cJSON_DeleteItemFromObjectCaseSensitive(
                cJSON_GetObjectItemCaseSensitive(config, "Labels"), item->string);
        item = next;
    }
    cJSON_Delete(env);
    cJSON_Delete(got);
}

static cJSON *read_expected(const struct engine *e)
{
    auto_free char *text = NULL, *option = NULL;
    cJSON *want, *host;
    size_t n;

    ck_assert_int_eq(io_read_file(EXPECTED, 1 << 20, &text, &n, NULL), 0);
    want = cJSON_Parse(text);
    ck_assert_ptr_nonnull(want);
    host = cJSON_GetObjectItemCaseSensitive(want, "HostConfig");
    ck_assert(cJSON_ReplaceItemInObjectCaseSensitive(want, "Image", cJSON_CreateString(image)));
    ck_assert_int_gt(asprintf(&option, "seccomp=%s", profile), 0);
    ck_assert(cJSON_ReplaceItemInArray(cJSON_GetObjectItemCaseSensitive(host, "SecurityOpt"), 1,
                                       cJSON_CreateString(option)));
    if (atomic_load(&e->cgroup) != 1)
        cJSON_DeleteItemFromObjectCaseSensitive(host, "MemorySwappiness");
    return want;
}

static cJSON *inspect_whole(struct engine *e, const char *id)
{
    CLEANUP(docker_http_reply_done) struct docker_http_reply r = {0};
    char path[128];
    const struct docker_request q = {.call = ENGINE_INSPECT, .method = "GET", .path = path};
    cJSON *doc;

    docker_http_reply_init(&r);
    (void)snprintf(path, sizeof(path), "/containers/%s/json", id);
    ck_assert_int_eq(docker_call(e, &q, &r, NULL), 0);
    doc = cJSON_Parse(buf_get(&r.body));
    ck_assert_ptr_nonnull(doc);
    return doc;
}

START_TEST(the_engine_made_exactly_what_was_written_by_hand)
{
    struct engine *e = open_engine();
    struct box b = park(e);
    CLEANUP(cJSON_Delete_p) cJSON *got = inspect_whole(e, b.id);
    CLEANUP(cJSON_Delete_p) cJSON *want = read_expected(e);
    CLEANUP(cJSON_Delete_p) cJSON *want_host = NULL;
    cJSON *config = cJSON_GetObjectItemCaseSensitive(got, "Config");
    cJSON *host = cJSON_GetObjectItemCaseSensitive(got, "HostConfig");

    drop(e, &b);
    want_host = cJSON_DetachItemFromObjectCaseSensitive(want, "HostConfig");
    /* The engine's default, whose name it fills in. */
    cJSON_DeleteItemFromObjectCaseSensitive(host, "Runtime");
    take_image_part(want, config);
    expect_members(want, config, "Config");
    expect_members(want_host, host, "HostConfig");
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(got, "Mounts")), 0);
    docker_ops.close(e);
}
END_TEST

/* ---- set-up ---- */

/* The reason why nothing can be tested here, or NULL. */
static const char *find_reason_to_skip(void)
{
    static struct err err;
    struct engine_image found;
    struct engine *e = NULL;
    int rc;

    if (docker_open("", &e, &err) < 0)
        return err.msg;
    rc = docker_ops.image(e, image, &found, &err);
    docker_ops.close(e);
    return rc < 0 ? err.msg : NULL;
}

/* After all tests, in their parent: what a failed one left behind. */
static void sweep(void)
{
    struct engine_container *list = NULL;
    struct engine *e = open_engine();
    size_t n = 0;

    ck_assert_int_eq(docker_ops.list(e, &list, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        if (str_starts(list[i].name, prefix))
            ck_assert_int_eq(docker_ops.destroy(e, list[i].id, NULL), 0);
    }
    free(list);
    docker_ops.close(e);
}

static void add_tests(TCase *t)
{
    const char *named = getenv("ONESHOT_TEST_IMAGE"), *reason;
    size_t n;

    (void)str_copy(image, named ? named : "oneshot/python-slim", sizeof(image));
    reason = find_reason_to_skip();
    if (reason) {
        (void)printf("skipped: %s\n", reason);
        if (named)
            exit(EXIT_FAILURE);
        return;
    }
    if (io_read_file("policies/seccomp-python.json", 1 << 20, &profile, &n, NULL) < 0)
        profile = strdup("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
    (void)snprintf(prefix, sizeof(prefix), "oneshot-engtest-%d", (int)getpid());
    tcase_set_timeout(t, TEST_S);
    tcase_add_unchecked_fixture(t, NULL, sweep);
    tcase_add_test(t, a_parked_container_answers_over_its_stream);
    tcase_add_test(t, an_update_moves_the_memory_limit_both_ways);
    tcase_add_test(t, a_wait_sees_the_exit_code_after_the_stream_was_closed);
    tcase_add_test(t, destroying_twice_is_done_twice);
    tcase_add_test(t, a_flood_that_nobody_reads_does_not_hold_the_removal_up);
    tcase_add_loop_test(t, a_park_that_fails_leaves_nothing_behind, 0, ARRAY_LEN(spoiled));
    tcase_add_test(t, a_name_that_is_taken_is_busy);
    tcase_add_test(t, an_image_is_known_by_its_digest);
    tcase_add_test(t, a_version_that_is_too_new_or_old_is_settled_again);
    tcase_add_test(t, a_watch_sees_a_container_die_and_go);
    tcase_add_test(t, the_engine_made_exactly_what_was_written_by_hand);
}

UNIT_MAIN("engine_real", add_tests)
