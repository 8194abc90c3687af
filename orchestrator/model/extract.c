#include "model/extract.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/*
 * A fence is a run of at least three backticks, wherever it stands. Texts without any are looked
 * through for tildes: they must begin a line and be labelled, because programs underline with them.
 */
enum { FENCE = 3, TAB = 4, CLOSE_INDENT = 3, INDENTS = 16 };

struct span {
    const char *at, *end;
};

struct block {
    struct span label, body;
    const char *next; /* where to look for the next one */
};

/*
 * What is read. A text may have a hundred thousand fences, and each looks for the line that closes
 * it: what was not found from an earlier one is not looked for again. `unclosed[i]` is the length
 * of the shortest fence that no line indented by at most `i` columns closes.
 */
struct reading {
    const char *begin, *end;
    const char *line_end; /* of the line that was looked at last */
    char mark;
    size_t unclosed[INDENTS];
};

/* How many marks stand at `s`. */
static size_t marks(const struct reading *r, const char *s, const char *end)
{
    size_t n = 0;

    while (s + n < end && s[n] == r->mark)
        n++;
    return n;
}

static const char *line_end(const char *s, const char *end)
{
    const char *nl = memchr(s, '\n', (size_t)(end - s));

    return nl ? nl : end;
}

/* How many columns stand in front of `s` in its line. */
static size_t column_of(const struct reading *r, const char *s)
{
    const char *line = memrchr(r->begin, '\n', (size_t)(s - r->begin));
    size_t n = 0;

    for (line = line ? line + 1 : r->begin; line < s; line++)
        n += *line == '\t' ? TAB : 1;
    return n;
}

static bool begins_line(const struct reading *r, const char *s)
{
    while (s > r->begin && (s[-1] == ' ' || s[-1] == '\t'))
        s--;
    return s == r->begin || s[-1] == '\n';
}

/* The next run of at least `n` marks that may be a fence; NULL: none. */
static const char *find_marks(const struct reading *r, const char *s, const char *end, size_t n)
{
    while ((s = s < end ? memchr(s, r->mark, (size_t)(end - s)) : NULL)) {
        size_t k = marks(r, s, end);

        if (k >= n && (r->mark == '`' || begins_line(r, s)))
            return s;
        s += k;
    }
    return NULL;
}

/*
 * Whether a line is made of at least `n` marks and nothing else, indented by no more than a fence
 * may be: what stands deeper is text in the program. `*ret` is where they begin.
 */
static bool closes(const struct reading *r, const char *line, size_t n, size_t indent,
                   const char **ret)
{
    const char *stop = line_end(line, r->end);
    size_t k, column = 0;

    for (; line < stop && (*line == ' ' || *line == '\t'); line++)
        column += *line == '\t' ? TAB : 1;
    k = marks(r, line, stop);
    *ret = line;
    return k >= n && (column <= indent || indent == INDENTS - 1) &&
           str_is_blank(line + k, (size_t)(stop - line) - k);
}

/* A line of its own closes a block; where there is none, the next marks; else the text's end. */
static const char *find_close(struct reading *r, const char *fence, const char *body, size_t n)
{
    size_t indent = column_of(r, fence) + CLOSE_INDENT;
    const char *any, *at;

    if (indent >= INDENTS)
        indent = INDENTS - 1;
    for (const char *line = body; line < r->end && n < r->unclosed[indent];
         line = line_end(line, r->end) + 1) {
        if (closes(r, line, n, indent, &at))
            return at;
    }
    if (n < r->unclosed[indent])
        r->unclosed[indent] = n;
    any = find_marks(r, body, r->end, n);
    return any ? any : r->end;
}

static bool is_label(struct span s)
{
    static const char *const labels[] = {"python", "py", "python3"};
    size_t n;

    while (s.at < s.end && (*s.at == ' ' || *s.at == '\t'))
        s.at++;
    for (n = 0; s.at + n < s.end && !strchr(" \t\r\n{", s.at[n]); n++)
        continue;
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        if (n == strlen(labels[i]) && strncasecmp(s.at, labels[i], n) == 0)
            return true;
    }
    return false;
}

/* The block whose fence is the next one from `s`. False: there is none. */
static bool next_block(struct reading *r, const char *s, struct block *ret)
{
    const char *fence = find_marks(r, s, r->end, FENCE), *rest, *stop, *close;
    size_t n;

    if (!fence)
        return false;
    n = marks(r, fence, r->end);
    rest = fence + n;
    if (!r->line_end || r->line_end < rest)
        r->line_end = line_end(rest, r->end);
    stop = r->line_end;
    close = find_marks(r, rest, stop, n);
    if (close) { /* opened and closed in one line, where a label leaves no room for code */
        bool has_label = is_label((struct span){rest, close});

        ret->label = (struct span){rest, has_label ? close : rest};
        ret->body = (struct span){has_label ? close : rest, close};
    } else {
        const char *body = stop < r->end ? stop + 1 : r->end;

        close = find_close(r, fence, body, n);
        ret->label = (struct span){rest, stop};
        ret->body = (struct span){body, close};
    }
    ret->next = close + marks(r, close, r->end);
    return true;
}

static bool is_blank(struct span s)
{
    return str_is_blank(s.at, (size_t)(s.end - s.at));
}

static size_t indent_of(const char *line, const char *end)
{
    size_t n = 0;

    while (line + n < end && (line[n] == ' ' || line[n] == '\t'))
        n++;
    return n;
}

/* The white space that all lines begin with, blank ones left out. */
static size_t common_indent(struct span s)
{
    const char *first = s.at;
    size_t n = indent_of(first, s.end);

    for (const char *line = s.at; line < s.end; line = line_end(line, s.end) + 1) {
        const char *stop = line_end(line, s.end);
        size_t k = 0;

        if (str_is_blank(line, (size_t)(stop - line)))
            continue;
        while (k < n && line + k < stop && line[k] == first[k])
            k++;
        n = k;
    }
    return n;
}

static char *tidy(struct span s)
{
    char *out = xmalloc((size_t)(s.end - s.at) + 1);
    size_t indent, n = 0;

    while (str_is_blank(s.at, (size_t)(line_end(s.at, s.end) - s.at)))
        s.at = line_end(s.at, s.end) + 1;
    while (str_is_blank(s.end - 1, 1))
        s.end--;
    indent = common_indent(s);
    for (const char *line = s.at; line < s.end;) {
        const char *stop = line_end(line, s.end);
        size_t skip = indent_of(line, stop);

        line += skip < indent ? skip : indent;
        stop = stop < s.end ? stop + 1 : stop;
        memcpy(out + n, line, (size_t)(stop - line));
        n += (size_t)(stop - line);
        line = stop;
    }
    out[n] = '\0';
    return out;
}

/*
 * A model may fence its whole answer, as "markdown" or as nothing: then the program is a block within
 * that one. Only one that is labelled and begins a line counts; what else stands there is a text.
 */
static bool find_inner(struct reading *r, struct span outer, struct span *ret)
{
    const char *s = outer.at;

    while ((s = find_marks(r, s, outer.end, FENCE))) {
        const char *rest = s + marks(r, s, outer.end);
        struct block b;

        if (!begins_line(r, s) || !is_label((struct span){rest, line_end(rest, outer.end)})) {
            s = rest;
            continue;
        }
        r->line_end = NULL; /* that of a line behind this one */
        if (!next_block(r, s, &b))
            return false;
        if (!is_blank(b.body)) {
            *ret = b.body;
            return true;
        }
        s = b.next > rest ? b.next : rest;
    }
    return false;
}

/* The block that counts. False: `*ret_fences` tells whether there was any at all. */
static bool choose(const char *text, const char *end, char mark, struct span *ret, bool *ret_fences)
{
    struct reading r = {.begin = text, .end = end, .mark = mark};
    const char *s = text;
    bool has_best = false;
    struct block b;

    for (size_t i = 0; i < INDENTS; i++)
        r.unclosed[i] = SIZE_MAX;
    *ret_fences = false;
    while (next_block(&r, s, &b)) {
        bool is_python = is_label(b.label);

        s = b.next;
        if (!is_python && find_inner(&r, b.body, &b.body))
            is_python = true;
        if (mark == '~' && !is_python)
            continue;
        *ret_fences = true;
        if (is_blank(b.body))
            continue;
        if (!has_best || is_python)
            *ret = b.body;
        has_best = true;
        if (is_python)
            break;
    }
    return has_best;
}

char *extract_code(const char *text, size_t n)
{
    struct span best = {text, text + n};
    bool has_fences;

    if (!choose(text, text + n, '`', &best, &has_fences) && !has_fences)
        (void)choose(text, text + n, '~', &best, &has_fences);
    if (is_blank(best) || (has_fences && best.at == text))
        return NULL;
    return tidy(best);
}
