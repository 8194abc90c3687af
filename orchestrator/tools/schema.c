#include "tools/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "tools/pattern.h"

enum {
    PATH_MAX_BYTES = 96,
    STEPS_MAX = 200000,
    WALKED_MAX = 20000000,
    DEPTH_MAX = 64,
    WORDS_MAX = 120
};

static const char too_large[] = "is too large to be checked";

struct checking {
    char path[PATH_MAX_BYTES];
    unsigned steps, depth;
    size_t walked; /* members that were passed to find others */
    struct pattern_use patterns;
    struct err *err;
};

static const cJSON *get(const cJSON *schema, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(schema, key);
}

/* The same where both the object and what is looked for come from strangers. */
static const cJSON *find(struct checking *c, const cJSON *object, const char *key)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, object)
    {
        if (++c->walked > WALKED_MAX)
            return NULL;
        if (strcmp(one->string, key) == 0)
            return one;
    }
    return NULL;
}

static int wrong(const struct checking *c, const char *what)
{
    return err_set(c->err, ERR_INVALID, "argument '%s' %s", c->path, what);
}

static int wrong_number(const struct checking *c, const char *what, double limit)
{
    return err_set(c->err, ERR_INVALID, "argument '%s' must %s %.15g", c->path, what, limit);
}

/* ---- types ---- */

static bool is_type(const cJSON *value, const char *type)
{
    if (strcmp(type, "string") == 0)
        return cJSON_IsString(value);
    if (strcmp(type, "number") == 0)
        return cJSON_IsNumber(value);
    if (strcmp(type, "integer") == 0)
        return cJSON_IsNumber(value) && floor(value->valuedouble) == value->valuedouble;
    if (strcmp(type, "boolean") == 0)
        return cJSON_IsBool(value);
    if (strcmp(type, "array") == 0)
        return cJSON_IsArray(value);
    if (strcmp(type, "object") == 0)
        return cJSON_IsObject(value);
    return strcmp(type, "null") != 0 || cJSON_IsNull(value);
}

static bool is_any_type(const cJSON *value, const cJSON *types)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, types)
    {
        if (cJSON_IsString(one) && is_type(value, one->valuestring))
            return true;
    }
    return false;
}

static const char *type_words(const char *type)
{
    static const struct {
        const char *type, *words;
    } rows[] = {
        {"string",  "must be a string"     },
        {"number",  "must be a number"     },
        {"integer", "must be an integer"   },
        {"boolean", "must be true or false"},
        {"array",   "must be a list"       },
        {"object",  "must be a dictionary" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].words;
    }
    return "has the wrong type";
}

static int check_type(const struct checking *c, const cJSON *schema, const cJSON *value)
{
    const cJSON *type = get(schema, "type");

    if (cJSON_IsString(type) && !is_type(value, type->valuestring))
        return wrong(c, type_words(type->valuestring));
    if (cJSON_IsArray(type) && !is_any_type(value, type))
        return wrong(c, type_words(schema_type(schema)));
    return 0;
}

/* ---- scalars ---- */

static bool is_equal(struct checking *c, const cJSON *a, const cJSON *b);

static bool is_equal_map(struct checking *c, const cJSON *a, const cJSON *b)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, a)
    {
        if (!is_equal(c, one, find(c, b, one->string)))
            return false;
    }
    return cJSON_GetArraySize(a) == cJSON_GetArraySize(b);
}

/* cJSON_Compare takes twice the time for each level of objects. */
static bool is_equal(struct checking *c, const cJSON *a, const cJSON *b)
{
    if (!b || (a->type & 0xFF) != (b->type & 0xFF) || ++c->walked > WALKED_MAX)
        return false;
    if (cJSON_IsNumber(a))
        return a->valuedouble == b->valuedouble;
    if (cJSON_IsString(a))
        return strcmp(a->valuestring, b->valuestring) == 0;
    if (cJSON_IsObject(a))
        return is_equal_map(c, a, b);
    if (!cJSON_IsArray(a))
        return true;
    for (a = a->child, b = b->child; a && b; a = a->next, b = b->next) {
        if (!is_equal(c, a, b))
            return false;
    }
    return !a && !b;
}

static int check_enum(struct checking *c, const cJSON *list, const cJSON *value)
{
    CLEANUP(buf_done) struct buf words = {.max = WORDS_MAX};
    const cJSON *one;

    (void)buf_str(&words, "must be one of");
    cJSON_ArrayForEach(one, list)
    {
        char *text;

        if (is_equal(c, one, value))
            return 0;
        if (words.is_full)
            continue;
        text = cJSON_PrintUnformatted(one);
        (void)buf_fmt(&words, " %s", text ? text : "");
        cJSON_free(text);
    }
    return wrong(c, buf_get(&words));
}

static int check_range(const struct checking *c, const cJSON *schema, double v)
{
    const cJSON *min = get(schema, "minimum"), *max = get(schema, "maximum");
    const cJSON *over = get(schema, "exclusiveMinimum"), *under = get(schema, "exclusiveMaximum");

    /* OpenAPI 3.0 says with a boolean that `minimum` itself does not count. */
    over = cJSON_IsTrue(over) ? min : over;
    under = cJSON_IsTrue(under) ? max : under;
    if (cJSON_IsNumber(min) && v < min->valuedouble)
        return wrong_number(c, "be at least", min->valuedouble);
    if (cJSON_IsNumber(max) && v > max->valuedouble)
        return wrong_number(c, "be at most", max->valuedouble);
    if (cJSON_IsNumber(over) && v <= over->valuedouble)
        return wrong_number(c, "be over", over->valuedouble);
    if (cJSON_IsNumber(under) && v >= under->valuedouble)
        return wrong_number(c, "be under", under->valuedouble);
    return 0;
}

static int check_count(const struct checking *c, const cJSON *schema, const char *const keys[2],
                       const char *unit, size_t n)
{
    const cJSON *min = get(schema, keys[0]), *max = get(schema, keys[1]);
    bool is_short = cJSON_IsNumber(min) && (double)n < min->valuedouble;
    bool is_long = cJSON_IsNumber(max) && (double)n > max->valuedouble;

    if (!is_short && !is_long)
        return 0;
    return err_set(c->err, ERR_INVALID, "argument '%s' must have at %s %.15g %s", c->path,
                   is_short ? "least" : "most", (is_short ? min : max)->valuedouble, unit);
}

static size_t characters(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static int check_pattern(struct checking *c, const char *pattern, const char *text)
{
    switch (pattern_match(&c->patterns, pattern, text)) {
    case PATTERN_YES:
        return 0;
    case PATTERN_NO:
        return err_set(c->err, ERR_INVALID, "argument '%s' must match %.80s", c->path, pattern);
    case PATTERN_TOO_MUCH:
        break;
    }
    return wrong(c, too_large);
}

static int check_string(struct checking *c, const cJSON *schema, const char *text)
{
    static const char *const keys[] = {"minLength", "maxLength"};
    const cJSON *pattern = get(schema, "pattern");

    if (check_count(c, schema, keys, "characters", characters(text)) < 0)
        return -1;
    return cJSON_IsString(pattern) ? check_pattern(c, pattern->valuestring, text) : 0;
}

/* ---- what has parts ---- */

static int check(struct checking *c, const cJSON *schema, const cJSON *value);

static int check_array(struct checking *c, const cJSON *schema, const cJSON *value)
{
    static const char *const keys[] = {"minItems", "maxItems"};
    const cJSON *items = get(schema, "items"), *one;
    size_t mark = strlen(c->path), i = 0;

    if (check_count(c, schema, keys, "items", (size_t)cJSON_GetArraySize(value)) < 0)
        return -1;
    if (!cJSON_IsObject(items))
        return 0;
    cJSON_ArrayForEach(one, value)
    {
        (void)snprintf(c->path + mark, sizeof(c->path) - mark, "[%zu]", i++);
        if (check(c, items, one) < 0)
            return -1;
    }
    c->path[mark] = '\0';
    return 0;
}

static int check_members(struct checking *c, const cJSON *schema, const cJSON *value)
{
    const cJSON *properties = get(schema, "properties"), *one;
    bool is_closed = cJSON_IsFalse(get(schema, "additionalProperties"));
    size_t mark = strlen(c->path);

    cJSON_ArrayForEach(one, value)
    {
        const cJSON *sub = find(c, properties, one->string);

        (void)snprintf(c->path + mark, sizeof(c->path) - mark, ".%s", one->string);
        if (!sub && is_closed)
            return wrong(c, "is not known");
        if (sub && check(c, sub, one) < 0)
            return -1;
        c->path[mark] = '\0';
    }
    return 0;
}

static int check_object(struct checking *c, const cJSON *schema, const cJSON *value)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, get(schema, "required"))
    {
        const char *name = cJSON_GetStringValue(one);

        /* What is read-only is the service's to say. */
        if (name && !find(c, value, name) &&
            !cJSON_IsTrue(get(find(c, get(schema, "properties"), name), "readOnly")))
            return err_set(c->err, ERR_INVALID, "argument '%s' lacks '%.60s'", c->path,
                           one->valuestring);
    }
    return check_members(c, schema, value);
}

/* ---- schemas of schemas ---- */

static int check_all(struct checking *c, const cJSON *list, const cJSON *value)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        if (check(c, one, value) < 0)
            return -1;
    }
    return 0;
}

/* oneOf too: whether several fit is the service's question. */
static int check_any(struct checking *c, const cJSON *list, const cJSON *value)
{
    struct err *err = c->err, first = {0}, other = {0};
    size_t mark = strlen(c->path);
    const cJSON *one;
    bool is_good = !cJSON_GetArraySize(list);

    cJSON_ArrayForEach(one, list)
    {
        c->err = first.kind == ERR_NONE ? &first : &other;
        if (!is_good && check(c, one, value) == 0)
            is_good = true;
        c->path[mark] = '\0';
    }
    c->err = err;
    if (is_good)
        return 0;
    /* The first one's complaint says most where the others are `null`. */
    return cJSON_GetArraySize(list) <= 2 ? err_set(err, ERR_INVALID, "%s", first.msg)
                                         : wrong(c, "has none of the forms that it may have");
}

static int check_value(struct checking *c, const cJSON *schema, const cJSON *value)
{
    const cJSON *list = get(schema, "enum"), *only = get(schema, "const");

    if (check_type(c, schema, value) < 0)
        return -1;
    if (cJSON_IsArray(list) && check_enum(c, list, value) < 0)
        return -1;
    if (only && !is_equal(c, only, value))
        return wrong(c, "has another value than the only one that it may have");
    if (cJSON_IsNumber(value))
        return check_range(c, schema, value->valuedouble);
    if (cJSON_IsString(value))
        return check_string(c, schema, value->valuestring);
    if (cJSON_IsArray(value))
        return check_array(c, schema, value);
    return cJSON_IsObject(value) ? check_object(c, schema, value) : 0;
}

static int check(struct checking *c, const cJSON *schema, const cJSON *value)
{
    int rc;

    if (cJSON_IsFalse(schema))
        return wrong(c, "is not allowed");
    if (!cJSON_IsObject(schema) || (cJSON_IsNull(value) && schema_takes_null(schema)))
        return 0;
    /* Each look for a key goes through the members of a schema, which may be many, too. */
    c->walked += (size_t)cJSON_GetArraySize(schema);
    if (++c->steps > STEPS_MAX || c->walked > WALKED_MAX || c->depth == DEPTH_MAX)
        return wrong(c, too_large);
    c->depth++;
    rc = check_value(c, schema, value) < 0 || check_all(c, get(schema, "allOf"), value) < 0 ||
                 check_any(c, get(schema, "anyOf"), value) < 0 ||
                 check_any(c, get(schema, "oneOf"), value) < 0
             ? -1
             : 0;
    c->depth--;
    return c->walked > WALKED_MAX ? wrong(c, too_large) : rc;
}

int schema_check(const cJSON *schema, const cJSON *value, const char *name, struct err *err)
{
    struct checking c = {.err = err};
    int rc;

    (void)snprintf(c.path, sizeof(c.path), "%s", name);
    rc = check(&c, schema, value);
    pattern_use_done(&c.patterns);
    return rc;
}

/* ---- what it says ---- */

static const cJSON *first_form(const cJSON *schema)
{
    static const char *const keys[] = {"anyOf", "oneOf", "allOf"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const cJSON *one;

        cJSON_ArrayForEach(one, get(schema, keys[i]))
        {
            const cJSON *type = get(one, "type");

            if (cJSON_IsString(type) && strcmp(type->valuestring, "null") != 0)
                return one;
        }
    }
    return NULL;
}

const char *schema_type(const cJSON *schema)
{
    static const char *const known[] = {"string",  "integer", "number",
                                        "boolean", "array",   "object"};
    const cJSON *type = get(schema, "type"), *one;
    const char *name;

    if (!type && first_form(schema))
        type = get(first_form(schema), "type");
    if (cJSON_IsArray(type)) {
        cJSON_ArrayForEach(one, type)
        {
            if (cJSON_IsString(one) && strcmp(one->valuestring, "null") != 0)
                break;
        }
        type = one;
    }
    name = cJSON_GetStringValue(type);
    for (size_t i = 0; name && i < ARRAY_LEN(known); i++) {
        if (strcmp(name, known[i]) == 0)
            return known[i];
    }
    return "any";
}

bool schema_takes_null(const cJSON *schema)
{
    static const char *const keys[] = {"anyOf", "oneOf"};
    const cJSON *type = get(schema, "type"), *one;

    if (cJSON_IsTrue(get(schema, "nullable")))
        return true;
    if (cJSON_IsString(type))
        return strcmp(type->valuestring, "null") == 0;
    cJSON_ArrayForEach(one, type)
    {
        if (cJSON_IsString(one) && strcmp(one->valuestring, "null") == 0)
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        cJSON_ArrayForEach(one, get(schema, keys[i]))
        {
            const cJSON *sub = get(one, "type");

            if (cJSON_IsString(sub) && strcmp(sub->valuestring, "null") == 0)
                return true;
        }
    }
    return false;
}
