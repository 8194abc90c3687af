#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { PIECE = 4096 };

size_t json_escape(char *out, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char *o = out;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
            *o++ = s[i];
            continue;
        }
        *o++ = '\\';
        if (c == '"' || c == '\\') {
            *o++ = s[i];
        } else if (c < sizeof(shorts) && shorts[c]) {
            *o++ = shorts[c];
        } else {
            memcpy(o, "u00", 3);
            o[3] = hex[c >> 4];
            o[4] = hex[c & 15];
            o += 5;
        }
    }
    return (size_t)(o - out);
}

static size_t escaped_length(const char *s, size_t n)
{
    char one[JSON_ESCAPE_MAX];
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += json_escape(one, s + i, 1);
    return len;
}

static void put_escaped(struct buf *b, const char *s, size_t n)
{
    size_t most = JSON_ESCAPE_MAX * n;
    char *room;

    /* Near the buffer's end only the exact length tells whether it fits. */
    if (most > b->max - b->len)
        most = escaped_length(s, n);
    room = buf_room(b, most);
    if (room)
        buf_commit(b, json_escape(room, s, n));
}

void json_put_str(struct buf *b, const char *s, size_t n)
{
    struct utf8_repair repair = {0};
    char fixed[UTF8_REPAIR_MAX(PIECE)];

    (void)buf_char(b, '"');
    for (size_t i = 0; i < n; i += PIECE) {
        size_t take = n - i < PIECE ? n - i : PIECE;

        put_escaped(b, fixed, utf8_repair_feed(&repair, s + i, take, fixed));
    }
    put_escaped(b, fixed, utf8_repair_flush(&repair, fixed));
    (void)buf_char(b, '"');
}

void json_put_real(struct buf *b, double v)
{
    char text[40];

    if (!isfinite(v)) {
        (void)buf_str(b, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    (void)buf_str(b, text);
}

static int fault_set(struct json_fault *fault, const struct json_field *f, enum json_problem p,
                     const cJSON *found)
{
    if (fault)
        *fault = (struct json_fault){.field = f, .problem = p, .found = found};
    return -1;
}

static enum json_problem bind_number(const cJSON *item, const struct json_field *f, char *at)
{
    double d = cJSON_GetNumberValue(item);
    int64_t v;

    if (!cJSON_IsNumber(item) || (f->type == JSON_INT && d != floor(d)))
        return JSON_WRONG_TYPE;
    if (!(d >= f->min && d <= f->max))
        return JSON_OUT_OF_RANGE;
    if (f->type == JSON_INT && !(d >= -0x1p63 && d < 0x1p63))
        return JSON_OUT_OF_RANGE; /* the cast below would be undefined */
    if (f->type == JSON_REAL) {
        memcpy(at, &d, sizeof(d));
        return JSON_FINE;
    }
    v = (int64_t)d;
    memcpy(at, &v, sizeof(v));
    return JSON_FINE;
}

static enum json_problem bind_one(const cJSON *item, const struct json_field *f, char *at)
{
    const char *s;
    bool b;

    switch (f->type) {
    case JSON_TEXT:
        s = cJSON_GetStringValue(item);
        if (!s)
            return JSON_WRONG_TYPE;
        if (f->max > 0 && (double)strlen(s) > f->max)
            return JSON_OUT_OF_RANGE;
        memcpy(at, &s, sizeof(s));
        return JSON_FINE;
    case JSON_INT:
    case JSON_REAL:
        return bind_number(item, f, at);
    case JSON_BOOL:
        if (!cJSON_IsBool(item))
            return JSON_WRONG_TYPE;
        b = cJSON_IsTrue(item);
        memcpy(at, &b, sizeof(b));
        return JSON_FINE;
    case JSON_ITEM:
        memcpy(at, &item, sizeof(item));
        return JSON_FINE;
    }
    return JSON_WRONG_TYPE;
}

static const char *type_words(enum json_type type)
{
    static const char *const words[] = {"a string", "an integer", "a number", "true or false",
                                        "a value"};

    return words[type];
}

static int explain(const struct json_field *f, enum json_problem p, struct err *err)
{
    if (p == JSON_WRONG_TYPE)
        return err_set(err, ERR_INVALID, "'%s' must be %s", f->key, type_words(f->type));
    if (f->type == JSON_TEXT)
        return err_set(err, ERR_LIMIT, "'%s' is longer than %.0f bytes", f->key, f->max);
    return err_set(err, ERR_INVALID, "'%s' must be %.15g..%.15g", f->key, f->min, f->max);
}

int json_bind(const cJSON *object, const struct json_field *table, size_t n, void *out,
              struct json_fault *fault, struct err *err)
{
    if (!cJSON_IsObject(object)) {
        (void)err_set(err, ERR_INVALID, "body must be a JSON object");
        return fault_set(fault, NULL, JSON_WRONG_TYPE, object);
    }
    for (size_t i = 0; i < n; i++) {
        const struct json_field *f = &table[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->key);
        enum json_problem p;

        if (!item && f->is_required) {
            (void)err_set(err, ERR_INVALID, "'%s' is required", f->key);
            return fault_set(fault, f, JSON_MISSING, NULL);
        }
        if (!item || (cJSON_IsNull(item) && !f->is_required))
            continue;
        p = bind_one(item, f, (char *)out + f->offset);
        if (p != JSON_FINE) {
            (void)explain(f, p, err);
            return fault_set(fault, f, p, item);
        }
    }
    return 0;
}

const char *json_get_text(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

    return text ? text : "";
}
