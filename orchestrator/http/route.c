#include <string.h>

#include "base/mem.h"
#include "http/steps.h"

/* Whether `path` is what `pattern` says; each "*" takes one component, not an empty one. */
static bool matches(const char *pattern, const char *path)
{
    for (; *pattern; pattern++) {
        size_t n = strcspn(path, "/");

        if (*pattern == '*') {
            if (n == 0)
                return false;
            path += n;
        } else if (*pattern != *path++) {
            return false;
        }
    }
    return !*path;
}

static void keep_matches(struct http_exchange *x, const char *pattern, const char *path)
{
    for (; *pattern; pattern++) {
        size_t n = strcspn(path, "/");

        if (*pattern != '*') {
            path++;
            continue;
        }
        if (x->matches_n < HTTP_MATCHES)
            x->matches[x->matches_n++] = xstrndup(path, n);
        path += n;
    }
}

/* HEAD is answered by GET's handler. */
static bool takes(const struct http_route *r, const char *method)
{
    return strcmp(r->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0);
}

void http_route_find(struct http_exchange *x)
{
    const struct http_api *const *apis = x->connection->listener->apis;
    const struct http_api *near = NULL;

    for (size_t i = 0; apis[i]; i++) {
        for (const struct http_route *r = apis[i]->routes; r->method; r++) {
            if (!matches(r->path, x->path))
                continue;
            if (!near)
                near = apis[i];
            if (!takes(r, x->method))
                continue;
            x->api = apis[i];
            x->route = r;
            keep_matches(x, r->path, x->path);
            return;
        }
    }
    x->api = near ? near : apis[0];
}

static bool has_word(const struct buf *list, const char *word)
{
    const char *at = strstr(buf_get(list), word);
    size_t n = strlen(word);

    for (; at; at = strstr(at + 1, word)) {
        if ((at == list->data || at[-1] == ' ') && (!at[n] || at[n] == ','))
            return true;
    }
    return false;
}

static void add_word(struct buf *list, const char *word)
{
    if (!has_word(list, word))
        (void)buf_fmt(list, "%s%s", list->len ? ", " : "", word);
}

void http_route_methods(const struct http_exchange *x, struct buf *out)
{
    const struct http_api *const *apis = x->connection->listener->apis;

    for (size_t i = 0; apis[i]; i++) {
        for (const struct http_route *r = apis[i]->routes; r->method; r++) {
            if (!matches(r->path, x->path))
                continue;
            add_word(out, r->method);
            if (strcmp(r->method, "GET") == 0)
                add_word(out, "HEAD");
        }
    }
}
