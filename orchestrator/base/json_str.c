#include "base/json_str.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

enum state {
    PLAIN,
    SEQUENCE, /* inside a UTF-8 sequence of several bytes */
    ESCAPE,   /* behind a backslash */
    HEX,      /* inside the four digits of \u */
    LOW,      /* behind a high surrogate: its partner's backslash must come, */
    LOW_U,    /* and then its u */
};

void json_str_init(struct json_str *t)
{
    *t = (struct json_str){.state = PLAIN};
}

/* `back` as Python's json module points: at the backslash, or behind it for four bad digits. */
static enum json_str_step bad(struct json_str *t, const char *problem, size_t back)
{
    t->problem = problem;
    t->problem_back = back;
    return JSON_STR_BAD;
}

static enum json_str_step piece(struct json_str *t, const char *bytes, size_t n)
{
    t->state = PLAIN;
    t->escape_len = 0;
    t->piece = bytes;
    t->piece_len = n;
    return JSON_STR_PIECE;
}

static bool stands_for_itself(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

static enum json_str_step plain(struct json_str *t, const char **p, const char *end)
{
    const char *run = *p;

    while (*p < end && stands_for_itself(**p))
        ++*p;
    if (*p > run)
        return piece(t, run, (size_t)(*p - run));
    if (**p == '"') {
        ++*p;
        return JSON_STR_END;
    }
    if ((unsigned char)**p < 0x20)
        return bad(t, "Invalid control character at", 0);
    if (**p == '\\') {
        t->state = ESCAPE;
        t->escape_len = 1;
        ++*p;
        return JSON_STR_MORE;
    }
    t->held_len = 0;
    t->state = SEQUENCE;
    return JSON_STR_MORE;
}

static enum json_str_step sequence(struct json_str *t, const char **p)
{
    int step;

    t->held[t->held_len++] = (unsigned char)**p;
    step = utf8_step(t->held, t->held_len);
    if (step < 0)
        return bad(t, "Invalid UTF-8", t->held_len - 1);
    ++*p;
    if (step == 0)
        return JSON_STR_MORE;
    return piece(t, (const char *)t->held, t->held_len);
}

static enum json_str_step escape(struct json_str *t, const char **p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = **p ? strchr(from, **p) : NULL;

    if (**p == 'u') {
        t->hex = t->hex_len = 0;
        t->state = HEX;
        t->escape_len++;
        ++*p;
        return JSON_STR_MORE;
    }
    if (!found)
        return bad(t, "Invalid \\escape", 1);
    ++*p;
    return piece(t, &to[found - from], 1);
}

static size_t put_utf8(char *out, unsigned v)
{
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;

    for (size_t i = n - 1; i > 0; i--, v >>= 6)
        out[i] = (char)(0x80 | (v & 63));
    out[0] = (char)(leads[n] | v);
    return n;
}

static enum json_str_step end_hex(struct json_str *t)
{
    bool is_low = t->hex >= 0xDC00 && t->hex <= 0xDFFF;
    unsigned v = t->hex;

    if (is_low != (t->high != 0))
        return bad(t, "Lone surrogate in \\uXXXX escape", t->escape_len);
    if (v == 0 && !t->takes_nul)
        return bad(t, "NUL character in a string", t->escape_len);
    if (v >= 0xD800 && v <= 0xDBFF) {
        t->high = v;
        t->state = LOW;
        return JSON_STR_MORE;
    }
    if (is_low)
        v = 0x10000 + ((t->high & 0x3FF) << 10) + (v & 0x3FF);
    t->high = 0;
    return piece(t, t->bytes, put_utf8(t->bytes, v));
}

static enum json_str_step hex(struct json_str *t, const char **p)
{
    static const char digits[] = "0123456789abcdef";
    char c = **p >= 'A' && **p <= 'F' ? (char)(**p | 32) : **p;
    const char *found = c ? strchr(digits, c) : NULL;

    if (!found)
        return bad(t, "Invalid \\uXXXX escape", t->hex_len + 1);
    t->hex = t->hex << 4 | (unsigned)(found - digits);
    t->escape_len++;
    ++*p;
    return ++t->hex_len == 4 ? end_hex(t) : JSON_STR_MORE;
}

static enum json_str_step low(struct json_str *t, const char **p)
{
    if (**p != (t->state == LOW ? '\\' : 'u'))
        return bad(t, "Lone surrogate in \\uXXXX escape", t->escape_len);
    if (t->state == LOW_U)
        t->hex = t->hex_len = 0;
    t->state = t->state == LOW ? LOW_U : HEX;
    t->escape_len++;
    ++*p;
    return JSON_STR_MORE;
}

static enum json_str_step step(struct json_str *t, const char **p, const char *end)
{
    switch ((enum state)t->state) {
    case PLAIN:
        return plain(t, p, end);
    case SEQUENCE:
        return sequence(t, p);
    case ESCAPE:
        return escape(t, p);
    case HEX:
        return hex(t, p);
    case LOW:
    case LOW_U:
        return low(t, p);
    }
    return bad(t, "Invalid state", 0);
}

enum json_str_step json_str_step(struct json_str *t, const char **p, const char *end)
{
    enum json_str_step got = JSON_STR_MORE;

    while (*p < end && got == JSON_STR_MORE)
        got = step(t, p, end);
    return got;
}
