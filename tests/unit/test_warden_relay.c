/*
 * The container's end of the relay with real sockets: this program is the user's program on the one
 * side and the front on the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/proxy.c"
#include "../../images/warden/pump.c"
#include "../../images/warden/queue.c"
#include "../../images/warden/relay.c"
#include "../../images/warden/relay_listen.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "unit.h"

enum { OUT_CAP = 4 * (FRAME_HEAD + FRAME_MAX), TURN_MS = 2000, BIG = 3 * RELAY_WINDOW };

static uint8_t out_buf[OUT_CAP], control_buf[FRAME_HEAD + FRAME_MAX], data[BIG];
static struct queue out;
static struct pump pump;
static struct child child;
static struct job job = {.output_soft = 1000, .output_hard = 1000};
static struct relay relay;
static struct sockaddr_in listed, proxy;

/* ---- the rig ---- */

static struct sockaddr_in free_address(const char *host)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(inet_pton(AF_INET, host, &a.sin_addr), 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)close(fd);
    return a;
}

static void set_up(void)
{
    char text[100], at[40];

    queue_init(&out, out_buf, sizeof(out_buf));
    child = (struct child){.out_fd = -1, .err_fd = -1, .control_fd = -1};
    pump_init(&pump, &child, &out, control_buf, sizeof(control_buf));
    pump_begin(&pump, &job);
    relay = (struct relay){.out = &out, .pump = &pump};
    listed = free_address("127.0.0.2");
    proxy = free_address("127.0.0.3");
    (void)snprintf(text, sizeof(text), "127.0.0.2:%d=db:1", ntohs(listed.sin_port));
    (void)snprintf(at, sizeof(at), "127.0.0.3:%d", ntohs(proxy.sin_port));
    ck_assert_int_eq(relay_listen(&relay, text, at), 0);
    ck_assert_uint_eq(relay.listeners_n, 2);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
}

static void tear_down(void)
{
    relay_drop(&relay);
    for (size_t i = 0; i < relay.listeners_n; i++)
        (void)close(relay.listeners[i].fd);
}

static void turn(int timeout_ms)
{
    struct pollfd p[RELAY_POLLED];
    size_t n = relay_poll(&relay, p);

    (void)poll(p, n, relay_is_due(&relay) ? 0 : timeout_ms);
    relay_serve(&relay, p, n);
}

/* The next frame for the front; the loop turns until there is one. */
static struct frame next(void)
{
    static uint8_t kept[FRAME_MAX];
    struct frame f = {0};

    for (int i = 0; i < 100 && queue_is_empty(&out); i++)
        turn(TURN_MS);
    ck_assert_msg(!queue_is_empty(&out), "no frame");
    f.type = out.buf[out.start];
    f.id = le_get16(out.buf + out.start + 2);
    f.len = le_get32(out.buf + out.start + 4);
    memcpy(kept, out.buf + out.start + FRAME_HEAD, f.len);
    f.data = kept;
    out.start += FRAME_HEAD + f.len;
    return f;
}

static struct frame expect(uint8_t type, uint16_t id)
{
    struct frame f = next();

    ck_assert_int_eq(f.type, type);
    ck_assert_int_eq(f.id, id);
    return f;
}

static void expect_text(uint8_t type, uint16_t id, const char *text)
{
    struct frame f = expect(type, id);

    ck_assert_uint_eq(f.len, strlen(text));
    ck_assert_mem_eq(f.data, text, f.len);
}

static bool say(uint8_t type, uint16_t id, const void *bytes, size_t n)
{
    return relay_frame(&relay,
                       &(struct frame){.type = type, .id = id, .len = (uint32_t)n, .data = bytes});
}

static bool say_number(uint8_t type, uint16_t id, uint32_t value)
{
    uint8_t bytes[4];

    le_put32(bytes, value);
    return say(type, id, bytes, sizeof(bytes));
}

static int dial(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)to, sizeof(*to)), 0);
    return fd;
}

/* A connection to "db:1" that the front has opened. */
static int open_one(uint16_t id)
{
    int fd = dial(&listed);

    expect_text(FRAME_RELAY_OPEN, id, "db:1");
    ck_assert(say(FRAME_RELAY_OPEN, id, NULL, 0));
    return fd;
}

/* Everything up to the end; the errno of the end, 0 for an end of file. */
static int read_all(int fd, char *text, size_t cap)
{
    size_t n = 0;
    ssize_t k;

    while (n < cap - 1 && (k = read(fd, text + n, cap - 1 - n)) > 0)
        n += (size_t)k;
    text[n] = '\0';
    return n < cap - 1 && k < 0 ? errno : 0;
}

/* ---- listeners ---- */

static const struct {
    const char *relay, *proxy;
} bad_settings[] = {
    {"127.0.0.2:70000=a:1", NULL         },
    {"127.0.0.2=a:1",       NULL         },
    {"127.0.0.2:8000",      NULL         },
    {"127.0.0.2:8000=",     NULL         },
    {"host:8000=a:1",       NULL         },
    {"192.0.2.1:8000=a:1",  NULL         },
    {NULL,                  "127.0.0.3"  },
    {NULL,                  "127.0.0.3:0"},
    {NULL,                  "nonsense:1" },
};

START_TEST(settings_that_mean_nothing_are_refused)
{
    struct relay other = {.out = &out, .pump = &pump};

    ck_assert_int_eq(relay_listen(&other, bad_settings[_i].relay, bad_settings[_i].proxy), -1);
}
END_TEST

START_TEST(no_settings_no_listener)
{
    struct relay other = {.out = &out, .pump = &pump};

    ck_assert_int_eq(relay_listen(&other, NULL, ""), 0);
    ck_assert_uint_eq(other.listeners_n, 0);
}
END_TEST

START_TEST(an_address_that_is_taken_is_an_error)
{
    struct relay other = {.out = &out, .pump = &pump};
    char text[40];

    (void)snprintf(text, sizeof(text), "127.0.0.3:%d", ntohs(proxy.sin_port));
    ck_assert_int_eq(relay_listen(&other, NULL, text), -1);
}
END_TEST

/* ---- connections ---- */

START_TEST(bytes_go_both_ways_and_so_do_ends)
{
    int fd = open_one(1);
    char text[100];

    ck_assert_int_eq(write(fd, "question", 8), 8);
    expect_text(FRAME_RELAY_DATA, 1, "question");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
    ck_assert(say(FRAME_RELAY_DATA, 1, "answer", 6));
    ck_assert(say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
    ck_assert_str_eq(text, "answer");
    ck_assert_uint_eq(relay.live, 0);
    (void)close(fd);
}
END_TEST

START_TEST(nothing_is_read_before_the_front_is_connected)
{
    int fd = dial(&listed);

    ck_assert_int_eq(write(fd, "early", 5), 5);
    expect(FRAME_RELAY_OPEN, 1);
    turn(0);
    ck_assert(queue_is_empty(&out));
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    expect_text(FRAME_RELAY_DATA, 1, "early");
    (void)close(fd);
}
END_TEST

START_TEST(no_more_is_sent_than_the_front_takes)
{
    int fd = open_one(1), size = 4 * BIG;
    size_t got = 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ck_assert_int_eq(send(fd, data, sizeof(data), 0), sizeof(data));
    while (got < RELAY_WINDOW) {
        struct frame f = expect(FRAME_RELAY_DATA, 1);

        ck_assert_mem_eq(f.data, data + got, f.len);
        got += f.len;
    }
    ck_assert_uint_eq(got, RELAY_WINDOW);
    turn(0);
    ck_assert(queue_is_empty(&out));
    ck_assert(say_number(FRAME_RELAY_MORE, 1, 1000));
    ck_assert_uint_eq(expect(FRAME_RELAY_DATA, 1).len, 1000);
    turn(0);
    ck_assert(queue_is_empty(&out));
    (void)close(fd);
}
END_TEST

START_TEST(credit_comes_back_as_the_program_reads)
{
    int fd = open_one(1);
    uint8_t sink[RELAY_WINDOW];

    ck_assert(say(FRAME_RELAY_DATA, 1, data, RELAY_WINDOW));
    ck_assert_int_eq(recv(fd, sink, sizeof(sink), MSG_WAITALL), sizeof(sink));
    ck_assert_mem_eq(sink, data, sizeof(sink));
    ck_assert_uint_eq(le_get32(expect(FRAME_RELAY_MORE, 1).data), RELAY_WINDOW);
    ck_assert(say(FRAME_RELAY_DATA, 1, data, RELAY_WINDOW));
    ck_assert(!say(FRAME_RELAY_DATA, 1, data, RELAY_WINDOW));
    (void)close(fd);
}
END_TEST

START_TEST(a_full_queue_holds_nothing_up_for_ever)
{
    int fd = open_one(1);

    ck_assert_int_eq(write(fd, "x", 1), 1);
    queue_init(&out, out_buf, sizeof(out_buf));
    queue_grow(&out, sizeof(out_buf));
    turn(0);
    ck_assert(!relay_is_due(&relay));
    queue_init(&out, out_buf, sizeof(out_buf));
    expect_text(FRAME_RELAY_DATA, 1, "x");
    (void)close(fd);
}
END_TEST

START_TEST(each_connection_has_an_id_of_its_own)
{
    int first = open_one(1), second = open_one(2), third;

    (void)close(first);
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
    ck_assert(say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    third = open_one(3);
    ck_assert_int_eq(write(second, "2", 1), 1);
    expect_text(FRAME_RELAY_DATA, 2, "2");
    (void)close(second);
    (void)close(third);
}
END_TEST

static const struct {
    uint32_t refusal;
    const char *words;
} refusals[] = {
    {RELAY_NOT_LISTED, "oneshot: db:1 is not listed by the policy\n"           },
    {RELAY_NOT_PUBLIC, "oneshot: db:1 leads to an address that is not public\n"},
    {RELAY_NO_NAME,    "oneshot: db:1 cannot be resolved\n"                    },
    {RELAY_NO_ANSWER,  "oneshot: db:1 did not answer in time\n"                },
    {RELAY_TOO_MANY,   "oneshot: db:1 is one connection too many\n"            },
    {RELAY_TOO_MUCH,   "oneshot: db:1 is out of reach: the run has transferred as many bytes as "
                     "it may\n"                            },
    {ECONNREFUSED,     "oneshot: db:1 refused the connection\n"                },
    {ENETUNREACH,      "oneshot: db:1 cannot be reached\n"                     },
};

START_TEST(a_refusal_resets_and_says_why)
{
    int fd = dial(&listed);
    char text[10];

    expect(FRAME_RELAY_OPEN, 1);
    ck_assert(say_number(FRAME_RELAY_CLOSE, 1, refusals[_i].refusal));
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), ECONNRESET);
    expect_text(FRAME_STDERR, 0, refusals[_i].words);
    ck_assert_uint_eq(pump.seen[PUMP_ERR], strlen(refusals[_i].words));
    (void)close(fd);
}
END_TEST

START_TEST(words_about_refusals_come_to_an_end)
{
    unsigned notes = 0;

    for (uint16_t id = 1; id <= 20; id++) {
        int fd = dial(&listed);

        expect(FRAME_RELAY_OPEN, id);
        ck_assert(say_number(FRAME_RELAY_CLOSE, id, ECONNREFUSED));
        (void)close(fd);
        if (!queue_is_empty(&out))
            notes += expect(FRAME_STDERR, 0).len > 0;
    }
    ck_assert_uint_eq(notes, RELAY_NOTES);
}
END_TEST

START_TEST(an_abort_by_the_target_resets)
{
    int fd = open_one(1);
    char text[10];

    ck_assert(say_number(FRAME_RELAY_CLOSE, 1, ECONNRESET));
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), ECONNRESET);
    ck_assert(queue_is_empty(&out));
    (void)close(fd);
}
END_TEST

START_TEST(a_program_that_hangs_up_is_told_to_the_front)
{
    int fd = open_one(1);

    (void)close(fd);
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
    /* The first finds the peer gone, one of the later ones sees it. */
    for (int i = 0; i < 20 && queue_is_empty(&out); i++) {
        ck_assert(say(FRAME_RELAY_DATA, 1, "more", 4));
        turn(10);
    }
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 4);
    ck_assert_uint_eq(relay.live, 0);
    ck_assert(say(FRAME_RELAY_DATA, 1, "late", 4));
}
END_TEST

START_TEST(more_connections_than_slots_wait)
{
    int fds[RELAY_CONNS + 1];

    for (uint16_t i = 0; i < RELAY_CONNS; i++)
        fds[i] = open_one((uint16_t)(i + 1));
    fds[RELAY_CONNS] = dial(&listed);
    turn(100);
    ck_assert(queue_is_empty(&out));
    (void)close(fds[0]);
    expect(FRAME_RELAY_CLOSE, 1);
    ck_assert(say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    expect_text(FRAME_RELAY_OPEN, RELAY_CONNS + 1, "db:1");
    for (int i = 1; i <= RELAY_CONNS; i++)
        (void)close(fds[i]);
}
END_TEST

START_TEST(ids_do_not_wrap)
{
    int fd;
    char text[10];

    relay.last_id = RELAY_IDS;
    fd = dial(&listed);
    turn(TURN_MS);
    expect_text(FRAME_STDERR, 0, "oneshot: db:1 is one connection too many\n");
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), ECONNRESET);
    (void)close(fd);
}
END_TEST

/* ---- the front's breaches ---- */

START_TEST(frames_that_no_front_sends_are_breaches)
{
    int fd = dial(&listed);

    ck_assert(!say(FRAME_RELAY_DATA, 1, "x", 1));
    expect(FRAME_RELAY_OPEN, 1);
    ck_assert(!say(FRAME_RELAY_DATA, 1, "x", 1));
    ck_assert(!say_number(FRAME_RELAY_MORE, 1, 1));
    ck_assert(!say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert(!say(FRAME_RELAY_OPEN, 1, "x", 1));
    ck_assert(!say(FRAME_RELAY_DATA, 0, "x", 1));
    ck_assert(!say(FRAME_RELAY_DATA, 2, "x", 1));
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    ck_assert(!say(FRAME_RELAY_OPEN, 1, NULL, 0));
    ck_assert(!say_number(FRAME_RELAY_MORE, 1, 1));
    ck_assert(!say(FRAME_RELAY_MORE, 1, "x", 1));
    ck_assert(!say(FRAME_RELAY_CLOSE, 1, "xx", 2));
    ck_assert(say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert(!say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert(!say(FRAME_RELAY_DATA, 1, "x", 1));
    (void)close(fd);
}
END_TEST

/* ---- the proxy ---- */

START_TEST(connect_opens_a_tunnel)
{
    static const char ask[] = "CONNECT Example.COM:443 HTTP/1.1\r\nHost: example.com\r\n\r\nhello";
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\nback";
    int fd = dial(&proxy);
    char text[100];

    ck_assert_int_eq(write(fd, ask, 20), 20);
    turn(TURN_MS);
    turn(TURN_MS);
    ck_assert_int_eq(write(fd, ask + 20, sizeof(ask) - 21), sizeof(ask) - 21);
    expect_text(FRAME_RELAY_OPEN, 1, "example.com:443");
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    expect_text(FRAME_RELAY_DATA, 1, "hello");
    ck_assert(say(FRAME_RELAY_DATA, 1, "back", 4));
    ck_assert(say(FRAME_RELAY_CLOSE, 1, NULL, 0));
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
    ck_assert_str_eq(text, yes);
    (void)close(fd);
}
END_TEST

START_TEST(the_proxys_own_words_cost_no_credit)
{
    static const char ask[] = "CONNECT a:1 HTTP/1.1\r\n\r\n";
    int fd = dial(&proxy);

    ck_assert_int_eq(write(fd, ask, sizeof(ask) - 1), sizeof(ask) - 1);
    expect(FRAME_RELAY_OPEN, 1);
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    ck_assert(say(FRAME_RELAY_DATA, 1, data, RELAY_WINDOW));
    ck_assert_int_eq(recv(fd, data, RELAY_WINDOW + 39, MSG_WAITALL), RELAY_WINDOW + 39);
    ck_assert_uint_eq(le_get32(expect(FRAME_RELAY_MORE, 1).data), RELAY_WINDOW);
    (void)close(fd);
}
END_TEST

START_TEST(a_plain_request_is_rewritten)
{
    static const char ask[] = "POST http://Host.example/p?q#f HTTP/1.1\r\nHost: other\r\n"
                              "Proxy-Connection: keep-alive\r\n folded\r\nA: b\r\n"
                              "Content-Length: 4\r\n\r\nbody";
    int fd = dial(&proxy);

    ck_assert_int_eq(write(fd, ask, sizeof(ask) - 1), sizeof(ask) - 1);
    expect_text(FRAME_RELAY_OPEN, 1, "host.example:80");
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    expect_text(FRAME_RELAY_DATA, 1,
                "POST /p?q HTTP/1.1\r\nHost: Host.example\r\nConnection: close\r\nA: b\r\n"
                "Content-Length: 4\r\n\r\nbody");
    (void)close(fd);
}
END_TEST

static const struct {
    const char *ask, *answer;
} bad_requests[] = {
    {"GET / HTTP/1.1\r\n\r\n",                   "HTTP/1.1 400 not a URL of a host: this is a p"},
    {"GET https://a/ HTTP/1.1\r\n\r\n",          "HTTP/1.1 400 https goes through CONNECT\r\n"  },
    {"CONNECT a HTTP/1.1\r\n\r\n",               "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT a:0 HTTP/1.1\r\n\r\n",             "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT a:65536 HTTP/1.1\r\n\r\n",         "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT a:1x HTTP/1.1\r\n\r\n",            "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT :1 HTTP/1.1\r\n\r\n",              "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT u@a:1 HTTP/1.1\r\n\r\n",           "HTTP/1.1 400 not a host and a port\r\n"       },
    {"CONNECT [::1:1 HTTP/1.1\r\n\r\n",          "HTTP/1.1 400 not a host and a port\r\n"       },
    {"GET http://u:p@a/ HTTP/1.1\r\n\r\n",       "HTTP/1.1 400 not a host and a port\r\n"       },
    {"GET http:///x HTTP/1.1\r\n\r\n",           "HTTP/1.1 400 not a host and a port\r\n"       },
    {"GET http://a/ HTTP/1.#\r\n\r\n",           "HTTP/1.1 400 not a request of HTTP/1.1\r\n"   },
    {"GET http://a/ HTTP/2.0\r\n\r\n",           "HTTP/1.1 400 not a request of HTTP/1.1\r\n"   },
    {"GET http://a/\r\n\r\n",                    "HTTP/1.1 400 not a request of HTTP/1.1\r\n"   },
    {"\r\n\r\n",                                 "HTTP/1.1 400 not a request of HTTP/1.1\r\n"   },
    {"GET http://a/ HTTP/1.1\nB: c\r\n\r\n",     "HTTP/1.1 400 a line that does not end with CR"},
    {"GET http://a/ HTTP/1.1\r\nB: \rc\r\n\r\n", "HTTP/1.1 400 a line that does not end with CR"},
    {"GET http://a/\x01 HTTP/1.1\r\n\r\n",       "HTTP/1.1 400 not a request of HTTP/1.1\r\n"   },
};

START_TEST(what_is_no_request_is_answered)
{
    int fd = dial(&proxy);
    char text[400];

    ck_assert_int_gt(write(fd, bad_requests[_i].ask, strlen(bad_requests[_i].ask)), 0);
    for (int i = 0; i < 3; i++)
        turn(50);
    ck_assert(queue_is_empty(&out));
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
    ck_assert_msg(strncmp(text, bad_requests[_i].answer, strlen(bad_requests[_i].answer)) == 0,
                  "%s", text);
    (void)close(fd);
    turn(TURN_MS);
    ck_assert_uint_eq(relay.live, 0);
}
END_TEST

/* Each would have grown by a byte when the head was written anew, past the end of the buffer. */
START_TEST(a_head_of_bare_line_feeds_is_answered)
{
    static const char line[] = "GET http://a/ HTTP/1.1\r\n", end[] = "\r\n\r\n";
    const size_t n = PROXY_HEAD_MAX - (sizeof(end) - 1);
    int fd = dial(&proxy);
    char text[400];

    for (size_t i = 0; i < n; i++)
        data[i] = i % 2 ? '\n' : 'a';
    memcpy(data, line, sizeof(line) - 1);
    memcpy(data + n, end, sizeof(end) - 1);
    ck_assert_int_eq(write(fd, data, PROXY_HEAD_MAX), PROXY_HEAD_MAX);
    for (int i = 0; i < 6; i++)
        turn(50);
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
    ck_assert_msg(strncmp(text, "HTTP/1.1 400 a line that", 24) == 0, "%s", text);
    (void)close(fd);
}
END_TEST

START_TEST(a_head_without_end_is_answered)
{
    int fd = dial(&proxy);
    char text[400];

    memset(data, 'a', PROXY_HEAD_MAX);
    ck_assert_int_eq(write(fd, data, PROXY_HEAD_MAX), PROXY_HEAD_MAX);
    for (int i = 0; i < 6; i++)
        turn(50);
    ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
    ck_assert_msg(strncmp(text, "HTTP/1.1 431 ", 13) == 0, "%s", text);
    (void)close(fd);
}
END_TEST

START_TEST(a_refusal_is_an_answer_of_the_proxy)
{
    static const struct {
        uint32_t refusal;
        const char *line;
    } rows[] = {
        {RELAY_NOT_LISTED, "HTTP/1.1 403 a:1 is not listed by the policy\r\n"},
        {RELAY_NO_ANSWER,  "HTTP/1.1 504 a:1 did not answer in time\r\n"     },
        {RELAY_TOO_MANY,   "HTTP/1.1 503 a:1 is one connection too many\r\n" },
        {ECONNREFUSED,     "HTTP/1.1 502 a:1 refused the connection\r\n"     },
    };
    static const char ask[] = "CONNECT a:1 HTTP/1.1\r\n\r\n";

    for (uint16_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        int fd = dial(&proxy);
        char text[400];

        ck_assert_int_eq(write(fd, ask, sizeof(ask) - 1), sizeof(ask) - 1);
        expect(FRAME_RELAY_OPEN, (uint16_t)(i + 1));
        ck_assert(say_number(FRAME_RELAY_CLOSE, (uint16_t)(i + 1), rows[i].refusal));
        ck_assert_int_eq(read_all(fd, text, sizeof(text)), 0);
        ck_assert_msg(strncmp(text, rows[i].line, strlen(rows[i].line)) == 0, "%s", text);
        ck_assert(say(FRAME_RELAY_DATA, (uint16_t)(i + 1), "late", 4));
        (void)close(fd);
    }
    ck_assert_int_eq(relay.notes, 0);
}
END_TEST

START_TEST(answers_that_nobody_fetches_take_no_slot_for_good)
{
    static const char ask[] = "GET / HTTP/1.1\r\n\r\n";
    int fds[RELAY_CONNS], last;

    for (int i = 0; i < RELAY_CONNS; i++) {
        fds[i] = dial(&proxy);
        ck_assert_int_eq(write(fds[i], ask, sizeof(ask) - 1), sizeof(ask) - 1);
        turn(TURN_MS);
        turn(50);
    }
    last = open_one(1);
    (void)close(last);
    for (int i = 0; i < RELAY_CONNS; i++)
        (void)close(fds[i]);
}
END_TEST

/* ---- the end ---- */

/* What a program sent that is dead by now: its ends are closed. */
static int dial_and_die(const struct sockaddr_in *to, const void *bytes, size_t n)
{
    int fd = dial(to);

    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    return close(fd);
}

/* Turns until everything is out; false when it is not by then. */
static bool drain(bool is_stopped, int turns, int turn_ms)
{
    while (relay_drain(&relay, is_stopped)) {
        if (turns-- == 0)
            return false;
        turn(queue_is_empty(&out) ? turn_ms : 0);
    }
    return true;
}

static bool is_drained(void)
{
    return drain(false, 100, TURN_MS);
}

/* As far as one can see. */
static bool is_waited_for(void)
{
    return !drain(false, 3, 20);
}

START_TEST(what_was_sent_goes_out_at_the_end)
{
    int fd = open_one(1);

    ck_assert_int_eq(write(fd, "last", 4), 4);
    (void)close(fd);
    ck_assert(is_drained());
    expect_text(FRAME_RELAY_DATA, 1, "last");
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
    relay_end(&relay);
    ck_assert_uint_eq(relay.live, 0);
    ck_assert(queue_is_empty(&out));
}
END_TEST

START_TEST(while_the_programs_end_is_open_more_may_come)
{
    int fd = open_one(1);

    ck_assert(is_waited_for());
    ck_assert_int_eq(write(fd, "late", 4), 4);
    (void)close(fd);
    ck_assert(is_drained());
    expect_text(FRAME_RELAY_DATA, 1, "late");
}
END_TEST

START_TEST(a_stopped_program_keeps_its_ends_and_sends_no_more)
{
    int fd = open_one(1), idle, half = dial(&proxy);

    idle = dial(&listed);
    ck_assert_int_eq(write(half, "GET http://a/", 13), 13);
    ck_assert_int_eq(write(fd, "last", 4), 4);
    ck_assert(drain(true, 0, 0));
    expect_text(FRAME_RELAY_DATA, 1, "last");
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
    expect_text(FRAME_RELAY_OPEN, 2, "db:1");
    relay_end(&relay);
    ck_assert(queue_is_empty(&out));
    (void)close(fd);
    (void)close(idle);
    (void)close(half);
}
END_TEST

START_TEST(the_end_waits_for_the_connection)
{
    (void)dial_and_die(&listed, "early", 5);
    ck_assert(relay_drain(&relay, false));
    expect_text(FRAME_RELAY_OPEN, 1, "db:1");
    ck_assert(is_waited_for());
    ck_assert(say(FRAME_RELAY_OPEN, 1, NULL, 0));
    ck_assert(is_drained());
    expect_text(FRAME_RELAY_DATA, 1, "early");
    ck_assert_uint_eq(expect(FRAME_RELAY_CLOSE, 1).len, 0);
}
END_TEST

START_TEST(all_that_were_connected_are_taken_in_at_the_end)
{
    static const char ask[] = "GET http://a/ HTTP/1.0\r\n\r\n";

    for (int i = 0; i < 20; i++)
        (void)dial_and_die(&listed, "x", 1);
    (void)dial_and_die(&proxy, ask, sizeof(ask) - 1);
    ck_assert(is_waited_for());
    for (uint16_t i = 1; i <= 21; i++) {
        expect_text(FRAME_RELAY_OPEN, i, i == 21 ? "a:80" : "db:1");
        ck_assert(say(FRAME_RELAY_OPEN, i, NULL, 0));
    }
    ck_assert(is_drained());
    for (uint16_t i = 0; i < 42; i++) {
        struct frame f = next();

        ck_assert(f.type == FRAME_RELAY_DATA ? f.len > 0 : f.len == 0);
    }
    ck_assert(queue_is_empty(&out));
}
END_TEST

START_TEST(nobody_waits_for_a_connection_without_bytes)
{
    int fd = dial(&listed), half = dial(&proxy);

    ck_assert_int_eq(write(half, "GET ", 4), 4);
    (void)close(fd);
    (void)close(half);
    ck_assert(is_drained());
    expect_text(FRAME_RELAY_OPEN, 1, "db:1");
    ck_assert(queue_is_empty(&out));
}
END_TEST

START_TEST(what_does_not_go_out_is_put_into_words)
{
    int fd = open_one(1), size = 4 * BIG;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ck_assert_int_eq(send(fd, data, RELAY_WINDOW + 1, 0), RELAY_WINDOW + 1);
    (void)close(fd);
    while (relay_drain(&relay, false) && relay.conns[0].credit)
        turn(0);
    ck_assert(is_waited_for());
    while (!queue_is_empty(&out))
        expect(FRAME_RELAY_DATA, 1);
    relay_end(&relay);
    expect_text(FRAME_STDERR, 0, "oneshot: db:1 has not taken all that was sent to it\n");
    ck_assert(queue_is_empty(&out));
}
END_TEST

START_TEST(the_end_waits_for_credit)
{
    int fd = open_one(1), size = 4 * BIG;
    size_t got = 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ck_assert_int_eq(send(fd, data, RELAY_WINDOW + 10, 0), RELAY_WINDOW + 10);
    (void)close(fd);
    ck_assert(is_waited_for());
    while (!queue_is_empty(&out))
        got += expect(FRAME_RELAY_DATA, 1).len;
    ck_assert_uint_eq(got, RELAY_WINDOW);
    ck_assert(say_number(FRAME_RELAY_MORE, 1, RELAY_WINDOW));
    ck_assert(is_drained());
    ck_assert_uint_eq(expect(FRAME_RELAY_DATA, 1).len, 10);
}
END_TEST

/* Room for two reads at a time, and as much credit as is used: each connection has its turn. */
START_TEST(who_sends_without_an_end_does_not_keep_others_from_it)
{
    enum { N = 6, TURNS = 60 };
    int fds[N], size = 4 * BIG;
    uint64_t sent[N + 1] = {0};

    for (uint16_t i = 0; i < N; i++) {
        fds[i] = open_one((uint16_t)(i + 1));
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    out.cap = 2 * (FRAME_HEAD + FRAME_MAX);
    for (int k = 0; k < TURNS; k++) {
        for (int i = 0; i < N; i++)
            (void)!send(fds[i], data, sizeof(data), MSG_DONTWAIT);
        turn(0);
        while (!queue_is_empty(&out)) {
            struct frame f = next();

            ck_assert_int_eq(f.type, FRAME_RELAY_DATA);
            sent[f.id] += f.len;
            ck_assert(say_number(FRAME_RELAY_MORE, f.id, f.len));
        }
    }
    for (int i = 1; i <= N; i++)
        ck_assert_msg(sent[i] > 0, "%d had no turn", i);
    for (int i = 0; i < N; i++)
        (void)close(fds[i]);
}
END_TEST

START_TEST(a_run_begins_without_the_connections_of_the_last)
{
    int before = dial(&listed), fd;
    char text[10];

    relay.last_id = 7;
    relay_begin(&relay);
    ck_assert_int_eq(read_all(before, text, sizeof(text)), 0);
    fd = open_one(1);
    (void)close(fd);
    (void)close(before);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, settings_that_mean_nothing_are_refused, 0,
                        sizeof(bad_settings) / sizeof(*bad_settings));
    tcase_add_test(t, no_settings_no_listener);
    tcase_add_test(t, an_address_that_is_taken_is_an_error);
    tcase_add_test(t, bytes_go_both_ways_and_so_do_ends);
    tcase_add_test(t, nothing_is_read_before_the_front_is_connected);
    tcase_add_test(t, no_more_is_sent_than_the_front_takes);
    tcase_add_test(t, credit_comes_back_as_the_program_reads);
    tcase_add_test(t, a_full_queue_holds_nothing_up_for_ever);
    tcase_add_test(t, each_connection_has_an_id_of_its_own);
    tcase_add_loop_test(t, a_refusal_resets_and_says_why, 0, sizeof(refusals) / sizeof(*refusals));
    tcase_add_test(t, words_about_refusals_come_to_an_end);
    tcase_add_test(t, an_abort_by_the_target_resets);
    tcase_add_test(t, a_program_that_hangs_up_is_told_to_the_front);
    tcase_add_test(t, more_connections_than_slots_wait);
    tcase_add_test(t, ids_do_not_wrap);
    tcase_add_test(t, frames_that_no_front_sends_are_breaches);
    tcase_add_test(t, connect_opens_a_tunnel);
    tcase_add_test(t, the_proxys_own_words_cost_no_credit);
    tcase_add_test(t, a_plain_request_is_rewritten);
    tcase_add_loop_test(t, what_is_no_request_is_answered, 0,
                        sizeof(bad_requests) / sizeof(*bad_requests));
    tcase_add_test(t, a_head_of_bare_line_feeds_is_answered);
    tcase_add_test(t, a_head_without_end_is_answered);
    tcase_add_test(t, a_refusal_is_an_answer_of_the_proxy);
    tcase_add_test(t, answers_that_nobody_fetches_take_no_slot_for_good);
    tcase_add_test(t, what_was_sent_goes_out_at_the_end);
    tcase_add_test(t, while_the_programs_end_is_open_more_may_come);
    tcase_add_test(t, a_stopped_program_keeps_its_ends_and_sends_no_more);
    tcase_add_test(t, the_end_waits_for_the_connection);
    tcase_add_test(t, all_that_were_connected_are_taken_in_at_the_end);
    tcase_add_test(t, nobody_waits_for_a_connection_without_bytes);
    tcase_add_test(t, what_does_not_go_out_is_put_into_words);
    tcase_add_test(t, the_end_waits_for_credit);
    tcase_add_test(t, who_sends_without_an_end_does_not_keep_others_from_it);
    tcase_add_test(t, a_run_begins_without_the_connections_of_the_last);
}

UNIT_MAIN("warden_relay", add_tests)
