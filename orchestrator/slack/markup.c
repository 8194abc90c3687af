#include "slack/markup.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"

/* What is written for what stands there; longer ones first where one begins another. */
static const struct {
    const char *from, *to;
} plain[] = {
    {"&amp;",        "&" },
    {"&lt;",         "<" },
    {"&gt;",         ">" },
    {"\xE2\x80\x98", "'" },
    {"\xE2\x80\x99", "'" },
    {"\xE2\x80\x9A", "'" },
    {"\xE2\x80\x9C", "\""},
    {"\xE2\x80\x9D", "\""},
    {"\xE2\x80\x9E", "\""},
    {"\xC2\xA0",     " " },
};

static const struct {
    char from;
    const char *to;
} escapes[] = {
    {'&', "&amp;"},
    {'<', "&lt;" },
    {'>', "&gt;" },
};

static const char cut_mark[] = "\xE2\x80\xA6";   /* an ellipsis */
static const char zero_width[] = "\xE2\x80\x8B"; /* between back-ticks: they end no block */

static bool begins(const char *s, size_t n, const char *with)
{
    size_t k = strlen(with);

    return n >= k && memcmp(s, with, k) == 0;
}

static void put_plain(struct buf *out, const char *s, size_t n)
{
    while (n) {
        size_t used = 1, i;

        for (i = 0; i < ARRAY_LEN(plain) && !begins(s, n, plain[i].from); i++)
            ;
        if (i < ARRAY_LEN(plain)) {
            (void)buf_str(out, plain[i].to);
            used = strlen(plain[i].from);
        } else {
            (void)buf_char(out, *s);
        }
        s += used;
        n -= used;
    }
}

/* ---- <...> ---- */

struct mark {
    const char *target, *label; /* between the brackets, before and behind the first '|' */
    size_t target_n, label_n;   /* no label: 0 */
};

static void put_link(struct buf *out, const struct mark *m)
{
    const char *scheme = memmem(m->target, m->target_n, "://", 3);
    const char *bare = scheme ? scheme + 3 : m->target;
    size_t bare_n = m->target_n - (size_t)(bare - m->target);

    if (!scheme && begins(m->target, m->target_n, "mailto:")) {
        bare += strlen("mailto:");
        bare_n -= strlen("mailto:");
    }
    if (!m->label_n) {
        put_plain(out, scheme ? m->target : bare, scheme ? m->target_n : bare_n);
        return;
    }
    /* Slack makes links of what looks like one: then the label is what was written. */
    put_plain(out, m->label, m->label_n);
    if (scheme && !(m->label_n == bare_n && memcmp(m->label, bare, bare_n) == 0) &&
        !(m->label_n == m->target_n && memcmp(m->label, m->target, m->label_n) == 0)) {
        (void)buf_str(out, " (");
        put_plain(out, m->target, m->target_n);
        (void)buf_char(out, ')');
    }
}

/* "@name" of <@U1|name>, "#general" of <#C1|general>, "@here" of <!here>. */
static void put_mention(struct buf *out, char sign, const struct mark *m)
{
    bool is_labelled = m->label_n > 0;
    const char *s = is_labelled ? m->label : m->target + 1;
    size_t n = is_labelled ? m->label_n : m->target_n - 1;

    if (!begins(s, n, sign == '@' ? "@" : "#"))
        (void)buf_char(out, sign);
    put_plain(out, s, n);
}

static void put_mark(struct buf *out, const char *s, size_t n)
{
    const char *bar = memchr(s, '|', n);
    struct mark m = {.target = s, .target_n = bar ? (size_t)(bar - s) : n};

    if (bar) {
        m.label = bar + 1;
        m.label_n = n - m.target_n - 1;
    }
    if (begins(s, m.target_n, "!date^") && m.label_n)
        put_plain(out, m.label, m.label_n);
    else if (m.target_n && (*s == '@' || *s == '!'))
        put_mention(out, '@', &m);
    else if (m.target_n && *s == '#')
        put_mention(out, '#', &m);
    else
        put_link(out, &m);
}

void markup_read(struct buf *out, const char *text, size_t n)
{
    while (n) {
        const char *open = memchr(text, '<', n);
        size_t before = open ? (size_t)(open - text) : n;
        const char *close = open ? memchr(open, '>', n - before) : NULL;

        put_plain(out, text, before);
        if (!open)
            return;
        if (!close) {
            put_plain(out, open, n - before);
            return;
        }
        put_mark(out, open + 1, (size_t)(close - open) - 1);
        n -= (size_t)(close - text) + 1;
        text = close + 1;
    }
}

/* ---- writing ---- */

static void put_escaped(struct buf *out, char c)
{
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        if (escapes[i].from == c) {
            (void)buf_str(out, escapes[i].to);
            return;
        }
    }
    (void)buf_char(out, c);
}

void markup_put(struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_escaped(out, text[i]);
}

size_t markup_cut(const char *text, size_t n, size_t max)
{
    size_t at = 0;

    for (size_t i = 0; i < max && at < n; i++) {
        int step = utf8_step((const unsigned char *)text + at, n - at);

        at += step > 0 ? (size_t)step : 1;
    }
    return at;
}

static char *repair(const char *text, size_t n, size_t *ret_n)
{
    struct utf8_repair r = {0};
    char *out = xmalloc(UTF8_REPAIR_MAX(n) + 1);

    *ret_n = utf8_repair_feed(&r, text, n, out);
    *ret_n += utf8_repair_flush(&r, out + *ret_n);
    return out;
}

void markup_put_block(struct buf *out, const char *text, size_t n, size_t max)
{
    size_t all, cut;
    auto_free char *good = repair(text, n, &all);

    cut = markup_cut(good, all, max);
    (void)buf_str(out, "```\n");
    for (size_t i = 0; i < cut; i++) {
        if (good[i] == '`' && i && good[i - 1] == '`')
            (void)buf_str(out, zero_width);
        put_escaped(out, good[i]);
    }
    (void)buf_fmt(out, "%s\n```", cut < all ? cut_mark : "");
}
