#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/str.h"
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

/* Uses as much stack as a handler that speaks TLS or SQL. */
static void json(struct http_exchange *x, void *app)
{
    volatile char deep[96 * 1024];

    for (size_t i = 0; i < sizeof(deep); i += 1024)
        deep[i] = (char)i;
    (void)app;
    ck_assert(cJSON_IsObject(http_json(x)));
    rig_reply(x, 200, "{\"process_status\":\"completed\",\"stdout\":\"2\\n\",\"stderr\":\"\"}");
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

static void wait_for_hang_up(const struct http_exchange *x)
{
    struct pollfd p = {.fd = http_client_fd(x), .events = POLLRDHUP};

    atomic_fetch_add(&entered, 1);
    ck_assert_int_eq(poll(&p, 1, RIG_WAIT_MS), 1);
    ck_assert(http_client_is_gone(x));
}

/* As a run does: it ends when its client is gone, and has an answer then. */
static void patient_one(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    wait_for_hang_up(x);
    rig_reply(x, 200, "cancelled");
}

static bool pull_until_hang_up(void *ctx, struct buf *out)
{
    wait_for_hang_up(ctx);
    (void)buf_str(out, "data: cancelled\n\n");
    return false;
}

static void patient_stream(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    http_reply_stream(x, 200, "text/event-stream", pull_until_hang_up, x);
}

static void client(struct http_exchange *x, void *app)
{
    (void)app;
    rig_reply(x, 200, http_client(x));
}

static void signals(struct http_exchange *x, void *app)
{
    sigset_t now;

    (void)app;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
    rig_reply(x, 200,
              sigismember(&now, SIGTERM) && sigismember(&now, SIGINT) && sigismember(&now, SIGCHLD)
                  ? "blocked"
                  : "open");
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/hello", .handle = hello},
    {.method = "POST", .path = "/json", .handle = json, .body = HTTP_BODY_JSON},
    {.method = "GET", .path = "/held", .handle = held},
    {.method = "GET", .path = "/slow-stream", .handle = slow_stream},
    {.method = "GET", .path = "/patient", .handle = patient_one},
    {.method = "GET", .path = "/patient-stream", .handle = patient_stream},
    {.method = "GET", .path = "/client", .handle = client},
    {.method = "GET", .path = "/sigmask", .handle = signals},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = rig_fail};
static const struct http_api *const apis[] = {&api, NULL};

#define GET(path) "GET " path " HTTP/1.1\r\n" H "\r\n"

static struct rig_reply expect(int fd, const char *request, int status)
{
    struct rig_reply r = rig_ask(fd, request);

    ck_assert_msg(r.status == status, "%s: %d %s", request, r.status, buf_get(&r.body));
    return r;
}

static void ask(int fd, const char *request, int status)
{
    struct rig_reply r = expect(fd, request, status);

    rig_done(&r);
}

START_TEST(a_new_connection_takes_the_place_of_the_longest_idle_one)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    int fds[5];

    l.connections = 4;
    s = rig_open(&l, apis, NULL);
    for (size_t i = 0; i < 4; i++) {
        fds[i] = rig_dial(s);
        ask(fds[i], GET("/hello"), 200);
        RIG_UNTIL(http_server_busy(s) == 0); /* it becomes idle behind its reply */
        (void)poll(NULL, 0, 3); /* so that no two became idle in the same millisecond */
    }
    ask(fds[0], GET("/hello"), 200);
    RIG_UNTIL(http_server_busy(s) == 0);
    fds[4] = rig_dial(s);
    ask(fds[4], GET("/hello"), 200);
    ck_assert(rig_is_closed(fds[1]));
    ask(fds[0], GET("/hello"), 200);
    ask(fds[2], GET("/hello"), 200);
    ask(fds[3], GET("/hello"), 200);
    for (size_t i = 0; i < 5; i++)
        close(fds[i]);
    http_server_free(s);
}
END_TEST

START_TEST(where_all_are_busy_a_new_connection_gets_503)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    struct rig_reply r;
    int fds[2], fd;

    l.connections = 2;
    s = rig_open(&l, apis, NULL);
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = rig_dial(s);
        rig_say(fds[i], GET("/held"));
    }
    RIG_UNTIL(atomic_load(&entered) == 2);
    fd = rig_dial(s);
    r = expect(fd, GET("/hello"), 503);
    ck_assert_str_eq(rig_header(&r, "Retry-After"), "1");
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert_str_eq(buf_get(&r.body), "{\"fault\":6,\"error\":\"too many connections\"}");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
    atomic_store(&go_on, 1);
    for (unsigned i = 0; i < 2; i++) {
        r = rig_read(fds[i], true);
        ck_assert_str_eq(buf_get(&r.body), "held");
        rig_done(&r);
        close(fds[i]);
    }
    http_server_free(s);
}
END_TEST

START_TEST(one_address_gets_so_many_connections)
{
    struct http_limits l = rig_limits();
    struct http_server *s;
    int fds[12];
    unsigned served = 0;

    l.connections_per_address = 5;
    s = rig_open(&l, apis, NULL);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        struct rig_reply r;

        fds[i] = rig_dial(s);
        (void)!send(fds[i], GET("/hello"), strlen(GET("/hello")), MSG_NOSIGNAL);
        r = rig_read(fds[i], true);
        served += r.status == 200;
        rig_done(&r);
    }
    ck_assert_uint_eq(served, 5);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    RIG_UNTIL(http_server_connections(s) == 0);
    fds[0] = rig_dial(s);
    ask(fds[0], GET("/hello"), 200);
    close(fds[0]);
    http_server_free(s);
}
END_TEST

#define CALL                                                                          \
    "POST /json HTTP/1.1\r\n" H "Content-Type: application/json\r\n"                  \
    "User-Agent: python-requests/2.31.0\r\nAccept: */*\r\nContent-Length: 39\r\n\r\n" \
    "{\"generated_code\":\"1+1\",\"timeout\":10.5}"

START_TEST(five_hundred_idle_connections_cost_little)
{
    enum { MANY = 500 };
    static int fds[MANY];
    struct http_limits l = rig_limits();
    struct http_server *s;
    struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};
    long before, after;

    (void)setrlimit(RLIMIT_NOFILE, &files);
    l.connections = MANY;
    l.idle_ms = patient(60000);
    s = rig_open(&l, apis, NULL);
    fds[0] = rig_dial(s);
    ask(fds[0], CALL, 200);
    before = rig_kib("/proc/self/smaps_rollup", "Pss:");
    for (size_t i = 1; i < MANY; i++) {
        fds[i] = rig_dial(s);
        ask(fds[i], CALL, 200);
    }
    for (size_t i = 0; i < MANY; i++)
        ask(fds[i], CALL, 200);
    after = rig_kib("/proc/self/smaps_rollup", "Pss:");
    ck_assert_uint_eq(http_server_connections(s), MANY);
    printf("http_server: %d idle connections: PSS +%ld KiB\n", MANY - 1, after - before);
    if (unit_measures())
        ck_assert_int_lt(after - before, 30 * 1024);
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
    RIG_UNTIL(http_server_connections(s) == 0);
    http_server_free(s);
}
END_TEST

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

START_TEST(connections_leave_no_descriptor_and_no_thread)
{
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, apis, NULL);
    unsigned files = open_files();
    long threads = rig_kib("/proc/self/status", "Threads:");

    for (int i = 0; i < 300; i++) {
        struct rig_reply r =
            rig_once(s, i % 3 ? CALL : "GET /hello HTTP/1.1\r\nHost: evil\r\n\r\n");

        ck_assert_int_eq(r.status, i % 3 ? 200 : 403);
        rig_done(&r);
    }
    RIG_UNTIL(http_server_connections(s) == 0);
    RIG_UNTIL(open_files() == files);
    RIG_UNTIL(rig_kib("/proc/self/status", "Threads:") == threads);
    http_server_free(s);
}
END_TEST

/* ---- the end ---- */

struct stop {
    struct http_server *server;
    atomic_bool is_over;
};

static void *stop(void *arg)
{
    struct stop *stopped = arg;

    http_server_free(stopped->server);
    atomic_store(&stopped->is_over, true);
    return NULL;
}

START_TEST(a_stop_closes_idle_connections_and_waits_for_handlers)
{
    struct http_limits l = rig_limits();
    struct stop stopped = {.server = rig_open(&l, apis, NULL)};
    uint16_t port = http_listener_port(stopped.server, 0);
    int idle = rig_dial(stopped.server), fresh = rig_dial(stopped.server);
    int busy = rig_dial(stopped.server), late, refused;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct rig_reply r;
    pthread_t thread;
    int64_t began;

    ask(idle, GET("/hello"), 200);
    RIG_UNTIL(http_server_busy(stopped.server) == 0);
    rig_say(busy, GET("/held"));
    late = rig_dial(stopped.server);
    rig_say(late, "POST /json HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n");
    RIG_UNTIL(http_server_busy(stopped.server) == 2);
    began = clock_ms();
    http_server_quiesce(stopped.server);
    http_server_quiesce(stopped.server);
    ck_assert(rig_is_closed(idle));
    ck_assert(rig_is_closed(fresh));
    ck_assert_int_lt(clock_ms() - began, patient(8000)); /* a connection may idle for ten */
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    refused = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(refused, (struct sockaddr *)&a, sizeof(a)), -1);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop, &stopped), 0);
    (void)poll(NULL, 0, 50);
    ck_assert(!atomic_load(&stopped.is_over));
    /* A request that was under way is answered, and told that the connection ends. */
    r = rig_ask(late, "{}");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert(rig_is_closed(late));
    rig_done(&r);
    atomic_store(&go_on, 1);
    r = rig_read(busy, true);
    ck_assert_str_eq(buf_get(&r.body), "held");
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    rig_done(&r);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert(atomic_load(&stopped.is_over));
    ck_assert_uint_eq(atomic_load(&completed), 1);
    close(idle), close(fresh), close(busy), close(late), close(refused);
}
END_TEST

/* A reply that began before the stop keeps its connection until it is out, and no longer. */
START_TEST(a_stop_in_the_middle_of_a_reply_lets_it_end)
{
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, apis, NULL);
    int fd = rig_dial(s);
    struct rig_reply r;

    rig_say(fd, GET("/slow-stream"));
    RIG_UNTIL(atomic_load(&entered) == 1);
    http_server_quiesce(s);
    atomic_store(&go_on, 1);
    r = rig_read(fd, true);
    ck_assert(r.is_whole);
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
    RIG_UNTIL(http_server_connections(s) == 0);
    http_server_free(s);
    http_server_free(NULL);
}
END_TEST

/* Whoever has waited long enough ends what still runs, and its clients are told. */
START_TEST(a_stop_can_hang_up_on_what_it_waits_for)
{
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, apis, NULL);
    int whole = rig_dial(s), stream = rig_dial(s), late = rig_dial(s);
    struct rig_reply r;

    rig_say(whole, GET("/patient"));
    rig_say(stream, GET("/patient-stream"));
    rig_say(late, "POST /json HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n");
    RIG_UNTIL(atomic_load(&entered) == 2 && http_server_busy(s) == 3);
    http_server_quiesce(s);
    http_server_hang_up(s);
    r = rig_read(whole, true);
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(buf_get(&r.body), "cancelled");
    rig_done(&r);
    r = rig_read(stream, true);
    ck_assert(r.is_whole);
    ck_assert_str_eq(buf_get(&r.body), "data: cancelled\n\n");
    rig_done(&r);
    ck_assert(rig_is_closed(whole) && rig_is_closed(stream) && rig_is_closed(late));
    RIG_UNTIL(http_server_busy(s) == 0);
    ck_assert_uint_eq(atomic_load(&completed), 2);
    http_server_free(s);
    close(whole), close(stream), close(late);
}
END_TEST

START_TEST(its_threads_take_no_signals_and_the_callers_mask_stays)
{
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, apis, NULL);
    struct rig_reply r = rig_once(s, GET("/sigmask"));
    sigset_t now;

    ck_assert_str_eq(buf_get(&r.body), "blocked");
    (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
    ck_assert(!sigismember(&now, SIGTERM));
    rig_done(&r);
    http_server_free(s);
}
END_TEST

/* ---- addresses ---- */

static int listen_at(struct http_server *s, const char *address, uint16_t port, struct err *e)
{
    const struct http_listener_options o = {.address = address, .port = port, .apis = apis};

    *e = (struct err){0};
    return http_listen(s, &o, e);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

    close(fd);
    return has;
}

static int dial6(uint16_t port)
{
    struct sockaddr_in6 a = {
        .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(port)};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

START_TEST(listens_on_ipv6_too)
{
    struct http_limits l = rig_limits();
    struct http_server *s = NULL;
    struct rig_reply r;
    struct err e = {0};
    int fd;

    if (!has_ipv6()) {
        printf("skipped: no IPv6 here\n");
        return;
    }
    ck_assert_int_eq(http_server_new(&l, &s, &e), 0);
    ck_assert_msg(listen_at(s, "::1", 0, &e) == 0, "%s", e.msg);
    ck_assert_msg(listen_at(s, "::", 0, &e) == 0, "%s", e.msg);
    for (size_t i = 0; i < 2; i++) {
        fd = dial6(http_listener_port(s, i));
        ck_assert_int_ge(fd, 0);
        r = expect(fd, "GET /client HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200);
        ck_assert_str_eq(buf_get(&r.body), "::1");
        rig_done(&r);
        close(fd);
    }
    /* "::" takes IPv4 as well and names such clients as what they are. */
    fd = rig_dial_port(http_listener_port(s, 1));
    r = expect(fd, "GET /client HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 200);
    ck_assert_str_eq(buf_get(&r.body), "127.0.0.1");
    rig_done(&r);
    close(fd);
    http_server_free(s);
}
END_TEST

START_TEST(says_why_it_cannot_listen)
{
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, apis, NULL);
    uint16_t port = http_listener_port(s, 0);
    struct err e = {0};

    ck_assert_uint_ne(port, 0);
    ck_assert_int_eq(listen_at(s, "127.0.0.1", port, &e), -1);
    ck_assert_int_eq(e.kind, ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(e.msg, "Address already in use"));
    ck_assert_int_eq(listen_at(s, "sandbox.example", 0, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_str_eq(e.msg, "'sandbox.example' is not an IP address");
    ck_assert_int_eq(listen_at(s, "203.0.113.7", 0, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    for (int i = 1; i < HTTP_LISTENERS; i++)
        ck_assert_msg(listen_at(s, "localhost", 0, &e) == 0, "%s", e.msg);
    ck_assert_int_eq(listen_at(s, "localhost", 0, &e), -1);
    ck_assert_int_eq(e.kind, ERR_LIMIT);
    ck_assert_uint_eq(http_listener_port(s, HTTP_LISTENERS), 0);
    http_server_free(s);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_new_connection_takes_the_place_of_the_longest_idle_one);
    tcase_add_test(t, where_all_are_busy_a_new_connection_gets_503);
    tcase_add_test(t, one_address_gets_so_many_connections);
    tcase_add_test(t, five_hundred_idle_connections_cost_little);
    tcase_add_test(t, connections_leave_no_descriptor_and_no_thread);
    tcase_add_test(t, a_stop_closes_idle_connections_and_waits_for_handlers);
    tcase_add_test(t, a_stop_in_the_middle_of_a_reply_lets_it_end);
    tcase_add_test(t, a_stop_can_hang_up_on_what_it_waits_for);
    tcase_add_test(t, its_threads_take_no_signals_and_the_callers_mask_stays);
    tcase_add_test(t, listens_on_ipv6_too);
    tcase_add_test(t, says_why_it_cannot_listen);
}

UNIT_MAIN("http_server", add_tests)
