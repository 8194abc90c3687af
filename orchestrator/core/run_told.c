#include "core/run_told.h"

#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "core/run.h"

void run_note(struct run_result *r, const char *line)
{
    char last = '\n';

    if (r->err_out.size && spool_read(&r->err_out, r->err_out.size - 1, &last, 1, NULL) == 1 &&
        last != '\n' && spool_add(&r->err_out, "\n", 1, NULL) < 0)
        return;
    if (spool_add(&r->err_out, line, strlen(line), NULL) == 0)
        (void)!spool_add(&r->err_out, "\n", 1, NULL);
}

void run_mark_cut(struct run_result *r)
{
    static const char mark[] = "<output cut>";

    if (r->out_is_cut)
        (void)!spool_add(&r->out, mark, sizeof(mark) - 1, NULL);
    if (r->err_is_cut)
        (void)!spool_add(&r->err_out, mark, sizeof(mark) - 1, NULL);
}

const char *run_limit_line(const struct run_result *r)
{
    switch (r->outcome) {
    case OUTCOME_OK:
        return "";
    case OUTCOME_CODE_ERROR:
        return r->term_signal ? r->reason : "";
    case OUTCOME_TIMEOUT:
    case OUTCOME_OOM:
    case OUTCOME_PIDS:
    case OUTCOME_DISK:
    case OUTCOME_OUTPUT_LIMIT:
    case OUTCOME_BLOCKED:
    case OUTCOME_CANCELLED:
    case OUTCOME_INFRA:
    case OUTCOMES:
        return r->reason;
    }
    return "";
}

bool run_return_code(const struct run_result *r, int *ret_code)
{
    if (r->outcome == OUTCOME_TIMEOUT)
        return false;
    *ret_code = r->exit_code;
    if (r->term_signal)
        *ret_code = -r->term_signal;
    else if (r->outcome != OUTCOME_OK && r->outcome != OUTCOME_CODE_ERROR)
        *ret_code = -9;
    return true;
}

void run_note_limit(struct run_result *r, double timeout_s)
{
    char text[64];

    if (r->outcome == OUTCOME_TIMEOUT) {
        int n = snprintf(text, sizeof(text), "\nExecution timed out after %.15gs.", timeout_s);

        (void)!spool_add(&r->err_out, text, (size_t)n, NULL);
    } else if (run_limit_line(r)[0]) {
        run_note(r, run_limit_line(r));
    }
}

static bool is_shared(const struct run_result *r, size_t i, const char *base)
{
    for (size_t k = 0; k < r->files_n; k++) {
        if (k != i && strcmp(path_base(r->files[k].path), base) == 0)
            return true;
    }
    return false;
}

void run_put_file_name(struct buf *b, const struct run_result *r, size_t i)
{
    const struct run_out_file *f = &r->files[i];
    const char *base = path_base(f->path);

    if (!is_shared(r, i, base)) {
        (void)buf_str(b, base);
        return;
    }
    (void)buf_fmt(b, "%s%s", f->is_tmp ? "tmp/" : "", f->path);
}
