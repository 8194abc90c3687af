#include "keeper/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "unit.h"

/* An engine that notes what it is asked and answers as it is told. */
struct engine {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned inside; /* calls under way */
    bool is_held;    /* calls wait inside until it ends */
    bool is_running; /* what inspect says until wait was called */
    int fails;       /* so many calls fail */
    char last[100];
};

static struct engine engine = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};

static int called(const char *what, const char *id, struct err *err)
{
    int rc = 0;

    (void)pthread_mutex_lock(&engine.lock);
    (void)snprintf(engine.last, sizeof(engine.last), "%s %s", what, id);
    engine.inside++;
    (void)pthread_cond_broadcast(&engine.changed);
    while (engine.is_held)
        (void)pthread_cond_wait(&engine.changed, &engine.lock);
    engine.inside--;
    if (engine.fails > 0 && engine.fails-- > 0)
        rc = err_set(err, ERR_PEER, "told to fail");
    (void)pthread_mutex_unlock(&engine.lock);
    return rc;
}

static int fake_ping(struct engine *e, struct err *err)
{
    (void)e;
    return called("ping", "", err);
}

static int fake_image(struct engine *e, const char *ref, struct engine_image *ret, struct err *err)
{
    (void)e;
    *ret = (struct engine_image){.digest = "sha256:1", .size = 5};
    return called("image", ref, err);
}

static int fake_park(struct engine *e, const struct engine_spec *spec, char id[ENGINE_ID_MAX],
                     int *ret_fd, struct err *err)
{
    (void)e;
    if (called("park", spec->name, err) < 0)
        return -1;
    (void)str_copy(id, "made", ENGINE_ID_MAX);
    *ret_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return 0;
}

static int fake_update(struct engine *e, const char *id, int64_t memory, struct err *err)
{
    char what[40];

    (void)e;
    (void)snprintf(what, sizeof(what), "update %lld", (long long)memory);
    return called(what, id, err);
}

static int fake_usage(struct engine *e, const char *id, uint64_t *ret, struct err *err)
{
    (void)e;
    *ret = 77;
    return called("usage", id, err);
}

static int fake_inspect(struct engine *e, const char *id, struct engine_state *ret, struct err *err)
{
    *ret = (struct engine_state){.is_running = e->is_running, .exit_code = 9};
    return called("inspect", id, err);
}

static int fake_wait(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err)
{
    ck_assert_int_eq(ms, 500);
    *ret_exit = 9;
    e->is_running = false;
    return called("wait", id, err);
}

static int fake_destroy(struct engine *e, const char *id, struct err *err)
{
    (void)e;
    return called("destroy", id, err);
}

static int fake_list(struct engine *e, struct engine_container **ret, size_t *ret_n,
                     struct err *err)
{
    (void)e;
    *ret = xcalloc(2, sizeof(**ret));
    *ret_n = 2;
    return called("list", "", err);
}

static const struct engine_ops ops = {
    .name = "fake",
    .ping = fake_ping,
    .image = fake_image,
    .park = fake_park,
    .update = fake_update,
    .usage = fake_usage,
    .inspect = fake_inspect,
    .wait = fake_wait,
    .destroy = fake_destroy,
    .list = fake_list,
};

static struct crew *crew;

static void begin(unsigned threads)
{
    ck_assert_int_eq(crew_new(&ops, &engine, threads, &crew, NULL), 0);
}

static struct task *finished(void)
{
    struct task *t;

    for (;;) {
        t = crew_take(crew);
        if (t)
            return t;
        ck_assert_int_eq(io_wait(crew_fd(crew), POLLIN, clock_ms() + patient(20000)), 1);
    }
}

static void hold(bool on)
{
    (void)pthread_mutex_lock(&engine.lock);
    engine.is_held = on;
    (void)pthread_cond_broadcast(&engine.changed);
    (void)pthread_mutex_unlock(&engine.lock);
}

static void wait_inside(unsigned n)
{
    (void)pthread_mutex_lock(&engine.lock);
    while (engine.inside < n)
        (void)pthread_cond_wait(&engine.changed, &engine.lock);
    (void)pthread_mutex_unlock(&engine.lock);
}

static struct spec *any_spec(void)
{
    static char text[] = "x";
    static const struct policy p = {
        .name = text, .runtime = text, .work_dir = text, .seccomp_json = text};

    return spec_new(&p, &(struct spec_names){
                            .instance = "i", .epoch = "e", .name = "n", .image = "m", .limit = 1});
}

static const struct ask {
    enum task_kind kind;
    const char *said;
} asks[] = {
    {TASK_PING,    "ping "         },
    {TASK_IMAGE,   "image python"  },
    {TASK_START,   "park n"        },
    {TASK_DESTROY, "destroy box"   },
    {TASK_UPDATE,  "update 500 box"},
    {TASK_USAGE,   "usage box"     },
    {TASK_FATE,    "inspect box"   },
    {TASK_LIST,    "list "         },
};

static struct task *make(enum task_kind kind)
{
    struct task *t = task_new(kind);

    t->number = 500;
    (void)str_copy(t->container, "box", sizeof(t->container));
    if (kind == TASK_IMAGE)
        t->text = xstrdup("python");
    if (kind == TASK_START)
        t->spec = any_spec();
    return t;
}

START_TEST(every_kind_of_task_is_one_call)
{
    struct task *t;

    begin(1);
    crew_add(crew, make(asks[_i].kind));
    t = finished();
    ck_assert_int_eq(t->kind, asks[_i].kind);
    ck_assert_int_eq(t->rc, 0);
    ck_assert_str_eq(engine.last, asks[_i].said);
    if (t->kind == TASK_START) {
        ck_assert_str_eq(t->container, "made");
        ck_assert_int_ge(t->fd, 0);
    }
    if (t->kind == TASK_USAGE)
        ck_assert_uint_eq(t->number, 77);
    if (t->kind == TASK_LIST)
        ck_assert_uint_eq(t->list_n, 2);
    task_free(t);
    crew_free(crew);
}
END_TEST

START_TEST(a_failure_comes_back_with_its_reason)
{
    struct task *t;

    begin(1);
    engine.fails = 1;
    crew_add(crew, make(asks[_i].kind));
    t = finished();
    ck_assert_int_eq(t->rc, -1);
    ck_assert_int_eq(t->err.kind, ERR_PEER);
    ck_assert_str_eq(t->err.msg, "told to fail");
    task_free(t);
    crew_free(crew);
}
END_TEST

START_TEST(a_kind_that_there_is_not_fails)
{
    struct task *t;

    begin(1);
    crew_add(crew, make((enum task_kind)99));
    t = finished();
    ck_assert_int_eq(t->rc, -1);
    ck_assert_int_eq(t->err.kind, ERR_INTERNAL);
    task_free(t);
    crew_free(crew);
}
END_TEST

START_TEST(a_fate_waits_for_the_end_and_looks_again)
{
    struct task *t;

    begin(1);
    engine.is_running = true;
    crew_add(crew, make(TASK_FATE));
    t = finished();
    ck_assert_int_eq(t->rc, 0);
    ck_assert(!t->state.is_running);
    ck_assert_str_eq(engine.last, "inspect box");
    task_free(t);
    crew_free(crew);
}
END_TEST

static int refuse_wait(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err)
{
    (void)e;
    (void)id;
    (void)ms;
    (void)ret_exit;
    return err_set(err, ERR_TIMEOUT, "it still runs");
}

START_TEST(a_container_that_runs_on_is_said_to_run)
{
    struct engine_ops patient = ops;
    struct task *t;

    patient.wait = refuse_wait;
    ck_assert_int_eq(crew_new(&patient, &engine, 1, &crew, NULL), 0);
    engine.is_running = true;
    crew_add(crew, make(TASK_FATE));
    t = finished();
    ck_assert_int_eq(t->rc, 0);
    ck_assert(t->state.is_running);
    task_free(t);
    crew_free(crew);
}
END_TEST

START_TEST(as_many_calls_at_once_as_there_are_threads)
{
    enum { THREADS = 4, TASKS = 40 };
    unsigned seen = 0;

    begin(THREADS);
    hold(true);
    for (int i = 0; i < TASKS; i++)
        crew_add(crew, make(TASK_PING));
    wait_inside(THREADS);
    ck_assert_uint_eq(engine.inside, THREADS);
    ck_assert_int_eq(io_wait(crew_fd(crew), POLLIN, 0), 0);
    ck_assert_ptr_null(crew_take(crew));
    hold(false);
    while (seen < TASKS) {
        task_free(finished());
        seen++;
    }
    ck_assert_ptr_null(crew_take(crew));
    ck_assert_int_eq(io_wait(crew_fd(crew), POLLIN, 0), 0);
    crew_free(crew);
}
END_TEST

START_TEST(what_nobody_takes_is_freed)
{
    begin(2);
    hold(true);
    for (int i = 0; i < 10; i++)
        crew_add(crew, make(i % 2 ? TASK_START : TASK_LIST));
    wait_inside(2);
    hold(false);
    crew_free(crew); /* with tasks to do, under way and done: ASan looks for what is left */
    crew_free(NULL);
    task_free(NULL);
}
END_TEST

START_TEST(a_crew_that_cannot_be_made_says_so)
{
    struct rlimit usual, few;
    struct err e = {0};
    int fds[64], n = 0;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = (struct rlimit){.rlim_cur = 50, .rlim_max = usual.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < 64 && (fds[n] = dup(0)) >= 0)
        n++;
    ck_assert_int_eq(crew_new(&ops, &engine, 1, &crew, &e), -1);
    ck_assert_int_eq(e.sys, EMFILE);
    while (n > 0)
        (void)close(fds[--n]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, every_kind_of_task_is_one_call, 0, ARRAY_LEN(asks));
    tcase_add_loop_test(t, a_failure_comes_back_with_its_reason, 0, ARRAY_LEN(asks));
    tcase_add_test(t, a_kind_that_there_is_not_fails);
    tcase_add_test(t, a_fate_waits_for_the_end_and_looks_again);
    tcase_add_test(t, a_container_that_runs_on_is_said_to_run);
    tcase_add_test(t, as_many_calls_at_once_as_there_are_threads);
    tcase_add_test(t, what_nobody_takes_is_freed);
    tcase_add_test(t, a_crew_that_cannot_be_made_says_so);
}

UNIT_MAIN("crew", add_tests)
