#ifndef BASE_JSON_SIEVE_H
#define BASE_JSON_SIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/spool.h"

/*
 * Takes a JSON text in any split through json_scan and copies it for cJSON, except that strings at
 * given paths are decoded from base64 as they come, each into a spool of its own. In the copy such
 * a string is its number: 0 for the first, and so on. What is copied is exact but for numbers of
 * more than 60 characters, which many versions of cJSON cut at 63 (CVE-2023-26819): they are
 * written as the nearest double.
 *
 * Base64 is the standard alphabet with padding; white space in it is skipped. A value at such a
 * path that is no string is refused by name.
 *
 * Beside the copy and the spools it holds a few KiB, whatever the text. One thread at a time.
 */
enum { JSON_SIEVE_PATHS = 16, JSON_SIEVE_STEPS = 8 };

struct json_sieve_options {
    /*
     * Ends with NULL, at most JSON_SIEVE_PATHS; NULL: none. Keys joined by dots, "[]" for any
     * element of an array: "files[].b64_data", "[].data", "image". At most JSON_SIEVE_STEPS steps.
     */
    const char *const *paths;
    const char *spool_dir; /* as for spool_init */
    size_t text_max;       /* bytes of the copy */
    size_t tokens_max;     /* values and keys */
    size_t blobs_max;      /* how many strings are diverted */
    uint64_t blob_max;     /* bytes of each, decoded */
    uint64_t total_max;    /* bytes of all, decoded */
    bool replaces_nul;     /* \u0000, which no C string can hold, becomes U+FFFD; else refused */
};

struct json_sieve;

/* Options and what they point to are borrowed until json_sieve_free. */
struct json_sieve *json_sieve_new(const struct json_sieve_options *o);
void json_sieve_free(struct json_sieve *s);

/*
 * ERR_INVALID in the scanner's words, or naming the path; ERR_LIMIT when a bound is passed;
 * ERR_BUSY when the disk for spools is full.
 */
int json_sieve_feed(struct json_sieve *s, const char *data, size_t n, struct err *err) MUST_CHECK;
int json_sieve_end(struct json_sieve *s, struct err *err) MUST_CHECK;

/* The copy, whole after json_sieve_end; the caller may buf_done it early. */
struct buf *json_sieve_text(struct json_sieve *s);

/*
 * Bytes of memory that what came so far costs at most, cJSON's tree of it included (measured with
 * cJSON 1.7.15 and glibc: a value and its key are three allocations of 144 bytes in all, and their
 * texts).
 */
size_t json_sieve_held(const struct json_sieve *s);

size_t json_sieve_blobs(const struct json_sieve *s);

/* Number `i`, NULL past the last. Borrowed; its content may be moved out. */
struct spool *json_sieve_blob(struct json_sieve *s, size_t i);

DEFINE_CLEANUP(struct json_sieve *, json_sieve_free)

#endif
