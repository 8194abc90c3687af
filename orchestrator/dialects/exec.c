#include "dialects/exec.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/utf8.h"
#include "tools/tools.h"

enum { STEP = 16, ARGS_MAX = 256, ENV_MAX = 64, TEXT_MAX = 128 * 1024 };

struct exec {
    struct http_exchange *x;
    struct app *app;
    struct run_request request;
    struct run *run;
    struct run_file *files;
    char **kept;
    size_t kept_n;
    struct spool **spools;
    size_t spools_n;
};

/* The reply is out (or nobody is left to read it): now the container goes. */
static void complete(void *ctx)
{
    struct exec *e = ctx;

    run_free(e->run);
    core_unpin_policy(e->app->core, e->request.policy);
    for (size_t i = 0; i < e->kept_n; i++)
        free(e->kept[i]);
    for (size_t i = 0; i < e->spools_n; i++) {
        spool_done(e->spools[i]);
        free(e->spools[i]);
    }
    free(e->kept);
    free(e->spools);
    free(e->files);
    free(e);
}

struct exec *exec_new(struct http_exchange *x, struct app *app, const char *dialect,
                      const char *policy)
{
    const struct policy *p = core_pin_policy(app->core, policy);
    struct exec *e;

    if (!p)
        return NULL;
    e = xcalloc(1, sizeof(*e));
    e->x = x;
    e->app = app;
    e->request = (struct run_request){
        .dialect = dialect,
        .policy = p,
        .figures = -1,
        .stdin_fd = -1,
        .timeout_ms = RUN_TIMEOUT_DEFAULT,
        .deadline_ms = INT64_MAX,
        .client = http_client(x),
        .client_fd = http_client_fd(x),
        .traceparent = http_header(x, "traceparent"),
    };
    if (p->tools[0])
        e->request.tools = exec_keep(e, tools_catalogue(app->tools, p));
    http_on_complete(x, complete, e);
    return e;
}

struct run_request *exec_request(struct exec *e)
{
    return &e->request;
}

struct run_request *exec_program(struct exec *e, const char *code, const char *filename)
{
    e->request.code = code;
    e->request.code_len = strlen(code);
    e->request.filename = filename;
    return &e->request;
}

char *exec_keep(struct exec *e, char *text)
{
    if (e->kept_n % STEP == 0)
        e->kept = xarray(e->kept, e->kept_n + STEP, sizeof(*e->kept));
    e->kept[e->kept_n++] = text;
    return text;
}

struct spool *exec_spool(struct exec *e)
{
    struct spool *s = xmalloc(sizeof(*s));

    spool_init(s, core_spool_dir(e->app->core));
    if (e->spools_n % STEP == 0)
        e->spools = xarray(e->spools, e->spools_n + STEP, sizeof(*e->spools));
    e->spools[e->spools_n++] = s;
    return s;
}

void exec_add_file(struct exec *e, const char *path, const struct spool *data)
{
    size_t n = e->request.files_n;

    if (n % STEP == 0)
        e->files = xarray(e->files, n + STEP, sizeof(*e->files));
    e->files[n] = (struct run_file){.path = path, .data = data};
    e->request.files = e->files;
    e->request.files_n = n + 1;
}

static int check_files(const struct run_request *q, struct err *err)
{
    uint64_t total = 0;

    if (q->files_n > (size_t)q->policy->files_in)
        return err_set(err, ERR_LIMIT, "'files' has more than %lld items",
                       (long long)q->policy->files_in);
    for (size_t i = 0; i < q->files_n; i++) {
        const struct run_file *f = &q->files[i];

        if (path_check(f->path, strlen(f->path), err) < 0)
            return err_wrap(err, "'files[%zu]'", i);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(q->files[k].path, f->path) == 0)
                return err_set(err, ERR_INVALID, "'files[%zu]' has the name of another file", i);
        }
        total += f->data->size;
    }
    if (total > (uint64_t)q->policy->files_in_total)
        return err_set(err, ERR_LIMIT, "'files' are over %lld bytes together",
                       (long long)q->policy->files_in_total);
    return 0;
}

static bool allows_env(const struct policy *p, const char *name)
{
    for (char *const *a = p->env_allow; a && *a; a++) {
        if (strcmp(*a, name) == 0)
            return true;
    }
    return false;
}

static int check_env(const struct run_request *q, struct err *err)
{
    size_t total = 0;

    if (q->env_n > ENV_MAX)
        return err_set(err, ERR_LIMIT, "'env' has more than %d names", ENV_MAX);
    for (size_t i = 0; i < q->env_n; i++) {
        total += strlen(q->env[i].name) + strlen(q->env[i].value);
        if (!allows_env(q->policy, q->env[i].name))
            return err_set(err, ERR_INVALID, "'env.%.60s' is not allowed by policy '%s'",
                           q->env[i].name, q->policy->name);
    }
    return total > TEXT_MAX ? err_set(err, ERR_LIMIT, "'env' is too large") : 0;
}

static int check_args(const struct run_request *q, struct err *err)
{
    size_t n = 0, total = 0;

    for (const char *const *a = q->args; a && *a; a++, n++)
        total += strlen(*a);
    if (n > ARGS_MAX || total > TEXT_MAX)
        return err_set(err, ERR_LIMIT, "'args' is too large");
    return 0;
}

int exec_check(struct exec *e, struct err *err)
{
    const struct run_request *q = &e->request;
    const struct policy *p = q->policy;

    if (q->memory > (uint64_t)p->memory_max)
        return err_set(err, ERR_LIMIT, "'memory' is over the %lld bytes of policy '%s'",
                       (long long)p->memory_max, p->name);
    if (q->stdin_len > (uint64_t)p->files_in_total)
        return err_set(err, ERR_LIMIT, "'stdin' is over %lld bytes", (long long)p->files_in_total);
    if (check_files(q, err) < 0 || check_env(q, err) < 0)
        return -1;
    return check_args(q, err);
}

struct run *exec_start(struct exec *e)
{
    e->run = run_new(e->app->core, &e->request);
    http_set_header(e->x, "X-Run-Id", run_result(e->run)->id);
    return e->run;
}

static void set_headers(struct exec *e, const struct run_result *r)
{
    char timing[160];

    if (r->container[0])
        http_set_header(e->x, "X-Container-Id", r->container);
    (void)snprintf(timing, sizeof(timing),
                   "queue;dur=%.3f, take;dur=%.3f, run;dur=%.3f, collect;dur=%.3f",
                   (double)r->queue_us / 1000, (double)r->take_us / 1000, (double)r->run_us / 1000,
                   (double)r->collect_us / 1000);
    http_set_header(e->x, "Server-Timing", timing);
}

struct run_result *exec_run(struct exec *e)
{
    struct run_result *r = run_wait(exec_start(e));

    set_headers(e, r);
    return r;
}

bool exec_is_unavailable(struct exec *e)
{
    const struct run_result *r = run_result(e->run);
    bool may_come_again = r->outcome == OUTCOME_INFRA || r->outcome == OUTCOME_CANCELLED;
    char seconds[16];

    if (!may_come_again || r->was_sent)
        return false;
    (void)snprintf(seconds, sizeof(seconds), "%d", r->retry_after_s > 0 ? r->retry_after_s : 1);
    http_set_header(e->x, "Retry-After", seconds);
    return true;
}
