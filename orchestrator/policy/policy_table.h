#ifndef POLICY_POLICY_TABLE_H
#define POLICY_POLICY_TABLE_H

#include "base/yaml_bind.h"

/* Every key of a policy. Members that no row fills: name, file, seccomp_json, validation, env,
   hash, key. */
extern const struct yaml_field policy_table[];

#endif
