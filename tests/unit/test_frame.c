#include "frames/frame.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "frames/le.h"
#include "unit.h"

enum { STORAGE = 2 * (FRAME_HEAD + FRAME_MAX) };

static uint32_t next_random(void)
{
    static uint32_t x = 2463534242;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void put(struct buf *b, uint8_t type, uint8_t flags, uint16_t id, uint32_t len)
{
    uint8_t head[FRAME_HEAD];
    char *room;

    frame_put_head(head, type, flags, id, len);
    MUST(buf_add(b, head, sizeof(head)) == 0);
    room = buf_room(b, len);
    MUST(room);
    for (uint32_t i = 0; i < len; i++)
        room[i] = (char)(i * 31 + type);
    buf_commit(b, len);
}

START_TEST(integers_are_little_endian_at_any_address)
{
    uint8_t bytes[16] = {0};

    le_put16(bytes + 1, 0x1234);
    le_put32(bytes + 3, 0x89ABCDEF);
    le_put64(bytes + 7, 0x0123456789ABCDEF);
    ck_assert_mem_eq(bytes, "\0\x34\x12\xEF\xCD\xAB\x89\xEF\xCD\xAB\x89\x67\x45\x23\x01\0", 16);
    ck_assert_uint_eq(le_get16(bytes + 1), 0x1234);
    ck_assert_uint_eq(le_get32(bytes + 3), 0x89ABCDEF);
    ck_assert(le_get64(bytes + 7) == 0x0123456789ABCDEF);
}
END_TEST

START_TEST(a_head_is_eight_bytes)
{
    uint8_t head[FRAME_HEAD];

    frame_put_head(head, FRAME_STDOUT, FRAME_MORE, 0x0201, 0x06050403);
    ck_assert_mem_eq(head, "\x43\x01\x01\x02\x03\x04\x05\x06", FRAME_HEAD);
}
END_TEST

/* Takes what is there; adds a line per frame to `seen`. -1 when the reader refused. */
static int drain(struct frame_reader *r, struct buf *seen)
{
    struct frame f;
    int rc;

    while ((rc = frame_next(r, &f)) > 0) {
        uint32_t sum = 0;

        for (uint32_t i = 0; i < f.len; i++)
            sum = sum * 33 + f.data[i];
        (void)buf_fmt(seen, "%d %d %d %u %u\n", f.type, f.flags, f.id, f.len, sum);
    }
    return rc;
}

/* Feeds `n` bytes in pieces of up to `most` bytes. */
static int feed(struct frame_reader *r, const char *data, size_t n, size_t most, struct buf *seen)
{
    for (size_t at = 0; at < n;) {
        size_t room, want = most == 1 ? 1 : 1 + next_random() % most;
        uint8_t *space = frame_space(r, &room);

        MUST(room > 0);
        want = want < room ? want : room;
        want = want < n - at ? want : n - at;
        memcpy(space, data + at, want);
        frame_fill(r, want);
        at += want;
        if (drain(r, seen) < 0)
            return -1;
    }
    return 0;
}

static const size_t pieces[] = {1, 3, 8, 9, 100, 4096, 65536, FRAME_HEAD + FRAME_MAX, STORAGE};

START_TEST(any_split_gives_the_same_frames)
{
    auto_free uint8_t *storage = xmalloc(STORAGE);
    CLEANUP(buf_done)
    struct buf bytes = {.max = 1 << 26}, want = {.max = 1 << 20}, seen = {.max = 1 << 20};
    struct frame_reader r;

    for (int i = 0; i < 60; i++) {
        static const uint32_t sizes[] = {0, 1, 7, 8, 9, 100, 4000, FRAME_MAX - 1, FRAME_MAX};
        uint32_t len = i < 9 ? sizes[i] : next_random() % 20000;
        uint32_t sum = 0, at = (uint32_t)bytes.len + FRAME_HEAD;
        uint8_t type = (uint8_t)next_random(), flags = (uint8_t)next_random();
        uint16_t id = (uint16_t)next_random();

        put(&bytes, type, flags, id, len);
        for (uint32_t k = 0; k < len; k++)
            sum = sum * 33 + (uint8_t)bytes.data[at + k];
        (void)buf_fmt(&want, "%d %d %d %u %u\n", type, flags, id, len, sum);
    }
    frame_reader_init(&r, storage, STORAGE);
    ck_assert_int_eq(feed(&r, bytes.data, bytes.len, pieces[_i], &seen), 0);
    ck_assert_str_eq(buf_get(&seen), buf_get(&want));
}
END_TEST

START_TEST(the_smallest_storage_is_enough_for_the_largest_frame)
{
    auto_free uint8_t *storage = xmalloc(FRAME_HEAD + FRAME_MAX);
    CLEANUP(buf_done) struct buf bytes = {.max = 1 << 20}, seen = {.max = 1 << 20};
    struct frame_reader r;
    size_t lines = 0;

    put(&bytes, 1, 0, 0, 3);
    put(&bytes, 2, 0, 0, FRAME_MAX);
    put(&bytes, 3, 0, 0, 1);
    put(&bytes, 4, 0, 0, FRAME_MAX);
    frame_reader_init(&r, storage, FRAME_HEAD + FRAME_MAX);
    ck_assert_int_eq(feed(&r, bytes.data, bytes.len, 5000, &seen), 0);
    for (const char *c = buf_get(&seen); *c; c++)
        lines += *c == '\n';
    ck_assert_uint_eq(lines, 4);
}
END_TEST

static const uint32_t hostile[] = {FRAME_MAX + 1, FRAME_MAX + 8, 0x7FFFFFFF,
                                   0x80000000,    0xFFFFFFF7,    0xFFFFFFFF};

START_TEST(a_length_beyond_the_maximum_breaks_the_protocol)
{
    auto_free uint8_t *storage = xmalloc(STORAGE);
    CLEANUP(buf_done) struct buf bytes = {.max = 1000}, seen = {.max = 1000};
    uint8_t head[FRAME_HEAD];
    struct frame_reader r;

    put(&bytes, 1, 0, 0, 5);
    frame_put_head(head, FRAME_STDOUT, 0, 0, hostile[_i]);
    ck_assert_int_eq(buf_add(&bytes, head, sizeof(head)), 0);
    frame_reader_init(&r, storage, STORAGE);
    ck_assert_int_eq(feed(&r, bytes.data, bytes.len, 1, &seen), -1);
    ck_assert_int_eq(strncmp(buf_get(&seen), "1 0 0 5 ", 8), 0);
    /* It stays broken. */
    ck_assert_int_eq(drain(&r, &seen), -1);
}
END_TEST

START_TEST(a_frame_that_is_not_whole_waits)
{
    auto_free uint8_t *storage = xmalloc(STORAGE);
    CLEANUP(buf_done) struct buf bytes = {.max = 1000}, seen = {.max = 1000};
    struct frame_reader r;

    put(&bytes, 1, 0, 0, 5);
    frame_reader_init(&r, storage, STORAGE);
    ck_assert_int_eq(drain(&r, &seen), 0);
    ck_assert_int_eq(feed(&r, bytes.data, bytes.len - 1, 1000, &seen), 0);
    ck_assert_str_eq(buf_get(&seen), "");
    ck_assert_int_eq(feed(&r, bytes.data + bytes.len - 1, 1, 1, &seen), 0);
    ck_assert_str_ne(buf_get(&seen), "");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 20);
    tcase_add_test(t, integers_are_little_endian_at_any_address);
    tcase_add_test(t, a_head_is_eight_bytes);
    tcase_add_loop_test(t, any_split_gives_the_same_frames, 0, ARRAY_LEN(pieces));
    tcase_add_test(t, the_smallest_storage_is_enough_for_the_largest_frame);
    tcase_add_loop_test(t, a_length_beyond_the_maximum_breaks_the_protocol, 0, ARRAY_LEN(hostile));
    tcase_add_test(t, a_frame_that_is_not_whole_waits);
}

UNIT_MAIN("frame", add_tests)
