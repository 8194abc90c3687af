#include "store/row.h"

#include <stdlib.h>
#include <string.h>

static uint64_t length(const char *s)
{
    return s ? strlen(s) : 0;
}

void call_record_done(struct call_record *r)
{
    free(r->prompt);
    free(r->reply);
    free(r->error);
    r->prompt = r->reply = r->error = NULL;
}

uint64_t row_text_bytes(const struct row *r)
{
    if (r->kind == ROW_CALL)
        return length(r->call.prompt) + length(r->call.reply) + length(r->call.error);
    return r->run.code ? r->run.code_bytes : 0;
}

void row_free(struct row *r)
{
    if (r->kind == ROW_CALL)
        call_record_done(&r->call);
    else
        run_record_done(&r->run);
    free(r);
}
