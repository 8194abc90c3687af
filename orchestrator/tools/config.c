#include "tools/config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fetch.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "tools/config_table.h"
#include "tools/pattern.h"
#include "tools/pyname.h"
#include "tools/schema.h"
#include "tools/urls.h"

enum { QUERY_MAX = 16384, KEY_MAX = 64 };

/* ---- schemas of parameters ---- */

static void put_member(cJSON *schema, const char *key, const char *json)
{
    cJSON *value = json ? cJSON_Parse(json) : NULL;

    if (value && !cJSON_GetObjectItemCaseSensitive(schema, key))
        (void)cJSON_AddItemToObject(schema, key, value);
    else
        cJSON_Delete(value);
}

static void put_length(cJSON *schema, bool is_list, const struct param_config *p)
{
    if (p->length_min)
        (void)cJSON_AddNumberToObject(schema, is_list ? "minItems" : "minLength",
                                      (double)p->length_min);
    if (p->length_max)
        (void)cJSON_AddNumberToObject(schema, is_list ? "maxItems" : "maxLength",
                                      (double)p->length_max);
}

/* What the keys say, laid over the schema that is written out. */
static cJSON *make_schema(const struct param_config *p)
{
    cJSON *schema = p->schema ? cJSON_Parse(p->schema) : NULL;

    if (!cJSON_IsObject(schema)) {
        cJSON_Delete(schema);
        schema = cJSON_CreateObject();
    }
    if (p->type && !cJSON_GetObjectItemCaseSensitive(schema, "type"))
        (void)cJSON_AddStringToObject(schema, "type", param_types[p->type].name);
    put_member(schema, "enum", p->choices);
    put_member(schema, "minimum", p->min);
    put_member(schema, "maximum", p->max);
    if (*p->pattern)
        (void)cJSON_AddStringToObject(schema, "pattern", p->pattern);
    put_length(schema, strcmp(schema_type(schema), "array") == 0, p);
    return schema;
}

/* ---- checks ---- */

struct place {
    struct yaml *y;
    const struct yaml_node *node;
    char key[YAML_PATH_MAX];
};

/* The `i`th record of a list that has been bound, so it has the form that it must have. */
static struct place below(const struct place *at, const char *list, size_t i)
{
    struct place p = {.y = at->y, .node = yaml_get(at->node, list)->items[i]};

    (void)snprintf(p.key, sizeof(p.key), "%.*s%s%.20s[%zu]", KEY_MAX, at->key, *at->key ? "." : "",
                   list, i);
    return p;
}

static int fault(const struct place *at, const char *member, const char *what)
{
    char key[YAML_PATH_MAX + 32];

    (void)snprintf(key, sizeof(key), "%s%s%s", at->key, *member ? "." : "", member);
    return yaml_fault(at->y, yaml_near(at->node, member), key, "%s", what);
}

static void check_param(const struct place *at, const struct param_config *p)
{
    CLEANUP(cJSON_Delete_p) cJSON *schema = make_schema(p);
    CLEANUP(cJSON_Delete_p) cJSON *initial = p->initial ? cJSON_Parse(p->initial) : NULL;
    CLEANUP(cJSON_Delete_p) cJSON *choices = p->choices ? cJSON_Parse(p->choices) : NULL;
    CLEANUP(cJSON_Delete_p) cJSON *own = p->schema ? cJSON_Parse(p->schema) : NULL;
    auto_free char *name = pyname_parameter(p->name);
    struct err e = {0};

    if (!name)
        (void)fault(at, "name", "must have letters");
    if (p->in == TOOL_IN_HEADER && !url_is_header_name(p->name))
        (void)fault(at, "name", "must be the name of a header");
    if (*p->pattern && pattern_check(p->pattern, &e) < 0)
        (void)fault(at, "pattern", e.msg);
    if (p->schema && !cJSON_IsObject(own))
        (void)fault(at, "schema", "must be a map");
    if (choices && !cJSON_IsArray(choices))
        (void)fault(at, "enum", "must be a list");
    if (p->is_required && initial)
        (void)fault(at, "default", "has no use where the parameter is required");
    else if (initial && !cJSON_IsNull(initial) && schema_check(schema, initial, p->name, &e) < 0)
        (void)fault(at, "default", e.msg);
}

static bool names_param(const struct function_config *f, const char *name, size_t n)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (strlen(f->params[i].name) == n && strncmp(f->params[i].name, name, n) == 0)
            return true;
    }
    return false;
}

static void check_path(const struct place *at, const struct function_config *f)
{
    const char *key = *f->url ? "url" : "path", *s = *f->url ? f->url : f->path;

    for (s = strchr(s, '{'); s; s = strchr(s + 1, '{')) {
        size_t n = strcspn(s + 1, "}");

        if (!s[1 + n])
            (void)fault(at, key, "has a { without }");
        else if (!names_param(f, s + 1, n))
            (void)fault(at, key, "names a parameter that is not listed");
    }
}

static void check_headers(const struct place *at, const struct yaml_pair *pairs)
{
    for (; pairs->name; pairs++) {
        if (!url_is_header_value(pairs->value))
            (void)fault(at, "headers", "has a value with a control character");
    }
}

static void check_function(const struct place *at, const struct module_config *m,
                           const struct function_config *f)
{
    check_path(at, f);
    check_headers(at, f->headers);
    if (!*f->url && !*m->url)
        (void)fault(at, "", "needs a url, or its module does");
    for (size_t i = 0; i < f->params_n; i++) {
        struct place p = below(at, "parameters", i);

        check_param(&p, &f->params[i]);
    }
}

static void check_module(const struct place *at, const struct module_config *m)
{
    int sources = (m->functions_n > 0) + (*m->openapi != '\0') + (*m->mcp != '\0');

    if (sources != 1)
        (void)fault(at, "", "must have one of functions, openapi and mcp");
    check_headers(at, m->headers);
    for (size_t i = 0; i < m->functions_n; i++) {
        struct place p = below(at, "functions", i);

        check_function(&p, m, &m->functions[i]);
    }
}

static void check_all(struct yaml *y, const struct yaml_node *root, struct tools_config *c)
{
    const struct place top = {.y = y, .node = root};

    for (size_t i = 0; i < c->n; i++) {
        struct place at = below(&top, "modules", i);
        struct err e = {0};
        struct tool_module *m = NULL;

        for (size_t k = 0; k < i; k++) {
            if (strcmp(c->modules[i].name, c->modules[k].name) == 0)
                (void)fault(&at, "name", "is there twice");
        }
        check_module(&at, &c->modules[i]);
        m = tools_config_module(c, &c->modules[i]);
        if (!tool_module_seal(m, &e))
            (void)fault(&at, "functions", e.msg);
        tool_module_drop(m);
    }
}

/* ---- what must not be shown ---- */

static bool is_sensitive(const char *name)
{
    static const char *const words[] = {"auth", "key", "token", "secret", "cookie", "pass", "sig"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasestr(name, words[i]))
            return true;
    }
    return false;
}

/* A value, and of "Bearer abc" what stands behind the scheme. */
static void hide_pairs(struct secrets *s, const struct yaml_pair *pairs)
{
    for (; pairs->name; pairs++) {
        const char *word = strrchr(pairs->value, ' ');

        if (!is_sensitive(pairs->name))
            continue;
        secrets_add(s, pairs->value);
        if (word)
            secrets_add(s, word + 1);
    }
}

static void hide_all(struct tools_config *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct module_config *m = &c->modules[i];

        hide_pairs(c->secrets, m->headers);
        hide_pairs(c->secrets, m->query);
        for (size_t k = 0; k < m->functions_n; k++)
            hide_pairs(c->secrets, m->functions[k].headers);
    }
}

/* ---- reading ---- */

static const char *find_secret(void *ctx, const char *name)
{
    return secrets_find(ctx, name);
}

static struct yaml_node *parse_file(struct yaml *y, const struct tools_files *files)
{
    CLEANUP(buf_done) struct buf text = {.max = YAML_FILE_MAX};
    struct err e = {0};

    if (tools_files_read(files, NULL, &text, &e) < 0) {
        if (e.kind == ERR_NOTFOUND && !files->is_wanted)
            return yaml_parse(y, files->path, "", 0);
        (void)yaml_fault(y, NULL, "", "%s", e.msg);
        return NULL;
    }
    return yaml_parse(y, files->path, buf_get(&text), text.len);
}

struct tools_config *tools_config_read(struct yaml *y, const struct tools_files *files)
{
    struct tools_config *c = xcalloc(1, sizeof(*c));
    size_t before = y->faults_n;
    struct yaml_node *root;
    struct err e = {0};

    atomic_init(&c->refs, 1);
    if (secrets_read(files, &c->secrets, &e) < 0) {
        (void)yaml_fault(y, NULL, "", "%s", e.msg);
        tools_config_drop(c);
        return NULL;
    }
    y->secret = find_secret;
    y->ctx = c->secrets;
    root = parse_file(y, files);
    if (root)
        yaml_bind(y, tools_table, root, c);
    if (y->faults_n == before)
        check_all(y, root, c);
    y->secret = NULL;
    if (y->faults_n != before) {
        /* A fault shows what was written, which may be a secret by then. */
        secrets_hide(c->secrets, y->faults.data, y->faults.len);
        tools_config_drop(c);
        return NULL;
    }
    hide_all(c);
    return c;
}

struct tools_config *tools_config_hold(struct tools_config *c)
{
    (void)atomic_fetch_add(&c->refs, 1);
    return c;
}

void tools_config_drop(struct tools_config *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    yaml_release(tools_table, c);
    secrets_free(c->secrets);
    free(c);
}

/* ---- functions ---- */

char **tools_config_headers(const struct module_config *about, const struct yaml_pair *more)
{
    char **lines = NULL;
    size_t n = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (const struct yaml_pair *p = pass ? more : about->headers; p && p->name; p++) {
            lines = xarray(lines, n + 2, sizeof(*lines));
            lines[n++] = xasprintf("%s: %s", p->name, p->value);
            lines[n] = NULL;
        }
    }
    return lines;
}

char *tools_config_query(const struct module_config *about)
{
    CLEANUP(buf_done) struct buf b = {.max = QUERY_MAX};

    for (const struct yaml_pair *p = about->query; p->name; p++) {
        (void)buf_str(&b, b.len ? "&" : "");
        url_put(&b, p->name, strlen(p->name));
        (void)buf_char(&b, '=');
        url_put(&b, p->value, strlen(p->value));
    }
    return xstrdup(buf_get(&b));
}

static bool has_body(const struct function_config *f)
{
    return strcmp(f->method, "GET") != 0 && strcmp(f->method, "DELETE") != 0;
}

static enum tool_in where(const struct function_config *f, const struct param_config *p)
{
    auto_free char *place = xasprintf("{%s}", p->name);

    if (strstr(*f->url ? f->url : f->path, place))
        return TOOL_IN_PATH;
    if (p->in != TOOL_IN_AUTO)
        return p->in;
    return has_body(f) ? TOOL_IN_BODY : TOOL_IN_QUERY;
}

static void add_param(struct tool_function *to, const struct function_config *f,
                      const struct param_config *p)
{
    struct tool_param *param = tool_function_add(to);
    bool has_initial = p->initial && strcmp(p->initial, "null") != 0;

    param->name = pyname_parameter(p->name);
    param->name = param->name ? param->name : xstrdup(""); /* a fault is noted */
    param->wire = xstrdup(p->name);
    param->doc = xstrdup(p->doc);
    param->in = where(f, p);
    param->is_required = p->is_required || (param->in == TOOL_IN_PATH && !has_initial);
    param->initial = has_initial ? xstrdup(p->initial) : NULL;
    param->sends_initial = has_initial;
    param->schema = make_schema(p);
}

static void add_function(struct tool_module *m, const struct function_config *f)
{
    struct tool_function *to = tool_module_add(m);
    const char *base = m->about->url;
    size_t n = strlen(base);

    n -= n && base[n - 1] == '/';
    to->name = xstrdup(f->name);
    to->wire = xstrdup(f->name);
    to->doc = xstrdup(f->doc);
    to->method = xstrdup(f->method);
    to->url = *f->url ? xstrdup(f->url) : xasprintf("%.*s%s", (int)n, base, f->path);
    to->headers = tools_config_headers(m->about, f->headers);
    to->query = tools_config_query(m->about);
    to->reply = f->reply;
    to->has_body = has_body(f);
    to->is_strict = f->is_strict;
    to->timeout_ms = f->timeout_ms ? f->timeout_ms : to->timeout_ms;
    to->reply_max = f->reply_max ? f->reply_max : to->reply_max;
    to->concurrency = f->concurrency ? (unsigned)f->concurrency : to->concurrency;
    for (size_t i = 0; i < f->params_n; i++)
        add_param(to, f, &f->params[i]);
}

struct tool_module *tools_config_module(struct tools_config *c, const struct module_config *about)
{
    struct tool_module *m = tool_module_new(c, about);

    for (size_t i = 0; i < about->functions_n; i++)
        add_function(m, &about->functions[i]);
    return m;
}

/* ---- what is found ---- */

static bool is_among(char *const *list, const char *name)
{
    for (; *list; list++) {
        size_t n = strlen(*list);

        if (strcmp(*list, name) == 0 ||
            (n && (*list)[n - 1] == '*' && strncmp(*list, name, n - 1) == 0))
            return true;
    }
    return false;
}

bool tools_config_wants(const struct module_config *about, const char *name)
{
    return (!*about->include || is_among(about->include, name)) && !is_among(about->exclude, name);
}

static bool is_same_list(char *const *a, char *const *b)
{
    while (*a && *b && strcmp(*a, *b) == 0) {
        a++;
        b++;
    }
    return !*a && !*b;
}

bool tools_config_is_same_source(const struct module_config *a, const struct module_config *b)
{
    return strcmp(a->openapi, b->openapi) == 0 && strcmp(a->mcp, b->mcp) == 0 &&
           strcmp(a->url, b->url) == 0 && is_same_list(a->include, b->include) &&
           is_same_list(a->exclude, b->exclude);
}
