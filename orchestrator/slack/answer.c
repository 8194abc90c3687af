#include "slack/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "slack/command.h"
#include "slack/event.h"
#include "slack/markup.h"

enum {
    MESSAGE_MAX = 256 * 1024,
    OUTPUT_CHARS = 2000,
    TRACE_CHARS = 1500,
    DAY_MS = 24 * 60 * 60 * 1000,
};

struct answering {
    const struct answer_options *o;
    const struct slack_web *web;
    const struct ledger_request *r;
    struct slack_place at;
};

/* ---- messages: each begins with the user's name, so that Slack tells that user ---- */

static void begin(const struct answering *a, struct buf *b)
{
    buf_init(b, MESSAGE_MAX);
    (void)buf_fmt(b, "<@%s> ", a->r->user);
}

static int say(const struct answering *a, struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* What is not ours in it must have gone through markup_put. */
static int say(const struct answering *a, struct err *err, const char *fmt, ...)
{
    CLEANUP(buf_done) struct buf b = {0};
    auto_free char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    begin(a, &b);
    (void)buf_str(&b, text);
    return slack_post(a->web, &a->at, buf_get(&b), err);
}

static char *escaped(const char *text)
{
    struct buf b;

    buf_init(&b, MESSAGE_MAX);
    markup_put(&b, text, strlen(text));
    return b.len ? buf_take(&b) : xstrdup("");
}

static int say_output(const struct answering *a, const char *output, struct err *err)
{
    CLEANUP(buf_done) struct buf b = {0};

    begin(a, &b);
    (void)buf_str(&b, "Output: ");
    markup_put_block(&b, output, strlen(output), OUTPUT_CHARS);
    return slack_post(a->web, &a->at, buf_get(&b), err);
}

static int say_failure(const struct answering *a, const struct ask_answer *x, struct err *err)
{
    const char *trace = x->error[0] ? x->error : x->output;
    CLEANUP(buf_done) struct buf b = {0};

    if (str_is_blank(trace, strlen(trace)))
        trace = "the program said nothing about it";
    begin(a, &b);
    (void)buf_fmt(&b, "Code execution failed after %d retries:\nERROR_TRACE: ", x->retries);
    markup_put_block(&b, trace, strlen(trace), TRACE_CHARS);
    return slack_post(a->web, &a->at, buf_get(&b), err);
}

static int say_help(const struct answering *a, struct err *err)
{
    return say(a, err,
               "Commands:\n"
               "- `!agent <instructions>`: a program is written for them and run; its output and "
               "plots come into this thread (%lld seconds at most)\n"
               "- `!agent-debug <instructions>`: the same with more time (%lld seconds)\n"
               "- `!help`: this\n"
               "Example: `!agent plot inverter voltage vs current from the last hour`",
               (long long)(a->o->timeout_ms / 1000), (long long)(a->o->debug_timeout_ms / 1000));
}

/* ---- files ---- */

static int send_file(const struct answering *a, const struct ask_file *f, struct err *err)
{
    auto_free char *name = escaped(f->name);
    auto_free char *comment = xasprintf("<@%s> Here's your %s: %s", a->r->user,
                                        f->is_image ? "visualization" : "file", name);
    const struct slack_file file = {.name = f->name, .comment = comment, .data = &f->data};
    auto_free char *why = NULL;
    struct err failure = {0};

    if (f->data.size == 0)
        return say(a, err, "%s is empty and was not uploaded.", name);
    if (slack_upload(a->web, &a->at, &file, &failure) == 0)
        return 0;
    if (failure.kind == ERR_CANCELLED) {
        *err = failure;
        return -1;
    }
    log_warning("slack: %s", failure.msg);
    why = escaped(failure.msg);
    return say(a, err, "Could not upload %s: %s", name, why);
}

/* ---- work ---- */

static int report_success(const struct answering *a, const struct ask_answer *x, struct err *err)
{
    char after[40] = "";

    if (x->retries)
        (void)snprintf(after, sizeof(after), " (after %d %s)", x->retries,
                       x->retries == 1 ? "retry" : "retries");
    if (say(a, err, "Code executed successfully!%s", after) < 0)
        return -1;
    if (!str_is_blank(x->output, strlen(x->output)) && say_output(a, x->output, err) < 0)
        return -1;
    for (size_t i = 0; i < x->files_n; i++) {
        if (send_file(a, &x->files[i], err) < 0)
            return -1;
    }
    return 0;
}

static int report(const struct answering *a, const struct ask_answer *x, struct err *err)
{
    if (x->retries &&
        say(a, err, "Initial code had errors. Retried %d time(s) with error feedback.",
            x->retries) < 0)
        return -1;
    return x->is_success ? report_success(a, x, err) : say_failure(a, x, err);
}

static int report_fault(const struct answering *a, const struct err *why, struct err *err)
{
    auto_free char *text = escaped(why->msg);

    log_warning("slack: the generator: %s", why->msg);
    if (why->kind == ERR_TIMEOUT)
        return say(a, err,
                   "Request timed out. The task might be too complex or the service is busy.");
    return say(a, err, "Failed to connect to code generation service: %s", text);
}

/* Work was done for it, with much patience of its user: Slack may be away for a while now. */
static int tell(const struct answering *a, const struct ask_answer *x, const struct err *why,
                struct err *err)
{
    struct slack_web patient = *a->web;
    struct answering late = *a;

    patient.patience_ms = a->o->patience_ms;
    late.web = &patient;
    return why ? report_fault(&late, why, err) : report(&late, x, err);
}

/* A service that did nothing costs nobody a request of the day. */
static bool did_work(const struct err *why)
{
    return why->kind != ERR_BUSY && why->kind != ERR_LIMIT;
}

static int work(const struct answering *a, const struct command *c, bool *ret_counts,
                struct err *err)
{
    bool is_debug = c->kind == COMMAND_AGENT_DEBUG;
    int64_t time = is_debug ? a->o->debug_timeout_ms : a->o->timeout_ms;
    CLEANUP(ask_answer_done) struct ask_answer x = {0};
    auto_free char *prompt = xstrndup(c->rest, (size_t)c->rest_n);
    struct err why = {0};

    if (say(a, err, "Processing your request...") < 0)
        return -1;
    *ret_counts = true;
    if (ask(a->o->ask, prompt, clock_ms() + time, &x, &why) == 0)
        return tell(a, &x, NULL, err);
    *ret_counts = did_work(&why);
    if (why.kind != ERR_CANCELLED)
        return tell(a, NULL, &why, err);
    if (err)
        *err = why;
    return -1;
}

/* ---- who may ---- */

static bool is_within_budget(const struct answering *a)
{
    int64_t since = a->r->accepted_ms - a->r->accepted_ms % DAY_MS, spent = 0;
    struct err err = {0};

    if (!a->o->daily_budget)
        return true;
    if (ledger_spent(a->o->ledger, a->r->user, since, a->r->id, &spent, &err) == 0)
        return spent <= a->o->daily_budget;
    log_error("slack: %s", err.msg);
    return false;
}

/* ---- all of them ---- */

static int answer_work(const struct answering *a, const struct command *c, bool *ret_counts,
                       struct err *err)
{
    if (!event_is_allowed(a->o->users, a->r->user))
        return say(a, err, "You are not allowed to use this command.");
    if (a->r->is_refused)
        return say(a, err,
                   "The service is busy: %lld requests are waiting. Please try again later.",
                   (long long)a->o->queue_max);
    if (!is_within_budget(a))
        return say(a, err,
                   "You have used up your %lld requests of today. Please try again tomorrow.",
                   (long long)a->o->daily_budget);
    return work(a, c, ret_counts, err);
}

int answer(const struct answer_options *o, const struct ledger_request *r, bool *ret_counts,
           struct err *err)
{
    const struct answering a = {
        .o = o, .web = o->web, .r = r, .at = {.channel = r->channel, .thread_ts = r->thread_ts}
    };
    auto_free char *name = NULL;
    struct command c;

    command_read(r->text, &c);
    *ret_counts = r->is_interrupted || r->is_undelivered;
    if (r->is_undelivered)
        return say(&a, err,
                   "Slack could not be reached when your request was to be answered. Please send "
                   "it again.");
    if (r->is_interrupted)
        return say(&a, err,
                   "Your request was interrupted by a restart of the service. Please send it "
                   "again.");
    switch (c.kind) {
    case COMMAND_AGENT:
    case COMMAND_AGENT_DEBUG:
        if (c.rest_n)
            return answer_work(&a, &c, ret_counts, err);
        name = escaped(c.name);
        return say(&a, err, "Please provide instructions after %s.", name);
    case COMMAND_HELP:
        return say_help(&a, err);
    case COMMAND_UNKNOWN:
    case COMMAND_NONE:
        break;
    }
    name = escaped(c.name);
    return say(&a, err, "There is no command %s. `!help` lists what there is.", name);
}
