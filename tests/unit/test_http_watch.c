#include "http_rig.h"

#define H "Host: localhost\r\n"

static atomic_uint entered, go_on, completed;

static void count_complete(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void hello(struct http_exchange *x, void *app)
{
    (void)app;
    rig_reply(x, 200, "hello");
}

static void json(struct http_exchange *x, void *app)
{
    (void)app;
    ck_assert_ptr_nonnull(http_json(x));
    rig_reply(x, 200, "{}");
}

/* Waits until the test lets it go. */
static void held(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    atomic_fetch_add(&entered, 1);
    RIG_UNTIL(atomic_load(&go_on));
    rig_reply(x, 200, "held");
}

static bool pull_slowly(void *ctx, struct buf *out)
{
    (void)ctx;
    atomic_fetch_add(&entered, 1);
    RIG_UNTIL(atomic_load(&go_on));
    (void)buf_str(out, "data: late\n\n");
    return false;
}

static void slow_stream(struct http_exchange *x, void *app)
{
    (void)app;
    http_reply_stream(x, 200, "text/event-stream", pull_slowly, NULL);
}

enum { BIG = 24 << 20 };

static void big(struct http_exchange *x, void *app)
{
    struct buf b;
    char *room;

    (void)app;
    http_on_complete(x, count_complete, &completed);
    buf_init(&b, BIG);
    room = buf_room(&b, BIG);
    memset(room, 'x', BIG);
    buf_commit(&b, BIG);
    http_reply(x, 200, "text/plain", &b);
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/hello", .handle = hello},
    {.method = "POST", .path = "/json", .handle = json, .body = HTTP_BODY_JSON},
    {.method = "GET", .path = "/held", .handle = held},
    {.method = "GET", .path = "/slow-stream", .handle = slow_stream},
    {.method = "GET", .path = "/big", .handle = big},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = rig_fail};
static const struct http_api *const apis[] = {&api, NULL};

#define GET(path) "GET " path " HTTP/1.1\r\n" H "\r\n"

static void ask(int fd, const char *request, int status)
{
    struct rig_reply r = rig_ask(fd, request);

    ck_assert_msg(r.status == status, "%s: %d %s", request, r.status, buf_get(&r.body));
    rig_done(&r);
}

enum { SHORT_MS = 300 };

/* Sends `text` in single bytes, a byte each 10 ms, until the server closes; how long that took. */
static int64_t drip(int fd, const char *text)
{
    int64_t began = clock_ms();
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};

    while (poll(&p, 1, 10) == 0) {
        ck_assert_int_lt(clock_ms() - began, RIG_WAIT_MS);
        if (send(fd, *text ? text : "x", 1, MSG_NOSIGNAL) < 0)
            break;
        text += *text != '\0';
    }
    return clock_ms() - began;
}

/* A busy machine may come to it later, but before the other limits, of ten seconds. */
static void expect_cut_after(int64_t took, int64_t least, int64_t most)
{
    ck_assert_msg(took >= least - 20 && took <= most + patient(7000), "%lld ms, not %lld..%lld",
                  (long long)took, (long long)least, (long long)most);
}

START_TEST(a_head_that_drips_is_cut_at_its_deadline)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    int fd;

    l.header_ms = patient(SHORT_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    expect_cut_after(drip(fd, "GET /hello HTTP/1.1\r\nX: "), patient(SHORT_MS),
                     patient(2 * SHORT_MS));
    close(fd);
    /* Nothing at all, and a request line that never ends. */
    fd = rig_dial(s);
    expect_cut_after(drip(fd, "GET /"), patient(SHORT_MS), patient(2 * SHORT_MS));
    close(fd);
    /* Behind a first request. */
    fd = rig_dial(s);
    ask(fd, GET("/hello"), 200);
    rig_say(fd, "GET /hello HTTP/1.1\r\n");
    expect_cut_after(drip(fd, "X: "), patient(SHORT_MS), patient(2 * SHORT_MS));
    close(fd);
    RIG_UNTIL(http_server_connections(s) == 0);
    ck_assert_uint_eq(http_server_busy(s), 0);
    http_server_free(s);
}
END_TEST

START_TEST(a_body_that_drips_is_cut_at_its_deadline)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    int fd;

    l.body_ms = patient(SHORT_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    rig_say(fd, "POST /json HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n");
    expect_cut_after(drip(fd, "{\"a\":\""), patient(SHORT_MS), patient(2 * SHORT_MS));
    close(fd);
    fd = rig_dial(s);
    rig_say(fd, "POST /json HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nfffff\r\n");
    expect_cut_after(drip(fd, "{\"a\":\""), patient(SHORT_MS), patient(2 * SHORT_MS));
    close(fd);
    RIG_UNTIL(http_server_busy(s) == 0);
    http_server_free(s);
}
END_TEST

START_TEST(an_idle_connection_is_closed_and_a_used_one_is_not)
{
    enum { IDLE_MS = 3 * SHORT_MS }; /* well above what a busy machine does between two uses */
    struct http_limits l = rig_limits();
    struct http_server *s;
    int64_t began;
    int fd, other;

    l.idle_ms = patient(IDLE_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    other = rig_dial(s);
    ask(fd, GET("/hello"), 200);
    began = clock_ms();
    while (clock_ms() - began < patient(2 * IDLE_MS)) {
        ask(other, GET("/hello"), 200);
        (void)poll(NULL, 0, (int)patient(SHORT_MS / 8));
    }
    ck_assert(rig_is_closed(fd));
    began = clock_ms();
    ck_assert(rig_is_closed(other));
    expect_cut_after(clock_ms() - began, patient(IDLE_MS / 2), patient(2 * IDLE_MS));
    close(fd);
    close(other);
    http_server_free(s);
}
END_TEST

START_TEST(no_deadline_runs_while_a_handler_works_or_a_stream_waits)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    struct rig_reply r;
    int fd, stream;

    l.idle_ms = l.header_ms = l.body_ms = l.stall_ms = patient(2 * SHORT_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    rig_say(fd, GET("/held"));
    stream = rig_dial(s);
    rig_say(stream, GET("/slow-stream"));
    RIG_UNTIL(atomic_load(&entered) == 2);
    (void)poll(NULL, 0, (int)patient(4 * SHORT_MS));
    atomic_store(&go_on, 1);
    r = rig_read(fd, true);
    ck_assert_str_eq(buf_get(&r.body), "held");
    rig_done(&r);
    r = rig_read(stream, true);
    ck_assert_str_eq(buf_get(&r.body), "data: late\n\n");
    rig_done(&r);
    close(fd);
    close(stream);
    http_server_free(s);
}
END_TEST

START_TEST(a_client_that_does_not_read_its_reply_is_cut)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    int64_t began;
    int fd, small = 4096;

    l.stall_ms = patient(SHORT_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    began = clock_ms();
    rig_say(fd, GET("/big"));
    RIG_UNTIL(atomic_load(&completed) == 1);
    expect_cut_after(clock_ms() - began, patient(SHORT_MS), patient(3 * SHORT_MS));
    close(fd);
    RIG_UNTIL(http_server_connections(s) == 0);
    http_server_free(s);
}
END_TEST

/* As slow as the rule allows is not cut, however long it takes in all. */
START_TEST(a_client_that_reads_steadily_is_not_cut)
{
    enum { STALL_MS = 4 * SHORT_MS, STEPS = BIG >> 20, STEP_MS = 2 * STALL_MS / STEPS };
    struct http_limits l = rig_limits();
    struct http_server *s;
    auto_free char *piece = xmalloc(1 << 20);
    size_t got = 0;
    ssize_t n;
    int fd;

    l.stall_ms = patient(STALL_MS);
    s = rig_open(&l, apis, NULL);
    fd = rig_dial(s);
    rig_say(fd, "GET /big HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    while ((n = recv(fd, piece, 1 << 20, 0)) > 0) {
        got += (size_t)n;
        (void)poll(NULL, 0, STEP_MS);
    }
    ck_assert_int_eq(n, 0);
    ck_assert_uint_gt(got, BIG);
    close(fd);
    http_server_free(s);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_head_that_drips_is_cut_at_its_deadline);
    tcase_add_test(t, a_body_that_drips_is_cut_at_its_deadline);
    tcase_add_test(t, an_idle_connection_is_closed_and_a_used_one_is_not);
    tcase_add_test(t, no_deadline_runs_while_a_handler_works_or_a_stream_waits);
    tcase_add_test(t, a_client_that_does_not_read_its_reply_is_cut);
    tcase_add_test(t, a_client_that_reads_steadily_is_not_cut);
}

UNIT_MAIN("http_watch", add_tests)
