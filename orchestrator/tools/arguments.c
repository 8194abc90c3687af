#include "tools/arguments.h"

#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "tools/schema.h"

static bool is_null(const struct member *m)
{
    return m->n == 4 && strncmp(m->value, "null", 4) == 0;
}

static void add(struct arguments *a, const struct argument *one)
{
    a->list[a->n++] = *one;
}

static int check_value(const struct tool_param *p, const struct member *m, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *value = cJSON_ParseWithLength(m->value, m->n);

    if (!value)
        return err_set(err, ERR_INVALID, "argument '%s' cannot be read", p->name);
    return schema_check(p->schema, value, p->name, err);
}

static struct member *find_given(const struct arguments *a, const struct tool_param *p)
{
    struct member *m = members_find(&a->given, p->name);

    return m ? m : members_find(&a->given, p->wire);
}

static int take_param(struct arguments *a, const struct tool_param *p, struct err *err)
{
    struct member *m = find_given(a, p);
    struct argument one = {.param = p, .wire = p->wire};

    if (m && m->is_used)
        m = NULL; /* it was another parameter's */
    if (m)
        m->is_used = true;
    if (m && is_null(m) && !p->is_required && !schema_takes_null(p->schema))
        m = NULL;
    if (m) {
        one.value = m->value;
        one.n = m->n;
        if (check_value(p, m, err) < 0)
            return -1;
    } else if (p->initial && p->sends_initial) {
        one.value = p->initial;
        one.n = strlen(p->initial);
    } else if (p->is_required) {
        return err_set(err, ERR_INVALID, "argument '%s' is missing", p->name);
    } else {
        return 0;
    }
    add(a, &one);
    return 0;
}

/* The one that was looked at, by its other name: the service would take either. */
static bool is_listed(const struct tool_function *f, const char *key)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (strcmp(f->params[i].name, key) == 0 || strcmp(f->params[i].wire, key) == 0)
            return true;
    }
    return false;
}

static int take_rest(struct arguments *a, const struct tool_function *f, struct err *err)
{
    for (size_t i = 0; i < a->given.n; i++) {
        const struct member *m = &a->given.list[i];

        if (m->is_used)
            continue;
        if (f->is_strict)
            return err_set(err, ERR_INVALID, "argument '%.60s' is not known", m->key);
        if (is_listed(f, m->key))
            return err_set(err, ERR_INVALID, "argument '%.60s' is given twice", m->key);
        add(a, &(struct argument){.wire = m->key, .value = m->value, .n = m->n});
    }
    return 0;
}

int arguments_read(const struct tool_function *f, const char *text, size_t n, struct arguments *ret,
                   struct err *err)
{
    *ret = (struct arguments){0};
    if (json_scan_text(text, n, JSON_SCAN_TOKENS, err) < 0)
        return err_wrap(err, "the arguments cannot be read");
    if (members_read(text, n, &ret->given, err) < 0)
        return err_wrap(err, "the arguments cannot be read");
    ret->list = xcalloc(f->params_n + ret->given.n + 1, sizeof(*ret->list));
    for (size_t i = 0; i < f->params_n; i++) {
        if (take_param(ret, &f->params[i], err) < 0)
            return -1;
    }
    return take_rest(ret, f, err);
}

void arguments_done(struct arguments *a)
{
    members_done(&a->given);
    free(a->list);
    *a = (struct arguments){0};
}

void arguments_put_object(const struct arguments *a, bool all, struct buf *b)
{
    bool is_first = true;

    (void)buf_char(b, '{');
    for (size_t i = 0; i < a->n; i++) {
        const struct argument *one = &a->list[i];

        if (!all && one->param && one->param->in != TOOL_IN_BODY)
            continue;
        (void)buf_str(b, is_first ? "" : ",");
        json_put_str(b, one->wire, strlen(one->wire));
        (void)buf_char(b, ':');
        (void)buf_add(b, one->value, one->n);
        is_first = false;
    }
    (void)buf_char(b, '}');
}
