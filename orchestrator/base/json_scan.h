#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * A strict reader of JSON (RFC 8259) for texts from outside. It builds nothing: it decides whether
 * a text is good before cJSON, which accepts much that is not JSON, may see it. Bytes come in any
 * split; one pass, no recursion, memory bounded by the number of keys.
 *
 * Refused beyond the grammar: bytes that are not UTF-8, a byte order mark, NUL (raw or \u0000),
 * lone surrogates, duplicate keys in one object (compared after unescaping), numbers that are no
 * finite double or longer than JSON_SCAN_DIGITS, nesting deeper than JSON_SCAN_DEPTH, more values
 * and keys than the caller allows.
 *
 * Errors read as those of Python's json module, because programs that read such texts exist:
 * "Expecting ',' delimiter: line 1 column 9 (byte 8)". Columns count characters from 1, bytes from
 * 0. The kind is ERR_LIMIT for too many values, else ERR_INVALID; a sink's own errors pass as they
 * are. One scanner belongs to one thread at a time.
 */
enum {
    JSON_SCAN_DEPTH = 64,
    JSON_SCAN_DIGITS = 400,
    JSON_SCAN_KEY = 256,
    JSON_SCAN_TOKENS = 200000, /* the usual bound on values and keys */
};

enum json_scan_kind {
    JSON_SCAN_OBJECT,
    JSON_SCAN_ARRAY,
    JSON_SCAN_STRING,
    JSON_SCAN_NUMBER,
    JSON_SCAN_WORD, /* true, false, null */
};

/*
 * What a user of the scanner may watch. Every member MAY be NULL; those that return int return 0,
 * or -1 with `err` filled to refuse the text. Pointers are good for the call alone.
 */
struct json_scan_sink {
    /*
     * A value begins. For a string `*divert` may be set: its bytes then go to `data`, unescaped,
     * in any number of pieces, ended by `data_end`, and not to `text`.
     */
    int (*begin)(void *ctx, enum json_scan_kind kind, bool *divert, struct err *err);

    void (*end)(void *ctx); /* the innermost object or array ends */

    /* A key, unescaped. `n` is the whole length; only the first JSON_SCAN_KEY bytes are there. */
    void (*key)(void *ctx, const char *key, size_t n);

    int (*number)(void *ctx, const char *text, size_t n, struct err *err); /* NUL-terminated */
    int (*data)(void *ctx, const char *bytes, size_t n, struct err *err);
    int (*data_end)(void *ctx, struct err *err);

    /* Everything that is neither number nor diverted: the text as it came, in order. */
    int (*text)(void *ctx, const char *bytes, size_t n, struct err *err);
};

struct json_scan;

/* `sink` (may be NULL) and `ctx` are borrowed until json_scan_free. */
size_t json_scan_tokens(const struct json_scan *s); /* values and keys so far */
struct json_scan *json_scan_new(size_t max_tokens, const struct json_scan_sink *sink, void *ctx);
void json_scan_free(struct json_scan *s);

/* Takes the next bytes. After a failure every later call fails in the same words. */
int json_scan_feed(struct json_scan *s, const char *data, size_t n, struct err *err) MUST_CHECK;

/* The text is over: fails unless exactly one whole value was there. Call once. */
int json_scan_end(struct json_scan *s, struct err *err) MUST_CHECK;

/* The same for a text that is whole in memory. */
int json_scan_text(const char *data, size_t n, size_t max_tokens, struct err *err) MUST_CHECK;

/*
 * The same for JSON that goes on to a client as it is and is never read here: an escaped NUL may
 * stand in it.
 */
int json_scan_passed_on(const char *data, size_t n, size_t max_tokens, struct err *err) MUST_CHECK;

DEFINE_CLEANUP(struct json_scan *, json_scan_free)

#endif
