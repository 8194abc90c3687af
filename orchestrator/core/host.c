#include "core/host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "core/histogram.h"

static const int64_t bounds_us[HOST_BUCKETS - 1] = {
    1000,   2500,   5000,    10000,   25000,    50000,    100000,
    250000, 500000, 1000000, 5000000, 15000000, 30000000,
};

const struct histogram_scale host_scale = {bounds_us, HOST_BUCKETS - 1, 1e6};

const char *host_verdict_name(enum host_verdict v)
{
    static const char *const names[HOST_VERDICTS] = {
        [HOST_OK] = "ok",           [HOST_FAILED] = "failed",   [HOST_DOWN] = "down",
        [HOST_TIMEOUT] = "timeout", [HOST_INVALID] = "invalid", [HOST_FORBIDDEN] = "forbidden",
        [HOST_BUDGET] = "budget",   [HOST_LIMIT] = "limit",     [HOST_CANCELLED] = "cancelled",
    };

    return names[v];
}

void host_fail(struct host_answer *ret, enum host_verdict verdict, const char *type,
               const char *fmt, ...)
{
    auto_free char *text = NULL;
    size_t n;
    va_list args;
    int made;

    va_start(args, fmt);
    made = vasprintf(&text, fmt, args);
    va_end(args);
    if (made < 0)
        text = NULL;
    n = text ? strlen(text) : 0;
    buf_done(&ret->result);
    buf_done(&ret->message);
    buf_init(&ret->message, HOST_MESSAGE_MAX);
    (void)buf_add(&ret->message, text ? text : "", n < HOST_MESSAGE_MAX ? n : HOST_MESSAGE_MAX);
    ret->verdict = verdict;
    ret->is_error = true;
    ret->type = type;
}

bool host_is_listed(char *const *list, const char *name)
{
    for (; *list; list++) {
        size_t n = strlen(*list);

        if (strcmp(*list, "*") == 0 || (str_starts(name, *list) && (!name[n] || name[n] == '.')))
            return true;
    }
    return false;
}
