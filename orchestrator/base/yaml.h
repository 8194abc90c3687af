#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * YAML that people write by hand, as a tree that remembers where everything stood. Only the plain
 * part of the language is read: maps, lists and scalars. Anchors, aliases, tags, directives, second
 * documents and repeated keys are refused, and so is what is over these limits.
 */
enum {
    YAML_FILE_MAX = 1 << 20,
    YAML_DEPTH_MAX = 16,
    YAML_NODES_MAX = 10000,
    YAML_TEXT_MAX = 64 * 1024, /* one scalar, after expansion */
    YAML_PATH_MAX = 128,       /* a dotted key */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

/* Everything in a node is borrowed from its struct yaml. */
struct yaml_node {
    enum yaml_kind kind;
    const char *file;
    int line, column;        /* from 1; line 0: it did not stand in a file, `file` says where */
    bool is_plain;           /* SCALAR: without quotes, or with a variable in it */
    bool is_secret;          /* SCALAR: with a ${secret:NAME} in it */
    bool is_null;            /* SCALAR: nothing was written, or null or ~ */
    char *text;              /* SCALAR: UTF-8 without NUL */
    size_t n, cap;           /* LIST, MAP: entries */
    struct yaml_node **keys; /* MAP */
    struct yaml_node **items;
    struct yaml_node *next; /* chain of all nodes */
};

/*
 * One load: the nodes of all its files, and everything that was wrong in them. Not thread-safe.
 * Faults are collected, so that people see all of them at once; whoever loads asks for the count
 * at the end.
 */
struct yaml {
    struct yaml_node *nodes;
    struct buf faults; /* one line each: "file:line:column: 'key': what is wrong" */
    size_t faults_n;   /* how many were noted, repeated ones too */
    int64_t ram;       /* what a share of the machine's memory counts from */

    /* What `${secret:NAME}` stands for; NULL: there is none. Without the function there are none. */
    const char *(*secret)(void *ctx, const char *name);
    void *ctx;
};

void yaml_init(struct yaml *y);
void yaml_done(struct yaml *y);

/*
 * Reads a file, or a text with a NUL behind it (`file` is copied for messages). In every scalar
 * value `${NAME}` and `${NAME:-default}` are replaced by environment variables (the default also
 * where the variable is empty), `${secret:NAME}` by what `secret` gives, `$$` is a dollar. An empty
 * file is an empty map. NULL when faults were added.
 */
struct yaml_node *yaml_read(struct yaml *y, const char *file);
struct yaml_node *yaml_parse(struct yaml *y, const char *file, const char *text, size_t n);

/* A plain scalar that stood in no file, such as an environment variable; `from` is copied. */
struct yaml_node *yaml_scalar(struct yaml *y, const char *from, const char *text);

/* An empty map that is said to stand where `at` does, and a further entry (lists: no key). */
struct yaml_node *yaml_map(struct yaml *y, const struct yaml_node *at);
void yaml_put(struct yaml_node *map, struct yaml_node *key, struct yaml_node *value);

/* The value of a key, NULL when absent or `map` is none. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* The same for a path like "memory.max"; yaml_near goes as deep as there is something. */
struct yaml_node *yaml_find(const struct yaml_node *root, const char *path);
const struct yaml_node *yaml_near(const struct yaml_node *root, const char *path);

/*
 * Notes that something is wrong at `at` (may be NULL) with the dotted `key` ("" = none). A line
 * that is already there is not repeated: files that others extend are looked at many times.
 * Returns -1.
 */
int yaml_fault(struct yaml *y, const struct yaml_node *at, const char *key, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* 0 when there is no fault; else -1 and the first one in `err`, ERR_INVALID. */
int yaml_result(const struct yaml *y, struct err *err) MUST_CHECK;

/* The text is what YAML takes for "no value": null or ~. */
bool yaml_is_null_word(const char *text);

#endif
