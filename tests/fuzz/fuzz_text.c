/*
 * The small decoders, all on the same bytes: base64, UTF-8 repair and cutting, JSON strings, paths.
 *
 * Oracles beyond the sanitizers: any split gives the same, what is encoded comes back, repaired text
 * is valid, no valid text is changed, a JSON string reads back as the repaired text, a path that is
 * accepted stays below its directory.
 */
#include <assert.h>
#include <cjson/cJSON.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TEXT_MAX = 1 << 16 };

/* The decoded length, or -1. */
static long decode(const char *s, size_t n, size_t step, unsigned char *out)
{
    struct base64_dec d = {0};
    size_t len = 0;

    for (size_t at = 0; at < n; at += step) {
        size_t got = 0;

        if (base64_feed(&d, s + at, n - at < step ? n - at : step, out + len, &got, NULL) < 0)
            return -1;
        len += got;
    }
    return base64_end(&d, NULL) < 0 ? -1 : (long)len;
}

static void base64_both_ways(const char *s, size_t n)
{
    auto_free unsigned char *one = xmalloc(n + 16), *other = xmalloc(n + 16);
    auto_free char *text = xmalloc(BASE64_LEN(n) + 1);
    long a = decode(s, n, n + 1, one), b = decode(s, n, 1 + n % 5, other);
    size_t len;

    assert(a == b && (a <= 0 || memcmp(one, other, (size_t)a) == 0));
    len = base64_encode(text, s, n);
    assert(len == BASE64_LEN(n));
    free(TAKE(one));
    one = xmalloc(len + 16);
    assert(decode(text, len, len + 1, one) == (long)n && (n == 0 || memcmp(one, s, n) == 0));
}

static size_t repair(const char *s, size_t n, size_t step, char *out)
{
    struct utf8_repair r = {0};
    size_t len = 0;

    for (size_t at = 0; at < n; at += step)
        len += utf8_repair_feed(&r, s + at, n - at < step ? n - at : step, out + len);
    return len + utf8_repair_flush(&r, out + len);
}

static void repaired(const char *s, size_t n, struct buf *ret)
{
    size_t room = 3 * n + 64;
    auto_free char *one = xmalloc(room), *other = xmalloc(room), *again = xmalloc(3 * room);
    size_t len = repair(s, n, n + 1, one);

    assert(repair(s, n, 1 + n % 3, other) == len && memcmp(one, other, len) == 0);
    assert(utf8_valid_prefix(one, len) == len);
    if (utf8_valid_prefix(s, n) == n)
        assert(len == n && (n == 0 || memcmp(one, s, n) == 0));
    assert(repair(one, len, len + 1, again) == len && memcmp(one, again, len) == 0);
    for (size_t cut = len < 8 ? 0 : len - 8; cut <= len; cut++)
        assert(utf8_cut(one, cut) <= cut &&
               utf8_valid_prefix(one, utf8_cut(one, cut)) == utf8_cut(one, cut));
    (void)buf_add(ret, one, len);
}

static void json_string(const char *s, size_t n, const struct buf *text)
{
    CLEANUP(buf_done) struct buf b = {0};
    cJSON *back;

    buf_init(&b, 8 * TEXT_MAX);
    json_put_str(&b, s, n);
    assert(!b.is_full);
    back = cJSON_ParseWithLengthOpts(buf_get(&b), b.len + 1, NULL, true);
    assert(cJSON_IsString(back));
    /* The parser ends a string at an escaped NUL. */
    if (!memchr(buf_get(text), '\0', text->len))
        assert(strcmp(back->valuestring, buf_get(text)) == 0);
    cJSON_Delete(back);
}

static void path(const char *s, size_t n)
{
    if (path_check(s, n, NULL) < 0)
        return;
    assert(n && s[0] != '/' && !memchr(s, '\0', n) && utf8_valid_prefix(s, n) == n);
    for (const char *part = s, *end = s + n; part < end;) {
        const char *slash = memchr(part, '/', (size_t)(end - part));
        size_t len = (size_t)((slash ? slash : end) - part);

        assert(len > 0 && !(len == 1 && part[0] == '.') &&
               !(len == 2 && part[0] == '.' && part[1] == '.'));
        part += len + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    CLEANUP(buf_done) struct buf text = {0};
    const char *s = (const char *)data;

    if (n > TEXT_MAX)
        return 0;
    buf_init(&text, 8 * TEXT_MAX);
    base64_both_ways(s, n);
    repaired(s, n, &text);
    json_string(s, n, &text);
    path(s, n);
    return 0;
}
