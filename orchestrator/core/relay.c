#include "core/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/relay_state.h"
#include "frames/le.h"
#include "policy/network.h"
#include "policy/policy.h"
#include "policy/syntax.h"

enum { RETRY_MS = 20 }; /* a connection whose turn it is at the resolver */

static const struct {
    const char *name;
    bool is_limit; /* worth one warning only */
} verdicts[RELAY_VERDICTS] = {
    [RELAY_OK] = {"ok",        false},
      [RELAY_UNLISTED] = {"unlisted",  false},
    [RELAY_CLOSED] = {"closed",    false},
      [RELAY_NAME] = {"name",      false},
    [RELAY_DOWN] = {"down",      false},
      [RELAY_TIMEOUT] = {"timeout",   false},
    [RELAY_LIMIT] = {"limit",     true },
      [RELAY_CANCELLED] = {"cancelled", false},
};

const char *relay_verdict_name(enum relay_verdict v)
{
    return verdicts[v].name;
}

struct relay *relay_new(const struct relay_options *o)
{
    struct relay *r = xcalloc(1, sizeof(*r));

    r->o = *o;
    r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->event_fd >= 0)
        return r;
    free(r);
    return NULL;
}

/* ---- ends ---- */

/* A program that asks on and on past a limit does not fill the log; what had an address is told. */
static bool is_worth_a_line(struct relay *r, const struct conn *c)
{
    bool is_first = !r->is_over_limit_told;

    if (!verdicts[c->verdict].is_limit || *c->address)
        return true;
    r->is_over_limit_told = true;
    return is_first;
}

static void note_end(struct relay *r, const struct conn *c)
{
    const uint64_t up = c->up - (c->end - c->start); /* what the target's side has */
    const struct log_field fields[] = {
        {"run",     r->o.run_id,                    0                                },
        {"target",  c->target,                      0                                },
        {"address", c->address,                     0                                },
        {"verdict", relay_verdict_name(c->verdict), 0                                },
        {"up",      NULL,                           (int64_t)up                      },
        {"down",    NULL,                           (int64_t)c->down                 },
        {"ms",      NULL,                           (clock_us() - c->began_us) / 1000},
    };

    r->o.counts->verdicts[c->verdict]++;
    r->o.counts->up += up;
    r->o.counts->down += c->down;
    if (is_worth_a_line(r, c))
        log_record(LOG_INFO, "relayed connection", fields, ARRAY_LEN(fields));
}

static void free_conn(struct relay *r, size_t i)
{
    struct conn *c = r->conns[i];

    if (c->state == CONN_LINGER)
        r->lingering--;
    else
        r->live--;
    if (c->state < CONN_OPEN)
        c->verdict = RELAY_CANCELLED;
    note_end(r, c);
    relay_conn_forget(r, c);
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->buf);
    free(c);
    r->conns[i] = NULL;
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        if (r->conns[i])
            free_conn(r, i);
    }
    for (size_t i = 0; i < RELAY_LOOKUPS; i++)
        resolver_drop(r->o.resolver, r->late[i]);
    (void)close(r->event_fd);
    free(r);
}

static bool is_flushed(const struct conn *c)
{
    return c->fd < 0 || c->start == c->end;
}

/* The warden has forgotten it; what the program had sent is still delivered. */
static void let_go(struct relay *r, size_t i)
{
    struct conn *c = r->conns[i];

    if (c->state != CONN_OPEN || is_flushed(c)) {
        free_conn(r, i);
        return;
    }
    c->state = CONN_LINGER;
    c->up_is_over = true;
    r->live--;
    r->lingering++;
}

void relay_end(struct relay *r)
{
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        if (r->conns[i] && r->conns[i]->state != CONN_LINGER)
            let_go(r, i);
    }
}

bool relay_is_delivering(const struct relay *r)
{
    return r->lingering > 0;
}

/* ---- frames of the warden ---- */

static size_t find(const struct relay *r, uint16_t id)
{
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        if (r->conns[i] && r->conns[i]->state != CONN_LINGER && r->conns[i]->id == id)
            return i;
    }
    return RELAY_SLOTS;
}

/* Where the program's target leads. False: the policy does not list it. */
static bool set_route(struct conn *c, const struct policy *p)
{
    const struct policy_network *net = &p->network;
    const struct policy_relay *entry = network_find(net, c->target);
    const char *to = entry ? entry->to : c->target, *colon = strrchr(to, ':');
    bool is_bracketed = *to == '[';
    size_t n = (size_t)(colon - to) - (is_bracketed ? 2 : 0);

    if (n >= sizeof(c->host))
        return false;
    memcpy(c->host, to + is_bracketed, n);
    c->host[n] = '\0';
    (void)str_copy(c->port, colon + 1, sizeof(c->port));
    c->is_private = entry && entry->is_private;
    if (entry)
        return true;
    for (size_t i = 0; i < net->any_n && p->relay_internet; i++) {
        int64_t port;

        if (str_to_i64(c->port, 1, 65535, &port) && port == net->any[i])
            return true;
    }
    return false;
}

static void route(struct relay *r, struct conn *c)
{
    const struct policy *p = r->o.policy;

    /* Those that linger count, so there is a slot for each and none has to go before its time. */
    if (++r->opened > (uint64_t)p->relay_opened ||
        r->live + r->lingering > (size_t)p->relay_connections)
        relay_conn_refuse(r, c, RELAY_TOO_MANY, RELAY_LIMIT);
    else if (r->bytes >= (uint64_t)p->relay_bytes)
        relay_conn_refuse(r, c, RELAY_TOO_MUCH, RELAY_LIMIT);
    else if (!syntax_endpoint(c->target)) /* a program may ask the proxy for anything */
        relay_conn_refuse(r, c, RELAY_NO_NAME, RELAY_NAME);
    else if (!set_route(c, p))
        relay_conn_refuse(r, c, RELAY_NOT_LISTED, RELAY_UNLISTED);
    else
        relay_conn_start(r, c);
}

static const char *take_open(struct relay *r, const struct frame *f)
{
    char target[RELAY_TARGET_MAX] = "";
    struct conn *c;
    size_t i = 0;

    if (f->id <= r->last_id || f->id > RELAY_IDS || r->live == RELAY_CONNS)
        return "a connection out of turn";
    if (f->len < sizeof(target))
        memcpy(target, f->data, f->len);
    if (strlen(target) != f->len || !f->len)
        return "a target of no use";
    while (r->conns[i])
        i++;
    c = xcalloc(1, sizeof(*c));
    c->fd = -1;
    c->id = r->last_id = f->id;
    c->began_us = clock_us();
    c->due_ms = clock_ms() + r->o.policy->relay_connect_ms;
    memcpy(c->target, target, sizeof(c->target));
    r->conns[i] = c;
    r->live++;
    route(r, c);
    return NULL;
}

static uint64_t bytes_left(const struct relay *r)
{
    return (uint64_t)r->o.policy->relay_bytes - r->bytes;
}

/* All connections of a run that has had its share and goes on. */
static void refuse_all(struct relay *r)
{
    r->bytes = (uint64_t)r->o.policy->relay_bytes;
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        struct conn *c = r->conns[i];

        if (c && c->state != CONN_LINGER && c->state != CONN_REFUSED)
            relay_conn_refuse(r, c, RELAY_TOO_MUCH, RELAY_LIMIT);
    }
}

/* The socket first; what it does not take waits in the buffer. */
static void pass_up(struct relay *r, struct conn *c, const uint8_t *data, size_t n)
{
    if (c->start == c->end && n) {
        ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            relay_conn_refuse(r, c, errno, RELAY_OK);
            return;
        }
        if (sent > 0) {
            data += sent;
            n -= (size_t)sent;
            c->consumed += (uint32_t)sent;
        }
    }
    if (n == 0)
        return;
    if (!c->buf)
        c->buf = xmalloc(RELAY_WINDOW);
    if (RELAY_WINDOW - c->end < n) {
        memmove(c->buf, c->buf + c->start, c->end - c->start);
        c->end -= c->start;
        c->start = 0;
    }
    memcpy(c->buf + c->end, data, n);
    c->end += n;
}

static const char *take_data(struct relay *r, struct conn *c, const struct frame *f)
{
    if (c->state == CONN_REFUSED)
        return NULL; /* it does not know yet */
    if (c->state != CONN_OPEN || c->open_is_due || c->up_is_over)
        return "data for a connection that takes none";
    if (f->len > RELAY_WINDOW - c->owed)
        return "more data than there was credit for";
    if (f->len > bytes_left(r)) {
        refuse_all(r);
        return NULL;
    }
    c->owed += f->len;
    c->up += f->len;
    r->bytes += f->len;
    pass_up(r, c, f->data, f->len);
    return NULL;
}

static const char *take_more(struct conn *c, const struct frame *f)
{
    uint32_t n = f->len == 4 ? le_get32(f->data) : UINT32_MAX;

    if (c->state == CONN_REFUSED)
        return NULL;
    if (c->state != CONN_OPEN || n > RELAY_WINDOW - c->credit)
        return "credit that was not owed";
    c->credit += n;
    return NULL;
}

static const char *take_close(struct relay *r, size_t i, const struct frame *f)
{
    struct conn *c = r->conns[i];

    if (f->len == 4) {
        let_go(r, i);
        return NULL;
    }
    if (c->state == CONN_REFUSED)
        return NULL;
    if (f->len || c->state != CONN_OPEN || c->open_is_due || c->up_is_over)
        return "a close out of place";
    c->up_is_over = true;
    relay_conn_flush(r, c);
    if (c->down_is_told && c->state == CONN_OPEN)
        let_go(r, i);
    return NULL;
}

const char *relay_frame(struct relay *r, const struct frame *f)
{
    size_t i;

    if (f->type == FRAME_RELAY_OPEN)
        return take_open(r, f);
    i = f->id ? find(r, f->id) : RELAY_SLOTS;
    /* It may have crossed the end of its connection. */
    if (i == RELAY_SLOTS)
        return f->id && f->id <= r->last_id ? NULL : "a frame for no connection";
    switch (f->type) {
    case FRAME_RELAY_DATA:
        return take_data(r, r->conns[i], f);
    case FRAME_RELAY_MORE:
        return take_more(r->conns[i], f);
    case FRAME_RELAY_CLOSE:
        return take_close(r, i, f);
    default:
        return "no frame of the relay";
    }
}

/* ---- poll ---- */

static short wanted(const struct conn *c)
{
    short out = c->start < c->end ? POLLOUT : 0;

    if (c->fd < 0 || c->state == CONN_REFUSED)
        return 0;
    if (c->state == CONN_CONNECTING)
        return POLLOUT;
    if (c->state == CONN_OPEN && c->credit && !c->down_is_over && !c->is_readable)
        return (short)(POLLIN | out);
    return out;
}

size_t relay_poll(const struct relay *r, struct pollfd *p)
{
    p[0] = (struct pollfd){.fd = r->event_fd, .events = POLLIN};
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        const struct conn *c = r->conns[i];
        short events = c ? wanted(c) : 0;

        p[i + 1] = (struct pollfd){.fd = events ? c->fd : -1, .events = events};
    }
    return RELAY_POLLED;
}

int64_t relay_due_ms(const struct relay *r)
{
    int64_t due = INT64_MAX;

    for (size_t i = 0; i < RELAY_SLOTS && r->live; i++) {
        const struct conn *c = r->conns[i];

        if (!c || c->state >= CONN_OPEN)
            continue;
        due = c->due_ms < due ? c->due_ms : due;
        if (c->state == CONN_WAITING && r->lookups < RELAY_LOOKUPS)
            due = clock_ms() + RETRY_MS;
        if (c->state == CONN_CONNECTING && c->step_due_ms < due)
            due = c->step_due_ms;
    }
    return due;
}

void relay_serve(struct relay *r, const struct pollfd *p, size_t n)
{
    int64_t now = clock_ms();
    uint64_t count;

    if (n && p[0].revents)
        (void)!read(r->event_fd, &count, sizeof(count));
    relay_conn_reap(r);
    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        struct conn *c = r->conns[i];

        /* A slot may have changed hands since poll was asked. */
        if (c)
            relay_conn_serve(r, c, i + 1 < n && p[i + 1].fd == c->fd ? p[i + 1].revents : 0, now);
        if (c && c->state == CONN_LINGER && is_flushed(c))
            free_conn(r, i);
    }
}

/* ---- frames for the warden ---- */

static void make(struct relay *r, const struct conn *c, uint8_t type, size_t n)
{
    frame_put_head(r->out, type, 0, c->id, (uint32_t)n);
}

static void make_number(struct relay *r, const struct conn *c, uint8_t type, uint32_t value)
{
    make(r, c, type, 4);
    le_put32(r->out + FRAME_HEAD, value);
}

/* What the target has sent, read at last: so nothing of it is ever kept here. -1: nothing now. */
static ssize_t read_down(struct relay *r, struct conn *c)
{
    size_t most = c->credit < RELAY_DATA_MAX ? c->credit : RELAY_DATA_MAX;
    uint64_t left = bytes_left(r);
    ssize_t n;

    most = most < left ? most : (size_t)left;
    /* Where no byte may follow the end still may. */
    n = most ? recv(c->fd, r->out + FRAME_HEAD, most, MSG_DONTWAIT)
             : recv(c->fd, r->out + FRAME_HEAD, 1, MSG_DONTWAIT | MSG_PEEK);
    if (n > 0 && !most) {
        refuse_all(r);
        return -1;
    }
    if (n > 0) {
        c->credit -= (uint32_t)n;
        c->down += (uint64_t)n;
        r->bytes += (uint64_t)n;
        c->is_readable = (size_t)n == most;
        return n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->is_readable = errno == EINTR;
        return -1;
    }
    if (n < 0)
        relay_conn_refuse(r, c, errno, RELAY_OK);
    c->is_readable = false;
    c->down_is_over = true;
    return n;
}

/* The next frame of an open connection; its length, 0 when there is none. */
static size_t next_of_open(struct relay *r, size_t i)
{
    struct conn *c = r->conns[i];
    ssize_t n;

    if (c->open_is_due) {
        c->open_is_due = false;
        make(r, c, FRAME_RELAY_OPEN, 0);
        return FRAME_HEAD;
    }
    if (c->consumed >= RELAY_MORE_STEP && !c->up_is_over) {
        make_number(r, c, FRAME_RELAY_MORE, c->consumed);
        c->owed -= c->consumed;
        c->consumed = 0;
        return FRAME_HEAD + 4;
    }
    if (!c->is_readable || !c->credit || c->down_is_over)
        return 0;
    n = read_down(r, c);
    if (n < 0)
        return 0;
    if (n > 0) {
        make(r, c, FRAME_RELAY_DATA, (size_t)n);
        return FRAME_HEAD + (size_t)n;
    }
    make(r, c, FRAME_RELAY_CLOSE, 0);
    c->down_is_told = true;
    if (c->up_is_over)
        let_go(r, i);
    return FRAME_HEAD;
}

static size_t next_of(struct relay *r, size_t i)
{
    struct conn *c = r->conns[i];
    size_t n = 0;

    if (c && c->state == CONN_OPEN)
        n = next_of_open(r, i);
    c = r->conns[i];
    if (n || !c || c->state != CONN_REFUSED)
        return n;
    make_number(r, c, FRAME_RELAY_CLOSE, (uint32_t)c->refusal);
    free_conn(r, i);
    return FRAME_HEAD + 4;
}

bool relay_next(struct relay *r, const uint8_t **ret, size_t *ret_n)
{
    for (size_t k = 0; k < RELAY_SLOTS && r->live; k++) {
        size_t i = (r->turn + k) % RELAY_SLOTS, n = next_of(r, i);

        if (n == 0)
            continue;
        r->turn = i + 1;
        *ret = r->out;
        *ret_n = n;
        return true;
    }
    return false;
}
