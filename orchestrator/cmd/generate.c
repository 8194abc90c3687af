/*
 * `oneshot generate "plot ..."`: the generator without HTTP. What happens is told on standard error,
 * the last program's output goes to standard output, its files into a directory of their own.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/connect.h"
#include "cmd/interrupt.h"
#include "cmd/make_generator.h"
#include "cmd/save.h"
#include "core/core.h"
#include "frames/handover.h"
#include "model/generate.h"
#include "policy/policy.h"

enum {
    PROMPT_MAX = 8 * 1024 * 1024,
    STATUS_TIMEOUT = 124, /* as timeout(1) says it */
};

struct job {
    const char *config, *out_dir;
    bool force, quiet, verbose;
    char *prompt;
    struct settings settings;
    struct connection connection;
    struct core *core; /* NULL: programs run elsewhere */
    const char *spool_dir;
    struct generator *generator;
    struct stop stop;
    int signal_fd, signal;
    bool is_line_open; /* a line of progress that the next one replaces */
};

/* ---- progress ---- */

static void close_line(struct job *j)
{
    if (j->is_line_open)
        (void)fputs("\r\033[K", stderr);
    j->is_line_open = false;
}

static void say(struct job *j, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct job *j, const char *fmt, ...)
{
    va_list args;

    if (j->quiet)
        return;
    close_line(j);
    va_start(args, fmt);
    (void)fputs("oneshot: ", stderr);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static void on_progress(struct job *j, int attempt, const struct model_progress *p)
{
    if (p->wait_s) {
        say(j, "the model is asked again in %d s", p->wait_s);
    } else if (!p->thinking_bytes && !p->text_bytes) {
        say(j, "attempt %d: asking %s", attempt, generator_model(j->generator));
    } else if (!j->quiet && isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[Koneshot: %s, %zu bytes",
                      p->text_bytes ? "writing" : "thinking",
                      p->text_bytes ? p->text_bytes : p->thinking_bytes);
        j->is_line_open = true;
    }
}

/* The line that says most: Python puts it last. */
static void say_retry(struct job *j, const struct generate_event *ev)
{
    auto_free char *text = xstrndup(ev->text, ev->n);
    char *trace = strstr(text, "\nOUTPUT: "), *last;

    if (trace)
        *trace = '\0';
    last = strrchr(text, '\n');
    say(j, "attempt %d failed: %.200s", ev->attempt, last ? last + 1 : text);
}

static void show(struct job *j, const struct generate_event *ev)
{
    if (!j->verbose)
        return;
    close_line(j);
    (void)!io_write_all(STDERR_FILENO, ev->text, ev->n, INT64_MAX, NULL);
    if (ev->kind == GENERATE_CODE)
        (void)fputc('\n', stderr);
}

static void on_event(void *ctx, const struct generate_event *ev)
{
    struct job *j = ctx;

    switch (ev->kind) {
    case GENERATE_ASKING:
        on_progress(j, ev->attempt, ev->progress);
        return;
    case GENERATE_CODE:
        say(j, "attempt %d: a program of %zu bytes", ev->attempt, ev->n);
        show(j, ev);
        return;
    case GENERATE_RUNNING:
        say(j, "attempt %d: running", ev->attempt);
        return;
    case GENERATE_STDOUT:
    case GENERATE_STDERR:
        show(j, ev);
        return;
    case GENERATE_RETRY:
        say_retry(j, ev);
        return;
    }
}

/* ---- the end ---- */

static int save(const struct job *j, const struct generation *x)
{
    const struct runner_result *r = &x->result;
    struct save_file *files = xcalloc(r->files_n + 1, sizeof(*files));
    const struct save_options o = {
        .dir = j->out_dir, .id = r->id[0] ? r->id : x->id, .force = j->force, .quiet = j->quiet};
    int rc;

    for (size_t i = 0; i < r->files_n; i++)
        files[i] = (struct save_file){.path = r->files[i].name, .data = &r->files[i].data};
    rc = save_files(&o, files, r->files_n);
    free(files);
    return rc;
}

static int print_spool(const struct spool *s, int fd, struct err *err)
{
    char piece[65536], last = '\n';
    uint64_t at = 0;
    ssize_t n;

    while ((n = spool_read(s, at, piece, sizeof(piece), err)) > 0) {
        if (io_write_all(fd, piece, (size_t)n, INT64_MAX, err) < 0)
            return -1;
        last = piece[n - 1];
        at += (uint64_t)n;
    }
    if (n == 0 && at && last != '\n')
        return io_write_all(fd, "\n", 1, INT64_MAX, err);
    return (int)n;
}

/* 0 also for a reader that goes away: it has what it wants. */
static int print_output(const struct runner_result *r)
{
    struct err err = {0};
    int rc = print_spool(&r->out, STDOUT_FILENO, &err);

    (void)!print_spool(&r->err_out, STDERR_FILENO, NULL);
    if (rc == 0 || err.kind == ERR_PEER)
        return 0;
    (void)fprintf(stderr, "oneshot: output is lost: %s\n", err.msg);
    return -1;
}

static const char *why_no_more(const struct generation *x)
{
    if (x->is_late)
        return "the time is up";
    if (x->stopped_early)
        return strcmp(x->stopped_early, "same_code") == 0 ? "the model wrote the same program again"
                                                          : "the same error came again";
    return "";
}

static int status_of(const struct job *j, const struct generation *x)
{
    switch (x->end) {
    case GENERATE_OK:
        return 0;
    case GENERATE_FAILED:
        if (x->is_late)
            return STATUS_TIMEOUT;
        return x->result.has_code && x->result.return_code > 0 ? x->result.return_code : 1;
    case GENERATE_FAULT:
        return x->status == 503 ? EXIT_UNAVAILABLE : EXIT_MODEL;
    case GENERATE_CANCELLED:
        return 128 + (j->signal ? j->signal : SIGINT);
    }
    return 1;
}

static int finish(struct job *j, const struct generation *x)
{
    int status = status_of(j, x), lost;

    close_line(j);
    if (x->end == GENERATE_FAULT) {
        (void)fprintf(stderr, "oneshot: %s\n", x->error);
        return status;
    }
    if (x->end == GENERATE_CANCELLED)
        return status;
    lost = print_output(&x->result);
    if (x->end == GENERATE_FAILED)
        (void)fprintf(stderr, "oneshot: failed after %d attempt%s%s%s\n", x->attempts,
                      x->attempts == 1 ? "" : "s", *why_no_more(x) ? ": " : "", why_no_more(x));
    if ((save(j, x) < 0 || lost < 0) && status == 0)
        status = 1;
    return status;
}

/* ---- preparing ---- */

/* Whether the service's keeper serves the policy that the files here describe. */
static bool keeper_knows(struct core *core, const struct policy *p)
{
    struct handover_pool *pools = NULL;
    struct handover_counts counts;
    bool knows = false;
    size_t n = 0;

    if (core_stats(core, &pools, &n, &counts, NULL) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        knows = knows || pools[i].policy == p->key;
    free(pools);
    return knows;
}

static int open_core(struct job *j, struct err *err)
{
    const struct settings *s = &j->settings;
    struct policy_set set = {0};
    const struct policy *p;

    if (connect_core(s, j->config, &j->connection, &j->core, err) < 0 ||
        policy_set_load(s->policies_dir, &set, err) < 0)
        return -1;
    core_set_policies(j->core, &set);
    p = core_pin_policy(j->core, s->generate_policy);
    if (!p)
        return err_set(err, ERR_NOTFOUND, "there is no policy '%s'", s->generate_policy);
    if (!j->connection.pid && !keeper_knows(j->core, p))
        (void)!connect_own_core(s, j->config, &j->connection, j->core, NULL);
    core_unpin_policy(j->core, p);
    return 0;
}

static int read_prompt(struct job *j, char **words, int n, struct err *err)
{
    CLEANUP(buf_done) struct buf b = {0};
    size_t len;

    if (n == 1 && strcmp(words[0], "-") == 0) {
        if (io_read_file("/dev/stdin", PROMPT_MAX, &j->prompt, &len, err) < 0)
            return -1;
    } else {
        buf_init(&b, PROMPT_MAX);
        for (int i = 0; i < n; i++)
            (void)buf_fmt(&b, "%s%s", i ? " " : "", words[i]);
        j->prompt = b.len ? buf_take(&b) : xstrdup("");
    }
    if (str_is_blank(j->prompt, strlen(j->prompt)))
        return err_set(err, ERR_INVALID, "the prompt is empty");
    return 0;
}

static int prepare(struct job *j, struct err *err)
{
    struct generator_files files;
    const char *tmp = getenv("TMPDIR");
    int rc;

    j->spool_dir = tmp && *tmp ? tmp : "/tmp";
    if (interrupt_open(&j->signal_fd, err) < 0 || settings_load(j->config, &j->settings, err) < 0)
        return -1;
    log_init("generate", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    if (!j->settings.model_key[0])
        return err_set(err, ERR_DENIED, "there is no API key: set COHERE_API_KEY");
    if (!j->settings.sandbox_url[0] && open_core(j, err) < 0)
        return -1;
    if (generator_files_open(&j->settings, &files, err) < 0)
        return -1;
    rc = make_generator(&j->settings, &files,
                        &(struct generator_place){.core = j->core, .spool_dir = j->spool_dir},
                        &j->generator, err);
    if (rc < 0)
        generator_files_done(&files);
    return rc;
}

static void cancel(void *stop)
{
    stop_ask(stop);
}

static int perform(struct job *j)
{
    const struct generate_request q = {.prompt = j->prompt,
                                       .dialect = "cli",
                                       .client = "cli",
                                       .stop = &j->stop,
                                       .on_event = on_event,
                                       .ctx = j};
    struct interrupt w = {.fd = j->signal_fd, .cancel = cancel, .ctx = &j->stop};
    struct generation x;
    int status;

    stop_init(&j->stop, -1);
    interrupt_watch(&w);
    generate(j->generator, &q, &x);
    interrupt_end(&w);
    j->signal = w.signal;
    status = finish(j, &x);
    generation_done(&x);
    stop_done(&j->stop);
    return status;
}

static void release(struct job *j)
{
    generator_free(j->generator);
    core_free(j->core);
    connect_close(&j->connection);
    settings_done(&j->settings);
    free(j->prompt);
}

int cmd_generate(int argc, char **argv)
{
    static const char usage[] = "generate [OPTIONS] PROMPT...|-";
    struct job j = {
        .connection = {.fd = -1, .control = -1},
          .signal_fd = -1
    };
    const struct arg table[] = {
        ARG_VALUE("--output", "-o", "DIR", &j.out_dir, "where files go (./oneshot-<id>)"),
        ARG_FLAG("--force", NULL, &j.force, "over existing files, and hidden ones too"),
        ARG_FLAG("--quiet", "-q", &j.quiet, "say nothing while it works"),
        ARG_FLAG("--verbose", "-v", &j.verbose, "show programs and their output as they come"),
        ARG_VALUE("--config", "-c", "FILE", &j.config, "settings"),
    };
    struct err err = {0};
    int n = args_read(argc, argv, table, ARRAY_LEN(table), usage), status;

    if (n == -2)
        return 0;
    if (n < 1) {
        if (n == 0)
            (void)fprintf(stderr, "usage: oneshot %s\n", usage);
        return EXIT_USAGE;
    }
    if (read_prompt(&j, argv + 1, n, &err) < 0 || prepare(&j, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        status = EXIT_USAGE;
    } else {
        status = perform(&j);
    }
    release(&j);
    return status;
}
