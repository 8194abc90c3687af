#include "tools/found.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "tools/pyname.h"

enum {
    REFS_MAX = 16,
    STEPS_MAX = 3000000,
    WALKED_MAX = 20000000,
    KEY_MAX = 256,
    LEVELS_MAX = 8,
};

cJSON *found_parse(const char *text, size_t n, struct err *err)
{
    cJSON *value;

    if (json_scan_text(text, n, FOUND_TOKENS, err) < 0)
        return NULL;
    value = cJSON_ParseWithLength(text, n);
    if (cJSON_IsObject(value))
        return value;
    cJSON_Delete(value);
    (void)err_set(err, ERR_PEER, "not a JSON object");
    return NULL;
}

/* ---- references ---- */

/* The next part of a JSON pointer, unescaped; false when it is too long. */
static bool take_part(const char **at, char out[KEY_MAX])
{
    size_t n = 0;
    const char *s = *at;

    for (; *s && *s != '/'; s++) {
        if (n + 1 == KEY_MAX)
            return false;
        out[n++] = *s;
        if (*s == '~' && (s[1] == '0' || s[1] == '1')) {
            out[n - 1] = s[1] == '0' ? '~' : '/';
            s++;
        }
    }
    out[n] = '\0';
    *at = s + (*s == '/');
    return true;
}

/* In a list of a stranger's length, as often as he likes. */
static const cJSON *find_member(struct found *f, const cJSON *object, const char *key)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, object)
    {
        if (++f->walked > WALKED_MAX)
            return NULL;
        if (one->string && strcmp(one->string, key) == 0)
            return one;
    }
    return NULL;
}

static const cJSON *look_up(struct found *f, const char *pointer)
{
    const cJSON *at = f->doc;
    char key[KEY_MAX];

    while (at && *pointer) {
        if (!take_part(&pointer, key) || ++f->steps > STEPS_MAX)
            return NULL;
        at = find_member(f, at, key);
    }
    return at;
}

/* The same few are referred to over and over. */
static const cJSON *look_up_once(struct found *f, const char *ref)
{
    unsigned at = 0;

    for (const char *c = ref; *c; c++)
        at = at * 31 + (unsigned char)*c;
    at %= FOUND_KNOWN;
    if (!f->known[at].ref || strcmp(f->known[at].ref, ref) != 0) {
        f->known[at].node = look_up(f, ref + 2);
        f->known[at].ref = ref;
    }
    return f->known[at].node;
}

const cJSON *found_follow(struct found *f, const cJSON *node)
{
    for (int i = 0; i < REFS_MAX; i++) {
        const cJSON *ref = cJSON_GetObjectItemCaseSensitive(node, "$ref");

        if (!cJSON_IsString(ref))
            return node;
        if (!str_starts(ref->valuestring, "#/"))
            return NULL;
        node = look_up_once(f, ref->valuestring);
    }
    return NULL;
}

static cJSON *copy_at(struct found *f, const cJSON *from, int depth);

static cJSON *copy_parts(struct found *f, const cJSON *source, int depth)
{
    cJSON *to = cJSON_IsArray(source) ? cJSON_CreateArray() : cJSON_CreateObject();
    const cJSON *one;

    cJSON_ArrayForEach(one, source)
    {
        cJSON *part = copy_at(f, one, depth + 1);

        if (cJSON_IsArray(source))
            (void)cJSON_AddItemToArray(to, part);
        else
            (void)cJSON_AddItemToObject(to, one->string, part);
    }
    return to;
}

static cJSON *copy_at(struct found *f, const cJSON *from, int depth)
{
    const cJSON *source = found_follow(f, from);
    bool is_ref = source != from;
    cJSON *to;

    if (!source || depth > FOUND_DEPTH || (is_ref && f->open == f->open_max) ||
        ++f->steps > STEPS_MAX || ++f->copied > FOUND_COPY)
        return cJSON_CreateObject();
    if (!cJSON_IsObject(source) && !cJSON_IsArray(source))
        return cJSON_Duplicate(source, false);
    f->open += is_ref;
    to = copy_parts(f, source, depth);
    f->open -= is_ref;
    return to;
}

/* As many references within each other as there is room for. */
cJSON *found_copy(struct found *f, const cJSON *schema)
{
    static const unsigned depths[] = {8, 4, 3, 2, 1, 0};
    cJSON *copy = NULL;

    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        cJSON_Delete(copy);
        f->copied = 0;
        f->open_max = depths[i];
        copy = copy_at(f, schema, 0);
        if (f->copied <= FOUND_COPY)
            return copy;
    }
    cJSON_Delete(copy);
    return cJSON_CreateObject();
}

/* ---- parameters ---- */

const cJSON *found_object(const cJSON *object, const char *key)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsObject(member) ? member : NULL;
}

char *found_text(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    size_t n = text ? strlen(text) : 0;

    return xstrndup(text ? text : "", n > TOOL_DOC_MAX ? utf8_cut(text, TOOL_DOC_MAX) : n);
}

static bool has_param(const struct tool_function *f, const char *name)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (f->params[i].name && strcmp(f->params[i].name, name) == 0)
            return true;
    }
    return false;
}

/* "id" in the path and "id" in the body are two. */
static char *own_name(const struct tool_function *f, const char *wire)
{
    char *name = pyname_parameter(wire);

    if (!name)
        name = xstrdup("argument");
    for (int i = 2; has_param(f, name) && i < TOOL_PARAMS_MAX + 2; i++) {
        auto_free char *base = name;
        size_t n = strlen(base);

        n = n > PYNAME_MAX - 4 ? PYNAME_MAX - 4 : n;
        name = xasprintf("%.*s_%d", (int)n, base, i);
    }
    return name;
}

bool found_add(struct tool_function *to, const char *wire, enum tool_in in, cJSON *schema)
{
    char *name = own_name(to, wire);
    struct tool_param *p = tool_function_add(to);
    const cJSON *initial = cJSON_GetObjectItemCaseSensitive(schema, "default");
    char *text = initial && !cJSON_IsNull(initial) ? cJSON_PrintUnformatted(initial) : NULL;

    if (p) {
        *p = (struct tool_param){
            .name = TAKE(name),
            .wire = xstrdup(wire),
            .doc = found_text(schema, "description"),
            .in = in,
            .initial = xstrdup(text),
            .schema = cJSON_IsObject(schema) ? schema : cJSON_CreateObject(),
        };
    }
    if (!p || !cJSON_IsObject(schema))
        cJSON_Delete(schema);
    cJSON_free(text);
    free(name);
    return p;
}

static bool is_listed(const cJSON *list, const char *name)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        if (cJSON_IsString(one) && strcmp(one->valuestring, name) == 0)
            return true;
    }
    return false;
}

static bool has_wire(const struct tool_function *f, const char *wire)
{
    for (size_t i = 0; i < f->params_n; i++) {
        if (f->params[i].in == TOOL_IN_BODY && strcmp(f->params[i].wire, wire) == 0)
            return true;
    }
    return false;
}

/* Only ever told by the service, `required` or not. The word may stand beside a reference. */
static bool is_read_only(struct found *f, const cJSON *property)
{
    const cJSON *schema = found_follow(f, property);

    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(property, "readOnly")) ||
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(schema, "readOnly"));
}

static bool add_property(struct found *f, struct tool_function *to, const cJSON *one,
                         bool is_required)
{
    if (has_wire(to, one->string) || is_read_only(f, one))
        return true;
    if (!found_add(to, one->string, TOOL_IN_BODY, found_copy(f, one)))
        return false;
    to->params[to->params_n - 1].is_required = is_required;
    return true;
}

static bool add_properties(struct found *f, struct tool_function *to, const cJSON *node, int level)
{
    const cJSON *schema = found_follow(f, node), *one;
    const cJSON *required = cJSON_GetObjectItemCaseSensitive(schema, "required");

    cJSON_ArrayForEach(one, found_object(schema, "properties"))
    {
        if (!add_property(f, to, one, is_listed(required, one->string)))
            return false;
    }
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(schema, "allOf"))
    {
        if (level < LEVELS_MAX && !add_properties(f, to, one, level + 1))
            return false;
    }
    /* `required` may stand beside what `allOf` brings. */
    for (size_t i = 0; i < to->params_n; i++) {
        if (to->params[i].in == TOOL_IN_BODY && is_listed(required, to->params[i].wire))
            to->params[i].is_required = true;
    }
    return true;
}

bool found_add_properties(struct found *f, struct tool_function *to, const cJSON *schema)
{
    return add_properties(f, to, schema, 0);
}
