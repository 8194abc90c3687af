#include "base/yaml_bind.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

enum { ITEMS_MAX = 256, FROM_MAX = 96 };

/* One table being bound: the load, the struct and the dotted key so far. */
struct binding {
    struct yaml *y;
    char *out;
    char path[YAML_PATH_MAX];
};

/* ---- keys ---- */

/* One insertion, deletion, replacement or swap of neighbours apart. */
static bool is_close(const char *a, const char *b)
{
    size_t n = strlen(a), k = strlen(b);

    while (*a && *a == *b) {
        a++;
        b++;
    }
    if (n == k)
        return *a && (strcmp(a + 1, b + 1) == 0 ||
                      (a[0] == b[1] && a[1] == b[0] && strcmp(a + 2, b + 2) == 0));
    if (n == k + 1)
        return strcmp(a + 1, b) == 0;
    return k == n + 1 && strcmp(a, b + 1) == 0;
}

static size_t push_key(struct binding *b, const char *key)
{
    size_t n = strlen(b->path);

    (void)snprintf(b->path + n, sizeof(b->path) - n, n ? ".%s" : "%s", key);
    return n;
}

static void check_keys(struct binding *b, const struct yaml_field *table,
                       const struct yaml_node *map)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_field *f = table, *close = NULL;
        const char *key = map->keys[i]->text;
        size_t mark;

        for (; f->key && strcmp(f->key, key) != 0; f++)
            close = is_close(f->key, key) ? f : close;
        if (f->key)
            continue;
        mark = push_key(b, key);
        if (close)
            (void)yaml_fault(b->y, map->keys[i], b->path, "is not a key here; did you mean '%s'?",
                             close->key);
        else
            (void)yaml_fault(b->y, map->keys[i], b->path, "is not a key here");
        b->path[mark] = '\0';
    }
}

/* ---- scalars ---- */

const char *yaml_text(struct yaml *y, const struct yaml_node *node, const char *key,
                      const char *expects)
{
    if (node->kind != YAML_SCALAR)
        (void)yaml_fault(y, node, key, "must be %s, not a %s", expects,
                         node->kind == YAML_LIST ? "list" : "map");
    else if (node->is_null)
        (void)yaml_fault(y, node, key, "has no value; it must be %s", expects);
    else
        return node->text;
    return NULL;
}

/* The same for what YAML itself tells from a text by the quotes. */
static const char *plain_text(struct binding *b, const struct yaml_node *node, const char *expects)
{
    const char *text = yaml_text(b->y, node, b->path, expects);

    if (!text || node->is_plain)
        return text;
    (void)yaml_fault(b->y, node, b->path, "must be %s, not a quoted text", expects);
    return NULL;
}

static void put_number(struct buf *b, const struct yaml_field *f, double v)
{
    if (f->type == YAML_SIZE)
        units_put_size(b, (int64_t)v);
    else if (f->type == YAML_TIME)
        units_put_time(b, (int64_t)v);
    else
        (void)buf_fmt(b, "%.15g", v);
}

/* Of a value in a fault: no secret, and no password in a URL, not even the beginning of one. */
static const char *shown(const struct yaml_node *node)
{
    bool has_user = strstr(node->text, "://") && strchr(node->text, '@');

    return node->is_secret || has_user ? "***" : node->text;
}

static bool is_in_range(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                        double v)
{
    CLEANUP(buf_done) struct buf range = {.max = 128};

    if (f->min == 0 && f->max == 0 && v >= 0)
        return true;
    if (f->max > 0 && v >= f->min && v <= f->max)
        return true;
    if (f->max > 0) {
        (void)buf_str(&range, "from ");
        put_number(&range, f, f->min);
        (void)buf_str(&range, " to ");
        put_number(&range, f, f->max);
    } else {
        (void)buf_str(&range, "0 or more");
    }
    (void)yaml_fault(b->y, node, b->path, "must be %s, not %.40s", buf_get(&range), shown(node));
    return false;
}

static void bind_integer(struct binding *b, const struct yaml_field *f,
                         const struct yaml_node *node, char *at)
{
    const char *text = plain_text(b, node, "an integer"), *digits;
    int64_t v;

    if (!text)
        return;
    digits = text + (*text == '-');
    /* A leading zero is octal to some and decimal to others. */
    if (strspn(digits, "0123456789") != strlen(digits) || (digits[0] == '0' && digits[1]) ||
        !str_to_i64(text, INT64_MIN, INT64_MAX, &v)) {
        (void)yaml_fault(b->y, node, b->path, "must be an integer, not '%.40s'", shown(node));
        return;
    }
    if (is_in_range(b, f, node, (double)v))
        memcpy(at, &v, sizeof(v));
}

static void bind_real(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                      char *at)
{
    const char *text = plain_text(b, node, "a number"), *end;
    char digits[32];
    double v;

    if (!text)
        return;
    end = text + strlen(text) - str_ends(text, "%");
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)(end - text), text);
    if ((size_t)(end - text) >= sizeof(digits) || !str_to_real(digits, &v)) {
        (void)yaml_fault(b->y, node, b->path, "must be a number, not '%.40s'", shown(node));
        return;
    }
    if (*end)
        v /= 100;
    if (is_in_range(b, f, node, v))
        memcpy(at, &v, sizeof(v));
}

static int64_t share_base(const struct binding *b, const struct yaml_field *f)
{
    int64_t v = 0;

    if (f->share == YAML_OF_RAM)
        v = b->y->ram;
    else if (f->share == YAML_OF_MEMBER)
        memcpy(&v, b->out + f->share_of, sizeof(v));
    return v;
}

static void bind_units(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                       char *at)
{
    bool is_size = f->type == YAML_SIZE;
    const char *text = yaml_text(b->y, node, b->path, is_size ? "a size" : "a time");
    int64_t whole = share_base(b, f), v;
    struct err e = {0};

    /* Nothing to take a share of: the fault of the other member is noted already. */
    if (!text || (f->share == YAML_OF_MEMBER && !whole && strchr(text, '%')))
        return;
    if ((is_size ? units_size(text, whole, &v, &e) : units_time(text, &v, &e)) < 0)
        (void)yaml_fault(b->y, node, b->path, "%s", e.msg);
    else if (is_in_range(b, f, node, (double)v))
        memcpy(at, &v, sizeof(v));
}

static void bind_bool(struct binding *b, const struct yaml_node *node, char *at)
{
    const char *text = plain_text(b, node, "true or false");
    bool is_env = !node->line, v;

    if (!text)
        return;
    /* Variables come from scripts of other programs: ENABLE_SLACK=True. */
    v = strcmp(text, "true") == 0 ||
        (is_env && (str_eq_nocase(text, "true") || strcmp(text, "1") == 0));
    if (!v && strcmp(text, "false") != 0 &&
        !(is_env && (str_eq_nocase(text, "false") || strcmp(text, "0") == 0)))
        (void)yaml_fault(b->y, node, b->path, "must be true or false, not '%.40s'", shown(node));
    memcpy(at, &v, sizeof(v));
}

/* In files words are exact; LOG_LEVEL and its like are written INFO as often as info. */
static void bind_word(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                      char *at)
{
    CLEANUP(buf_done) struct buf words = {.max = 256};
    const char *text;

    for (const struct yaml_word *w = f->words; w->name; w++)
        (void)buf_fmt(&words, "%s%s", w == f->words ? "" : w[1].name ? ", " : " or ", w->name);
    text = yaml_text(b->y, node, b->path, buf_get(&words));
    if (!text)
        return;
    for (const struct yaml_word *w = f->words; w->name; w++) {
        if (strcmp(w->name, text) == 0 || (!node->line && str_eq_nocase(w->name, text))) {
            memcpy(at, &w->value, sizeof(w->value));
            return;
        }
    }
    (void)yaml_fault(b->y, node, b->path, "must be %s, not '%.40s'", buf_get(&words), shown(node));
}

/* A fresh copy of the text if it is there and has the right form, else NULL and a fault. */
static char *take_text(struct binding *b, const struct yaml_field *f, const struct yaml_node *node)
{
    const char *expects = f->syntax ? f->syntax->expects : "a text";
    const char *text = yaml_text(b->y, node, b->path, expects);

    if (text && f->syntax && !f->syntax->is_valid(text)) {
        (void)yaml_fault(b->y, node, b->path, "must be %s, not '%.60s'", expects, shown(node));
        return NULL;
    }
    return text ? xstrdup(text) : NULL;
}

/* Members that are pointers are never NULL, whatever was wrong. */
static void fill_empty(const struct yaml_field *table, char *out)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        void *p;

        if (f->type == YAML_TABLE)
            fill_empty(f->table, out);
        if (f->type != YAML_TEXT && f->type != YAML_TEXTS && f->type != YAML_PAIRS)
            continue;
        memcpy(&p, out + f->offset, sizeof(p));
        if (!p)
            p = xcalloc(
                1, sizeof(struct yaml_pair)); /* "", no texts or no pairs: zeros are all three */
        memcpy(out + f->offset, &p, sizeof(p));
    }
}

/* ---- lists and maps ---- */

static size_t max_items(const struct yaml_field *f)
{
    return f->max > 0 ? (size_t)f->max : ITEMS_MAX;
}

static bool is_list(struct binding *b, const struct yaml_field *f, const struct yaml_node *node)
{
    if (node->kind != YAML_LIST)
        (void)yaml_fault(b->y, node, b->path, "must be a list");
    else if (node->n > max_items(f))
        (void)yaml_fault(b->y, node, b->path, "may have up to %zu items", max_items(f));
    else
        return true;
    return false;
}

/* "a, b" of an environment variable as the list that a file would have. */
static struct yaml_node *split_list(struct yaml *y, const struct yaml_node *node)
{
    struct yaml_node *list = yaml_map(y, node);

    list->kind = YAML_LIST;
    for (const char *s = node->text; *s;) {
        size_t space = strspn(s, " "), n = strcspn(s, ","), end = n;
        auto_free char *part = NULL;

        while (end > space && s[end - 1] == ' ')
            end--;
        part = xstrndup(s + space, end > space ? end - space : 0);
        if (*part)
            yaml_put(list, NULL, yaml_scalar(y, node->file, part));
        s += n + (s[n] == ',');
    }
    return list;
}

static void bind_texts(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                       char *at)
{
    char **texts = NULL;
    size_t n = 0;

    if (!node->line && node->kind == YAML_SCALAR)
        node = split_list(b->y, node);
    if (!is_list(b, f, node))
        return;
    texts = xcalloc(node->n + 1, sizeof(*texts));
    for (size_t i = 0; i < node->n; i++) {
        texts[n] = take_text(b, f, node->items[i]);
        n += texts[n] != NULL;
    }
    memcpy(at, &texts, sizeof(texts));
}

static void bind_pairs(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                       char *at)
{
    struct yaml_pair *pairs = NULL;
    size_t n = 0;

    if (node->kind != YAML_MAP || node->n > max_items(f)) {
        (void)yaml_fault(b->y, node, b->path, "must be a map of up to %zu texts", max_items(f));
        return;
    }
    pairs = xcalloc(node->n + 1, sizeof(*pairs));
    for (size_t i = 0; i < node->n; i++) {
        const char *name = node->keys[i]->text, *value;
        size_t mark = push_key(b, name);

        value = yaml_text(b->y, node->items[i], b->path, "a text");
        if (f->syntax && !f->syntax->is_valid(name))
            (void)yaml_fault(b->y, node->keys[i], b->path, "must be %s", f->syntax->expects);
        else if (value)
            pairs[n++] = (struct yaml_pair){xstrdup(name), xstrdup(value)};
        b->path[mark] = '\0';
    }
    memcpy(at, &pairs, sizeof(pairs));
}

static void bind_table(struct binding *b, const struct yaml_field *table,
                       const struct yaml_node *map);

static void bind_records(struct binding *b, const struct yaml_field *f,
                         const struct yaml_node *node, char *at)
{
    size_t mark = strlen(b->path);
    char *records, *outer = b->out;

    if (!is_list(b, f, node) || !node->n)
        return;
    records = xcalloc(node->n, f->size);
    memcpy(at, &records, sizeof(records));
    memcpy(outer + f->count_offset, &node->n, sizeof(node->n));
    for (size_t i = 0; i < node->n; i++) {
        (void)snprintf(b->path + mark, sizeof(b->path) - mark, "[%zu]", i);
        b->out = records + i * f->size;
        bind_table(b, f->table, node->items[i]);
        fill_empty(f->table, b->out);
        b->path[mark] = '\0';
    }
    b->out = outer;
}

/* A scalar for a table that has a short form, as the map that it stands for. */
static struct yaml_node *wrap_shorthand(struct yaml *y, const struct yaml_field *f,
                                        struct yaml_node *node)
{
    struct yaml_node *map, *key;

    if (!f->shorthand || node->kind != YAML_SCALAR || node->is_null)
        return node;
    map = yaml_map(y, node);
    key = yaml_scalar(y, node->file, f->shorthand);
    key->line = node->line;
    key->column = node->column;
    yaml_put(map, key, node);
    return map;
}

/* ---- fields ---- */

/* The variable that is set and not empty, as a node that names it; NULL when there is none. */
static struct yaml_node *from_environment(struct yaml *y, const char *names)
{
    while (names && *names) {
        size_t n = strcspn(names, " ");
        char from[FROM_MAX];
        const char *value;

        (void)snprintf(from, sizeof(from), "environment variable %.*s", (int)n, names);
        value = getenv(strrchr(from, ' ') + 1);
        if (value && *value)
            return yaml_scalar(y, from, value);
        names += n + (names[n] == ' ');
    }
    return NULL;
}

static struct yaml_node *from_initial(struct yaml *y, const char *initial)
{
    auto_free char *text = NULL;
    struct yaml_node *map;

    if (!initial)
        return NULL;
    text = xasprintf("value: %s\n", initial);
    map = yaml_parse(y, "built-in value", text, strlen(text));
    assert(map);
    return yaml_get(map, "value");
}

static struct yaml_node *choose_node(struct binding *b, const struct yaml_field *f,
                                     const struct yaml_node *map)
{
    struct yaml_node *node = from_environment(b->y, f->env);

    if (!node)
        node = yaml_get(map, f->key);
    if (!node)
        node = from_initial(b->y, f->initial);
    if (node && f->type == YAML_TABLE)
        return wrap_shorthand(b->y, f, node);
    if (!node && f->type == YAML_TABLE)
        return yaml_map(b->y, map);
    if (!node && f->is_required)
        (void)yaml_fault(b->y, map, b->path, "is missing");
    return node;
}

static void bind_value(struct binding *b, const struct yaml_field *f, const struct yaml_node *node,
                       char *at)
{
    char *text;

    switch (f->type) {
    case YAML_TEXT:
        text = take_text(b, f, node);
        memcpy(at, &text, sizeof(text));
        return;
    case YAML_BOOL:
        bind_bool(b, node, at);
        return;
    case YAML_INTEGER:
        bind_integer(b, f, node, at);
        return;
    case YAML_REAL:
        bind_real(b, f, node, at);
        return;
    case YAML_SIZE:
    case YAML_TIME:
        bind_units(b, f, node, at);
        return;
    case YAML_WORD:
        bind_word(b, f, node, at);
        return;
    case YAML_TEXTS:
        bind_texts(b, f, node, at);
        return;
    case YAML_PAIRS:
        bind_pairs(b, f, node, at);
        return;
    case YAML_TABLE:
        bind_table(b, f->table, node);
        return;
    case YAML_RECORDS:
        bind_records(b, f, node, at);
        return;
    case YAML_CUSTOM:
        (void)f->custom->bind(b->y, node, b->path, at);
        return;
    case YAML_CALLER:
        return;
    }
}

static void bind_table(struct binding *b, const struct yaml_field *table,
                       const struct yaml_node *map)
{
    if (map->kind != YAML_MAP)
        (void)yaml_fault(b->y, map, b->path, "must be a map of keys and values");
    else
        check_keys(b, table, map);
    for (const struct yaml_field *f = table; f->key; f++) {
        size_t mark = push_key(b, f->key);
        const struct yaml_node *node;

        node = map->kind == YAML_MAP ? choose_node(b, f, map) : NULL;
        if (node)
            bind_value(b, f, node, b->out + f->offset);
        b->path[mark] = '\0';
    }
}

void yaml_bind_at(struct yaml *y, const struct yaml_field *table, const struct yaml_node *map,
                  const char *key, void *out)
{
    struct binding b = {.y = y, .out = out};

    (void)push_key(&b, key);
    bind_table(&b, table, map);
    fill_empty(table, out);
}

void yaml_bind(struct yaml *y, const struct yaml_field *table, const struct yaml_node *map,
               void *out)
{
    yaml_bind_at(y, table, map, "", out);
}

/* ---- merging ---- */

static const struct yaml_field *find_field(const struct yaml_field *table, const char *key)
{
    for (; table && table->key; table++) {
        if (strcmp(table->key, key) == 0)
            return table;
    }
    return NULL;
}

static struct yaml_node *merge_value(struct yaml *y, const struct yaml_field *f,
                                     struct yaml_node *base, struct yaml_node *over)
{
    if (!base || !f || (f->type != YAML_TABLE && f->type != YAML_PAIRS) || over->kind != YAML_MAP)
        return over;
    if (f->type == YAML_TABLE)
        base = wrap_shorthand(y, f, base);
    return base->kind == YAML_MAP ? yaml_merge(y, f->table, base, over) : over;
}

struct yaml_node *yaml_merge(struct yaml *y, const struct yaml_field *table, struct yaml_node *base,
                             struct yaml_node *over)
{
    struct yaml_node *map = yaml_map(y, over);

    for (size_t i = 0; i < base->n; i++) {
        if (!yaml_get(over, base->keys[i]->text))
            yaml_put(map, base->keys[i], base->items[i]);
    }
    for (size_t i = 0; i < over->n; i++) {
        const char *key = over->keys[i]->text;
        const struct yaml_field *f = find_field(table, key);

        yaml_put(map, over->keys[i], merge_value(y, f, yaml_get(base, key), over->items[i]));
    }
    return map;
}
