#include <fcntl.h>
#include <sys/resource.h>

#include "base/base64.h"
#include "base/json_sieve.h"
#include "http/state.h"
#include "http_rig.h"

static atomic_uint completed;

static void count_complete(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void raw(struct http_exchange *x, void *app)
{
    struct buf b;
    size_t n;
    const char *body = http_body(x, &n);

    (void)app;
    buf_init(&b, 1 << 22);
    (void)buf_add(&b, body, n);
    http_on_complete(x, count_complete, &completed);
    http_reply(x, 200, "application/octet-stream", &b);
}

static void json(struct http_exchange *x, void *app)
{
    char *text = cJSON_PrintUnformatted(http_json(x));

    (void)app;
    ck_assert_str_eq(http_body(x, NULL), "");
    http_on_complete(x, count_complete, &completed);
    rig_reply(x, 200, text);
    cJSON_free(text);
}

/* Answers "name=size:first byte" for each file, and whether strange placeholders give nothing. */
static void files(struct http_exchange *x, void *app)
{
    const cJSON *list = cJSON_GetObjectItem(http_json(x), "files"), *item = NULL;
    char text[1024] = "";

    (void)app;
    cJSON_ArrayForEach(item, list)
    {
        const struct spool *s = http_blob(x, cJSON_GetObjectItem(item, "b64_data"));
        unsigned char first = 0;

        ck_assert_ptr_nonnull(s);
        (void)!spool_read(s, 0, &first, 1, NULL);
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s=%llu:%02x%s ",
                       cJSON_GetStringValue(cJSON_GetObjectItem(item, "name")),
                       (unsigned long long)s->size, first, s->fd >= 0 ? " on disk" : "");
    }
    ck_assert_ptr_null(http_blob(x, NULL));
    ck_assert_ptr_null(http_blob(x, cJSON_GetObjectItem(http_json(x), "strange")));
    rig_reply(x, 200, text);
}

static void no_body(struct http_exchange *x, void *app)
{
    (void)app;
    ck_assert_ptr_null(http_json(x));
    rig_reply(x, 200, "none");
}

static const struct http_blob_field blobs[] = {{"files[].b64_data"}, {NULL}};

static const struct http_route routes[] = {
    {.method = "POST", .path = "/raw", .handle = raw, .body = HTTP_BODY_RAW},
    {.method = "POST", .path = "/json", .handle = json, .body = HTTP_BODY_JSON},
    {.method = "POST", .path = "/files", .handle = files, .body = HTTP_BODY_JSON, .blobs = blobs},
    {.method = "POST", .path = "/none", .handle = no_body},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = rig_fail};
static const struct http_api *const apis[] = {&api, NULL};
static struct http_server *server;
static struct http_limits limits;

static void setup(void)
{
    limits = rig_limits();
    server = rig_open(&limits, apis, NULL);
}

static void teardown(void)
{
    http_server_free(server);
}

#define H "Host: localhost\r\n"

static struct rig_reply post(int fd, const char *path, const char *body, size_t n)
{
    char head[256];

    (void)snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n", path,
                   n);
    rig_say(fd, head);
    rig_send(fd, body, n);
    return rig_read(fd, true);
}

/* clang-format off */
static const struct json_case {
    const char *body;
    int status;
    const char *words;
} json_cases[] = {
    {"{\"a\":[1,2.5,\"\\u00e9\"]}", 200, "{\"a\":[1,2.5,\"\xc3\xa9\"]}"},
    {" [ ] ", 200, "[]"},
    {"-12345678.5", 200, "-12345678.5"},
    {"", 400, "Expecting value, the text is empty: line 1 column 1 (byte 0)"},
    {"{\"a\":1,}", 400, "Expecting property name enclosed in double quotes: line 1 column 8"},
    {"{} {}", 400, "Extra data: line 1 column 4 (byte 3)"},
    {"{\"a\":\"\\u0000\"}", 400, "NUL character in a string"},
    {"{\"a\":1,\"a\":2}", 400, "Duplicate key \\\"a\\\": line 1 column 8"},
    {"{\"a\":1e999}", 400, "Number out of range"},
    {"{\"a\":01}", 400, "Invalid number"},
    {"{\"a\":\"\xff\"}", 400, "Invalid UTF-8"},
    {"{\"a\":\"\n\"}", 400, "Invalid control character at"},
    {"{\"a\":\"\\ud800\"}", 400, "Lone surrogate"},
    {"\xef\xbb\xbf{}", 400, "Unexpected UTF-8 BOM"},
};
/* clang-format on */

START_TEST(json_is_strict_and_a_fault_does_not_cost_the_connection)
{
    const struct json_case *c = &json_cases[_i];
    int fd = rig_dial(server);
    struct rig_reply r = post(fd, "/json", c->body, strlen(c->body));

    ck_assert_msg(r.status == c->status, "%s: %d", c->body, r.status);
    ck_assert_msg(strstr(buf_get(&r.body), c->words) != NULL, "%s: %s", c->body, buf_get(&r.body));
    if (c->status == 400)
        ck_assert_int_eq(strncmp(buf_get(&r.body), "{\"fault\":3,", 11), 0);
    rig_done(&r);
    r = post(fd, "/json", "[1]", 3);
    ck_assert_str_eq(buf_get(&r.body), "[1]");
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(bodies_may_hold_nul_where_they_are_raw_and_nowhere_in_json)
{
    int fd = rig_dial(server);
    struct rig_reply r = post(fd, "/raw", "a\0b", 3);

    ck_assert_uint_eq(r.body.len, 3);
    ck_assert_mem_eq(r.body.data, "a\0b", 3);
    rig_done(&r);
    r = post(fd, "/json", "[1\0]", 4);
    ck_assert_int_eq(r.status, 400);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(a_missing_body_where_json_is_due_is_a_fault)
{
    struct rig_reply r = rig_once(server, "POST /json HTTP/1.1\r\n" H "\r\n");

    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "the text is empty"));
    rig_done(&r);
    r = rig_once(server, "POST /none HTTP/1.1\r\n" H "\r\n");
    ck_assert_str_eq(buf_get(&r.body), "none");
    rig_done(&r);
}
END_TEST

START_TEST(too_many_values_and_too_deep_ones_are_refused)
{
    int fd = rig_dial(server);
    char text[4096];
    struct rig_reply r;

    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    r = post(fd, "/json", text, 2000);
    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "Nesting deeper than 64 levels"));
    rig_done(&r);
    for (size_t i = 0; i < 1001; i++)
        memcpy(text + 2 * i, i ? ",0" : "[0", 2);
    text[2002] = ']';
    r = post(fd, "/json", text, 2003);
    ck_assert_int_eq(r.status, 413);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "{\"fault\":4,"));
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "More than 1000 values and keys"));
    rig_done(&r);
    text[1998] = ']';
    r = post(fd, "/json", text, 1999);
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(an_announced_body_over_the_limit_gets_413_before_it_comes)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, "POST /raw HTTP/1.1\r\n" H "Content-Length: 1048577\r\n\r\n");

    ck_assert_int_eq(r.status, 413);
    ck_assert_str_eq(buf_get(&r.body),
                     "{\"fault\":4,\"error\":\"the body is larger than 1048576 bytes\"}");
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
}
END_TEST

/* A client that reads only after it has sent all must see the answer, not a reset. */
START_TEST(the_answer_to_a_large_refused_body_survives_its_sending)
{
    size_t n = 8 << 20;
    auto_free char *body = xcalloc(n, 1);
    int fd = rig_dial(server);
    struct rig_reply r = post(fd, "/raw", body, n);

    ck_assert_int_eq(r.status, 413);
    ck_assert(r.is_whole);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(a_body_of_just_the_limit_is_taken)
{
    size_t n = 1 << 20;
    auto_free char *body = xcalloc(n, 1);
    int fd = rig_dial(server);
    struct rig_reply r = post(fd, "/raw", body, n);

    ck_assert_int_eq(r.status, 200);
    ck_assert_uint_eq(r.body.len, n);
    rig_done(&r);
    close(fd);
}
END_TEST

/* Chunks of 64 KiB until the server says something; the number sent. */
static int send_chunks(int fd, int most)
{
    static char chunk[7 + 65536 + 2] = "10000\r\n";
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int sent = 0;

    memset(chunk + 7, 'x', 65536);
    memcpy(chunk + 7 + 65536, "\r\n", 2);
    while (sent < most && poll(&p, 1, 0) == 0) {
        if (io_write_all(fd, chunk, sizeof(chunk), clock_ms() + RIG_WAIT_MS, NULL) < 0)
            break;
        sent++;
    }
    return sent;
}

START_TEST(a_chunked_body_gets_413_where_it_passes_the_limit)
{
    int fd = rig_dial(server), sent;
    struct rig_reply r;

    rig_say(fd, "POST /raw HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
    sent = send_chunks(fd, 16);
    ck_assert_int_eq(sent, 16);
    sent = send_chunks(fd, 4096); /* 256 MiB: it answers long before */
    ck_assert_int_lt(sent, 2048);
    r = rig_read(fd, true);
    ck_assert_int_eq(r.status, 413);
    ck_assert(r.is_whole);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "larger than 1048576 bytes"));
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
    RIG_UNTIL(http_server_busy(server) == 0);
}
END_TEST

START_TEST(expect_100_continue_is_answered_when_the_body_is_wanted)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, "POST /json HTTP/1.1\r\n" H
                                     "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");

    ck_assert_int_eq(r.status, 100);
    rig_done(&r);
    r = rig_ask(fd, "[7]");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(buf_get(&r.body), "[7]");
    rig_done(&r);
    r = rig_ask(fd, "POST /json HTTP/1.1\r\n" H
                    "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(r.status, 413);
    rig_done(&r);
    close(fd);
    r = rig_once(server, "POST /nothing HTTP/1.1\r\n" H
                         "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(r.status, 404);
    rig_done(&r);
}
END_TEST

START_TEST(files_come_as_spools_in_the_order_of_the_text)
{
    static const char body[] =
        "{\"strange\":7,\"files\":[{\"name\":\"a\",\"b64_data\":\"QUJD\"},"
        "{\"b64_data\":\"\",\"name\":\"b\"},{\"name\":\"c\",\"b64_data\":\"/w==\"}]}";
    int fd = rig_dial(server);
    struct rig_reply r = post(fd, "/files", body, strlen(body));

    ck_assert_str_eq(buf_get(&r.body), "a=3:41 b=0:00 c=1:ff ");
    rig_done(&r);
    r = post(fd, "/files", "{\"files\":[{\"b64_data\":5}]}", 26);
    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "'files[].b64_data' must be a base64 string"));
    rig_done(&r);
    r = post(fd, "/files", "{\"files\":[{\"b64_data\":\"%%%%\"}]}", 31);
    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "'files[].b64_data' is not base64"));
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(text_beside_files_has_the_small_limit)
{
    size_t n = 2 << 20;
    auto_free char *body = xmalloc(n);
    int fd = rig_dial(server);
    struct rig_reply r;

    memset(body, 'x', n);
    memcpy(body, "{\"files\":[],\"t\":\"", 17);
    memcpy(body + n - 2, "\"}", 2);
    r = post(fd, "/files", body, n);
    ck_assert_int_eq(r.status, 413);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "the JSON text is longer than 1048576 bytes"));
    rig_done(&r);
    close(fd);
}
END_TEST

static long peak_kib(void)
{
    return rig_kib("/proc/self/status", "VmHWM:");
}

static void send_file(int fd, const char *name, const char *text, size_t n, size_t times)
{
    char head[64];

    (void)snprintf(head, sizeof(head), "{\"name\":\"%s\",\"b64_data\":\"", name);
    rig_say(fd, head);
    for (size_t i = 0; i < times; i++)
        rig_send(fd, text, n);
    rig_say(fd, "\"}");
}

/* 50 MiB of files in a body of about 70 MiB: nothing of it may stay in memory. */
START_TEST(a_large_upload_grows_memory_by_little)
{
    enum { PIECE = 48 * 1024, TEXT = PIECE / 3 * 4 };
    const int times = unit_rounds((25 << 20) / PIECE, (4 << 20) / PIECE);
    size_t n = (size_t)times * TEXT * 2 + 2 * (strlen("{\"name\":\"x\",\"b64_data\":\"\"}")) +
               strlen("{\"files\":[,]}");
    auto_free unsigned char *data = xmalloc(PIECE);
    auto_free char *text = xmalloc(TEXT);
    struct http_limits big = limits;
    struct http_server *s;
    struct rig_reply r;
    char head[256], want[128];
    long before;
    int fd;

    memset(data, 0xA5, PIECE);
    (void)base64_encode(text, data, PIECE);
    big.body_files_max = 72 << 20;
    big.body_ms = patient(300000);
    s = rig_open(&big, apis, NULL);
    fd = rig_dial(s);
    r = post(fd, "/json", "[1]", 3);
    rig_done(&r);
    before = rig_peak_from_here();
    (void)snprintf(head, sizeof(head), "POST /files HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n",
                   n);
    rig_say(fd, head);
    rig_say(fd, "{\"files\":[");
    send_file(fd, "a", text, TEXT, (size_t)times);
    rig_say(fd, ",");
    send_file(fd, "b", text, TEXT, (size_t)times);
    rig_say(fd, "]}");
    r = rig_read(fd, true);
    (void)snprintf(want, sizeof(want), "a=%d:a5 on disk b=%d:a5 on disk ", PIECE * times,
                   PIECE * times);
    ck_assert_str_eq(buf_get(&r.body), want);
    printf("http_intake: upload of %zu bytes: peak memory +%ld KiB\n", n, peak_kib() - before);
    if (unit_measures())
        ck_assert_int_lt(peak_kib() - before, 8 * 1024);
    rig_done(&r);
    close(fd);
    http_server_free(s);
}
END_TEST

/* The worst JSON for cJSON: as many values as are allowed, in a body of the limit. */
START_TEST(json_takes_at_most_eight_times_its_size)
{
    size_t n = 8 << 20, tokens = 200000, used = 0;
    auto_free char *body = xmalloc(n);
    struct http_limits big = limits;
    struct http_server *s;
    struct rig_reply r;
    char head[128];
    long before;
    int fd;

    big.body_max = big.body_files_max = n;
    big.json_tokens = tokens;
    s = rig_open(&big, apis, NULL);
    fd = rig_dial(s);
    memset(body, ' ', n);
    body[used++] = '[';
    for (size_t i = 0; i < tokens - 2; i++, used += 2)
        memcpy(body + used, "0,", 2);
    body[used++] = '"';
    memset(body + used, 'x', n - used - 2);
    memcpy(body + n - 2, "\"]", 2);
    before = rig_peak_from_here();
    /* To a path that parses and answers little. */
    (void)snprintf(head, sizeof(head), "POST /files HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n",
                   n);
    rig_say(fd, head);
    rig_send(fd, body, n);
    r = rig_read(fd, true);
    ck_assert_int_eq(r.status, 200);
    printf("http_intake: JSON of %zu bytes, %zu values: peak memory +%ld KiB\n", n, tokens,
           peak_kib() - before);
    if (unit_measures())
        ck_assert_int_lt(peak_kib() - before, (long)(8 * n / 1024));
    rig_done(&r);
    close(fd);
    http_server_free(s);
}
END_TEST

/* All but the last value of a body of JSON: it costs far more than its size. */
static int begin_dear_body(struct http_server *s, unsigned tokens)
{
    int fd = rig_dial(s);
    char head[128];

    (void)snprintf(head, sizeof(head), "POST /json HTTP/1.1\r\n" H "Content-Length: %u\r\n\r\n[",
                   2 * tokens + 3);
    rig_say(fd, head);
    for (unsigned i = 0; i < tokens; i++)
        rig_say(fd, "0,");
    return fd;
}

/* What the server holds of such a body once all of it was read. */
static size_t dear_body_held(unsigned tokens)
{
    const struct json_sieve_options o = {.text_max = 1 << 20, .tokens_max = tokens + 2};
    struct json_sieve *sieve = json_sieve_new(&o);
    size_t held;

    ck_assert_int_eq(json_sieve_feed(sieve, "[", 1, NULL), 0);
    for (unsigned i = 0; i < tokens; i++)
        ck_assert_int_eq(json_sieve_feed(sieve, "0,", 2, NULL), 0);
    held = json_sieve_held(sieve);
    json_sieve_free(sieve);
    return held;
}

START_TEST(all_bodies_together_have_a_bound)
{
    enum { TOKENS = 500 };
    struct http_limits small = limits;
    struct http_server *s;
    struct rig_reply r;
    int first, second;

    small.memory = TOKENS * 100; /* for one and a bit */
    s = rig_open(&small, apis, NULL);
    first = begin_dear_body(s, TOKENS);
    /* Whoever passes the bound is refused: not the first, which is there before the others. */
    RIG_UNTIL(atomic_load(&s->held) == dear_body_held(TOKENS));
    second = rig_dial(s);
    r = post(second, "/json", "[1]", 3); /* there is room for little ones */
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(second);
    second = begin_dear_body(s, TOKENS);
    rig_say(second, "0]");
    r = rig_read(second, true);
    ck_assert_int_eq(r.status, 503);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.head), "Retry-After: 1"));
    rig_done(&r);
    close(second);
    rig_say(first, "0]");
    r = rig_read(first, true);
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(first);
    RIG_UNTIL(http_server_busy(s) == 0);
    second = begin_dear_body(s, 2 * TOKENS - 2); /* alone it may pass the bound */
    rig_say(second, "0]");
    r = rig_read(second, true);
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(second);
    http_server_free(s);
}
END_TEST

START_TEST(a_client_that_goes_in_the_middle_of_a_body_leaves_nothing)
{
    int fd = rig_dial(server);

    rig_say(fd, "POST /files HTTP/1.1\r\n" H
                "Content-Length: 1000000\r\n\r\n{\"files\":[{\"b64_data\":\"AAAA");
    RIG_UNTIL(atomic_load(&server->held) > 0);
    ck_assert_uint_eq(http_server_busy(server), 1);
    close(fd);
    RIG_UNTIL(http_server_busy(server) == 0);
    RIG_UNTIL(http_server_connections(server) == 0);
    ck_assert_uint_eq(atomic_load(&server->held), 0);
}
END_TEST

START_TEST(complete_is_called_once_for_each_request)
{
    int fd = rig_dial(server);

    atomic_store(&completed, 0);
    for (unsigned i = 1; i <= 20; i++) {
        struct rig_reply r = post(fd, i & 1 ? "/json" : "/raw", "[1]", 3);

        ck_assert_int_eq(r.status, 200);
        rig_done(&r);
        RIG_UNTIL(atomic_load(&completed) == i);
    }
    close(fd);
    RIG_UNTIL(http_server_connections(server) == 0);
    ck_assert_uint_eq(atomic_load(&completed), 20);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, json_is_strict_and_a_fault_does_not_cost_the_connection, 0,
                        ARRAY_LEN(json_cases));
    tcase_add_test(t, bodies_may_hold_nul_where_they_are_raw_and_nowhere_in_json);
    tcase_add_test(t, a_missing_body_where_json_is_due_is_a_fault);
    tcase_add_test(t, too_many_values_and_too_deep_ones_are_refused);
    tcase_add_test(t, an_announced_body_over_the_limit_gets_413_before_it_comes);
    tcase_add_test(t, the_answer_to_a_large_refused_body_survives_its_sending);
    tcase_add_test(t, a_body_of_just_the_limit_is_taken);
    tcase_add_test(t, a_chunked_body_gets_413_where_it_passes_the_limit);
    tcase_add_test(t, expect_100_continue_is_answered_when_the_body_is_wanted);
    tcase_add_test(t, files_come_as_spools_in_the_order_of_the_text);
    tcase_add_test(t, text_beside_files_has_the_small_limit);
    tcase_add_test(t, a_large_upload_grows_memory_by_little);
    tcase_add_test(t, json_takes_at_most_eight_times_its_size);
    tcase_add_test(t, all_bodies_together_have_a_bound);
    tcase_add_test(t, a_client_that_goes_in_the_middle_of_a_body_leaves_nothing);
    tcase_add_test(t, complete_is_called_once_for_each_request);
}

UNIT_MAIN("http_intake", add_tests)
