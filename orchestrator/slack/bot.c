/*
 * The ledger is the queue: what Slack was told is taken is on disk first. One thread answers what
 * needs no model (and what a restart interrupted), so that nobody waits behind a slow model for
 * that; a fixed number of others work. With the Events API requests come into the ledger from the
 * front's process; the first thread looks for them.
 */
#include "slack/bot.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "slack/answer.h"
#include "slack/board.h"
#include "slack/event.h"
#include "slack/socket_mode.h"
#include "store/ledger.h"

enum {
    LOOK_MS = 200, /* for what another process added */
    IDLE_MS = 60000,
    START_MS = 5000, /* the generator may be just starting */
    RETRY_MS = 1000, /* after a failure of the ledger, or of telling Slack */
    TRIM_MS = 60 * 60 * 1000,
};

/* Slack sends an event again for an hour at most; a day is what the budget needs. */
#define KEEP_MS (INT64_C(7) * 24 * 60 * 60 * 1000)

/* Work that waited so long, for a start or for Slack, is no longer worth a surprise. */
#define STALE_MS (INT64_C(10) * 60 * 1000)

/* Whoever was not told after so long need not be told any more. */
#define GIVE_UP_MS (INT64_C(24) * 60 * 60 * 1000)

struct bot {
    struct bot_options o;
    struct ledger *ledger;
    struct stop intake_stop, work_stop;
    struct slack_web intake_web, web;
    struct ask_options ask;
    struct answer_options answer;
    struct socket_mode *socket;
    _Atomic int64_t rest_until_ms; /* Slack wants to be told nothing until then */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t news;
    uint64_t added; /* counts changes of the ledger */
    bool is_stopping;
    int64_t working; /* threads that are not over */

    pthread_t *threads;
    size_t threads_n;
};

/* ---- taking requests ---- */

static void wake(struct bot *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->added++;
    (void)pthread_cond_broadcast(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
}

static void count(struct bot *b, enum board_event e)
{
    BOARD_COUNT(b->o.board, events[BOARD_SOCKET][e]);
}

static int take_request(struct bot *b, const struct ledger_request *r)
{
    struct err err = {0};
    bool is_new;

    if (ledger_add(b->ledger, r, b->o.queue_max, &is_new, &err) < 0) {
        log_error("slack: a request is not taken: %s", err.msg);
        count(b, BOARD_UNKEPT);
        return -1;
    }
    count(b, is_new ? BOARD_TAKEN : BOARD_DUPLICATE);
    if (is_new)
        wake(b);
    else
        log_debug("slack: event %s is there already", r->event_id);
    return 0;
}

static int on_event(void *ctx, const char *payload, size_t n)
{
    struct bot *b = ctx;
    const struct event_place at = {.channel = b->o.channel, .users = b->o.users};
    CLEANUP(event_done) struct event e = {0};
    struct err err = {0};

    /* What cannot be read now cannot be read when it is sent again. */
    if (event_read(payload, n, &at, &e, &err) < 0) {
        log_warning("slack: an event is not taken: %s", err.msg);
        count(b, BOARD_UNREADABLE);
        return 0;
    }
    if (e.kind == EVENT_REQUEST)
        return take_request(b, &e.request);
    count(b, BOARD_IGNORED);
    return 0;
}

/* ---- answering ---- */

/* What becomes of a request that was not answered. */
static int64_t age(const struct ledger_request *r)
{
    return clock_wall_ms() - r->accepted_ms;
}

static enum board_end end_of(const struct ledger_request *r, const struct err *why)
{
    if (why->kind == ERR_NOTFOUND || why->kind == ERR_INVALID)
        return BOARD_UNANSWERED;
    /* After a setting was changed, or a stop, it is told as interrupted. */
    if (why->kind != ERR_BUSY)
        return BOARD_LEFT;
    return age(r) < GIVE_UP_MS ? BOARD_POSTPONED : BOARD_UNANSWERED;
}

static int write_end(struct bot *b, const struct ledger_request *r, enum board_end end, bool counts,
                     struct err *err)
{
    if (end == BOARD_LEFT)
        return 0;
    if (end != BOARD_POSTPONED)
        return ledger_end(b->ledger, r, counts, err);
    /* What cost nothing was not done, and is if it is still worth it. */
    if (ledger_postpone(b->ledger, r, !counts && age(r) < STALE_MS, counts, err) < 0)
        return -1;
    wake(b);
    return 0;
}

/* False: it is to be answered later, Slack takes nothing now. */
static bool answer_one(struct bot *b, const struct ledger_request *r)
{
    enum board_end end = BOARD_ANSWERED;
    struct err err = {0};
    bool counts = false;

    if (answer(&b->answer, r, &counts, &err) < 0) {
        end = end_of(r, &err);
        if (err.kind != ERR_CANCELLED)
            log_error("slack: request %s was not answered: %s", r->event_id, err.msg);
    }
    BOARD_COUNT(b->o.board, ends[end]);
    /* Left as it is in the ledger it would be told once more, as interrupted, at the next start. */
    while (write_end(b, r, end, counts, &err) < 0) {
        log_error("slack: %s", err.msg);
        if (!stop_sleep(&b->work_stop, clock_ms() + RETRY_MS))
            break;
    }
    return end != BOARD_POSTPONED;
}

enum next { NEXT_NONE, NEXT_ANSWERED, NEXT_POSTPONED, NEXT_FAILED };

static enum next answer_next(struct bot *b, bool is_work)
{
    CLEANUP(ledger_request_done) struct ledger_request r = {0};
    struct err err = {0};
    bool is_found;

    if (ledger_take(b->ledger, is_work, &r, &is_found, &err) < 0) {
        log_error("slack: %s", err.msg);
        return NEXT_FAILED;
    }
    if (!is_found)
        return NEXT_NONE;
    return answer_one(b, &r) ? NEXT_ANSWERED : NEXT_POSTPONED;
}

/* Until the ledger changes beyond `*seen` (NULL: whatever it does). False: the bot ends. */
static bool wait_until(struct bot *b, uint64_t *seen, int64_t until_ms)
{
    const struct timespec at = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    bool goes_on;
    int rc = 0;

    (void)pthread_mutex_lock(&b->lock);
    while (rc == 0 && !b->is_stopping && (!seen || b->added == *seen))
        rc = pthread_cond_timedwait(&b->news, &b->lock, &at);
    if (seen)
        *seen = b->added;
    goes_on = !b->is_stopping;
    (void)pthread_mutex_unlock(&b->lock);
    return goes_on;
}

/* What was postponed would be tried at once: Slack has its rest first, whatever comes meanwhile. */
static bool rest(struct bot *b)
{
    int64_t until = clock_ms() + RETRY_MS, wanted = atomic_load(&b->rest_until_ms);

    return wait_until(b, NULL, wanted > until ? wanted : until);
}

/* Until there may be something to do; with nothing new after `idle_ms`. False: the bot ends. */
static bool wait_for_next(struct bot *b, enum next last, uint64_t *seen, int64_t idle_ms)
{
    switch (last) {
    case NEXT_POSTPONED:
        return rest(b);
    case NEXT_ANSWERED:
        return wait_until(b, seen, clock_ms());
    case NEXT_FAILED:
        return wait_until(b, seen, clock_ms() + RETRY_MS);
    case NEXT_NONE:
        break;
    }
    return wait_until(b, seen, clock_ms() + idle_ms);
}

static void is_over(struct bot *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->working--;
    (void)pthread_cond_broadcast(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
}

static void *run_worker(void *arg)
{
    struct bot *b = arg;
    uint64_t seen = 0;
    enum next last;

    do
        last = answer_next(b, true);
    while (wait_for_next(b, last, &seen, IDLE_MS));
    is_over(b);
    return NULL;
}

static void trim(struct bot *b, int64_t *next_ms)
{
    struct err err = {0};

    if (clock_ms() < *next_ms)
        return;
    *next_ms = clock_ms() + TRIM_MS;
    if (ledger_trim(b->ledger, clock_wall_ms() - KEEP_MS, &err) < 0)
        log_error("slack: %s", err.msg);
}

/* Slack may be away: neither answers nor a stop wait for what is only for the log. */
static void *run_introduction(void *arg)
{
    struct bot *b = arg;
    struct err err = {0};

    if (slack_introduce(&b->intake_web, &err) < 0 && err.kind != ERR_CANCELLED)
        log_error("slack: %s", err.msg);
    is_over(b);
    return NULL;
}

static void *run_quick(void *arg)
{
    struct bot *b = arg;
    uint64_t seen = 0;
    int64_t trim_ms = 0;
    enum next last;

    do {
        if (b->o.is_fed && ledger_has_news(b->ledger))
            wake(b);
        last = answer_next(b, false);
        trim(b, &trim_ms);
    } while (wait_for_next(b, last, &seen, b->o.is_fed ? LOOK_MS : IDLE_MS));
    is_over(b);
    return NULL;
}

/* ---- life ---- */

static void set_up(struct bot *b)
{
    const struct bot_options *o = &b->o;
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    stop_init(&b->intake_stop, -1);
    stop_init(&b->work_stop, -1);
    b->web = (struct slack_web){
        .url = o->api_url,
        .bot_token = o->bot_token,
        .app_token = o->app_token,
        .ca_pem = o->ca_pem,
        .stop = &b->work_stop,
        .board = o->board,
        .rest_until_ms = &b->rest_until_ms,
    };
    b->intake_web = b->web;
    b->intake_web.stop = &b->intake_stop;
    b->intake_web.rest_until_ms = NULL;
    b->ask = (struct ask_options){
        .url = o->generator_url,
        .ca_pem = o->ca_pem,
        .spool_dir = o->spool_dir,
        .start_ms = START_MS,
        .stop = &b->work_stop,
    };
    b->answer = (struct answer_options){
        .web = &b->web,
        .ask = &b->ask,
        .patience_ms = o->patience_ms,
        .users = o->users,
        .daily_budget = o->daily_budget,
        .timeout_ms = o->timeout_ms,
        .debug_timeout_ms = o->debug_timeout_ms,
        .queue_max = o->queue_max,
    };
}

static int open_ledger(struct bot *b, struct err *err)
{
    if (ledger_open(b->o.ledger_path, &b->ledger, err) < 0)
        return -1;
    b->answer.ledger = b->ledger;
    return ledger_recover(b->ledger, clock_wall_ms() - STALE_MS, err);
}

static int start_thread(struct bot *b, void *(*fn)(void *), struct err *err)
{
    (void)pthread_mutex_lock(&b->lock);
    b->working++;
    (void)pthread_mutex_unlock(&b->lock);
    if (pthread_create(&b->threads[b->threads_n], NULL, fn, b) != 0) {
        is_over(b);
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    }
    b->threads_n++;
    return 0;
}

static int start(struct bot *b, struct err *err)
{
    const struct socket_mode_options so = {
        .web = &b->intake_web, .ping_ms = b->o.ping_ms, .on_event = on_event, .ctx = b};

    if (open_ledger(b, err) < 0 || start_thread(b, run_introduction, err) < 0 ||
        start_thread(b, run_quick, err) < 0)
        return -1;
    for (int64_t i = 0; i < b->o.workers; i++) {
        if (start_thread(b, run_worker, err) < 0)
            return -1;
    }
    return b->o.app_token[0] ? socket_mode_start(&so, &b->socket, err) : 0;
}

int bot_start(const struct bot_options *o, struct bot **ret, struct err *err)
{
    struct bot *b = xcalloc(1, sizeof(*b));

    b->o = *o;
    b->threads = xcalloc((size_t)o->workers + 2, sizeof(*b->threads));
    set_up(b);
    if (start(b, err) < 0) {
        bot_free(b);
        return -1;
    }
    *ret = b;
    return 0;
}

int64_t bot_busy(struct bot *b)
{
    int64_t n;

    (void)pthread_mutex_lock(&b->lock);
    n = b->working;
    (void)pthread_mutex_unlock(&b->lock);
    return n;
}

void bot_quiesce(struct bot *b)
{
    stop_ask(&b->intake_stop);
    (void)pthread_mutex_lock(&b->lock);
    b->is_stopping = true;
    (void)pthread_cond_broadcast(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
    socket_mode_stop(b->socket);
    b->socket = NULL;
}

void bot_free(struct bot *b)
{
    if (!b)
        return;
    bot_quiesce(b);
    stop_ask(&b->work_stop);
    for (size_t i = 0; i < b->threads_n; i++)
        (void)pthread_join(b->threads[i], NULL);
    ledger_close(b->ledger);
    stop_done(&b->intake_stop);
    stop_done(&b->work_stop);
    (void)pthread_cond_destroy(&b->news);
    (void)pthread_mutex_destroy(&b->lock);
    free(b->threads);
    free(b);
}
