#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void PRINTF_LIKE(4, 0)
    set_v(struct err *e, enum err_kind kind, int sys, const char *fmt, va_list ap)
{
    if (!e)
        return;
    e->kind = kind;
    e->sys = sys;
    (void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
}

static void append(struct err *e, const char *text)
{
    size_t len = strlen(e->msg);

    (void)snprintf(e->msg + len, sizeof(e->msg) - len, ": %s", text);
}

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_v(e, kind, 0, fmt, ap);
    va_end(ap);
    return -1;
}

int err_sys(struct err *e, const char *fmt, ...)
{
    int sys = errno;
    va_list ap;
    char text[80];

    va_start(ap, fmt);
    set_v(e, ERR_INTERNAL, sys, fmt, ap);
    va_end(ap);
    /* GNU strerror_r: returns the text, which need not be in `text`. */
    if (e)
        append(e, strerror_r(sys, text, sizeof(text)));
    return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char old[ERR_MSG_MAX];
    va_list ap;

    if (!e)
        return -1;
    memcpy(old, e->msg, sizeof(old));
    va_start(ap, fmt);
    set_v(e, e->kind, e->sys, fmt, ap);
    va_end(ap);
    append(e, old);
    return -1;
}

const char *err_kind_name(enum err_kind kind)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",         [ERR_INVALID] = "invalid",     [ERR_NOTFOUND] = "notfound",
        [ERR_DENIED] = "denied",     [ERR_LIMIT] = "limit",         [ERR_TIMEOUT] = "timeout",
        [ERR_BUSY] = "busy",         [ERR_CANCELLED] = "cancelled", [ERR_PEER] = "peer",
        [ERR_INTERNAL] = "internal",
    };

    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "unknown";
}
