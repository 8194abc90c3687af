#include "tools/pattern.h"

#include <regex.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum { REPEATS_MAX = 1000, POSIX_MAX = 8192, COST_MAX = 2000, GROUPS_MAX = 32 };

/* Cost times bytes of a text, and of all texts of a check; a compilation is as much as so many. */
enum { WORK_MAX = 2 * 1024 * 1024, ALL_WORK_MAX = 16 * WORK_MAX, COMPILE_BYTES = 64 };

/*
 * regcomp writes repeats out, `+` too: "((a+)+)+" has eight of its "a". So what a pattern will be is
 * counted before it is compiled.
 */
struct translation {
    const char *at;
    struct buf out;
    bool is_in_class;
    unsigned long costs[GROUPS_MAX + 1]; /* of the groups that are open */
    size_t depth;
    unsigned long last; /* of what a repeat would repeat */
};

static int cannot(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "the pattern has %s, which is not known here", what);
}

static int put_item(struct translation *t, unsigned long cost, struct err *err)
{
    t->last = cost;
    t->costs[t->depth] += cost;
    return t->costs[t->depth] > COST_MAX ? cannot(err, "a large repeat") : 0;
}

/* The last item stands there `n` times. */
static int put_times(struct translation *t, unsigned long n, struct err *err)
{
    unsigned long last = t->last;

    if (n < 2)
        return 0;
    if (put_item(t, last * (n - 1), err) < 0)
        return -1;
    t->last = last * n;
    return 0;
}

static int put_class(struct translation *t, const char *inside)
{
    (void)buf_fmt(&t->out, t->is_in_class ? "%s" : "[%s]", inside);
    return 0;
}

static int put_literal(struct translation *t, char c)
{
    if (!t->is_in_class && strchr(".[]{}()*+?^$|\\", c))
        (void)buf_char(&t->out, '\\');
    return buf_char(&t->out, c);
}

static int put_escape(struct translation *t, struct err *err)
{
    char c = *t->at;

    if (!c)
        return cannot(err, "a backslash at its end");
    t->at++;
    switch (c) {
    case 'd':
        return put_class(t, "0-9");
    case 'w':
        return put_class(t, "A-Za-z0-9_");
    case 's':
        return put_class(t, "[:space:]");
    case 't':
        return put_literal(t, '\t');
    case 'n':
        return put_literal(t, '\n');
    case 'r':
        return put_literal(t, '\r');
    default:
        break;
    }
    /* In a bracket of POSIX these four have a meaning that no backslash takes away. */
    if (t->is_in_class && strchr("]^-\\", c))
        return c == '\\' ? buf_str(&t->out, "\\") : cannot(err, "an escape in brackets");
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return cannot(err, "an escape");
    return put_literal(t, c);
}

static int put_repeat(struct translation *t, struct err *err)
{
    char *end;
    unsigned long low = strtoul(t->at + 1, &end, 10), high = low;

    if (end == t->at + 1)
        return cannot(err, "a brace");
    if (*end == ',')
        high = strtoul(end + 1, &end, 10);
    high = high > low ? high : low;
    if (*end != '}' || high > REPEATS_MAX || put_times(t, high + 1, err) < 0)
        return cannot(err, "a large repeat");
    (void)buf_add(&t->out, t->at, (size_t)(end + 1 - t->at));
    t->at = end + 1;
    return 0;
}

static int put_group(struct translation *t, struct err *err)
{
    t->at++;
    if (*t->at == '?' && t->at[1] != ':')
        return cannot(err, "a special group");
    t->at += *t->at == '?' ? 2 : 0;
    if (t->depth == GROUPS_MAX)
        return cannot(err, "too many groups within each other");
    t->costs[++t->depth] = 0;
    return buf_char(&t->out, '(');
}

static int end_group(struct translation *t, struct err *err)
{
    t->at++;
    if (!t->depth)
        return cannot(err, "a ) without (");
    t->depth--;
    if (put_item(t, t->costs[t->depth + 1] + 1, err) < 0)
        return -1;
    return buf_char(&t->out, ')');
}

static int put_in_class(struct translation *t, struct err *err)
{
    if (*t->at == '[')
        return cannot(err, "a bracket in brackets");
    t->is_in_class = *t->at != ']';
    return buf_char(&t->out, *t->at++);
}

static int put_outside(struct translation *t, struct err *err)
{
    char c = *t->at;
    bool is_repeat = strchr("+*?", c) != NULL;

    if (c == '(')
        return put_group(t, err);
    if (c == ')')
        return end_group(t, err);
    if (c == '{')
        return put_repeat(t, err);
    if (is_repeat && t->at[1] == '?')
        return cannot(err, "a lazy repeat");
    if ((is_repeat ? put_times(t, c == '+' ? 2 : 1, err) : put_item(t, 1, err)) < 0)
        return -1;
    t->is_in_class = c == '[';
    t->at++;
    return buf_char(&t->out, c);
}

static int put_next(struct translation *t, struct err *err)
{
    if (*t->at != '\\')
        return t->is_in_class ? put_in_class(t, err) : put_outside(t, err);
    t->at++;
    if (!t->is_in_class && put_item(t, 1, err) < 0)
        return -1;
    return put_escape(t, err);
}

/*
 * "Somewhere in the text" is said by the pattern itself: regexec would begin anew at every byte, and
 * so take the square of the time.
 */
static int compile(const char *pattern, regex_t *ret, unsigned long *ret_cost, struct err *err)
{
    CLEANUP(buf_done) struct buf out = {0};
    struct translation t = {.at = pattern};
    int rc = 0;

    if (strlen(pattern) > PATTERN_MAX)
        return err_set(err, ERR_INVALID, "the pattern is over %d bytes", PATTERN_MAX);
    buf_init(&t.out, POSIX_MAX);
    (void)buf_str(&t.out, "^.*(");
    while (*t.at && rc == 0)
        rc = put_next(&t, err);
    (void)buf_char(&t.out, ')');
    out = t.out;
    if (rc < 0 && !out.is_full)
        return -1;
    if (rc < 0 || t.depth || regcomp(ret, buf_get(&out), REG_EXTENDED | REG_NOSUB) != 0)
        return err_set(err, ERR_INVALID, "the pattern is not a regular expression");
    *ret_cost = t.costs[0];
    return 0;
}

int pattern_check(const char *pattern, struct err *err)
{
    unsigned long cost;
    regex_t r;

    if (compile(pattern, &r, &cost, err) < 0)
        return -1;
    regfree(&r);
    return 0;
}

/* ---- matching ---- */

struct pattern {
    const char *source;
    bool is_usable;
    unsigned long cost;
    size_t work; /* done with this compilation */
    regex_t regex;
};

static void pattern_free(struct pattern *p)
{
    if (p && p->is_usable)
        regfree(&p->regex);
    free(p);
}

void pattern_use_done(struct pattern_use *u)
{
    pattern_free(u->last);
    u->last = NULL;
}

static void add_work(struct pattern_use *u, struct pattern *p, size_t bytes)
{
    p->work += bytes * p->cost;
    u->work += bytes * p->cost;
}

/* What regexec has found out stays with the compilation, and takes memory: so not for ever. */
static struct pattern *take_pattern(struct pattern_use *u, const char *source)
{
    struct pattern *p = u->last;

    if (p && p->source == source && p->work <= WORK_MAX)
        return p;
    pattern_use_done(u);
    p = xcalloc(1, sizeof(*p));
    p->source = source;
    p->is_usable = compile(source, &p->regex, &p->cost, NULL) == 0;
    u->last = p;
    u->work += COMPILE_BYTES * p->cost;
    return p;
}

enum pattern_answer pattern_match(struct pattern_use *u, const char *pattern, const char *text)
{
    size_t n = strlen(text);
    struct pattern *p;

    if (u->work > ALL_WORK_MAX)
        return PATTERN_TOO_MUCH;
    p = take_pattern(u, pattern);
    if (!p->is_usable)
        return PATTERN_YES;
    if (n > PATTERN_TEXT_MAX || n * p->cost > WORK_MAX)
        return PATTERN_NO;
    add_work(u, p, n + 1);
    return regexec(&p->regex, text, 0, NULL, 0) == 0 ? PATTERN_YES : PATTERN_NO;
}
