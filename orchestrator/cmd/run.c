/*
 * `oneshot run prog.py`: the same core without HTTP. Output appears as it is written, files are
 * left in a directory of their own, the exit status is the program's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/units.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/connect.h"
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
    int signal; /* that the user ended the run with */
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

static int open_core(struct job *j, struct err *err)
{
    const char *tmp = getenv("TMPDIR");

    if (connect_service(&j->settings, &j->connection, NULL) < 0 &&
        connect_own(&j->settings, j->o.config, &j->connection, err) < 0)
        return -1;
    return core_new(&(struct core_options){.spool_dir = tmp && *tmp ? tmp : "/tmp",
                                           .keeper_fd = j->connection.fd},
                    &j->core, err);
}

/* The service has other policies than the files say: then a keeper of our own serves. */
static int use_own_keeper(struct job *j, struct err *err)
{
    struct connection own;

    if (j->connection.pid || connect_own(&j->settings, j->o.config, &own, err) < 0)
        return -1;
    j->connection = own;
    core_set_keeper(j->core, own.fd);
    return 0;
}

/* ---- files out ---- */

/* Files of strangers: never over what exists, never hidden, unless the user said so. */
static int save_one(const struct job *j, int dir_fd, const struct run_out_file *f)
{
    int flags = O_WRONLY | O_CREAT | (j->o.force ? O_TRUNC : O_EXCL);
    bool is_hidden = f->path[0] == '.' || strstr(f->path, "/.");
    auto_fd int fd = -1;
    char piece[65536];
    uint64_t at = 0;

    if (is_hidden && !j->o.force) {
        (void)fprintf(stderr, "oneshot: '%s' is hidden and was not saved (--force)\n", f->path);
        return -1;
    }
    if (path_make_parents(dir_fd, f->path) == 0)
        fd = path_open(dir_fd, f->path, flags, 0644);
    if (fd < 0) {
        (void)fprintf(stderr, "oneshot: '%s' was not saved: %s%s\n", f->path, strerror(errno),
                      errno == EEXIST ? " (--force)" : "");
        return -1;
    }
    while (at < f->data.size) {
        struct err err = {0};
        ssize_t n = spool_read(&f->data, at, piece, sizeof(piece), &err);

        if (n <= 0 || io_write_all(fd, piece, (size_t)n, INT64_MAX, &err) < 0) {
            (void)fprintf(stderr, "oneshot: '%s' was saved in part: %s\n", f->path, err.msg);
            return -1;
        }
        at += (uint64_t)n;
    }
    return 0;
}

static int save_files(const struct job *j, const struct run_result *r)
{
    auto_free char *name = j->o.out_dir ? xstrdup(j->o.out_dir) : xasprintf("oneshot-%s", r->id);
    auto_fd int dir_fd = -1;
    size_t failed = 0;

    if (!r->files_n)
        return 0;
    if (mkdir(name, 0755) < 0 && (errno != EEXIST || !j->o.out_dir)) {
        (void)fprintf(stderr, "oneshot: cannot make '%s': %s\n", name, strerror(errno));
        return -1;
    }
    dir_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; dir_fd >= 0 && i < r->files_n; i++)
        failed += save_one(j, dir_fd, &r->files[i]) < 0;
    if (!j->o.quiet)
        (void)fprintf(stderr, "oneshot: %zu file%s in %s/\n", r->files_n - failed,
                      r->files_n - failed == 1 ? "" : "s", name);
    return failed || dir_fd < 0 ? -1 : 0;
}

/* ---- the run ---- */

struct interrupt {
    int signal_fd;
    struct run *run;
    int signal; /* that ended the run; 0: none did */
};

/* The first Ctrl-C ends the program and keeps what it wrote; the second ends us. */
static void *watch_interrupt(void *arg)
{
    struct interrupt *w = arg;
    struct signalfd_siginfo info;

    while (read(w->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR1)
            return NULL;
        if (w->signal)
            _exit(128 + w->signal);
        w->signal = (int)info.ssi_signo;
        run_cancel(w->run);
    }
    return NULL;
}

static void pull(struct run *run)
{
    struct run_event ev;

    do {
        run_next(run, &ev);
        if (ev.kind == RUN_STDOUT || ev.kind == RUN_STDERR)
            (void)!io_write_all(ev.kind == RUN_STDOUT ? STDOUT_FILENO : STDERR_FILENO, ev.data,
                                ev.len, INT64_MAX, NULL);
    } while (ev.kind != RUN_DONE);
}

static struct run *run_once(struct job *j)
{
    struct run *run = run_new(j->core, &j->request);
    struct interrupt w = {.signal_fd = j->signal_fd, .run = run};
    pthread_t thread;
    bool watches = pthread_create(&thread, NULL, watch_interrupt, &w) == 0;

    pull(run);
    if (watches) {
        (void)pthread_kill(thread, SIGUSR1);
        (void)pthread_join(thread, NULL);
    }
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
        (void)fprintf(stderr, "oneshot: output was cut at %lld bytes\n",
                      (long long)j->policy->output_soft);
    for (size_t i = 0; i < r->omitted_n; i++)
        (void)fprintf(stderr, "oneshot: '%s' was left out: %s\n", r->omitted[i].path,
                      r->omitted[i].reason);
    if (save_files(j, r) < 0 && status == 0)
        status = 1;
    return status;
}

static int prepare(struct job *j, struct err *err)
{
    sigset_t set;

    child_signals();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    j->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (j->signal_fd < 0)
        return err_sys(err, "signalfd");
    if (settings_load(j->o.config, &j->settings, err) < 0)
        return -1;
    /* A keeper of our own speaks of its business only when something is wrong. */
    if (!getenv("LOG_LEVEL") && setenv("LOG_LEVEL", "error", 1) < 0)
        return err_sys(err, "setenv");
    log_init("run", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    if (open_core(j, err) < 0 || load_policy(j, err) < 0 || read_code(j, err) < 0 ||
        read_limits(j, err) < 0 || read_inputs(j, err) < 0)
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
        use_own_keeper(j, NULL) == 0) {
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
