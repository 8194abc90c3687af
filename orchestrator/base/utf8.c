#include "base/utf8.h"

#include <string.h>

/* Lowest and highest second byte that each lead byte allows. */
static void second_range(unsigned char lead, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (lead == 0xE0)
        *lo = 0xA0;
    else if (lead == 0xED)
        *hi = 0x9F;
    else if (lead == 0xF0)
        *lo = 0x90;
    else if (lead == 0xF4)
        *hi = 0x8F;
}

static size_t lead_len(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        return 2;
    if (c >= 0xE0 && c <= 0xEF)
        return 3;
    if (c >= 0xF0 && c <= 0xF4)
        return 4;
    return 0;
}

/* How many bytes at `s` belong to a sequence that is valid so far; `want` gets its full length. */
static size_t good_part(const unsigned char *s, size_t n, size_t *want)
{
    unsigned char lo, hi;
    size_t i = 1;

    *want = lead_len(s[0]);
    if (*want < 2)
        return *want;
    second_range(s[0], &lo, &hi);
    if (n > 1 && s[1] >= lo && s[1] <= hi) {
        for (i = 2; i < n && i < *want; i++) {
            if ((s[i] & 0xC0) != 0x80)
                break;
        }
    }
    return i;
}

int utf8_step(const unsigned char *s, size_t n)
{
    size_t want, got;

    if (n == 0)
        return 0;
    got = good_part(s, n, &want);
    if (want == 0)
        return -1;
    if (got == want)
        return (int)want;
    return got == n ? 0 : -1;
}

size_t utf8_valid_prefix(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;

    while (i < n) {
        int step;

        if (p[i] < 0x80) {
            i++;
            continue;
        }
        step = utf8_step(p + i, n - i);
        if (step <= 0)
            return i;
        i += (size_t)step;
    }
    return n;
}

size_t utf8_cut(const char *s, size_t n)
{
    size_t back = 0;

    while (back < 3 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back == n)
        return n;
    if (utf8_step((const unsigned char *)s + n - 1 - back, back + 1) == 0)
        return n - 1 - back;
    return n;
}

static size_t put_bad(char *out)
{
    memcpy(out, "\xEF\xBF\xBD", 3);
    return 3;
}

/* Consumes one item of `s` into `out`; returns bytes eaten, 0 when the rest must be held back. */
static size_t repair_one(const unsigned char *s, size_t n, char *out, size_t *out_len)
{
    size_t want, got = good_part(s, n, &want);

    if (want && got == want) {
        memcpy(out + *out_len, s, want);
        *out_len += want;
        return want;
    }
    if (want && got == n)
        return 0;
    *out_len += put_bad(out + *out_len);
    return got ? got : 1;
}

size_t utf8_repair_feed(struct utf8_repair *r, const char *s, size_t n, char *out)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0, out_len = 0;

    while (r->held_len && i < n) {
        size_t ate;

        r->held[r->held_len++] = p[i++];
        ate = repair_one(r->held, r->held_len, out, &out_len);
        if (ate == 0)
            continue;
        /* Only the last byte can be left over: all before it were valid so far. */
        i -= r->held_len - ate;
        r->held_len = 0;
    }
    while (i < n) {
        size_t ate;

        if (p[i] < 0x80) {
            out[out_len++] = (char)p[i++];
            continue;
        }
        ate = repair_one(p + i, n - i, out, &out_len);
        if (ate == 0) {
            r->held_len = n - i;
            memcpy(r->held, p + i, r->held_len);
            break;
        }
        i += ate;
    }
    return out_len;
}

size_t utf8_repair_flush(struct utf8_repair *r, char *out)
{
    size_t n = r->held_len ? put_bad(out) : 0;

    r->held_len = 0;
    return n;
}
