#include "core/metrics.h"

void metrics_family(struct buf *b, const char *name, const char *type, const char *help)
{
    (void)buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_label(struct buf *b, char sep, const char *label, const char *value)
{
    (void)buf_fmt(b, "%c%s=\"", sep, label);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            (void)buf_char(b, '\\');
        if (*value == '\n')
            (void)buf_str(b, "\\n");
        else
            (void)buf_char(b, *value);
    }
    (void)buf_char(b, '"');
}

void metrics_value(struct buf *b, uint64_t value)
{
    (void)buf_fmt(b, " %llu\n", (unsigned long long)value);
}

void metrics_single(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t value)
{
    metrics_family(b, name, type, help);
    (void)buf_str(b, name);
    metrics_value(b, value);
}

void metrics_labelled(struct buf *b, const char *name, const char *label, const char *value,
                      uint64_t number)
{
    (void)buf_str(b, name);
    metrics_label(b, '{', label, value);
    (void)buf_char(b, '}');
    metrics_value(b, number);
}
