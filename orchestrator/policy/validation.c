/*
 * What a policy refuses before anything runs. Only the worker can read Python; here the rules are
 * bound, checked and written down for it, once for all runs.
 */
#include "policy/validation.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "policy/policy.h"
#include "policy/syntax.h"

/* Far more than the limits of the keys add up to. */
enum { TEXT_MAX = 64 << 20 };

bool validation_is_import(const char *s)
{
    return strcmp(s, "*") == 0 || syntax_module(s);
}

static bool is_identifier(const char *s)
{
    return syntax_module(s) && !strchr(s, '.');
}

/* NAME or *.METHOD, and (write), (outside) or (write outside) behind it. */
static bool is_call(const char *s)
{
    static const char *const conditions[] = {"", "(write)", "(outside)", "(write outside)"};
    const char *start = str_starts(s, "*.") ? s + 2 : s;
    size_t n = strcspn(start, "(");
    auto_free char *name = xstrndup(start, n);

    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        if (strcmp(start + n, conditions[i]) == 0)
            return start == s ? syntax_module(name) : is_identifier(name);
    }
    return false;
}

/* Words in braces that the worker would not replace are mistakes; other braces are text. */
static bool is_message(const char *s)
{
    static const char *const places[] = {"{n}", "{m}", "{x}", "{root}", "{line}", "{msg}"};

    for (s = strchr(s, '{'); s; s = strchr(s + 1, '{')) {
        size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz");
        bool is_known = !n || s[n + 1] != '}';

        for (size_t i = 0; i < ARRAY_LEN(places); i++)
            is_known = is_known || str_starts(s, places[i]);
        if (!is_known)
            return false;
    }
    return true;
}

static const struct yaml_syntax identifier = {is_identifier, "a name such as eval"};
static const struct yaml_syntax call = {
    is_call, "a function such as os.system, open(write), *.to_csv(outside)"};
static const struct yaml_syntax message = {
    is_message, "a text with {n}, {m}, {x}, {root}, {line} or {msg} where it applies"};

/* clang-format off */
#define AT(m) .offset = offsetof(struct policy, rules.m)
#define MESSAGE(k, text, d) {.key = #k, .type = YAML_TEXT, AT(messages.on_##k), .syntax = &message, .initial = "\"" text "\"", .doc = d}

static const struct yaml_field messages_table[] = {
    MESSAGE(empty,      "Code payload is empty", "for validation.empty"),
    MESSAGE(bytes,      "Code payload is {n} bytes; limit is {m} bytes", "{n} is what it has, {m} the limit"),
    MESSAGE(characters, "Code payload is {n} characters; limit is {m} characters", "the same"),
    MESSAGE(parse,      "Code failed to parse: {msg}", "{msg} is the parser's word; {line} here and below"),
    MESSAGE(nodes,      "Code is too complex ({n} AST nodes); limit is {m}", "for validation.nodes"),
    MESSAGE(depth,      "Code is nested too deeply ({n} levels); limit is {m}", "for validation.depth"),
    MESSAGE(import,     "Import of '{x}' is not permitted", "{x} is the module, {root} the first part of its name"),
    MESSAGE(from,       "Import of '{x}' is not permitted", "the same where it is written as from … import"),
    MESSAGE(relative,   "Relative imports are not permitted", "for validation.relative"),
    MESSAGE(dynamic,    "Import of a computed module name is not permitted", "for validation.dynamic"),
    MESSAGE(name,       "Use of '{x}' is not allowed in sandbox", "for validation.names"),
    MESSAGE(attribute,  "Attribute '{x}' is not allowed in sandbox", "for validation.attributes"),
    MESSAGE(call,       "Call to '{x}' is not allowed", "for validation.calls"),
    {0},
};

const struct yaml_field validation_table[] = {
    {.key = "bytes",      .type = YAML_SIZE,    AT(bytes), .initial = "0", .min = 0, .max = 64.0 * 1024 * 1024, .doc = "[comfort] a longer program is refused; 0 = any length"},
    {.key = "characters", .type = YAML_INTEGER, AT(characters), .initial = "0", .min = 0, .max = 1e8, .doc = "[comfort] the same in characters"},
    {.key = "nodes",      .type = YAML_INTEGER, AT(nodes), .initial = "0", .min = 0, .max = 1e8, .doc = "[comfort] nodes of the syntax tree, as ast.walk counts them; 0 = any number"},
    {.key = "depth",      .type = YAML_INTEGER, AT(depth), .initial = "0", .min = 0, .max = 100000, .doc = "[comfort] levels of the syntax tree; 0 = as many as the interpreter bears"},
    {.key = "empty",      .type = YAML_BOOL,    AT(empty), .initial = "true", .doc = "[comfort] false refuses programs without a word in them"},
    {.key = "unparsed",   .type = YAML_BOOL,    AT(unparsed), .initial = "true", .doc = "[comfort] false refuses what does not parse; else it fails with a traceback, as any program"},
    {.key = "relative",   .type = YAML_BOOL,    AT(relative), .initial = "true", .doc = "[comfort] false refuses relative imports"},
    {.key = "dynamic",    .type = YAML_BOOL,    AT(dynamic), .initial = "true", .doc = "[comfort] false refuses __import__ and importlib with a name that is computed"},
    {.key = "names",      .type = YAML_TEXTS,   AT(names), .max = 1000, .syntax = &identifier, .doc = "[comfort] variables that it may neither read nor set, such as eval"},
    {.key = "attributes", .type = YAML_TEXTS,   AT(attributes), .max = 1000, .syntax = &identifier, .doc = "[comfort] attributes that it may not use, such as __globals__"},
    {.key = "calls",      .type = YAML_TEXTS,   AT(calls), .max = 1000, .syntax = &call, .doc = "[comfort] functions that it may not call: eval, os.system, *.METHOD of anything; (write) behind it: only in a writing mode, (outside): on a path outside the work directory, (write outside): both"},
    {.key = "status",     .type = YAML_INTEGER, AT(status), .initial = "200", .min = 200, .max = 499, .doc = "[comfort] HTTP status of the executor's reply where a program is refused"},
    {.key = "messages",   .type = YAML_TABLE,   .table = messages_table, .doc = "what the client is told"},
    {0},
};

/* clang-format on */

static bool has_text(char *const *list, const char *text, size_t n)
{
    for (; *list; list++) {
        if (strlen(*list) == n && memcmp(*list, text, n) == 0)
            return true;
    }
    return false;
}

bool validation_permits(const struct policy *p, const char *module)
{
    for (size_t n = strlen(module); n; n--) {
        if (module[n] && module[n] != '.')
            continue;
        if (has_text(p->imports_block, module, n))
            return false;
        if (has_text(p->imports_allow, module, n))
            return true;
    }
    return !p->imports_allow[0] || has_text(p->imports_allow, "*", 1);
}

/* ---- the text ---- */

static void put_key(struct buf *b, const char *key)
{
    if (b->len && buf_get(b)[b->len - 1] != '{')
        (void)buf_char(b, ',');
    json_put_str(b, key, strlen(key));
    (void)buf_char(b, ':');
}

static void put_list(struct buf *b, const char *key, char *const *list)
{
    put_key(b, key);
    (void)buf_char(b, '[');
    for (size_t i = 0; list[i]; i++) {
        if (i)
            (void)buf_char(b, ',');
        json_put_str(b, list[i], strlen(list[i]));
    }
    (void)buf_char(b, ']');
}

static void put_member(struct buf *b, const struct yaml_field *f, const char *at)
{
    const void *member = at + f->offset;

    if (f->type == YAML_TEXTS) {
        put_list(b, f->key, *(char *const *const *)member);
        return;
    }
    put_key(b, f->key);
    if (f->type == YAML_BOOL)
        (void)buf_str(b, *(const bool *)member ? "true" : "false");
    else if (f->type == YAML_TEXT)
        json_put_str(b, *(char *const *)member, strlen(*(char *const *)member));
    else
        (void)buf_fmt(b, "%" PRId64, *(const int64_t *)member);
}

static void put_members(struct buf *b, const struct yaml_field *table, const struct policy *p)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        if (f->type != YAML_TABLE) {
            put_member(b, f, (const char *)p);
            continue;
        }
        put_key(b, f->key);
        (void)buf_char(b, '{');
        put_members(b, f->table, p);
        (void)buf_char(b, '}');
    }
}

static bool has_rules(const struct policy *p)
{
    const struct policy_validation *v = &p->rules;
    bool has_limits = v->bytes || v->characters || v->nodes || v->depth;
    bool has_switches = !v->empty || !v->unparsed || !v->relative || !v->dynamic;
    bool has_lists = p->imports_allow[0] || p->imports_block[0] || v->names[0] ||
                     v->attributes[0] || v->calls[0];

    return has_limits || has_switches || has_lists;
}

char *validation_text(const struct policy *p)
{
    CLEANUP(buf_done) struct buf b = {.max = TEXT_MAX};

    if (!has_rules(p))
        return NULL;
    (void)buf_char(&b, '{');
    put_members(&b, validation_table, p);
    put_key(&b, "imports");
    (void)buf_char(&b, '{');
    put_list(&b, "allow", p->imports_allow);
    put_list(&b, "block", p->imports_block);
    (void)buf_str(&b, "}}");
    assert(!b.is_full);
    return buf_take(&b);
}
