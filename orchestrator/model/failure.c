#include "model/failure.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "model/runner.h"

enum { PIECE = 65536, LINE_MAX_LEN = 400, WORD_MAX = 24 };

static const char slicks_words[] = "Error fetching data:";

/* ---- reading ends of long texts ---- */

/* Valid UTF-8 without a NUL, whatever the bytes were; `*ret_n` is its length. Caller frees. */
static char *repaired(const char *s, size_t n, size_t *ret_n)
{
    char *out = xmalloc(2 * UTF8_REPAIR_MAX(n));
    struct utf8_repair repair = {0};
    size_t k = utf8_repair_feed(&repair, s, n, out);

    k += utf8_repair_flush(&repair, out + k);
    for (size_t i = 0; i < k; i++) {
        if (out[i] == '\0')
            out[i] = ' ';
    }
    *ret_n = k;
    return out;
}

/* The first `max` bytes, or less: of a text that goes on, in whole characters. */
static void put_head(struct buf *b, const char *s, size_t n, size_t max)
{
    size_t k;
    auto_free char *text = repaired(s, utf8_cut(s, n), &k);

    (void)buf_add(b, text, k > max ? utf8_cut(text, max) : k);
}

static size_t inside_character(const char *s, size_t n)
{
    size_t k = 0;

    while (k < n && k < 3 && ((unsigned char)s[k] & 0xC0) == 0x80)
        k++;
    return k;
}

/* The same of the end of a text that began before. */
static void put_tail(struct buf *b, const char *s, size_t n, size_t max)
{
    size_t skip = inside_character(s, n), k;
    auto_free char *text = repaired(s + skip, n - skip, &k);

    skip = k > max ? k - max : 0;
    skip += skip ? inside_character(text + skip, k - skip) : 0;
    (void)buf_add(b, text + skip, k - skip);
}

static void put_gap(struct buf *b, uint64_t n)
{
    (void)buf_fmt(b, "\n[... %llu bytes left out ...]\n", (unsigned long long)n);
}

static void put_clipped(struct buf *b, const char *text, size_t n, size_t max)
{
    size_t half = max / 2;

    if (n <= max) {
        (void)buf_add(b, text, n);
        return;
    }
    put_head(b, text, half, half);
    put_gap(b, n - 2 * half);
    put_tail(b, text + n - half, half, half);
}

static void put_whole(struct buf *b, const struct spool *s, size_t max)
{
    auto_free char *piece = xmalloc((size_t)s->size + 1), *text = NULL;
    ssize_t got = spool_read(s, 0, piece, (size_t)s->size, NULL);
    size_t n;

    text = repaired(piece, got > 0 ? (size_t)got : 0, &n);
    put_clipped(b, text, n, max); /* repairing makes texts longer */
}

static void put_ends(struct buf *b, const struct spool *s, size_t max)
{
    size_t half = max / 2;
    auto_free char *piece = NULL;
    ssize_t got;

    if (s->size <= max) {
        put_whole(b, s, max);
        return;
    }
    piece = xmalloc(half + 1);
    got = spool_read(s, 0, piece, half, NULL);
    put_head(b, piece, got > 0 ? (size_t)got : 0, half);
    put_gap(b, s->size - 2 * half);
    got = spool_read(s, s->size - half, piece, half, NULL);
    put_tail(b, piece, got > 0 ? (size_t)got : 0, half);
}

char *failure_clip(const char *text, size_t max)
{
    size_t n = strlen(text);
    struct buf b;

    if (n <= max)
        return xstrdup(text);
    buf_init(&b, 2 * max + LINE_MAX_LEN);
    put_clipped(&b, text, n, max);
    return buf_take(&b);
}

/* ---- telling ---- */

/* A quarter is kept for stdout, as far as there is that much; it may have what stderr leaves. */
static size_t least_of_stdout(const struct runner_result *r, size_t max)
{
    return r->out.size < max / 4 ? (size_t)r->out.size : max / 4;
}

char *failure_text(const struct runner_result *r, size_t max)
{
    size_t least = least_of_stdout(r, max), left = max, before;
    const char *glue = "";
    struct buf b;

    buf_init(&b, 2 * max + LINE_MAX_LEN);
    if (!r->has_code || r->return_code != 0) {
        (void)buf_str(&b, "STATUS: ERROR (return code: ");
        if (r->has_code)
            (void)buf_fmt(&b, "%d)", r->return_code);
        else
            (void)buf_str(&b, "None)");
        glue = "\n";
    }
    if (r->err_out.size) {
        (void)buf_fmt(&b, "%sERROR_TRACE: ", glue);
        before = b.len;
        put_ends(&b, &r->err_out, max - least);
        left = b.len - before + least < max ? max - (b.len - before) : least;
        glue = "\n";
    }
    if (r->out.size) {
        (void)buf_fmt(&b, "%sOUTPUT: ", glue);
        put_ends(&b, &r->out, left);
    }
    return b.len ? buf_take(&b) : xstrdup("");
}

char *failure_prompt(const char *prompt, const char *error)
{
    return xasprintf("%s\n\nThe previous code generated had the following error:\n\n%s\n\n"
                     "Please fix the code to address this error.",
                     prompt, error);
}

/* ---- comparing ---- */

/* The last line that is not blank, in its last LINE_MAX_LEN bytes. */
static size_t last_line(const struct spool *s, char *out)
{
    uint64_t from = s->size > LINE_MAX_LEN ? s->size - LINE_MAX_LEN : 0;
    ssize_t got = spool_read(s, from, out, LINE_MAX_LEN, NULL);
    size_t n = got > 0 ? (size_t)got : 0;
    const char *nl;

    while (n && str_is_blank(out + n - 1, 1))
        n--;
    nl = n ? memrchr(out, '\n', n) : NULL;
    if (!nl)
        return n;
    n -= (size_t)(nl + 1 - out);
    memmove(out, nl + 1, n);
    return n;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

/* A run of digits, with 0x in front if it is an address, becomes one '#'. */
static void put_without_numbers(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (!is_digit(s[i])) {
            (void)buf_char(b, s[i] ? s[i] : ' ');
            i++;
            continue;
        }
        if (s[i] == '0' && i + 2 < n && (s[i + 1] | 32) == 'x') {
            for (i += 2; i < n && is_word(s[i]); i++)
                continue;
        }
        while (i < n && is_digit(s[i]))
            i++;
        (void)buf_char(b, '#');
    }
}

char *failure_key(const struct runner_result *r)
{
    char line[LINE_MAX_LEN];
    size_t n = last_line(r->err_out.size ? &r->err_out : &r->out, line);
    struct buf b;

    buf_init(&b, (size_t)2 * LINE_MAX_LEN);
    (void)buf_fmt(&b, "%s%d ", r->has_code ? "" : "None", r->return_code);
    put_without_numbers(&b, line, n);
    return buf_take(&b);
}

/* ---- what a good exit status hides ---- */

static bool begins(const char *word, size_t n, const char *const *list, size_t list_n)
{
    for (size_t i = 0; i < list_n; i++) {
        size_t k = strlen(list[i]);

        if (k <= n && strncasecmp(word, list[i], k) == 0)
            return true;
    }
    return false;
}

static bool is_in_word(char c)
{
    return is_word(c) || c == '\'';
}

bool failure_wants_plot(const char *prompt)
{
    static const char *const wanted[] = {"plot",    "chart",   "graph",    "histogram",
                                         "scatter", "heatmap", "visualis", "visualiz"};
    static const char *const against[] = {"no", "not", "never", "without", "don't", "dont"};
    int refused = 0; /* words ago that one of `against` stood there, counted down */

    for (const char *s = prompt; *s;) {
        size_t n = 0;

        while (is_in_word(s[n]))
            n++;
        if (n == 0) {
            /* Words of another sentence say nothing about this one. */
            refused = strchr(".;:\n", *s) ? 0 : refused;
            s++;
            continue;
        }
        if (begins(s, n, wanted, ARRAY_LEN(wanted)) && !refused)
            return true;
        refused = refused ? refused - 1 : 0;
        for (size_t i = 0; i < ARRAY_LEN(against); i++) {
            if (n == strlen(against[i]) && strncasecmp(s, against[i], n) == 0)
                refused = 3;
        }
        s += n;
    }
    return false;
}

/* Reads on from where the words begin to the end of their line. */
static void copy_line(const struct spool *s, uint64_t at, char *line, size_t size)
{
    ssize_t n = spool_read(s, at, line, size - 1, NULL);

    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    line[utf8_valid_prefix(line, strlen(line))] = '\0';
}

bool failure_of_slicks(const struct spool *out, char *line, size_t size)
{
    const size_t words = sizeof(slicks_words) - 1;
    auto_free char *piece = xmalloc(PIECE);
    uint64_t at = 0;
    ssize_t n;

    while ((n = spool_read(out, at, piece, PIECE, NULL)) > 0) {
        const char *end = piece + n, *found = piece;

        while ((found = memmem(found, (size_t)(end - found), slicks_words, words))) {
            if (found > piece ? found[-1] == '\n' : at == 0) {
                copy_line(out, at + (uint64_t)(found - piece), line, size);
                return true;
            }
            found++;
        }
        if ((size_t)n <= words)
            return false;
        at += (uint64_t)n - words; /* what begins there was whole in this piece */
    }
    return false;
}

/* ---- stripping ---- */

static uint64_t blanks_in_front(const struct spool *s)
{
    char piece[4096];
    uint64_t at = 0;
    ssize_t n;

    while ((n = spool_read(s, at, piece, sizeof(piece), NULL)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (!str_is_blank(piece + i, 1))
                return at + (uint64_t)i;
        }
        at += (uint64_t)n;
    }
    return s->size;
}

static uint64_t end_without_blanks(const struct spool *s, uint64_t begin)
{
    char piece[4096];
    uint64_t end = s->size;

    while (end > begin) {
        size_t k = end - begin < sizeof(piece) ? (size_t)(end - begin) : sizeof(piece);
        ssize_t n = spool_read(s, end - k, piece, k, NULL);

        if (n != (ssize_t)k)
            return end;
        for (size_t i = k; i-- > 0;) {
            if (!str_is_blank(piece + i, 1))
                return end - k + i + 1;
        }
        end -= k;
    }
    return begin;
}

int failure_strip(struct spool *s, struct err *err)
{
    uint64_t at = blanks_in_front(s), end = end_without_blanks(s, at);
    auto_free char *piece = xmalloc(PIECE);
    struct spool kept;

    if (at == 0 && end == s->size)
        return 0;
    spool_init(&kept, s->dir);
    while (at < end) {
        size_t k = end - at < PIECE ? (size_t)(end - at) : PIECE;
        ssize_t n = spool_read(s, at, piece, k, err);

        if (n <= 0 || spool_add(&kept, piece, (size_t)n, err) < 0) {
            spool_done(&kept);
            return -1;
        }
        at += (uint64_t)n;
    }
    spool_done(s);
    spool_move(s, &kept);
    return 0;
}
