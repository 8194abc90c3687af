#include "core/histogram.h"

size_t histogram_bucket(const struct histogram_scale *s, int64_t value)
{
    size_t i = 0;

    while (i < s->n && value > s->bounds[i])
        i++;
    return i;
}

void histogram_add(struct histogram *h, const struct histogram_scale *s, int64_t value)
{
    if (value < 0)
        value = 0;
    counter_add(&h->buckets[histogram_bucket(s, value)], 1);
    counter_add(&h->sum, (uint64_t)value);
}

void histogram_put(struct buf *b, const char *name, const char *label, const struct histogram *h,
                   const struct histogram_scale *s)
{
    const char *comma = *label ? "," : "", *open = *label ? "{" : "", *close = *label ? "}" : "";
    unsigned long long below = 0;

    for (size_t i = 0; i <= s->n; i++) {
        below += counter_get(&h->buckets[i]);
        (void)buf_fmt(b, "%s_bucket{%s%sle=\"", name, label, comma);
        if (i < s->n)
            (void)buf_fmt(b, "%.15g", (double)s->bounds[i] / s->unit);
        else
            (void)buf_str(b, "+Inf");
        (void)buf_fmt(b, "\"} %llu\n", below);
    }
    (void)buf_fmt(b, "%s_sum%s%s%s %.15g\n", name, open, label, close,
                  (double)counter_get(&h->sum) / s->unit);
    (void)buf_fmt(b, "%s_count%s%s%s %llu\n", name, open, label, close, below);
}
