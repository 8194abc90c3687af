#include "relay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames/le.h"
#include "proxy.h"

enum {
    READ_MAX = 32768,
    MORE_STEP = RELAY_WINDOW / 2,
    TELL_ROOM = FRAME_HEAD + RELAY_TARGET_MAX,
};

/* Pages that no connection has touched cost nothing. */
static struct {
    uint8_t up[PROXY_HEAD_MAX + PROXY_SPARE];     /* a proxy's request on its way to the front */
    uint8_t down[RELAY_WINDOW + PROXY_REPLY_MAX]; /* to the program */
} relay_buffers[RELAY_CONNS];

static uint8_t relay_scratch[PROXY_HEAD_MAX + PROXY_SPARE];

static size_t conn_slot(const struct relay *r, const struct relay_conn *c)
{
    return (size_t)(c - r->conns);
}

/* ---- ends ---- */

static void drop_conn(struct relay *r, struct relay_conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    *c = (struct relay_conn){.fd = -1};
    r->live--;
    r->is_full = false;
}

/* So that the program gets an error and not an end of file. */
static void abort_conn(struct relay *r, struct relay_conn *c)
{
    struct linger now = {.l_onoff = 1};

    if (c->fd >= 0)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    drop_conn(r, c);
}

/* The program's side is gone: the front is told when there is room. */
static void lose_conn(struct relay *r, struct relay_conn *c, int number)
{
    if (c->state == RELAY_HEAD || c->state == RELAY_ENDING || !c->is_told) {
        drop_conn(r, c);
        return;
    }
    (void)close(c->fd);
    c->fd = -1;
    c->reset = number ? number : ECONNRESET;
}

static void end_when_done(struct relay *r, struct relay_conn *c)
{
    if (c->up_is_told && c->down_is_over && c->down_start == c->down_end)
        drop_conn(r, c);
}

/* ---- towards the program ---- */

/* The proxy's own words are not the front's: no credit goes back for them. They come first. */
static void count_consumed(struct relay_conn *c, uint32_t n)
{
    uint32_t own = n < c->own ? n : c->own;

    c->own -= own;
    c->consumed += n - own;
}

static void flush_down(struct relay *r, struct relay_conn *c)
{
    const uint8_t *down = relay_buffers[conn_slot(r, c)].down;

    while (c->down_start < c->down_end) {
        ssize_t n = send(c->fd, down + c->down_start, c->down_end - c->down_start, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            lose_conn(r, c, errno);
            return;
        }
        c->down_start += (size_t)n;
        count_consumed(c, (uint32_t)n);
    }
    c->down_start = c->down_end = 0;
    if (c->down_is_over)
        (void)shutdown(c->fd, SHUT_WR);
    end_when_done(r, c);
}

static void add_down(struct relay *r, struct relay_conn *c, const void *data, size_t n)
{
    uint8_t *down = relay_buffers[conn_slot(r, c)].down;

    if (sizeof(relay_buffers->down) - c->down_end < n) {
        memmove(down, down + c->down_start, c->down_end - c->down_start);
        c->down_end -= c->down_start;
        c->down_start = 0;
    }
    memcpy(down + c->down_end, data, n);
    c->down_end += n;
}

static void say_words(struct relay *r, struct relay_conn *c, const char *text, size_t n)
{
    add_down(r, c, text, n);
    c->own += (uint32_t)n;
}

static void answer_request(struct relay *r, struct relay_conn *c, int status, const char *why)
{
    char text[PROXY_REPLY_MAX];
    size_t n = proxy_reply(text, status, c->target, why);

    c->state = RELAY_ENDING;
    c->down_is_over = true;
    say_words(r, c, text, n);
    flush_down(r, c);
}

/* On standard error, for the program itself only sees that the connection was reset, or nothing. */
static void note_fate(struct relay *r, const struct relay_conn *c, const char *words)
{
    char text[RELAY_TARGET_MAX + 128];
    int n = snprintf(text, sizeof(text), "oneshot: %s %s\n", c->target, words);

    if (r->notes++ < RELAY_NOTES)
        pump_note(r->pump, text, (size_t)n);
}

static void refuse_conn(struct relay *r, struct relay_conn *c, int refusal)
{
    if (c->is_proxy) {
        answer_request(r, c, proxy_status(refusal), proxy_words(refusal));
        return;
    }
    note_fate(r, c, proxy_words(refusal));
    abort_conn(r, c);
}

/* ---- towards the front ---- */

static void tell_front(struct relay *r, const struct relay_conn *c, uint8_t type, const void *data,
                       size_t n)
{
    queue_frame(r->out,
                &(struct frame){.type = type, .id = c->id, .len = (uint32_t)n, .data = data});
}

static void tell_number(struct relay *r, const struct relay_conn *c, uint8_t type, uint32_t value)
{
    uint8_t bytes[4];

    le_put32(bytes, value);
    tell_front(r, c, type, bytes, sizeof(bytes));
}

static bool wants_more(const struct relay_conn *c)
{
    return c->state == RELAY_OPEN && !c->down_is_over && c->consumed >= MORE_STEP;
}

static bool has_end(const struct relay_conn *c)
{
    return c->state == RELAY_OPEN && c->up_is_over && !c->up_is_told && c->up_start == c->up_end;
}

/* No event announces these bytes: they were read with the request. */
static bool has_head(const struct relay_conn *c)
{
    return c->state == RELAY_OPEN && c->up_start < c->up_end && c->credit;
}

static bool has_news(const struct relay_conn *c)
{
    return (c->state == RELAY_OPENING && !c->is_told) || c->reset || has_head(c) || wants_more(c) ||
           has_end(c);
}

/* What the proxy read of a request, within credit and room. */
static void forward_head(struct relay *r, struct relay_conn *c)
{
    size_t n = c->up_end - c->up_start, room = queue_room(r->out) - FRAME_HEAD;

    n = n < c->credit ? n : c->credit;
    n = n < room ? n : room;
    tell_front(r, c, FRAME_RELAY_DATA, relay_buffers[conn_slot(r, c)].up + c->up_start, n);
    c->up_start += n;
    c->credit -= (uint32_t)n;
}

/* One thing of a connection; there is room for it. */
static void tell_news(struct relay *r, struct relay_conn *c)
{
    if (c->reset) {
        tell_number(r, c, FRAME_RELAY_CLOSE, (uint32_t)c->reset);
        drop_conn(r, c);
    } else if (!c->is_told) {
        c->is_told = true;
        tell_front(r, c, FRAME_RELAY_OPEN, c->target, strlen(c->target));
    } else if (has_head(c)) {
        forward_head(r, c);
    } else if (wants_more(c)) {
        tell_number(r, c, FRAME_RELAY_MORE, c->consumed);
        c->owed -= c->consumed;
        c->consumed = 0;
    } else {
        c->up_is_told = true;
        tell_front(r, c, FRAME_RELAY_CLOSE, NULL, 0);
        end_when_done(r, c);
    }
}

static void tell_all(struct relay *r)
{
    for (size_t i = 0; i < RELAY_CONNS && r->live; i++) {
        while (has_news(&r->conns[i]) && queue_room(r->out) >= TELL_ROOM)
            tell_news(r, &r->conns[i]);
    }
}

bool relay_is_due(const struct relay *r)
{
    if (!r->live || queue_room(r->out) < TELL_ROOM)
        return false;
    for (size_t i = 0; i < RELAY_CONNS; i++) {
        if (has_news(&r->conns[i]))
            return true;
    }
    return false;
}

/* Reads once, into the tail of the queue behind the space for a head. False: nothing is there. */
static bool forward_bytes(struct relay *r, struct relay_conn *c)
{
    size_t most = c->credit < READ_MAX ? c->credit : READ_MAX;
    uint8_t *tail = queue_tail(r->out, FRAME_HEAD + READ_MAX);
    ssize_t n = read(c->fd, tail + FRAME_HEAD, most);

    if (n > 0) {
        frame_put_head(tail, FRAME_RELAY_DATA, 0, c->id, (uint32_t)n);
        queue_grow(r->out, FRAME_HEAD + (size_t)n);
        c->credit -= (uint32_t)n;
        r->turn = conn_slot(r, c) + 1;
        return true;
    }
    if (n == 0)
        c->up_is_over = true;
    else if (errno != EAGAIN && errno != EINTR)
        lose_conn(r, c, errno);
    return false;
}

static bool may_forward(const struct relay *r, const struct relay_conn *c)
{
    return c->state == RELAY_OPEN && c->fd >= 0 && !c->up_is_over && c->credit > 0 &&
           c->up_start == c->up_end && queue_has_room(r->out);
}

/* ---- the proxy ---- */

static void open_connection(struct relay *r, struct relay_conn *c)
{
    c->state = RELAY_OPENING;
    c->credit = RELAY_WINDOW;
    if (r->last_id < RELAY_IDS)
        c->id = ++r->last_id;
    else
        refuse_conn(r, c, RELAY_TOO_MANY);
}

static void take_request(struct relay *r, struct relay_conn *c)
{
    uint8_t *up = relay_buffers[conn_slot(r, c)].up;
    struct proxy_request q;
    size_t head;

    switch (proxy_parse(up, c->up_end, &q)) {
    case PROXY_MORE:
        return;
    case PROXY_BAD:
        answer_request(r, c, q.status, q.why);
        return;
    case PROXY_CONNECT:
        c->is_connect = true;
        c->up_start = q.head_len;
        break;
    case PROXY_PLAIN:
        head = proxy_rewrite(up, &q, relay_scratch);
        memcpy(relay_scratch + head, up + q.head_len, c->up_end - q.head_len);
        c->up_end = head + c->up_end - q.head_len;
        memcpy(up, relay_scratch, c->up_end);
        break;
    }
    memcpy(c->target, q.target, sizeof(c->target));
    open_connection(r, c);
}

/* False: nothing is there. */
static bool read_head(struct relay *r, struct relay_conn *c)
{
    uint8_t *up = relay_buffers[conn_slot(r, c)].up;
    ssize_t n = read(c->fd, up + c->up_end, PROXY_HEAD_MAX - c->up_end);

    if (n > 0) {
        c->up_end += (size_t)n;
        take_request(r, c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        drop_conn(r, c);
    }
    return n > 0;
}

static void discard_bytes(struct relay *r, struct relay_conn *c)
{
    ssize_t n = read(c->fd, relay_scratch, sizeof(relay_scratch));

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        drop_conn(r, c);
}

/* ---- what the poll found ---- */

/* A free slot, or one whose last words the program has and need not be waited for. */
static struct relay_conn *find_slot(struct relay *r)
{
    struct relay_conn *done = NULL;

    for (struct relay_conn *c = r->conns; c < r->conns + RELAY_CONNS; c++) {
        if (c->state == RELAY_FREE)
            return c;
        if (c->state == RELAY_ENDING && c->down_start == c->down_end)
            done = c;
    }
    if (done)
        drop_conn(r, done);
    return done;
}

/* False: nobody waits there, or there is no place. */
static bool take_connection(struct relay *r, const struct relay_listener *l)
{
    struct relay_conn *c = find_slot(r);
    int fd = c ? relay_accept(l, &r->is_full) : -1;

    r->is_full |= !c;
    if (fd < 0)
        return false;
    *c = (struct relay_conn){.fd = fd, .is_proxy = l->is_proxy};
    r->live++;
    memcpy(c->target, l->target, sizeof(c->target));
    if (l->is_proxy)
        c->state = RELAY_HEAD;
    else
        open_connection(r, c);
    return true;
}

static short wanted_events(const struct relay *r, const struct relay_conn *c)
{
    short out = c->down_start < c->down_end ? POLLOUT : 0;

    if (c->fd < 0)
        return 0;
    if (c->state == RELAY_HEAD || c->state == RELAY_ENDING || may_forward(r, c))
        return (short)(POLLIN | out);
    return out;
}

size_t relay_poll(const struct relay *r, struct pollfd *p)
{
    size_t n = 0;

    for (size_t i = 0; i < r->listeners_n; i++)
        p[n++] = (struct pollfd){.fd = r->is_full ? -1 : r->listeners[i].fd, .events = POLLIN};
    if (!r->live)
        return n;
    /* Without an event that is wanted it is left out: its hang-up would wake the loop for ever. */
    for (size_t i = 0; i < RELAY_CONNS; i++) {
        short events = wanted_events(r, &r->conns[i]);

        p[n++] = (struct pollfd){.fd = events ? r->conns[i].fd : -1, .events = events};
    }
    return n;
}

static void serve_conn(struct relay *r, struct relay_conn *c, short events)
{
    if (events & ~POLLIN && c->down_start < c->down_end)
        flush_down(r, c);
    if (!(events & ~POLLOUT) || c->fd < 0)
        return;
    if (c->state == RELAY_HEAD)
        (void)read_head(r, c);
    else if (c->state == RELAY_ENDING)
        discard_bytes(r, c);
    else if (may_forward(r, c))
        (void)forward_bytes(r, c);
}

void relay_serve(struct relay *r, const struct pollfd *p, size_t n)
{
    const struct pollfd *of_conns = p + r->listeners_n;
    size_t first = r->turn;

    for (size_t k = 0; k < RELAY_CONNS && n > r->listeners_n; k++) {
        size_t i = (first + k) % RELAY_CONNS;

        if (of_conns[i].revents)
            serve_conn(r, &r->conns[i], of_conns[i].revents);
    }
    for (size_t i = 0; i < r->listeners_n && i < n; i++) {
        if (p[i].revents)
            (void)take_connection(r, &r->listeners[i]);
    }
    if (r->live)
        tell_all(r);
}

/* ---- frames of the front ---- */

static struct relay_conn *find_conn(struct relay *r, uint16_t id)
{
    for (size_t i = 0; i < RELAY_CONNS && r->live; i++) {
        if (r->conns[i].state != RELAY_FREE && r->conns[i].id == id)
            return &r->conns[i];
    }
    return NULL;
}

static bool on_open(struct relay *r, struct relay_conn *c, const struct frame *f)
{
    static const char done[] = "HTTP/1.1 200 Connection established\r\n\r\n";

    if (c->state != RELAY_OPENING || f->len)
        return false;
    c->state = RELAY_OPEN;
    if (c->is_connect) {
        say_words(r, c, done, sizeof(done) - 1);
        flush_down(r, c);
    }
    return true;
}

static bool on_data(struct relay *r, struct relay_conn *c, const struct frame *f)
{
    if (c->state != RELAY_OPEN || c->down_is_over || f->len > RELAY_WINDOW - c->owed)
        return false;
    c->owed += f->len;
    if (c->fd < 0)
        return true;
    add_down(r, c, f->data, f->len);
    flush_down(r, c);
    return true;
}

static bool on_more(struct relay_conn *c, const struct frame *f)
{
    uint32_t n = f->len == 4 ? le_get32(f->data) : UINT32_MAX;

    if (c->state != RELAY_OPEN || n > RELAY_WINDOW - c->credit)
        return false;
    c->credit += n;
    return true;
}

static bool on_close(struct relay *r, struct relay_conn *c, const struct frame *f)
{
    if (f->len == 4 && c->state == RELAY_OPENING) {
        refuse_conn(r, c, (int)le_get32(f->data));
        return true;
    }
    if (f->len == 4) {
        abort_conn(r, c);
        return true;
    }
    if (f->len || c->state != RELAY_OPEN || c->down_is_over)
        return false;
    c->down_is_over = true;
    if (c->fd >= 0)
        flush_down(r, c);
    return true;
}

bool relay_frame(struct relay *r, const struct frame *f)
{
    struct relay_conn *c = f->id ? find_conn(r, f->id) : NULL;

    /* It may have crossed the end of its connection. */
    if (!c || c->state == RELAY_ENDING)
        return f->id && f->id <= r->last_id;
    if (c->reset) {
        if (f->type == FRAME_RELAY_CLOSE && f->len)
            drop_conn(r, c);
        return true;
    }
    switch (f->type) {
    case FRAME_RELAY_OPEN:
        return on_open(r, c, f);
    case FRAME_RELAY_DATA:
        return on_data(r, c, f);
    case FRAME_RELAY_MORE:
        return on_more(c, f);
    default:
        return on_close(r, c, f);
    }
}

/* ---- begin and end of a run ---- */

void relay_begin(struct relay *r)
{
    relay_drop(r);
    r->last_id = 0;
    r->notes = 0;
    relay_empty(r);
    r->is_full = false;
    r->is_active = true;
}

bool relay_take_all(struct relay *r)
{
    for (size_t i = 0; i < r->listeners_n; i++) {
        while (take_connection(r, &r->listeners[i]))
            continue;
    }
    return r->live > 0;
}

/* What has arrived from a program that sends no more is all there is. */
static void read_last(struct relay *r, struct relay_conn *c)
{
    while (c->state == RELAY_HEAD) {
        if (!read_head(r, c) && c->state == RELAY_HEAD)
            drop_conn(r, c);
    }
    while (may_forward(r, c)) {
        if (!forward_bytes(r, c))
            c->up_is_over = true;
    }
}

/* Something of it is not yet with the front. Nobody waits for a target that gets nothing. */
static bool is_unsent(const struct relay_conn *c)
{
    uint8_t byte;

    if (c->state == RELAY_OPENING)
        return c->up_start < c->up_end ||
               (c->fd >= 0 && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    return c->state == RELAY_HEAD || (c->state == RELAY_OPEN && (c->reset || !c->up_is_told));
}

bool relay_drain(struct relay *r, bool is_stopped)
{
    bool has_more = false;

    (void)relay_take_all(r);
    for (size_t i = 0; i < RELAY_CONNS && r->live && is_stopped; i++)
        read_last(r, &r->conns[i]);
    tell_all(r);
    for (size_t i = 0; i < RELAY_CONNS && r->live; i++)
        has_more |= is_unsent(&r->conns[i]);
    return has_more;
}

void relay_drop(struct relay *r)
{
    r->is_active = false;
    for (size_t i = 0; i < RELAY_CONNS && r->live; i++) {
        if (r->conns[i].state != RELAY_FREE)
            drop_conn(r, &r->conns[i]);
    }
}

void relay_end(struct relay *r)
{
    for (size_t i = 0; i < RELAY_CONNS && r->live; i++) {
        if (is_unsent(&r->conns[i]) && *r->conns[i].target)
            note_fate(r, &r->conns[i], "has not taken all that was sent to it");
    }
    relay_drop(r);
}
