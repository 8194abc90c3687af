#include "tools/toolset.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "tools/config.h"
#include "tools/mcp.h"

enum { SKIPPED_TOLD = 20 };

struct tool_module *tool_module_new(struct tools_config *config, const struct module_config *about)
{
    struct tool_module *m = xcalloc(1, sizeof(*m));

    atomic_init(&m->refs, 1);
    m->config = tools_config_hold(config);
    m->about = about;
    m->name = about->name;
    m->doc = about->doc;
    return m;
}

struct tool_module *tool_module_hold(struct tool_module *m)
{
    (void)atomic_fetch_add(&m->refs, 1);
    return m;
}

static void param_done(struct tool_param *p)
{
    free(p->name);
    free(p->wire);
    free(p->doc);
    free(p->header);
    free(p->initial);
    cJSON_Delete(p->schema);
}

static void function_done(struct tool_function *f)
{
    for (size_t i = 0; i < f->params_n; i++)
        param_done(&f->params[i]);
    for (size_t i = 0; f->headers && f->headers[i]; i++)
        free(f->headers[i]);
    free(f->headers);
    free(f->params);
    free(f->name);
    free(f->wire);
    free(f->doc);
    free(f->method);
    free(f->url);
    free(f->query);
}

void tool_module_drop(struct tool_module *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    for (size_t i = 0; i < m->n; i++)
        function_done(&m->functions[i]);
    free(m->functions);
    mcp_free(m->mcp);
    tools_config_drop(m->config);
    free(m);
}

struct tool_function *tool_module_add(struct tool_module *m)
{
    if (m->n == TOOL_FUNCTIONS_MAX)
        return NULL;
    m->functions = xarray(m->functions, m->n + 1, sizeof(*m->functions));
    m->functions[m->n] = (struct tool_function){
        .timeout_ms = m->about->timeout_ms,
        .reply_max = m->about->reply_max,
        .concurrency = (unsigned)m->about->concurrency,
    };
    return &m->functions[m->n++];
}

const struct tool_function *tool_module_find(const struct tool_module *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->functions[i].name, name) == 0)
            return &m->functions[i];
    }
    return NULL;
}

void tool_module_undo(struct tool_module *m)
{
    function_done(&m->functions[--m->n]);
}

void tool_module_skip(struct tool_module *m, const char *name, const char *why)
{
    if (m->skipped++ < SKIPPED_TOLD)
        log_warning("tools: '%s' has no '%.80s': %s", m->name, name, why);
}

struct tool_param *tool_function_add(struct tool_function *f)
{
    if (f->params_n == TOOL_PARAMS_MAX)
        return NULL;
    f->params = xarray(f->params, f->params_n + 1, sizeof(*f->params));
    f->params[f->params_n] = (struct tool_param){0};
    return &f->params[f->params_n++];
}

/* Python wants them so; otherwise the order is kept. */
static void put_required_first(struct tool_function *f)
{
    struct tool_param *sorted = xcalloc(f->params_n + 1, sizeof(*sorted));
    size_t n = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < f->params_n; i++) {
            if (f->params[i].is_required == (pass == 0))
                sorted[n++] = f->params[i];
        }
    }
    free(f->params);
    f->params = sorted;
}

static const char *find_twice(const struct tool_function *f)
{
    for (size_t i = 0; i < f->params_n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(f->params[i].name, f->params[k].name) == 0)
                return f->params[i].name;
        }
    }
    return NULL;
}

bool tool_module_seal(struct tool_module *m, struct err *why)
{
    if (m->skipped > SKIPPED_TOLD)
        log_warning("tools: '%s' lacks %u more", m->name, m->skipped - SKIPPED_TOLD);
    for (size_t i = 0; i < m->n; i++) {
        const char *twice = find_twice(&m->functions[i]);

        if (twice) {
            (void)err_set(why, ERR_INVALID, "'%s' has a parameter '%s' twice", m->functions[i].name,
                          twice);
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(m->functions[i].name, m->functions[k].name) == 0) {
                (void)err_set(why, ERR_INVALID, "there are two functions '%s'",
                              m->functions[i].name);
                return false;
            }
        }
        put_required_first(&m->functions[i]);
    }
    return true;
}

/* ---- sets ---- */

struct toolset *toolset_new(size_t room)
{
    struct toolset *s = xcalloc(1, sizeof(*s));

    atomic_init(&s->refs, 1);
    s->modules = xcalloc(room + 1, sizeof(struct tool_module *));
    return s;
}

void toolset_add(struct toolset *s, struct tool_module *m)
{
    s->modules[s->n++] = tool_module_hold(m);
}

struct toolset *toolset_hold(struct toolset *s)
{
    (void)atomic_fetch_add(&s->refs, 1);
    return s;
}

void toolset_drop(struct toolset *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    for (size_t i = 0; i < s->n; i++)
        tool_module_drop(s->modules[i]);
    free(s->modules);
    free(s);
}

struct tool_module *toolset_module(const struct toolset *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->modules[i]->name, name) == 0)
            return s->modules[i];
    }
    return NULL;
}

const struct tool_function *toolset_find(const struct toolset *s, const char *name,
                                         struct tool_module **ret_module)
{
    const char *dot = strchr(name, '.');
    auto_free char *module = dot ? xstrndup(name, (size_t)(dot - name)) : NULL;
    struct tool_module *m = module ? toolset_module(s, module) : NULL;
    const struct tool_function *f = m ? tool_module_find(m, dot + 1) : NULL;

    if (f)
        *ret_module = m;
    return f;
}
