#include "base/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(char *out, const void *data, size_t n)
{
    const unsigned char *p = data;
    char *o = out;
    size_t i = 0;

    for (; i + 3 <= n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];

        *o++ = alphabet[v >> 18];
        *o++ = alphabet[v >> 12 & 63];
        *o++ = alphabet[v >> 6 & 63];
        *o++ = alphabet[v & 63];
    }
    if (i < n) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0);

        *o++ = alphabet[v >> 18];
        *o++ = alphabet[v >> 12 & 63];
        *o++ = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
        *o++ = '=';
    }
    return (size_t)(o - out);
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

static size_t put_group(struct base64_dec *d, unsigned char *out)
{
    size_t n = 3 - d->pad;

    out[0] = (unsigned char)(d->bits >> 16);
    if (n > 1)
        out[1] = (unsigned char)(d->bits >> 8);
    if (n > 2)
        out[2] = (unsigned char)d->bits;
    d->bits = 0;
    d->have = 0;
    return n;
}

int base64_feed(struct base64_dec *d, const char *s, size_t n, unsigned char *out, size_t *ret_len,
                struct err *err)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        int v = value_of(s[i]);

        if (v < 0 && s[i] && strchr(" \t\r\n", s[i]))
            continue;
        if (s[i] == '=' && d->have >= 2) {
            d->pad++;
            v = 0;
        } else if (v < 0 || d->pad) {
            return err_set(err, ERR_INVALID, "not base64 at byte %zu", i);
        }
        d->bits = d->bits << 6 | (uint32_t)v;
        if (++d->have == 4)
            len += put_group(d, out + len);
    }
    *ret_len = len;
    return 0;
}

int base64_end(const struct base64_dec *d, struct err *err)
{
    if (d->have)
        return err_set(err, ERR_INVALID, "base64 ends inside a group");
    return 0;
}
