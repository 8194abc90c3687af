#include "tools/urls.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

void url_put(struct buf *b, const char *s, size_t n)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (size_t i = 0; i < n; i++) {
        if (s[i] && strchr(good, s[i]))
            (void)buf_char(b, s[i]);
        else
            (void)buf_fmt(b, "%%%02X", (unsigned char)s[i]);
    }
}

bool url_is_header_name(const char *s)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    static const char *const framing[] = {"content-length", "transfer-encoding", "connection"};

    for (size_t i = 0; i < ARRAY_LEN(framing); i++) {
        if (str_eq_nocase(s, framing[i]))
            return false;
    }
    return *s && strspn(s, good) == strlen(s);
}

bool url_is_header_value(const char *s)
{
    size_t n = strlen(s);

    for (const char *c = s; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            return false;
    }
    return !n || (s[0] != ' ' && s[n - 1] != ' ');
}

char *url_origin(const char *url)
{
    const char *host = strstr(url, "://");
    size_t n = host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : strlen(url);
    char *out = xstrndup(url, n);
    const char *usual;

    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    usual = str_starts(out, "https") ? ":443" : ":80";
    if (str_ends(out, usual))
        out[n - strlen(usual)] = '\0';
    return out;
}

bool url_is_same_origin(const char *a, const char *b)
{
    auto_free char *x = url_origin(a);
    auto_free char *y = url_origin(b);

    return strcmp(x, y) == 0;
}
