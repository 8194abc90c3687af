#include "base/json_scan.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/json_keys.h"
#include "base/json_str.h"
#include "base/mem.h"
#include "base/utf8.h"

/*
 * A state machine with one step function per state. A step takes at least one byte or changes the
 * state; it finds its bytes between `p` and `chunk_end` and leaves what it needs later in the
 * struct, so that any split of the text gives the same result.
 */

enum state {
    AT_VALUE,       /* a value must come */
    AT_FIRST_VALUE, /* a value or ] */
    AT_FIRST_KEY,   /* a key or } */
    AT_KEY,
    AT_COLON,
    AT_COMMA, /* behind a value inside an object or array */
    AT_DONE,  /* behind the outermost value */
    IN_STRING,
    IN_NUMBER,
    IN_WORD,
};

enum { KEY_SHOWN = 40, ESCAPED_SHOWN = 80 }; /* bytes of a key that an error repeats */

/* A place in the text, for errors. */
struct place {
    size_t offset, line, column;
};

struct json_scan {
    const struct json_scan_sink *sink;
    void *ctx;
    struct err failure; /* kind ERR_NONE while all is well */

    enum state state;
    unsigned depth;
    char open[JSON_SCAN_DEPTH];       /* { or [ */
    uint64_t serial[JSON_SCAN_DEPTH]; /* of the object, for its keys' hashes */
    uint64_t serials;                 /* given so far */
    size_t tokens, max_tokens;

    const char *p, *chunk, *chunk_end;
    const char *mark;    /* first byte of the chunk not yet given to sink->text; NULL: paused */
    size_t chunk_offset; /* of `chunk` in the text */
    size_t line, line_offset, line_extra; /* extra: continuation bytes since the line began */

    struct place token; /* where the current string, number or word began */
    bool is_key, is_diverted, takes_nul;
    struct json_str str;
    const char *word;
    size_t word_len;
    char number[JSON_SCAN_DIGITS + 1];
    size_t number_len;

    char key[JSON_SCAN_KEY];
    size_t key_len;
    uint64_t key_hash;
    struct json_keys keys;
};

/* ---- errors ---- */

static struct place here(const struct json_scan *s)
{
    size_t offset = s->chunk_offset + (size_t)(s->p - s->chunk);

    return (struct place){offset, s->line, offset - s->line_offset - s->line_extra + 1};
}

/* Always -1. The text goes into `failure`, which the feeding call hands to its caller. */
static int fail_at(struct json_scan *s, struct place at, enum err_kind kind, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static int fail_at(struct json_scan *s, struct place at, enum err_kind kind, const char *fmt, ...)
{
    char what[ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    what[ERR_MSG_MAX - 80] = '\0';
    return err_set(&s->failure, kind, "%s: line %zu column %zu (byte %zu)", what, at.line,
                   at.column, at.offset);
}

static int expected(struct json_scan *s, const char *what)
{
    return fail_at(s, here(s), ERR_INVALID, "Expecting %s", what);
}

/* A sink refused without a word of its own would make a failure look like success. */
static int refused(struct json_scan *s)
{
    if (s->failure.kind == ERR_NONE)
        (void)err_set(&s->failure, ERR_INTERNAL, "the reader refused the text");
    return -1;
}

/* ---- what goes to the sink as it came ---- */

static int flush_text(struct json_scan *s)
{
    size_t n = s->mark ? (size_t)(s->p - s->mark) : 0;

    s->mark = s->p;
    if (n == 0 || !s->sink->text)
        return 0;
    if (s->sink->text(s->ctx, s->p - n, n, &s->failure) < 0)
        return refused(s);
    return 0;
}

static int pause_text(struct json_scan *s)
{
    if (flush_text(s) < 0)
        return -1;
    s->mark = NULL;
    return 0;
}

/* ---- duplicate keys ---- */

static int duplicate_key(struct json_scan *s)
{
    char shown[JSON_ESCAPE_MAX * KEY_SHOWN];
    size_t n = s->key_len < KEY_SHOWN ? s->key_len : KEY_SHOWN;

    n = json_escape(shown, s->key, utf8_cut(s->key, n));
    if (n > ESCAPED_SHOWN)
        n = utf8_cut(shown, ESCAPED_SHOWN);
    return fail_at(s, s->token, ERR_INVALID, "Duplicate key \"%.*s\"", (int)n, shown);
}

static int end_key(struct json_scan *s)
{
    s->state = AT_COLON;
    if (!json_keys_add(&s->keys, s->key_hash))
        return duplicate_key(s);
    if (s->sink->key)
        s->sink->key(s->ctx, s->key, s->key_len);
    return 0;
}

/* ---- strings ---- */

static int string_bytes(struct json_scan *s, const char *bytes, size_t n)
{
    if (s->is_key) {
        size_t room = s->key_len < JSON_SCAN_KEY ? JSON_SCAN_KEY - s->key_len : 0;

        if (room)
            memcpy(s->key + s->key_len, bytes, n < room ? n : room);
        s->key_len += n;
        s->key_hash = json_keys_hash(&s->keys, s->key_hash, bytes, n);
        return 0;
    }
    if (s->is_diverted && s->sink->data && s->sink->data(s->ctx, bytes, n, &s->failure) < 0)
        return refused(s);
    return 0;
}

static void after_value(struct json_scan *s)
{
    s->state = s->depth ? AT_COMMA : AT_DONE;
}

static int end_string(struct json_scan *s)
{
    if (s->is_key)
        return end_key(s);
    if (s->is_diverted) {
        s->is_diverted = false;
        s->mark = s->p;
        if (s->sink->data_end && s->sink->data_end(s->ctx, &s->failure) < 0)
            return refused(s);
    }
    after_value(s);
    return 0;
}

static int bad_string(struct json_scan *s)
{
    struct place at = here(s);

    at.offset -= s->str.problem_back;
    at.column -= s->str.problem_back;
    return fail_at(s, at, ERR_INVALID, "%s", s->str.problem);
}

static int in_string(struct json_scan *s)
{
    const struct json_str *t = &s->str;

    switch (json_str_step(&s->str, &s->p, s->chunk_end)) {
    case JSON_STR_MORE:
        return 0;
    case JSON_STR_PIECE:
        if (t->piece == (const char *)t->held)
            s->line_extra += t->piece_len - 1;
        return string_bytes(s, t->piece, t->piece_len);
    case JSON_STR_END:
        return end_string(s);
    case JSON_STR_BAD:
        break;
    }
    return bad_string(s);
}

/* ---- numbers and words ---- */

static const char *skip_digits(const char *c)
{
    while (*c >= '0' && *c <= '9')
        c++;
    return c;
}

static bool is_number(const char *c)
{
    const char *from;

    c += *c == '-';
    from = c;
    c = skip_digits(c);
    if (c == from || (*from == '0' && c > from + 1))
        return false;
    if (*c == '.') {
        from = ++c;
        c = skip_digits(c);
        if (c == from)
            return false;
    }
    if (*c == 'e' || *c == 'E') {
        c++;
        c += *c == '+' || *c == '-';
        from = c;
        c = skip_digits(c);
        if (c == from)
            return false;
    }
    return *c == '\0';
}

static int end_number(struct json_scan *s)
{
    s->number[s->number_len] = '\0';
    if (!is_number(s->number))
        return fail_at(s, s->token, ERR_INVALID, "Invalid number");
    /* No locale is ever set, so strtod reads a point. */
    if (!isfinite(strtod(s->number, NULL)))
        return fail_at(s, s->token, ERR_INVALID, "Number out of range");
    s->mark = s->p;
    after_value(s);
    if (s->sink->number && s->sink->number(s->ctx, s->number, s->number_len, &s->failure) < 0)
        return refused(s);
    return 0;
}

static int in_number(struct json_scan *s)
{
    for (; s->p < s->chunk_end; s->p++) {
        if (!*s->p || !strchr("0123456789+-.eE", *s->p))
            return end_number(s);
        if (s->number_len == JSON_SCAN_DIGITS)
            return fail_at(s, s->token, ERR_INVALID, "Number longer than %d characters",
                           JSON_SCAN_DIGITS);
        s->number[s->number_len++] = *s->p;
    }
    return 0;
}

static int in_word(struct json_scan *s)
{
    if (*s->p != s->word[s->word_len])
        return fail_at(s, s->token, ERR_INVALID, "Expecting value");
    s->p++;
    if (!s->word[++s->word_len])
        after_value(s);
    return 0;
}

/* ---- structure ---- */

static int count_token(struct json_scan *s)
{
    if (s->tokens >= s->max_tokens)
        return fail_at(s, here(s), ERR_LIMIT, "More than %zu values and keys", s->max_tokens);
    s->tokens++;
    s->token = here(s);
    return 0;
}

static void begin_string(struct json_scan *s, bool is_key)
{
    s->is_key = is_key;
    s->p++;
    json_str_init(&s->str);
    s->str.takes_nul = s->takes_nul;
    s->state = IN_STRING;
}

static int begin_key(struct json_scan *s)
{
    if (*s->p != '"')
        return expected(s, "property name enclosed in double quotes");
    if (count_token(s) < 0)
        return -1;
    s->key_len = 0;
    s->key_hash = s->serial[s->depth - 1];
    begin_string(s, true);
    return 0;
}

static int open_container(struct json_scan *s)
{
    if (s->depth == JSON_SCAN_DEPTH)
        return fail_at(s, here(s), ERR_INVALID, "Nesting deeper than %d levels", JSON_SCAN_DEPTH);
    s->state = *s->p == '{' ? AT_FIRST_KEY : AT_FIRST_VALUE;
    s->serial[s->depth] = s->serials++;
    s->open[s->depth++] = *s->p++;
    return 0;
}

static int close_container(struct json_scan *s)
{
    s->p++;
    s->depth--;
    after_value(s);
    if (s->sink->end)
        s->sink->end(s->ctx);
    return 0;
}

static bool kind_of(char c, enum json_scan_kind *ret_kind)
{
    if (c == '"')
        *ret_kind = JSON_SCAN_STRING;
    else if (c == '{')
        *ret_kind = JSON_SCAN_OBJECT;
    else if (c == '[')
        *ret_kind = JSON_SCAN_ARRAY;
    else if (c == '-' || (c >= '0' && c <= '9'))
        *ret_kind = JSON_SCAN_NUMBER;
    else if (c == 't' || c == 'f' || c == 'n')
        *ret_kind = JSON_SCAN_WORD;
    else
        return false;
    return true;
}

static int begin_value(struct json_scan *s)
{
    enum json_scan_kind kind = JSON_SCAN_WORD;
    bool divert = false;

    if (!kind_of(*s->p, &kind))
        return expected(s, "value");
    if (count_token(s) < 0)
        return -1;
    if (s->sink->begin && s->sink->begin(s->ctx, kind, &divert, &s->failure) < 0)
        return refused(s);
    switch (kind) {
    case JSON_SCAN_OBJECT:
    case JSON_SCAN_ARRAY:
        return open_container(s);
    case JSON_SCAN_STRING:
        s->is_diverted = divert;
        if (divert && pause_text(s) < 0)
            return -1;
        begin_string(s, false);
        return 0;
    case JSON_SCAN_NUMBER:
        s->number_len = 0;
        s->state = IN_NUMBER;
        return pause_text(s);
    case JSON_SCAN_WORD:
        s->word = *s->p == 't' ? "true" : *s->p == 'f' ? "false" : "null";
        s->word_len = 0;
        s->state = IN_WORD;
        return 0;
    }
    return refused(s);
}

static int at_value(struct json_scan *s)
{
    static const unsigned char bom = 0xEF;

    if ((unsigned char)*s->p == bom && here(s).offset == 0)
        return fail_at(s, here(s), ERR_INVALID, "Unexpected UTF-8 BOM");
    return begin_value(s);
}

static int at_first_value(struct json_scan *s)
{
    return *s->p == ']' ? close_container(s) : begin_value(s);
}

static int at_first_key(struct json_scan *s)
{
    return *s->p == '}' ? close_container(s) : begin_key(s);
}

static int at_colon(struct json_scan *s)
{
    if (*s->p != ':')
        return expected(s, "':' delimiter");
    s->p++;
    s->state = AT_VALUE;
    return 0;
}

static int at_comma(struct json_scan *s)
{
    bool is_object = s->open[s->depth - 1] == '{';

    if (*s->p == (is_object ? '}' : ']'))
        return close_container(s);
    if (*s->p != ',')
        return expected(s, "',' delimiter");
    s->p++;
    s->state = is_object ? AT_KEY : AT_VALUE;
    return 0;
}

static int at_done(struct json_scan *s)
{
    return fail_at(s, here(s), ERR_INVALID, "Extra data");
}

static bool skip_space(struct json_scan *s)
{
    for (; s->p < s->chunk_end; s->p++) {
        if (*s->p == '\n') {
            s->line++;
            s->line_offset = s->chunk_offset + (size_t)(s->p - s->chunk) + 1;
            s->line_extra = 0;
        } else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r') {
            return true;
        }
    }
    return false;
}

/* ---- the public face ---- */

static int step(struct json_scan *s)
{
    static int (*const steps[])(struct json_scan *) = {
        [AT_VALUE] = at_value,         [AT_FIRST_VALUE] = at_first_value,
        [AT_FIRST_KEY] = at_first_key, [AT_KEY] = begin_key,
        [AT_COLON] = at_colon,         [AT_COMMA] = at_comma,
        [AT_DONE] = at_done,           [IN_STRING] = in_string,
        [IN_NUMBER] = in_number,       [IN_WORD] = in_word,
    };

    if (s->state <= AT_DONE && !skip_space(s))
        return 0;
    return steps[s->state](s);
}

static int hand_over(const struct json_scan *s, struct err *err)
{
    if (err)
        *err = s->failure;
    return -1;
}

size_t json_scan_tokens(const struct json_scan *s)
{
    return s->tokens;
}

struct json_scan *json_scan_new(size_t max_tokens, const struct json_scan_sink *sink, void *ctx)
{
    static const struct json_scan_sink nobody = {0};
    struct json_scan *s = xcalloc(1, sizeof(*s));

    s->sink = sink ? sink : &nobody;
    s->ctx = ctx;
    s->max_tokens = max_tokens;
    s->line = 1;
    s->serials = 1;
    json_keys_init(&s->keys);
    return s;
}

void json_scan_free(struct json_scan *s)
{
    if (!s)
        return;
    json_keys_done(&s->keys);
    free(s);
}

int json_scan_feed(struct json_scan *s, const char *data, size_t n, struct err *err)
{
    bool is_paused = s->is_diverted || s->state == IN_NUMBER;

    if (s->failure.kind != ERR_NONE)
        return hand_over(s, err);
    if (n == 0)
        return 0;
    s->p = s->chunk = data;
    s->chunk_end = data + n;
    s->mark = is_paused ? NULL : data;
    while (s->p < s->chunk_end) {
        if (step(s) < 0)
            return hand_over(s, err);
    }
    if (s->mark && flush_text(s) < 0)
        return hand_over(s, err);
    s->chunk_offset += n;
    s->p = s->chunk = s->chunk_end = NULL;
    return 0;
}

static int end_early(struct json_scan *s)
{
    static const char *const missing[] = {
        [AT_VALUE] = "value",
        [AT_FIRST_VALUE] = "value",
        [AT_FIRST_KEY] = "property name enclosed in double quotes",
        [AT_KEY] = "property name enclosed in double quotes",
        [AT_COLON] = "':' delimiter",
        [AT_COMMA] = "',' delimiter",
    };

    if (s->chunk_offset == 0)
        return expected(s, "value, the text is empty");
    if (s->state <= AT_COMMA)
        return expected(s, missing[s->state]);
    if (s->state == IN_WORD)
        return fail_at(s, s->token, ERR_INVALID, "Expecting value");
    return fail_at(s, s->token, ERR_INVALID, "Unterminated string starting at");
}

int json_scan_end(struct json_scan *s, struct err *err)
{
    if (s->failure.kind != ERR_NONE)
        return hand_over(s, err);
    if (s->state == IN_NUMBER && end_number(s) < 0)
        return hand_over(s, err);
    if (s->state == AT_DONE)
        return 0;
    (void)end_early(s);
    return hand_over(s, err);
}

static int scan_all(struct json_scan *s, const char *data, size_t n, struct err *err)
{
    return json_scan_feed(s, data, n, err) < 0 ? -1 : json_scan_end(s, err);
}

int json_scan_passed_on(const char *data, size_t n, size_t max_tokens, struct err *err)
{
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(max_tokens, NULL, NULL);

    s->takes_nul = true;
    return scan_all(s, data, n, err);
}

int json_scan_text(const char *data, size_t n, size_t max_tokens, struct err *err)
{
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(max_tokens, NULL, NULL);

    return scan_all(s, data, n, err);
}
