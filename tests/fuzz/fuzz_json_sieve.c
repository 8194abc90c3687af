#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/json_sieve.h"

/*
 * Oracles beyond "no crash": any split gives the same copy, the same blobs, the same words; what
 * the sieve accepts the scanner accepts; no bound is passed; the copy is no longer than the text
 * but for the numbers that stand for blobs. Texts of an odd length are read as those that may have
 * an escaped NUL: there is none in the copy.
 */

static const char *const paths[] = {"files[].b64_data", "d", "[].d", "a.b[][]", NULL};

static struct json_sieve_options options = {
    .paths = paths,
    .spool_dir = "/tmp",
    .text_max = 1 << 16,
    .tokens_max = 1000,
    .blobs_max = 8,
    .blob_max = 1 << 12,
    .total_max = 1 << 13,
};

static int sift(struct json_sieve *s, const uint8_t *data, size_t n, size_t step, struct err *err)
{
    for (size_t i = 0; i < n; i += step) {
        if (json_sieve_feed(s, (const char *)data + i, n - i < step ? n - i : step, err) < 0)
            return -1;
    }
    return json_sieve_end(s, err);
}

static void same_blob(const struct spool *a, const struct spool *b)
{
    static char one[1 << 12], other[1 << 12];
    ssize_t n = spool_read(a, 0, one, sizeof(one), NULL);

    assert(a->size == b->size && a->size <= options.blob_max);
    assert(spool_read(b, 0, other, sizeof(other), NULL) == n);
    assert(n <= 0 || memcmp(one, other, (size_t)n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    CLEANUP(json_sieve_free_p) struct json_sieve *whole = NULL, *split = NULL;
    struct err e = {0}, f = {0};
    const struct buf *text;
    int good;

    options.replaces_nul = n % 2 != 0;
    whole = json_sieve_new(&options);
    split = json_sieve_new(&options);
    good = sift(whole, data, n, n ? n : 1, &e);
    text = json_sieve_text(whole);
    assert(sift(split, data, n, 1 + n % 5, &f) == good);
    assert(strcmp(e.msg, f.msg) == 0);
    assert(json_sieve_blobs(whole) <= options.blobs_max);
    if (good < 0)
        return 0;
    assert(strcmp(buf_get(text), buf_get(json_sieve_text(split))) == 0);
    assert(text->len <= n);
    assert(json_sieve_blobs(whole) == json_sieve_blobs(split));
    for (size_t i = 0; i < json_sieve_blobs(whole); i++)
        same_blob(json_sieve_blob(whole, i), json_sieve_blob(split, i));
    assert(json_scan_text(buf_get(text), text->len, options.tokens_max, NULL) == 0);
    if (options.replaces_nul)
        assert(json_scan_passed_on((const char *)data, n, options.tokens_max, NULL) == 0);
    else
        assert(json_scan_text((const char *)data, n, options.tokens_max, NULL) == 0);
    return 0;
}
