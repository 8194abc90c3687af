#ifndef POLICY_SETTINGS_TABLE_H
#define POLICY_SETTINGS_TABLE_H

#include "base/yaml_bind.h"

/* Every key of the settings. `file` is filled by no row; `listeners` must stand in the map. */
extern const struct yaml_field settings_table[];

/* YAML: what `listeners` is where the file has none. */
extern const char settings_listeners[];

#endif
