/*
 * One generation is a few attempts. The model is asked first; a container is taken only when there
 * is a program for it, so that a model that fails costs none. What the sandbox is to blame for ends
 * the generation and is never shown to the model.
 */
#include "model/generate.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "model/extract.h"
#include "model/failure.h"
#include "model/generate_state.h"
#include "store/call_record.h"
#include "store/store.h"

enum {
    CODE_BACK_MAX = 64 * 1024, /* bytes of a failed program that the model sees again */
    STATUS_BAD_GATEWAY = 502,
    STATUS_BUSY = 429,
    STATUS_UNAVAILABLE = 503,
    STATUS_INTERNAL = 500,
    BUSY_S = 30, /* where a rate limit does not say for how long */
    LINE_LEN = 300,
};

static const char no_code[] = "the model returned no code";
static const char no_plot[] =
    "A plot was asked for, but the program saved no file. Save every figure with savefig() into "
    "the current directory.";

struct attempt {
    int number;
    char *code; /* NULL: the model gave none */
    struct runner_result result;
    bool is_ok;
    int rank;    /* of failures: the higher the better */
    char *error; /* NULL when it is none */
    char *key;
};

struct work {
    struct generator *g;
    const struct generate_request *q;
    struct generation *x;
    int64_t deadline_ms;
    char *guide;
    struct attempt *last, *best; /* of those that came to something; may be the same */
    char **codes;                /* of all attempts so far */
    size_t codes_n;
    int number; /* of the attempt under way */
};

/* ---- attempts ---- */

static void attempt_free(struct attempt *a)
{
    if (!a)
        return;
    runner_result_done(&a->result);
    free(a->code);
    free(a->error);
    free(a->key);
    free(a);
}

static struct attempt *attempt_new(const struct work *w, char *code)
{
    struct attempt *a = xcalloc(1, sizeof(*a));

    a->number = w->number;
    a->code = code;
    spool_init(&a->result.out, w->g->o.spool_dir);
    spool_init(&a->result.err_out, w->g->o.spool_dir);
    return a;
}

/* The last one is kept for the next prompt, the best one for when time runs out. */
static void keep(struct work *w, struct attempt *a)
{
    struct attempt *before = w->last, *best = w->best;

    w->last = a;
    if (!best || a->is_ok || a->rank >= best->rank)
        w->best = a;
    if (before && before != w->best)
        attempt_free(before);
    if (best && best != w->best && best != before)
        attempt_free(best);
}

static void tell(const struct work *w, enum generate_event_kind kind, const char *text, size_t n)
{
    const struct generate_event ev = {
        .kind = kind, .attempt = w->number, .deadline_ms = w->deadline_ms, .text = text, .n = n};

    if (w->q->on_event)
        w->q->on_event(w->q->ctx, &ev);
}

/* ---- the model ---- */

static void on_progress(void *ctx, const struct model_progress *p)
{
    const struct work *w = ctx;
    const struct generate_event ev = {.kind = GENERATE_ASKING,
                                      .attempt = w->number,
                                      .deadline_ms = w->deadline_ms,
                                      .progress = p};

    if (w->q->on_event)
        w->q->on_event(w->q->ctx, &ev);
}

static int status_of(const struct model_fault *f)
{
    return f->status == STATUS_BUSY ? STATUS_BUSY : STATUS_BAD_GATEWAY;
}

static void fault(struct work *w, int status, int retry_after_s, const char *text)
{
    w->x->end = GENERATE_FAULT;
    w->x->status = status;
    w->x->retry_after_s = retry_after_s;
    (void)str_copy(w->x->error, text, sizeof(w->x->error));
}

/* Nobody waits, or is not to: who is still there to read it may ask again, another service if need be. */
static void cancelled(struct work *w)
{
    fault(w, STATUS_UNAVAILABLE, 1, "The request was cancelled");
    w->x->end = GENERATE_CANCELLED;
}

/* A model that fails once the time is up, however it does, leaves what there is. */
static void model_failed(struct work *w, const struct model_fault *f)
{
    if (f->kind == ERR_CANCELLED) {
        cancelled(w);
        return;
    }
    log_warning("generation %s: %s", w->x->id, f->text);
    if (clock_ms() >= w->deadline_ms && w->best) {
        w->x->is_late = true;
        return;
    }
    fault(w, status_of(f),
          f->status == STATUS_BUSY && !f->retry_after_s ? BUSY_S : f->retry_after_s, f->text);
}

/* ---- history ---- */

static void copy(char *dst, size_t size, const char *src)
{
    (void)str_copy(dst, src ? src : "", size);
}

static int64_t as_count(double tokens)
{
    return tokens >= 0 && tokens < 1e15 ? (int64_t)tokens : -1;
}

struct asked {
    int64_t started_ms;
    char *prompt; /* the last message */
    struct model_reply reply;
    struct model_fault fault;
    bool is_fault;
};

static void remember(const struct work *w, const struct asked *a, const char *verdict,
                     const struct attempt *attempt)
{
    struct call_record r = {
        .attempt = w->number,
        .started_ms = a->started_ms,
        .status = a->fault.status,
        .tries = a->reply.tries,
        .took_us = a->reply.took_us,
        .tokens_in = as_count(a->reply.tokens_in),
        .tokens_out = as_count(a->reply.tokens_out),
    };
    const char *error = a->is_fault ? a->fault.text : attempt ? attempt->error : NULL;

    if (!w->g->o.store)
        return;
    (void)random_id(r.id);
    copy(r.generation, sizeof(r.generation), w->x->id);
    copy(r.dialect, sizeof(r.dialect), w->q->dialect);
    copy(r.client, sizeof(r.client), w->q->client);
    copy(r.model, sizeof(r.model), w->g->o.model->name);
    copy(r.verdict, sizeof(r.verdict), verdict);
    if (!a->is_fault)
        copy(r.finish, sizeof(r.finish), model_finish_name(a->reply.finish));
    copy(r.run, sizeof(r.run), attempt ? attempt->result.id : "");
    r.prompt = xstrdup(a->prompt);
    r.reply = a->is_fault ? NULL : xstrdup(buf_get(&a->reply.text));
    r.error = xstrdup(error);
    store_add_call(w->g->o.store, &r);
}

/* ---- asking ---- */

/* What was asked before, the program that came of it, and what was wrong with it. */
static char *next_prompt(const struct work *w)
{
    return w->last ? failure_prompt(w->q->prompt, w->last->error) : xstrdup(w->q->prompt);
}

static char *failed_code(const struct work *w)
{
    auto_free char *code = NULL;

    if (!w->last || !w->last->code)
        return NULL;
    code = failure_clip(w->last->code, CODE_BACK_MAX);
    return xasprintf("```python\n%s\n```", code);
}

static int ask(struct work *w, struct asked *a)
{
    auto_free char *code = failed_code(w);
    struct model_message m[4] = {
        {MODEL_SYSTEM, w->guide}
    };
    struct model_call call = {
        .messages = m,
        .n = 1,
        .deadline_ms = w->deadline_ms,
        .stop = w->q->stop,
        .on_progress = on_progress,
        .ctx = w,
    };

    a->started_ms = clock_wall_ms();
    a->prompt = next_prompt(w);
    if (code) {
        m[call.n++] = (struct model_message){MODEL_USER, w->q->prompt};
        m[call.n++] = (struct model_message){MODEL_ASSISTANT, code};
    }
    m[call.n++] = (struct model_message){MODEL_USER, a->prompt};
    a->is_fault = model_call(w->g->o.model, &call, &a->reply, &a->fault) < 0;
    generate_count_call(&w->g->counts, &a->reply, a->is_fault ? a->fault.kind : ERR_NONE);
    if (a->is_fault)
        return -1;
    log_info("generation %s: attempt %d: '%s' answered in %lld ms, %.0f tokens in, %.0f out, "
             "%d tr%s",
             w->x->id, w->number, w->g->o.model->name, (long long)a->reply.took_us / 1000,
             a->reply.tokens_in, a->reply.tokens_out, a->reply.tries,
             a->reply.tries == 1 ? "y" : "ies");
    return 0;
}

static void asked_done(struct asked *a)
{
    free(a->prompt);
    model_reply_done(&a->reply);
}

/* ---- running ---- */

static void on_output(void *ctx, bool is_stderr, const char *text, size_t n)
{
    tell(ctx, is_stderr ? GENERATE_STDERR : GENERATE_STDOUT, text, n);
}

static void run(struct work *w, struct attempt *a)
{
    const struct runner_call call = {
        .code = a->code,
        .deadline_ms = w->deadline_ms,
        .stop = w->q->stop,
        .dialect = w->q->dialect,
        .client = w->q->client,
        .traceparent = w->q->traceparent,
        .spool_dir = w->g->o.spool_dir,
        .on_output = on_output,
        .ctx = w,
    };

    tell(w, GENERATE_RUNNING, "", 0);
    runner_result_done(&a->result);
    runner_run(w->g->o.runner, &call, &a->result);
}

/* Adds what is wrong behind what the program itself said. */
static void blame(struct attempt *a, const char *text)
{
    a->is_ok = false;
    a->rank = 2;
    if (a->result.err_out.size)
        (void)!spool_add(&a->result.err_out, "\n", 1, NULL);
    (void)!spool_add(&a->result.err_out, text, strlen(text), NULL);
}

/* slicks prints its errors and goes on, and a figure that nobody saved is gone. */
static void look_closer(const struct work *w, struct attempt *a)
{
    char line[LINE_LEN];

    if (w->g->o.checks_slicks && failure_of_slicks(&a->result.out, line, sizeof(line)))
        blame(a, line);
    else if (w->g->o.checks_plots && !a->result.files_n && failure_wants_plot(w->q->prompt))
        blame(a, no_plot);
}

static int judge(const struct work *w, struct attempt *a)
{
    struct err err = {0};

    if (failure_strip(&a->result.out, &err) < 0 || failure_strip(&a->result.err_out, &err) < 0) {
        log_error("generation %s: %s", w->x->id, err.msg);
        return -1;
    }
    a->is_ok = a->result.is_ok;
    a->rank = a->result.end == RUNNER_UNAVAILABLE ? 0 : 1;
    if (a->is_ok)
        look_closer(w, a);
    if (a->is_ok)
        return 0;
    a->error = failure_text(&a->result, (size_t)w->g->o.error_max);
    a->key = failure_key(&a->result);
    return 0;
}

static struct attempt *without_code(const struct work *w)
{
    struct attempt *a = attempt_new(w, NULL);

    (void)!spool_add(&a->result.err_out, no_code, sizeof(no_code) - 1, NULL);
    a->error = xstrdup(no_code);
    a->key = xstrdup(no_code);
    return a;
}

/* ---- the loop ---- */

static bool was_there(const struct work *w, const char *code)
{
    for (size_t i = 0; i < w->codes_n; i++) {
        if (strcmp(w->codes[i], code) == 0)
            return true;
    }
    return false;
}

static void note_code(struct work *w, const char *code)
{
    w->codes = xarray(w->codes, w->codes_n + 1, sizeof(*w->codes));
    w->codes[w->codes_n++] = xstrdup(code);
}

/*
 * Where the sandbox failed. True: the generation is over. Where the time is up as well, what an
 * earlier attempt came to is better than that.
 */
static bool is_sandbox_fault(struct work *w, struct attempt *a)
{
    const struct runner_result *r = &a->result;

    if (r->end == RUNNER_CANCELLED)
        cancelled(w);
    else if (r->end == RUNNER_UNAVAILABLE && !(r->is_late && w->best))
        fault(w, r->status, r->retry_after_s, r->reason);
    else
        return false;
    return true;
}

static const char *verdict_of(const struct attempt *a)
{
    static const char *const ends[] = {"failed", "unavailable", "lost", "cancelled"};

    if (a->is_ok)
        return "ok";
    if (!a->code)
        return "no_code";
    return a->result.is_late ? "late" : ends[a->result.end];
}

/* Whether the loop goes on behind this failure; notes why if not. */
static bool goes_on(struct work *w, const struct attempt *a, const char *key_before)
{
    if (a->result.end == RUNNER_LOST)
        return false;
    w->x->is_used_up = w->number > w->g->o.max_retries;
    if (a->result.is_late || clock_ms() >= w->deadline_ms)
        w->x->is_late = true;
    else if (!w->x->is_used_up && key_before && strcmp(key_before, a->key) == 0)
        w->x->stopped_early = "same_error";
    return !w->x->is_used_up && !w->x->is_late && !w->x->stopped_early;
}

static void note_retry(struct work *w, const struct attempt *a)
{
    struct generation *x = w->x;

    x->retries = xarray(x->retries, x->retries_n + 1, sizeof(*x->retries));
    x->retries[x->retries_n++] =
        (struct generate_retry){.attempt = a->number, .error = xstrdup(a->error)};
    tell(w, GENERATE_RETRY, a->error, strlen(a->error));
}

/* Runs what the model wrote. True: there will be another attempt. */
static bool settle(struct work *w, const struct asked *asked, struct attempt *a)
{
    auto_free char *before = w->last ? xstrdup(w->last->key) : NULL;
    bool is_over;

    if (a->code)
        run(w, a);
    is_over = a->code && is_sandbox_fault(w, a);
    if (!is_over && a->code && judge(w, a) < 0) {
        fault(w, STATUS_INTERNAL, 0, "The output cannot be kept: the disk is full");
        is_over = true;
    }
    remember(w, asked, verdict_of(a), a);
    if (is_over) {
        attempt_free(a);
        return false;
    }
    keep(w, a);
    if (a->is_ok || !goes_on(w, a, before))
        return false;
    note_retry(w, a);
    return true;
}

/* One attempt. True: there will be another one. */
static bool attempt(struct work *w)
{
    CLEANUP(asked_done) struct asked asked = {0};
    char *code;

    if (ask(w, &asked) < 0) {
        remember(w, &asked, asked.fault.kind == ERR_CANCELLED ? "cancelled" : "fault", NULL);
        model_failed(w, &asked.fault);
        return false;
    }
    code = extract_code(buf_get(&asked.reply.text), asked.reply.text.len);
    if (!code)
        return settle(w, &asked, without_code(w));
    tell(w, GENERATE_CODE, code, strlen(code));
    if (was_there(w, code)) {
        remember(w, &asked, "same_code", NULL);
        w->x->stopped_early = "same_code";
        w->x->is_used_up = w->number > w->g->o.max_retries;
        free(code);
        return false;
    }
    note_code(w, code);
    return settle(w, &asked, attempt_new(w, code));
}

/* Code and result of the attempt that stands for all. */
static void take_result(struct work *w)
{
    struct attempt *a = w->x->is_late ? w->best : w->last;
    struct generation *x = w->x;

    if (x->end == GENERATE_FAULT || x->end == GENERATE_CANCELLED || !a)
        return;
    x->end = a->is_ok ? GENERATE_OK : GENERATE_FAILED;
    x->code = a->code ? TAKE(a->code) : xstrdup("");
    x->result = a->result;
    a->result = (struct runner_result){.out.fd = -1, .err_out.fd = -1};
}

static void work_done(struct work *w)
{
    if (w->best != w->last)
        attempt_free(w->best);
    attempt_free(w->last);
    for (size_t i = 0; i < w->codes_n; i++)
        free(w->codes[i]);
    free(w->codes);
    free(w->guide);
}

void generate(struct generator *g, const struct generate_request *q, struct generation *ret)
{
    struct work w = {.g = g, .q = q, .x = ret, .deadline_ms = clock_ms() + g->o.timeout_ms};

    *ret = (struct generation){
        .end = GENERATE_FAILED, .result = {.out.fd = -1, .err_out.fd = -1}
    };
    (void)random_id(ret->id);
    if (!g->o.model) {
        fault(&w, STATUS_UNAVAILABLE, 0,
              "There is no API key for the model: set COHERE_API_KEY and start the service anew");
        generate_count_end(&g->counts, ret);
        return;
    }
    (void)atomic_fetch_add(&g->counts.running, 1);
    w.guide = guide_read(&g->guide);
    do
        w.number++;
    while (attempt(&w));
    ret->attempts = w.number;
    take_result(&w);
    work_done(&w);
    (void)atomic_fetch_sub(&g->counts.running, 1);
    generate_count_end(&g->counts, ret);
}

void generation_done(struct generation *x)
{
    for (size_t i = 0; i < x->retries_n; i++)
        free(x->retries[i].error);
    free(x->retries);
    free(x->code);
    runner_result_done(&x->result);
    *x = (struct generation){
        .result = {.out.fd = -1, .err_out.fd = -1}
    };
}

/* ---- making it ---- */

struct generator *generator_new(const struct generator_options *o)
{
    struct generator *g = xcalloc(1, sizeof(*g));

    g->o = *o;
    g->guide = *o->guide;
    *o->guide = (struct guide){.dir_fd = -1};
    g->o.guide = NULL;
    return g;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    model_free(g->o.model);
    runner_free(g->o.runner);
    guide_done(&g->guide);
    free(g);
}

bool generator_has_key(const struct generator *g)
{
    return g->o.model != NULL;
}

const char *generator_model(const struct generator *g)
{
    return g->o.model ? g->o.model->name : "";
}
