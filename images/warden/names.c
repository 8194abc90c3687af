#include "names.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 sequence at `s` (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    static const struct {
        unsigned char lead_lo, lead_hi, second_lo, second_hi, len;
    } forms[] = {
        {0x00, 0x7F, 0x00, 0xFF, 1},
        {0xC2, 0xDF, 0x80, 0xBF, 2},
        {0xE0, 0xE0, 0xA0, 0xBF, 3},
        {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3},
        {0xEE, 0xEF, 0x80, 0xBF, 3},
        {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4},
        {0xF4, 0xF4, 0x80, 0x8F, 4},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        size_t len = forms[i].len;

        if (s[0] < forms[i].lead_lo || s[0] > forms[i].lead_hi)
            continue;
        if (len > n || (len > 1 && (s[1] < forms[i].second_lo || s[1] > forms[i].second_hi)))
            return 0;
        for (size_t k = 2; k < len; k++) {
            if ((s[k] & 0xC0) != 0x80)
                return 0;
        }
        return len;
    }
    return 0;
}

/* Length of the character at `s` when it may stand in a name, else 0. */
static size_t good_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0x20 || s[0] == 0x7F || s[0] == '/')
        return 0;
    return utf8_len(s, n);
}

bool name_is_ok(const char *name, size_t n)
{
    const unsigned char *s = (const unsigned char *)name;

    if (n == 0 || n > NAME_MAX_BYTES)
        return false;
    if (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')))
        return false;
    for (size_t i = 0, len; i < n; i += len) {
        len = good_len(s + i, n - i);
        if (len == 0)
            return false;
    }
    return true;
}

bool name_path_is_ok(const char *path, size_t n)
{
    size_t start = 0;

    if (n == 0 || n > NAME_PATH_MAX)
        return false;
    for (size_t depth = 1;; depth++) {
        const char *slash = memchr(path + start, '/', n - start);
        size_t end = slash ? (size_t)(slash - path) : n;

        if (depth > NAME_DEPTH_MAX || !name_is_ok(path + start, end - start))
            return false;
        if (!slash)
            return true;
        start = end + 1;
    }
}

/* What stands for the character of `len` bytes at `s`, or for the byte there when `len` is 0. */
static size_t escape_one(char out[4], const unsigned char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";

    if (len == 0) {
        out[0] = '\\';
        out[1] = 'x';
        out[2] = hex[s[0] >> 4];
        out[3] = hex[s[0] & 15];
        return 4;
    }
    memcpy(out, s, len);
    if (s[0] != '\\')
        return len;
    out[1] = '\\';
    return 2;
}

size_t name_escape(char *out, size_t cap, const char *name, size_t n)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t out_len = 0, i = 0;

    while (i < n) {
        size_t len = good_len(s + i, n - i);
        char text[4] = {0};
        size_t add = escape_one(text, s + i, len);

        if (out_len + add > cap)
            break;
        memcpy(out + out_len, text, add);
        out_len += add;
        i += len ? len : 1;
    }
    return out_len;
}
