#ifndef TOOLS_CONFIG_TABLE_H
#define TOOLS_CONFIG_TABLE_H

#include "base/yaml_bind.h"

/* Every key of the tools' file, over struct tools_config. */
extern const struct yaml_field tools_table[];

/* Names of a parameter's type, as JSON Schema has them; "any" is the first. */
extern const struct yaml_word param_types[];

#endif
