#ifndef POLICY_VALIDATION_H
#define POLICY_VALIDATION_H

#include <stdbool.h>

#include "base/yaml_bind.h"

struct policy;

/* The key `validation` of a policy: what is refused before anything of a program runs. */
extern const struct yaml_field validation_table[];

/* "*" or a module. */
bool validation_is_import(const char *s);

/* Whether a program may import the module, by imports.allow and imports.block. */
bool validation_permits(const struct policy *p, const char *module);

/*
 * The rules as the worker reads them (images/worker/validate.py), the META member "validation";
 * NULL when the policy has none. Caller frees.
 */
char *validation_text(const struct policy *p);

#endif
