#include "base/units.h"

#include <string.h>

#include "base/str.h"

enum { WHOLE_DIGITS = 18, FRACTION_DIGITS = 6, PAGE = 4096, SIZES_MAX = 8, TEXT_MAX = 64 };

struct unit {
    const char *name;
    int64_t factor;
};

struct measure {
    const char *expects;
    struct unit units[7]; /* ends with name NULL */
};

/* Largest first, so that the printers find the shortest form. A plain number is the "" row. */
static const struct measure size = {
    "a size such as 256MiB (B, KiB, MiB, GiB)",
    {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}, {NULL, 0}},
};

static const struct measure duration = {
    "a time such as 30s (ms, s, m, h, d)",
    {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0}},
};

/* whole + fraction / scale */
struct number {
    int64_t whole, fraction, scale;
};

/* Up to `max` digits at `*s`, which moves behind them; returns how many there were, 0 = wrong. */
static size_t take_digits(const char **s, size_t max, int64_t *ret)
{
    size_t n = strspn(*s, "0123456789");

    if (n > max)
        return 0;
    for (size_t i = 0; i < n; i++)
        *ret = *ret * 10 + *(*s)++ - '0';
    return n;
}

/* Reads "12" or "12.25" at `*s` and moves it behind; false when no number stands there. */
static bool take_number(const char **s, struct number *ret)
{
    size_t places = 0;

    *ret = (struct number){.scale = 1};
    if (!take_digits(s, WHOLE_DIGITS, &ret->whole))
        return false;
    if (**s == '.') {
        ++*s;
        places = take_digits(s, FRACTION_DIGITS, &ret->fraction);
        if (!places)
            return false;
    }
    while (places--)
        ret->scale *= 10;
    return true;
}

static int scale(const struct number *n, int64_t factor, const char *s, int64_t *ret,
                 struct err *err)
{
    int64_t whole, sum;

    if (n->fraction * factor % n->scale)
        return err_set(err, ERR_INVALID, "'%.40s' is not a whole number of the smallest unit", s);
    if (__builtin_mul_overflow(n->whole, factor, &whole) ||
        __builtin_add_overflow(whole, n->fraction * factor / n->scale, &sum))
        return err_set(err, ERR_INVALID, "'%.40s' is too large", s);
    *ret = sum;
    return 0;
}

static int parse(const char *s, const struct measure *m, int64_t *ret, struct err *err)
{
    const char *rest = s;
    struct number n;

    if (take_number(&rest, &n)) {
        for (const struct unit *u = m->units; u->name; u++) {
            if (strcmp(rest, u->name) == 0)
                return scale(&n, u->factor, s, ret, err);
        }
    }
    return err_set(err, ERR_INVALID, "must be %s, not '%.40s'", m->expects, s);
}

static int parse_share(const char *s, int64_t whole, int64_t *ret, struct err *err)
{
    const char *rest = s;
    struct number n;
    double percent;

    if (whole <= 0)
        return err_set(err, ERR_INVALID, "must be %s: '%.40s' is a share of nothing here",
                       size.expects, s);
    if (!take_number(&rest, &n) || strcmp(rest, "%") != 0)
        return err_set(err, ERR_INVALID, "must be %s or a share such as 50%%, not '%.40s'",
                       size.expects, s);
    percent = (double)n.whole + (double)n.fraction / (double)n.scale;
    if (!(percent > 0 && percent <= 100))
        return err_set(err, ERR_INVALID, "'%.40s' is not a share from 0%% to 100%%", s);
    if (percent < 100)
        whole = (int64_t)((double)whole * percent / 100);
    *ret = whole / PAGE * PAGE;
    return 0;
}

static int parse_size(const char *s, int64_t whole, int64_t *ret, struct err *err)
{
    if (str_ends(s, "%"))
        return parse_share(s, whole, ret, err);
    return parse(s, &size, ret, err);
}

/* The part from `s` to `end` without the spaces around it; false when it does not fit. */
static bool cut_part(const char *s, const char *end, char out[TEXT_MAX])
{
    while (s < end && *s == ' ')
        s++;
    while (end > s && end[-1] == ' ')
        end--;
    if (end - s >= TEXT_MAX)
        return false;
    memcpy(out, s, (size_t)(end - s));
    out[end - s] = '\0';
    return true;
}

/* `s` points behind "min(" and ends with ")". */
static int parse_min(const char *s, int64_t whole, int64_t *ret, struct err *err)
{
    int64_t least = INT64_MAX;

    for (int i = 0; i < SIZES_MAX; i++) {
        const char *end = s + strcspn(s, ",)");
        char part[TEXT_MAX];
        int64_t v = 0;

        if (!cut_part(s, end, part))
            break;
        if (parse_size(part, whole, &v, err) < 0)
            return -1;
        least = v < least ? v : least;
        if (*end == ')' && !end[1]) {
            *ret = least;
            return 0;
        }
        if (*end != ',')
            break;
        s = end + 1;
    }
    return err_set(err, ERR_INVALID, "must be min(SIZE, SIZE) with up to %d sizes", SIZES_MAX);
}

int units_size(const char *s, int64_t whole, int64_t *ret_bytes, struct err *err)
{
    if (str_starts(s, "min(") && str_ends(s, ")"))
        return parse_min(s + strlen("min("), whole, ret_bytes, err);
    return parse_size(s, whole, ret_bytes, err);
}

int units_time(const char *s, int64_t *ret_ms, struct err *err)
{
    return parse(s, &duration, ret_ms, err);
}

static void put(struct buf *b, int64_t v, const struct unit *u)
{
    while (v % u->factor)
        u++;
    (void)buf_fmt(b, "%lld%s", (long long)(v / u->factor), u->name);
}

void units_put_size(struct buf *b, int64_t bytes)
{
    if (bytes)
        put(b, bytes, size.units);
    else
        (void)buf_char(b, '0');
}

void units_put_time(struct buf *b, int64_t ms)
{
    if (ms)
        put(b, ms, duration.units);
    else
        (void)buf_str(b, "0s");
}
