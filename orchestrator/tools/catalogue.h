#ifndef TOOLS_CATALOGUE_H
#define TOOLS_CATALOGUE_H

#include "tools/toolset.h"

/* The JSON of tools_catalogue; `allowed` as in a policy, NULL: everything. The caller frees. */
char *catalogue_make(const struct toolset *set, char *const *allowed);

#endif
