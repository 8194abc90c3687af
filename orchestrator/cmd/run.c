/*
 * `oneshot run prog.py`: the same core without HTTP. Output appears as it is written, files are
 * left in a directory of their own, the exit status is the program's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/units.h"
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/connect.h"
#include "cmd/interrupt.h"
#include "cmd/save.h"
#include "core/core.h"
#include "core/run.h"
#include "policy/policy.h"

enum {
    CODE_MAX = 10 * 1024 * 1024,
    STATUS_TIMEOUT = 124, /* as timeout(1) says it */
};

struct options {
    const char *config, *policy, *timeout, *memory, *out_dir;
    struct arg_list files;
    bool force, quiet;
    char **words; /* program, then its arguments */
    int words_n;
};

struct job {
    struct options o;
    struct settings settings;
    struct core *core;
    struct connection connection;
    const struct policy *policy;
    struct run_request request;
    struct run_file *files;
    struct spool *spools;
    char *code;
    char *name;
    int signal_fd;
    int signal;      /* that the user ended the run with */
    struct err lost; /* why output could not be written */
};

/* ---- what is to be run ---- */

static int read_code(struct job *j, struct err *err)
{
    const char *path = j->o.words[0];
    bool is_stdin = strcmp(path, "-") == 0;

    if (io_read_file(is_stdin ? "/dev/stdin" : path, CODE_MAX, &j->code, &j->request.code_len,
                     err) < 0)
        return -1;
    j->request.code = j->code;
    j->request.filename = is_stdin ? "<stdin>" : path_base(path);
    /* What follows on standard input is the program's, unless it was the program. */
    j->request.stdin_fd = is_stdin ? -1 : STDIN_FILENO;
    return 0;
}

static int read_limits(struct job *j, struct err *err)
{
    const struct policy *p = j->policy;
    int64_t v;

    if (j->o.timeout) {
        if (units_time(j->o.timeout, &v, err) < 0)
            return err_wrap(err, "--timeout");
        if (v < 1 || v > p->time_max_ms)
            return err_set(err, ERR_INVALID, "--timeout must be over 0 and at most %.15g s",
                           (double)p->time_max_ms / 1000);
        j->request.timeout_ms = v;
    }
    if (j->o.memory) {
        if (units_size(j->o.memory, 0, &v, err) < 0)
            return err_wrap(err, "--memory");
        if (v > p->memory_max)
            return err_set(err, ERR_INVALID, "--memory is over the policy's %lld bytes",
                           (long long)p->memory_max);
        j->request.memory = (uint64_t)v;
    }
    return 0;
}

static int read_input(struct job *j, size_t i, struct err *err)
{
    const char *path = j->o.files.items[i];
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    char piece[65536];
    ssize_t n;

    spool_init(&j->spools[i], core_spool_dir(j->core));
    j->files[i] = (struct run_file){.path = path_base(path), .data = &j->spools[i]};
    if (fd < 0)
        return err_sys(err, "open '%s'", path);
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        if (spool_add(&j->spools[i], piece, (size_t)n, err) < 0)
            return -1;
    }
    if (n < 0)
        return err_sys(err, "read '%s'", path);
    return path_check(j->files[i].path, strlen(j->files[i].path), err);
}

static int read_inputs(struct job *j, struct err *err)
{
    size_t n = j->o.files.n;
    uint64_t total = 0;

    j->files = xcalloc(n, sizeof(*j->files));
    j->spools = xcalloc(n, sizeof(*j->spools));
    j->request.files = j->files;
    for (size_t i = 0; i < n; i++) {
        j->request.files_n = i + 1;
        if (read_input(j, i, err) < 0)
            return -1;
        total += j->spools[i].size;
    }
    if (total > (uint64_t)j->policy->files_in_total)
        return err_set(err, ERR_LIMIT, "the files are over %lld bytes together",
                       (long long)j->policy->files_in_total);
    return 0;
}

/* ---- keeper ---- */

static int load_policy(struct job *j, struct err *err)
{
    struct policy_set set = {0};

    if (policy_set_load(j->settings.policies_dir, &set, err) < 0)
        return -1;
    core_set_policies(j->core, &set);
    j->policy = core_pin_policy(j->core, j->o.policy);
    if (!j->policy)
        return err_set(err, ERR_NOTFOUND, "there is no policy '%s'", j->o.policy);
    return 0;
}

/* ---- files out ---- */

static int save(const struct job *j, const struct run_result *r)
{
    struct save_file *files = xcalloc(r->files_n + 1, sizeof(*files));
    const struct save_options o = {
        .dir = j->o.out_dir, .id = r->id, .force = j->o.force, .quiet = j->o.quiet};
    int rc;

    for (size_t i = 0; i < r->files_n; i++)
        files[i] = (struct save_file){.path = r->files[i].path, .data = &r->files[i].data};
    rc = save_files(&o, files, r->files_n);
    free(files);
    return rc;
}

/* ---- the run ---- */

static void cancel(void *run)
{
    run_cancel(run);
}

/* A reader that goes away has what it wants; a disk that is full has not. */
static void show(struct job *j, int fd, const struct run_event *ev)
{
    struct err err = {0};

    if (io_write_all(fd, ev->data, ev->len, INT64_MAX, &err) < 0 && err.kind != ERR_PEER)
        j->lost = err;
}

static void pull(struct job *j, struct run *run)
{
    struct run_event ev;

    do {
        run_next(run, &ev);
        if (ev.kind == RUN_STDOUT || ev.kind == RUN_STDERR)
            show(j, ev.kind == RUN_STDOUT ? STDOUT_FILENO : STDERR_FILENO, &ev);
    } while (ev.kind != RUN_DONE);
}

static struct run *run_once(struct job *j)
{
    struct run *run = run_new(j->core, &j->request);
    struct interrupt w = {.fd = j->signal_fd, .cancel = cancel, .ctx = run};

    interrupt_watch(&w);
    pull(j, run);
    interrupt_end(&w);
    j->signal = w.signal;
    return run;
}

static int status_of(const struct job *j, const struct run_result *r)
{
    switch (r->outcome) {
    case OUTCOME_TIMEOUT:
        return STATUS_TIMEOUT;
    case OUTCOME_CANCELLED:
        return 128 + (j->signal ? j->signal : SIGINT);
    case OUTCOME_INFRA:
        return r->was_sent ? 1 : EXIT_UNAVAILABLE;
    case OUTCOME_OK:
    case OUTCOME_CODE_ERROR:
    case OUTCOME_OOM:
    case OUTCOME_PIDS:
    case OUTCOME_DISK:
    case OUTCOME_OUTPUT_LIMIT:
    case OUTCOME_BLOCKED:
    case OUTCOMES:
        return r->exit_code > 0 || r->outcome == OUTCOME_OK ? r->exit_code : 1;
    }
    return 1;
}

static int finish(const struct job *j, const struct run_result *r)
{
    int status = status_of(j, r);

    if (r->reason[0])
        (void)fprintf(stderr, "oneshot: %s\n", r->reason);
    if (r->out_is_cut || r->err_is_cut)
        (void)fprintf(stderr, "oneshot: output was cut (policy '%s', output)\n", j->policy->name);
    for (size_t i = 0; i < r->omitted_n; i++)
        (void)fprintf(stderr, "oneshot: '%s' was left out: %s\n", r->omitted[i].path,
                      r->omitted[i].reason);
    if (j->lost.kind)
        (void)fprintf(stderr, "oneshot: output is lost: %s\n", j->lost.msg);
    if ((save(j, r) < 0 || j->lost.kind) && status == 0)
        status = 1;
    return status;
}

static int prepare(struct job *j, struct err *err)
{
    if (interrupt_open(&j->signal_fd, err) < 0)
        return -1;
    if (settings_load(j->o.config, &j->settings, err) < 0)
        return -1;
    log_init("run", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    if (connect_core(&j->settings, j->o.config, &j->connection, &j->core, err) < 0 ||
        load_policy(j, err) < 0 || read_code(j, err) < 0 || read_limits(j, err) < 0 ||
        read_inputs(j, err) < 0)
        return -1;
    j->request.policy = j->policy;
    j->request.args = (const char *const *)j->o.words + 1;
    return 0;
}

static void release(struct job *j)
{
    for (size_t i = 0; i < j->request.files_n; i++)
        spool_done(&j->spools[i]);
    free(j->files);
    free(j->spools);
    free(j->code);
    if (j->core)
        core_unpin_policy(j->core, j->policy);
    core_free(j->core);
    connect_close(&j->connection);
    settings_done(&j->settings);
}

static int perform(struct job *j)
{
    struct run *run = run_once(j);
    int status;

    if (run_result(run)->outcome == OUTCOME_INFRA && !run_result(run)->was_sent &&
        connect_own_core(&j->settings, j->o.config, &j->connection, j->core, NULL) == 0) {
        run_free(run);
        run = run_once(j);
    }
    status = finish(j, run_result(run));
    run_free(run);
    return status;
}

int cmd_run(int argc, char **argv)
{
    static const char usage[] = "run [OPTIONS] PROGRAM.py|- [ARGUMENTS]";
    struct job j = {
        .o = {.policy = "default"},
        .connection = {.fd = -1, .control = -1},
        .signal_fd = -1,
        .request = {.dialect = "cli",
              .figures = -1,
              .client_fd = -1,
              .stdin_fd = -1,
              .client = "cli",
              .timeout_ms = RUN_TIMEOUT_DEFAULT,
              .deadline_ms = INT64_MAX}
    };
    const struct arg table[] = {
        ARG_VALUE("--policy", "-p", "NAME", &j.o.policy, "what the program may use (default)"),
        ARG_LIST("--file", "-f", "PATH", &j.o.files, "put a copy into its work directory"),
        ARG_VALUE("--timeout", "-t", "TIME", &j.o.timeout, "as 30s, 2m"),
        ARG_VALUE("--memory", "-m", "SIZE", &j.o.memory, "as 256MiB"),
        ARG_VALUE("--output", "-o", "DIR", &j.o.out_dir, "where its files go (./oneshot-<id>)"),
        ARG_FLAG("--force", NULL, &j.o.force, "over existing files, and hidden ones too"),
        ARG_FLAG("--quiet", "-q", &j.o.quiet, "say nothing about files"),
        ARG_VALUE("--config", "-c", "FILE", &j.o.config, "settings"),
    };
    struct err err = {0};
    int n = args_read_until_word(argc, argv, table, ARRAY_LEN(table), usage), status;

    if (n == -2)
        return 0;
    if (n < 1) {
        if (n == 0)
            (void)fprintf(stderr, "usage: oneshot %s\n", usage);
        return EXIT_USAGE;
    }
    argv[n + 1] = NULL;
    j.o.words = argv + 1;
    j.o.words_n = n;
    if (prepare(&j, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        status = EXIT_USAGE;
    } else {
        status = perform(&j);
    }
    release(&j);
    return status;
}
