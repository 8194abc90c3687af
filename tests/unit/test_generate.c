/* The loop against a scripted model and a scripted runner: who is asked what, and what comes of it. */
#include "model/generate.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "model/guide.h"
#include "unit.h"

enum { STEPS = 6 };

/* What one attempt meets. */
struct step {
    const char *reply; /* of the model; NULL: it fails with `fault` */
    struct model_fault fault;
    struct runner_result run; /* but for the streams */
    const char *out, *err;
    const char *file; /* it leaves; NULL: none */
    bool takes_all;   /* the time of the whole generation is up behind the model's answer */
};

/* What is to come of it. */
struct row {
    const char *name;
    const char *prompt;
    int max_retries;
    struct step steps[STEPS];
    enum generate_end end;
    int calls, runs; /* of model and runner */
    size_t retries;
    const char *code, *error; /* NULL: not looked at */
    const char *stopped_early;
    bool is_used_up, is_late;
    int status, retry_after_s;
};

/* Under test at the moment; the two fakes look at it. */
static const struct row *row;
static int calls, runs;
static char *sent[STEPS][4]; /* the messages of each call */
static char events[4096];
static int64_t timeout_ms = 60000;

static int fake_call(struct model *m, const struct model_call *c, struct model_reply *ret,
                     struct model_fault *fault)
{
    const struct step *s = &row->steps[calls];
    const struct model_progress p = {.tries = 1};

    (void)m;
    ck_assert_int_lt(calls, STEPS);
    for (size_t i = 0; i < c->n; i++)
        sent[calls][i] = xstrdup(c->messages[i].text);
    if (c->on_progress)
        c->on_progress(c->ctx, &p);
    calls++;
    ret->tries = 1;
    if (s->takes_all) {
        while (clock_ms() < c->deadline_ms)
            (void)stop_sleep(NULL, c->deadline_ms);
    }
    if (!s->reply) {
        *fault = s->fault;
        return -1;
    }
    (void)buf_str(&ret->text, s->reply);
    ret->tokens_in = 10;
    ret->tokens_out = 5;
    return 0;
}

static void free_nothing(struct model *m)
{
    (void)m;
}

static void fake_run(struct runner *r, const struct runner_call *c, struct runner_result *ret)
{
    const struct step *s = &row->steps[calls - 1];
    struct spool out = ret->out, err = ret->err_out;

    (void)r;
    runs++;
    *ret = s->run;
    ret->out = out;
    ret->err_out = err;
    if (s->out) {
        ck_assert_int_eq(spool_add(&ret->out, s->out, strlen(s->out), NULL), 0);
        if (c->on_output)
            c->on_output(c->ctx, false, s->out, strlen(s->out));
    }
    if (s->err)
        ck_assert_int_eq(spool_add(&ret->err_out, s->err, strlen(s->err), NULL), 0);
    if (!s->file)
        return;
    ret->files = xcalloc(1, sizeof(*ret->files));
    ret->files_n = 1;
    ret->files[0].name = xstrdup(s->file);
    spool_init(&ret->files[0].data, "/tmp");
}

static void free_no_runner(struct runner *r)
{
    (void)r;
}

static void on_event(void *ctx, const struct generate_event *ev)
{
    static const char letters[] = "acroeR"; /* in the order of the kinds */
    size_t n = strlen(events);

    (void)ctx;
    ck_assert_int_gt(ev->deadline_ms, 0);
    (void)snprintf(events + n, sizeof(events) - n, "%c%d ", letters[ev->kind], ev->attempt);
}

static const struct model_ops model_ops = {.call = fake_call, .free = free_nothing};
static const struct runner_ops runner_ops = {.run = fake_run, .free = free_no_runner};

static void play(const struct row *r, struct generation *ret)
{
    static char name[] = "scripted";
    struct model model = {.ops = &model_ops, .name = name};
    struct runner runner = {.ops = &runner_ops};
    struct guide guide;
    struct generator *g;

    row = r;
    calls = runs = 0;
    for (size_t i = 0; i < STEPS * ARRAY_LEN(sent[0]); i++) {
        char **at = &sent[i / ARRAY_LEN(sent[0])][i % ARRAY_LEN(sent[0])];

        free(*at);
        *at = NULL;
    }
    events[0] = '\0';
    log_init("test", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    guide_init(&guide, "/nonexistent/guide");
    g = generator_new(&(struct generator_options){.model = &model,
                                                  .runner = &runner,
                                                  .guide = &guide,
                                                  .spool_dir = "/tmp",
                                                  .max_retries = r->max_retries,
                                                  .timeout_ms = timeout_ms,
                                                  .error_max = 8192,
                                                  .checks_slicks = true,
                                                  .checks_plots = true});
    generate(
        g, &(struct generate_request){.prompt = r->prompt, .dialect = "test", .on_event = on_event},
        ret);
    generator_free(g);
}

static char *text_of(const struct spool *s)
{
    char *out = xcalloc(1, (size_t)s->size + 1);

    ck_assert_int_ge(spool_read(s, 0, out, (size_t)s->size, NULL), 0);
    return out;
}

#define FENCED(code) "```python\n" code "\n```"
#define GOES         {.is_ok = true, .has_code = true}
#define FAILS        {.has_code = true, .return_code = 1}

static const struct row rows[] = {
    {"success",
     "print", 2,
     {{.reply = FENCED("a"), .run = GOES, .out = " 1\n"}},
     .end = GENERATE_OK,
     .calls = 1,
     .runs = 1,
     .code = "a",
     .error = ""},
    {"one retry",
     "print", 2,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E: 1\n"}, {.reply = FENCED("b"), .run = GOES}},
     .end = GENERATE_OK,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "b"},
    {"every attempt fails",
     "print", 2,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E: a"},
      {.reply = FENCED("b"), .run = FAILS, .err = "F: b"},
      {.reply = FENCED("c"), .run = FAILS, .err = "G: c"}},
     .end = GENERATE_FAILED,
     .calls = 3,
     .runs = 3,
     .retries = 2,
     .code = "c",
     .error = "G: c",
     .is_used_up = true},
    {"no retries",
     "print", 0,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E"}},
     .end = GENERATE_FAILED,
     .calls = 1,
     .runs = 1,
     .is_used_up = true},
    {"the same code",
     "print", 2,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E"}, {.reply = "a"}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 1,
     .retries = 1,
     .code = "a",
     .error = "E",
     .stopped_early = "same_code"},
    {"the code of two attempts ago",
     "print", 3,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E"},
      {.reply = "b", .run = FAILS, .err = "F"},
      {.reply = "a"}},
     .end = GENERATE_FAILED,
     .calls = 3,
     .runs = 2,
     .retries = 2,
     .code = "b",
     .error = "F",
     .stopped_early = "same_code"},
    {"the same code at the last attempt",
     "print", 1,
     {{.reply = FENCED("a"), .run = FAILS, .err = "E"}, {.reply = "a"}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 1,
     .retries = 1,
     .stopped_early = "same_code",
     .is_used_up = true},
    {"the same error",
     "print", 3,
     {{.reply = "a", .run = FAILS, .err = "line 1\nE: row 5"},
      {.reply = "b", .run = FAILS, .err = "line 9\nE: row 77"}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "b",
     .stopped_early = "same_error"},
    {"the same error at the last attempt",
     "print", 1,
     {{.reply = "a", .run = FAILS, .err = "E"}, {.reply = "b", .run = FAILS, .err = "E"}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .is_used_up = true},
    {"an error that comes back later",
     "print", 2,
     {{.reply = "a", .run = FAILS, .err = "E"},
      {.reply = "b", .run = FAILS, .err = "F"},
      {.reply = "c", .run = FAILS, .err = "E"}},
     .end = GENERATE_FAILED,
     .calls = 3,
     .runs = 3,
     .retries = 2,
     .is_used_up = true},
    {"no code, then code",
     "print", 2,
     {{.reply = "```\n```"}, {.reply = FENCED("a"), .run = GOES}},
     .end = GENERATE_OK,
     .calls = 2,
     .runs = 1,
     .retries = 1,
     .code = "a"},
    {"never any code",
     "print", 2,
     {{.reply = " "}, {.reply = ""}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 0,
     .retries = 1,
     .code = "",
     .error = "the model returned no code",
     .stopped_early = "same_error"},
    {"no code at all",
     "print", 0,
     {{.reply = " "}},
     .end = GENERATE_FAILED,
     .calls = 1,
     .runs = 0,
     .code = "",
     .error = "the model returned no code",
     .is_used_up = true},
    {"what slicks prints",
     "print", 1,
     {{.reply = "a", .run = GOES, .out = "x\nError fetching data: no table\n"},
      {.reply = "b", .run = GOES}},
     .end = GENERATE_OK,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "b"},
    {"a plot without a file",
     "plot it", 1,
     {{.reply = "a", .run = GOES}, {.reply = "b", .run = GOES, .file = "x.png"}},
     .end = GENERATE_OK,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "b"},
    {"a plot that never comes",
     "plot it", 0,
     {{.reply = "a", .run = GOES, .err = "warning"}},
     .end = GENERATE_FAILED,
     .calls = 1,
     .runs = 1,
     .is_used_up = true,
     .error = "warning\nA plot was asked for, but the program saved no file. Save every figure "
              "with savefig() into the current directory."},
    {"the model fails",
     "print", 2,
     {{.fault = {.kind = ERR_DENIED, .status = 401, .text = "the key"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .status = 502,
     .error = NULL},
    {"the model is past its limit",
     "print", 2,
     {{.fault = {.kind = ERR_BUSY, .status = 429, .retry_after_s = 7, .text = "wait"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .status = 429,
     .retry_after_s = 7},
    {"a limit without a time",
     "print", 2,
     {{.fault = {.kind = ERR_BUSY, .status = 429, .text = "wait"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .status = 429,
     .retry_after_s = 30},
    {"the model fails at the second attempt",
     "print", 2,
     {{.reply = "a", .run = FAILS, .err = "E"},
      {.fault = {.kind = ERR_PEER, .status = 500, .text = "down"}}},
     .end = GENERATE_FAULT,
     .calls = 2,
     .runs = 1,
     .retries = 1,
     .status = 502},
    {"nobody waits for the model",
     "print", 2,
     {{.fault = {.kind = ERR_CANCELLED}}},
     .end = GENERATE_CANCELLED,
     .calls = 1,
     .status = 503,
     .retry_after_s = 1},
    {"no container",
     "print", 2,
     {{.reply = "a",
       .run = {.end = RUNNER_UNAVAILABLE, .status = 503, .retry_after_s = 3, .reason = "busy"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .runs = 1,
     .status = 503,
     .retry_after_s = 3},
    {"no sandbox",
     "print", 2,
     {{.reply = "a", .run = {.end = RUNNER_UNAVAILABLE, .status = 502, .reason = "down"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .runs = 1,
     .status = 502},
    {"the container is lost",
     "print", 2,
     {{.reply = "a",
       .run = {.end = RUNNER_LOST},
       .out = "so far",
       .err = "infrastructure failure, the program may have run"}},
     .end = GENERATE_FAILED,
     .calls = 1,
     .runs = 1,
     .code = "a",
     .error = "infrastructure failure, the program may have run"},
    {"nobody waits for the program",
     "print", 2,
     {{.reply = "a", .run = {.end = RUNNER_CANCELLED}}},
     .end = GENERATE_CANCELLED,
     .calls = 1,
     .runs = 1,
     .status = 503,
     .retry_after_s = 1},
    {"the time is up in a program",
     "print", 2,
     {{.reply = "a", .run = {.is_late = true}, .err = "late"}},
     .end = GENERATE_FAILED,
     .calls = 1,
     .runs = 1,
     .code = "a",
     .error = "late",
     .is_late = true},
    {"no container before the time is up",
     "print", 2,
     {{.reply = "a",
       .run = {.end = RUNNER_UNAVAILABLE,
               .is_late = true,
               .status = 503,
               .retry_after_s = 3,
               .reason = "busy"}}},
     .end = GENERATE_FAULT,
     .calls = 1,
     .runs = 1,
     .status = 503,
     .retry_after_s = 3},
    {"no second container before the time is up",
     "print", 2,
     {{.reply = "a", .run = FAILS, .err = "E"},
      {.reply = "b",
       .run = {.end = RUNNER_UNAVAILABLE, .is_late = true, .status = 503, .reason = "busy"}}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "a",
     .error = "E",
     .is_late = true},
    {"the best one is returned when the time is up",
     "plot it", 2,
     {{.reply = "a", .run = GOES, .out = "good"},
      {.reply = "b", .run = {.is_late = true}, .err = "late"}},
     .end = GENERATE_FAILED,
     .calls = 2,
     .runs = 2,
     .retries = 1,
     .code = "a",
     .is_late = true},
};

static void check_row(const struct row *r, const struct generation *x)
{
    ck_assert_msg(x->end == r->end, "%s: ends as %d: %s", r->name, x->end, x->error);
    ck_assert_msg(calls == r->calls && runs == r->runs, "%s: %d calls, %d runs", r->name, calls,
                  runs);
    ck_assert_msg(x->retries_n == r->retries, "%s: %zu retries", r->name, x->retries_n);
    ck_assert_msg(x->is_used_up == r->is_used_up, "%s: used up", r->name);
    ck_assert_msg(x->is_late == r->is_late, "%s: late", r->name);
    ck_assert_pstr_eq(x->stopped_early, r->stopped_early);
    ck_assert_int_eq(x->status, r->status);
    ck_assert_int_eq(x->retry_after_s, r->retry_after_s);
    if (r->code)
        ck_assert_pstr_eq(x->code, r->code);
    if (r->error) {
        auto_free char *text = text_of(&x->result.err_out);

        ck_assert_str_eq(text, r->error);
    }
}

START_TEST(the_loop_ends_as_the_contract_says)
{
    struct generation x;

    play(&rows[_i], &x);
    check_row(&rows[_i], &x);
    generation_done(&x);
}
END_TEST

START_TEST(the_second_prompt_has_code_and_error_of_the_first)
{
    auto_free char *out = NULL;
    struct generation x;

    play(&rows[1], &x);
    ck_assert_ptr_nonnull(strstr(sent[0][0], "You write one complete Python 3 program"));
    ck_assert_str_eq(sent[0][1], "print");
    ck_assert_ptr_null(sent[0][2]);
    ck_assert_str_eq(sent[1][1], "print");
    ck_assert_str_eq(sent[1][2], "```python\na\n```");
    ck_assert_str_eq(sent[1][3], "print\n\nThe previous code generated had the following error:\n\n"
                                 "STATUS: ERROR (return code: 1)\nERROR_TRACE: E: 1\n\n"
                                 "Please fix the code to address this error.");
    ck_assert_int_eq(x.retries[0].attempt, 1);
    ck_assert_str_eq(x.retries[0].error, "STATUS: ERROR (return code: 1)\nERROR_TRACE: E: 1");
    ck_assert_str_eq(events, "a1 c1 r1 R1 a2 c2 r2 ");
    generation_done(&x);
    play(&rows[0], &x);
    out = text_of(&x.result.out);
    ck_assert_str_eq(out, "1");
    ck_assert_str_eq(events, "a1 c1 r1 o1 ");
    generation_done(&x);
}
END_TEST

/* Errors do not pile up: the third prompt has the second error alone. */
START_TEST(only_the_last_error_is_told)
{
    struct generation x;

    play(&rows[2], &x);
    ck_assert_ptr_nonnull(strstr(sent[2][3], "F: b"));
    ck_assert_ptr_null(strstr(sent[2][3], "E: a"));
    ck_assert_str_eq(sent[2][2], "```python\nb\n```");
    generation_done(&x);
}
END_TEST

START_TEST(without_code_there_is_no_turn_of_the_model)
{
    struct generation x;

    play(&rows[10], &x);
    ck_assert_str_eq(sent[1][1],
                     "print\n\nThe previous code generated had the following error:\n\n"
                     "the model returned no code\n\nPlease fix the code to address this error.");
    ck_assert_ptr_null(sent[1][2]);
    generation_done(&x);
}
END_TEST

START_TEST(a_huge_error_and_a_huge_program_are_told_in_part)
{
    auto_free char *code = xcalloc(1, 200001), *err = xcalloc(1, 1000001);
    struct row r = {
        .name = "huge", .prompt = "print", .max_retries = 1, .steps = {{0}, {0}}
    };
    struct generation x;

    memset(code, 'c', 200000);
    memset(err, 'e', 1000000);
    r.steps[0] = (struct step){.reply = code, .run = FAILS, .err = err};
    r.steps[1] = (struct step){.reply = "b", .run = GOES};
    play(&r, &x);
    ck_assert_int_eq(x.end, GENERATE_OK);
    ck_assert_uint_lt(strlen(sent[1][2]), 66000);
    ck_assert_uint_lt(strlen(sent[1][3]), 9000);
    ck_assert_uint_lt(strlen(x.retries[0].error), 9000);
    generation_done(&x);
}
END_TEST

static const struct row late_at_once = {
    .name = "late",
    .prompt = "print",
    .max_retries = 2,
    .steps = {{.fault = {.kind = ERR_TIMEOUT, .text = "no answer"}, .takes_all = true}}};
static const struct row late_again = {
    .name = "late again",
    .prompt = "print",
    .max_retries = 2,
    .steps = {{.reply = "a", .run = FAILS, .err = "E"},
              {.fault = {.kind = ERR_TIMEOUT, .text = "no answer"}, .takes_all = true}}
};

static const struct row late_and_refused = {
    .name = "late and refused",
    .prompt = "print",
    .max_retries = 2,
    .steps = {{.reply = "a", .run = FAILS, .err = "E"},
              {.fault = {.kind = ERR_PEER, .status = 503, .text = "down"}, .takes_all = true}}
};

START_TEST(a_model_that_takes_all_the_time_leaves_the_best_there_is)
{
    struct generation x;

    timeout_ms = 50;
    play(&late_at_once, &x);
    ck_assert_int_eq(x.end, GENERATE_FAULT);
    ck_assert_int_eq(x.status, 502);
    ck_assert_str_eq(x.error, "no answer");
    generation_done(&x);
    play(&late_again, &x);
    ck_assert_int_eq(x.end, GENERATE_FAILED);
    ck_assert(x.is_late);
    ck_assert_str_eq(x.code, "a");
    generation_done(&x);
    play(&late_and_refused, &x);
    ck_assert_int_eq(x.end, GENERATE_FAILED);
    ck_assert(x.is_late);
    generation_done(&x);
}
END_TEST

START_TEST(without_a_key_nothing_is_asked)
{
    struct guide guide;
    struct generator *g;
    struct generation x;
    struct runner runner = {.ops = &runner_ops};

    guide_init(&guide, "guide");
    g = generator_new(&(struct generator_options){
        .runner = &runner, .guide = &guide, .spool_dir = "/tmp", .timeout_ms = 1000});
    ck_assert(!generator_has_key(g));
    generate(g, &(struct generate_request){.prompt = "print", .dialect = "test"}, &x);
    ck_assert_int_eq(x.end, GENERATE_FAULT);
    ck_assert_int_eq(x.status, 503);
    ck_assert_ptr_nonnull(strstr(x.error, "COHERE_API_KEY"));
    generation_done(&x);
    generator_free(g);
}
END_TEST

/* ---- the guide ---- */

static void write_guide(int dir, const char *text, size_t n)
{
    auto_fd int fd = openat(dir, "guide.txt", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io_write_all(fd, text, n, INT64_MAX, NULL), 0);
}

static void check_built_in(const struct guide *g)
{
    auto_free char *text = guide_read(g);

    ck_assert_ptr_nonnull(strstr(text, "one complete Python 3 program"));
}

#define GUIDE(text) text, sizeof(text) - 1

static const struct {
    const char *text;
    size_t n;
    const char *guide; /* NULL: the built-in one */
} guides[] = {
    {GUIDE("\n  be brief \n\n"),            "be brief"},
    {GUIDE("x"),                            "x"       },
    {GUIDE("be brief"),                     "be brief"},
    {GUIDE(""),                             NULL      },
    {GUIDE(" \n"),                          NULL      },
    {GUIDE("\xEF\xBB\xBF\r\nbe brief\r\n"), "be brief"}, /* as editors of Windows save it */
    {GUIDE("\xEF\xBB\xBF"),                 NULL      },
    {GUIDE("\xFF\xFE"
           "b\0e\0"),
     NULL                                             },
    {GUIDE("20 \xB0"
           "C"),
     NULL                                             },
    {GUIDE("be\0brief"),                    NULL      },
};

START_TEST(the_guide_is_read_at_every_request)
{
    char dir[] = "/tmp/oneshot-guide-XXXXXX";
    auto_free char *path = NULL;
    auto_fd int fd = -1;
    struct guide g;

    log_init("test", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    path = xasprintf("%s/guide.txt", dir);
    guide_init(&g, path);
    for (size_t i = 0; i < ARRAY_LEN(guides); i++) {
        auto_free char *text = NULL;

        write_guide(fd, guides[i].text, guides[i].n);
        if (!guides[i].guide) {
            check_built_in(&g);
            continue;
        }
        text = guide_read(&g);
        ck_assert_str_eq(text, guides[i].guide);
    }
    ck_assert_int_eq(unlinkat(fd, "guide.txt", 0), 0);
    ck_assert_int_eq(rmdir(dir), 0);
    guide_done(&g);
}
END_TEST

START_TEST(what_cannot_be_the_guide_does_not_stand_in_the_way)
{
    char dir[] = "/tmp/oneshot-guide-XXXXXX";
    auto_free char *path = NULL, *large = xcalloc(1, (512 << 10) + 1);
    auto_fd int fd = -1;
    struct guide g;

    log_init("test", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    path = xasprintf("%s/guide.txt", dir);
    guide_init(&g, path);
    check_built_in(&g); /* there is none */
    memset(large, 'x', (512 << 10) + 1);
    write_guide(fd, large, (512 << 10) + 1);
    check_built_in(&g);
    ck_assert_int_eq(unlinkat(fd, "guide.txt", 0), 0);
    ck_assert_int_eq(mkfifoat(fd, "guide.txt", 0600), 0); /* nobody writes into it */
    check_built_in(&g);
    ck_assert_int_eq(unlinkat(fd, "guide.txt", 0), 0);
    ck_assert_int_eq(mkdirat(fd, "guide.txt", 0700), 0);
    check_built_in(&g);
    ck_assert_int_eq(unlinkat(fd, "guide.txt", AT_REMOVEDIR), 0);
    ck_assert_int_eq(rmdir(dir), 0);
    guide_done(&g);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, the_loop_ends_as_the_contract_says, 0, ARRAY_LEN(rows));
    tcase_add_test(t, the_second_prompt_has_code_and_error_of_the_first);
    tcase_add_test(t, only_the_last_error_is_told);
    tcase_add_test(t, without_code_there_is_no_turn_of_the_model);
    tcase_add_test(t, a_huge_error_and_a_huge_program_are_told_in_part);
    tcase_add_test(t, a_model_that_takes_all_the_time_leaves_the_best_there_is);
    tcase_add_test(t, without_a_key_nothing_is_asked);
    tcase_add_test(t, the_guide_is_read_at_every_request);
    tcase_add_test(t, what_cannot_be_the_guide_does_not_stand_in_the_way);
}

UNIT_MAIN("generate", add_tests)
