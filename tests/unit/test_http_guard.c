#include <errno.h>

#include "http_rig.h"

static void echo(struct http_exchange *x, void *app)
{
    size_t n;

    (void)app;
    ck_assert_ptr_nonnull(http_body(x, &n));
    rig_reply(x, 200, http_body(x, &n));
}

static void hello(struct http_exchange *x, void *app)
{
    (void)app;
    rig_reply(x, 200, "hello");
}

static void show(struct http_exchange *x, void *app)
{
    char text[256];

    (void)app;
    (void)snprintf(text, sizeof(text), "%s|%s|%s|%s|%s", http_method(x), http_path(x),
                   http_match(x, 0), http_tail(x),
                   http_query(x, "q") ? http_query(x, "q") : "(none)");
    rig_reply(x, 200, text);
}

static const struct http_route routes[] = {
    {.method = "POST", .path = "/echo", .handle = echo, .body = HTTP_BODY_RAW},
    {.method = "GET", .path = "/hello", .handle = hello},
    {.method = "GET", .path = "/items/*", .handle = show},
    {.method = "DELETE", .path = "/items/*", .handle = show},
    {.method = "GET", .path = "/items/*/of/*", .handle = show},
    {0},
};

static void other_fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    (void)fault;
    (void)text;
    rig_reply(x, status, "other shape");
}

static void other_headers(struct http_exchange *x)
{
    http_set_header(x, "X-Other", "yes");
}

static const struct http_route other_routes[] = {
    {.method = "POST", .path = "/hello", .handle = hello, .body = HTTP_BODY_RAW},
    {.method = "GET", .path = "/other", .handle = hello},
    {0},
};

static const struct http_api api = {.name = "first", .routes = routes, .fail = rig_fail};
static const struct http_api other = {
    .name = "other", .routes = other_routes, .fail = other_fail, .headers = other_headers};
static const struct http_api *const apis[] = {&api, &other, NULL};

static const char *const hosts[] = {"sandbox.example", NULL};
static const char *const origins[] = {"https://console.example", NULL};

static struct http_server *server;

static void setup(void)
{
    struct http_limits l = rig_limits();

    l.hosts = hosts;
    l.origins = origins;
    server = rig_open(&l, apis, NULL);
}

static void teardown(void)
{
    http_server_free(server);
}

#define H "Host: localhost\r\n"

/* What must not get through, since a proxy in front could read it another way. */
/* clang-format off */
static const struct smuggle {
    const char *request;
    size_t n; /* 0: strlen */
    int status;
    const char *words;
} smuggles[] = {
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 38\r\n\r\nhello"
     "GET /hello HTTP/1.1\r\n" H "\r\n", 0, 400, "more than one Content-Length"},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 0, 400,
     "more than one Content-Length"},
    {"POST /echo HTTP/1.1\r\n" H
     "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400,
     "both Content-Length and Transfer-Encoding"},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 400,
     "Transfer-Encoding is not 'chunked'"},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 0, 400,
     "Transfer-Encoding is not 'chunked'"},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
     0, 400, "more than one Transfer-Encoding"},
    {"POST /echo HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400,
     "Transfer-Encoding in an HTTP/1.0 request"},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400,
     "the name of a header line is not a token"},
    {"GET /hello HTTP/1.1\r\n" H "Content Length: 5\r\n\r\n", 0, 400,
     "the name of a header line is not a token"},
    {"GET /hello HTTP/1.1\r\n" H ": x\r\n\r\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\n" H "Host: localhost\r\n\r\n", 0, 400, "more than one Host"},
    {"GET /hello HTTP/1.1\r\nAccept: x\r\n\r\n", 0, 400, "Host is missing"},
    {"GET /hello HTTP/1.1\r\n" H "Origin: a\r\nOrigin: b\r\n\r\n", 0, 400, "more than one Origin"},
    {"GET /hello%00 HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /hello?q=%00x HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /items/a%0d%0aX HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /items/\x01 HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /items/\x7f HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /items/a b HTTP/1.1\r\n" H "\r\n", 0, 400, "a control character or space"},
    {"GET /items/%zz HTTP/1.1\r\n" H "\r\n", 0, 400, "a percent escape"},
    {"GET /items/%f HTTP/1.1\r\n" H "\r\n", 0, 400, "a percent escape"},
    {"GET /items/%ff HTTP/1.1\r\n" H "\r\n", 0, 400, "the request target is not UTF-8"},
    {"GET http://localhost/hello HTTP/1.1\r\n" H "\r\n", 0, 400, "must begin with '/'"},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, 400, "must begin with '/'"},
    {"GET /hello\0/x HTTP/1.1\r\n" H "\r\n", 43, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\nA: b\0c\r\n" H "\r\n", 48, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\n" H "\r\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\nA: b\n" H "\r\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\n" H "\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\nA: b\r\n c\r\n" H "\r\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\nA: b\r\n\tc\r\n" H "\r\n", 0, 400,
     "a NUL, a bare LF or a folded line"},
    {"GET  /hello HTTP/1.1\r\n" H "\r\n", 0, 400, "a NUL, a bare LF or a folded line"},
    {"GET /hello HTTP/1.1\r\nA: b\rc: d\r\n" H "\r\n", 0, 400,
     "a control character in a header line"},
    {"GET /hello HTTP/1.1\r\nA: \x1b[2J\r\n" H "\r\n", 0, 400,
     "a control character in a header line"},
    {"GET /hello HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody", 0, 400,
     "a GET here takes no body"},
    {"HEAD /hello HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody", 0, 400, ""},
    {"GET /hello HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400,
     "a GET here takes no body"},
    {"DELETE /items/a HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody", 0, 400,
     "a DELETE here takes no body"},
    {"GET /hello HTTP/1.1\r\nHost: a:b:c\r\n\r\n", 0, 400, "Host is not a name or address"},
    {"GET /hello HTTP/1.1\r\nHost: \r\n\r\n", 0, 400, "Host is not a name or address"},
    {"GET /hello HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, 400, "Host is not a name or address"},
    {"GET /hello HTTP/1.1\r\nHost: localhost:99999\r\n\r\n", 0, 400, "Host is not a name"},
    {"GET /hello HTTP/1.1\r\nHost: localhost:+80\r\n\r\n", 0, 400, "Host is not a name"},
};
/* clang-format on */

START_TEST(refuses_what_a_proxy_may_read_differently_and_closes)
{
    const struct smuggle *s = &smuggles[_i];
    bool is_head = strncmp(s->request, "HEAD", 4) == 0;
    int fd = rig_dial(server);
    struct rig_reply r;

    rig_send(fd, s->request, s->n ? s->n : strlen(s->request));
    r = rig_read(fd, !is_head);
    ck_assert_msg(r.status == s->status, "%s: %d %s", s->request, r.status, buf_get(&r.body));
    ck_assert_msg(strstr(buf_get(&r.body), s->words) != NULL, "%s: %s", s->request,
                  buf_get(&r.body));
    if (!is_head)
        ck_assert_msg(strstr(buf_get(&r.body), "{\"fault\":2,") != NULL, "%s", buf_get(&r.body));
    ck_assert_str_eq(rig_header(&r, "Connection"), "close");
    ck_assert_str_eq(rig_header(&r, "X-Content-Type-Options"), "nosniff");
    ck_assert(rig_is_closed(fd));
    rig_done(&r);
    close(fd);
}
END_TEST

/* What the library refuses by itself, in no dialect's shape. */
/* clang-format off */
static const struct refusal {
    const char *request;
    int status;
} refusals[] = {
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello", 400},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", 400},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", 400},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: \r\n\r\nhello", 400},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", 400},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 10000000000000000000000\r\n\r\nhello", 413},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 413},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXY", 400},
    {"GET /hello HTTP/1.1\r\nno colon here\r\n" H "\r\n", 400},
    {"GET /hello\r\n\r\n", 400},
    {"GET /hello HTTP/2.0\r\n" H "\r\n", 505},
};
/* clang-format on */

START_TEST(the_library_refuses_the_rest_by_itself)
{
    struct rig_reply r = rig_once(server, refusals[_i].request);

    ck_assert_msg(r.status == refusals[_i].status, "%s: %d", refusals[_i].request, r.status);
    rig_done(&r);
}
END_TEST

/* Sends a head made of `n` times `piece` between a beginning and an end. */
static struct rig_reply ask_large(const char *begin, const char *piece, size_t n, const char *end)
{
    int fd = rig_dial(server);
    struct rig_reply r;
    struct buf b;

    buf_init(&b, 1 << 24);
    (void)buf_str(&b, begin);
    for (size_t i = 0; i < n; i++)
        (void)buf_str(&b, piece);
    (void)buf_str(&b, end);
    /* The server may answer and close before all of it is written. */
    (void)!io_write_all(fd, b.data, b.len, clock_ms() + RIG_WAIT_MS, NULL);
    r = rig_read(fd, true);
    buf_done(&b);
    close(fd);
    return r;
}

START_TEST(heads_of_any_size_get_an_answer)
{
    size_t answered = 0, refused = 0;

    for (size_t kib = 1; kib <= 40; kib++) {
        struct rig_reply r =
            ask_large("GET /hello HTTP/1.1\r\n" H "A: ", "0123456789abcdef0123456789abcdef",
                      32 * kib, "\r\n\r\n");

        ck_assert_msg(r.status == 200 || r.status == 431, "%zu KiB: %d", kib, r.status);
        ck_assert_msg(kib > 9 || r.status == 200, "%zu KiB: %d", kib, r.status);
        answered += r.status == 200;
        refused += r.status == 431;
        rig_done(&r);
    }
    ck_assert_uint_ge(answered, 9);
    ck_assert_uint_ge(refused, 25);
}
END_TEST

START_TEST(many_header_lines_get_431)
{
    for (size_t n = 10; n <= 2560; n *= 2) {
        struct rig_reply r = ask_large("GET /hello HTTP/1.1\r\n" H, "A: b\r\n", n, "\r\n");

        ck_assert_msg(r.status == (n < 100 ? 200 : 431), "%zu: %d", n, r.status);
        rig_done(&r);
    }
}
END_TEST

START_TEST(a_long_uri_gets_414)
{
    struct rig_reply r = ask_large("GET /", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1000,
                                   " HTTP/1.1\r\n" H "\r\n");

    ck_assert_int_eq(r.status, 414);
    rig_done(&r);
}
END_TEST

START_TEST(a_long_chunk_extension_does_no_harm)
{
    struct rig_reply r =
        ask_large("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5;",
                  "x=yyyyyyyyyyyyyyyyyy", 1000, "\r\nhello\r\n0\r\n\r\n");

    ck_assert_msg(r.status >= 400 || r.status == 0, "%d", r.status);
    rig_done(&r);
    r = rig_once(server, "GET /hello HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
}
END_TEST

/* clang-format off */
static const struct fine {
    const char *request, *body;
} fine[] = {
    {"GET /hello HTTP/1.1\r\n" H "\r\n", "hello"},
    {"\r\n\r\nGET /hello HTTP/1.1\r\n" H "\r\n", "hello"},
    {"GET /hello HTTP/1.1\r\nHost:localhost\r\nEmpty:\r\nTabs:\ta\tb \r\n\r\n", "hello"},
    {"GET /hello HTTP/1.1\r\n" H "Cookie: a=b; c=\"d\"; e\r\n\r\n", "hello"},
    {"GET /hello HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "hello"},
    {"GET /hello?q=%0x HTTP/1.0\r\n\r\n", ""},
    {"GET /hello HTTP/1.0\r\n\r\n", "hello"},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", "hello"},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 005\r\n\r\nhello", "hello"},
    {"POST /echo HTTP/1.1\r\n" H
     "Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: x\r\n\r\n", "hello"},
    {"GET /items/a%20b%C3%A9?x=1&q=c+d%2B%C3%A9&y HTTP/1.1\r\n" H "\r\n",
     "GET|/items/a b\xc3\xa9|a b\xc3\xa9|a b\xc3\xa9|c d+\xc3\xa9"},
    {"GET /items/7/of/8?q= HTTP/1.1\r\n" H "\r\n", "GET|/items/7/of/8|7|8|"},
    {"DELETE /items/7?z=q HTTP/1.1\r\n" H "\r\n", "DELETE|/items/7|7|7|(none)"},
    {"GET /other HTTP/1.1\r\n" H "\r\n", "hello"},
    {"POST /hello?what=ever HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "hello"},
};
/* clang-format on */

START_TEST(takes_what_is_fine)
{
    struct rig_reply r = rig_once(server, fine[_i].request);

    ck_assert_msg(r.status == (*fine[_i].body ? 200 : 400), "%s: %d", fine[_i].request, r.status);
    if (*fine[_i].body)
        ck_assert_str_eq(buf_get(&r.body), fine[_i].body);
    rig_done(&r);
}
END_TEST

/* clang-format off */
static const struct lost {
    const char *request;
    int status;
    const char *allow, *body;
} lost[] = {
    {"GET /nothing HTTP/1.1\r\n" H "\r\n", 404, "", "{\"fault\":0,"},
    {"GET /hello/ HTTP/1.1\r\n" H "\r\n", 404, "", "{\"fault\":0,"},
    {"GET /items/ HTTP/1.1\r\n" H "\r\n", 404, "", "{\"fault\":0,"},
    {"GET /items/a%2Fb HTTP/1.1\r\n" H "\r\n", 404, "", "{\"fault\":0,"},
    {"GET /items/a/b HTTP/1.1\r\n" H "\r\n", 404, "", "{\"fault\":0,"},
    {"GET /echo HTTP/1.1\r\n" H "\r\n", 405, "POST", "{\"fault\":1,"},
    {"POST /items/7 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab", 405, "GET, HEAD, DELETE",
     "{\"fault\":1,"},
    {"PUT /hello HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 405, "GET, HEAD, POST",
     "{\"fault\":1,"},
    {"get /hello HTTP/1.1\r\n" H "\r\n", 405, "GET, HEAD, POST", "{\"fault\":1,"},
    {"OPTIONS /hello HTTP/1.1\r\n" H "\r\n", 405, "GET, HEAD, POST", "{\"fault\":1,"},
    {"PUT /other HTTP/1.1\r\n" H "\r\n", 405, "GET, HEAD", "other shape"},
};
/* clang-format on */

START_TEST(unknown_paths_and_methods_get_404_and_405_in_shape)
{
    int fd = rig_dial(server);
    struct rig_reply r = rig_ask(fd, lost[_i].request);

    ck_assert_msg(r.status == lost[_i].status, "%s: %d", lost[_i].request, r.status);
    ck_assert_str_eq(rig_header(&r, "Allow"), lost[_i].allow);
    ck_assert_msg(strncmp(buf_get(&r.body), lost[_i].body, strlen(lost[_i].body)) == 0, "%s",
                  buf_get(&r.body));
    rig_done(&r);
    /* Such a mistake does not cost the connection. */
    r = rig_ask(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(r.status, 200);
    rig_done(&r);
    close(fd);
}
END_TEST

START_TEST(a_dialect_adds_its_headers_to_its_replies_alone)
{
    struct rig_reply r = rig_once(server, "GET /other HTTP/1.1\r\n" H "\r\n");

    ck_assert_str_eq(rig_header(&r, "X-Other"), "yes");
    rig_done(&r);
    r = rig_once(server, "PUT /other HTTP/1.1\r\n" H "\r\n");
    ck_assert_str_eq(rig_header(&r, "X-Other"), "yes");
    rig_done(&r);
    r = rig_once(server, "GET /hello HTTP/1.1\r\n" H "\r\n");
    ck_assert_str_eq(rig_header(&r, "X-Other"), "");
    rig_done(&r);
}
END_TEST

/* ---- who may ask: Host, Origin, Sec-Fetch-Site ---- */

#define POST_ "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n"

/* clang-format off */
static const struct site {
    const char *lines;
    int status;
} sites[] = {
    {H, 200},
    {"Host: LocalHost.\r\n", 200},
    {"Host: localhost:6000\r\n", 200},
    {"Host: 127.0.0.1\r\n", 200},
    {"Host: 192.168.1.5:8000\r\n", 200},
    {"Host: [::1]\r\n", 200},
    {"Host: [fe80::1]:8000\r\n", 200},
    {"Host: SANDBOX.example\r\n", 200},
    {"Host: sandbox.example.:80\r\n", 200},
    /* A name of a stranger that resolves to this machine: DNS rebinding. */
    {"Host: evil.example\r\n", 403},
    {"Host: evil.example:6000\r\nOrigin: http://evil.example:6000\r\n", 403},
    {"Host: localhost.evil.example\r\n", 403},
    {"Host: xsandbox.example\r\n", 403},
    {"Host: 127.0.0.1.evil.example\r\n", 403},
    {"Host: 0x7f.1\r\n", 403},
    {"Host: 127.1\r\n", 403},
    {"Host: ::1]\r\n", 400},
    {"Host: [localhost]\r\n", 403},
    /* Pages: of this service, of a listed console, of strangers. */
    {H "Origin: http://localhost\r\n", 200},
    {"Host: localhost:6000\r\nOrigin: http://localhost:6000\r\n", 200},
    {"Host: localhost:80\r\nOrigin: http://localhost\r\n", 200},
    {"Host: sandbox.example\r\nOrigin: https://sandbox.example\r\n", 200},
    {"Host: [::1]:6000\r\nOrigin: http://[::1]:6000\r\n", 200},
    {"Host: localhost:6000\r\nOrigin: http://localhost\r\n", 403},
    {"Host: localhost:6000\r\nOrigin: http://localhost:6001\r\n", 403},
    {"Host: localhost:6000\r\nOrigin: http://127.0.0.1:6000\r\n", 403},
    {H "Origin: https://console.example\r\n", 200},
    {H "Origin: https://console.example\r\nSec-Fetch-Site: cross-site\r\n", 200},
    {H "Origin: http://console.example\r\n", 403},
    {H "Origin: https://console.example.evil\r\n", 403},
    {H "Origin: null\r\n", 403},
    {H "Origin: \r\n", 403},
    {H "Origin: http://\r\n", 403},
    {H "Origin: file://localhost\r\n", 403},
    {H "Origin: http://evil.example\r\n", 403},
    /* A form post, a fetch with no-cors, an image: the browser names the site if not the Origin. */
    {H "Origin: http://evil.example\r\nContent-Type: text/plain\r\nSec-Fetch-Site: cross-site\r\n",
     403},
    {H "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: cross-site\r\n", 403},
    {H "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-site\r\n", 403},
    {H "Sec-Fetch-Site: Cross-Site\r\n", 403},
    {H "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n", 200},
    {H "Sec-Fetch-Site: none\r\n", 200},
};
/* clang-format on */

START_TEST(only_programs_and_pages_of_its_own_may_ask)
{
    const struct site *s = &sites[_i];
    struct rig_reply r;
    char request[1024];

    (void)snprintf(request, sizeof(request), POST_ "%s\r\nhi", s->lines);
    r = rig_once(server, request);
    ck_assert_msg(r.status == s->status, "%s: %d %s", s->lines, r.status, buf_get(&r.body));
    if (s->status == 403)
        ck_assert_msg(strstr(buf_get(&r.body), "{\"fault\":5,") != NULL, "%s", buf_get(&r.body));
    if (s->status == 200)
        ck_assert_str_eq(buf_get(&r.body), "hi");
    rig_done(&r);
}
END_TEST

START_TEST(a_listed_origin_gets_cors_headers_and_others_none)
{
    struct rig_reply r = rig_once(server, POST_ H "Origin: https://console.example\r\n\r\nhi");

    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Origin"), "https://console.example");
    ck_assert_str_eq(rig_header(&r, "Vary"), "Origin");
    ck_assert_ptr_nonnull(strstr(rig_header(&r, "Access-Control-Expose-Headers"), "X-Run-Id"));
    rig_done(&r);
    r = rig_once(server, POST_ H "Origin: http://localhost\r\n\r\nhi");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Origin"), "");
    ck_assert_str_eq(rig_header(&r, "Vary"), "Origin");
    rig_done(&r);
    r = rig_once(server, POST_ H "Origin: http://evil.example\r\n\r\nhi");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Origin"), "");
    rig_done(&r);
}
END_TEST

#define PREFLIGHT "OPTIONS /hello HTTP/1.1\r\n" H "Access-Control-Request-Method: POST\r\n"

START_TEST(preflights_are_answered_for_listed_origins_only)
{
    struct rig_reply r =
        rig_once(server, PREFLIGHT "Origin: https://console.example\r\n"
                                   "Access-Control-Request-Headers: authorization\r\n"
                                   "Access-Control-Request-Private-Network: true\r\n\r\n");

    ck_assert_int_eq(r.status, 204);
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Origin"), "https://console.example");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Methods"), "GET, HEAD, POST");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Headers"), "authorization");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Private-Network"), "true");
    ck_assert_str_eq(rig_header(&r, "Access-Control-Max-Age"), "600");
    rig_done(&r);
    r = rig_once(server, PREFLIGHT "Origin: https://evil.example\r\n\r\n");
    ck_assert_int_eq(r.status, 403);
    ck_assert_str_eq(rig_header(&r, "Access-Control-Allow-Origin"), "");
    rig_done(&r);
    r = rig_once(server, PREFLIGHT "Origin: http://localhost\r\n\r\n");
    ck_assert_int_eq(r.status, 405);
    rig_done(&r);
    r = rig_once(server, "OPTIONS /nothing HTTP/1.1\r\n" H "Origin: https://console.example\r\n"
                         "Access-Control-Request-Method: POST\r\n\r\n");
    ck_assert_int_eq(r.status, 404);
    rig_done(&r);
}
END_TEST

/* One stream, one answer for each request in it: nobody's bytes become another's request. */
START_TEST(pipelined_requests_are_answered_in_order)
{
    int fd = rig_dial(server);
    struct rig_reply r;

    rig_say(fd, POST_ H "\r\nabGET /nothing HTTP/1.1\r\n" H "\r\n" POST_ H "\r\ncd");
    r = rig_read(fd, true);
    ck_assert_str_eq(buf_get(&r.body), "ab");
    rig_done(&r);
    r = rig_read(fd, true);
    ck_assert_int_eq(r.status, 404);
    rig_done(&r);
    r = rig_read(fd, true);
    ck_assert_str_eq(buf_get(&r.body), "cd");
    rig_done(&r);
    close(fd);
}
END_TEST

/* Heads that come byte by byte are the same heads. */
START_TEST(a_head_in_single_bytes_is_read_like_a_whole_one)
{
    static const char text[] = POST_ H "X: y\r\n\r\nhi";
    int fd = rig_dial(server);
    struct rig_reply r;

    for (size_t i = 0; i < sizeof(text) - 1; i++)
        rig_send(fd, text + i, 1);
    r = rig_read(fd, true);
    ck_assert_str_eq(buf_get(&r.body), "hi");
    rig_done(&r);
    close(fd);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, refuses_what_a_proxy_may_read_differently_and_closes, 0,
                        ARRAY_LEN(smuggles));
    tcase_add_loop_test(t, the_library_refuses_the_rest_by_itself, 0, ARRAY_LEN(refusals));
    tcase_add_test(t, heads_of_any_size_get_an_answer);
    tcase_add_test(t, many_header_lines_get_431);
    tcase_add_test(t, a_long_uri_gets_414);
    tcase_add_test(t, a_long_chunk_extension_does_no_harm);
    tcase_add_loop_test(t, takes_what_is_fine, 0, ARRAY_LEN(fine));
    tcase_add_loop_test(t, unknown_paths_and_methods_get_404_and_405_in_shape, 0, ARRAY_LEN(lost));
    tcase_add_test(t, a_dialect_adds_its_headers_to_its_replies_alone);
    tcase_add_loop_test(t, only_programs_and_pages_of_its_own_may_ask, 0, ARRAY_LEN(sites));
    tcase_add_test(t, a_listed_origin_gets_cors_headers_and_others_none);
    tcase_add_test(t, preflights_are_answered_for_listed_origins_only);
    tcase_add_test(t, pipelined_requests_are_answered_in_order);
    tcase_add_test(t, a_head_in_single_bytes_is_read_like_a_whole_one);
}

UNIT_MAIN_ONE_PROCESS("http_guard", add_tests)
