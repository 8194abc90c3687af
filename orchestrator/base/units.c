#include "base/units.h"

#include <string.h>

#include "base/str.h"

enum { WHOLE_DIGITS = 18, FRACTION_DIGITS = 6, PAGE = 4096, SIZES_MAX = 8, TEXT_MAX = 64 };

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first, so that the printers find the shortest form. A plain number is the "" row. */
static const struct unit size_units[] = {
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"B",   1      },
    {"",    1      },
};

static const struct unit time_units[] = {
    {"d",  86400000},
    {"h",  3600000 },
    {"m",  60000   },
    {"s",  1000    },
    {"ms", 1       },
    {"",   1000    },
};

static const char size_words[] = "a size such as 256MiB (B, KiB, MiB, GiB)";
static const char time_words[] = "a time such as 30s (ms, s, m, h, d)";

/* whole + fraction / scale */
struct number {
    int64_t whole, fraction, scale;
};

/* Reads "12" or "12.25" at `*s` and moves it behind; false when no number stands there. */
static bool take_number(const char **s, struct number *ret)
{
    struct number n = {.scale = 1};
    size_t digits = strspn(*s, "0123456789"), places;
    char text[WHOLE_DIGITS + 1];

    if (!digits || digits > WHOLE_DIGITS)
        return false;
    memcpy(text, *s, digits);
    text[digits] = '\0';
    if (!str_to_i64(text, 0, INT64_MAX, &n.whole))
        return false;
    *s += digits;
    if (**s == '.') {
        places = strspn(++*s, "0123456789");
        if (!places || places > FRACTION_DIGITS)
            return false;
        for (size_t i = 0; i < places; i++, ++*s) {
            n.fraction = n.fraction * 10 + (**s - '0');
            n.scale *= 10;
        }
    }
    *ret = n;
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

static int parse(const char *s, const struct unit *units, size_t units_n, const char *words,
                 int64_t *ret, struct err *err)
{
    const char *rest = s;
    struct number n;

    if (take_number(&rest, &n)) {
        for (size_t i = 0; i < units_n; i++) {
            if (strcmp(rest, units[i].name) == 0)
                return scale(&n, units[i].factor, s, ret, err);
        }
    }
    return err_set(err, ERR_INVALID, "must be %s, not '%.40s'", words, s);
}

static int parse_share(const char *s, int64_t whole, int64_t *ret, struct err *err)
{
    const char *rest = s;
    struct number n;
    double percent;

    if (whole <= 0)
        return err_set(err, ERR_INVALID, "must be %s: '%.40s' is a share of nothing here",
                       size_words, s);
    if (!take_number(&rest, &n) || strcmp(rest, "%") != 0)
        return err_set(err, ERR_INVALID, "must be %s or a share such as 50%%, not '%.40s'",
                       size_words, s);
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
    return parse(s, size_units, ARRAY_LEN(size_units), size_words, ret, err);
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
        int64_t v;

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
    return parse(s, time_units, ARRAY_LEN(time_units), time_words, ret_ms, err);
}

static void put(struct buf *b, int64_t v, const struct unit *units)
{
    while (v % units->factor)
        units++;
    (void)buf_fmt(b, "%lld%s", (long long)(v / units->factor), units->name);
}

void units_put_size(struct buf *b, int64_t bytes)
{
    put(b, bytes, bytes ? size_units : &size_units[ARRAY_LEN(size_units) - 1]);
}

void units_put_time(struct buf *b, int64_t ms)
{
    put(b, ms, ms ? time_units : &time_units[3]);
}
