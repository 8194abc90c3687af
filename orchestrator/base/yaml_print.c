/* The way back: structs that were bound by a table, as YAML, and what they own, to the heap. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/utf8.h"
#include "base/yaml_bind.h"

enum { INDENT = 2, PLAIN_MAX = 80 };

/* ---- texts ---- */

static bool is_plain_safe(const char *s)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    size_t n = strlen(s);

    return n && n <= PLAIN_MAX && *s != '-' && strspn(s, safe) == n && !yaml_is_null_word(s);
}

/*
 * Characters of two and three bytes that YAML would fold, skip or refuse inside quotes: the second
 * set of control characters, line and paragraph separator, the byte order mark, non-characters.
 */
static bool is_troublesome(const unsigned char *s, int n, unsigned *ret_code)
{
    if (n == 2)
        *ret_code = (s[0] & 0x1FU) << 6 | (s[1] & 0x3FU);
    else
        *ret_code = (s[0] & 0x0FU) << 12 | (s[1] & 0x3FU) << 6 | (s[2] & 0x3FU);
    return *ret_code < 0xA0 || *ret_code == 0x2028 || *ret_code == 0x2029 || *ret_code == 0xFEFF ||
           *ret_code >= 0xFFFE;
}

static int put_char(struct buf *b, const unsigned char *s, size_t left)
{
    int n = utf8_step(s, left);
    unsigned code;

    if (n < 1) {
        (void)buf_str(b, "\\uFFFD");
        return 1;
    }
    if (*s == '"' || *s == '\\')
        (void)buf_fmt(b, "\\%c", *s);
    else if (*s == '$')
        (void)buf_str(b, "$$");
    else if (*s < 0x20 || *s == 0x7F)
        (void)buf_fmt(b, "\\x%02X", *s);
    else if ((n == 2 || n == 3) && is_troublesome(s, n, &code))
        (void)buf_fmt(b, "\\u%04X", code);
    else
        (void)buf_add(b, s, (size_t)n);
    return n;
}

void yaml_print_text(struct buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    if (is_plain_safe(text)) {
        (void)buf_str(b, text);
        return;
    }
    (void)buf_char(b, '"');
    for (size_t left = strlen(text); left;) {
        int n = put_char(b, s, left);

        s += n;
        left -= (size_t)n;
    }
    (void)buf_char(b, '"');
}

/* ---- values ---- */

static void print_texts(struct buf *b, char *const *texts)
{
    (void)buf_char(b, '[');
    for (size_t i = 0; texts[i]; i++) {
        (void)buf_str(b, i ? ", " : "");
        yaml_print_text(b, texts[i]);
    }
    (void)buf_char(b, ']');
}

static void print_pairs(struct buf *b, const struct yaml_pair *pairs)
{
    (void)buf_char(b, '{');
    for (size_t i = 0; pairs[i].name; i++) {
        (void)buf_fmt(b, "%s%s: ", i ? ", " : "", pairs[i].name);
        yaml_print_text(b, pairs[i].value);
    }
    (void)buf_char(b, '}');
}

static const char *word_of(const struct yaml_word *words, int value)
{
    while (words->name && words->value != value)
        words++;
    return words->name ? words->name : "";
}

static void print_number(struct buf *b, const struct yaml_field *f, const char *at)
{
    int64_t v;
    double real;

    memcpy(&v, at, sizeof(v));
    memcpy(&real, at, sizeof(real));
    if (f->type == YAML_SIZE)
        units_put_size(b, v);
    else if (f->type == YAML_TIME)
        units_put_time(b, v);
    else if (f->type == YAML_REAL)
        json_put_real(b, real);
    else
        (void)buf_fmt(b, "%lld", (long long)v);
}

static void print_value(struct buf *b, const struct yaml_field *f, const char *at)
{
    void *p;
    int word;
    bool is_on;

    switch (f->type) {
    case YAML_TEXT:
        memcpy(&p, at, sizeof(p));
        yaml_print_text(b, p);
        return;
    case YAML_BOOL:
        memcpy(&is_on, at, sizeof(is_on));
        (void)buf_str(b, is_on ? "true" : "false");
        return;
    case YAML_INTEGER:
    case YAML_REAL:
    case YAML_SIZE:
    case YAML_TIME:
        print_number(b, f, at);
        return;
    case YAML_WORD:
        memcpy(&word, at, sizeof(word));
        (void)buf_str(b, word_of(f->words, word));
        return;
    case YAML_TEXTS:
        memcpy(&p, at, sizeof(p));
        print_texts(b, p);
        return;
    case YAML_PAIRS:
        memcpy(&p, at, sizeof(p));
        print_pairs(b, p);
        return;
    case YAML_CUSTOM:
        f->custom->print(b, at);
        return;
    case YAML_TABLE:
    case YAML_RECORDS:
    case YAML_CALLER:
        return;
    }
}

/* One record on one line; a record's table holds no further tables or records. */
static void print_record(struct buf *b, const struct yaml_field *table, const char *in)
{
    (void)buf_char(b, '{');
    for (const struct yaml_field *f = table; f->key; f++) {
        (void)buf_fmt(b, "%s%s: ", f == table ? "" : ", ", f->key);
        print_value(b, f, in + f->offset);
    }
    (void)buf_char(b, '}');
}

static size_t get_records(const struct yaml_field *f, const char *in, char **ret_records)
{
    size_t n;

    memcpy(ret_records, in + f->offset, sizeof(*ret_records));
    memcpy(&n, in + f->count_offset, sizeof(n));
    return n;
}

static void print_records(struct buf *b, const struct yaml_field *f, const char *in, int indent)
{
    char *records;
    size_t n = get_records(f, in, &records);

    for (size_t i = 0; i < n; i++) {
        (void)buf_fmt(b, "\n%*s- ", indent, "");
        print_record(b, f->table, records + i * f->size);
    }
    if (!n)
        (void)buf_str(b, " []");
}

static void print_table(struct buf *b, const struct yaml_field *table, const char *in, int indent,
                        bool with_docs)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        if (f->type == YAML_CALLER)
            continue;
        if (with_docs && f->doc)
            (void)buf_fmt(b, "%*s# %s\n", indent, "", f->doc);
        (void)buf_fmt(b, "%*s%s:", indent, "", f->key);
        if (f->type == YAML_TABLE) {
            (void)buf_char(b, '\n');
            print_table(b, f->table, in, indent + INDENT, with_docs);
            continue;
        }
        if (f->type == YAML_RECORDS) {
            print_records(b, f, in, indent + INDENT);
        } else {
            (void)buf_char(b, ' ');
            print_value(b, f, in + f->offset);
        }
        (void)buf_char(b, '\n');
    }
}

void yaml_print(struct buf *b, const struct yaml_field *table, const void *in, bool with_docs)
{
    print_table(b, table, in, 0, with_docs);
}

/* ---- release ---- */

static void release_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

static void release_pairs(struct yaml_pair *pairs)
{
    for (size_t i = 0; pairs && pairs[i].name; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

static void release_records(const struct yaml_field *f, char *out)
{
    char *records;
    size_t n = get_records(f, out, &records);

    for (size_t i = 0; i < n; i++)
        yaml_release(f->table, records + i * f->size);
    free(records);
    records = NULL;
    n = 0;
    memcpy(out + f->offset, &records, sizeof(records));
    memcpy(out + f->count_offset, &n, sizeof(n));
}

static void release_pointer(const struct yaml_field *f, char *at)
{
    void *p;

    memcpy(&p, at, sizeof(p));
    memset(at, 0, sizeof(p));
    if (f->type == YAML_TEXTS)
        release_texts(p);
    else if (f->type == YAML_PAIRS)
        release_pairs(p);
    else
        free(p);
}

void yaml_release(const struct yaml_field *table, void *out)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        char *at = (char *)out + f->offset;

        if (f->type == YAML_TABLE)
            yaml_release(f->table, out);
        else if (f->type == YAML_RECORDS)
            release_records(f, out);
        else if (f->type == YAML_CUSTOM)
            f->custom->release(at);
        else if (f->type == YAML_TEXT || f->type == YAML_TEXTS || f->type == YAML_PAIRS)
            release_pointer(f, at);
    }
}
