#include <curl/curl.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "http_rig.h"

#define H "Host: localhost\r\n"

static atomic_uint completed, pulled, go_on;

static void count_complete(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void plain(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    http_set_header(x, "X-One", "1");
    http_set_header(x, "x-one", "2");
    http_set_header(x, "X-Bad", "a\r\nX-Injected: 1");
    rig_reply(x, 201, "body");
}

static void empty(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, 10);
    http_reply(x, 204, NULL, &b);
}

static void nothing(struct http_exchange *x, void *app)
{
    (void)x;
    (void)app;
}

static void twice(struct http_exchange *x, void *app)
{
    (void)app;
    rig_reply(x, 200, "first");
    rig_reply(x, 200, "second");
    http_reply_parts(x, 200, "text/plain", http_parts_new());
    http_reply_stream(x, 200, "text/plain", NULL, NULL);
}

static void overgrown(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, 4);
    (void)buf_str(&b, "too long");
    http_reply(x, 200, "text/plain", &b);
}

static void unavailable(struct http_exchange *x, void *app)
{
    (void)app;
    http_fail(x, HTTP_UNAVAILABLE, 503, "no %s within %d s", "container", 5);
}

static void many_headers(struct http_exchange *x, void *app)
{
    char name[16], value[2000];

    (void)app;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "X-%d", i);
        http_set_header(x, name, value);
    }
    rig_reply(x, 200, "ok");
}

enum { LONG = 3 << 20 };

static void long_body(struct http_exchange *x, void *app)
{
    struct buf b;

    (void)app;
    buf_init(&b, LONG);
    for (size_t i = 0; i < LONG; i++)
        (void)buf_char(&b, (char)('a' + i % 23));
    http_reply(x, 200, "text/plain", &b);
}

/* ---- parts ---- */

static struct spool small, large, binary, ragged, none;
static char *want_parts;

static void add_bytes(struct spool *s, const char *data, size_t n)
{
    struct err e = {0};

    ck_assert_msg(spool_add(s, data, n, &e) == 0, "%s", e.msg);
}

static char *read_all(const struct spool *s)
{
    char *data = xcalloc(s->size + 1, 1);
    uint64_t at = 0;

    while (at < s->size)
        at += (uint64_t)spool_read(s, at, data + at, s->size - at, NULL);
    return data;
}

/* What the parts below must look like, made whole in memory. */
static void make_want(void)
{
    struct buf b;
    const struct spool *const texts[] = {&small, &large, &ragged, &none};
    auto_free char *bytes = read_all(&binary);
    auto_free char *base64 = xmalloc(BASE64_LEN(binary.size));

    buf_init(&b, 64 << 20);
    (void)buf_str(&b, "{\"texts\":[");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        auto_free char *text = read_all(texts[i]);

        (void)buf_str(&b, i ? "," : "");
        json_put_str(&b, text, texts[i]->size);
    }
    (void)buf_str(&b, "],\"data\":\"");
    (void)buf_add(&b, base64, base64_encode(base64, bytes, binary.size));
    (void)buf_str(&b, "\",\"raw\":");
    (void)buf_add(&b, small.mem, small.size);
    (void)buf_str(&b, "}");
    want_parts = buf_take(&b);
}

static void make_spools(void)
{
    static const char lead[] = "\xe2\x82";
    char noise[997];

    spool_init(&small, "/tmp");
    spool_init(&large, "/tmp");
    spool_init(&binary, "/tmp");
    spool_init(&ragged, "/tmp");
    spool_init(&none, "/tmp");
    add_bytes(&small, "h\xc3\xa9llo \"x\"\n\x01\xff", 13);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)(i * 31 + i / 7);
    for (int i = 0; i < 700; i++) {
        add_bytes(&large, noise, sizeof(noise));
        add_bytes(&binary, noise, sizeof(noise) - (i == 699));
    }
    /* Ends inside a character, one byte behind a piece that is read at once. */
    for (int i = 0; i < 512 * 1024 / 8; i++)
        add_bytes(&ragged, "12345678", 8);
    add_bytes(&ragged, lead, 1);
    make_want();
}

static void put_parts(struct http_parts *p)
{
    (void)buf_str(http_parts_text(p), "{\"texts\":[");
    http_parts_json_string(p, &small);
    (void)buf_str(http_parts_text(p), ",");
    http_parts_json_string(p, &large);
    (void)buf_str(http_parts_text(p), ",");
    http_parts_json_string(p, &ragged);
    (void)buf_str(http_parts_text(p), ",");
    http_parts_json_string(p, &none);
    (void)buf_str(http_parts_text(p), "],\"data\":\"");
    http_parts_base64(p, &binary);
    (void)buf_str(http_parts_text(p), "\",\"raw\":");
    http_parts_raw(p, &small);
    (void)buf_str(http_parts_text(p), "}");
}

static void parts(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();

    (void)app;
    put_parts(p);
    http_on_complete(x, count_complete, &completed);
    http_reply_parts(x, 200, "application/json", p);
}

static void known_parts(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();

    (void)app;
    (void)buf_str(http_parts_text(p), "[");
    http_parts_base64(p, &binary);
    http_parts_raw(p, &large);
    http_reply_parts(x, 200, "text/plain", p);
}

static void small_parts(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();

    (void)app;
    http_parts_json_string(p, &small);
    http_parts_base64(p, &small);
    http_parts_json_string(p, &none);
    http_reply_parts(x, 200, "application/json", p);
}

/* ---- streams ---- */

static bool pull_events(void *ctx, struct buf *out)
{
    unsigned n = atomic_fetch_add(&pulled, 1);

    (void)ctx;
    ck_assert_uint_eq(out->len, 0);
    if (n < 3) {
        RIG_UNTIL(atomic_load(&go_on) > n);
        (void)buf_fmt(out, "data: %u\n\n", n);
        return true;
    }
    (void)buf_str(out, "data: [DONE]\n\n");
    return false;
}

static void events(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    http_reply_stream(x, 200, "text/event-stream", pull_events, NULL);
}

static bool pull_parts(void *ctx, struct buf *out)
{
    return http_parts_pull(ctx, out);
}

static void free_parts(void *ctx)
{
    http_parts_free(ctx);
}

static void parts_stream(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();

    (void)app;
    put_parts(p);
    http_on_complete(x, free_parts, p);
    http_reply_stream(x, 200, "application/json", pull_parts, p);
}

static bool pull_nothing(void *ctx, struct buf *out)
{
    (void)ctx;
    (void)out;
    return false;
}

static void empty_stream(struct http_exchange *x, void *app)
{
    (void)app;
    http_reply_stream(x, 200, "text/event-stream", pull_nothing, NULL);
}

static bool pull_too_much(void *ctx, struct buf *out)
{
    (void)ctx;
    for (size_t i = 0; i <= out->max / 1024; i++)
        (void)buf_add(out, want_parts, 1024);
    return true;
}

static void wild_stream(struct http_exchange *x, void *app)
{
    (void)app;
    http_reply_stream(x, 200, "text/plain", pull_too_much, NULL);
}

static bool pull_without_end(void *ctx, struct buf *out)
{
    struct http_exchange *x = ctx;

    if (http_client_is_gone(x))
        return false;
    (void)buf_str(out, "data: more\n\n");
    return true;
}

static void endless(struct http_exchange *x, void *app)
{
    (void)app;
    http_on_complete(x, count_complete, &completed);
    http_reply_stream(x, 200, "text/event-stream", pull_without_end, x);
}

/* ---- a handler that waits for its client to go ---- */

static int order[4];
static atomic_int order_n;

static void note(void *ctx)
{
    order[atomic_load(&order_n)] = *(int *)ctx;
    atomic_fetch_add(&order_n, 1);
}

static void waiting(struct http_exchange *x, void *app)
{
    static int one = 1, two = 2;
    struct pollfd p = {.fd = http_client_fd(x), .events = POLLRDHUP};

    (void)app;
    http_on_complete(x, note, &one);
    http_on_complete(x, note, &two);
    atomic_store(&pulled, 77);
    ck_assert(!http_client_is_gone(x));
    ck_assert_int_eq(poll(&p, 1, RIG_WAIT_MS), 1);
    ck_assert(http_client_is_gone(x));
    rig_reply(x, 200, "nobody reads this");
}

static void arrived(struct http_exchange *x, void *app)
{
    char text[128];

    (void)app;
    (void)snprintf(text, sizeof(text), "%s %lld", http_client(x),
                   (long long)(clock_ms() - http_arrived_ms(x)));
    rig_reply(x, 200, text);
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/plain", .handle = plain},
    {.method = "POST", .path = "/plain", .handle = plain, .body = HTTP_BODY_JSON},
    {.method = "GET", .path = "/empty", .handle = empty},
    {.method = "GET", .path = "/nothing", .handle = nothing},
    {.method = "GET", .path = "/twice", .handle = twice},
    {.method = "GET", .path = "/overgrown", .handle = overgrown},
    {.method = "GET", .path = "/unavailable", .handle = unavailable},
    {.method = "GET", .path = "/many-headers", .handle = many_headers},
    {.method = "GET", .path = "/long", .handle = long_body},
    {.method = "GET", .path = "/parts", .handle = parts},
    {.method = "GET", .path = "/known-parts", .handle = known_parts},
    {.method = "GET", .path = "/small-parts", .handle = small_parts},
    {.method = "GET", .path = "/events", .handle = events},
    {.method = "GET", .path = "/parts-stream", .handle = parts_stream},
    {.method = "GET", .path = "/empty-stream", .handle = empty_stream},
    {.method = "GET", .path = "/wild-stream", .handle = wild_stream},
    {.method = "GET", .path = "/endless", .handle = endless},
    {.method = "GET", .path = "/waiting", .handle = waiting},
    {.method = "GET", .path = "/arrived", .handle = arrived},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = rig_fail};
static const struct http_api *const apis[] = {&api, NULL};
static struct http_server *server;

static void setup(void)
{
    struct http_limits l = rig_limits();

    make_spools();
    server = rig_open(&l, apis, NULL);
}

static void teardown(void)
{
    http_server_free(server);
    spool_done(&small);
    spool_done(&large);
    spool_done(&binary);
    spool_done(&ragged);
    free(want_parts);
}

static struct rig_reply get(int fd, const char *path)
{
    char request[256];

    (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" H "\r\n", path);
    return rig_ask(fd, request);
}

START_TEST(a_reply_has_status_type_length_and_headers)
{
    int fd = rig_dial(server);
    struct rig_reply r = get(fd, "/plain");

    ck_assert_int_eq(r.status, 201);
    ck_assert_int_eq(strncmp(buf_get(&r.head), "HTTP/1.1 201 Created\r\n", 22), 0);
    ck_assert_str_eq(rig_header(&r, "Content-Type"), "text/plain");
    ck_assert_str_eq(rig_header(&r, "Content-Length"), "4");
    ck_assert_str_eq(rig_header(&r, "X-One"), "2");
    ck_assert_str_eq(rig_header(&r, "X-Bad"), "a??X-Injected: 1");
    ck_assert_str_eq(rig_header(&r, "X-Injected"), "");
    ck_assert_str_eq(rig_header(&r, "Connection"), "");
    ck_assert_str_eq(buf_get(&r.body), "body");
    rig_done(&r);
    r = get(fd, "/empty");
    ck_assert_int_eq(r.status, 204);
    ck_assert_str_eq(rig_header(&r, "Content-Type"), "");
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(head_is_get_without_the_body)
{
    static const char *const paths[] = {"/plain", "/long", "/parts", "/known-parts",
                                        "/empty-stream"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char request[128];
        struct rig_reply head, whole;
        int fd = rig_dial(server);

        (void)snprintf(request, sizeof(request), "HEAD %s HTTP/1.1\r\n" H "\r\n", paths[i]);
        head = rig_ask(fd, request);
        whole = get(fd, paths[i]);
        if (whole.status == 0) { /* it said that it would close */
            ck_assert_str_eq(rig_header(&head, "Connection"), "close");
            rig_done(&whole);
            close(fd);
            fd = rig_dial(server);
            whole = get(fd, paths[i]);
        }
        ck_assert_int_eq(head.status, whole.status);
        ck_assert_uint_eq(head.body.len, 0);
        /* The next reply began where the head ended, so no body was sent. */
        ck_assert(whole.is_whole);
        ck_assert_int_eq(strcmp(rig_header(&head, "Content-Length"), "") == 0,
                         strcmp(rig_header(&whole, "Content-Length"), "") == 0);
        rig_done(&head);
        rig_done(&whole);
        close(fd);
    }
}
END_TEST

START_TEST(http_1_0_closes_unless_asked_to_keep)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, "GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

    ck_assert_str_eq(buf_get(&r.body), "body");
    rig_done(&r);
    r = rig_ask(fd, "GET /plain HTTP/1.0\r\n\r\n");
    ck_assert_str_eq(buf_get(&r.body), "body");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
    /* Without chunks the end of a reply of unknown length is the end of the connection. */
    r = rig_once(server, "GET /parts HTTP/1.0\r\n\r\n");
    ck_assert_str_eq(buf_get(&r.body), want_parts);
    rig_done(&r);
}
END_TEST

START_TEST(connection_close_is_honoured)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, "GET /plain HTTP/1.1\r\n" H "Connection: close\r\n\r\n");

    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(a_handler_that_errs_still_gives_one_reply)
{
    int fd = rig_dial(server);
    struct rig_reply r = get(fd, "/nothing");

    ck_assert_int_eq(r.status, 500);
    ck_assert_str_eq(buf_get(&r.body), "{\"fault\":7,\"error\":\"internal error\"}");
    rig_done(&r);
    r = get(fd, "/twice");
    ck_assert_str_eq(buf_get(&r.body), "first");
    rig_done(&r);
    r = get(fd, "/overgrown");
    ck_assert_int_eq(r.status, 500);
    ck_assert_uint_eq(r.body.len, 0);
    rig_done(&r);
    r = get(fd, "/unavailable");
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(rig_header(&r, "Retry-After"), "1");
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "no container within 5 s"));
    rig_done(&r);
    r = get(fd, "/many-headers");
    ck_assert_int_eq(r.status, 200);
    ck_assert_uint_eq(strlen(rig_header(&r, "X-0")), 1024);
    ck_assert_str_eq(rig_header(&r, "X-39"), "");
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(long_bodies_and_parts_arrive_whole)
{
    int fd = rig_dial(server);
    struct rig_reply r = get(fd, "/long");
    size_t wrong = 0;

    ck_assert(r.is_whole);
    ck_assert_uint_eq(r.body.len, LONG);
    for (size_t i = 0; i < LONG; i++)
        wrong += r.body.data[i] != (char)('a' + i % 23);
    ck_assert_uint_eq(wrong, 0);
    rig_done(&r);
    r = get(fd, "/parts");
    ck_assert_str_eq(rig_header(&r, "Transfer-Encoding"), "chunked");
    ck_assert_str_eq(buf_get(&r.body), want_parts);
    rig_done(&r);
    r = get(fd, "/known-parts");
    ck_assert_uint_eq(r.body.len, 1 + BASE64_LEN(binary.size) + large.size);
    ck_assert_uint_eq(strtoul(rig_header(&r, "Content-Length"), NULL, 10), r.body.len);
    rig_done(&r);
    r = get(fd, "/small-parts");
    ck_assert_str_eq(buf_get(&r.body),
                     "\"h\xc3\xa9llo \\\"x\\\"\\n\\u0001\xef\xbf\xbd\"aMOpbGxvICJ4IgoB/w==\"\"");
    ck_assert_str_ne(rig_header(&r, "Content-Length"), "");
    rig_done(&r);
    r = get(fd, "/parts-stream");
    ck_assert_str_eq(buf_get(&r.body), want_parts);
    rig_done(&r);
    close(fd);
}
END_TEST

static void read_event(int fd, const char *want)
{
    struct buf line;

    buf_init(&line, 256);
    ck_assert(rig_line(fd, &line)); /* the chunk's size */
    buf_clear(&line);
    ck_assert(rig_line(fd, &line));
    ck_assert_int_eq(strncmp(buf_get(&line), want, strlen(want)), 0);
    ck_assert(rig_line(fd, &line)); /* the event's empty line */
    ck_assert(rig_line(fd, &line)); /* the chunk's end */
    buf_done(&line);
}

/* The head and each event must be with the client before the next event is made. */
START_TEST(events_arrive_one_by_one)
{
    int fd = rig_dial(server);
    struct rig_reply r;
    struct buf rest;
    int64_t asked;

    atomic_store(&pulled, 0);
    atomic_store(&go_on, 0);
    asked = clock_ms();
    rig_say(fd, "GET /events HTTP/1.1\r\n" H "\r\n");
    r = rig_read(fd, false);
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(rig_header(&r, "Content-Type"), "text/event-stream");
    ck_assert_int_lt(clock_ms() - asked, 150); /* corked, it would wait for 200 ms */
    for (unsigned i = 0; i < 3; i++) {
        char want[32];

        (void)snprintf(want, sizeof(want), "data: %u\n", i);
        asked = clock_ms();
        atomic_store(&go_on, i + 1);
        read_event(fd, want);
        ck_assert_int_lt(clock_ms() - asked, 35); /* Nagle would wait for 40 ms */
    }
    read_event(fd, "data: [DONE]\n");
    buf_init(&rest, 64);
    ck_assert(rig_line(fd, &rest) && rig_line(fd, &rest));
    ck_assert_str_eq(buf_get(&rest), "0\r\n\r\n");
    RIG_UNTIL(atomic_load(&completed) == 1);
    rig_done(&r);
    buf_done(&rest);
    r = get(fd, "/empty-stream");
    ck_assert(r.is_whole);
    ck_assert_uint_eq(r.body.len, 0);
    rig_done(&r);
    r = get(fd, "/wild-stream");
    ck_assert(!r.is_whole);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(a_stream_ends_when_its_client_goes)
{
    int fd = rig_dial(server);
    struct rig_reply r;

    rig_say(fd, "GET /endless HTTP/1.1\r\n" H "\r\n");
    r = rig_read(fd, false);
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(fd);
    RIG_UNTIL(atomic_load(&completed) == 1);
    RIG_UNTIL(http_server_connections(server) == 0);
    ck_assert_uint_eq(http_server_busy(server), 0);
}
END_TEST

START_TEST(a_handler_sees_its_client_go_and_completes_once_in_reverse)
{
    for (int half = 0; half <= 1; half++) {
        int fd = rig_dial(server);

        atomic_store(&order_n, 0);
        atomic_store(&pulled, 0);
        rig_say(fd, "GET /waiting HTTP/1.1\r\n" H "\r\n");
        RIG_UNTIL(atomic_load(&pulled) == 77);
        ck_assert_uint_eq(http_server_busy(server), 1);
        if (half)
            ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        else
            close(fd);
        RIG_UNTIL(atomic_load(&order_n) == 2);
        ck_assert_int_eq(order[0], 2);
        ck_assert_int_eq(order[1], 1);
        if (half)
            close(fd);
    }
    RIG_UNTIL(http_server_connections(server) == 0);
    ck_assert_int_eq(atomic_load(&order_n), 2);
}
END_TEST

START_TEST(completes_once_when_the_client_goes_in_the_middle_of_a_reply)
{
    for (unsigned i = 1; i <= 10; i++) {
        int fd = rig_dial(server);
        struct linger reset = {.l_onoff = 1};
        struct rig_reply r;

        rig_say(fd, "GET /parts HTTP/1.1\r\n" H "\r\n");
        r = rig_read(fd, false);
        ck_assert_int_eq(r.status, 200);
        rig_done(&r);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
        close(fd);
        RIG_UNTIL(atomic_load(&completed) == i);
    }
    RIG_UNTIL(http_server_connections(server) == 0);
    ck_assert_uint_eq(atomic_load(&completed), 10);
}
END_TEST

START_TEST(the_client_is_named_and_the_arrival_is_timed)
{
    static const char request[] = "GET /arrived HTTP/1.1\r\n" H "\r\n";
    int fd = rig_dial(server);
    struct rig_reply r;

    rig_send(fd, request, 23);
    RIG_UNTIL(http_server_connections(server) == 1);
    (void)poll(NULL, 0, 30);
    rig_say(fd, request + 23);
    r = rig_read(fd, true);
    ck_assert_int_eq(strncmp(buf_get(&r.body), "127.0.0.1 ", 10), 0);
    /* Counted from the first line, not from the last byte. */
    ck_assert_int_ge(strtol(buf_get(&r.body) + 10, NULL, 10), 25);
    rig_done(&r);
    close(fd);
}
END_TEST

/* ---- large replies ---- */

static struct spool huge;

static void huge_reply(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();

    (void)app;
    (void)buf_str(http_parts_text(p), "{\"stdout\":");
    http_parts_json_string(p, &huge);
    (void)buf_str(http_parts_text(p), ",\"data\":\"");
    http_parts_base64(p, &huge);
    (void)buf_str(http_parts_text(p), "\"}");
    http_reply_parts(x, 200, "application/json", p);
}

static const struct http_route huge_routes[] = {
    {.method = "GET", .path = "/huge", .handle = huge_reply},
    {0},
};

static const struct http_api huge_api = {.name = "huge", .routes = huge_routes, .fail = rig_fail};
static const struct http_api *const huge_apis[] = {&huge_api, NULL};

START_TEST(a_reply_of_64_mebibytes_grows_memory_by_little)
{
    enum { MIB = 64 };
    struct http_limits l = rig_limits();
    struct http_server *s = rig_open(&l, huge_apis, NULL);
    auto_free char *piece = xmalloc(65536);
    int fd = rig_dial(s);
    size_t got = 0;
    ssize_t n;
    long before;
    int64_t began;

    spool_init(&huge, "/tmp");
    memset(piece, 'x', 65536);
    for (int i = 0; i < MIB * 16; i++)
        add_bytes(&huge, piece, 65536);
    before = rig_kib("/proc/self/status", "VmHWM:");
    began = clock_ms();
    rig_say(fd, "GET /huge HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    while ((n = recv(fd, piece, 65536, 0)) > 0)
        got += (size_t)n;
    ck_assert_uint_gt(got, ((size_t)MIB << 20) / 3 * 7);
    printf("http_answer: reply of %zu bytes in %lld ms: peak memory +%ld KiB\n", got,
           (long long)(clock_ms() - began), rig_kib("/proc/self/status", "VmHWM:") - before);
    if (RIG_MEASURES)
        ck_assert_int_lt(rig_kib("/proc/self/status", "VmHWM:") - before, 2048);
    close(fd);
    http_server_free(s);
    spool_done(&huge);
}
END_TEST

/* ---- speed ---- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

START_TEST(a_small_exchange_on_a_kept_connection_is_quick)
{
    static const char request[] = "POST /plain HTTP/1.1\r\n" H "Content-Type: application/json\r\n"
                                  "Content-Length: 16\r\n\r\n{\"code\":\"1 + 1\"}";
    enum { ROUNDS = 5000 };
    static int64_t took[ROUNDS];
    char reply[1024];
    int fd = rig_dial(server);

    for (int i = 0; i < ROUNDS; i++) {
        int64_t began = clock_us();

        rig_send(fd, request, sizeof(request) - 1);
        /* One packet, one read: head and body come together. */
        ck_assert_int_gt(recv(fd, reply, sizeof(reply), 0), 100);
        took[i] = clock_us() - began;
    }
    qsort(took, ROUNDS, sizeof(*took), by_value);
    printf("http_answer: JSON POST on a kept connection: p50 %lld us, p99 %lld us\n",
           (long long)took[ROUNDS / 2], (long long)took[ROUNDS * 99 / 100]);
    ck_assert_int_lt(took[ROUNDS / 2], RIG_MEASURES ? 2000 : 20000);
    close(fd);
}
END_TEST

/* ---- a client that others wrote ---- */

static size_t gather(char *data, size_t size, size_t n, void *ctx)
{
    return buf_add(ctx, data, size * n) < 0 ? 0 : size * n;
}

START_TEST(libcurl_understands_it)
{
    CURL *curl = curl_easy_init();
    auto_free char *body = xcalloc(1, 600001);
    char url[64];
    struct buf got;
    long status = 0, connects = 9;

    buf_init(&got, 64 << 20);
    memset(body, ' ', 600000);
    memcpy(body, "[1]", 3);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, gather);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/parts",
                   (unsigned)http_listener_port(server, 0));
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    ck_assert_int_eq(curl_easy_perform(curl), CURLE_OK);
    ck_assert_str_eq(buf_get(&got), want_parts);
    buf_clear(&got);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/plain",
                   (unsigned)http_listener_port(server, 0));
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    ck_assert_int_eq(curl_easy_perform(curl), CURLE_OK);
    ck_assert_str_eq(buf_get(&got), "body");
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
    ck_assert_int_eq(status, 201);
    ck_assert_int_eq(connects, 0); /* the connection was kept */
    curl_easy_cleanup(curl);
    buf_done(&got);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_reply_has_status_type_length_and_headers);
    tcase_add_test(t, head_is_get_without_the_body);
    tcase_add_test(t, http_1_0_closes_unless_asked_to_keep);
    tcase_add_test(t, connection_close_is_honoured);
    tcase_add_test(t, a_handler_that_errs_still_gives_one_reply);
    tcase_add_test(t, long_bodies_and_parts_arrive_whole);
    tcase_add_test(t, events_arrive_one_by_one);
    tcase_add_test(t, a_stream_ends_when_its_client_goes);
    tcase_add_test(t, a_handler_sees_its_client_go_and_completes_once_in_reverse);
    tcase_add_test(t, completes_once_when_the_client_goes_in_the_middle_of_a_reply);
    tcase_add_test(t, the_client_is_named_and_the_arrival_is_timed);
    tcase_add_test(t, a_reply_of_64_mebibytes_grows_memory_by_little);
    tcase_add_test(t, a_small_exchange_on_a_kept_connection_is_quick);
    tcase_add_test(t, libcurl_understands_it);
}

UNIT_MAIN("http_answer", add_tests)
