#include "base/base64.h"

#include <string.h>

#include "base/random.h"
#include "unit.h"

/* RFC 4648 section 10, and what has every digit. */
static const struct pair {
    const char *plain;
    size_t n;
    const char *text;
} pairs[] = {
    {"",              0,  ""                                                                },
    {"f",             1,  "Zg=="                                                            },
    {"fo",            2,  "Zm8="                                                            },
    {"foo",           3,  "Zm9v"                                                            },
    {"foob",          4,  "Zm9vYg=="                                                        },
    {"fooba",         5,  "Zm9vYmE="                                                        },
    {"foobar",        6,  "Zm9vYmFy"                                                        },
    {"\0\0\0",        3,  "AAAA"                                                            },
    {"\xFF\xFF\xFF",  3,  "////"                                                            },
    {"\xFB\xEF\xBE",  3,  "++++"                                                            },
    {"\x00\x10\x83\x10\x51\x87\x20\x92\x8B\x30\xD3\x8F\x41\x14\x93\x51\x55\x97\x61\x96\x9B\x71\xD7"
     "\x9F\x82\x18\xA3\x92\x59\xA7\xA2\x9A\xAB\xB2\xDB\xAF\xC3\x1C\xB3\xD3\x5D\xB7\xE3\x9E\xBB\xF3"
     "\xDF\xBF", 48, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"},
};

static int decode(const char *text, size_t n, unsigned char *out, size_t *ret_n, struct err *err)
{
    struct base64_dec d = {0};

    if (base64_feed(&d, text, n, out, ret_n, err) < 0)
        return -1;
    return base64_end(&d, err);
}

START_TEST(encodes_and_decodes_the_published_pairs)
{
    const struct pair *p = &pairs[_i];
    unsigned char back[64];
    char out[72];
    size_t n = base64_encode(out, p->plain, p->n);

    ck_assert_uint_eq(n, strlen(p->text));
    ck_assert_uint_eq(n, BASE64_LEN(p->n));
    ck_assert_mem_eq(out, p->text, n);
    ck_assert_int_eq(decode(p->text, n, back, &n, NULL), 0);
    ck_assert_uint_eq(n, p->n);
    ck_assert_mem_eq(back, p->plain, n);
}
END_TEST

static const char *const bad[] = {
    "=",
    "==",
    "A",
    "AA",
    "AAA",
    "A=",
    "A==",
    "A===",
    "AA=",
    "AA=A",
    "AA=A====",
    "AA===",
    "AAAA=",
    "AAAA==",
    "AA==AA",
    "AA==AAAA",
    "AAA=AAA",
    "AAA==",
    "A-==",
    "A_AA",
    "AAA.",
    "A\\AA",
    "\"AAA",
    "AAAAA",
    "AAAAAA",
    "AAAAAAA",
    "AA\vAA",
    "AA\xC2\xA0"
    "AA",
    "\xC1\xC1\xC1\xC1",
};

START_TEST(refuses_what_is_not_base64)
{
    unsigned char out[32];
    struct err e = {0};
    size_t n;

    ck_assert_msg(decode(bad[_i], strlen(bad[_i]), out, &n, &e) == -1, "'%s'", bad[_i]);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, "base64"));
}
END_TEST

START_TEST(refuses_a_nul_byte)
{
    unsigned char out[8];
    size_t n;

    ck_assert_int_eq(decode("AA\0A", 4, out, &n, NULL), -1);
}
END_TEST

START_TEST(skips_white_space_everywhere)
{
    static const char text[] = " Z\tm\r\n9 v Y g\n=\n= \n";
    unsigned char out[32];
    size_t n = 0;

    ck_assert_int_eq(decode(text, strlen(text), out, &n, NULL), 0);
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(out, "foob", 4);
}
END_TEST

/* Every split of a text into three parts gives the same bytes, or the same refusal. */
static void check_splits(const char *text, size_t len, const unsigned char *want, size_t want_n,
                         int verdict)
{
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            const size_t cut[4] = {0, a, b, len};
            struct base64_dec d = {0};
            unsigned char out[64];
            size_t at = 0;
            int rc = 0;

            for (int i = 0; i < 3 && rc == 0; i++) {
                size_t n = 0;

                rc = base64_feed(&d, text + cut[i], cut[i + 1] - cut[i], out + at, &n, NULL);
                at += n;
            }
            if (rc == 0)
                rc = base64_end(&d, NULL);
            ck_assert_int_eq(rc, verdict);
            if (verdict == 0) {
                ck_assert_uint_eq(at, want_n);
                ck_assert_mem_eq(out, want, want_n);
            }
        }
    }
}

START_TEST(every_split_gives_the_same)
{
    for (size_t i = 0; i < ARRAY_LEN(pairs) - 1; i++)
        check_splits(pairs[i].text, strlen(pairs[i].text), (const unsigned char *)pairs[i].plain,
                     pairs[i].n, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_splits(bad[i], strlen(bad[i]), NULL, 0, -1);
}
END_TEST

START_TEST(random_bytes_come_back_through_split_encoding_too)
{
    unsigned char plain[600], back[800];
    char whole[BASE64_LEN(600)], parts[BASE64_LEN(600)];

    random_bytes(plain, sizeof(plain));
    for (size_t n = 0; n < sizeof(plain); n += 7) {
        size_t len = base64_encode(whole, plain, n), at = 0, got = 0;

        for (size_t i = 0; i < n; i += 33)
            at += base64_encode(parts + at, plain + i, n - i < 33 ? n - i : 33);
        ck_assert_uint_eq(at, len);
        ck_assert_mem_eq(parts, whole, len);
        ck_assert_int_eq(decode(whole, len, back, &got, NULL), 0);
        ck_assert_uint_eq(got, n);
        ck_assert_mem_eq(back, plain, n);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, encodes_and_decodes_the_published_pairs, 0, ARRAY_LEN(pairs));
    tcase_add_loop_test(t, refuses_what_is_not_base64, 0, ARRAY_LEN(bad));
    tcase_add_test(t, refuses_a_nul_byte);
    tcase_add_test(t, skips_white_space_everywhere);
    tcase_add_test(t, every_split_gives_the_same);
    tcase_add_test(t, random_bytes_come_back_through_split_encoding_too);
}

UNIT_MAIN("base64", add_tests)
