#ifndef TOOLS_PYNAME_H
#define TOOLS_PYNAME_H

#include <stdbool.h>

/* Names of modules, functions and parameters as Python takes them. All ASCII. */

enum { PYNAME_MAX = 120 };

bool pyname_is_valid(const char *s); /* an identifier, no keyword, up to PYNAME_MAX */

/* No name of a module that programs import from Python itself, and not `tools`. */
bool pyname_is_module(const char *s);

/* A name that a tool may have: valid, not one that its module has already, no dunder. */
bool pyname_is_function(const char *s);

/*
 * What a service's name becomes: `-`, `.`, `/` and blanks are `_`, other characters are dropped, a
 * leading digit gets a `_`, and what may not be a name gets `_tool` (a parameter `_`) behind it.
 * NULL when nothing is left. The caller frees.
 */
char *pyname_function(const char *name);
char *pyname_parameter(const char *name);

#endif
