#include "base/json_sieve.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"

enum { PIECE = 4096, NUMBER_MAX = 60, NUL_LEN = 6 };

/* One step of a path: a key, or any element of an array (key NULL). */
struct step {
    const char *key; /* inside the option's text */
    size_t len;
};

struct path {
    struct step steps[JSON_SIEVE_STEPS];
    unsigned n;
};

/*
 * While the text passes, `open[d]` says for the container at depth d which paths (one bit each)
 * begin as the way to it does; `here` the same for the member whose key came last. The outermost
 * value counts as the element of an array at depth 0 that all paths lead to.
 */
enum { TOKEN_BYTES = 80 };

struct json_sieve {
    const struct json_sieve_options *o;
    struct json_scan *scan;
    struct path paths[JSON_SIEVE_PATHS];
    unsigned n_paths;

    uint32_t open[JSON_SCAN_DEPTH + 2], here;
    bool is_array[JSON_SCAN_DEPTH + 2];
    unsigned depth;

    struct buf text;
    struct spool *blobs;
    size_t n_blobs;
    size_t held; /* bytes of blobs that are in memory */
    uint64_t total;
    const char *name; /* path of the string that is diverted now */
    size_t nul_held;  /* bytes of an escaped NUL at the end of what came; not yet scanned */
    struct base64_dec decoder;
};

static void compile(struct path *p, const char *text)
{
    while (*text) {
        struct step *step = &p->steps[p->n];

        assert(p->n < JSON_SIEVE_STEPS);
        p->n++;
        if (str_starts(text, "[]")) {
            text += 2;
        } else {
            step->key = text;
            step->len = strcspn(text, ".[");
            text += step->len;
        }
        text += *text == '.';
    }
}

/* Whether path `i` goes on with `key` (NULL: an element) inside the container at this depth. */
static bool goes_on(const struct json_sieve *s, unsigned i, const char *key, size_t n)
{
    const struct path *p = &s->paths[i];
    const struct step *step;

    if (p->n < s->depth)
        return false;
    step = &p->steps[s->depth - 1];
    if (!key || !step->key)
        return !key && !step->key;
    return step->len == n && n <= JSON_SCAN_KEY && memcmp(step->key, key, n) == 0;
}

static void on_key(void *ctx, const char *key, size_t n)
{
    struct json_sieve *s = ctx;

    s->here = 0;
    for (unsigned i = 0; i < s->n_paths; i++) {
        if ((s->open[s->depth] >> i & 1) && goes_on(s, i, key, n))
            s->here |= UINT32_C(1) << i;
    }
}

static void enter(struct json_sieve *s, uint32_t reach, bool is_array)
{
    s->depth++;
    s->is_array[s->depth] = is_array;
    s->open[s->depth] = reach;
    if (!is_array)
        return;
    for (unsigned i = 0; i < s->n_paths; i++) {
        if (!goes_on(s, i, NULL, 0))
            s->open[s->depth] &= ~(UINT32_C(1) << i);
    }
}

static void on_end(void *ctx)
{
    struct json_sieve *s = ctx;

    s->depth--;
}

static int begin_blob(struct json_sieve *s, const char *name, struct err *err)
{
    if (s->n_blobs >= s->o->blobs_max)
        return err_set(err, ERR_LIMIT, "more than %zu values at '%s'", s->o->blobs_max, name);
    /* Grows by doubling: powers of two are where the array is full. */
    if ((s->n_blobs & (s->n_blobs - 1)) == 0)
        s->blobs = xarray(s->blobs, s->n_blobs ? 2 * s->n_blobs : 1, sizeof(*s->blobs));
    spool_init(&s->blobs[s->n_blobs++], s->o->spool_dir);
    s->decoder = (struct base64_dec){0};
    s->name = name;
    return 0;
}

static int on_begin(void *ctx, enum json_scan_kind kind, bool *divert, struct err *err)
{
    struct json_sieve *s = ctx;
    uint32_t reach = s->is_array[s->depth] ? s->open[s->depth] : s->here;

    for (unsigned i = 0; i < s->n_paths; i++) {
        if (!(reach >> i & 1) || s->paths[i].n != s->depth)
            continue;
        if (kind != JSON_SCAN_STRING)
            return err_set(err, ERR_INVALID, "'%s' must be a base64 string", s->o->paths[i]);
        *divert = true;
        return begin_blob(s, s->o->paths[i], err);
    }
    if (kind == JSON_SCAN_OBJECT || kind == JSON_SCAN_ARRAY)
        enter(s, reach, kind == JSON_SCAN_ARRAY);
    return 0;
}

static size_t in_memory(const struct spool *blob)
{
    return blob->fd < 0 ? blob->mem_len : 0;
}

static int keep(struct json_sieve *s, const unsigned char *bytes, size_t n, struct err *err)
{
    struct spool *blob = &s->blobs[s->n_blobs - 1];
    size_t before = in_memory(blob);

    s->total += n;
    if (blob->size + n > s->o->blob_max)
        return err_set(err, ERR_LIMIT, "'%s' is larger than %" PRIu64 " bytes", s->name,
                       s->o->blob_max);
    if (s->total > s->o->total_max)
        return err_set(err, ERR_LIMIT, "the values at '%s' are larger than %" PRIu64 " bytes",
                       s->name, s->o->total_max);
    if (spool_add(blob, bytes, n, err) < 0)
        return -1;
    s->held += in_memory(blob) - before; /* less, once they are on disk */
    return 0;
}

static int on_data(void *ctx, const char *bytes, size_t n, struct err *err)
{
    struct json_sieve *s = ctx;
    unsigned char out[PIECE];
    size_t take, got;

    for (; n; bytes += take, n -= take) {
        take = n < PIECE ? n : PIECE;
        if (base64_feed(&s->decoder, bytes, take, out, &got, NULL) < 0)
            return err_set(err, ERR_INVALID, "'%s' is not base64", s->name);
        if (keep(s, out, got, err) < 0)
            return -1;
    }
    return 0;
}

static int add_text(struct json_sieve *s, const char *bytes, size_t n, struct err *err)
{
    if (buf_add(&s->text, bytes, n) < 0)
        return err_set(err, ERR_LIMIT, "the JSON text is longer than %zu bytes", s->o->text_max);
    return 0;
}

static int on_text(void *ctx, const char *bytes, size_t n, struct err *err)
{
    return add_text(ctx, bytes, n, err);
}

static int on_data_end(void *ctx, struct err *err)
{
    struct json_sieve *s = ctx;
    char index[24];
    int n = snprintf(index, sizeof(index), "%zu", s->n_blobs - 1);

    if (base64_end(&s->decoder, NULL) < 0)
        return err_set(err, ERR_INVALID, "'%s' ends inside a group of base64", s->name);
    return add_text(s, index, (size_t)n, err);
}

static int on_number(void *ctx, const char *text, size_t n, struct err *err)
{
    char real[40];

    if (n <= NUMBER_MAX)
        return add_text(ctx, text, n, err);
    return add_text(ctx, real, (size_t)snprintf(real, sizeof(real), "%.17g", strtod(text, NULL)),
                    err);
}

struct json_sieve *json_sieve_new(const struct json_sieve_options *o)
{
    static const struct json_scan_sink sink = {
        .begin = on_begin,
        .end = on_end,
        .key = on_key,
        .number = on_number,
        .data = on_data,
        .data_end = on_data_end,
        .text = on_text,
    };
    struct json_sieve *s = xcalloc(1, sizeof(*s));

    s->o = o;
    for (; o->paths && o->paths[s->n_paths]; s->n_paths++) {
        assert(s->n_paths < JSON_SIEVE_PATHS);
        compile(&s->paths[s->n_paths], o->paths[s->n_paths]);
    }
    s->is_array[0] = true;
    s->open[0] = UINT32_MAX;
    buf_init(&s->text, o->text_max);
    s->scan = json_scan_new(o->tokens_max, &sink, s);
    return s;
}

void json_sieve_free(struct json_sieve *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_blobs; i++)
        spool_done(&s->blobs[i]);
    free(s->blobs);
    buf_done(&s->text);
    json_scan_free(s->scan);
    free(s);
}

/* A backslash stands in strings alone, and what follows it is never the first byte of an escape. */
static const char nul[NUL_LEN + 1] = "\\u0000";

static int feed_without_nul(struct json_sieve *s, const char *data, size_t n, struct err *err)
{
    static const char instead[NUL_LEN + 1] = "\\ufffd";
    char out[PIECE + 2 * NUL_LEN];
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        bool goes_on = data[i] == nul[s->nul_held];

        if (!goes_on) {
            memcpy(out + k, nul, s->nul_held);
            k += s->nul_held;
            out[k++] = data[i];
        }
        s->nul_held = goes_on ? s->nul_held + 1 : 0;
        if (s->nul_held == NUL_LEN) {
            memcpy(out + k, instead, NUL_LEN);
            k += NUL_LEN;
            s->nul_held = 0;
        }
        if (k < PIECE && i + 1 < n)
            continue;
        if (json_scan_feed(s->scan, out, k, err) < 0)
            return -1;
        k = 0;
    }
    return 0;
}

int json_sieve_feed(struct json_sieve *s, const char *data, size_t n, struct err *err)
{
    if (s->o->replaces_nul)
        return feed_without_nul(s, data, n, err);
    return json_scan_feed(s->scan, data, n, err);
}

int json_sieve_end(struct json_sieve *s, struct err *err)
{
    if (s->nul_held && json_scan_feed(s->scan, nul, s->nul_held, err) < 0)
        return -1;
    return json_scan_end(s->scan, err);
}

struct buf *json_sieve_text(struct json_sieve *s)
{
    return &s->text;
}

size_t json_sieve_held(const struct json_sieve *s)
{
    return 2 * s->text.len + TOKEN_BYTES * json_scan_tokens(s->scan) + s->held;
}

size_t json_sieve_blobs(const struct json_sieve *s)
{
    return s->n_blobs;
}

struct spool *json_sieve_blob(struct json_sieve *s, size_t i)
{
    return i < s->n_blobs ? &s->blobs[i] : NULL;
}
