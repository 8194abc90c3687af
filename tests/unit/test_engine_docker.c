#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "engine/docker.h"
#include "engine/docker_events.h"
#include "engine_baseline.h"
/* Linked here, as each test program is built of one file. */
#include "fake_engine.c"

#define ID       "2e65969538ae5aece3fa9c3207e27f264a265073bf04f8a6ebe9224ae1125f71"
#define PROFILE  "{\"defaultAction\":\"SCMP_ACT_ERRNO\"}"
#define CREATED  "{\"Id\":\"" ID "\",\"Warnings\":[]}"
#define UPGRADED "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

#define CREATE "POST /v1.41/containers/create?name=box-1 "
#define ATTACH "POST /v1.41/containers/" ID "/attach?stream=1&stdin=1&stdout=1 "
#define START  "POST /v1.41/containers/" ID "/start "
#define REMOVE "DELETE /v1.41/containers/" ID "?force=1&v=1 "
#define STATE  "GET /v1.41/containers/" ID "/json "
#define WAIT   "POST /v1.41/containers/" ID "/wait?condition=not-running "
#define UPDATE "POST /v1.41/containers/" ID "/update "
#define STATS  "GET /v1.41/containers/" ID "/stats?stream=false&one-shot=true "
#define IMAGE  "GET /v1.41/images/oneshot/python:dev/json "
#define LIST \
    "GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22oneshot.instance%22%5D%7D "
#define EVENTS "GET /v1.41/events?filters="
#define EXITED \
    "{\"State\":{\"Status\":\"exited\",\"Running\":false,\"OOMKilled\":true,\"ExitCode\":137}}"

/* SPARE_MS is for machines that are busy with other things. */
enum { SHORT_MS = 100, LONG_MS = 20000, SPARE_MS = 20000 };

struct pair {
    struct fake_engine *f;
    struct engine *e;
};

static struct pair begin(const struct fake_step *steps, size_t n)
{
    struct pair p = {.f = fake_start(steps, n)};

    ck_assert_int_eq(docker_open(fake_host(p.f), &p.e, NULL), 0);
    for (int i = 0; i < ENGINE_CALLS; i++)
        p.e->limit_ms[i] = patient(p.e->limit_ms[i]);
    p.e->exit_ms = patient(p.e->exit_ms);
    return p;
}

static void end(struct pair p)
{
    docker_ops.close(p.e);
    fake_stop(p.f);
}

/* The call runs out of time soon; the version that it needs first is there already. */
static void shorten(struct pair p, enum engine_call call)
{
    ck_assert_int_eq(docker_ops.ping(p.e, NULL), 0);
    p.e->limit_ms[call] = patient(SHORT_MS);
}

static uint64_t calls_of(const struct engine *e, enum engine_call call, bool is_errors)
{
    uint64_t calls[ENGINE_CALLS], errors[ENGINE_CALLS];

    docker_ops.counts(e, calls, errors);
    return is_errors ? errors[call] : calls[call];
}

/* ---- open ---- */

START_TEST(speaks_to_unix_sockets_alone)
{
    static const char *const others[] = {"tcp://127.0.0.1:2375", "ssh://host",
                                         "npipe:////./pipe/x",   "/var/run/docker.sock",
                                         "unix://relative",      "unix:/x"};
    struct engine *e = NULL;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        ck_assert_int_eq(docker_open(others[i], &e, &err), -1);
        ck_assert_int_eq(err.kind, ERR_INVALID);
        ck_assert_ptr_nonnull(strstr(err.msg, others[i]));
        ck_assert_ptr_nonnull(strstr(err.msg, "unix:///"));
        ck_assert_ptr_null(e);
    }
    docker_ops.close(NULL);
}
END_TEST

START_TEST(finds_the_socket_as_docker_does)
{
    struct engine *e = NULL;
    struct err err = {0};
    char path[200] = "unix:///";

    ck_assert_int_eq(setenv("DOCKER_HOST", "unix:///from/environment", 1), 0);
    ck_assert_int_eq(docker_open("", &e, NULL), 0);
    ck_assert_str_eq(e->http.socket, "/from/environment");
    docker_ops.close(e);
    ck_assert_int_eq(docker_open("unix:///given", &e, NULL), 0);
    ck_assert_str_eq(e->http.socket, "/given");
    docker_ops.close(e);
    ck_assert_int_eq(setenv("DOCKER_HOST", "tcp://1.2.3.4", 1), 0);
    ck_assert_int_eq(docker_open(NULL, &e, &err), -1);
    ck_assert_int_eq(unsetenv("DOCKER_HOST"), 0);
    ck_assert_int_eq(docker_open(NULL, &e, NULL), 0);
    ck_assert_str_eq(e->http.socket, "/var/run/docker.sock");
    docker_ops.close(e);
    memset(path + 8, 'a', sizeof(path) - 9);
    ck_assert_int_eq(docker_open(path, &e, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
}
END_TEST

START_TEST(keeps_the_time_limits_that_were_agreed)
{
    static const struct {
        enum engine_call call;
        int64_t ms;
    } want[] = {
        {ENGINE_CREATE,  10000},
        {ENGINE_START,   10000},
        {ENGINE_KILL,    5000 },
        {ENGINE_REMOVE,  10000},
        {ENGINE_INSPECT, 3000 },
        {ENGINE_PING,    2000 },
        {ENGINE_LIST,    10000},
        {ENGINE_IMAGE,   5000 },
        {ENGINE_UPDATE,  5000 },
        {ENGINE_USAGE,   5000 },
    };
    struct engine *e = NULL;

    ck_assert_int_eq(docker_open("unix:///x", &e, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        ck_assert_int_eq(e->limit_ms[want[i].call], want[i].ms);
    for (int i = 0; i < ENGINE_CALLS; i++)
        ck_assert_int_gt(e->limit_ms[i], 0);
    docker_ops.close(e);
}
END_TEST

/* ---- version ---- */

#define PONG(v) "HTTP/1.1 200 OK\r\nApi-Version: " v "\r\nContent-Length: 2\r\n\r\nOK"

static const struct version_case {
    const char *raw;
    int rc;
    unsigned api;
} version_cases[] = {
    {PONG("1.41"),                                                       0,  41},
    {PONG("1.44"),                                                       0,  44},
    {PONG("1.51"),                                                       0,  51},
    {PONG("1.52"),                                                       0,  51},
    {PONG("1.99"),                                                       0,  51},
    {PONG("1.40"),                                                       0,  40},
    {PONG("1.12"),                                                       0,  12},
    {PONG("2.0"),                                                        -1, 0 },
    {PONG("1.x"),                                                        -1, 0 },
    {PONG("1."),                                                         -1, 0 },
    {PONG("1.-3"),                                                       -1, 0 },
    {PONG("9999999999999999"),                                           -1, 0 },
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",                   -1, 0 },
    {"HTTP/1.1 500 E\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n", -1, 0 },
};

START_TEST(settles_on_the_lower_of_both_versions)
{
    const struct version_case *c = &version_cases[_i];
    const struct fake_step step = {.expect = "GET /_ping ", .raw = c->raw};
    struct pair p = begin(&step, 1);
    struct err err = {0};

    ck_assert_int_eq(docker_ops.ping(p.e, &err), c->rc);
    ck_assert_uint_eq(atomic_load(&p.e->api), c->api);
    if (c->rc < 0)
        ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_PING, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_PING, true), c->rc < 0);
    end(p);
}
END_TEST

START_TEST(every_first_call_negotiates_and_later_ones_do_not)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /_ping ", .raw = PONG("1.45")},
        {.expect = "GET /v1.45/containers/" ID "/json ", .status = 200, .body = EXITED, .times = 2},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_state state;

    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(fake_count(p.f), 3);
    end(p);
}
END_TEST

START_TEST(asks_again_when_the_version_is_too_new)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /_ping ", .raw = PONG("1.50")},
        {.expect = "GET /v1.50/",
         .status = 400,
         .body = "{\"message\":\"client version 1.50 is too new. Maximum supported API version "
                 "is 1.43\"}"},
        {.expect = "GET /_ping ", .raw = PONG("1.43")},
        {.expect = "GET /v1.43/", .status = 200, .body = EXITED},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_state state;

    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert_int_eq(state.exit_code, 137);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(calls_of(p.e, ENGINE_INSPECT, true), 0);
    end(p);
}
END_TEST

START_TEST(follows_an_engine_that_calls_the_version_too_old)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /_ping ", .raw = PONG("1.60"), .times = 2},
        {.expect = "GET /v1.51/",
         .status = 400,
         .body = "client version 1.51 is too old. Minimum supported API version is 1.55, please "
                 "upgrade your client to a newer version\n"},
        {.expect = "GET /v1.60/", .status = 200, .body = EXITED, .times = 2},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_state state;

    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

START_TEST(gives_up_when_no_version_suits_the_engine)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /v1.", .status = 400, .body = "client version is too old", .times = 2},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_state state;
    struct err err = {0};

    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_ptr_nonnull(strstr(err.msg, "too old"));
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

START_TEST(negotiates_anew_after_the_engine_was_lost)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /_ping ", .raw = PONG("1.41")},
        /* twice: the kept connection, and libcurl's second try on a new one */
        {.expect = "GET /v1.41/", .after = FAKE_CLOSE, .times = 2},
        {.expect = "GET /_ping ", .raw = PONG("1.47")},
        {.expect = "GET /v1.47/", .status = 200, .body = EXITED},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_state state;
    struct err err = {0};

    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

/* ---- park ---- */

static int park(struct pair p, char id[ENGINE_ID_MAX], int *fd, struct err *err)
{
    struct engine_spec s = baseline_spec("box-1", "oneshot/python:dev", PROFILE);

    return docker_ops.park(p.e, &s, id, fd, err);
}

START_TEST(parks_by_create_attach_start_in_this_order)
{
    static const struct fake_step steps[] = {
        {.expect = CREATE, .status = 201, .body = CREATED},
        {.expect = ATTACH, .raw = UPGRADED "ready", .after = FAKE_ECHO},
        {.expect = START, .raw = "HTTP/1.1 204 N\r\n\r\n"},
    };
    static const char *const order[] = {"GET /_ping ", "GET /v1.41/info ", CREATE, ATTACH, START};
    struct pair p = begin(steps, ARRAY_LEN(steps));
    char id[ENGINE_ID_MAX] = "", got[6] = "";
    struct err err = {0};
    int fd = -1;

    ck_assert_msg(park(p, id, &fd, &err) == 0, "%s", err.msg);
    ck_assert_str_eq(id, ID);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(io_read_some(fd, got + i, 1, clock_ms() + patient(LONG_MS), NULL), 1);
    ck_assert_str_eq(got, "ready");
    (void)close(fd);
    ck_assert_uint_eq(fake_count(p.f), ARRAY_LEN(order));
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        ck_assert(str_starts(fake_request(p.f, i), order[i]));
    ck_assert_ptr_nonnull(strstr(fake_request(p.f, 2), "\"MemorySwappiness\":0"));
    ck_assert_uint_eq(calls_of(p.e, ENGINE_CREATE, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_ATTACH, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_START, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, false), 0);
    ck_assert_uint_eq(docker_ops.lacks(p.e), 0);
    end(p);
}
END_TEST

START_TEST(sends_no_swappiness_to_engines_on_cgroup_v2)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /v1.41/info ", .status = 200, .body = "{\"CgroupVersion\":\"2\"}"},
        {.expect = CREATE, .status = 404, .body = "{\"message\":\"No such image: x\"}", .times = 2},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    char id[ENGINE_ID_MAX];
    int fd;

    ck_assert_int_eq(park(p, id, &fd, NULL), -1);
    ck_assert_int_eq(park(p, id, &fd, NULL), -1);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(fake_count(p.f), 4);
    ck_assert_ptr_null(strstr(fake_request(p.f, 2), "Swappiness"));
    end(p);
}
END_TEST

/* What fails, and what of the container must be removed after it. */
static const struct park_case {
    const char *name;
    struct fake_step steps[4];
    enum err_kind kind;
    const char *mention;
    bool is_removed;
} park_cases[] = {
    {"no image",
     {{.expect = CREATE, .status = 404, .body = "{\"message\":\"No such image: x\"}"}},
     ERR_NOTFOUND,                                                                                               "create: No such image: x (status 404)",
     false                                                                                                                                                     },
    {"no image, says Podman",
     {{.expect = CREATE, .status = 404, .body = "{\"cause\":\"image not known\"}"}},
     ERR_NOTFOUND,                                                                                               "image not known",
     false                                                                                                                                                     },
    {"some other thing is missing",
     {{.expect = CREATE, .status = 404, .body = "{\"message\":\"No such thing\"}"}},
     ERR_INVALID,                                                                                                "No such thing",
     false                                                                                                                                                     },
    {"the name is taken",
     {{.expect = CREATE, .status = 409, .body = "{\"message\":\"Conflict. The container name\"}"}},
     ERR_BUSY,                                                                                                   "Conflict",
     false                                                                                                                                                     },
    {"the name is taken, says Podman",
     {{.expect = CREATE, .status = 500, .body = "{\"message\":\"name is already in use\"}"}},
     ERR_BUSY,                                                                                                   "already in use",
     false                                                                                                                                                     },
    {"unknown runtime",
     {{.expect = CREATE, .status = 400, .body = "{\"message\":\"Unknown runtime specified r\"}"}},
     ERR_INVALID,                                                                                                "Unknown runtime",
     false                                                                                                                                                     },
    {"a fault in text",
     {{.expect = CREATE, .status = 500, .body = "panic"}},
     ERR_PEER,                                                                                                   "panic",
     false                                                                                                                                                     },
    {"a fault without words",
     {{.expect = CREATE, .status = 500, .body = ""}},
     ERR_PEER,                                                                                                   "no words",
     false                                                                                                                                                     },
    {"overload",                            {{.expect = CREATE, .status = 503, .body = "later"}},   ERR_BUSY,    "later",                                 false},
    {"too many",                            {{.expect = CREATE, .status = 429, .body = "later"}},   ERR_BUSY,    "later",                                 false},
    {"create hangs",                        {{.expect = CREATE, .after = FAKE_HANG}},               ERR_TIMEOUT, "create",                                false},
    {"create is cut off",
     {{.expect = CREATE, .after = FAKE_CLOSE, .times = 2}},
     ERR_PEER,                                                                                                   "create",
     false                                                                                                                                                     },
    {"a limit does not hold",
     {{.expect = CREATE,
       .status = 201,
       .body = "{\"Id\":\"" ID "\",\"Warnings\":[\"no pids limit here\"]}"},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_DENIED,                                                                                                 "no pids limit here",
     true                                                                                                                                                      },
    {"an id that is none",
     {{.expect = CREATE, .status = 201, .body = "{\"Id\":\"../x\"}"},
      {.expect = "DELETE /v1.41/containers/box-1?force=1&v=1 ", .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_PEER,                                                                                                   "'Id'",
     true                                                                                                                                                      },
    {"a reply that is cut",
     {{.expect = CREATE, .raw = "HTTP/1.1 201 C\r\nContent-Length: 9\r\n\r\n{\"Id\":\"ab"},
      {.expect = "DELETE /v1.41/containers/box-1?force=1&v=1 ", .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_PEER,                                                                                                   "not good JSON",
     true                                                                                                                                                      },
    {"attach is refused",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .status = 404, .body = "{\"message\":\"No such container\"}"},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_INVALID,                                                                                                "attach: No such container",
     true                                                                                                                                                      },
    {"attach hangs",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .after = FAKE_HANG},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_TIMEOUT,                                                                                                "attach",
     true                                                                                                                                                      },
    {"start is refused",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG},
      {.expect = START, .status = 400, .body = "{\"message\":\"OCI runtime create failed\"}"},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_INVALID,                                                                                                "start: OCI runtime create failed",
     true                                                                                                                                                      },
    {"the network is missing",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG},
      {.expect = START, .status = 404, .body = "{\"message\":\"network x not found\"}"},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_INVALID,                                                                                                "network x not found",
     true                                                                                                                                                      },
    {"start hangs",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG},
      {.expect = START, .after = FAKE_HANG},
      {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}},
     ERR_TIMEOUT,                                                                                                "start",
     true                                                                                                                                                      },
    {"start fails and so does the removal",
     {{.expect = CREATE, .status = 201, .body = CREATED},
      {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG},
      {.expect = START, .status = 500, .body = "first"},
      {.expect = REMOVE, .status = 500, .body = "second"}},
     ERR_PEER,                                                                                                   "first",
     true                                                                                                                                                      },
};

START_TEST(leaves_nothing_behind_when_parking_fails)
{
    const struct park_case *c = &park_cases[_i];
    struct pair p;
    char id[ENGINE_ID_MAX] = "none";
    struct err err = {0};
    size_t n = 0;
    int fd = -1;

    while (n < ARRAY_LEN(c->steps) && c->steps[n].expect)
        n++;
    p = begin(c->steps, n);
    for (enum engine_call call = ENGINE_CREATE; call <= ENGINE_START; call++) {
        if (strcmp(c->mention, engine_call_name(call)) == 0)
            shorten(p, call);
    }
    ck_assert_int_eq(park(p, id, &fd, &err), -1);
    ck_assert_msg(err.kind == c->kind, "%s: %s", c->name, err.msg);
    ck_assert_msg(strstr(err.msg, c->mention) != NULL, "%s: %s", c->name, err.msg);
    ck_assert_int_eq(fd, -1);
    ck_assert_str_eq(id, "none");
    ck_assert_msg(fake_is_done(p.f), "%s: script is not done", c->name);
    ck_assert_uint_eq(fake_seen(p.f, "DELETE "), c->is_removed);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, false), c->is_removed);
    end(p);
}
END_TEST

START_TEST(an_already_started_container_is_parked_too)
{
    static const struct fake_step steps[] = {
        {.expect = CREATE, .status = 201, .body = CREATED},
        {.expect = ATTACH, .raw = "HTTP/1.1 200 OK\r\n\r\n", .after = FAKE_HANG},
        {.expect = START, .raw = "HTTP/1.1 304 N\r\n\r\n"},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    char id[ENGINE_ID_MAX];
    int fd = -1;

    ck_assert_int_eq(park(p, id, &fd, NULL), 0);
    (void)close(fd);
    end(p);
}
END_TEST

START_TEST(comfort_that_is_missing_is_told_and_no_failure)
{
    static const struct fake_step steps[] = {
        {.expect = CREATE,
         .status = 201,
         .body = "{\"Id\":\"" ID "\",\"Warnings\":[\"Your kernel does not support swap limit "
                 "capabilities or the cgroup is not mounted. Memory limited without swap.\"]}", .times = 2},
        {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG, .times = 2},
        {.expect = START, .raw = "HTTP/1.1 204 N\r\n\r\n", .times = 2},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    char id[ENGINE_ID_MAX], line[4096];
    int fds[2], out[2];
    ssize_t n;

    ck_assert_int_eq(pipe2(out, O_NONBLOCK), 0);
    log_init("test", LOG_INFO, LOG_TEXT, out[1]);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(park(p, id, &fds[i], NULL), 0);
        ck_assert_uint_eq(docker_ops.lacks(p.e), ENGINE_LACKS_SWAP_LIMIT);
        (void)close(fds[i]);
    }
    log_init("test", LOG_INFO, LOG_TEXT, 2);
    n = read(out[0], line, sizeof(line) - 1);
    ck_assert_int_gt(n, 0);
    line[n] = '\0';
    ck_assert_ptr_nonnull(
        strstr(line, "warning test: the engine does not enforce swap accounting"));
    /* Told once, not at each container. */
    ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
    (void)close(out[0]);
    (void)close(out[1]);
    end(p);
}
END_TEST

START_TEST(makes_no_call_with_a_spec_that_no_engine_would_take)
{
    struct pair p = begin(NULL, 0);
    struct engine_spec s = baseline_spec("bad name", "x", PROFILE);
    char id[ENGINE_ID_MAX];
    struct err err = {0};
    int fd;

    ck_assert_int_eq(docker_ops.park(p.e, &s, id, &fd, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    ck_assert_uint_eq(fake_seen(p.f, "POST "), 0);
    end(p);
}
END_TEST

START_TEST(a_park_without_facts_of_the_engine_fails)
{
    static const struct fake_step steps[] = {
        {.expect = "GET /v1.41/info ", .status = 500, .body = "no facts"},
        {.expect = "GET /v1.41/info ", .status = 200, .body = "[]"      },
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    char id[ENGINE_ID_MAX];
    struct err err = {0};
    int fd;

    ck_assert_int_eq(park(p, id, &fd, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.msg, "no facts"));
    ck_assert_int_eq(park(p, id, &fd, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_uint_eq(fake_seen(p.f, "POST "), 0);
    end(p);
}
END_TEST

/* ---- destroy ---- */

#define DEAD  {.expect = WAIT, .status = 200, .body = "{\"StatusCode\":0}"}
#define HANGS {.expect = WAIT, .after = FAKE_HANG}
#define GONE  {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n"}

static const struct destroy_case {
    struct fake_step steps[2];
    int rc;
    enum err_kind kind;
    bool is_error; /* counted */
} destroy_cases[] = {
    {{DEAD, GONE},                                                                                0,  ERR_NONE,    false},
    {{DEAD, {.expect = REMOVE, .status = 200, .body = "[{\"Id\":\"podman\"}]"}},
     0,                                                                                               ERR_NONE,
     false                                                                                                              },
    {{DEAD, {.expect = REMOVE, .status = 404, .body = "{\"message\":\"No such container: x\"}"}},
     0,                                                                                               ERR_NONE,
     false                                                                                                              },
    {{DEAD,
      {.expect = REMOVE,
       .status = 409,
       .body = "{\"message\":\"removal of container x is already in progress\"}"}},
     0,                                                                                               ERR_NONE,
     true                                                                                                               },
    {{DEAD, {.expect = REMOVE, .status = 409, .body = "{\"message\":\"something else\"}"}},
     -1,
     ERR_BUSY,                                                                                                     true },
    {{DEAD, {.expect = REMOVE, .status = 500, .body = "{\"message\":\"directory not empty\"}"}},
     -1,
     ERR_BUSY,                                                                                                     true },
    {{DEAD, {.expect = REMOVE, .status = 500, .body = "text"}},                                   -1, ERR_BUSY,    true },
    {{DEAD, {.expect = REMOVE, .status = 503, .body = ""}},                                       -1, ERR_BUSY,    true },
    {{DEAD, {.expect = REMOVE, .status = 400, .body = "{\"message\":\"bad parameter\"}"}},
     -1,
     ERR_PEER,                                                                                                     true },
    {{DEAD, {.expect = REMOVE, .after = FAKE_HANG}},                                              -1, ERR_TIMEOUT, true },
    {{DEAD, {.expect = REMOVE, .after = FAKE_CLOSE, .times = 2}},                                 -1, ERR_PEER,    true },
    /* Whatever comes of the wait, it is removed. */
    {{HANGS, GONE},                                                                               0,  ERR_NONE,    false},
    {{{.expect = WAIT, .status = 200, .body = ""}, GONE},                                         0,  ERR_NONE,    false},
    {{{.expect = WAIT, .status = 500, .body = "no"}, GONE},                                       0,  ERR_NONE,    false},
    {{{.expect = WAIT, .after = FAKE_CLOSE, .times = 2}, GONE},                                   0,  ERR_NONE,    false},
};

START_TEST(destroys_or_says_whether_to_try_again)
{
    const struct destroy_case *c = &destroy_cases[_i];
    struct pair p = begin(c->steps, ARRAY_LEN(c->steps));
    struct err err = {0};

    if (c->kind == ERR_TIMEOUT)
        shorten(p, ENGINE_REMOVE);
    if (c->steps[0].after == FAKE_HANG) {
        ck_assert_int_eq(docker_ops.ping(p.e, NULL), 0);
        p.e->exit_ms = patient(SHORT_MS);
    }
    ck_assert_int_eq(docker_ops.destroy(p.e, ID, &err), c->rc);
    ck_assert_int_eq(err.kind, c->kind);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, true), c->is_error);
    end(p);
}
END_TEST

START_TEST(a_container_that_is_gone_needs_no_removal)
{
    static const struct fake_step step = {
        .expect = WAIT, .status = 404, .body = "{\"message\":\"No such container: x\"}"};
    struct pair p = begin(&step, 1);

    ck_assert_int_eq(docker_ops.destroy(p.e, ID, NULL), 0);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, false), 0);
    end(p);
}
END_TEST

START_TEST(the_wait_for_an_exit_is_part_of_the_time_of_a_removal)
{
    static const struct fake_step step = {.after = FAKE_HANG, .times = -1};
    struct pair p = begin(&step, 1);
    struct err err = {0};
    int64_t began = clock_ms();

    atomic_store(&p.e->api, 41);
    p.e->exit_ms = patient(3 * SHORT_MS);
    p.e->limit_ms[ENGINE_REMOVE] = patient(4 * SHORT_MS);
    ck_assert_int_eq(docker_ops.destroy(p.e, ID, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_ge(clock_ms() - began, patient(4 * SHORT_MS));
    ck_assert_int_lt(clock_ms() - began, patient(4 * SHORT_MS + SPARE_MS));
    end(p);
}
END_TEST

START_TEST(ids_that_are_none_reach_no_engine)
{
    static const char *const ids[] = {"", "../json", "a/b", "a?b", "a b", "%2e"};
    struct pair p = begin(NULL, 0);
    struct engine_state state;
    uint64_t bytes;
    int code;

    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct err err[5] = {0};

        ck_assert_int_eq(docker_ops.destroy(p.e, ids[i], &err[0]), -1);
        ck_assert_int_eq(docker_ops.inspect(p.e, ids[i], &state, &err[1]), -1);
        ck_assert_int_eq(docker_ops.wait(p.e, ids[i], 1, &code, &err[2]), -1);
        ck_assert_int_eq(docker_ops.update(p.e, ids[i], 1 << 30, &err[3]), -1);
        ck_assert_int_eq(docker_ops.usage(p.e, ids[i], &bytes, &err[4]), -1);
        for (size_t k = 0; k < ARRAY_LEN(err); k++)
            ck_assert_int_eq(err[k].kind, ERR_INVALID);
    }
    ck_assert_int_eq(docker_ops.update(p.e, ID, 0, NULL), -1);
    ck_assert_uint_eq(fake_count(p.f), 0);
    end(p);
}
END_TEST

/* ---- wait ---- */

static const struct wait_case {
    struct fake_step step;
    int rc;
    enum err_kind kind;
    int code;
} wait_cases[] = {
    {{.status = 200, .body = "{\"Error\":null,\"StatusCode\":137}"},                        0,  ERR_NONE,     137},
    {{.status = 200, .body = "{\"Error\":null,\"StatusCode\":0}"},                          0,  ERR_NONE,     0  },
    {{.status = 200, .body = ""},                                                           -1, ERR_PEER,     0  },
    {{.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},             -1, ERR_PEER,     0  },
    {{.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .after = FAKE_CLOSE},
     -1,
     ERR_PEER,                                                                                                0  },
    {{.raw = "HTTP/1.1 200 OK\r\n\r\n", .after = FAKE_CLOSE},                               -1, ERR_PEER,     0  },
    {{.raw = "HTTP/1.1 200 OK\r\n\r\n{\"StatusCode\":0", .after = FAKE_CLOSE},              -1, ERR_PEER,     0  },
    {{.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"StatusCode\":0}",
      .after = FAKE_CLOSE},
     -1,
     ERR_PEER,                                                                                                0  },
    {{.status = 200, .body = "{\"StatusCode\":-1}"},                                        -1, ERR_PEER,     0  },
    {{.status = 404, .body = "{\"message\":\"No such container\"}"},                        -1, ERR_NOTFOUND, 0  },
    {{.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .after = FAKE_HANG},
     -1,
     ERR_TIMEOUT,                                                                                             0  },
    {{.after = FAKE_HANG},                                                                  -1, ERR_TIMEOUT,  0  },
};

START_TEST(a_wait_knows_the_exit_code_or_that_it_does_not)
{
    struct fake_step step = wait_cases[_i].step;
    int64_t began = clock_ms(),
            ms = patient(wait_cases[_i].kind == ERR_TIMEOUT ? SHORT_MS : LONG_MS);
    struct pair p;
    struct err err = {0};
    int code = -7;

    step.expect = WAIT;
    p = begin(&step, 1);
    ck_assert_int_eq(docker_ops.ping(p.e, NULL), 0);
    ck_assert_int_eq(docker_ops.wait(p.e, ID, ms, &code, &err), wait_cases[_i].rc);
    ck_assert_int_eq(err.kind, wait_cases[_i].kind);
    ck_assert_int_eq(code, wait_cases[_i].rc == 0 ? wait_cases[_i].code : -7);
    ck_assert_int_lt(clock_ms() - began, ms + patient(SPARE_MS));
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

START_TEST(a_wait_of_no_time_ends_at_once)
{
    static const struct fake_step step = {.expect = WAIT, .after = FAKE_HANG};
    struct pair p = begin(&step, 1);
    struct err err = {0};
    int code;

    ck_assert_int_eq(docker_ops.ping(p.e, NULL), 0);
    ck_assert_int_eq(docker_ops.wait(p.e, ID, 0, &code, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    end(p);
}
END_TEST

/* ---- the other verbs ---- */

START_TEST(reads_images_states_use_and_lists)
{
    static const struct fake_step steps[] = {
        {.expect = IMAGE,
         .status = 200,
         .body = "{\"Id\":\"sha256:" ID "\",\"Size\":180701535,\"Config\":{}}"         },
        {.expect = IMAGE,  .status = 404, .body = "{\"message\":\"No such image\"}"    },
        {.expect = STATE,  .status = 200, .body = EXITED                               },
        {.expect = STATE,  .status = 404, .body = "{\"message\":\"No such container\"}"},
        {.expect = STATS,
         .status = 200,
         .body = "{\"memory_stats\":{\"usage\":9,\"stats\":{\"inactive_file\":2}}}"    },
        {.expect = STATS,  .status = 200, .body = "{\"memory_stats\":{}}"              },
        {.expect = LIST,
         .status = 200,
         .body = "[{\"Id\":\"ab\",\"Names\":[\"/n\"],\"State\":\"exited\",\"Created\":5,"
                 "\"Labels\":{\"oneshot.instance\":\"me\"}}]"                          },
        {.expect = LIST,   .status = 500, .body = "no"                                 },
        {.expect = UPDATE, .status = 200, .body = "{\"Warnings\":null}"                },
        {.expect = UPDATE, .status = 200, .body = "{\"Warnings\":[\"not done\"]}"      },
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    struct engine_container *list = NULL;
    struct engine_image image = {0};
    struct engine_state state = {0};
    struct err err = {0};
    uint64_t bytes = 0;
    size_t n = 0;

    ck_assert_int_eq(docker_ops.image(p.e, "oneshot/python:dev", &image, NULL), 0);
    ck_assert_str_eq(image.digest, "sha256:" ID);
    ck_assert_int_eq(docker_ops.image(p.e, "oneshot/python:dev", &image, &err), -1);
    ck_assert_int_eq(err.kind, ERR_NOTFOUND);
    ck_assert_int_eq(docker_ops.image(p.e, "a?b", &image, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, NULL), 0);
    ck_assert(state.is_oom && !state.is_running && state.exit_code == 137);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, &err), -1);
    ck_assert_int_eq(err.kind, ERR_NOTFOUND);
    ck_assert_int_eq(docker_ops.usage(p.e, ID, &bytes, NULL), 0);
    ck_assert_uint_eq(bytes, 7);
    ck_assert_int_eq(docker_ops.usage(p.e, ID, &bytes, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_int_eq(docker_ops.list(p.e, &list, &n, NULL), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(list[0].name, "n");
    free(list);
    ck_assert_int_eq(docker_ops.list(p.e, &list, &n, &err), -1);
    ck_assert_int_eq(docker_ops.update(p.e, ID, 1 << 28, NULL), 0);
    ck_assert_ptr_nonnull(strstr(fake_request(p.f, fake_count(p.f) - 1),
                                 "{\"Memory\":268435456,\"MemorySwap\":268435456}"));
    ck_assert_int_eq(docker_ops.update(p.e, ID, 1 << 28, &err), -1);
    ck_assert_int_eq(err.kind, ERR_DENIED);
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

/* A call of every verb, for an engine that takes calls and never answers. */
static int call_verb_number(struct pair p, int i, struct err *err)
{
    struct engine_container *list;
    struct engine_image image;
    struct engine_state state;
    char id[ENGINE_ID_MAX];
    uint64_t bytes;
    size_t n;
    int fd;

    switch (i) {
    case 0:
        return docker_ops.ping(p.e, err);
    case 1:
        return docker_ops.image(p.e, "x", &image, err);
    case 2:
        return park(p, id, &fd, err);
    case 3:
        return docker_ops.update(p.e, ID, 1 << 28, err);
    case 4:
        return docker_ops.usage(p.e, ID, &bytes, err);
    case 5:
        return docker_ops.inspect(p.e, ID, &state, err);
    case 6:
        return docker_ops.destroy(p.e, ID, err);
    default:
        return docker_ops.list(p.e, &list, &n, err);
    }
}

START_TEST(an_engine_that_hangs_holds_no_verb_longer_than_its_limit)
{
    static const struct fake_step steps[] = {
        {.after = FAKE_HANG, .times = -1}
    };
    struct pair p = begin(steps, 1);
    struct err err = {0};
    int64_t began = clock_ms();

    for (int i = 0; i < ENGINE_CALLS; i++)
        p.e->limit_ms[i] = patient(SHORT_MS);
    p.e->exit_ms = patient(SHORT_MS);
    /* Also with a version that is known from before. */
    if (_i % 2)
        atomic_store(&p.e->api, 41);
    ck_assert_int_eq(call_verb_number(p, _i / 2, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_lt(clock_ms() - began, patient(SHORT_MS + SPARE_MS));
    end(p);
}
END_TEST

START_TEST(the_ping_before_a_call_has_its_own_shorter_limit)
{
    static const struct fake_step steps[] = {
        {.after = FAKE_HANG, .times = -1}
    };
    struct pair p = begin(steps, 1);
    struct engine_state state;
    struct err err = {0};
    int64_t began = clock_ms();

    p.e->limit_ms[ENGINE_PING] = patient(SHORT_MS);
    p.e->limit_ms[ENGINE_INSPECT] = patient(10 * LONG_MS);
    ck_assert_int_eq(docker_ops.inspect(p.e, ID, &state, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_lt(clock_ms() - began, patient(SHORT_MS + SPARE_MS));
    end(p);
}
END_TEST

/* ---- watch ---- */

#define CHUNKED "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
#define OLD_DIE                                                                               \
    "{\"status\":\"die\",\"id\":\"a1\",\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{" \
    "\"ID\":\"a1\",\"Attributes\":{\"oneshot.instance\":\"me\"}},\"timeNano\":5}\n"
#define NEW_OOM                                                                            \
    "{\"Type\":\"container\",\"Action\":\"oom\",\"Actor\":{\"ID\":\"b2\",\"Attributes\":{" \
    "\"oneshot.instance\":\"me\"}},\"timeNano\":6}\n"
#define OTHER "{\"Type\":\"network\",\"Action\":\"connect\",\"Actor\":{\"ID\":\"c3\"}}\n\r\n\n"

struct witness {
    char seen[256];
    int left;
    struct engine *e;
};

static bool witness(void *ctx, const struct engine_event *ev)
{
    struct witness *w = ctx;
    size_t n = strlen(w->seen);

    (void)snprintf(w->seen + n, sizeof(w->seen) - n, "%s %s %s;", ev->action, ev->id, ev->instance);
    return --w->left > 0;
}

static const struct watch_case {
    const char *name;
    struct fake_step step;
    int left, rc;
    enum err_kind kind;
    const char *seen;
} watch_cases[] = {
    {"both forms",
     {.raw = CHUNKED OLD_DIE OTHER NEW_OOM, .after = FAKE_HANG},
     2,                                                                                          0,
     ERR_NONE,                                                                                                    "die a1 me;oom b2 me;"},
    {"byte by byte",
     {.raw = CHUNKED OLD_DIE NEW_OOM, .is_slow = true, .after = FAKE_HANG},
     2,                                                                                          0,
     ERR_NONE,                                                                                                    "die a1 me;oom b2 me;"},
    {"the watcher has enough",
     {.raw = CHUNKED OLD_DIE NEW_OOM, .after = FAKE_HANG},
     1,                                                                                          0,
     ERR_NONE,                                                                                                    "die a1 me;"          },
    {"the engine ends it",
     {.raw = CHUNKED OLD_DIE, .after = FAKE_CLOSE},
     9,                                                                                          -1,
     ERR_PEER,                                                                                                    "die a1 me;"          },
    {"cut in a line",
     {.raw = CHUNKED OLD_DIE "{\"Type\":\"cont", .after = FAKE_CLOSE},
     9,                                                                                          -1,
     ERR_PEER,                                                                                                    "die a1 me;"          },
    {"a line that is no JSON",
     {.raw = CHUNKED OLD_DIE "x\n" NEW_OOM, .after = FAKE_HANG},
     9,                                                                                          -1,
     ERR_PEER,                                                                                                    "die a1 me;"          },
    {"a line without end",
     {.raw = CHUNKED OLD_DIE "{", .fill = 1024 * 1024, .fill_with = ' ', .after = FAKE_HANG},
     9,                                                                                          -1,
     ERR_PEER,                                                                                                    "die a1 me;"          },
    {"refused",                {.status = 400, .body = "{\"message\":\"bad filter\"}"},       9, -1, ERR_PEER,    ""                    },
    {"silence",                {.after = FAKE_HANG},                                          9, -1, ERR_TIMEOUT, ""                    },
};

START_TEST(watches_until_told_otherwise)
{
    const struct watch_case *c = &watch_cases[_i];
    struct fake_step step = c->step;
    struct witness w = {.left = c->left};
    struct pair p;
    struct err err = {0};

    step.expect = EVENTS;
    p = begin(&step, 1);
    if (c->kind == ERR_TIMEOUT)
        shorten(p, ENGINE_EVENTS);
    ck_assert_msg(docker_ops.watch(p.e, witness, &w, &err) == c->rc, "%s: %s", c->name, err.msg);
    ck_assert_msg(err.kind == c->kind, "%s: %s", c->name, err.msg);
    ck_assert_str_eq(w.seen, c->seen);
    ck_assert(fake_is_done(p.f));
    ck_assert_uint_eq(calls_of(p.e, ENGINE_EVENTS, false), 1);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_EVENTS, true), c->rc < 0);
    /* A stream that broke may be an engine that restarts as another version. */
    ck_assert_int_eq(atomic_load(&p.e->api) == 41, c->rc == 0);
    end(p);
}
END_TEST

START_TEST(asks_for_our_containers_and_three_kinds_of_events)
{
    static const struct fake_step step = {.expect =
                                              EVENTS "%7B%22type%22%3A%5B%22container%22%5D%2C"
                                                     "%22event%22%3A%5B%22die%22%2C%22oom%22%2C"
                                                     "%22destroy%22%5D%2C%22label%22%3A%5B"
                                                     "%22oneshot.instance%22%5D%7D ",
                                          .raw = CHUNKED OLD_DIE,
                                          .after = FAKE_HANG};
    struct pair p = begin(&step, 1);
    struct witness w = {.left = 1};

    ck_assert_int_eq(docker_ops.watch(p.e, witness, &w, NULL), 0);
    ck_assert(fake_is_done(p.f));
    end(p);
}
END_TEST

static void *watch_thread(void *arg)
{
    struct witness *w = arg;

    return docker_ops.watch(w->e, witness, w, NULL) == 0 ? NULL : arg;
}

START_TEST(unwatch_ends_a_watch_of_which_nothing_comes)
{
    static const struct fake_step step = {.expect = EVENTS, .raw = CHUNKED, .after = FAKE_HANG};
    struct pair p = begin(&step, 1);
    struct witness w = {.left = 9, .e = p.e};
    int64_t began;
    pthread_t thread;
    void *failed;

    ck_assert_int_eq(pthread_create(&thread, NULL, watch_thread, &w), 0);
    ck_assert(fake_is_done(p.f));
    began = clock_ms();
    docker_ops.unwatch(p.e);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert_int_lt(clock_ms() - began, patient(1000 + SPARE_MS));
    ck_assert_int_eq(docker_ops.watch(p.e, witness, &w, NULL), 0);
    ck_assert_uint_eq(fake_seen(p.f, EVENTS), 1);
    end(p);
}
END_TEST

START_TEST(events_are_the_same_in_any_split)
{
    static const char text[] = OLD_DIE OTHER NEW_OOM;
    const size_t n = sizeof(text) - 1;

    for (size_t cut = 0; cut <= n; cut++) {
        struct witness w = {.left = 9};
        struct docker_events ev;

        docker_events_init(&ev, witness, &w);
        ck_assert(docker_events_feed(&ev, text, cut));
        ck_assert(docker_events_feed(&ev, text + cut, n - cut));
        ck_assert_str_eq(w.seen, "die a1 me;oom b2 me;");
        docker_events_done(&ev);
    }
}
END_TEST

/* ---- all at once ---- */

enum { THREADS = 6, ROUNDS = 25 };

static void *use_often(void *arg)
{
    struct pair p = *(struct pair *)arg;

    for (int i = 0; i < ROUNDS; i++) {
        char id[ENGINE_ID_MAX];
        struct engine_state state;
        int fd = -1;

        if (park(p, id, &fd, NULL) < 0 || docker_ops.inspect(p.e, id, &state, NULL) < 0)
            return arg;
        (void)close(fd);
        if (docker_ops.destroy(p.e, id, NULL) < 0)
            return arg;
        if (i % 8 == 0)
            docker_forget(p.e);
    }
    return NULL;
}

START_TEST(verbs_may_be_called_from_many_threads)
{
    static const struct fake_step steps[] = {
        {.expect = CREATE, .status = 201, .body = CREATED, .times = -1},
        {.expect = ATTACH, .raw = UPGRADED, .after = FAKE_HANG, .times = -1},
        {.expect = START, .raw = "HTTP/1.1 204 N\r\n\r\n", .times = -1},
        {.expect = STATE, .status = 200, .body = EXITED, .times = -1},
        {.expect = WAIT, .status = 200, .body = "{\"StatusCode\":0}", .times = -1},
        {.expect = REMOVE, .raw = "HTTP/1.1 204 N\r\n\r\n", .times = -1},
    };
    struct pair p = begin(steps, ARRAY_LEN(steps));
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_often, &p), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;

        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    for (enum engine_call call = ENGINE_CREATE; call <= ENGINE_START; call++)
        ck_assert_uint_eq(calls_of(p.e, call, false), THREADS * ROUNDS);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, false), THREADS * ROUNDS);
    ck_assert_uint_eq(calls_of(p.e, ENGINE_REMOVE, true), 0);
    end(p);
}
END_TEST

static void add_tests(TCase *t)
{
    (void)unsetenv("DOCKER_HOST");
    tcase_add_test(t, speaks_to_unix_sockets_alone);
    tcase_add_test(t, finds_the_socket_as_docker_does);
    tcase_add_test(t, keeps_the_time_limits_that_were_agreed);
    tcase_add_loop_test(t, settles_on_the_lower_of_both_versions, 0, ARRAY_LEN(version_cases));
    tcase_add_test(t, every_first_call_negotiates_and_later_ones_do_not);
    tcase_add_test(t, asks_again_when_the_version_is_too_new);
    tcase_add_test(t, follows_an_engine_that_calls_the_version_too_old);
    tcase_add_test(t, gives_up_when_no_version_suits_the_engine);
    tcase_add_test(t, negotiates_anew_after_the_engine_was_lost);
    tcase_add_test(t, parks_by_create_attach_start_in_this_order);
    tcase_add_test(t, sends_no_swappiness_to_engines_on_cgroup_v2);
    tcase_add_loop_test(t, leaves_nothing_behind_when_parking_fails, 0, ARRAY_LEN(park_cases));
    tcase_add_test(t, an_already_started_container_is_parked_too);
    tcase_add_test(t, comfort_that_is_missing_is_told_and_no_failure);
    tcase_add_test(t, makes_no_call_with_a_spec_that_no_engine_would_take);
    tcase_add_test(t, a_park_without_facts_of_the_engine_fails);
    tcase_add_loop_test(t, destroys_or_says_whether_to_try_again, 0, ARRAY_LEN(destroy_cases));
    tcase_add_test(t, a_container_that_is_gone_needs_no_removal);
    tcase_add_test(t, the_wait_for_an_exit_is_part_of_the_time_of_a_removal);
    tcase_add_test(t, ids_that_are_none_reach_no_engine);
    tcase_add_loop_test(t, a_wait_knows_the_exit_code_or_that_it_does_not, 0,
                        ARRAY_LEN(wait_cases));
    tcase_add_test(t, a_wait_of_no_time_ends_at_once);
    tcase_add_test(t, reads_images_states_use_and_lists);
    tcase_add_loop_test(t, an_engine_that_hangs_holds_no_verb_longer_than_its_limit, 0, 16);
    tcase_add_test(t, the_ping_before_a_call_has_its_own_shorter_limit);
    tcase_add_loop_test(t, watches_until_told_otherwise, 0, ARRAY_LEN(watch_cases));
    tcase_add_test(t, asks_for_our_containers_and_three_kinds_of_events);
    tcase_add_test(t, unwatch_ends_a_watch_of_which_nothing_comes);
    tcase_add_test(t, events_are_the_same_in_any_split);
    tcase_add_test(t, verbs_may_be_called_from_many_threads);
}

UNIT_MAIN_ONE_PROCESS("engine_docker", add_tests)
