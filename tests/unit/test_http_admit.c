#include "http/state.h"
#include "http_rig.h"

/* A route that admits only those who have the key; what came of their bodies is seen. */

static atomic_uint handled;
static atomic_size_t kept; /* of a body, when its refusal is written; SIZE_MAX: none was */

static bool admit(struct http_exchange *x, void *app)
{
    const char *key = http_header(x, "X-Key");

    ck_assert_str_eq(app, "the app");
    return key && strcmp(key, "sesame") == 0;
}

static void raw(struct http_exchange *x, void *app)
{
    size_t n;
    char text[32];

    (void)app;
    (void)http_body(x, &n);
    atomic_fetch_add(&handled, 1);
    (void)snprintf(text, sizeof(text), "%zu", n);
    rig_reply(x, 200, text);
}

static void refuse(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    const struct http_intake *in = &x->intake;

    atomic_store(&kept, in->held + in->raw.len + (in->sieve ? json_sieve_held(in->sieve) : 0));
    rig_fail(x, fault, status, text);
}

static const struct http_route routes[] = {
    {.method = "POST", .path = "/raw", .handle = raw, .body = HTTP_BODY_RAW, .admit = admit},
    {.method = "POST", .path = "/json", .handle = raw, .body = HTTP_BODY_JSON, .admit = admit},
    {.method = "GET", .path = "/list", .handle = raw, .admit = admit},
    {.method = "GET", .path = "/open", .handle = raw},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = refuse};
static const struct http_api *const apis[] = {&api, NULL};
static char the_app[] = "the app";
static struct http_server *server;
static struct http_limits limits;

static void setup(void)
{
    limits = rig_limits();
    server = rig_open(&limits, apis, the_app);
    atomic_store(&handled, 0);
    atomic_store(&kept, SIZE_MAX);
}

static void teardown(void)
{
    http_server_free(server);
}

#define H     "Host: localhost\r\n"
#define KEY   "X-Key: sesame\r\n"
#define WRONG "X-Key: simsim\r\n"

static void check_refused(const struct rig_reply *r)
{
    char wanted[80];

    (void)snprintf(wanted, sizeof(wanted), "{\"fault\":%d,\"error\":\"not authenticated\"}",
                   (int)HTTP_UNAUTHORIZED);
    ck_assert_int_eq(r->status, 401);
    ck_assert_str_eq(buf_get(&r->body), wanted);
    ck_assert(r->is_whole);
}

/* What is wrong with the body or the method is nobody's business who may not ask. */
static const struct {
    const char *request;
    int status;
} requests[] = {
    {"POST /raw HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc",                                  401},
    {"POST /raw HTTP/1.1\r\n" H WRONG "Content-Length: 3\r\n\r\nabc",                            401},
    {"POST /raw HTTP/1.1\r\n" H "X-Key:\r\nContent-Length: 3\r\n\r\nabc",                        401},
    {"POST /raw HTTP/1.1\r\n" H "X-Key: sesame1\r\nContent-Length: 0\r\n\r\n",                   401},
    {"POST /json HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n{",                                   401},
    {"POST /json HTTP/1.1\r\n" H KEY "Content-Length: 1\r\n\r\n{",                               400},
    {"POST /raw HTTP/1.1\r\n" H KEY "Content-Length: 3\r\n\r\nabc",                              200},
    {"POST /raw HTTP/1.1\r\n" H "x-kEY: sesame\r\nContent-Length: 3\r\n\r\nabc",                 200},
    {"POST /raw HTTP/1.1\r\n" H KEY "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",     200},
    {"GET /list HTTP/1.1\r\n" H "\r\n",                                                          401},
    {"GET /list HTTP/1.1\r\n" H KEY "\r\n",                                                      200},
    {"HEAD /list HTTP/1.1\r\n" H "\r\n",                                                         401},
    {"GET /open HTTP/1.1\r\n" H "\r\n",                                                          200},
    {"GET /raw HTTP/1.1\r\n" H "\r\n",                                                           405},
    {"GET /nothing HTTP/1.1\r\n" H "\r\n",                                                       404},
    {"POST /raw HTTP/1.1\r\n" H KEY "Origin: https://evil.example\r\nContent-Length: 0\r\n\r\n",
     403                                                                                            },
};

START_TEST(only_those_are_admitted_who_have_the_key)
{
    struct rig_reply r = rig_once(server, requests[_i].request);

    ck_assert_int_eq(r.status, requests[_i].status);
    ck_assert_uint_eq(atomic_load(&handled), r.status == 200);
    if (r.status == 401 && r.body.len)
        check_refused(&r);
    rig_done(&r);
}
END_TEST

START_TEST(the_refusal_of_a_small_body_keeps_the_connection)
{
    int fd = rig_dial(server);

    for (unsigned i = 1; i <= 5; i++) {
        struct rig_reply r =
            rig_ask(fd, "POST /raw HTTP/1.1\r\n" H WRONG "Content-Length: 3\r\n\r\nabc");

        check_refused(&r);
        rig_done(&r);
        r = rig_ask(fd, "POST /raw HTTP/1.1\r\n" H KEY "Content-Length: 5\r\n\r\nabcde");
        ck_assert_int_eq(r.status, 200);
        ck_assert_str_eq(buf_get(&r.body), "5");
        ck_assert_uint_eq(atomic_load(&handled), i);
        rig_done(&r);
    }
    close(fd);
}
END_TEST

/* No byte of it was sent, and none is waited for. */
static const char *const waiting[] = {
    "POST /raw HTTP/1.1\r\n" H "Content-Length: 1000000000\r\n\r\n",
    "POST /raw HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n", /* one more than is read past */
    "POST /raw HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n",
    "POST /raw HTTP/1.1\r\n" H "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
};

START_TEST(the_refusal_comes_before_a_large_body)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, waiting[_i]);

    check_refused(&r);
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
    ck_assert_uint_eq(atomic_load(&handled), 0);
}
END_TEST

/* Of a body that is read past nothing is kept: it is all there when the refusal is written. */
START_TEST(a_refused_body_takes_no_memory)
{
    enum { LARGE = 64 * 1024 }; /* the largest that is read past */
    auto_free char *body = xmalloc(LARGE);
    char head[128];
    int fd = rig_dial(server);
    struct rig_reply r;

    memset(body, _i ? ' ' : 'x', LARGE);
    (void)snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n",
                   _i ? "/json" : "/raw", LARGE);
    rig_say(fd, head);
    rig_send(fd, body, LARGE);
    r = rig_read(fd, true);
    check_refused(&r);
    rig_done(&r);
    ck_assert_uint_eq(atomic_load(&kept), 0);
    r = rig_ask(fd, "GET /list HTTP/1.1\r\n" H KEY "\r\n");
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(an_admitted_body_has_its_limit)
{
    int fd = rig_dial(server);
    struct rig_reply r =
        rig_ask(fd, "POST /raw HTTP/1.1\r\n" H KEY "Content-Length: 1048577\r\n\r\n");

    ck_assert_int_eq(r.status, 413);
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, only_those_are_admitted_who_have_the_key, 0, ARRAY_LEN(requests));
    tcase_add_test(t, the_refusal_of_a_small_body_keeps_the_connection);
    tcase_add_loop_test(t, the_refusal_comes_before_a_large_body, 0, ARRAY_LEN(waiting));
    tcase_add_loop_test(t, a_refused_body_takes_no_memory, 0, 2);
    tcase_add_test(t, an_admitted_body_has_its_limit);
}

UNIT_MAIN("http_admit", add_tests)
