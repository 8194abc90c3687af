#include <fcntl.h>

#include "base/base64.h"
#include "http_rig.h"

#define H "Host: localhost\r\n"

static atomic_uint completed;

static void count_complete(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

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

static void done_spool(void *ctx)
{
    spool_done(ctx);
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

/* One whose file went bad: the client must see that the reply is cut. */
static void broken_parts(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();
    static const char *const kinds[] = {"json", "base64", "raw"};
    static struct spool bad;
    auto_fd int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    auto_free char *bytes = read_all(&large);

    (void)app;
    spool_init(&bad, "/tmp");
    add_bytes(&bad, bytes, large.size);
    ck_assert_int_eq(dup2(sink, bad.fd), bad.fd);
    if (strcmp(http_tail(x), kinds[0]) == 0)
        http_parts_json_string(p, &bad);
    else if (strcmp(http_tail(x), kinds[1]) == 0)
        http_parts_base64(p, &bad);
    else
        http_parts_raw(p, &bad);
    http_on_complete(x, done_spool, &bad);
    if (strcmp(http_tail(x), "stream") != 0) {
        http_reply_parts(x, 200, "text/plain", p);
        return;
    }
    http_on_complete(x, free_parts, p);
    http_reply_stream(x, 200, "text/event-stream", pull_parts, p);
}

static void overgrown(struct http_exchange *x, void *app)
{
    struct http_parts *p = http_parts_new();
    struct buf *text = http_parts_text(p);

    (void)app;
    text->max = 1;
    (void)buf_str(text, "too long");
    http_reply_parts(x, 200, "text/plain", p);
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/parts", .handle = parts},
    {.method = "GET", .path = "/known-parts", .handle = known_parts},
    {.method = "GET", .path = "/small-parts", .handle = small_parts},
    {.method = "GET", .path = "/parts-stream", .handle = parts_stream},
    {.method = "GET", .path = "/broken/*", .handle = broken_parts},
    {.method = "GET", .path = "/overgrown", .handle = overgrown},
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

START_TEST(parts_arrive_whole_and_in_order)
{
    int fd = rig_dial(server);
    struct rig_reply r = get(fd, "/parts");

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

START_TEST(parts_answer_http_1_0_and_head_too)
{
    static const char *const paths[] = {"/parts", "/known-parts", "/small-parts"};
    struct rig_reply r = rig_once(server, "GET /parts HTTP/1.0\r\n\r\n");

    ck_assert_str_eq(buf_get(&r.body), want_parts);
    rig_done(&r);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char request[128];
        struct rig_reply whole;
        int fd = rig_dial(server);

        (void)snprintf(request, sizeof(request), "HEAD %s HTTP/1.1\r\n" H "\r\n", paths[i]);
        r = rig_ask(fd, request);
        ck_assert_int_eq(r.status, 200);
        whole = get(fd, paths[i]);
        /* Where the length is unknown the connection ends; else the next reply begins at once. */
        if (i == 0)
            ck_assert_str_eq(rig_header(&r, "Connection"), "close");
        ck_assert_int_eq(whole.status, i == 0 ? 0 : 200);
        ck_assert_int_eq(whole.is_whole, i != 0);
        rig_done(&r);
        rig_done(&whole);
        close(fd);
    }
}
END_TEST

START_TEST(a_spool_that_cannot_be_read_cuts_the_reply)
{
    static const char *const paths[] = {"/broken/json", "/broken/base64", "/broken/raw",
                                        "/broken/stream"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        int fd = rig_dial(server);
        struct rig_reply r = get(fd, paths[i]);

        ck_assert_int_eq(r.status, 200);
        ck_assert(!r.is_whole);
        ck_assert(rig_is_closed(fd));
        rig_done(&r);
        close(fd);
    }
}
END_TEST

START_TEST(text_that_lost_bytes_is_no_answer)
{
    struct rig_reply r = rig_once(server, "GET /overgrown HTTP/1.1\r\n" H "\r\n");

    ck_assert_int_eq(r.status, 500);
    ck_assert_uint_eq(r.body.len, 0);
    rig_done(&r);
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
    const int mib = unit_rounds(64, 4);
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
    for (int i = 0; i < mib * 16; i++)
        add_bytes(&huge, piece, 65536);
    before = rig_peak_from_here();
    began = clock_ms();
    rig_say(fd, "GET /huge HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    while ((n = recv(fd, piece, 65536, 0)) > 0)
        got += (size_t)n;
    ck_assert_uint_gt(got, ((size_t)mib << 20) / 3 * 7);
    printf("http_parts: reply of %zu bytes in %lld ms: peak memory +%ld KiB\n", got,
           (long long)(clock_ms() - began), rig_kib("/proc/self/status", "VmHWM:") - before);
    if (unit_measures())
        ck_assert_int_lt(rig_kib("/proc/self/status", "VmHWM:") - before, 2048);
    close(fd);
    http_server_free(s);
    spool_done(&huge);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, parts_arrive_whole_and_in_order);
    tcase_add_test(t, parts_answer_http_1_0_and_head_too);
    tcase_add_test(t, a_spool_that_cannot_be_read_cuts_the_reply);
    tcase_add_test(t, text_that_lost_bytes_is_no_answer);
    tcase_add_test(t, completes_once_when_the_client_goes_in_the_middle_of_a_reply);
    tcase_add_test(t, a_reply_of_64_mebibytes_grows_memory_by_little);
}

UNIT_MAIN("http_parts", add_tests)
