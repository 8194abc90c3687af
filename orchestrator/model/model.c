#include "model/model.h"

#include "base/clock.h"

enum { TEXT_MAX = 1024 * 1024 };

int model_call(struct model *m, const struct model_call *c, struct model_reply *ret,
               struct model_fault *fault)
{
    int64_t began = clock_us();
    int rc;

    *ret = (struct model_reply){.tokens_in = -1, .tokens_out = -1};
    *fault = (struct model_fault){0};
    buf_init(&ret->text, TEXT_MAX);
    rc = m->ops->call(m, c, ret, fault);
    ret->took_us = clock_us() - began;
    return rc;
}

void model_reply_done(struct model_reply *r)
{
    buf_done(&r->text);
}

void model_free(struct model *m)
{
    if (m)
        m->ops->free(m);
}

const char *model_finish_name(enum model_finish f)
{
    static const char *const names[] = {"complete", "stopped", "max_tokens"};

    return names[f];
}
