#include "frames/mux.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "unit.h"

static uint32_t next_random(void)
{
    static uint32_t x = 362436069;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void put(struct buf *b, uint8_t stream, const char *data, uint32_t n)
{
    const uint8_t head[MUX_HEAD] = {
        stream, 0, 0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    MUST(buf_add(b, head, sizeof(head)) == 0 && buf_add(b, data, n) == 0);
}

/* Strips `raw` in pieces of up to `most` bytes; 0, or -1 when it was refused. */
static int strip(const struct buf *raw, size_t most, struct buf *out)
{
    struct mux m = {0};

    for (size_t at = 0; at < raw->len;) {
        size_t n = most == 1 ? 1 : 1 + next_random() % most;
        uint8_t piece[4096];
        long got;

        n = n < raw->len - at ? n : raw->len - at;
        n = n < sizeof(piece) ? n : sizeof(piece);
        memcpy(piece, raw->data + at, n);
        got = mux_strip(&m, piece, n);
        if (got < 0)
            return -1;
        MUST((size_t)got <= n && buf_add(out, piece, (size_t)got) == 0);
        at += n;
    }
    return 0;
}

static const size_t pieces[] = {1, 2, 7, 8, 9, 33, 1000, 4096};

START_TEST(any_split_gives_the_payload_of_stdout)
{
    CLEANUP(buf_done)
    struct buf raw = {.max = 1 << 22}, want = {.max = 1 << 22}, got = {.max = 1 << 22};
    char data[3000];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)next_random();
    for (int i = 0; i < 300; i++) {
        static const uint32_t sizes[] = {0, 1, 7, 8, 9};
        uint32_t n = i < 20 ? sizes[i % 5] : next_random() % sizeof(data);
        uint8_t stream = (uint8_t)(next_random() % 3);

        put(&raw, stream, data, n);
        if (stream == 1)
            (void)buf_add(&want, data, n);
    }
    ck_assert_int_eq(strip(&raw, pieces[_i], &got), 0);
    ck_assert_uint_eq(got.len, want.len);
    ck_assert_mem_eq(got.data, want.data, want.len);
}
END_TEST

static const char *const broken[] = {
    "\x03\0\0\0\0\0\0\x01",
    "\xFF\0\0\0\0\0\0\x01",
    "\x01\x01\0\0\0\0\0\x01",
    "\x01\0\x80\0\0\0\0\x01",
    "\x01\0\0\x01\0\0\0\x01",
    "HTTP/1.1",
    "{\"messag",
};

START_TEST(a_head_of_another_form_breaks_the_protocol)
{
    CLEANUP(buf_done) struct buf raw = {.max = 1000}, got = {.max = 1000};

    put(&raw, 1, "abc", 3);
    ck_assert_int_eq(buf_add(&raw, broken[_i], MUX_HEAD), 0);
    ck_assert_int_eq(strip(&raw, 1, &got), -1);
    ck_assert_str_eq(buf_get(&got), "abc");
    buf_clear(&got);
    ck_assert_int_eq(strip(&raw, 1000, &got), -1);
}
END_TEST

START_TEST(an_announced_length_is_only_a_number)
{
    struct mux m = {0};
    uint8_t raw[] = {1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 'a', 'b'};

    ck_assert_int_eq(mux_strip(&m, raw, sizeof(raw)), 2);
    ck_assert_mem_eq(raw, "ab", 2);
    ck_assert_uint_eq(m.left, 0xFFFFFFFD);
    ck_assert_int_eq(mux_strip(&m, raw, 0), 0);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, any_split_gives_the_payload_of_stdout, 0, ARRAY_LEN(pieces));
    tcase_add_loop_test(t, a_head_of_another_form_breaks_the_protocol, 0, ARRAY_LEN(broken));
    tcase_add_test(t, an_announced_length_is_only_a_number);
}

UNIT_MAIN("mux", add_tests)
