#ifndef BASE_YAML_BIND_H
#define BASE_YAML_BIND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/yaml.h"

/* What a key holds, and the member it fills. */
enum yaml_type {
    YAML_TEXT,    /* char *, never NULL */
    YAML_BOOL,    /* bool: true or false */
    YAML_INTEGER, /* int64_t, decimal */
    YAML_REAL,    /* double; "50%" is 0.5 */
    YAML_SIZE,    /* int64_t, bytes; see units_size */
    YAML_TIME,    /* int64_t, milliseconds; see units_time */
    YAML_WORD,    /* int or enum, one of `words` */
    YAML_TEXTS,   /* char **, NULL-terminated, never NULL */
    YAML_PAIRS,   /* struct yaml_pair *, ends with name NULL, never NULL; a map of texts */
    YAML_TABLE,   /* a map with a table of its own over the same struct */
    YAML_RECORDS, /* array of structs and its length: a list of maps */
    YAML_CUSTOM,  /* whatever `custom` makes of it */
    YAML_CALLER,  /* read by the caller from the tree; neither bound nor printed */
};

/* A key of a YAML_PAIRS map and its text, both owned by whoever owns the array. */
struct yaml_pair {
    char *name, *value;
};

/* What "50%" is a share of. */
enum yaml_share { YAML_OF_NOTHING, YAML_OF_RAM, YAML_OF_MEMBER };

/* Rows end with name NULL. The first name of a value is the one that is printed. */
struct yaml_word {
    const char *name;
    int value;
};

/* What a text must look like. */
struct yaml_syntax {
    bool (*is_valid)(const char *text);
    const char *expects; /* "a name such as …", behind "must be" */
};

struct yaml_custom {
    int (*bind)(struct yaml *y, const struct yaml_node *node, const char *key, void *at);
    void (*print)(struct buf *b, const void *at); /* on one line */
    void (*release)(void *at);
};

/* One key bound to one member. Tables are static const and end with key NULL. */
struct yaml_field {
    const char *key;
    enum yaml_type type;
    bool is_required; /* else `initial` counts, else the member is empty (0, "", no items) */
    size_t offset;
    double min, max; /* numbers; both 0 = any that is not negative. TEXTS, RECORDS: max items */
    enum yaml_share share;
    size_t share_of; /* offset of the int64_t member; its row stands earlier */
    const struct yaml_word *words;
    const struct yaml_syntax *syntax; /* TEXT, TEXTS: each; PAIRS: the names */
    const struct yaml_field *table;   /* TABLE, RECORDS */
    const char *shorthand;            /* TABLE: a scalar stands for this key of the table */
    size_t count_offset, size;        /* RECORDS: size_t length; size of one struct */
    const struct yaml_custom *custom;
    const char *initial; /* YAML */
    const char *env;     /* variables that override the file, first set one counts; "A B" */
    const char *doc;     /* a line without a full stop */
};

/*
 * Fills every member of `out` (zeroed by the caller), each from the environment, else from `map`,
 * else from the row. Unknown keys, wrong types and ranges become faults of `y`; such members stay
 * empty. Release whatever comes of it.
 */
void yaml_bind(struct yaml *y, const struct yaml_field *table, const struct yaml_node *map,
               void *out);
void yaml_release(const struct yaml_field *table, void *out);

/* The same for a yaml_custom that has maps in it: `key` is the dotted key of `map`. */
void yaml_bind_at(struct yaml *y, const struct yaml_field *table, const struct yaml_node *map,
                  const char *key, void *out);

/*
 * The two maps laid over each other: maps of the table are merged key by key, everything else is
 * replaced. Nodes are shared with both.
 */
struct yaml_node *yaml_merge(struct yaml *y, const struct yaml_field *table, struct yaml_node *base,
                             struct yaml_node *over);

/* The struct as YAML that binds to the same again, with `doc` above the keys if asked for. */
void yaml_print(struct buf *b, const struct yaml_field *table, const void *in, bool with_docs);

/* A text, quoted where YAML or `$` needs it; good in flow style too. */
void yaml_print_text(struct buf *b, const char *text);

/* The node's text, borrowed; NULL and a fault when it is no scalar or has no value. */
const char *yaml_text(struct yaml *y, const struct yaml_node *node, const char *key,
                      const char *expects);

#endif
