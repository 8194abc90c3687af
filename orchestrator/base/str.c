#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

bool str_to_i64(const char *s, int64_t min, int64_t max, int64_t *ret_value)
{
    char *end;
    long long v;

    if (!*s || isspace((unsigned char)*s))
        return false;
    errno = 0;
    v = strtoll(s, &end, 10);
    if (errno || *end || v < min || v > max)
        return false;
    *ret_value = v;
    return true;
}

bool str_to_real(const char *s, double *ret_value)
{
    char *end;
    double v;

    /* No locale is ever set in this program, so strtod reads a point; hex and "inf" are refused. */
    if (!*s || s[strspn(s, "0123456789.eE+-")])
        return false;
    errno = 0;
    v = strtod(s, &end);
    if (errno == ERANGE || *end || !isfinite(v))
        return false;
    *ret_value = v;
    return true;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);

    return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

bool str_eq_nocase(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

bool str_is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!memchr(" \t\n\r\v\f", s[i], 6))
            return false;
    }
    return true;
}

size_t str_trim(const char **s, size_t n)
{
    while (n && str_is_blank(*s, 1)) {
        (*s)++;
        n--;
    }
    while (n && str_is_blank(*s + n - 1, 1))
        n--;
    return n;
}

void str_one_line(char *s)
{
    for (unsigned char *c = (unsigned char *)s; *c; c++) {
        bool is_c1 = c[0] == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0; /* U+0080 to U+009F */

        if (is_c1)
            c[1] = ' ';
        if (is_c1 || *c < ' ' || *c == 0x7F)
            *c = ' ';
    }
    s[utf8_cut(s, strlen(s))] = '\0';
}

size_t str_copy(char *dst, const char *src, size_t size)
{
    size_t n = strlen(src), k = n < size ? n : size - 1;

    if (size) {
        memcpy(dst, src, k);
        dst[k] = '\0';
    }
    return n;
}

void str_hex(char *out, const void *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;

    for (size_t i = 0; i < n; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool str_unhex(void *out, size_t n, const char *hex)
{
    unsigned char *p = out;

    if (strlen(hex) != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        p[i] = (unsigned char)(hi << 4 | lo);
    }
    return true;
}

bool str_eq_secret(const char *a, size_t a_len, const char *b, size_t b_len)
{
    volatile unsigned char diff = a_len != b_len;

    for (size_t i = 0; i < a_len; i++)
        diff = (unsigned char)(diff | (a[i] ^ (b_len ? b[i % b_len] : 0)));
    return !diff;
}
