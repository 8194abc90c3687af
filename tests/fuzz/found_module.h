#ifndef TESTS_FOUND_MODULE_H
#define TESTS_FOUND_MODULE_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/mem.h"
#include "base/yaml_bind.h"
#include "tools/catalogue.h"
#include "tools/config.h"

/* A module of a tools file that says nothing but its name: what it has comes from a stranger. */
struct found {
    struct tools_config *config;
    struct tool_module *module;
};

static inline struct found found_begin(void)
{
    static struct yaml_pair none[1];
    static char empty[] = "", *texts[] = {NULL}, name[] = "data";
    static struct module_config about = {.name = name,
                                         .doc = empty,
                                         .url = empty,
                                         .openapi = empty,
                                         .mcp = empty,
                                         .headers = none,
                                         .query = none,
                                         .include = texts,
                                         .exclude = texts};
    struct found f = {.config = xcalloc(1, sizeof(*f.config))};

    atomic_init(&f.config->refs, 1);
    f.module = tool_module_new(f.config, &about);
    return f;
}

/* What programs are told of it is JSON. */
static inline void found_check(const struct found *f)
{
    struct toolset *set = toolset_new(1);
    auto_free char *catalogue = NULL;

    toolset_add(set, f->module);
    catalogue = catalogue_make(set, NULL);
    assert(json_scan_passed_on(catalogue, strlen(catalogue), SIZE_MAX, NULL) == 0);
    toolset_drop(set);
}

static inline void found_end(struct found *f)
{
    tool_module_drop(f->module);
    free(f->config);
}

#endif
