#include "base/utf8.h"

#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "unit.h"

extern char **environ;

/* Every border of the table of valid sequences, and what lies beside it. */
static const unsigned char borders[] = {
    'a',  0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
    0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFE, 0xFF,
};

enum { LONG_ONES = 3000, LONG_MAX_LEN = 200 };

static size_t put_code(unsigned char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xC0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xE0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (c & 63));
    return 4;
}

START_TEST(every_code_point_but_surrogates_is_valid)
{
    for (uint32_t c = 0; c < 0x120000; c++) {
        unsigned char s[4];
        size_t n = put_code(s, c);
        bool good = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);

        MUST(utf8_step(s, n) == (good ? (int)n : -1));
        for (size_t k = 1; good && k < n; k++)
            MUST(utf8_step(s, k) == 0);
    }
}
END_TEST

START_TEST(no_overlong_form_is_valid)
{
    for (uint32_t c = 0; c < 0x10000; c++) {
        unsigned char two[] = {(unsigned char)(0xC0 | (c >> 6 & 31)),
                               (unsigned char)(0x80 | (c & 63))};
        unsigned char three[] = {0xE0, (unsigned char)(0x80 | (c >> 6 & 63)),
                                 (unsigned char)(0x80 | (c & 63))};
        unsigned char four[] = {0xF0, (unsigned char)(0x80 | (c >> 12 & 63)),
                                (unsigned char)(0x80 | (c >> 6 & 63)),
                                (unsigned char)(0x80 | (c & 63))};

        MUST(utf8_step(four, 4) == -1);
        MUST(c >= 0x800 || utf8_step(three, 3) == -1);
        MUST(c >= 0x80 || utf8_step(two, 2) == -1);
    }
}
END_TEST

START_TEST(nothing_is_the_beginning_of_anything)
{
    ck_assert_int_eq(utf8_step((const unsigned char *)"", 0), 0);
}
END_TEST

static const struct prefix {
    const char *s;
    size_t n, valid, cut;
} prefixes[] = {
    {"",                     0, 0, 0},
    {"abc",                  3, 3, 3},
    {"a\0c",                 3, 3, 3},
    {"\xC3\xA9",             2, 2, 2},
    {"a\xC3",                2, 1, 1},
    {"\xC3",                 1, 0, 0},
    {"a\xE2\x82",            3, 1, 1},
    {"a\xE2\x82\xAC",        4, 4, 4},
    {"a\xE2\x82\xAC\xE2",    5, 4, 4},
    {"a\xF0\x9F\x98",        4, 1, 1},
    {"a\xF0\x9F\x98\x80",    5, 5, 5},
    {"a\xFF",                2, 1, 2}, /* a cut does not repair */
    {"a\x80",                2, 1, 2},
    {"a\x80\x80\x80\x80",    5, 1, 5},
    {"\x80\x80",             2, 0, 2},
    {"a\xE0\x80",            3, 1, 3},
    {"a\xED\xA0",            3, 1, 3},
    {"\xC3(",                2, 0, 2},
    {"ab\xC3(d",             5, 2, 5},
    {"\xC3\xA9\x80\x80\x80", 5, 2, 5},
};

START_TEST(finds_the_valid_beginning_and_where_to_cut)
{
    const struct prefix *p = &prefixes[_i];

    ck_assert_uint_eq(utf8_valid_prefix(p->s, p->n), p->valid);
    ck_assert_uint_eq(utf8_cut(p->s, p->n), p->cut);
}
END_TEST

START_TEST(a_cut_of_valid_text_is_valid_and_loses_less_than_one_sequence)
{
    static const char text[] =
        "a\xC3\xA9z\xE2\x82\xAC\xF0\x9F\x98\x80y\xED\x9F\xBF\xF4\x8F\xBF\xBF";

    for (size_t n = 0; n < sizeof(text); n++) {
        size_t cut = utf8_cut(text, n);

        ck_assert_uint_le(cut, n);
        ck_assert_uint_lt(n - cut, 4);
        ck_assert_uint_eq(utf8_valid_prefix(text, cut), cut);
        ck_assert_uint_eq(utf8_valid_prefix(text, n), cut);
    }
}
END_TEST

/* ---- repair, compared with Python ---- */

static uint32_t next_random(void)
{
    static uint32_t x = 88172645;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void put_string(struct buf *b, const unsigned char *s, size_t n)
{
    const unsigned char len[2] = {(unsigned char)n, (unsigned char)(n >> 8)};

    MUST(buf_add(b, len, 2) == 0 && buf_add(b, s, n) == 0);
}

/* All strings of up to four border bytes. */
static void put_short_ones(struct buf *b)
{
    enum { N = ARRAY_LEN(borders) };

    put_string(b, borders, 0);
    for (unsigned n = 1, count = N; n <= 4; n++, count *= N) {
        for (unsigned v = 0; v < count; v++) {
            unsigned char s[4];

            for (unsigned i = 0, rest = v; i < n; i++, rest /= N)
                s[i] = borders[rest % N];
            put_string(b, s, n);
        }
    }
}

static void put_long_ones(struct buf *b)
{
    for (int i = 0; i < LONG_ONES; i++) {
        unsigned char s[LONG_MAX_LEN + 4];
        size_t n = 0, want = next_random() % LONG_MAX_LEN;

        while (n < want) {
            if (next_random() % 2)
                n += put_code(s + n, next_random() % 0x110000);
            else
                s[n++] = borders[next_random() % ARRAY_LEN(borders)];
        }
        put_string(b, s, n);
    }
}

static int memory_file(const struct buf *b)
{
    int fd = memfd_create("utf8", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    for (size_t at = 0; b && at < b->len;) {
        ssize_t n = write(fd, b->data + at, b->len - at);

        ck_assert_int_gt(n, 0);
        at += (size_t)n;
    }
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* What Python makes of the corpus; false when there is no Python here. */
static bool judge(const struct buf *corpus, struct buf *ret)
{
    static char program[] = "python3", script[] = "tests/unit/utf8_judge.py";
    char *const argv[] = {program, script, NULL};
    int in = memory_file(corpus), out = memory_file(NULL), status;
    posix_spawn_file_actions_t io;
    char *room;
    off_t size;
    pid_t pid;

    ck_assert_int_eq(posix_spawn_file_actions_init(&io), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&io, in, 0), 0);
    ck_assert_int_eq(posix_spawn_file_actions_adddup2(&io, out, 1), 0);
    if (posix_spawnp(&pid, argv[0], &io, NULL, argv, environ) != 0)
        return false;
    (void)posix_spawn_file_actions_destroy(&io);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    size = lseek(out, 0, SEEK_END);
    ck_assert_int_gt(size, 0);
    room = buf_room(ret, (size_t)size);
    ck_assert_ptr_nonnull(room);
    ck_assert_int_eq(pread(out, room, (size_t)size, 0), size);
    buf_commit(ret, (size_t)size);
    (void)close(in);
    (void)close(out);
    return true;
}

/* One byte string of the corpus or of the verdicts; false at the end. */
static bool next_string(const struct buf *b, size_t *at, const char **ret, size_t *ret_n)
{
    const unsigned char *p = (const unsigned char *)b->data + *at;

    if (*at >= b->len)
        return false;
    *ret_n = (size_t)p[0] | (size_t)p[1] << 8;
    *ret = (const char *)p + 2;
    *at += 2 + *ret_n;
    return true;
}

/* Repairs `s` in pieces that end where `cuts` has a bit. */
static size_t repair(const char *s, size_t n, uint32_t cuts, char *out)
{
    struct utf8_repair r = {0};
    size_t at = 0, len = 0;

    while (at < n) {
        size_t end = at + 1;

        while (end < n && !(cuts >> (end - 1) % 32 & 1))
            end++;
        len += utf8_repair_feed(&r, s + at, end - at, out + len);
        at = end;
    }
    return len + utf8_repair_flush(&r, out + len);
}

static void compare(const char *s, size_t n, const char *want, size_t want_n)
{
    static char out[UTF8_REPAIR_MAX(LONG_MAX_LEN + 4)];
    uint32_t splits = n <= 4 ? 1U << (n ? n - 1 : 0) : 8;

    for (uint32_t i = 0; i < splits; i++) {
        uint32_t cuts = n <= 4 || i == 0 ? i : next_random() & next_random();
        size_t len = repair(s, n, cuts, out);

        MUST(len == want_n && memcmp(out, want, len) == 0);
    }
}

START_TEST(repairs_like_python_in_every_split)
{
    CLEANUP(buf_done) struct buf corpus = {.max = 1 << 26}, verdicts = {.max = 1 << 26};
    const char *s, *want;
    size_t a = 0, b = 0, n, want_n, count = 0;

    put_short_ones(&corpus);
    put_long_ones(&corpus);
    if (!judge(&corpus, &verdicts)) {
        printf("skipped: no python3 to compare with\n");
        return;
    }
    while (next_string(&corpus, &a, &s, &n)) {
        MUST(next_string(&verdicts, &b, &want, &want_n));
        if (count++ % (size_t)unit_rounds(1, 20) == 0)
            compare(s, n, want, want_n);
    }
    ck_assert_uint_gt(count, 600000);
    ck_assert_uint_eq(b, verdicts.len);
}
END_TEST

START_TEST(a_state_that_was_flushed_can_be_used_again)
{
    struct utf8_repair r = {0};
    char out[UTF8_REPAIR_MAX(8)];

    ck_assert_uint_eq(utf8_repair_feed(&r, "\xE2\x82", 2, out), 0);
    ck_assert_uint_eq(utf8_repair_flush(&r, out), 3);
    ck_assert_mem_eq(out, "\xEF\xBF\xBD", 3);
    ck_assert_uint_eq(utf8_repair_flush(&r, out), 0);
    ck_assert_uint_eq(utf8_repair_feed(&r, "\xAC", 1, out), 3);
    ck_assert_uint_eq(utf8_repair_feed(&r, "", 0, out), 0);
    ck_assert_uint_eq(utf8_repair_feed(&r, "ok", 2, out), 2);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, every_code_point_but_surrogates_is_valid);
    tcase_add_test(t, no_overlong_form_is_valid);
    tcase_add_test(t, nothing_is_the_beginning_of_anything);
    tcase_add_loop_test(t, finds_the_valid_beginning_and_where_to_cut, 0, ARRAY_LEN(prefixes));
    tcase_add_test(t, a_cut_of_valid_text_is_valid_and_loses_less_than_one_sequence);
    tcase_set_timeout(t, 60); /* the corpus, under a sanitizer */
    tcase_add_test(t, repairs_like_python_in_every_split);
    tcase_add_test(t, a_state_that_was_flushed_can_be_used_again);
}

UNIT_MAIN("utf8", add_tests)
