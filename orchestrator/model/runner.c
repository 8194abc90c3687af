#include "model/runner.h"

#include "base/mem.h"

void runner_run(struct runner *r, const struct runner_call *c, struct runner_result *ret)
{
    *ret = (struct runner_result){0};
    spool_init(&ret->out, c->spool_dir);
    spool_init(&ret->err_out, c->spool_dir);
    r->ops->run(r, c, ret);
}

void runner_result_done(struct runner_result *r)
{
    for (size_t i = 0; i < r->files_n; i++) {
        free(r->files[i].name);
        spool_done(&r->files[i].data);
    }
    free(r->files);
    spool_done(&r->out);
    spool_done(&r->err_out);
    *r = (struct runner_result){.out.fd = -1, .err_out.fd = -1};
}

void runner_free(struct runner *r)
{
    if (r)
        r->ops->free(r);
}
