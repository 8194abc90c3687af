#include "tools/catalogue.h"

#include <assert.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/host.h"
#include "tools/schema.h"

/* It goes to every program whole, within JOB_META_MAX; one source must not keep others out. */
enum { CATALOGUE_MAX = 6 * 1024 * 1024, MODULE_MAX = 2 * 1024 * 1024, CHOICES_MAX = 500 };

static void put_text(struct buf *b, const char *key, const char *text)
{
    (void)buf_fmt(b, "\"%s\":", key);
    json_put_str(b, text, strlen(text));
}

/* What the type does not say stands behind the text, where people and models read it. */
static void put_doc(struct buf *b, const struct tool_param *p)
{
    CLEANUP(buf_done) struct buf doc = {.max = TOOL_DOC_MAX + 2UL * CHOICES_MAX};
    const cJSON *choices = cJSON_GetObjectItemCaseSensitive(p->schema, "enum");
    char *text = cJSON_IsArray(choices) ? cJSON_PrintUnformatted(choices) : NULL;

    (void)buf_str(&doc, p->doc);
    if (text && strlen(text) <= CHOICES_MAX)
        (void)buf_fmt(&doc, "%sone of %s", *p->doc ? "; " : "", text);
    cJSON_free(text);
    put_text(b, "doc", buf_get(&doc));
}

static void put_param(struct buf *b, const struct tool_param *p)
{
    (void)buf_char(b, '{');
    put_text(b, "name", p->name);
    (void)buf_fmt(b, ",\"type\":\"%s\",\"required\":%s,", schema_type(p->schema),
                  p->is_required ? "true" : "false");
    if (!p->is_required)
        (void)buf_fmt(b, "\"default\":%s,", p->initial ? p->initial : "null");
    put_doc(b, p);
    (void)buf_char(b, '}');
}

static void put_function(struct buf *b, const struct tool_function *f)
{
    (void)buf_char(b, '{');
    put_text(b, "name", f->name);
    (void)buf_char(b, ',');
    put_text(b, "doc", f->doc);
    (void)buf_str(b, ",\"parameters\":[");
    for (size_t i = 0; i < f->params_n; i++) {
        (void)buf_str(b, i ? "," : "");
        put_param(b, &f->params[i]);
    }
    (void)buf_fmt(b, "],\"strict\":%s}", f->is_strict ? "true" : "false");
}

static bool is_allowed(char *const *allowed, const struct tool_module *m,
                       const struct tool_function *f)
{
    auto_free char *name = xasprintf("%s.%s", m->name, f->name);

    return !allowed || host_is_listed(allowed, name);
}

/* Whether it has a function that may be called. */
static bool put_module(struct buf *b, const struct tool_module *m, char *const *allowed)
{
    size_t n = 0;

    (void)buf_char(b, '{');
    put_text(b, "name", m->name);
    (void)buf_char(b, ',');
    put_text(b, "doc", m->doc);
    (void)buf_str(b, ",\"functions\":[");
    for (size_t i = 0; i < m->n; i++) {
        if (!is_allowed(allowed, m, &m->functions[i]))
            continue;
        (void)buf_str(b, n++ ? "," : "");
        put_function(b, &m->functions[i]);
    }
    (void)buf_str(b, "]}");
    return n > 0;
}

char *catalogue_make(const struct toolset *set, char *const *allowed)
{
    CLEANUP(buf_done) struct buf b = {.max = CATALOGUE_MAX};
    CLEANUP(buf_done) struct buf one = {.max = MODULE_MAX};
    bool is_first = true;

    (void)buf_str(&b, "{\"modules\":[");
    for (size_t i = 0; i < set->n; i++) {
        buf_clear(&one);
        if (!put_module(&one, set->modules[i], allowed))
            continue;
        /* A module that would be too much is left out, and the text stays JSON. */
        if (one.is_full || b.len + one.len + 4 > b.max) {
            log_warning("tools: '%s' is too large to be shown to programs", set->modules[i]->name);
            continue;
        }
        (void)buf_str(&b, is_first ? "" : ",");
        (void)buf_add(&b, buf_get(&one), one.len);
        is_first = false;
    }
    (void)buf_str(&b, "]}");
    assert(!b.is_full);
    return buf_take(&b);
}
