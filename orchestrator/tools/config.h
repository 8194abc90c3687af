#ifndef TOOLS_CONFIG_H
#define TOOLS_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tools/files.h"
#include "tools/toolset.h"

struct yaml;
struct yaml_pair;

/* The file of the tools as it was written: modules with functions, or with a place to find them. */

struct param_config {
    char *name, *doc;
    int type; /* a row of param_types */
    enum tool_in in;
    bool is_required;
    char *initial, *choices, *min, *max, *schema; /* JSON, NULL: not said */
    char *pattern;
    int64_t length_min, length_max; /* characters or items; length_max 0: no limit */
};

struct function_config {
    char *name, *doc, *path, *url;
    char *method;
    struct yaml_pair *headers;
    struct param_config *params;
    size_t params_n;
    enum tool_reply reply;
    bool is_strict;
    int64_t timeout_ms, reply_max, concurrency; /* 0: the module's */
};

struct module_config {
    char *name, *doc, *url;
    struct yaml_pair *headers, *query; /* secrets may stand in both */
    struct function_config *functions;
    size_t functions_n;
    char *openapi, *mcp; /* a URL, or a file beside this one; "" */
    char **include,
        **exclude; /* of what is found; the service's names, "*" at the end is any rest */
    int64_t timeout_ms, reply_max, concurrency;
    bool uses_proxy; /* the one of the environment */
};

struct tools_config {
    atomic_uint refs;
    struct module_config *modules;
    size_t n;
    struct secrets *secrets;
};

/*
 * Reads the file anew; what is wrong becomes a fault of `y`, and the result NULL. No file where none
 * needs to be is no module.
 */
struct tools_config *tools_config_read(struct yaml *y, const struct tools_files *files);
struct tools_config *tools_config_hold(struct tools_config *c);
void tools_config_drop(struct tools_config *c);

/* The module of a configuration that lists its functions; the caller's reference. */
struct tool_module *tools_config_module(struct tools_config *c, const struct module_config *about);

/* What every call to that module's service sends: header lines and query, made once for each function. */
char **tools_config_headers(const struct module_config *about, const struct yaml_pair *more);
char *tools_config_query(const struct module_config *about);

/* Whether both find the same functions, and call them at the same place. */
bool tools_config_is_same_source(const struct module_config *a, const struct module_config *b);

/* Whether a tool that was found is wanted. */
bool tools_config_wants(const struct module_config *about, const char *name);

#endif
