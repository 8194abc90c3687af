#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/str.h"
#include "engine/docker_attach.h"
#include "engine/docker_http.h"
/* Linked here, as each test program is built of one file. */
#include "fake_engine.c"

/* SPARE_MS is for machines that are busy with other things. */
enum { SHORT_MS = 100, LONG_MS = 20000, SPARE_MS = 20000, MIB = 1024 * 1024 };

#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

static const char *path_of(struct fake_engine *f)
{
    return fake_host(f) + strlen("unix://");
}

static int get(struct docker_http *h, const char *path, int64_t ms, struct docker_http_reply *r,
               struct err *err)
{
    struct docker_http_request q = {
        .method = "GET", .path = path, .deadline_ms = clock_ms() + patient(ms)};

    docker_http_reply_init(r);
    return docker_http_do(h, &q, r, err);
}

/* ---- plain exchanges ---- */

static const struct exchange_case {
    const char *name;
    struct fake_step step;
    int64_t ms;
    int rc;
    enum err_kind kind; /* when rc is -1 */
    long status;        /* when rc is 0 */
    size_t body_len;
} exchange_cases[] = {
    {"a reply",                    {.raw = OK_JSON},                                                 LONG_MS,  0,  ERR_NONE,    200, 2},
    {"no body",                    {.raw = "HTTP/1.1 204 No Content\r\n\r\n"},                       LONG_MS,  0,  ERR_NONE,    204, 0},
    {"byte by byte",               {.raw = OK_JSON, .is_slow = true},                                LONG_MS,  0,  ERR_NONE,    200, 2},
    {"not found",                  {.status = 404, .body = "{}"},                                    LONG_MS,  0,  ERR_NONE,    404, 2},
    {"conflict",                   {.status = 409, .body = "x"},                                     LONG_MS,  0,  ERR_NONE,    409, 1},
    {"not modified",               {.raw = "HTTP/1.1 304 N\r\n\r\n"},                                LONG_MS,  0,  ERR_NONE,    304, 0},
    {"server fault in text",       {.status = 500, .body = "oops"},                                  LONG_MS,  0,  ERR_NONE,    500, 4},
    {"unavailable",                {.status = 503, .body = ""},                                      LONG_MS,  0,  ERR_NONE,    503, 0},
    {"elsewhere",
     {.raw = "HTTP/1.1 301 M\r\nLocation: http://a/\r\nContent-Length: 0\r\n\r\n"},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  301,
     0                                                                                                                                },
    {"an interim reply",
     {.raw = "HTTP/1.1 100 Continue\r\n\r\n" OK_JSON},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     2                                                                                                                                },
    {"chunks",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     2                                                                                                                                },
    {"chunks and a trailer",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n"},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     2                                                                                                                                },
    {"until the end",
     {.raw = "HTTP/1.1 200 OK\r\n\r\n{}", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     2                                                                                                                                },
    {"a length below the body",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"Id\":1}", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     3                                                                                                                                },
    {"as large as allowed",
     {.raw = "HTTP/1.1 200 OK\r\n\r\n", .fill = 8 * MIB, .fill_with = ' ', .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  0,
     ERR_NONE,                                                                                                                  200,
     8 * MIB                                                                                                                          },

    {"a body of a gigabyte",
     {.raw = "HTTP/1.1 200 OK\r\n\r\n",
      .fill = 1024 * (size_t)MIB,
      .fill_with = '[',
      .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a byte too many",
     {.raw = "HTTP/1.1 200 OK\r\n\r\n", .fill = 8 * MIB + 1, .fill_with = ' ', .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a head of ten megabytes",
     {.raw = "HTTP/1.1 200 OK\r\nX: ", .fill = 10 * MIB, .fill_with = 'a', .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a cut chunk",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"no last chunk",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
      .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a chunk of no size",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
      .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a length beyond the body",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"a negative length",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"another protocol",
     {.raw = "SSH-2.0-OpenSSH_9.2\r\n", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"half a head",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Le", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"half a head without a body",
     {.raw = "HTTP/1.1 204 No Content\r\nApi-Version: 1.41\r\n", .after = FAKE_CLOSE},
     LONG_MS,                                                                                                  -1,
     ERR_PEER,                                                                                                                  0,
     0                                                                                                                                },
    {"nothing at all",             {.after = FAKE_CLOSE},                                            LONG_MS,  -1, ERR_PEER,    0,   0},

    {"silence",                    {.after = FAKE_HANG},                                             SHORT_MS, -1, ERR_TIMEOUT, 0,   0},
    {"silence in the head",
     {.raw = "HTTP/1.1 200", .after = FAKE_HANG},
     SHORT_MS,                                                                                                 -1,
     ERR_TIMEOUT,                                                                                                               0,
     0                                                                                                                                },
    {"silence in the body",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", .after = FAKE_HANG},
     SHORT_MS,                                                                                                 -1,
     ERR_TIMEOUT,                                                                                                               0,
     0                                                                                                                                },
};

START_TEST(ends_every_exchange_with_a_whole_reply_or_an_error)
{
    const struct exchange_case *c = &exchange_cases[_i];
    struct fake_engine *f = fake_start(&c->step, 1);
    struct docker_http_reply r;
    struct docker_http h;
    struct err err = {0};
    int64_t began = clock_ms();
    int rc;

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    rc = get(&h, "/x", c->ms, &r, &err);
    ck_assert_msg(rc == c->rc, "%s: %d (%s)", c->name, rc, err.msg);
    ck_assert_msg(clock_ms() - began < patient(c->ms + SPARE_MS), "%s: took too long", c->name);
    if (rc == 0) {
        ck_assert_int_eq(r.status, c->status);
        ck_assert_uint_eq(r.body.len, c->body_len);
    } else {
        ck_assert_msg(err.kind == c->kind, "%s: %s", c->name, err.msg);
        ck_assert_str_ne(err.msg, "");
        ck_assert_int_eq(r.is_lost && c->kind == ERR_TIMEOUT, 0);
    }
    docker_http_reply_done(&r);
    docker_http_done(&h);
    ck_assert(fake_is_done(f));
    fake_stop(f);
}
END_TEST

START_TEST(refuses_a_head_of_many_small_fields)
{
    static char head[128 * 1024];
    struct fake_step step = {.raw = head, .after = FAKE_CLOSE};
    struct fake_engine *f = fake_start(&step, 1);
    struct docker_http_reply r;
    struct docker_http h;
    struct err err = {0};
    size_t n = str_copy(head, "HTTP/1.1 200 OK\r\n", sizeof(head));

    while (n + 64 < sizeof(head))
        n += (size_t)snprintf(head + n, sizeof(head) - n, "X-Field-%zu: value\r\n", n);
    (void)str_copy(head + n, "\r\n{}", sizeof(head) - n);
    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    ck_assert_int_eq(get(&h, "/x", LONG_MS, &r, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_ptr_nonnull(strstr(err.msg, "head of the reply"));
    docker_http_reply_done(&r);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(sends_what_it_was_given_and_keeps_the_connection)
{
    static const struct fake_step steps[] = {
        {.expect = "POST /a?b=%22 HTTP/1.1\r\n", .raw = OK_JSON                 },
        {.expect = "DELETE /c HTTP/1.1\r\n",     .raw = "HTTP/1.1 204 N\r\n\r\n"},
        {.expect = "POST /d HTTP/1.1\r\n",       .raw = OK_JSON                 },
    };
    struct fake_engine *f = fake_start(steps, ARRAY_LEN(steps));
    struct docker_http_request q[] = {
        {.method = "POST", .path = "/a?b=%22", .body = "{\"k\":1}", .body_len = 7},
        {.method = "DELETE", .path = "/c"},
        {.method = "POST", .path = "/d"},
    };
    struct docker_http h;

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(q); i++) {
        struct docker_http_reply r;

        docker_http_reply_init(&r);
        q[i].deadline_ms = clock_ms() + patient(LONG_MS);
        ck_assert_int_eq(docker_http_do(&h, &q[i], &r, NULL), 0);
        docker_http_reply_done(&r);
    }
    ck_assert_ptr_nonnull(strstr(fake_request(f, 0), "Content-Length: 7\r\n"));
    ck_assert_ptr_nonnull(strstr(fake_request(f, 0), "Content-Type: application/json\r\n"));
    ck_assert_ptr_nonnull(strstr(fake_request(f, 0), "\r\n\r\n{\"k\":1}"));
    ck_assert_ptr_null(strstr(fake_request(f, 0), "Expect:"));
    ck_assert_ptr_nonnull(strstr(fake_request(f, 2), "Content-Length: 0\r\n"));
    ck_assert_uint_eq(f->threads_n, 1);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(reads_the_api_version_of_the_reply)
{
    static const struct fake_step steps[] = {
        {.raw = "HTTP/1.1 200 OK\r\napi-version:  1.41 \r\nContent-Length: 0\r\n\r\n"},
        {.raw = "HTTP/1.1 200 OK\r\nApi-Version: 1.23456789012345678901234567890\r\n"
                "Content-Length: 0\r\n\r\n"},
        {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    };
    static const char *const want[] = {"1.41", "1.2345678901234", ""};
    struct fake_engine *f = fake_start(steps, ARRAY_LEN(steps));
    struct docker_http h;

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct docker_http_reply r;

        ck_assert_int_eq(get(&h, "/_ping", LONG_MS, &r, NULL), 0);
        ck_assert_str_eq(r.api_version, want[i]);
        docker_http_reply_done(&r);
    }
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(connects_anew_when_the_engine_closed_the_connection)
{
    static const struct fake_step steps[] = {
        {.raw = OK_JSON, .after = FAKE_CLOSE},
        {.raw = OK_JSON, .after = FAKE_CLOSE},
    };
    struct fake_engine *f = fake_start(steps, ARRAY_LEN(steps));
    struct docker_http h;

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct docker_http_reply r;
        struct err err = {0};

        ck_assert_msg(get(&h, "/x", LONG_MS, &r, &err) == 0, "%s", err.msg);
        docker_http_reply_done(&r);
    }
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(a_deadline_that_has_passed_makes_no_call)
{
    struct fake_engine *f = fake_start(NULL, 0);
    struct docker_http_reply r;
    struct docker_http h;
    struct err err = {0};

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    ck_assert_int_eq(get(&h, "/x", 0, &r, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_uint_eq(fake_count(f), 0);
    docker_http_reply_done(&r);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(refuses_a_socket_path_that_no_socket_can_have)
{
    struct docker_http h;
    struct err err = {0};
    char path[120];

    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[108] = '\0';
    ck_assert_int_eq(docker_http_init(&h, path, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    path[107] = '\0';
    ck_assert_int_eq(docker_http_init(&h, path, &err), 0);
    docker_http_done(&h);
}
END_TEST

/* ---- nobody there ---- */

enum absence { SOCKET_MISSING, SOCKET_REFUSED, SOCKET_FORBIDDEN, ABSENCES };

static void make_absent(struct fake_engine *f, enum absence how)
{
    if (how != SOCKET_FORBIDDEN)
        fake_die(f);
    if (how == SOCKET_MISSING)
        ck_assert_int_eq(unlink(path_of(f)), 0);
    if (how == SOCKET_FORBIDDEN)
        ck_assert_int_eq(chmod(path_of(f), 0), 0);
}

START_TEST(says_why_the_engine_cannot_be_reached)
{
    static const struct {
        int sys;
        enum err_kind kind;
        const char *words;
    } want[ABSENCES] = {
        [SOCKET_MISSING] = {ENOENT,       ERR_BUSY, "No such file"     },
        [SOCKET_REFUSED] = {ECONNREFUSED, ERR_BUSY, "refused"          },
        [SOCKET_FORBIDDEN] = {EACCES,       ERR_PEER, "Permission denied"},
    };
    struct fake_engine *f = fake_start(NULL, 0);
    struct docker_http_reply r, attach_reply;
    struct docker_http h;
    struct err err = {0}, attach_err = {0};
    int fd = 7, rc, attach_rc;
    uid_t uid = geteuid();

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    make_absent(f, (enum absence)_i);
    /* Root may do anything with a socket; the children of Check may become somebody else. */
    if (uid == 0 && _i == SOCKET_FORBIDDEN)
        ck_assert_int_eq(seteuid(65534), 0);
    rc = get(&h, "/x", LONG_MS, &r, &err);
    docker_http_reply_init(&attach_reply);
    attach_rc = docker_attach_open(path_of(f), "/x", clock_ms() + patient(LONG_MS), &fd,
                                   &attach_reply, &attach_err);
    if (uid == 0 && _i == SOCKET_FORBIDDEN)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(rc, -1);
    ck_assert_int_eq(err.kind, want[_i].kind);
    ck_assert_int_eq(err.sys, want[_i].sys);
    ck_assert_ptr_nonnull(strstr(err.msg, want[_i].words));
    ck_assert_ptr_nonnull(strstr(err.msg, path_of(f)));
    ck_assert(r.is_lost);
    ck_assert_int_eq(attach_rc, -1);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(attach_err.kind, want[_i].kind);
    ck_assert_str_eq(attach_err.msg, err.msg);
    docker_http_reply_done(&r);
    docker_http_reply_done(&attach_reply);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

START_TEST(a_full_backlog_does_not_hold_an_attach_up)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/full-backlog-XXXXXX";
    struct docker_http_reply r;
    struct err err = {0};
    int64_t began = clock_ms();
    int fd = -1, server, waiting[8];

    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(server, (const struct sockaddr *)&sun, sizeof(sun)), 0);
    ck_assert_int_eq(listen(server, 0), 0);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(waiting[i], (const struct sockaddr *)&sun, sizeof(sun));
    }
    docker_http_reply_init(&r);
    ck_assert_int_eq(
        docker_attach_open(sun.sun_path, "/x", clock_ms() + patient(SHORT_MS), &fd, &r, &err), -1);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_ge(clock_ms() - began, patient(SHORT_MS));
    ck_assert_int_lt(clock_ms() - began, patient(SHORT_MS + SPARE_MS));
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        (void)close(waiting[i]);
    (void)close(server);
    (void)unlink(sun.sun_path);
    (void)rmdir(dir);
    docker_http_reply_done(&r);
}
END_TEST

/* ---- many threads ---- */

enum { THREADS = 8, ROUNDS = 40 };

static void *call_often(void *arg)
{
    struct docker_http *h = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct docker_http_reply r;

        if (get(h, "/x", LONG_MS, &r, NULL) < 0 || r.status != 200 || r.body.len != 2)
            return arg;
        docker_http_reply_done(&r);
    }
    return NULL;
}

START_TEST(serves_many_threads_with_few_connections)
{
    static const struct fake_step step = {.raw = OK_JSON, .times = -1};
    struct fake_engine *f = fake_start(&step, 1);
    pthread_t threads[THREADS];
    struct docker_http h;

    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, call_often, &h), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;

        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(fake_count(f), THREADS * ROUNDS);
    ck_assert_uint_le(f->threads_n, THREADS);
    ck_assert_uint_le(h.idle_n, DOCKER_HTTP_IDLE);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

/* ---- streams ---- */

struct reader {
    struct buf seen;
    size_t enough;
    int ticks, ticks_max;
};

static bool on_data(void *ctx, const char *data, size_t n)
{
    struct reader *r = ctx;

    (void)buf_add(&r->seen, data, n);
    return r->seen.len < r->enough;
}

static bool on_tick(void *ctx)
{
    struct reader *r = ctx;

    return ++r->ticks < r->ticks_max;
}

static const struct stream_case {
    const char *name;
    struct fake_step step;
    size_t enough;
    int ticks_max, rc;
    enum err_kind kind;
    bool is_stopped;
    const char *seen;
} stream_cases[] = {
    {"the reader has enough",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      .after = FAKE_HANG},
     3,                                                                                         1000,
     0,                                                                                                   ERR_NONE,
     true,                                                                                                                    "abc"},
    {"the reader is told to stop",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      .after = FAKE_HANG},
     99,                                                                                        3,
     0,                                                                                                   ERR_NONE,
     true,                                                                                                                    NULL },
    {"the stream ends well",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
     99,                                                                                        1000,
     0,                                                                                                   ERR_NONE,
     false,                                                                                                                   "abc"},
    {"the stream is cut",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      .after = FAKE_CLOSE},
     99,                                                                                        1000,
     -1,
     ERR_PEER,                                                                                                         false,
     "abc"                                                                                                                         },
    {"the engine refuses",         {.status = 400, .body = "no"},                           99, 1000, 0,  ERR_NONE,    false, ""   },
    {"the head never comes",       {.after = FAKE_HANG},                                    99, 1000, -1, ERR_TIMEOUT, false, ""   },
};

START_TEST(a_stream_ends_when_its_reader_or_the_engine_says)
{
    const struct stream_case *c = &stream_cases[_i];
    struct fake_engine *f = fake_start(&c->step, 1);
    struct reader reader = {.enough = c->enough, .ticks_max = c->ticks_max};
    struct docker_http_request q = {.method = "GET",
                                    .path = "/events",
                                    .on_data = on_data,
                                    .on_tick = on_tick,
                                    .ctx = &reader,
                                    .deadline_ms = clock_ms()};
    struct docker_http_reply r;
    struct docker_http h;
    struct err err = {0};

    q.deadline_ms += patient(c->kind == ERR_TIMEOUT ? SHORT_MS : LONG_MS);
    buf_init(&reader.seen, 1024);
    ck_assert_int_eq(docker_http_init(&h, path_of(f), NULL), 0);
    docker_http_reply_init(&r);
    ck_assert_msg(docker_http_do(&h, &q, &r, &err) == c->rc, "%s: %s", c->name, err.msg);
    ck_assert_int_eq(err.kind, c->kind);
    ck_assert_int_eq(r.is_stopped, c->is_stopped);
    if (c->seen)
        ck_assert_str_eq(buf_get(&reader.seen), c->seen);
    if (c->step.status == 400)
        ck_assert_str_eq(buf_get(&r.body), "no");
    buf_done(&reader.seen);
    docker_http_reply_done(&r);
    docker_http_done(&h);
    fake_stop(f);
}
END_TEST

/* ---- attach ---- */

#define UPGRADED                                                                   \
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n" \
    "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

static const struct attach_case {
    const char *name;
    struct fake_step step;
    int rc;
    enum err_kind kind;
    long status;
    const char *stream; /* the first bytes of the stream; NULL: there is none */
    const char *body;   /* of a refusal */
} attach_cases[] = {
    {"upgraded",                      {.raw = UPGRADED, .after = FAKE_HANG},              0,  ERR_NONE,    101, "",    NULL},
    {"upgraded with bytes behind it",
     {.raw = UPGRADED "\1\0\0\0garbage", .after = FAKE_HANG},
     0,                                                                                       ERR_NONE,
     101,                                                                                                       "\1",
     NULL                                                                                                                  },
    {"byte by byte",
     {.raw = UPGRADED "abc", .is_slow = true, .after = FAKE_HANG},
     0,                                                                                       ERR_NONE,
     101,                                                                                                       "abc",
     NULL                                                                                                                  },
    {"200 instead of 101",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nxyz",
      .after = FAKE_HANG},
     0,                                                                                       ERR_NONE,
     200,                                                                                                       "xyz",
     NULL                                                                                                                  },
    {"a stream that has ended",
     {.raw = UPGRADED "end", .after = FAKE_CLOSE},
     0,                                                                                       ERR_NONE,
     101,                                                                                                       "end",
     NULL                                                                                                                  },

    {"no such container",
     {.status = 404, .body = "{\"message\":\"No such container: x\"}"},
     0,                                                                                       ERR_NONE,
     404,                                                                                                       NULL,
     "{\"message\":\"No such container: x\"}"                                                                              },
    {"refused in a chunk",
     {.raw = "HTTP/1.1 409 C\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
     0,                                                                                       ERR_NONE,
     409,                                                                                                       NULL,
     "2\r\n{}\r\n0\r\n\r\n"                                                                                                },
    {"refused without a length",
     {.raw = "HTTP/1.1 500 E\r\n\r\noops", .after = FAKE_CLOSE},
     0,                                                                                       ERR_NONE,
     500,                                                                                                       NULL,
     "oops"                                                                                                                },
    {"refused and then silent",
     {.raw = "HTTP/1.1 500 E\r\nContent-Length: 9\r\n\r\noops", .after = FAKE_HANG},
     0,                                                                                       ERR_NONE,
     500,                                                                                                       NULL,
     "oops"                                                                                                                },

    {"200 with a length",
     {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
     -1,
     ERR_PEER,                                                                                             0,
     NULL,                                                                                                             NULL},
    {"200 in chunks",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
     -1,
     ERR_PEER,                                                                                             0,
     NULL,                                                                                                             NULL},
    {"a length that is none",
     {.raw = "HTTP/1.1 101 U\r\nContent-Length: x\r\n\r\n"},
     -1,
     ERR_PEER,                                                                                             0,
     NULL,                                                                                                             NULL},
    {"another protocol",
     {.raw = "SSH-2.0-OpenSSH_9.2\r\n", .after = FAKE_HANG},
     -1,
     ERR_PEER,                                                                                             0,
     NULL,                                                                                                             NULL},
    {"half a head",                   {.raw = "HTTP/1.1 101 UPGR", .after = FAKE_CLOSE},  -1, ERR_PEER,    0,   NULL,  NULL},
    {"nothing at all",                {.after = FAKE_CLOSE},                              -1, ERR_PEER,    0,   NULL,  NULL},
    {"a head without end",
     {.raw = "HTTP/1.1 101 UPGRADED\r\nX: ",
      .fill = 10 * MIB,
      .fill_with = 'a',
      .after = FAKE_CLOSE},
     -1,
     ERR_PEER,                                                                                             0,
     NULL,                                                                                                             NULL},
    {"silence",                       {.after = FAKE_HANG},                               -1, ERR_TIMEOUT, 0,   NULL,  NULL},
    {"silence in the head",
     {.raw = "HTTP/1.1 101 UPGR", .after = FAKE_HANG},
     -1,
     ERR_TIMEOUT,                                                                                          0,
     NULL,                                                                                                             NULL},
};

static void expect_stream(int fd, const char *want)
{
    char got[16];
    size_t n = strlen(want);

    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(io_read_some(fd, got + i, 1, clock_ms() + patient(LONG_MS), NULL), 1);
    ck_assert_mem_eq(got, want, n);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(an_attach_gives_the_stream_to_the_byte_or_says_why_not)
{
    const struct attach_case *c = &attach_cases[_i];
    /* Short where nothing but the deadline ends it. */
    int64_t ms = patient(c->step.after == FAKE_HANG && !c->stream ? SHORT_MS : LONG_MS);
    struct fake_engine *f = fake_start(&c->step, 1);
    int64_t began = clock_ms();
    struct docker_http_reply r;
    struct err err = {0};
    int fd = 7, rc;

    docker_http_reply_init(&r);
    rc = docker_attach_open(path_of(f), "/v1.41/containers/ab/attach?stream=1", clock_ms() + ms,
                            &fd, &r, &err);
    ck_assert_msg(rc == c->rc, "%s: %s", c->name, err.msg);
    ck_assert_msg(clock_ms() - began < ms + patient(SPARE_MS), "%s: took too long", c->name);
    ck_assert_msg(err.kind == c->kind, "%s: %s", c->name, err.msg);
    ck_assert_int_eq(fd >= 0, c->stream != NULL);
    if (rc == 0)
        ck_assert_int_eq(r.status, c->status);
    if (c->body)
        ck_assert_str_eq(buf_get(&r.body), c->body);
    if (c->stream) {
        expect_stream(fd, c->stream);
        (void)close(fd);
    }
    ck_assert(fake_is_done(f));
    ck_assert_uint_eq(fake_seen(f, "POST /v1.41/containers/ab/attach?stream=1 HTTP/1.1\r\n"), 1);
    docker_http_reply_done(&r);
    fake_stop(f);
}
END_TEST

START_TEST(the_attached_stream_carries_both_ways)
{
    static const struct fake_step step = {.raw = UPGRADED, .after = FAKE_ECHO};
    struct fake_engine *f = fake_start(&step, 1);
    struct docker_http_reply r;
    int fd = -1;

    docker_http_reply_init(&r);
    ck_assert_int_eq(
        docker_attach_open(path_of(f), "/x", clock_ms() + patient(LONG_MS), &fd, &r, NULL), 0);
    ck_assert_int_eq(io_write_all(fd, "hello", 5, clock_ms() + patient(LONG_MS), NULL), 0);
    expect_stream(fd, "hello");
    (void)close(fd);
    docker_http_reply_done(&r);
    fake_stop(f);
}
END_TEST

START_TEST(refuses_an_attach_path_that_is_too_long)
{
    struct fake_engine *f = fake_start(NULL, 0);
    struct docker_http_reply r;
    struct err err = {0};
    char path[2000];
    int fd = -1;

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    docker_http_reply_init(&r);
    ck_assert_int_eq(
        docker_attach_open(path_of(f), path, clock_ms() + patient(LONG_MS), &fd, &r, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INVALID);
    docker_http_reply_done(&r);
    fake_stop(f);
}
END_TEST

static const struct head_case {
    const char *text;
    long want, status;
    int64_t length;
    bool is_chunked;
} head_cases[] = {
    {"HTTP/1.1 101 UPGRADED\r\n\r\n",                                  25, 101, -1, false},
    {"HTTP/1.0 200\r\n\r\nbody",                                       16, 200, -1, false},
    {"HTTP/1.1 404 N\r\ncontent-LENGTH:\t 12 \r\n\r\n",                40, 404, 12, false},
    {"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n",   52, 500, -1, true },
    {"HTTP/1.1 101 UPGRADED\r\n",                                      0,  0,   0,  false},
    {"HT",                                                             0,  0,   0,  false},
    {"",                                                               0,  0,   0,  false},
    {"HTTP/2 200\r\n\r\n",                                             -1, 0,   0,  false},
    {"HTTP/1.1 20\r\n\r\n",                                            -1, 0,   0,  false},
    {"HTTP/1.1 2000\r\n\r\n",                                          -1, 0,   0,  false},
    {"HTTP/1.1 099 X\r\n\r\n",                                         -1, 0,   0,  false},
    {"HTTP/1.1 -12 X\r\n\r\n",                                         -1, 0,   0,  false},
    {"HTTP/1.1  200 X\r\n\r\n",                                        -1, 0,   0,  false},
    {"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n",                   -1, 0,   0,  false},
    {"HTTP/1.1 200 X\r\nContent-Length:\r\n\r\n",                      -1, 0,   0,  false},
    {"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999\r\n\r\n", -1, 0,   0,  false},
    {"\r\n\r\n",                                                       -1, 0,   0,  false},
};

START_TEST(parses_heads_strictly)
{
    const struct head_case *c = &head_cases[_i];
    struct docker_head head = {0};

    ck_assert_int_eq(docker_head_parse(c->text, strlen(c->text), &head), c->want);
    ck_assert_int_eq(head.status, c->status);
    ck_assert_int_eq(head.length, c->length);
    ck_assert_int_eq(head.is_chunked, c->is_chunked);
}
END_TEST

static void add_tests(TCase *t)
{
    (void)signal(SIGPIPE, SIG_DFL);
    tcase_add_loop_test(t, ends_every_exchange_with_a_whole_reply_or_an_error, 0,
                        ARRAY_LEN(exchange_cases));
    tcase_add_test(t, refuses_a_head_of_many_small_fields);
    tcase_add_test(t, sends_what_it_was_given_and_keeps_the_connection);
    tcase_add_test(t, reads_the_api_version_of_the_reply);
    tcase_add_test(t, connects_anew_when_the_engine_closed_the_connection);
    tcase_add_test(t, a_deadline_that_has_passed_makes_no_call);
    tcase_add_test(t, refuses_a_socket_path_that_no_socket_can_have);
    tcase_add_loop_test(t, says_why_the_engine_cannot_be_reached, 0, ABSENCES);
    tcase_add_test(t, a_full_backlog_does_not_hold_an_attach_up);
    tcase_add_test(t, serves_many_threads_with_few_connections);
    tcase_add_loop_test(t, a_stream_ends_when_its_reader_or_the_engine_says, 0,
                        ARRAY_LEN(stream_cases));
    tcase_add_loop_test(t, an_attach_gives_the_stream_to_the_byte_or_says_why_not, 0,
                        ARRAY_LEN(attach_cases));
    tcase_add_test(t, the_attached_stream_carries_both_ways);
    tcase_add_test(t, refuses_an_attach_path_that_is_too_long);
    tcase_add_loop_test(t, parses_heads_strictly, 0, ARRAY_LEN(head_cases));
}

UNIT_MAIN_ONE_PROCESS("engine_http", add_tests)
