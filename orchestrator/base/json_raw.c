#include "base/json_raw.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n", *p))
        p++;
    return p;
}

static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\';
    return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;

    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (depth == 0 && strchr(",}] \t\r\n", *p)) {
            return p;
        } else {
            depth += *p == '{' || *p == '[';
            depth -= *p == '}' || *p == ']';
            p++;
        }
        if (depth == 0 && (p[-1] == '"' || p[-1] == '}' || p[-1] == ']'))
            return p;
    }
    return end;
}

static bool is_key(const char *quoted, size_t n, const char *key)
{
    CLEANUP(cJSON_Delete_p) cJSON *item = NULL;

    if (!memchr(quoted, '\\', n))
        return n == strlen(key) + 2 && memcmp(quoted + 1, key, n - 2) == 0;
    item = cJSON_ParseWithLength(quoted, n);
    return cJSON_IsString(item) && strcmp(item->valuestring, key) == 0;
}

static bool begin_with(char open, struct json_raw_walk *w, const char *text, size_t n)
{
    const char *end = text + n, *p = skip_blank(text, end);

    if (p == end || *p != open)
        return false;
    *w = (struct json_raw_walk){skip_blank(p + 1, end), end};
    return true;
}

bool json_raw_begin(struct json_raw_walk *w, const char *text, size_t n)
{
    return begin_with('{', w, text, n);
}

bool json_raw_begin_list(struct json_raw_walk *w, const char *text, size_t n)
{
    return begin_with('[', w, text, n);
}

bool json_raw_is_over(const struct json_raw_walk *w)
{
    return w->at < w->end && *w->at == '}';
}

/* The value at `p`, and what stands between it and the next one. */
static void take_value(struct json_raw_walk *w, const char *p, struct json_raw *ret)
{
    ret->value = skip_blank(p, w->end);
    p = skip_value(ret->value, w->end);
    ret->n = (size_t)(p - ret->value);
    p = skip_blank(p, w->end);
    w->at = skip_blank(p < w->end && *p == ',' ? p + 1 : p, w->end);
}

bool json_raw_next_item(struct json_raw_walk *w, struct json_raw *ret)
{
    *ret = (struct json_raw){0};
    if (w->at == w->end || *w->at == ']')
        return false;
    take_value(w, w->at, ret);
    return ret->n > 0;
}

bool json_raw_next(struct json_raw_walk *w, struct json_raw *ret)
{
    const char *end = w->end, *key = w->at, *p = key;

    if (p == end || *p != '"')
        return false;
    p = skip_string(p, end);
    ret->key = key;
    ret->key_n = (size_t)(p - key);
    p = skip_blank(p, end);
    if (p == end || *p != ':')
        return false;
    take_value(w, p + 1, ret);
    return true;
}

bool json_raw_member(const char *text, size_t n, const char *key, const char **ret, size_t *ret_n)
{
    struct json_raw_walk w;
    struct json_raw m;

    if (!json_raw_begin(&w, text, n))
        return false;
    while (json_raw_next(&w, &m)) {
        if (!is_key(m.key, m.key_n, key))
            continue;
        *ret = m.value;
        *ret_n = m.n;
        return true;
    }
    return false;
}
