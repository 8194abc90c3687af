/*
 * One connection of a run on its way: the name's addresses, those among them that are open to the
 * policy, and a socket to the very address that was looked at. No name is looked up twice.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "core/relay_state.h"

void relay_conn_forget(struct relay *r, struct conn *c)
{
    struct lookup *late = TAKE(c->lookup);

    if (late && resolver_withdraw(r->o.resolver, late)) {
        r->lookups--;
        return;
    }
    for (size_t i = 0; late && i < RELAY_LOOKUPS; i++) {
        if (!r->late[i])
            r->late[i] = TAKE(late);
    }
}

void relay_conn_reap(struct relay *r)
{
    for (size_t i = 0; i < RELAY_LOOKUPS; i++) {
        if (!r->late[i] || !resolver_withdraw(r->o.resolver, r->late[i]))
            continue;
        r->late[i] = NULL;
        r->lookups--;
    }
}

static void close_socket(struct conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

void relay_conn_refuse(struct relay *r, struct conn *c, int number, enum relay_verdict verdict)
{
    relay_conn_forget(r, c);
    close_socket(c);
    c->state = CONN_REFUSED;
    c->refusal = number;
    c->verdict = verdict;
}

static bool is_open(const struct conn *c, size_t i)
{
    const struct sockaddr *a = (const struct sockaddr *)&c->found.list[i];

    return c->is_private || (address_is_public(a) && !address_is_own(a));
}

static void drop_closed(struct conn *c)
{
    struct resolved *f = &c->found;
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (!is_open(c, i))
            continue;
        f->list[n] = f->list[i];
        f->len[n++] = f->len[i];
    }
    f->n = n;
}

/* A machine's own rules may refuse a connection; the policy, whose words those are, has not. */
static bool is_word_of_ours(int number)
{
    return number == RELAY_NOT_LISTED || number == RELAY_NOT_PUBLIC || number == RELAY_NO_NAME ||
           number == RELAY_TOO_MUCH;
}

static void give_up(struct relay *r, struct conn *c)
{
    int number = !c->last_errno || is_word_of_ours(c->last_errno) ? EHOSTUNREACH : c->last_errno;

    if (number == ETIMEDOUT)
        relay_conn_refuse(r, c, RELAY_NO_ANSWER, RELAY_TIMEOUT);
    else
        relay_conn_refuse(r, c, number, RELAY_DOWN);
}

static void connected(struct conn *c)
{
    const int one = 1;

    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->state = CONN_OPEN;
    c->verdict = RELAY_OK;
    c->credit = RELAY_WINDOW;
    c->open_is_due = true;
}

/* The addresses from `at` on, until one is under way. Each has its share of the time. */
static void try_addresses(struct relay *r, struct conn *c)
{
    for (; c->at < c->found.n; c->at++) {
        const struct sockaddr *a = (const struct sockaddr *)&c->found.list[c->at];
        int64_t now = clock_ms(), left = c->due_ms - now;
        int rc;

        address_text(c->address, a);
        c->fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        rc = c->fd < 0 ? -1 : connect(c->fd, a, c->found.len[c->at]);
        c->step_due_ms = now + left / (int64_t)(c->found.n - c->at);
        if (rc == 0) {
            connected(c);
            return;
        }
        if (errno == EINPROGRESS)
            return;
        c->last_errno = errno;
        close_socket(c);
    }
    give_up(r, c);
}

static void resolved(struct relay *r, struct conn *c)
{
    c->state = CONN_CONNECTING;
    if (c->found.n == 0) {
        relay_conn_refuse(r, c, RELAY_NO_NAME, RELAY_NAME);
        return;
    }
    address_text(c->address, (const struct sockaddr *)&c->found.list[0]);
    drop_closed(c);
    if (c->found.n == 0)
        relay_conn_refuse(r, c, RELAY_NOT_PUBLIC, RELAY_CLOSED);
    else
        try_addresses(r, c);
}

/* An address needs no resolver. */
static bool take_numeric(struct conn *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *list = NULL;

    if (getaddrinfo(c->host, c->port, &hints, &list) != 0)
        return false;
    memcpy(&c->found.list[0], list->ai_addr, list->ai_addrlen);
    c->found.len[0] = list->ai_addrlen;
    c->found.n = 1;
    freeaddrinfo(list);
    return true;
}

void relay_conn_start(struct relay *r, struct conn *c)
{
    if (take_numeric(c)) {
        resolved(r, c);
        return;
    }
    if (r->lookups == RELAY_LOOKUPS)
        return;
    c->lookup = resolver_ask(r->o.resolver, c->host, c->port, r->event_fd);
    if (!c->lookup)
        return;
    r->lookups++;
    c->state = CONN_RESOLVING;
}

static void try_next(struct relay *r, struct conn *c, int number)
{
    c->last_errno = number;
    close_socket(c);
    c->at++;
    try_addresses(r, c);
}

static void look_at_connect(struct relay *r, struct conn *c, short events, int64_t now_ms)
{
    int number = 0;
    socklen_t n = sizeof(number);

    if (events && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &number, &n) == 0 && number == 0)
        connected(c);
    else if (events)
        try_next(r, c, number ? number : EIO);
    else if (now_ms >= c->step_due_ms)
        try_next(r, c, ETIMEDOUT);
}

void relay_conn_flush(struct relay *r, struct conn *c)
{
    while (c->start < c->end) {
        ssize_t n = send(c->fd, c->buf + c->start, c->end - c->start, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0 && c->state == CONN_OPEN) {
            relay_conn_refuse(r, c, errno, RELAY_OK);
            return;
        }
        if (n < 0) {
            c->up -= c->end - c->start;
            break;
        }
        c->start += (size_t)n;
        c->consumed += (uint32_t)n;
    }
    c->start = c->end = 0;
    if (c->up_is_over && !c->is_shut) {
        c->is_shut = true;
        (void)shutdown(c->fd, SHUT_WR);
    }
}

void relay_conn_serve(struct relay *r, struct conn *c, short events, int64_t now_ms)
{
    switch (c->state) {
    case CONN_WAITING:
        if (r->lookups < RELAY_LOOKUPS)
            relay_conn_start(r, c);
        break;
    case CONN_RESOLVING:
        if (resolver_look(r->o.resolver, c->lookup, &c->found)) {
            relay_conn_forget(r, c);
            resolved(r, c);
        }
        break;
    case CONN_CONNECTING:
        look_at_connect(r, c, events, now_ms);
        break;
    case CONN_OPEN:
        c->is_readable |= events & (POLLIN | POLLHUP | POLLERR);
        if (events & ~POLLIN)
            relay_conn_flush(r, c);
        return;
    case CONN_LINGER:
        if (events)
            relay_conn_flush(r, c);
        return;
    case CONN_REFUSED:
        return;
    }
    if (c->state < CONN_OPEN && now_ms >= c->due_ms)
        relay_conn_refuse(r, c, RELAY_NO_ANSWER,
                          c->state == CONN_CONNECTING ? RELAY_TIMEOUT : RELAY_NAME);
}
