#ifndef TOOLS_TOOLSET_H
#define TOOLS_TOOLSET_H

#include <cjson/cJSON.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What programs may call, whatever it was made from: definitions, an OpenAPI document, MCP. */

enum {
    TOOL_FUNCTIONS_MAX = 500, /* of a module */
    TOOL_PARAMS_MAX = 64,
    TOOL_DOC_MAX = 4096,
};

/* Where an argument goes. */
enum tool_in {
    TOOL_IN_AUTO, /* only in definitions */
    TOOL_IN_BODY,
    TOOL_IN_QUERY,
    TOOL_IN_PATH,
    TOOL_IN_HEADER,
    TOOL_IN_WHOLE_BODY, /* it is the body */
};

/* How a list or an object is written there. */
enum tool_form {
    TOOL_FORM_PLAIN, /* a=1&a=2, or in a path 1,2; an object as JSON */
    TOOL_FORM_EACH,  /* the same, but each member of an object by its own name */
    TOOL_FORM_COMMA, /* a=1,2 */
    TOOL_FORM_SPACE,
    TOOL_FORM_PIPE,
    TOOL_FORM_DEEP, /* a[k]=1&a[l]=2 */
    TOOL_FORM_JSON, /* whatever it is */
};

enum tool_reply { TOOL_REPLY_JSON, TOOL_REPLY_TEXT, TOOL_REPLY_AUTO /* as its type says */ };

struct tool_param {
    char *name;   /* Python's */
    char *wire;   /* the service's */
    char *doc;    /* "" */
    char *header; /* of MCP, says the value once more; NULL: none */
    enum tool_in in;
    enum tool_form form;
    bool is_required;
    char *initial;      /* JSON of the value that counts when none was given; NULL: none */
    bool sends_initial; /* it is sent then; else the service knows it */
    cJSON *schema;      /* an object */
};

struct tool_function {
    char *name, *wire, *doc;
    char *method, *url;        /* the URL absolute, with "{wire name}" in it; MCP has neither */
    char **headers;            /* lines, NULL-terminated; secrets may stand in them */
    char *query;               /* "key=value&…", encoded; secrets may stand in it */
    struct tool_param *params; /* required ones first */
    size_t params_n;
    bool is_strict, has_body; /* what is not listed goes into the body, else into the query */
    enum tool_reply reply;
    int64_t timeout_ms, reply_max;
    unsigned concurrency;
};

struct tools_config;
struct mcp;

/* Never changes once it is in a set. */
struct tool_module {
    atomic_uint refs;
    const char *name, *doc;            /* of the configuration */
    struct tools_config *config;       /* held */
    const struct module_config *about; /* of the configuration */
    struct tool_function *functions;
    size_t n;
    struct mcp *mcp;  /* NULL: plain HTTP */
    unsigned skipped; /* of what was found */
};

/* A set of modules at one moment. */
struct toolset {
    atomic_uint refs;
    struct tool_module **modules; /* held; a source that was never reached has none */
    size_t n;
};

/* `about` is one of the configuration's modules, which is held. One reference is the caller's. */
struct tool_module *tool_module_new(struct tools_config *config, const struct module_config *about);
struct tool_module *tool_module_hold(struct tool_module *m);
void tool_module_drop(struct tool_module *m);

/* A further function with the module's limits, borrowed; NULL when there are too many. */
struct tool_function *tool_module_add(struct tool_module *m);
struct tool_param *tool_function_add(struct tool_function *f);

/* Says in the log that what was found under that name cannot be used; of many only the first. */
void tool_module_skip(struct tool_module *m, const char *name, const char *why);

/* False, and `why` filled: it has a name twice. Puts required parameters first. */
bool tool_module_seal(struct tool_module *m, struct err *why);

/* NULL: it has none of that name. Borrowed. */
const struct tool_function *tool_module_find(const struct tool_module *m, const char *name);

/* Drops the function that was added last. */
void tool_module_undo(struct tool_module *m);

struct toolset *toolset_new(size_t room);
void toolset_add(struct toolset *s, struct tool_module *m); /* holds it */
struct toolset *toolset_hold(struct toolset *s);
void toolset_drop(struct toolset *s);

struct tool_module *toolset_module(const struct toolset *s, const char *name);

/* "module.function"; `ret_module` is borrowed as long as the set is held. NULL: there is none. */
const struct tool_function *toolset_find(const struct toolset *s, const char *name,
                                         struct tool_module **ret_module);

DEFINE_CLEANUP(struct toolset *, toolset_drop)
DEFINE_CLEANUP(struct tool_module *, tool_module_drop)

#endif
