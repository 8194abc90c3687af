#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* ---- writing ---- */

/* A quoted JSON string. Bytes that are not UTF-8 become U+FFFD, so the result is always valid. */
void json_put_str(struct buf *b, const char *s, size_t n);

/* The same without quotes, for valid UTF-8 only (JSON_ESCAPE_MAX times `n` at the most). */
enum { JSON_ESCAPE_MAX = 6 };
size_t json_escape(char *out, const char *s, size_t n);

/* A JSON number; null for NaN and infinities. */
void json_put_real(struct buf *b, double v);

/* ---- reading objects by table ---- */

enum json_type { JSON_TEXT, JSON_INT, JSON_REAL, JSON_BOOL, JSON_ITEM };

/* One key bound to one member. Tables are static const. */
struct json_field {
    const char *key;
    enum json_type type;
    size_t offset;
    bool is_required;
    double min, max; /* JSON_INT and JSON_REAL: range; JSON_TEXT: max is the byte limit, 0 = none */
};

/* clang-format off */
#define JSON_FIELD_TEXT(s, m, k, req, limit) {.key = (k), .type = JSON_TEXT, .offset = offsetof(struct s, m), .is_required = (req), .max = (limit)}
#define JSON_FIELD_INT(s, m, k, req, lo, hi) {.key = (k), .type = JSON_INT, .offset = offsetof(struct s, m), .is_required = (req), .min = (lo), .max = (hi)}
#define JSON_FIELD_REAL(s, m, k, req, lo, hi) {.key = (k), .type = JSON_REAL, .offset = offsetof(struct s, m), .is_required = (req), .min = (lo), .max = (hi)}
#define JSON_FIELD_BOOL(s, m, k, req) {.key = (k), .type = JSON_BOOL, .offset = offsetof(struct s, m), .is_required = (req)}
#define JSON_FIELD_ITEM(s, m, k, req) {.key = (k), .type = JSON_ITEM, .offset = offsetof(struct s, m), .is_required = (req)}
/* clang-format on */

/* What was wrong with a field, for dialects that have their own words for it. */
enum json_problem { JSON_FINE, JSON_MISSING, JSON_WRONG_TYPE, JSON_OUT_OF_RANGE };

struct json_fault {
    const struct json_field *field; /* NULL: the value is not an object */
    enum json_problem problem;
    const cJSON *found; /* NULL when missing; borrowed from the object */
};

/*
 * Fills `out` (members: const char *, int64_t, double, bool, const cJSON *) from `object` in the
 * order of the table and stops at the first fault. Missing and null optional keys leave the
 * member as it is. Strings and items are borrowed from `object`. `fault` may be NULL.
 */
int json_bind(const cJSON *object, const struct json_field *table, size_t n, void *out,
              struct json_fault *fault, struct err *err) MUST_CHECK;

/* A text member, borrowed from `object`; "" where there is none. `object` may be NULL. */
const char *json_get_text(const cJSON *object, const char *key);

DEFINE_CLEANUP(cJSON *, cJSON_Delete)

#endif
