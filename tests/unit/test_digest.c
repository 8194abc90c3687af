#include "base/digest.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "unit.h"

/* FIPS 180-4, the examples of NIST. */
static const struct known {
    const char *data, *hex;
} known[] = {
    {"",                                                         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc",                                                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"                                                            },
};

START_TEST(gives_the_published_digests)
{
    char out[DIGEST_TEXT];

    ck_assert_ptr_eq(digest_text(out, known[_i].data, strlen(known[_i].data)), out);
    ck_assert_str_eq(out, known[_i].hex);
}
END_TEST

START_TEST(gives_the_published_digest_of_a_million_bytes)
{
    auto_free char *a = xmalloc(1000000);
    unsigned char raw[DIGEST_LEN];

    memset(a, 'a', 1000000);
    digest_sha256(raw, a, 1000000);
    ck_assert_mem_eq(raw,
                     "\xcd\xc7\x6e\x5c\x99\x14\xfb\x92\x81\xa1\xc7\xe2\x84\xd7\x3e\x67"
                     "\xf1\x80\x9a\x48\xa4\x97\x20\x0e\x04\x6d\x39\xcc\xc7\x11\x2c\xd0",
                     DIGEST_LEN);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, gives_the_published_digests, 0, ARRAY_LEN(known));
    tcase_add_test(t, gives_the_published_digest_of_a_million_bytes);
}

UNIT_MAIN("digest", add_tests)
