#include "policy/syntax.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"

enum { NAME_LEN = 63, IMAGE_LEN = 255, HOST_LEN = 253, DIGEST_HEX = 64 };

static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char word_chars[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
static const char name_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";

/* The whole of `s` is made of `chars`, begins with one of `first` and is 1 to `max` long. */
static bool is_made_of(const char *s, const char *first, const char *chars, size_t max)
{
    size_t n = strlen(s);

    return n && n <= max && strchr(first, *s) && strspn(s, chars) == n;
}

bool syntax_name(const char *s)
{
    return is_made_of(s, lower, name_chars, NAME_LEN);
}

bool syntax_word(const char *s)
{
    return is_made_of(s, alnum, word_chars, NAME_LEN);
}

static bool is_identifier(const char *s, size_t n)
{
    return n && !strchr("0123456789", *s) && strspn(s, word_chars) >= n && !memchr(s, '.', n) &&
           !memchr(s, '-', n);
}

bool syntax_module(const char *s)
{
    if (strlen(s) > IMAGE_LEN)
        return false;
    for (;; s++) {
        size_t n = strcspn(s, ".");

        if (!is_identifier(s, n))
            return false;
        s += n;
        if (!*s)
            return true;
    }
}

bool syntax_tool(const char *s)
{
    return strcmp(s, "*") == 0 || syntax_module(s);
}

bool syntax_env(const char *s)
{
    return strlen(s) <= NAME_LEN && is_identifier(s, strlen(s)) && !str_starts(s, "ONESHOT_");
}

static bool is_port(const char *s)
{
    int64_t port;

    return strspn(s, "0123456789") == strlen(s) && *s != '0' && str_to_i64(s, 1, 65535, &port);
}

/* Dot-separated labels; a lone address such as 192.0.2.1 has the same form. */
static bool is_host(const char *s, size_t n)
{
    size_t label = 0;

    if (!n || n > HOST_LEN || strspn(s, word_chars) < n)
        return false;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && s[i] != '.') {
            label++;
            continue;
        }
        if (!label || label > NAME_LEN || s[i - 1] == '-' || s[i - label] == '-')
            return false;
        label = 0;
    }
    return true;
}

bool syntax_address(const char *s)
{
    unsigned char raw[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

bool syntax_endpoint(const char *s)
{
    const char *colon = strrchr(s, ':');
    char address[INET6_ADDRSTRLEN] = "";
    size_t n;

    if (!colon || !is_port(colon + 1))
        return false;
    n = (size_t)(colon - s);
    if (*s != '[')
        return is_host(s, n);
    if (n < 3 || n - 2 >= sizeof(address) || s[n - 1] != ']')
        return false;
    memcpy(address, s + 1, n - 2);
    return strchr(address, ':') && syntax_address(address);
}

/* One component of an image's path: lower-case words joined by one of . _ __ or any number of -. */
static bool is_component(const char *s, size_t n)
{
    size_t i = 0;

    for (;;) {
        size_t word = strspn(s + i, lower), joint;

        word = word < n - i ? word : n - i;
        i += word;
        if (!word || i == n)
            return word && i == n;
        joint = strspn(s + i, "-");
        if (!joint && s[i] == '_')
            joint = s[i + 1] == '_' ? 2 : 1;
        else if (!joint && s[i] == '.')
            joint = 1;
        i += joint;
        if (!joint || i >= n)
            return false;
    }
}

/* A first component with a dot or a port, or localhost, names a registry. */
static bool is_registry(const char *s, size_t n)
{
    const char *colon = memchr(s, ':', n);
    char port[8] = "";

    if (!colon)
        return is_host(s, n) && (memchr(s, '.', n) || strncmp(s, "localhost", n) == 0);
    if (n - (size_t)(colon - s) > sizeof(port))
        return false;
    memcpy(port, colon + 1, n - (size_t)(colon - s) - 1);
    return is_host(s, (size_t)(colon - s)) && is_port(port);
}

static bool is_path(const char *s, size_t n)
{
    const char *slash = memchr(s, '/', n);

    if (slash && is_registry(s, (size_t)(slash - s))) {
        n -= (size_t)(slash - s) + 1;
        s = slash + 1;
    }
    for (;;) {
        slash = memchr(s, '/', n);
        if (!slash)
            return n && is_component(s, n);
        if (slash == s || !is_component(s, (size_t)(slash - s)))
            return false;
        n -= (size_t)(slash - s) + 1;
        s = slash + 1;
    }
}

static bool is_digest(const char *s)
{
    return str_starts(s, "sha256:") && strlen(s) == strlen("sha256:") + DIGEST_HEX &&
           strspn(s + strlen("sha256:"), "0123456789abcdef") == DIGEST_HEX;
}

static bool is_tag(const char *s, size_t n)
{
    return n && n <= 128 && *s != '.' && *s != '-' && strspn(s, word_chars) >= n;
}

bool syntax_image(const char *s)
{
    size_t n = strcspn(s, "@"), path;
    const char *tag;

    if (strlen(s) > IMAGE_LEN || (s[n] && !is_digest(s + n + 1)))
        return false;
    if (is_digest(s))
        return true;
    tag = memrchr(s, ':', n);
    if (tag && memchr(tag, '/', n - (size_t)(tag - s)))
        tag = NULL;
    path = tag ? (size_t)(tag - s) : n;
    if (tag && !is_tag(tag + 1, n - path - 1))
        return false;
    return is_path(s, path);
}
