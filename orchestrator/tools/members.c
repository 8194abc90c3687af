#include "tools/members.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/json_raw.h"
#include "base/mem.h"

static char *decode_key(const struct json_raw *m)
{
    cJSON *key;
    char *out;

    if (!memchr(m->key, '\\', m->key_n))
        return xstrndup(m->key + 1, m->key_n - 2);
    key = cJSON_ParseWithLength(m->key, m->key_n);
    out = xstrdup(cJSON_GetStringValue(key));
    cJSON_Delete(key);
    return out;
}

static void add_member(struct members *to, const struct json_raw *m, char *key)
{
    if ((to->n & (to->n - 1)) == 0)
        to->list = xarray(to->list, to->n ? 2 * to->n : 1, sizeof(*to->list));
    to->list[to->n++] = (struct member){.key = key, .value = m->value, .n = m->n};
}

static int not_an_object(struct err *err)
{
    return err_set(err, ERR_INVALID, "not a JSON object");
}

int members_read(const char *text, size_t n, struct members *ret, struct err *err)
{
    struct json_raw_walk w;
    struct json_raw m;

    *ret = (struct members){0};
    if (!json_raw_begin(&w, text, n))
        return not_an_object(err);
    while (json_raw_next(&w, &m)) {
        char *key = decode_key(&m);

        if (!key)
            return not_an_object(err);
        add_member(ret, &m, key);
    }
    return json_raw_is_over(&w) ? 0 : not_an_object(err);
}

void members_done(struct members *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->list[i].key);
    free(m->list);
    *m = (struct members){0};
}

struct member *members_find(const struct members *m, const char *key)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->list[i].key, key) == 0)
            return &m->list[i];
    }
    return NULL;
}
