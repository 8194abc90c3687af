#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* What is refused before anything of a program runs: 0, true and empty lists refuse nothing. */
struct policy_validation {
    int64_t bytes, characters, nodes, depth;
    int64_t status;                          /* of HTTP */
    bool empty, unparsed, relative, dynamic; /* permitted */
    char **names, **attributes, **calls;
    struct {
        char *on_empty, *on_bytes, *on_characters, *on_parse, *on_nodes, *on_depth;
        char *on_import, *on_from, *on_relative, *on_dynamic, *on_name, *on_attribute, *on_call;
    } messages;
};

#endif
