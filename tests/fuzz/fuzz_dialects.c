/*
 * A request of each dialect, from the first byte of its body to the run that it asks for, and back
 * to the reply. The core is the real one without a keeper: a request that is accepted ends there,
 * and is seen by an observer.
 *
 * Oracles beyond the sanitizers: exactly one reply, of the dialect's statuses and in strict JSON; a
 * refused request asks for no run, an accepted one for exactly one, within its policy; the code of
 * the run is that of the body, byte for byte.
 *
 * The generator has a model that answers with the prompt, so that what is run is what extract_code
 * finds in it, by a runner that ends well or not and prints the program. Slack's requests are signed
 * here (UNSIGNED: they are not), and what event_read makes of them decides.
 *
 * The first byte says which dialect reads (DIALECT and MORE), and the headers. What follows is the
 * body, or (MADE) a program, of which a body is made here: then it must come out as it went in.
 */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "base/utf8.h"
#include "core/core.h"
#include "core/run.h"
#include "dialects/aiq.h"
#include "dialects/app.h"
#include "dialects/executor.h"
#include "dialects/executor_counts.h"
#include "dialects/generator.h"
#include "dialects/native.h"
#include "dialects/slack.h"
#include "dialects/telemetry.h"
#include "http/steps.h"
#include "model/extract.h"
#include "model/generate.h"
#include "model/guide.h"
#include "policy/policy.h"
#include "slack/event.h"
#include "slack/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum {
    DIALECT = 3,
    TYPE = 3 << 2, /* which Content-Type */
    STREAM = 1 << 4,
    UNSIGNED = STREAM, /* of Slack's, which have no streams */
    ESCAPED = 1 << 5,  /* of a body that is made: all of the program in \u escapes */
    MORE = 1 << 6,     /* the last three dialects */
    MADE = 1 << 7,
};
enum {
    BODY_MAX = 64 * 1024,
    REPLY_MAX = 1024 * 1024,
    PROGRAM_MAX = 4096,
    FILES = 3,
    FILES_TOTAL = 1000,
    TOKENS = 2000,
    FIRST_MORE = 3, /* in the table of dialects */
    MORE_N = 3,
    ERROR_MAX = 1000,
    RETRIES = 2,
};

static const struct dialect {
    const struct http_api *api;
    const char *path, *code; /* of the request, and the key of its program */
    const char *rest;        /* what else a body needs */
    bool refuses_blank;
} dialects[] = {
    {&aiq_api,       "/execute",           "generated_code", ",\"timeout\":10", false},
    {&telemetry_api, "/execute",           "code",           "",                true },
    {&native_api,    "/v1/runs",           "code",           "",                false},
    {&generator_api, "/api/generate-code", "prompt",         "",                true },
    {&slack_api,     "/slack/events",      "",               "",                false},
    {&executor_api,  "/execute",           "code",           "",                false},
};

static char none[] = "", aiq[] = "aiq", native[] = "default", telemetry[] = "telemetry";
static char executor[] = "executor";
static char lang[] = "LANG", mode[] = "MODE";
static char *allowed[] = {lang, mode, NULL}, *no_tools[] = {NULL};

#define POLICY(called)              \
    {.name = (called),              \
     .workspace = none,             \
     .env_allow = allowed,          \
     .tools = no_tools,             \
     .time_default_ms = 10000,      \
     .time_max_ms = 60000,          \
     .time_grace_ms = 100,          \
     .memory = 64 << 20,            \
     .memory_max = 96 << 20,        \
     .files_in = FILES,             \
     .files_in_total = FILES_TOTAL, \
     .queue_wait_ms = 1000}

static struct policy policies[] = {POLICY(aiq), POLICY(native), POLICY(executor),
                                   POLICY(telemetry)}; /* sorted */

/* ---- what came of a request ---- */

static unsigned runs;
static struct buf code_seen, context_seen;

static bool is_allowed(const char *name)
{
    return strcmp(name, lang) == 0 || strcmp(name, mode) == 0;
}

static void check_files(const struct run_request *q)
{
    uint64_t total = 0;

    assert(q->files_n <= FILES);
    for (size_t i = 0; i < q->files_n; i++) {
        assert(path_check(q->files[i].path, strlen(q->files[i].path), NULL) == 0);
        assert(q->files[i].data);
        total += q->files[i].data->size;
        for (size_t k = 0; k < i; k++)
            assert(strcmp(q->files[i].path, q->files[k].path) != 0);
    }
    assert(total <= FILES_TOTAL);
}

static void on_run(void *ctx, const struct run_request *q, const struct run_result *r)
{
    (void)ctx;
    runs++;
    assert(!r->was_sent && r->outcome != OUTCOME_OK);
    assert(q->code_len == strlen(q->code));
    (void)buf_add(&code_seen, q->code, q->code_len);
    if (q->context)
        (void)buf_str(&context_seen, q->context);
    assert(q->timeout_ms == RUN_TIMEOUT_DEFAULT ||
           (q->timeout_ms >= 0 && q->timeout_ms <= q->policy->time_max_ms));
    assert(q->memory <= (uint64_t)q->policy->memory_max);
    assert(q->stdin_len <= FILES_TOTAL);
    for (size_t i = 0; i < q->env_n; i++)
        assert(is_allowed(q->env[i].name));
    check_files(q);
}

/* ---- the generator's model and runner ---- */

static unsigned asked;
static struct buf first_prompt; /* of the request */

static int answer_prompt(struct model *m, const struct model_call *c, struct model_reply *ret,
                         struct model_fault *fault)
{
    const struct model_progress p = {.tries = 1};

    (void)m;
    (void)fault;
    if (asked++ == 0)
        (void)buf_str(&first_prompt, c->messages[1].text);
    assert(c->n >= 2 && c->n <= 4);
    for (size_t i = 0; i < c->n; i++)
        assert(utf8_valid_prefix(c->messages[i].text, strlen(c->messages[i].text)) ==
               strlen(c->messages[i].text));
    assert(strlen(c->messages[c->n - 1].text) <= first_prompt.len + ERROR_MAX + 400);
    c->on_progress(c->ctx, &p);
    (void)buf_str(&ret->text, buf_get(&first_prompt));
    return 0;
}

static void free_no_model(struct model *m)
{
    (void)m;
}

/* A program of an odd length fails, and cuts its last character where that has several bytes. */
static void run_program(struct runner *r, const struct runner_call *c, struct runner_result *ret)
{
    size_t n = strlen(c->code);

    (void)r;
    runs++;
    (void)buf_add(&code_seen, c->code, n);
    ret->is_ok = n % 2 == 0;
    ret->has_code = n % 3 != 0;
    ret->return_code = !ret->is_ok;
    assert(spool_add(&ret->out, c->code, n, NULL) == 0);
    assert(spool_add(&ret->err_out, c->code, n - n % 2, NULL) == 0);
    assert(spool_add(&ret->err_out, "\0\xFF", n % 3, NULL) == 0);
    c->on_output(c->ctx, false, c->code, n);
}

static void free_no_runner(struct runner *r)
{
    (void)r;
}

static struct generator *make_generator(void)
{
    static const struct model_ops model_ops = {.call = answer_prompt, .free = free_no_model};
    static const struct runner_ops runner_ops = {.run = run_program, .free = free_no_runner};
    static char name[] = "echo";
    static struct model model = {.ops = &model_ops, .name = name};
    static struct runner runner = {.ops = &runner_ops};
    struct guide guide;

    guide_init(&guide, "/nonexistent/guide");
    return generator_new(&(struct generator_options){.model = &model,
                                                     .runner = &runner,
                                                     .guide = &guide,
                                                     .spool_dir = "/tmp",
                                                     .max_retries = RETRIES,
                                                     .timeout_ms = 60000,
                                                     .error_max = ERROR_MAX,
                                                     .checks_slicks = true,
                                                     .checks_plots = true});
}

/* ---- the service ---- */

static char secret[] = "a signing secret", channel[] = "C1";
static char stamp[24], signature[SIGNATURE_TEXT];
static struct settings settings;
static uint8_t how; /* the first byte, for the headers */
static struct core *core;
static struct app app;
static struct http_server server = {
    .limits = {.body_max = BODY_MAX,
               .body_files_max = BODY_MAX,
               .json_tokens = TOKENS,
               .spool_dir = "/tmp"}
};

/* In the place of libmicrohttpd's: there is no connection. */
const char *MHD_lookup_connection_value(struct MHD_Connection *c, enum MHD_ValueKind kind,
                                        const char *key)
{
    static const char *const types[] = {"application/json", "application/x+JSON; a=b", "text/plain",
                                        NULL};

    (void)c;
    if (kind != MHD_HEADER_KIND)
        return NULL;
    if (str_eq_nocase(key, "Content-Type"))
        return types[(how & TYPE) >> 2];
    if (str_eq_nocase(key, "X-Slack-Request-Timestamp"))
        return stamp;
    if (str_eq_nocase(key, "X-Slack-Signature"))
        return signature;
    return str_eq_nocase(key, "Accept") && how & STREAM ? "text/event-stream" : NULL;
}

static void start(void)
{
    struct policy_set set = {.list = policies, .n = ARRAY_LEN(policies)};
    struct core_options o = {.spool_dir = "/tmp"};
    int pair[2];

    log_init("fuzz", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    o.keeper_fd = pair[1];
    if (core_new(&o, &core, NULL) < 0)
        abort();
    (void)close(pair[0]);
    while (core_has_keeper(core))
        (void)poll(NULL, 0, 1);
    core_set_policies(core, &set);
    core_observe(core, on_run, NULL);
    settings.executor_token = none;
    settings.executor_workspace = none;
    settings.json_tokens = TOKENS;
    settings.slack_enabled = true;
    settings.slack_signing_secret = secret;
    settings.slack_channel = channel;
    app.settings = &settings;
    app.core = core;
    app.generator = make_generator();
    app.executor = executor_counts_new();
    buf_init(&code_seen, BODY_MAX);
    buf_init(&context_seen, BODY_MAX);
    buf_init(&first_prompt, BODY_MAX);
}

static const struct http_route *route_of(const struct dialect *d)
{
    const struct http_route *r = d->api->routes;

    while (strcmp(r->path, d->path) != 0)
        r++;
    return r;
}

/* ---- the reply ---- */

/* What a program prints may have a NUL in it. */
static bool is_json(const char *text, size_t n)
{
    return json_scan_passed_on(text, n, JSON_SCAN_TOKENS, NULL) == 0;
}

/* Events are lines of JSON; the stream ends by itself. */
static void check_stream(struct http_answer *a)
{
    CLEANUP(buf_done) struct buf all = {.max = REPLY_MAX};
    bool goes_on = true;

    assert(strcmp(a->type, "text/event-stream") == 0);
    while (goes_on) {
        buf_clear(&a->pulled);
        goes_on = a->pull(a->pull_ctx, &a->pulled);
        (void)buf_add(&all, buf_get(&a->pulled), a->pulled.len);
    }
    assert(!all.is_full);
    for (const char *at = strstr(buf_get(&all), "\ndata: "); at; at = strstr(at, "\ndata: ")) {
        at += strlen("\ndata: ");
        assert(is_json(at, strcspn(at, "\n")));
    }
}

/* Of a run that had no time at all: it is over without a container. */
static void check_parts(struct http_parts *parts)
{
    static char text[REPLY_MAX];
    size_t len = 0;
    ssize_t n;

    while ((n = http_parts_read(parts, text + len, sizeof(text) - len)) > 0)
        len += (size_t)n;
    assert(n == 0 && len < sizeof(text));
    assert(is_json(text, len));
}

/* The ledger is missing: what would be kept in it is refused. */
static void check_slack(const struct http_answer *a, const char *body, size_t n)
{
    CLEANUP(event_done) struct event e = {0};
    const struct event_place place = {.channel = channel};
    bool is_read = event_read(body, n, &place, &e, NULL) == 0;

    assert(!a->pull && !a->parts);
    assert(a->body.len == 0 ? a->status == 200 : is_json(buf_get(&a->body), a->body.len));
    if (a->status == 413)
        return;
    if (how & UNSIGNED)
        assert(a->status == 401);
    else if (is_read && e.kind == EVENT_REQUEST)
        assert(a->status == 503);
    else if (is_read && e.kind == EVENT_OTHER)
        assert(a->status == 200 && a->body.len == 0);
    else
        assert(a->status == (is_read ? 200 : 400) || (is_read && strlen(e.challenge) > 1000));
}

static int status_of_invalid(const struct http_api *api)
{
    return api == &executor_api ? 422 : 400;
}

static void check_answer(struct http_exchange *x)
{
    struct http_answer *a = &x->answer;

    assert(a->is_set);
    assert(a->status == 200 || a->status == status_of_invalid(x->api) || a->status == 413 ||
           a->status == 503);
    assert((a->status == 200) == (a->pull || a->parts));
    if (a->pull)
        check_stream(a);
    else if (a->parts)
        check_parts(a->parts);
    else
        assert(is_json(buf_get(&a->body), a->body.len));
}

/* ---- a request ---- */

static void sign(const char *body, size_t n)
{
    (void)snprintf(stamp, sizeof(stamp), "%lld", (long long)(clock_wall_ms() / 1000));
    signature_make(signature, secret, stamp, body, n);
    if (how & UNSIGNED)
        signature[SIGNATURE_TEXT - 2] ^= 1;
}

/* The status of the reply. */
static int ask(const struct dialect *d, const char *body, size_t n)
{
    const struct http_api *apis[] = {d->api, NULL};
    struct http_listener listener = {.server = &server, .apis = apis, .app = &app};
    struct http_connection connection = {.listener = &listener, .fd = -1, .client = "127.0.0.1"};
    struct http_exchange *x = http_exchange_new(&connection, NULL, d->path);
    size_t half = n / 2;
    int status;

    runs = asked = 0;
    buf_clear(&code_seen);
    buf_clear(&context_seen);
    buf_clear(&first_prompt);
    sign(body, n);
    x->method = "POST";
    x->path = d->path;
    x->route = route_of(d);
    x->intake.is_due = true;
    x->intake.announced = n;
    http_intake_begin(x);
    http_intake_take(x, body, half);
    http_intake_take(x, body + half, n - half);
    http_intake_end(x);
    http_exchange_run(x);
    if (d->api == &slack_api)
        check_slack(&x->answer, body, n);
    else
        check_answer(x);
    status = x->answer.status;
    http_exchange_free(x); /* here the run ends and is observed */
    if (d->api == &generator_api)
        assert((asked > 0) == (status == 200) && runs <= asked);
    else
        assert(runs == (d->api != &slack_api && (status == 200 || status == 503)));
    assert(atomic_load(&server.held) == 0);
    return status;
}

/* What the generator ran is what there is to be found in the prompt: once, whatever came of it. */
static void check_found(const char *prompt)
{
    char *found = extract_code(prompt, strlen(prompt));

    assert(runs == (found ? 1 : 0));
    assert(strcmp(found ? found : "", buf_get(&code_seen)) == 0);
    free(found);
}

/* The context goes on as text, cut out of the body. */
static void check_context(const cJSON *context)
{
    cJSON *seen = cJSON_Parse(buf_get(&context_seen));

    if (cJSON_IsObject(context))
        assert(cJSON_Compare(context, seen, true));
    else
        assert(context_seen.len == 0 && (!context || cJSON_IsNull(context)));
    cJSON_Delete(seen);
}

/* The whole body by cJSON, without our intake: it takes all that is JSON. */
static void check_code(const struct dialect *d, const char *body, size_t n)
{
    cJSON *root = cJSON_ParseWithLength(body, n);
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, d->code));

    if (d->api == &generator_api)
        check_found(code);
    else
        assert(code && strcmp(code, buf_get(&code_seen)) == 0);
    if (d->api == &executor_api)
        check_context(cJSON_GetObjectItemCaseSensitive(root, "context"));
    cJSON_Delete(root);
}

/* ---- a body that is made ---- */

static uint32_t code_point(const unsigned char *s, int len)
{
    uint32_t c = len == 1 ? s[0] : s[0] & (0x7FU >> len);

    for (int i = 1; i < len; i++)
        c = c << 6 | (s[i] & 0x3FU);
    return c;
}

static void put_escape(struct buf *b, uint32_t c)
{
    if (c < 0x10000) {
        (void)buf_fmt(b, "\\u%04x", c);
        return;
    }
    c -= 0x10000;
    (void)buf_fmt(b, "\\u%04X\\u%04x", 0xD800 + (c >> 10), 0xDC00 + (c & 0x3FF));
}

/* Bytes that are no UTF-8 go in as they are, and the body is not JSON. */
static void put_program(struct buf *b, const unsigned char *s, size_t n)
{
    size_t at = 0;

    while (at < n) {
        int len = utf8_step(s + at, n - at);
        bool needs = s[at] < 0x20 || s[at] == '"' || s[at] == '\\';

        if (len > 0 && (how & ESCAPED || needs))
            put_escape(b, code_point(s + at, len));
        else
            (void)buf_add(b, s + at, len > 0 ? (size_t)len : 1);
        at += len > 0 ? (size_t)len : 1;
    }
}

static bool is_accepted(const struct dialect *d, const char *program, size_t n)
{
    if (utf8_valid_prefix(program, n) != n || memchr(program, '\0', n))
        return false;
    if (d->api == &aiq_api && (how & TYPE) >> 2 > 1)
        return false;
    return !d->refuses_blank || !str_is_blank(program, n);
}

static void ask_for(const struct dialect *d, const uint8_t *program, size_t n)
{
    CLEANUP(buf_done) struct buf b = {0};
    int status;

    buf_init(&b, BODY_MAX);
    (void)buf_fmt(&b, "{\"%s\":\"", d->code);
    put_program(&b, program, n);
    (void)buf_fmt(&b, "\"%s}", d->rest);
    assert(!b.is_full);
    status = ask(d, b.data, b.len);
    if (!is_accepted(d, (const char *)program, n)) {
        assert(status == status_of_invalid(d->api));
        return;
    }
    if (d->api == &generator_api) {
        check_code(d, b.data, b.len);
        return;
    }
    assert(runs == 1);
    assert(code_seen.len == n && memcmp(buf_get(&code_seen), program, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct dialect *d;

    if (!core)
        start();
    if (n == 0 || n > BODY_MAX)
        return 0;
    how = data[0];
    d = &dialects[(how & DIALECT) % FIRST_MORE];
    if (how & MORE)
        d = &dialects[FIRST_MORE + (how & DIALECT) % MORE_N];
    if (!(how & MADE) || d->api == &slack_api) {
        (void)ask(d, (const char *)data + 1, n - 1);
        if (runs)
            check_code(d, (const char *)data + 1, n - 1);
    } else if (n <= PROGRAM_MAX) {
        ask_for(d, data + 1, n - 1);
    }
    return 0;
}
