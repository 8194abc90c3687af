/*
 * Why not libcyaml (1.3.1 in Debian 12, tried): its integers are read by strtoul, so "256MiB" loads
 * as 256 and "12x" as 12; there are no ranges for numbers and no hook for a type of our own, so no
 * units; an unknown key is told by the place of its map, not its own; messages go to a log function
 * in several lines without the file's name; and nothing can be done between reading and binding,
 * where variables are expanded and `extends` is followed. This reader keeps the tree instead and
 * yaml_bind.h binds it by tables in the same spirit.
 */
#include "base/yaml.h"

#include <stdarg.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <yaml.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"

enum { FAULTS_MAX = 256 * 1024, FAULT_MAX = 1024, MAP_MAX = 1000, VARIABLE_MAX = 128 };

struct reader {
    struct yaml *y;
    const char *file;
    const char *text;
    yaml_parser_t parser;
    size_t count;
    char path[YAML_PATH_MAX]; /* dotted key of what is being read, for messages */
};

static const char not_used[] = "anchors, aliases, tags and directives are not used here";

/* ---- faults ---- */

static bool has_line(const struct buf *b, const char *line)
{
    size_t n = strlen(line);

    for (const char *s = buf_get(b); *s; s = strchr(s, '\n') + 1) {
        if (strncmp(s, line, n) == 0 && s[n] == '\n')
            return true;
    }
    return false;
}

/* The texts come from files, cut anywhere: what is not printable UTF-8 must not reach a terminal. */
static void make_printable(char *line)
{
    size_t left = strlen(line);

    while (left) {
        int n = utf8_step((const unsigned char *)line, left);

        if (n < 1 || (n == 1 && ((unsigned char)*line < 0x20 || *line == 0x7F))) {
            *line = '?';
            n = 1;
        }
        line += n;
        left -= (size_t)n;
    }
}

int yaml_fault(struct yaml *y, const struct yaml_node *at, const char *key, const char *fmt, ...)
{
    char where[FAULT_MAX / 2] = "", line[FAULT_MAX], what[FAULT_MAX / 4];
    va_list ap;

    if (at && at->line)
        (void)snprintf(where, sizeof(where), "%s:%d:%d: ", at->file, at->line, at->column);
    else if (at)
        (void)snprintf(where, sizeof(where), "%s: ", at->file);
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    (void)snprintf(line, sizeof(line), *key ? "%s'%s': %s" : "%s%s%s", where, key, what);
    make_printable(line);
    y->faults_n++;
    if (!has_line(&y->faults, line))
        (void)buf_fmt(&y->faults, "%s\n", line);
    return -1;
}

int yaml_result(const struct yaml *y, struct err *err)
{
    const char *first = buf_get(&y->faults);

    if (!y->faults_n)
        return 0;
    return err_set(err, ERR_INVALID, "%.*s", (int)strcspn(first, "\n"), first);
}

/* ---- the load and its nodes ---- */

static int64_t machine_ram(void)
{
    struct sysinfo info = {0};

    if (sysinfo(&info) < 0)
        return 0;
    return (int64_t)info.totalram * info.mem_unit;
}

void yaml_init(struct yaml *y)
{
    *y = (struct yaml){.ram = machine_ram()};
    buf_init(&y->faults, FAULTS_MAX);
}

void yaml_done(struct yaml *y)
{
    while (y->nodes) {
        struct yaml_node *node = y->nodes;

        y->nodes = node->next;
        free(node->text);
        free(node->keys);
        free(node->items);
        free(node);
    }
    buf_done(&y->faults);
}

static struct yaml_node *add_node(struct yaml *y, enum yaml_kind kind, const char *file)
{
    struct yaml_node *node = xcalloc(1, sizeof(*node));

    node->kind = kind;
    node->file = file;
    node->next = y->nodes;
    y->nodes = node;
    return node;
}

/* A copy of a name that lives as long as the load: the text of a node that stands in no tree. */
static const char *keep_name(struct yaml *y, const char *name)
{
    struct yaml_node *node = add_node(y, YAML_SCALAR, NULL);

    node->text = xstrdup(name);
    return node->text;
}

struct yaml_node *yaml_scalar(struct yaml *y, const char *from, const char *text)
{
    struct yaml_node *node = add_node(y, YAML_SCALAR, keep_name(y, from));

    node->is_plain = true;
    node->text = xstrdup(text);
    return node;
}

struct yaml_node *yaml_map(struct yaml *y, const struct yaml_node *at)
{
    struct yaml_node *node = add_node(y, YAML_MAP, at->file);

    node->line = at->line;
    node->column = at->column;
    return node;
}

static void add_item(struct yaml_node *list, struct yaml_node *key, struct yaml_node *value)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 8;
        list->items = xarray(list->items, list->cap, sizeof(struct yaml_node *));
        if (key)
            list->keys = xarray(list->keys, list->cap, sizeof(struct yaml_node *));
    }
    if (key)
        list->keys[list->n] = key;
    list->items[list->n++] = value;
}

void yaml_put(struct yaml_node *map, struct yaml_node *key, struct yaml_node *value)
{
    add_item(map, key, value);
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
        if (strcmp(map->keys[i]->text, key) == 0)
            return map->items[i];
    }
    return NULL;
}

/* Follows one more part of `*path`; NULL when there is none of that name. */
static struct yaml_node *step(const struct yaml_node *at, const char **path)
{
    char part[YAML_PATH_MAX];
    size_t n = strcspn(*path, ".");

    if (n >= sizeof(part))
        return NULL;
    memcpy(part, *path, n);
    part[n] = '\0';
    *path += n + ((*path)[n] == '.');
    return yaml_get(at, part);
}

struct yaml_node *yaml_find(const struct yaml_node *root, const char *path)
{
    struct yaml_node *at = step(root, &path);

    while (at && *path)
        at = step(at, &path);
    return at;
}

const struct yaml_node *yaml_near(const struct yaml_node *root, const char *path)
{
    while (*path) {
        const struct yaml_node *next = step(root, &path);

        if (!next)
            break;
        root = next;
    }
    return root;
}

/* ---- variables ---- */

static bool is_name_char(char c, bool is_first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!is_first && c >= '0' && c <= '9');
}

/* A fault names it and never shows its value. */
static int expand_secret(struct reader *r, const struct yaml_node *at, const char *body, size_t n,
                         struct buf *out)
{
    auto_free char *name = xstrndup(body, n);
    const char *value = r->y->secret(r->y->ctx, name);

    if (!value)
        return yaml_fault(r->y, at, r->path, "there is no secret '%.60s'", name);
    return buf_str(out, value);
}

/* `body` is what stands between the braces: NAME, NAME:-default or secret:NAME. */
static int expand_one(struct reader *r, const struct yaml_node *at, const char *body, size_t n,
                      struct buf *out)
{
    static const char secret[] = "secret:";
    char name[VARIABLE_MAX];
    const char *value;
    size_t len = 0;
    bool has_default;

    if (r->y->secret && n > strlen(secret) && strncmp(body, secret, strlen(secret)) == 0)
        return expand_secret(r, at, body + strlen(secret), n - strlen(secret), out);
    while (len < n && is_name_char(body[len], len == 0))
        len++;
    has_default = n - len >= 2 && body[len] == ':' && body[len + 1] == '-';
    if (!len || len >= sizeof(name) || (len < n && !has_default))
        return yaml_fault(r->y, at, r->path, "'${%.*s}' must be ${NAME} or ${NAME:-default}",
                          n < 40 ? (int)n : 40, body);
    memcpy(name, body, len);
    name[len] = '\0';
    value = getenv(name);
    if (has_default && (!value || !*value))
        return buf_add(out, body + len + 2, n - len - 2);
    if (!value)
        return yaml_fault(r->y, at, r->path,
                          "environment variable '%s' is not set (${%s:-} would allow that)", name,
                          name);
    if (utf8_valid_prefix(value, strlen(value)) != strlen(value))
        return yaml_fault(r->y, at, r->path, "environment variable '%s' is not UTF-8", name);
    return buf_str(out, value);
}

/* Copies one piece of `s`: text, "$$" or a variable. Returns how long it was; 0 after a fault. */
static size_t expand_piece(struct reader *r, const struct yaml_node *at, const char *s,
                           struct buf *out)
{
    size_t plain = strcspn(s, "$");
    const char *end;

    if (plain)
        return buf_add(out, s, plain) < 0 ? 0 : plain;
    if (s[1] == '$')
        return buf_char(out, '$') < 0 ? 0 : 2;
    end = s[1] == '{' ? strchr(s, '}') : NULL;
    if (!end) {
        (void)yaml_fault(r->y, at, r->path,
                         "'$' must be ${NAME}, ${NAME:-default} or, for a dollar, $$");
        return 0;
    }
    if (expand_one(r, at, s + 2, (size_t)(end - s) - 2, out) < 0)
        return 0;
    return (size_t)(end - s) + 1;
}

/* What comes out of variables counts as plain, whatever quotes the flow style needed around it. */
static int expand(struct reader *r, struct yaml_node *node)
{
    CLEANUP(buf_done) struct buf out = {.max = YAML_TEXT_MAX};
    size_t before = r->y->faults_n;

    if (!strchr(node->text, '$'))
        return 0;
    for (const char *s = node->text; *s;) {
        size_t n = expand_piece(r, node, s, &out);

        if (!n && r->y->faults_n == before)
            return yaml_fault(r->y, node, r->path, "the text is over %d bytes", YAML_TEXT_MAX);
        if (!n)
            return -1;
        s += n;
    }
    node->is_plain = node->is_plain || strstr(node->text, "${");
    node->is_secret = r->y->secret && strstr(node->text, "${secret:");
    free(node->text);
    node->text = buf_take(&out);
    return 0;
}

/* ---- reading ---- */

/* libyaml tells faults of encoding by offset, all others by line and column. */
static struct yaml_node *place_of_problem(struct reader *r)
{
    struct yaml_node *at = add_node(r->y, YAML_SCALAR, r->file);
    size_t start = 0;

    at->line = (int)r->parser.problem_mark.line + 1;
    at->column = (int)r->parser.problem_mark.column + 1;
    if (r->parser.error != YAML_READER_ERROR)
        return at;
    at->line = 1;
    for (size_t i = 0; i < r->parser.problem_offset; i++) {
        if (r->text[i] == '\n') {
            at->line++;
            start = i + 1;
        }
    }
    at->column = (int)(r->parser.problem_offset - start) + 1;
    return at;
}

/* The most common mistake, which libyaml describes in many ways. */
static const char *tab_hint(const struct reader *r, int line)
{
    const char *s = r->text;

    while (--line > 0 && *s)
        s = strchrnul(s, '\n') + (strchr(s, '\n') != NULL);
    return memchr(s, '\t', strspn(s, " \t")) ? " (indent with spaces, not tabs)" : "";
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
    const struct yaml_node *at;

    if (yaml_parser_parse(&r->parser, ret))
        return 0;
    at = place_of_problem(r);
    return yaml_fault(r->y, at, "", "%s%s%s%s", r->parser.problem ? r->parser.problem : "no memory",
                      r->parser.context ? " " : "", r->parser.context ? r->parser.context : "",
                      tab_hint(r, at->line));
}

static struct yaml_node *node_at(struct reader *r, enum yaml_kind kind, const yaml_event_t *event)
{
    struct yaml_node *node = add_node(r->y, kind, r->file);

    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    return node;
}

static bool is_special(const yaml_event_t *e)
{
    if (e->type == YAML_SCALAR_EVENT)
        return e->data.scalar.anchor || e->data.scalar.tag;
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    if (e->type == YAML_MAPPING_START_EVENT)
        return e->data.mapping_start.anchor || e->data.mapping_start.tag;
    return e->type == YAML_ALIAS_EVENT;
}

bool yaml_is_null_word(const char *text)
{
    return strcmp(text, "~") == 0 || str_eq_nocase(text, "null");
}

static struct yaml_node *read_scalar(struct reader *r, const yaml_event_t *e)
{
    struct yaml_node *node = node_at(r, YAML_SCALAR, e);
    const char *text = (const char *)e->data.scalar.value;
    size_t n = e->data.scalar.length;

    node->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (n > YAML_TEXT_MAX) {
        (void)yaml_fault(r->y, node, r->path, "the text is over %d bytes", YAML_TEXT_MAX);
        return NULL;
    }
    if (memchr(text, '\0', n)) {
        (void)yaml_fault(r->y, node, r->path, "a NUL character cannot stand in a text");
        return NULL;
    }
    node->text = xstrndup(text, n);
    node->is_null = node->is_plain && (!n || yaml_is_null_word(node->text));
    return node;
}

static struct yaml_node *read_value(struct reader *r, const yaml_event_t *e, int depth);

/* A value, unlike a key, has its variables expanded. */
static struct yaml_node *read_item(struct reader *r, const yaml_event_t *e, int depth)
{
    struct yaml_node *item = read_value(r, e, depth);

    if (item && item->kind == YAML_SCALAR && expand(r, item) < 0)
        return NULL;
    return item;
}

static int read_list(struct reader *r, struct yaml_node *list, int depth)
{
    for (;;) {
        CLEANUP(yaml_event_delete) yaml_event_t e = {0};
        struct yaml_node *item;

        if (next_event(r, &e) < 0)
            return -1;
        if (e.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        item = read_item(r, &e, depth);
        if (!item)
            return -1;
        add_item(list, NULL, item);
    }
}

/* Appends the key to the path; a map's reader cuts it off again. */
static int take_key(struct reader *r, const struct yaml_node *map, const struct yaml_node *key)
{
    size_t n = strlen(r->path);

    if (key->kind != YAML_SCALAR || key->is_null)
        return yaml_fault(r->y, key, r->path, "a key must be a word");
    (void)snprintf(r->path + n, sizeof(r->path) - n, n ? ".%s" : "%s", key->text);
    if (yaml_get(map, key->text))
        return yaml_fault(r->y, key, r->path, "stands here twice");
    if (map->n == MAP_MAX)
        return yaml_fault(r->y, key, r->path, "is one key more than the %d of a map", MAP_MAX);
    return 0;
}

static int read_map(struct reader *r, struct yaml_node *map, int depth)
{
    size_t path_len = strlen(r->path);

    for (;;) {
        CLEANUP(yaml_event_delete) yaml_event_t k = {0}, v = {0};
        struct yaml_node *key, *value;

        if (next_event(r, &k) < 0)
            return -1;
        if (k.type == YAML_MAPPING_END_EVENT)
            return 0;
        key = read_value(r, &k, depth);
        if (!key || take_key(r, map, key) < 0 || next_event(r, &v) < 0)
            return -1;
        value = read_item(r, &v, depth);
        if (!value)
            return -1;
        r->path[path_len] = '\0';
        add_item(map, key, value);
    }
}

static struct yaml_node *read_value(struct reader *r, const yaml_event_t *e, int depth)
{
    struct yaml_node *node = NULL;

    if (e->type == YAML_SCALAR_EVENT && !is_special(e) && r->count < YAML_NODES_MAX) {
        r->count++;
        return read_scalar(r, e);
    }
    node = node_at(r, e->type == YAML_SEQUENCE_START_EVENT ? YAML_LIST : YAML_MAP, e);
    if (is_special(e))
        (void)yaml_fault(r->y, node, r->path, not_used);
    else if (r->count++ >= YAML_NODES_MAX)
        (void)yaml_fault(r->y, node, r->path, "the file has over %d values", YAML_NODES_MAX);
    else if (depth >= YAML_DEPTH_MAX)
        (void)yaml_fault(r->y, node, r->path, "nested deeper than %d", YAML_DEPTH_MAX);
    else if (node->kind == YAML_LIST)
        return read_list(r, node, depth + 1) < 0 ? NULL : node;
    else
        return read_map(r, node, depth + 1) < 0 ? NULL : node;
    return NULL;
}

/* The one document of a file, which is a map; NULL after a fault. */
static struct yaml_node *read_document(struct reader *r, const yaml_event_t *start)
{
    CLEANUP(yaml_event_delete) yaml_event_t e = {0}, end = {0}, behind = {0};
    struct yaml_node *root;

    if (start->data.document_start.version_directive ||
        start->data.document_start.tag_directives.start !=
            start->data.document_start.tag_directives.end) {
        (void)yaml_fault(r->y, node_at(r, YAML_MAP, start), "", not_used);
        return NULL;
    }
    if (next_event(r, &e) < 0)
        return NULL;
    root = read_value(r, &e, 0);
    if (!root || next_event(r, &end) < 0 || next_event(r, &behind) < 0)
        return NULL;
    if (behind.type != YAML_STREAM_END_EVENT) {
        (void)yaml_fault(r->y, node_at(r, YAML_MAP, &behind), "",
                         "a second document begins here; a file holds one");
        return NULL;
    }
    if (root->kind != YAML_MAP) {
        (void)yaml_fault(r->y, root, "", "the file must be a map of keys and values");
        return NULL;
    }
    return root;
}

static struct yaml_node *read_stream(struct reader *r)
{
    CLEANUP(yaml_event_delete) yaml_event_t stream = {0}, first = {0};

    if (next_event(r, &stream) < 0 || next_event(r, &first) < 0)
        return NULL;
    if (first.type == YAML_STREAM_END_EVENT)
        return node_at(r, YAML_MAP, &stream);
    return read_document(r, &first);
}

struct yaml_node *yaml_parse(struct yaml *y, const char *file, const char *text, size_t n)
{
    struct reader r = {.y = y, .file = keep_name(y, file), .text = text};
    struct yaml_node *root;

    if (!yaml_parser_initialize(&r.parser)) {
        (void)yaml_fault(y, NULL, file, "no memory to read it");
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    root = read_stream(&r);
    yaml_parser_delete(&r.parser);
    return root;
}

struct yaml_node *yaml_read(struct yaml *y, const char *file)
{
    auto_free char *text = NULL;
    struct err e = {0};
    size_t n;

    if (io_read_file(file, YAML_FILE_MAX, &text, &n, &e) < 0) {
        (void)yaml_fault(y, NULL, "", "%s", e.msg);
        return NULL;
    }
    return yaml_parse(y, file, text, n);
}
