#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "loopback.h"
#include "slack/ws.h"
#include "slack/wslink.h"
#include "unit.h"
#include "until.h"

enum { PING_MS = 250, CONNECT_MS = 5000 };

/* ---- a server that says `says` behind its handshake and reads until the client is gone ---- */

struct server {
    const char *head; /* instead of a good one; NULL: that */
    const char *says;
    size_t says_n;
    bool hangs_up; /* at once, behind that */
    bool is_many;  /* it says TEXTS texts instead */
    atomic_bool said_all, hears;
    int fd;
    char url[64];
    pthread_t thread;
    struct buf asked, heard; /* the request's head, and all behind it */
};

static bool read_some(int fd, struct buf *to)
{
    char piece[4096];
    ssize_t n = read(fd, piece, sizeof(piece));

    if (n > 0)
        MUST(buf_add(to, piece, (size_t)n) == 0);
    return n > 0;
}

static void say_head(struct server *s, int fd)
{
    char accept_text[WS_ACCEPT_TEXT], key[WS_KEY_TEXT];
    const char *at = strstr(buf_get(&s->asked), "Sec-WebSocket-Key: ");
    auto_free char *good = NULL;

    MUST(at);
    (void)snprintf(key, sizeof(key), "%.24s", at + strlen("Sec-WebSocket-Key: "));
    ws_accept(accept_text, key);
    good = xasprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                     accept_text);
    at = s->head ? s->head : good;
    MUST(write(fd, at, strlen(at)) == (ssize_t)strlen(at));
}

enum { TEXTS = 60, TEXT = 1000, RIG_WAIT_MS = 20000 }; /* more than the client reads at once */

/* All in one, while the client is busy with the first. */
static void say_many(struct server *s, int fd)
{
    static const char head[] = {'\x81', '\x7E', '\x03', '\xE8'};
    char all[TEXTS * (sizeof(head) + TEXT)];

    memset(all, 'x', sizeof(all));
    for (size_t at = 0; at < sizeof(all); at += sizeof(head) + TEXT)
        memcpy(all + at, head, sizeof(head));
    MUST(send(fd, all, sizeof(all), MSG_NOSIGNAL) == (ssize_t)sizeof(all));
    atomic_store(&s->said_all, true);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->fd, NULL, NULL);

    if (fd < 0)
        return NULL;
    while (!strstr(buf_get(&s->asked), "\r\n\r\n") && read_some(fd, &s->asked))
        ;
    say_head(s, fd);
    /* One byte at a time: frames come in any split. The client may have left before the last. */
    for (size_t i = 0; i < s->says_n && send(fd, s->says + i, 1, MSG_NOSIGNAL) == 1; i++)
        ;
    if (s->is_many)
        say_many(s, fd);
    while (!s->hangs_up && read_some(fd, &s->heard))
        atomic_store(&s->hears, true);
    (void)close(fd);
    return NULL;
}

static void begin(struct server *s)
{
    uint16_t port;

    buf_init(&s->asked, 1 << 20);
    buf_init(&s->heard, 1 << 20);
    s->fd = loopback_listen(1, &port);
    (void)snprintf(s->url, sizeof(s->url), "ws://127.0.0.1:%u/link/?ticket=1", port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void end(struct server *s)
{
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
}

static void forget(struct server *s)
{
    buf_done(&s->asked);
    buf_done(&s->heard);
}

/* ---- the client ---- */

struct client {
    struct buf heard;  /* texts, each with a '|' behind it */
    const char *reply; /* to each; NULL: none */
    int closes_after;  /* so many texts; 0: never */
    struct server *many;
    int n;
};

static int on_text(void *ctx, struct wslink *l, const char *text, size_t n, struct err *err)
{
    struct client *c = ctx;

    (void)err;
    if (c->many && c->n == 0)
        RIG_UNTIL(atomic_load(&c->many->said_all));
    if (c->many && c->n == TEXTS - 1)
        RIG_UNTIL(atomic_load(&c->many->hears));
    ck_assert_int_eq(buf_fmt(&c->heard, "%.*s|", (int)n, text), 0);
    if (c->reply)
        wslink_send(l, c->reply, strlen(c->reply));
    if (++c->n == c->closes_after)
        wslink_ask_close(l);
    return 0;
}

/* Connects and runs until the end of the link; returns what wslink_run did, 1: there was none. */
static int run(struct server *s, struct client *c, struct err *err)
{
    CLEANUP(wslink_free_p) struct wslink *l = NULL;
    const struct wslink_options o = {.url = s->url,
                                     .connect_ms = patient(CONNECT_MS),
                                     .ping_ms = patient(PING_MS),
                                     .on_text = on_text,
                                     .ctx = c};
    int rc;

    buf_init(&c->heard, 100000);
    begin(s);
    rc = wslink_open(&o, &l, err) < 0 ? 1 : wslink_run(l, err);
    wslink_free(l);
    l = NULL;
    end(s);
    return rc;
}

/* What the client sent, unmasked: kind and text of each frame, as "T:abc|". */
static char *unmask(const struct server *s)
{
    static const char names[] = "CTB?????XPQ";
    const unsigned char *p = (const unsigned char *)buf_get(&s->heard), *stop = p + s->heard.len;
    struct buf b = {.max = 100000};

    while (p < stop) {
        size_t n = p[1] & 0x7F;
        const unsigned char *mask = p + 2, *data = p + 6;

        ck_assert(p[0] & 0x80 && p[1] & 0x80 && n < 126 && data + n <= stop);
        ck_assert_int_eq(buf_fmt(&b, "%c:", names[p[0] & 0x0F]), 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq(buf_char(&b, (char)(data[i] ^ mask[i % 4])), 0);
        ck_assert_int_eq(buf_char(&b, '|'), 0);
        p = data + n;
    }
    return b.len ? buf_take(&b) : xstrdup("");
}

/* ---- tests ---- */

#define BYTES(s) .says = (s), .says_n = sizeof(s) - 1

START_TEST(texts_are_answered_pings_too_and_a_close_ends_it)
{
    struct server s = {BYTES("\x81\x02hi\x89\x02"
                             "p1\x01\x01"
                             "a\x80\x01"
                             "b\x88\x02\x03\xE8")};
    struct client c = {.reply = "yes"};
    auto_free char *said = NULL;

    ck_assert_int_eq(run(&s, &c, NULL), 0);
    ck_assert_str_eq(buf_get(&c.heard), "hi|ab|");
    said = unmask(&s);
    ck_assert_str_eq(said, "T:yes|Q:p1|T:yes|X:\x03\xE8|");
    ck_assert_ptr_nonnull(
        strstr(buf_get(&s.asked), "GET /link/?ticket=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

START_TEST(it_closes_when_it_is_asked_and_says_nothing_behind_that)
{
    /* The second text comes when the close frame is on its way. */
    struct server s = {BYTES("\x81\x01"
                             "1\x81\x01"
                             "2\x88\x00")};
    struct client c = {.closes_after = 1};
    auto_free char *said = NULL;
    size_t n;

    ck_assert_int_eq(run(&s, &c, NULL), 0);
    said = unmask(&s);
    n = strlen(said);
    ck_assert_msg(n >= 3 && strchr(said, 'X') && strchr(said, '|') == said + n - 1, "%s", said);
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

START_TEST(answers_go_before_all_that_came_is_read)
{
    struct server s = {.is_many = true};
    struct client c = {.reply = "yes", .closes_after = TEXTS, .many = &s};

    ck_assert_int_eq(run(&s, &c, NULL), 0);
    ck_assert_int_eq(c.n, TEXTS);
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

START_TEST(silence_is_noticed)
{
    struct server s = {BYTES("\x81\x01"
                             "1")};
    struct client c = {0};
    struct err err = {0};
    auto_free char *said = NULL;
    int64_t began = clock_ms();

    ck_assert_int_lt(run(&s, &c, &err), 0);
    ck_assert_int_eq(err.kind, ERR_TIMEOUT);
    ck_assert_int_ge(clock_ms() - began, 4 * PING_MS);
    said = unmask(&s);
    ck_assert_msg(strncmp(said, "P:", 2) == 0 && strstr(said + 2, "|P:"), "%s", said);
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

START_TEST(a_connection_that_ends_without_a_word_broke_off)
{
    struct server s = {BYTES("\x81\x01"
                             "1\x81"),
                       .hangs_up = true};
    struct client c = {0};
    struct err err = {0};

    ck_assert_int_lt(run(&s, &c, &err), 0);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_str_eq(buf_get(&c.heard), "1|");
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

static const struct {
    const char *bytes;
    size_t n;
    const char *close;
} faults[] = {
    {"\x81\x81zzzz1",            7,  "X:\x03\xEA|"},
    {"\x81\x01\xFF",             3,  "X:\x03\xEF|"},
    {"\x81\x7F\0\0\0\1\0\0\0\0", 10, "X:\x03\xF1|"},
};

START_TEST(a_server_that_breaks_the_protocol_is_told_and_left)
{
    struct server s = {.says = faults[_i].bytes, .says_n = faults[_i].n};
    struct client c = {0};
    struct err err = {0};
    auto_free char *said = NULL;

    ck_assert_int_lt(run(&s, &c, &err), 0);
    ck_assert_int_eq(err.kind, ERR_PEER);
    said = unmask(&s);
    ck_assert_str_eq(said, faults[_i].close);
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

START_TEST(a_server_that_does_not_upgrade_is_left)
{
    struct server s = {.head = "HTTP/1.1 403 Forbidden\r\n\r\n"};
    struct client c = {0};
    struct err err = {0};

    ck_assert_int_eq(run(&s, &c, &err), 1);
    ck_assert_ptr_nonnull(strstr(err.msg, "403"));
    ck_assert_ptr_null(strstr(err.msg, "ticket"));
    buf_done(&c.heard);
    forget(&s);
}
END_TEST

static const struct {
    const char *url;
    enum err_kind kind;
} addresses[] = {
    {"http://127.0.0.1:1/",     ERR_INVALID},
    {"ws://",                   ERR_INVALID},
    {"ws:///link",              ERR_INVALID},
    {"ws://user@127.0.0.1:1/",  ERR_INVALID},
    {"ws://127.0.0.1:1/#x",     ERR_INVALID},
    {"ws://127.0.0.1:1/a b",    ERR_INVALID},
    {"ws://127.0.0.1:1/\r\nx",  ERR_INVALID},
    {"ws://127.0.0.1:1/secret", ERR_BUSY   },
    {"wss://127.0.0.1:1",       ERR_BUSY   },
};

START_TEST(an_address_that_will_not_do_is_refused_and_not_told)
{
    const struct wslink_options o = {
        .url = addresses[_i].url, .connect_ms = patient(CONNECT_MS), .ping_ms = patient(PING_MS)};
    struct wslink *l = NULL;
    struct err err = {0};

    ck_assert_int_lt(wslink_open(&o, &l, &err), 0);
    ck_assert_int_eq(err.kind, addresses[_i].kind);
    ck_assert_ptr_null(strstr(err.msg, "secret"));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, texts_are_answered_pings_too_and_a_close_ends_it);
    tcase_add_test(t, it_closes_when_it_is_asked_and_says_nothing_behind_that);
    tcase_add_test(t, answers_go_before_all_that_came_is_read);
    tcase_add_test(t, silence_is_noticed);
    tcase_add_test(t, a_connection_that_ends_without_a_word_broke_off);
    tcase_add_loop_test(t, a_server_that_breaks_the_protocol_is_told_and_left, 0,
                        ARRAY_LEN(faults));
    tcase_add_test(t, a_server_that_does_not_upgrade_is_left);
    tcase_add_loop_test(t, an_address_that_will_not_do_is_refused_and_not_told, 0,
                        ARRAY_LEN(addresses));
}

UNIT_MAIN("slack_link", add_tests)
