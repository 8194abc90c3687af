#ifndef TOOLS_SCHEMA_H
#define TOOLS_SCHEMA_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * Values against the part of JSON Schema that says something before anything is sent: type, enum,
 * const, ranges, lengths, pattern, items, properties, required, allOf, anyOf, oneOf, nullable.
 * What is not known is not checked: the service decides. Work is bounded, whatever the two are.
 */

/* `name` is what the value is called: "argument 'limit' must be at most 100". ERR_INVALID. */
int schema_check(const cJSON *schema, const cJSON *value, const char *name,
                 struct err *err) MUST_CHECK;

/* "string", "integer", "number", "boolean", "array", "object" or "any"; static storage. */
const char *schema_type(const cJSON *schema);

/* Whether null may be said. */
bool schema_takes_null(const cJSON *schema);

#endif
