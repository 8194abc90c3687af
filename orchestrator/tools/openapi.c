#include "tools/openapi.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fetch.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "tools/config.h"
#include "tools/found.h"
#include "tools/pyname.h"
#include "tools/urls.h"

enum { URL_SIZE = 4096 };

struct reading {
    struct found found;
    struct tool_module *module;
    const char *place; /* URL of the document; "" */
    char *base;        /* URL that paths are behind */
};

/* `item` is what stands at the path; a reference leads to one that is called otherwise. */
struct spot {
    const char *path, *method;
    const cJSON *item, *operation;
};

static const char *const methods[] = {"get", "post", "put", "patch", "delete"};

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* ---- where it is ---- */

/* "{version}" of a server's URL by its default. */
static void put_server(struct buf *b, const char *url, const cJSON *variables)
{
    while (*url) {
        size_t plain = strcspn(url, "{"), n;
        auto_free char *name = NULL;

        (void)buf_add(b, url, plain);
        url += plain;
        if (!*url)
            return;
        n = strcspn(url + 1, "}");
        name = xstrndup(url + 1, n);
        (void)buf_str(b, json_get_text(get(variables, name), "default"));
        url += 1 + n + (url[1 + n] == '}');
    }
}

/* A URL as the document writes it, absolute. */
static char *resolve(const char *place, const char *url)
{
    auto_free char *origin = url_origin(place);
    const char *slash = strrchr(place, '/');

    if (strstr(url, "://") || !*place)
        return xstrdup(url);
    if (*url == '/')
        return xasprintf("%s%s", origin, url);
    if (!*url || !slash || slash < place + strlen(origin))
        return xasprintf("%s/%s", origin, url);
    return xasprintf("%.*s/%s", (int)(slash - place), place, url);
}

/* Of the first of them, absolute, without a slash at its end. */
static char *server_url(const char *place, const cJSON *servers)
{
    CLEANUP(buf_done) struct buf b = {.max = URL_SIZE};
    const cJSON *server = cJSON_GetArrayItem(servers, 0);
    char *url;
    size_t n;

    put_server(&b, server ? json_get_text(server, "url") : "/", get(server, "variables"));
    url = resolve(place, buf_get(&b));
    n = strlen(url);
    if (n && url[n - 1] == '/')
        url[n - 1] = '\0';
    return url;
}

static bool is_base(const char *url)
{
    return fetch_is_url(url) && !strpbrk(url, "?{}\"\\");
}

static int find_base(struct reading *r, struct err *err)
{
    const char *own = r->module->about->url;
    size_t n = strlen(own);

    n -= n && own[n - 1] == '/';
    r->base = n ? xstrndup(own, n) : server_url(r->place, get(r->found.doc, "servers"));
    if (!is_base(r->base))
        return err_set(err, ERR_INVALID, "the document has no server; the module needs a url");
    if (!*own && *r->place && !url_is_same_origin(r->place, r->base))
        return err_set(err, ERR_DENIED,
                       "the document sends calls to another host; the module needs a url");
    return 0;
}

/* An operation or a path may have servers of its own. NULL: they are at another host. */
static char *base_of(const struct reading *r, const struct spot *at)
{
    const cJSON *servers = get(at->operation, "servers");
    char *base;

    if (!cJSON_GetArraySize(servers))
        servers = get(at->item, "servers");
    if (*r->module->about->url || !cJSON_GetArraySize(servers))
        return xstrdup(r->base);
    base = server_url(r->place, servers);
    if (is_base(base) && url_is_same_origin(base, r->base))
        return base;
    free(base);
    return NULL;
}

/* ---- parameters ---- */

static bool is_ours(const struct tool_module *m, const char *header)
{
    static const char *const fixed[] = {
        "accept",     "content-type", "authorization", "content-length", "transfer-encoding",
        "connection", "host"};

    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (str_eq_nocase(fixed[i], header))
            return true;
    }
    for (const struct yaml_pair *p = m->about->headers; p->name; p++) {
        if (str_eq_nocase(p->name, header))
            return true;
    }
    return false;
}

static bool has_param(const struct tool_function *f, const char *wire, enum tool_in in)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (f->params[i].in == in && strcmp(f->params[i].wire, wire) == 0)
            return true;
    }
    return false;
}

static bool read_place(const char *in, enum tool_in *ret)
{
    static const struct {
        const char *name;
        enum tool_in in;
    } rows[] = {
        {"query",  TOOL_IN_QUERY },
        {"path",   TOOL_IN_PATH  },
        {"header", TOOL_IN_HEADER},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].name, in) == 0) {
            *ret = rows[i].in;
            return true;
        }
    }
    return false;
}

/* Most have a schema of their own, some a content type with one. */
static cJSON *copy_schema(struct reading *r, const cJSON *param)
{
    const cJSON *schema = get(param, "schema");

    if (!schema)
        schema = get(get(param, "content") ? get(param, "content")->child : NULL, "schema");
    return schema ? found_copy(&r->found, schema) : cJSON_CreateObject();
}

static enum tool_form form_of_query(const cJSON *param)
{
    const char *style = json_get_text(param, "style");
    const cJSON *explode = get(param, "explode");

    if (strcmp(style, "deepObject") == 0)
        return TOOL_FORM_DEEP;
    if (strcmp(style, "spaceDelimited") == 0 && !cJSON_IsTrue(explode))
        return TOOL_FORM_SPACE;
    if (strcmp(style, "pipeDelimited") == 0 && !cJSON_IsTrue(explode))
        return TOOL_FORM_PIPE;
    return cJSON_IsFalse(explode) ? TOOL_FORM_COMMA : TOOL_FORM_EACH;
}

/* What has a content type in place of a schema is written in that. */
static enum tool_form form_of(const cJSON *param, enum tool_in in)
{
    if (!get(param, "schema") && get(param, "content"))
        return TOOL_FORM_JSON;
    return in == TOOL_IN_QUERY ? form_of_query(param) : TOOL_FORM_PLAIN;
}

/* NULL, or why the operation cannot be called. */
static const char *add_param(struct reading *r, struct tool_function *f, const cJSON *node)
{
    const cJSON *param = found_follow(&r->found, node);
    const char *name = json_get_text(param, "name");
    bool is_required = cJSON_IsTrue(get(param, "required"));
    struct tool_param *p;
    enum tool_in in;
    auto_free char *doc = found_text(param, "description");

    if (!*name || !read_place(json_get_text(param, "in"), &in))
        return is_required || !*name ? "it has a parameter that cannot be given" : NULL;
    if (in == TOOL_IN_HEADER && (is_ours(r->module, name) || !url_is_header_name(name)))
        return NULL;
    if (has_param(f, name, in))
        return NULL;
    if (!found_add(f, name, in, copy_schema(r, param)))
        return "it has too many parameters";
    p = &f->params[f->params_n - 1];
    p->form = form_of(param, in);
    p->is_required = is_required || in == TOOL_IN_PATH;
    if (*doc) {
        free(p->doc);
        p->doc = TAKE(doc);
    }
    return NULL;
}

static const char *add_params(struct reading *r, struct tool_function *f, const cJSON *list)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        const char *why = add_param(r, f, one);

        if (why)
            return why;
    }
    return NULL;
}

/* ---- bodies ---- */

static bool is_json_type(const char *type)
{
    size_t n = strcspn(type, ";");

    return (n == 16 && strncasecmp(type, "application/json", n) == 0) ||
           (n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0) || strcmp(type, "*/*") == 0;
}

static const cJSON *find_json(const cJSON *content)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, content)
    {
        if (is_json_type(one->string))
            return one;
    }
    return NULL;
}

static bool has_properties(const cJSON *schema)
{
    return cJSON_GetArraySize(found_object(schema, "properties")) > 0 ||
           (cJSON_GetArraySize(get(schema, "allOf")) > 0 && !get(schema, "items"));
}

static const char *add_body(struct reading *r, struct tool_function *f, const cJSON *node)
{
    const cJSON *body = found_follow(&r->found, node);
    const cJSON *json = find_json(found_object(body, "content"));
    bool is_required = cJSON_IsTrue(get(body, "required")), is_good;
    const cJSON *schema;

    if (!json)
        return is_required ? "its body is not JSON" : NULL;
    schema = found_follow(&r->found, get(json, "schema"));
    f->has_body = true;
    f->is_strict = cJSON_IsFalse(get(schema, "additionalProperties"));
    if (has_properties(schema)) {
        is_good = found_add_properties(&r->found, f, schema);
    } else {
        is_good = found_add(f, "body", TOOL_IN_WHOLE_BODY, found_copy(&r->found, schema));
        f->is_strict = true;
        if (is_good)
            f->params[f->params_n - 1].is_required = is_required;
    }
    return is_good ? NULL : "it has too many parameters";
}

/* Every place in the path must have a parameter, or the URL would have braces in it. */
static const char *check_path(const struct tool_function *f, const char *path)
{
    for (const char *s = strchr(path, '{'); s; s = strchr(s + 1, '{')) {
        auto_free char *name = xstrndup(s + 1, strcspn(s + 1, "}"));

        if (!has_param(f, name, TOOL_IN_PATH))
            return "its path names a parameter that it does not have";
    }
    return NULL;
}

/* ---- operations ---- */

static char *operation_name(const cJSON *operation, const char *method, const char *path)
{
    const char *id = json_get_text(operation, "operationId");

    return *id ? xstrdup(id) : xasprintf("%s%s", method, path);
}

static char *operation_doc(const cJSON *operation)
{
    auto_free char *summary = found_text(operation, "summary");
    auto_free char *more = found_text(operation, "description");

    if (!*summary || !*more || strcmp(summary, more) == 0)
        return xstrdup(*summary ? summary : more);
    return xasprintf("%s\n\n%s", summary, more);
}

static const char *fill(struct reading *r, struct tool_function *f, const struct spot *at)
{
    const cJSON *body = get(at->operation, "requestBody");
    auto_free char *base = base_of(r, at);
    const char *why;

    if (!base)
        return "it is at another host";
    f->url = xasprintf("%s%s", base, at->path);
    f->is_strict = true;
    f->reply = TOOL_REPLY_AUTO;
    f->headers = tools_config_headers(r->module->about, NULL);
    f->query = tools_config_query(r->module->about);
    f->doc = operation_doc(at->operation);
    why = add_params(r, f, get(at->operation, "parameters"));
    if (!why)
        why = add_params(r, f, get(at->item, "parameters"));
    if (!why && body && strcmp(f->method, "GET") != 0)
        why = add_body(r, f, body);
    return why ? why : check_path(f, at->path);
}

static bool is_path(const char *path)
{
    for (const char *c = path; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7F || strchr("?#\"\\", *c))
            return false;
    }
    return *path == '/';
}

static void upper(char *s)
{
    for (; *s; s++)
        *s = (char)(*s - ('a' - 'A'));
}

static int read_operation(struct reading *r, const struct spot *at, struct err *err)
{
    auto_free char *wire = operation_name(at->operation, at->method, at->path);
    auto_free char *name = pyname_function(wire);
    const char *why = NULL;
    struct tool_function *f;

    if (!tools_config_wants(r->module->about, wire))
        return 0;
    if (!name || !is_path(at->path) || tool_module_find(r->module, name)) {
        tool_module_skip(r->module, wire,
                         name ? "its name or path cannot be used" : "it has no name");
        return 0;
    }
    f = tool_module_add(r->module);
    if (!f)
        return err_set(err, ERR_LIMIT, "it has over %d operations", TOOL_FUNCTIONS_MAX);
    f->name = TAKE(name);
    f->wire = TAKE(wire);
    f->method = xstrdup(at->method);
    upper(f->method);
    why = fill(r, f, at);
    if (why) {
        tool_module_skip(r->module, f->name, why);
        tool_module_undo(r->module);
    }
    return 0;
}

static int read_paths(struct reading *r, struct err *err)
{
    const cJSON *node;

    cJSON_ArrayForEach(node, found_object(r->found.doc, "paths"))
    {
        struct spot at = {.path = node->string, .item = found_follow(&r->found, node)};

        if (!at.item)
            tool_module_skip(r->module, at.path, "its reference leads nowhere in this document");
        for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
            at.method = methods[i];
            at.operation = get(at.item, methods[i]);
            if (cJSON_IsObject(at.operation) && read_operation(r, &at, err) < 0)
                return -1;
        }
    }
    return 0;
}

int openapi_read(struct tool_module *m, const char *place, const char *text, size_t n,
                 struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = found_parse(text, n, err);
    struct reading r = {.found = {.doc = doc}, .module = m, .place = place};
    int rc;

    if (!doc)
        return err_wrap(err, "the document is not JSON");
    if (!str_starts(json_get_text(doc, "openapi"), "3."))
        return err_set(err, ERR_INVALID, "it is no OpenAPI 3 document");
    rc = find_base(&r, err);
    if (rc == 0)
        rc = read_paths(&r, err);
    free(r.base);
    if (rc == 0 && !m->n)
        return err_set(err, ERR_INVALID, "it has no operation that can be called");
    return rc == 0 && tool_module_seal(m, err) ? 0 : -1;
}
