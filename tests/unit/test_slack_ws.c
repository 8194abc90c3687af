#include "slack/ws.h"

#include <string.h>

#include "unit.h"

/* ---- frames to send ---- */

static const unsigned char mask[4] = {0x37, 0xFA, 0x21, 0x3D};

START_TEST(a_frame_is_masked_as_the_rfc_shows)
{
    /* RFC 6455, 5.7: "A single-frame masked text message" */
    static const unsigned char wanted[] = {0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D,
                                           0x7F, 0x9F, 0x4D, 0x51, 0x58};
    CLEANUP(buf_done) struct buf b = {.max = 100};

    ws_put(&b, WS_TEXT, "Hello", 5, mask);
    ck_assert_uint_eq(b.len, sizeof(wanted));
    ck_assert_mem_eq(b.data, wanted, sizeof(wanted));
}
END_TEST

static const struct {
    size_t n;
    unsigned char head[10];
    size_t head_n;
} lengths[] = {
    {0,     {0x89, 0x80},                         2 },
    {125,   {0x82, 0xFD},                         2 },
    {126,   {0x82, 0xFE, 0, 126},                 4 },
    {65535, {0x82, 0xFE, 0xFF, 0xFF},             4 },
    {65536, {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0}, 10},
};

START_TEST(a_length_is_written_in_the_shortest_way)
{
    CLEANUP(buf_done) struct buf b = {.max = 100000};
    static char data[65536];
    size_t n = lengths[_i].n, head_n = lengths[_i].head_n;

    ws_put(&b, n ? WS_BINARY : WS_PING, data, n, mask);
    ck_assert_uint_eq(b.len, head_n + 4 + n);
    ck_assert_mem_eq(b.data, lengths[_i].head, head_n);
    ck_assert_mem_eq(b.data + head_n, mask, 4);
}
END_TEST

/* ---- frames that come ---- */

struct heard {
    struct buf text;    /* "T:abc|" for each message, by kind */
    const char *refuse; /* a message that is refused */
};

static int hear(void *ctx, enum ws_kind kind, const char *data, size_t n, struct err *err)
{
    struct heard *h = ctx;
    static const char names[] = "CTB?????XPQ";

    ck_assert_int_eq(buf_fmt(&h->text, "%c:%.*s|", names[kind], (int)n, data), 0);
    if (h->refuse && strcmp(h->refuse, data) == 0)
        return err_set(err, ERR_LIMIT, "no more");
    return 0;
}

/* A frame of a server: not masked, with the shortest length. */
static void put(struct buf *b, unsigned first, const void *data, size_t n)
{
    ck_assert_int_eq(buf_char(b, (char)first), 0);
    if (n < 126) {
        ck_assert_int_eq(buf_char(b, (char)n), 0);
    } else {
        ck_assert_int_eq(buf_char(b, 126), 0);
        ck_assert_int_eq(buf_char(b, (char)(n >> 8)), 0);
        ck_assert_int_eq(buf_char(b, (char)(n & 0xFF)), 0);
    }
    ck_assert_int_eq(buf_add(b, data, n), 0);
}

START_TEST(messages_come_whole_in_any_split)
{
    CLEANUP(buf_done) struct buf in = {.max = 10000};
    static const char long_text[] =
        "................................................................"
        "................................................................"
        "..........";
    CLEANUP(buf_done) struct buf wanted = {.max = 10000};

    put(&in, 0x81, "one", 3);
    put(&in, 0x01, "t\xC3", 2); /* a character in two parts */
    put(&in, 0x89, "ping", 4);
    put(&in, 0x00, "\xA4w", 2);
    put(&in, 0x8A, "", 0);
    put(&in, 0x80, "o", 1);
    put(&in, 0x82, "\xFF", 1);
    put(&in, 0x81, "", 0);
    put(&in, 0x81, long_text, sizeof(long_text) - 1);
    put(&in, 0x88,
        "\x03\xE8"
        "so",
        4);
    put(&in, 0x81, "too late", 8);
    ck_assert_int_eq(buf_fmt(&wanted,
                             "T:one|P:ping|Q:|T:t\xC3\xA4wo|B:\xFF|T:|T:%s|X:\x03\xE8"
                             "so|",
                             long_text),
                     0);
    for (size_t step = 1; step <= in.len; step++) {
        struct heard h = {.text = {.max = 10000}};
        struct ws_reader r;

        ws_reader_init(&r, 1000, hear, &h);
        for (size_t at = 0; at < in.len; at += step)
            MUST(ws_feed(&r, in.data + at, in.len - at < step ? in.len - at : step, NULL) == 0);
        MUST(strcmp(buf_get(&h.text), buf_get(&wanted)) == 0);
        MUST(r.is_closed && r.fault == 0);
        buf_done(&h.text);
        ws_reader_done(&r);
    }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t n;
    unsigned fault;
} faults[] = {
    {"a reserved bit",               "\xC1\x00",                                 2,  WS_PROTOCOL},
    {"masked",                       "\x81\x80",                                 2,  WS_PROTOCOL},
    {"kind 3",                       "\x83\x00",                                 2,  WS_PROTOCOL},
    {"kind 11",                      "\x8B\x00",                                 2,  WS_PROTOCOL},
    {"a ping in parts",              "\x09\x00",                                 2,  WS_PROTOCOL},
    {"a long ping",                  "\x89\x7E",                                 2,  WS_PROTOCOL},
    {"a part of nothing",            "\x80\x00",                                 2,  WS_PROTOCOL},
    {"a message within another",     "\x01\x01x\x81\x00",                        5,  WS_PROTOCOL},
    {"a length of 125 in two bytes", "\x81\x7E\x00\x7D",                         4,  WS_PROTOCOL},
    {"65535 in eight bytes",         "\x81\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", 10, WS_PROTOCOL},
    {"a negative length",            "\x81\x7F\xFF\x00\x00\x00\x00\x01\x00\x00", 10, WS_PROTOCOL},
    {"too long",                     "\x81\x7E\x03\xE9",                         4,  WS_TOO_BIG },
    {"half a code",                  "\x88\x01\x03",                             3,  WS_PROTOCOL},
    {"a close code for no wire",     "\x88\x02\x03\xED",                         4,  WS_PROTOCOL},
    {"a close code of nobody",       "\x88\x02\x00\x01",                         4,  WS_PROTOCOL},
    {"a bad reason",                 "\x88\x03\x03\xE8\xFF",                     5,  WS_BAD_TEXT},
    {"a bad text",                   "\x81\x01\xFF",                             3,  WS_BAD_TEXT},
    {"half a character",             "\x81\x01\xC3",                             3,  WS_BAD_TEXT},
};

START_TEST(what_breaks_the_protocol_is_refused_with_its_code)
{
    struct heard h = {.text = {.max = 1000}};
    struct err err = {0};
    struct ws_reader r;

    ws_reader_init(&r, 1000, hear, &h);
    ck_assert_msg(ws_feed(&r, faults[_i].bytes, faults[_i].n, &err) < 0, "%s", faults[_i].name);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_uint_eq(r.fault, faults[_i].fault);
    ck_assert_str_eq(buf_get(&h.text), "");
    ws_reader_done(&r);
    buf_done(&h.text);
}
END_TEST

START_TEST(parts_together_are_bounded)
{
    struct heard h = {.text = {.max = 1000}};
    struct err err = {0};
    struct ws_reader r;

    ws_reader_init(&r, 4, hear, &h);
    ck_assert_int_eq(ws_feed(&r,
                             "\x01\x03"
                             "abc\x80\x01"
                             "d",
                             8, &err),
                     0);
    ck_assert_str_eq(buf_get(&h.text), "T:abcd|");
    ck_assert_int_lt(ws_feed(&r,
                             "\x01\x03"
                             "abc\x80\x02",
                             7, &err),
                     0);
    ck_assert_uint_eq(r.fault, WS_TOO_BIG);
    ws_reader_done(&r);
    buf_done(&h.text);
}
END_TEST

START_TEST(whoever_listens_may_end_it)
{
    struct heard h = {.text = {.max = 1000}, .refuse = "no"};
    struct err err = {0};
    struct ws_reader r;

    ws_reader_init(&r, 100, hear, &h);
    ck_assert_int_lt(ws_feed(&r, "\x81\x02no\x81\x02no", 8, &err), 0);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    ck_assert_uint_eq(r.fault, 0);
    ck_assert_str_eq(buf_get(&h.text), "T:no|");
    ws_reader_done(&r);
    buf_done(&h.text);
}
END_TEST

/* ---- the opening handshake ---- */

#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

START_TEST(the_key_is_answered_as_the_rfc_shows)
{
    char out[WS_ACCEPT_TEXT];

    ws_accept(out, KEY); /* RFC 6455, 1.3 */
    ck_assert_str_eq(out, ACCEPT);
}
END_TEST

START_TEST(keys_are_random_and_of_16_bytes)
{
    char a[WS_KEY_TEXT], b[WS_KEY_TEXT];

    ws_make_key(a);
    ws_make_key(b);
    ck_assert_uint_eq(strlen(a), 24);
    ck_assert_str_eq(a + 22, "==");
    ck_assert_str_ne(a, b);
}
END_TEST

START_TEST(the_request_has_what_the_rfc_wants)
{
    CLEANUP(buf_done) struct buf b = {.max = 1000};

    ws_put_request(&b, "example.org:81", "/link/?ticket=1", KEY);
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "GET /link/?ticket=1 HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\r\nHost: example.org:81\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\r\nSec-WebSocket-Key: " KEY "\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\r\nSec-WebSocket-Version: 13\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&b), "\r\n\r\n"));
}
END_TEST

#define LINE(name, value) name ": " value "\r\n"
#define UPGRADE           LINE("Upgrade", "WebSocket")
#define CONNECTION        LINE("connection", "keep-alive, Upgrade")
#define ANSWER            LINE("Sec-WebSocket-Accept", ACCEPT)
#define STATUS            "HTTP/1.1 101 Switching Protocols\r\n"

static const struct {
    const char *head;
    long used; /* -1: refused, -2: all of it */
    const char *why;
} heads[] = {
    {STATUS UPGRADE CONNECTION ANSWER "\r\n", -2, NULL},
    {STATUS "Server: x\r\n" ANSWER CONNECTION UPGRADE "\r\n", -2, NULL},
    {STATUS UPGRADE CONNECTION ANSWER, 0, NULL},
    {"HTT", 0, NULL},
    {"HTTP/1.0 101 x\r\n\r\n", -1, "HTTP/1.1"},
    {"SSH-2.0", -1, "HTTP/1.1"},
    {"HTTP/1.1 403 Forbidden\r\n\r\n", -1, "403"},
    {"HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION ANSWER "\r\n", -1, "200"},
    {STATUS CONNECTION ANSWER "\r\n", -1, "upgrade"},
    {STATUS LINE("Upgrade", "h2c") CONNECTION ANSWER "\r\n", -1, "upgrade"},
    {STATUS UPGRADE ANSWER "\r\n", -1, "connection"},
    {STATUS UPGRADE CONNECTION "\r\n", -1, "key"},
    {STATUS UPGRADE CONNECTION LINE("Sec-WebSocket-Accept", "x" ACCEPT) "\r\n", -1, "key"},
    {STATUS UPGRADE CONNECTION ANSWER LINE("Sec-WebSocket-Extensions", "x") "\r\n", -1, "offered"},
    {STATUS UPGRADE CONNECTION ANSWER LINE("Sec-WebSocket-Protocol", "chat") "\r\n", -1, "offered"},
};

START_TEST(the_servers_head_must_agree)
{
    struct err err = {0};
    size_t n = strlen(heads[_i].head);
    long used = ws_check_head(heads[_i].head, n, KEY, &err);

    ck_assert_int_eq(used, heads[_i].used == -2 ? (long)n : heads[_i].used);
    if (heads[_i].why)
        ck_assert_msg(strstr(err.msg, heads[_i].why), "%s", err.msg);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, a_frame_is_masked_as_the_rfc_shows);
    tcase_add_loop_test(t, a_length_is_written_in_the_shortest_way, 0, ARRAY_LEN(lengths));
    tcase_add_test(t, messages_come_whole_in_any_split);
    tcase_add_loop_test(t, what_breaks_the_protocol_is_refused_with_its_code, 0, ARRAY_LEN(faults));
    tcase_add_test(t, parts_together_are_bounded);
    tcase_add_test(t, whoever_listens_may_end_it);
    tcase_add_test(t, the_key_is_answered_as_the_rfc_shows);
    tcase_add_test(t, keys_are_random_and_of_16_bytes);
    tcase_add_test(t, the_request_has_what_the_rfc_wants);
    tcase_add_loop_test(t, the_servers_head_must_agree, 0, ARRAY_LEN(heads));
}

UNIT_MAIN("slack_ws", add_tests)
