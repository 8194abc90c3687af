/*
 * One call is a few tries: each waits for its turn (limiter.h), asks for a stream and reads it
 * while it comes. What may pass is tried again; what the account, the key or the request is to
 * blame for is told at once.
 */
#include "model/cohere.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/fetch.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/stop.h"
#include "base/str.h"
#include "model/cohere_wire.h"
#include "model/limiter.h"

enum {
    ASK_MAX = 16 * 1024 * 1024,
    REPLY_MAX = 32 * 1024 * 1024, /* a stream says every word in some hundred bytes */
    ERROR_MAX = 16 * 1024,
    BACKOFF_MS = 1000,
    WAIT_MAX_MS = 60000, /* between two tries */
    TELL_MS = 1000,
    REASONING_RATE = 20,
    WORDS_MAX = 110, /* bytes of the service's words that are told */
    PART_MIN = 4,    /* bytes of a key that a cut left: fewer say nothing */
};

struct cohere {
    struct model base;
    struct limiter limiter;
    char *url, *key, *ca_pem;
    enum cohere_api api;
    double temperature;
    int64_t max_tokens, timeout_ms, retries, backoff_ms;
};

/* One call. */
struct talk {
    struct cohere *c;
    const struct model_call *call;
    struct model_reply *reply;
    struct buf ask;
    struct cohere_reader *reader; /* of the try under way */
    int64_t told_ms;

    /* What the last try came to. */
    struct err err;
    int status, tries;
    int64_t retry_after_ms; /* -1: not said */
    bool may_retry;
    char words[WORDS_MAX];
};

/* ---- what is known about models (docs.cohere.com, models and rate limits, August 2026) ---- */

unsigned cohere_known_rate(const char *url, const char *name)
{
    static const char *const slow[] = {"command-a-reasoning", "command-a-plus", "command-a-vision",
                                       "command-a-translate"};

    if (url && url[0] && strcmp(url, COHERE_URL) != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        if (str_starts(name, slow[i]))
            return REASONING_RATE;
    }
    return 0;
}

const char *cohere_replacement(const char *name)
{
    static const struct {
        const char *old, *now;
    } rows[] = {
        {"command-r-plus",         "command-r-plus-08-2024"},
        {"command-r-plus-04-2024", "command-r-plus-08-2024"},
        {"command-r",              "command-r-08-2024"     },
        {"command-r-03-2024",      "command-r-08-2024"     },
        {"command",                "command-a-03-2025"     },
        {"command-light",          "command-r7b-12-2024"   },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(name, rows[i].old) == 0)
            return rows[i].now;
    }
    return NULL;
}

/* ---- telling ---- */

static void tell(struct talk *t, int wait_s)
{
    struct model_progress p = {.tries = t->tries, .wait_s = wait_s};

    if (!t->call->on_progress)
        return;
    if (t->reader) {
        p.thinking_bytes = t->reader->thinking_bytes;
        p.text_bytes = t->reply->text.len;
    }
    t->told_ms = clock_ms();
    t->call->on_progress(t->call->ctx, &p);
}

static void on_tick(void *ctx)
{
    struct talk *t = ctx;

    if (clock_ms() - t->told_ms >= TELL_MS)
        tell(t, 0);
}

static bool on_data(void *ctx, const char *type, const char *data, size_t n)
{
    struct talk *t = ctx;

    on_tick(t);
    return cohere_reader_feed(t->reader, type, data, n);
}

/* Whoever quotes the service must not quote a key that it quoted, nor what a cut left of it. */
static void hide_key(char *text, const char *key)
{
    size_t n = strlen(key), len = strlen(text);

    for (char *at = n ? strstr(text, key) : NULL; at; at = strstr(at + n, key))
        memset(at, '*', n);
    for (size_t k = n < len ? n : len; k >= PART_MIN; k--) {
        if (memcmp(text + len - k, key, k) == 0)
            memset(text + len - k, '*', k);
    }
}

/* What somebody can do about it. `%s` stands for the model's name. */
static const struct {
    int status;
    enum err_kind kind;
    const char *advice;
} advices[] = {
    {400, ERR_INVALID,  "refuses the request (a prompt that is too long?)"                },
    {401, ERR_DENIED,   "refuses the API key: check COHERE_API_KEY"                       },
    {402, ERR_DENIED,   "is out of credits: see billing at dashboard.cohere.com"          },
    {403, ERR_DENIED,   "is forbidden for this API key: check its rights, or COHERE_MODEL"},
    {404, ERR_NOTFOUND, "is not there: set COHERE_MODEL to a model that your key may use" },
    {408, ERR_TIMEOUT,  "did not get an answer in time: try again"                        },
    {422, ERR_INVALID,  "refuses the request"                                             },
    {429, ERR_BUSY,     "is past its rate limit: wait, or use a key with a higher one"    },
    {498, ERR_DENIED,
     "refuses the API key (it is blocked): make a new one at dashboard.cohere.com"        },
    {499, ERR_PEER,     "cancelled the request"                                           },
};

static void fill_fault(const struct talk *t, struct model_fault *f)
{
    const char *advice = "failed: try again later";
    const char *name = t->c->base.name;
    size_t i = 0;

    *f = (struct model_fault){.kind = ERR_PEER, .status = t->status, .tries = t->tries};
    if (t->retry_after_ms >= 0)
        f->retry_after_s = (int)((t->retry_after_ms + 999) / 1000);
    if (t->err.kind == ERR_CANCELLED)
        f->status = 0;
    if (t->status == 0 || t->status == 200 || t->err.kind == ERR_CANCELLED) {
        f->kind = t->err.kind;
        (void)str_copy(f->text, t->err.msg, sizeof(f->text));
        return;
    }
    while (i < ARRAY_LEN(advices) && advices[i].status != t->status)
        i++;
    if (t->status / 100 == 3)
        advice = "is said to be elsewhere, and no redirect is followed: check CO_API_URL";
    if (i < ARRAY_LEN(advices)) {
        f->kind = advices[i].kind;
        advice = advices[i].advice;
    }
    (void)snprintf(f->text, sizeof(f->text), "model '%.40s' %s (status %d%s%s)", name, advice,
                   t->status, t->words[0] ? ": " : "", t->words);
    hide_key(f->text, t->c->key);
}

/* ---- one try ---- */

static void note_status(struct talk *t, const struct fetch_reply *r)
{
    t->may_retry = r->status == 408 || r->status == 429 || r->status >= 500;
    cohere_read_error(buf_get(&r->body), r->body.len, t->words, sizeof(t->words));
    hide_key(t->words, t->c->key);
    (void)err_set(&t->err, ERR_PEER, "status %d", r->status);
}

/* Its status says enough, whether or not the rest of it came. */
static bool is_refusal(const struct talk *t, int rc)
{
    bool has_status = t->status != 0 && t->status != 200;

    return has_status && (rc == 0 || t->err.kind == ERR_PEER || t->err.kind == ERR_TIMEOUT);
}

/* The stream came to its end, or was ended: is it a reply? */
static int read_reply(struct talk *t, struct cohere_reader *reader, bool is_whole)
{
    struct err err = {0};

    if (reader->err.kind == ERR_NONE && !is_whole)
        return -1; /* t->err says why */
    if (cohere_reader_end(reader, &err) == 0)
        return 0;
    t->err = err;
    hide_key(t->err.msg, t->c->key);
    if (err.kind == ERR_PEER)
        (void)err_wrap(&t->err, "the reply of model '%.40s' cannot be used", t->c->base.name);
    return -1;
}

static void name_failure(struct talk *t)
{
    const char *name = t->c->base.name;

    hide_key(t->err.msg, t->c->key);
    if (t->err.kind == ERR_BUSY)
        (void)err_wrap(&t->err, "cannot reach the model's service (CO_API_URL)");
    else if (t->err.kind == ERR_DENIED)
        (void)err_wrap(&t->err, "the certificate of the model's service is not good");
    else if (t->err.kind == ERR_TIMEOUT)
        (void)err_set(&t->err, ERR_TIMEOUT,
                      "model '%.40s' gave no whole answer in time: ask for less, or raise "
                      "model.timeout and generate.timeout",
                      name);
    else if (t->err.kind == ERR_PEER)
        (void)err_wrap(&t->err, "the reply of model '%.40s' cannot be used", name);
}

static int exchange(struct talk *t, struct cohere_reader *reader)
{
    int64_t deadline = clock_ms() + t->c->timeout_ms;
    struct fetch_request q = {
        .url = t->c->url,
        .accept = t->c->api == COHERE_V1 ? "application/stream+json" : "text/event-stream",
        .bearer = t->c->key,
        .ca_pem = t->c->ca_pem,
        .body = &t->ask,
        .deadline_ms = deadline < t->call->deadline_ms ? deadline : t->call->deadline_ms,
        .reply_max = REPLY_MAX,
        .stop = t->call->stop,
        .on_data = on_data,
        .on_tick = on_tick,
        .ctx = t,
    };
    CLEANUP(fetch_reply_done) struct fetch_reply r = {0};
    int rc;

    fetch_reply_init(&r, ERROR_MAX);
    rc = fetch(&q, &r, &t->err);
    t->status = r.status;
    t->retry_after_ms = r.retry_after_ms;
    if (is_refusal(t, rc)) {
        note_status(t, &r);
        return -1;
    }
    t->may_retry = rc < 0 && t->err.kind == ERR_BUSY;
    if (rc < 0 && reader->err.kind == ERR_NONE)
        name_failure(t);
    return read_reply(t, reader, rc == 0);
}

static int try_once(struct talk *t)
{
    CLEANUP(cohere_reader_done) struct cohere_reader reader = {0};
    int rc;

    buf_clear(&t->reply->text);
    t->err = (struct err){0};
    t->words[0] = '\0';
    cohere_reader_init(&reader, t->c->api, t->reply);
    t->reader = &reader;
    tell(t, 0);
    rc = exchange(t, &reader);
    t->reader = NULL;
    return rc;
}

/* ---- tries ---- */

/* Ours, a tenth more or less, so that many do not come back together. */
static int64_t backoff(const struct talk *t)
{
    int64_t ms = t->c->backoff_ms;

    for (int i = 1; i < t->tries && ms < WAIT_MAX_MS; i++)
        ms *= 2;
    ms = ms * (int64_t)(90 + random_u64() % 21) / 100;
    return ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS;
}

static int cancelled(struct talk *t)
{
    t->status = 0;
    return err_set(&t->err, ERR_CANCELLED, "nobody waits for the reply any more");
}

/* 0: it is time for the next try. -1: there will be none, and the last one's failure is told. */
static int wait_for_next(struct talk *t)
{
    int64_t wait = t->retry_after_ms >= 0 ? t->retry_after_ms : backoff(t);
    int64_t until = clock_ms() + wait;

    /* Whoever is to wait longer is told so, and may come back then. */
    if (wait > WAIT_MAX_MS || until >= t->call->deadline_ms)
        return -1;
    log_info("model '%s': try %d failed (%s), the next one is in %lld ms", t->c->base.name,
             t->tries, t->err.msg, (long long)wait);
    if (wait > 0)
        tell(t, (int)((wait + 999) / 1000));
    return stop_sleep(t->call->stop, until) ? 0 : cancelled(t);
}

/* A place among the calls of this minute. */
static int wait_for_turn(struct talk *t)
{
    int after_s = 0;

    if (limiter_wait(&t->c->limiter, t->call->deadline_ms, t->call->stop, &after_s, &t->err) == 0)
        return 0;
    t->may_retry = false;
    t->status = 0;
    if (t->err.kind != ERR_BUSY)
        return -1;
    t->status = 429;
    t->retry_after_ms = (int64_t)after_s * 1000;
    (void)str_copy(t->words, t->err.msg, sizeof(t->words));
    return -1;
}

static int call(struct model *m, const struct model_call *c, struct model_reply *ret,
                struct model_fault *fault)
{
    struct talk t = {.c = (struct cohere *)m, .call = c, .reply = ret, .retry_after_ms = -1};
    const struct cohere_ask ask = {
        .name = m->name,
        .temperature = t.c->temperature,
        .max_tokens = t.c->max_tokens,
        .messages = c->messages,
        .n = c->n,
    };
    int rc = -1;

    buf_init(&t.ask, ASK_MAX);
    cohere_put_ask(&t.ask, t.c->api, &ask);
    if (t.ask.is_full)
        (void)err_set(&t.err, ERR_INVALID, "the prompt is too long");
    else if (!t.c->key[0])
        (void)err_set(&t.err, ERR_DENIED, "no API key: set COHERE_API_KEY");
    else
        t.may_retry = true;
    while (t.may_retry) {
        if (wait_for_turn(&t) < 0)
            break;
        t.tries++;
        rc = try_once(&t);
        if (rc == 0 || !t.may_retry || t.tries > t.c->retries || wait_for_next(&t) < 0)
            break;
    }
    buf_done(&t.ask);
    ret->tries = t.tries;
    if (rc < 0)
        fill_fault(&t, fault);
    return rc;
}

/* ---- making it ---- */

static void cohere_free(struct model *m)
{
    struct cohere *c = (struct cohere *)m;

    limiter_done(&c->limiter);
    if (c->key)
        explicit_bzero(c->key, strlen(c->key));
    free(c->key);
    free(c->url);
    free(c->ca_pem);
    free(c->base.name);
    free(c);
}

static bool is_plain(const char *s)
{
    for (; *s; s++) {
        if (*s <= ' ' || *s >= 0x7F)
            return false;
    }
    return true;
}

/* As the official client does: a trailing slash goes, and at Cohere itself an old "/v1". */
static char *make_url(const char *base, enum cohere_api api)
{
    size_t n = strlen(base);

    while (n && base[n - 1] == '/')
        n--;
    if (n > 3 && strncmp(base + n - 3, "/v1", 3) == 0 &&
        (strstr(base, "cohere.com") || strstr(base, "cohere.ai")))
        n -= 3;
    return xasprintf("%.*s/%s/chat", (int)n, base, api == COHERE_V1 ? "v1" : "v2");
}

/* Keys come out of files whose lines end in one way or another. */
static char *trim(const char *key)
{
    size_t n = str_trim(&key, strlen(key));

    return xstrndup(key, n);
}

static struct cohere *make(const struct cohere_options *o, const char *base, char *key)
{
    static const struct model_ops ops = {.call = call, .free = cohere_free};
    struct cohere *c = xcalloc(1, sizeof(*c));

    c->base = (struct model){.ops = &ops, .name = xstrdup(o->name)};
    c->url = make_url(base, o->api);
    c->key = key;
    c->ca_pem = xstrdup(o->ca_pem);
    c->api = o->api;
    c->temperature = o->temperature;
    c->max_tokens = o->max_tokens;
    c->timeout_ms = o->timeout_ms;
    c->retries = o->retries;
    c->backoff_ms = o->backoff_ms > 0 ? o->backoff_ms : BACKOFF_MS;
    limiter_init(&c->limiter, o->rate_per_minute >= 0 ? (unsigned)o->rate_per_minute
                                                      : cohere_known_rate(base, o->name));
    return c;
}

int cohere_new(const struct cohere_options *o, struct model **ret, struct err *err)
{
    const char *base = o->url && o->url[0] ? o->url : COHERE_URL;
    auto_free char *key = trim(o->key);

    if (!fetch_is_url(base))
        return err_set(err, ERR_INVALID, "model.url must be http:// or https:// and a host");
    if (!is_plain(key))
        return err_set(err, ERR_INVALID,
                       "the API key (COHERE_API_KEY) has blanks or characters "
                       "that no key has");
    if (!o->name[0] || !is_plain(o->name))
        return err_set(err, ERR_INVALID, "model.name has characters that no name has");
    *ret = &make(o, base, TAKE(key))->base;
    return 0;
}
