#include "slack/socket_mode.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/stop.h"
#include "base/str.h"
#include "slack/board.h"
#include "slack/wslink.h"

enum {
    CONNECT_MS = 15000,
    HELLO_MS = 10000,
    PAUSE_FIRST_MS = 250,
    PAUSE_MAX_MS = 30000,
    PAUSE_BROKEN_MS = 1000,  /* the most after a connection that was up: Slack limits openings */
    PAUSE_DENIED_MS = 60000, /* somebody has to change a setting first */
    STEADY_MS = 10000,       /* a connection that lived so long is replaced at once */
    QUICK_MAX = 3,           /* as often Slack may ask for another one before that */
    ACK_MAX = 512,
    ID_MAX = 128,
};

/* A connection and its thread. */
struct line {
    struct socket_mode *mode;
    struct wslink *link;
    pthread_t thread;
    bool has_thread;
    int64_t began_ms;
    /* Under the mode's lock: */
    bool is_ready;    /* hello came */
    bool is_leaving;  /* Slack wants to end it */
    bool is_disabled; /* Socket Mode was switched off for the app */
    bool is_over;
};

struct socket_mode {
    struct socket_mode_options o;
    pthread_mutex_t lock; /* guards the flags */
    pthread_cond_t news;
    bool is_stopping;
    int up; /* connections that said hello and are not over */
    pthread_t thread;
};

/* For whoever looks from outside: since when there has been a connection. Under the mode's lock. */
static void count_up(struct socket_mode *m, int change)
{
    struct board *b = m->o.web->board;

    if (b && m->up == 0)
        atomic_store(&b->connected_s, (uint64_t)clock_wall_ms() / 1000);
    m->up += change;
    if (b && m->up == 0)
        atomic_store(&b->connected_s, 0);
}

static void tell(struct line *l, bool *flag)
{
    (void)pthread_mutex_lock(&l->mode->lock);
    *flag = true;
    (void)pthread_cond_broadcast(&l->mode->news);
    (void)pthread_mutex_unlock(&l->mode->lock);
}

static void take_hello(struct line *l)
{
    (void)pthread_mutex_lock(&l->mode->lock);
    if (!l->is_ready) {
        count_up(l->mode, 1);
        BOARD_COUNT(l->mode->o.web->board, connections);
    }
    l->is_ready = true;
    (void)pthread_cond_broadcast(&l->mode->news);
    (void)pthread_mutex_unlock(&l->mode->lock);
}

static void end_line(struct line *l)
{
    (void)pthread_mutex_lock(&l->mode->lock);
    if (l->is_ready)
        count_up(l->mode, -1);
    l->is_over = true;
    (void)pthread_cond_broadcast(&l->mode->news);
    (void)pthread_mutex_unlock(&l->mode->lock);
}

/* ---- what comes over a connection ---- */

static void acknowledge(struct wslink *link, const char *envelope)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, ACK_MAX);
    (void)buf_str(&b, "{\"envelope_id\":");
    json_put_str(&b, envelope, strlen(envelope));
    (void)buf_char(&b, '}');
    wslink_send(link, b.data, b.len);
}

static void take_envelope(struct line *l, struct wslink *link, const cJSON *message)
{
    const struct socket_mode_options *o = &l->mode->o;
    const cJSON *payload = cJSON_GetObjectItemCaseSensitive(message, "payload");
    const char *envelope = json_get_text(message, "envelope_id");
    const char *type = json_get_text(message, "type");
    auto_free char *text = NULL;

    if (!*envelope || strlen(envelope) > ID_MAX)
        return;
    if (strcmp(type, "events_api") == 0 && payload) {
        text = cJSON_PrintUnformatted(payload);
        if (!text || o->on_event(o->ctx, text, strlen(text)) < 0)
            return;
    }
    acknowledge(link, envelope);
}

static void take_disconnect(struct line *l, const cJSON *message)
{
    const char *reason = json_get_text(message, "reason");

    if (strcmp(reason, "link_disabled") == 0) {
        log_error("slack: Socket Mode is switched off for this app");
        tell(l, &l->is_disabled);
    } else {
        log_debug("slack: Slack asks for a new connection");
    }
    tell(l, &l->is_leaving);
}

static int on_text(void *ctx, struct wslink *link, const char *text, size_t n, struct err *err)
{
    struct line *l = ctx;
    CLEANUP(cJSON_Delete_p) cJSON *message = NULL;
    struct err why = {0};
    const char *type;

    (void)err;
    if (json_scan_text(text, n, JSON_SCAN_TOKENS, &why) < 0) {
        log_warning("slack: a message is not taken: %s", why.msg);
        return 0;
    }
    message = cJSON_ParseWithLength(text, n);
    type = json_get_text(message, "type");
    if (strcmp(type, "hello") == 0)
        take_hello(l);
    else if (strcmp(type, "disconnect") == 0)
        take_disconnect(l, message);
    else
        take_envelope(l, link, message);
    return 0;
}

/* ---- one connection ---- */

static void *run_line(void *arg)
{
    struct line *l = arg;
    struct err err = {0};

    if (wslink_run(l->link, &err) < 0)
        log_warning("slack: %s", err.msg);
    end_line(l);
    return NULL;
}

static void line_free(struct line *l)
{
    if (!l)
        return;
    if (l->has_thread) {
        wslink_ask_close(l->link);
        (void)pthread_join(l->thread, NULL);
    }
    wslink_free(l->link);
    free(l);
}
DEFINE_CLEANUP(struct line *, line_free)

/* Until a flag is up or its time is over. True: the mode ends. */
static bool wait_line(struct socket_mode *m, const struct line *l, int64_t until_ms)
{
    const struct timespec at = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    bool is_stopping;
    int rc = 0;

    (void)pthread_mutex_lock(&m->lock);
    while (rc == 0 && !m->is_stopping && !l->is_over && !l->is_leaving &&
           !(until_ms != INT64_MAX && l->is_ready))
        rc = until_ms == INT64_MAX ? pthread_cond_wait(&m->news, &m->lock)
                                   : pthread_cond_timedwait(&m->news, &m->lock, &at);
    is_stopping = m->is_stopping;
    (void)pthread_mutex_unlock(&m->lock);
    return is_stopping;
}

static bool is_up(struct line *l, const bool *flag)
{
    bool is;

    (void)pthread_mutex_lock(&l->mode->lock);
    is = *flag;
    (void)pthread_mutex_unlock(&l->mode->lock);
    return is;
}

static int open_line(struct socket_mode *m, struct line *l, struct err *err)
{
    auto_free char *url = NULL;
    struct wslink_options o = {
        .ca_pem = m->o.web->ca_pem,
        .stop = m->o.web->stop,
        .connect_ms = CONNECT_MS,
        .ping_ms = m->o.ping_ms,
        .on_text = on_text,
        .ctx = l,
    };

    if (slack_open_socket(m->o.web, &url, err) < 0)
        return -1;
    o.url = url;
    if (wslink_open(&o, &l->link, err) < 0)
        return err_wrap(err, "socket mode");
    if (pthread_create(&l->thread, NULL, run_line, l) != 0)
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    l->has_thread = true;
    (void)wait_line(m, l, clock_ms() + HELLO_MS);
    if (!is_up(l, &l->is_ready))
        return err_set(err, ERR_TIMEOUT, "socket mode: Slack does not say hello");
    return 0;
}

static struct line *line_new(struct socket_mode *m, struct err *err)
{
    CLEANUP(line_free_p) struct line *l = xcalloc(1, sizeof(*l));

    l->mode = m;
    l->began_ms = clock_ms();
    if (open_line(m, l, err) < 0)
        return NULL;
    return TAKE(l);
}

/* ---- all of them ---- */

static bool is_stopping(struct socket_mode *m)
{
    bool is;

    (void)pthread_mutex_lock(&m->lock);
    is = m->is_stopping;
    (void)pthread_mutex_unlock(&m->lock);
    return is;
}

/* Longer each time, and never at the same moment as everybody else. */
static void pause_for(struct socket_mode *m, unsigned fails, int64_t max, const struct err *err)
{
    int64_t wait = PAUSE_FIRST_MS, until;

    for (unsigned i = 1; i < fails && wait < max; i++)
        wait *= 2;
    if (wait > max)
        wait = max;
    if (err->kind == ERR_DENIED)
        wait = PAUSE_DENIED_MS;
    wait = wait / 2 + (int64_t)(random_u64() % (uint64_t)(wait / 2 + 1));
    log_warning("slack: %s; trying again in %lld ms", err->msg, (long long)wait);
    for (until = clock_ms() + wait; !is_stopping(m) && clock_ms() < until;)
        (void)stop_sleep(m->o.web->stop, clock_ms() + (wait < STOP_STEP_MS ? wait : STOP_STEP_MS));
}

/* What the connection that is to be replaced says about the next one. */
static void look_back(struct line *l, unsigned *fails, struct err *err)
{
    if (is_up(l, &l->is_disabled))
        (void)err_set(err, ERR_DENIED, "Socket Mode is switched off for this app");
    else if (clock_ms() - l->began_ms >= STEADY_MS)
        *fails = 0;
    else if (is_up(l, &l->is_over) || ++*fails > QUICK_MAX)
        (void)err_set(err, ERR_PEER, "the connection ended soon after it began");
}

static void *manage(void *arg)
{
    struct socket_mode *m = arg;
    struct line *current = NULL;
    unsigned fails = 0;

    while (!is_stopping(m)) {
        struct err err = {0};
        struct line *next = line_new(m, &err);

        if (next) {
            log_info("slack: connected over Socket Mode");
            /* The old one goes on until here: nothing that comes over it is lost. */
            line_free(current);
            current = next;
            (void)wait_line(m, current, INT64_MAX);
            look_back(current, &fails, &err);
        }
        if (err.kind != ERR_NONE && !is_stopping(m))
            pause_for(m, ++fails, next ? PAUSE_BROKEN_MS : PAUSE_MAX_MS, &err);
    }
    line_free(current);
    return NULL;
}

int socket_mode_start(const struct socket_mode_options *o, struct socket_mode **ret,
                      struct err *err)
{
    struct socket_mode *m = xcalloc(1, sizeof(*m));
    pthread_condattr_t attr;

    m->o = *o;
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&m->thread, NULL, manage, m) != 0) {
        (void)pthread_cond_destroy(&m->news);
        (void)pthread_mutex_destroy(&m->lock);
        free(m);
        return err_set(err, ERR_INTERNAL, "cannot start a thread");
    }
    *ret = m;
    return 0;
}

void socket_mode_stop(struct socket_mode *m)
{
    if (!m)
        return;
    (void)pthread_mutex_lock(&m->lock);
    m->is_stopping = true;
    (void)pthread_cond_broadcast(&m->news);
    (void)pthread_mutex_unlock(&m->lock);
    (void)pthread_join(m->thread, NULL);
    (void)pthread_cond_destroy(&m->news);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}
