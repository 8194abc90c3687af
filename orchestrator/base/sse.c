#include "base/sse.h"

#include <string.h>

#include "base/str.h"

static const char mark[] = "\xEF\xBB\xBF";

void sse_init(struct sse *s, enum sse_form form, sse_handler *on_event, void *ctx)
{
    *s = (struct sse){.form = form, .on_event = on_event, .ctx = ctx};
    buf_init(&s->line, SSE_EVENT_MAX);
    buf_init(&s->data, SSE_EVENT_MAX);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
}

void sse_limit(struct sse *s, size_t max)
{
    s->line.max = max;
    s->data.max = max;
}

static int too_large(const struct sse *s, struct err *err)
{
    return err_set(err, ERR_LIMIT, "an event is over %zu bytes", s->data.max);
}

static int dispatch(struct sse *s, struct err *err)
{
    int rc = 0;

    if (s->has_data)
        rc = s->on_event(s->ctx, s->event, buf_get(&s->data), s->data.len, err);
    buf_clear(&s->data);
    s->has_data = false;
    s->event[0] = '\0';
    return rc;
}

static int add_data(struct sse *s, const char *value, size_t n, struct err *err)
{
    if (s->has_data)
        (void)buf_char(&s->data, '\n');
    s->has_data = true;
    return buf_add(&s->data, value, n) < 0 ? too_large(s, err) : 0;
}

/* "name: value"; what is neither data nor event is of no use here. */
static int take_field(struct sse *s, const char *line, size_t n, struct err *err)
{
    const char *colon = memchr(line, ':', n);
    size_t name_n = colon ? (size_t)(colon - line) : n;
    const char *value = colon ? colon + 1 : line + n;
    size_t value_n;

    if (value < line + n && *value == ' ')
        value++;
    value_n = (size_t)(line + n - value);
    if (name_n == 4 && memcmp(line, "data", 4) == 0)
        return add_data(s, value, value_n, err);
    if (name_n == 5 && memcmp(line, "event", 5) == 0) {
        size_t k = value_n < sizeof(s->event) ? value_n : sizeof(s->event) - 1;

        memcpy(s->event, value, k);
        s->event[k] = '\0';
    }
    return 0;
}

static int take_line(struct sse *s, struct err *err)
{
    const char *line = buf_get(&s->line);
    size_t n = s->line.len;
    int rc = 0;

    if (!s->is_begun && n >= 3 && memcmp(line, mark, 3) == 0) {
        line += 3;
        n -= 3;
    }
    s->is_begun = true;
    if (s->form == SSE_LINES) {
        if (!str_is_blank(line, n))
            rc = s->on_event(s->ctx, "", line, n, err);
    } else if (n == 0) {
        rc = dispatch(s, err);
    } else if (line[0] != ':') {
        rc = take_field(s, line, n, err);
    }
    buf_clear(&s->line);
    return rc;
}

int sse_feed(struct sse *s, const char *bytes, size_t n, struct err *err)
{
    const char *end = bytes + n;

    while (bytes < end) {
        size_t k = 0;

        if (s->is_after_cr && *bytes == '\n')
            bytes++;
        s->is_after_cr = false;
        while (bytes + k < end && bytes[k] != '\n' && bytes[k] != '\r')
            k++;
        if (buf_add(&s->line, bytes, k) < 0)
            return too_large(s, err);
        bytes += k;
        if (bytes == end)
            break;
        s->is_after_cr = *bytes++ == '\r';
        if (take_line(s, err) < 0)
            return -1;
    }
    return 0;
}

int sse_end(struct sse *s, struct err *err)
{
    if (s->line.len && take_line(s, err) < 0)
        return -1;
    return dispatch(s, err);
}
