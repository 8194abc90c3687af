#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/steps.h"

/*
 * How a request goes through libmicrohttpd, all in its connection's thread: on_uri when the first
 * line is there, on_request once for the head, once for each piece of the body, once at the end,
 * where the handler runs; then the library sends the answer and calls on_completed.
 *
 * An answer that the library took at the head or in the middle of a body would end the connection;
 * at the head that is wanted for some faults, in the middle it takes none. Both are written by
 * hand, so that it happens in one way. A connection closed while the client still sends would lose
 * the answer to the reset that follows, hence drain().
 */

enum {
    BACKLOG = 511,
    STALL_MS = 30 * 1000,
    BLOBS = 1000,
    DRAIN_MS = 2000,
    DISCARD_MAX = 64 * 1024, /* a refused body of this size is read to keep the connection */
    KEEPALIVE_S = 30,
};

/* ---- requests ---- */

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info->socket_context;
}

static void *on_uri(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    struct http_connection *c = connection_of(mhd);

    (void)ctx;
    atomic_store(&c->is_idle, false);
    if (c->was_used)
        http_watch_until(c, clock_ms() + c->listener->server->limits.header_ms);
    c->was_used = true;
    return http_exchange_new(c, mhd, uri);
}

static enum MHD_Result cut(struct http_exchange *x)
{
    x->is_cut = x->intake.is_due;
    x->refusal.must_close = true;
    http_exchange_run(x);
    http_answer_write(x);
    return MHD_NO;
}

/* Whether the refused body is not worth reading, or must not be. */
static bool ends_here(const struct http_exchange *x)
{
    if (!x->refusal.status || !x->intake.is_due)
        return x->refusal.status == 431;
    return x->refusal.must_close || x->intake.announced > DISCARD_MAX ||
           http_header(x, "Expect") != NULL;
}

static enum MHD_Result begin(struct http_exchange *x, const char *path, const char *method,
                             const char *version)
{
    struct http_connection *c = x->connection;
    struct http_server *s = c->listener->server;
    int on = 1;

    atomic_fetch_add(&s->busy, 1);
    http_exchange_begin(x, path, method, version);
    if (ends_here(x))
        return cut(x);
    http_watch_until(c, x->intake.is_due ? clock_ms() + s->limits.body_ms : INT64_MAX);
    /* A client that writes head and body apart, under Nagle, waits 40 ms for this ACK else. */
    if (x->intake.is_due)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
    return MHD_YES;
}

static enum MHD_Result take(struct http_exchange *x, const char *data, size_t n)
{
    http_intake_take(x, data, n);
    return x->refusal.must_close ? cut(x) : MHD_YES;
}

static enum MHD_Result finish(struct http_exchange *x)
{
    http_watch_until(x->connection, INT64_MAX);
    http_intake_end(x);
    http_exchange_run(x);
    return http_answer_send(x) < 0 ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **exchange)
{
    struct http_exchange *x = *exchange;
    size_t n = *upload_size;

    (void)ctx;
    (void)mhd;
    if (!x->is_begun)
        return begin(x, url, method, version);
    if (n == 0)
        return finish(x);
    *upload_size = 0;
    return take(x, upload, n);
}

/* Reads on until the client has seen the answer and closed, for a bounded time. */
static void drain(struct http_connection *c)
{
    int64_t deadline = clock_ms() + DRAIN_MS;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    auto_free char *junk = xmalloc(HTTP_BLOCK);

    (void)shutdown(c->fd, SHUT_WR);
    while (clock_ms() < deadline && poll(&p, 1, clock_left_ms(deadline)) > 0) {
        if (recv(c->fd, junk, HTTP_BLOCK, MSG_DONTWAIT) <= 0)
            return;
    }
}

static void leave(struct http_server *s)
{
    if (atomic_fetch_sub(&s->busy, 1) != 1 || !atomic_load(&s->is_quiet))
        return;
    (void)pthread_mutex_lock(&s->lock);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static void on_completed(void *ctx, struct MHD_Connection *mhd, void **exchange,
                         enum MHD_RequestTerminationCode how)
{
    struct http_exchange *x = *exchange;
    struct http_connection *c = connection_of(mhd);
    bool was_begun = x->is_begun, is_cut = x->is_cut;

    (void)ctx;
    (void)how;
    http_exchange_free(x);
    *exchange = NULL;
    if (was_begun)
        leave(c->listener->server);
    if (is_cut)
        drain(c);
    http_watch_idle(c);
    http_stack_release(c);
}

/* ---- connections ---- */

static void name_client(struct http_connection *c, const struct sockaddr *sa)
{
    const struct sockaddr_in6 *v6 = (const void *)sa;
    const struct sockaddr_in *v4 = (const void *)sa;

    if (sa->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &v4->sin_addr, c->client, sizeof(c->client));
    else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        (void)inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], c->client, sizeof(c->client));
    else
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, c->client, sizeof(c->client));
}

static void on_connection(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_connection *c = *socket_context;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_watch_remove(c);
        free(c);
        *socket_context = NULL;
        return;
    }
    c = xcalloc(1, sizeof(*c));
    c->listener = ctx;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    name_client(c, MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    http_watch_add(c);
    *socket_context = c;
}

/* ---- listeners ---- */

static void on_log(void *ctx, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

static void on_log(void *ctx, const char *fmt, va_list ap)
{
    char text[256];

    (void)ctx;
    if (!log_is_on(LOG_DEBUG))
        return;
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http: libmicrohttpd: %s", text);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int read_address(const struct http_listener_options *o, union address *ret, socklen_t *ret_n,
                        struct err *err)
{
    const char *text = strcmp(o->address, "localhost") == 0 ? "127.0.0.1" : o->address;

    *ret = (union address){0};
    if (inet_pton(AF_INET, text, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(o->port);
        *ret_n = sizeof(ret->v4);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons(o->port);
        *ret_n = sizeof(ret->v6);
        return 0;
    }
    return err_set(err, ERR_INVALID, "'%s' is not an IP address", o->address);
}

/* Accepted connections inherit what is set here. */
static void set_options(int fd, const union address *a)
{
    bool is_any6 = a->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
    int on = 1, idle = KEEPALIVE_S, only6 = !is_any6;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    if (a->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6));
}

static int open_socket(const struct http_listener_options *o, uint16_t *ret_port, struct err *err)
{
    auto_fd int fd = -1;
    union address a;
    socklen_t n = 0;

    if (read_address(o, &a, &n, err) < 0)
        return -1;
    fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, "open a socket for '%s'", o->address);
    set_options(fd, &a);
    if (bind(fd, &a.any, n) < 0 || listen(fd, BACKLOG) < 0) {
        int failed = errno;

        (void)err_sys(err, "listen on '%s' port %u", o->address, (unsigned)o->port);
        if (err && failed == EADDRINUSE)
            err->kind = ERR_BUSY;
        else if (err && failed == EACCES)
            err->kind = ERR_DENIED;
        else if (err && failed == EADDRNOTAVAIL)
            err->kind = ERR_INVALID;
        return -1;
    }
    if (getsockname(fd, &a.any, &n) < 0)
        return err_sys(err, "ask for the port of '%s'", o->address);
    *ret_port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
    return take_fd(&fd);
}

static struct MHD_Daemon *start_daemon(struct http_listener *l, int fd)
{
    const struct http_limits *limits = &l->server->limits;
    /* Versions before 1.0 would answer a missing Host out of shape; guard.c sees it. */
    int strict = str_starts(MHD_get_version(), "0.") ? 0 : 1;

    return MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        limits->connections + limits->connections / 8 + 1, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        limits->connections_per_address, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_POOL,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_THREAD_STACK_SIZE, (size_t)HTTP_STACK,
        MHD_OPTION_STRICT_FOR_CLIENT, strict, MHD_OPTION_URI_LOG_CALLBACK, on_uri, l,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        l, MHD_OPTION_END);
}

int http_listen(struct http_server *s, const struct http_listener_options *o, struct err *err)
{
    auto_fd int fd = -1;
    auto_free struct http_listener *l = xcalloc(1, sizeof(*l));
    sigset_t all, old;

    if (s->listeners_n == HTTP_LISTENERS)
        return err_set(err, ERR_LIMIT, "more than %d listeners", HTTP_LISTENERS);
    *l = (struct http_listener){.server = s, .apis = o->apis, .app = o->app};
    fd = open_socket(o, &l->port, err);
    if (fd < 0)
        return -1;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* its threads inherit this */
    l->daemon = start_daemon(l, fd);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!l->daemon)
        return err_set(err, ERR_INTERNAL, "start a listener on '%s'", o->address);
    (void)take_fd(&fd); /* the daemon's from here on */
    s->listeners[s->listeners_n++] = TAKE(l);
    return 0;
}

/* ---- the server ---- */

int http_server_new(const struct http_limits *limits, struct http_server **ret_server,
                    struct err *err)
{
    auto_free struct http_server *s = xcalloc(1, sizeof(*s));
    sigset_t all, old;
    int failed;

    s->limits = *limits;
    if (!s->limits.stall_ms)
        s->limits.stall_ms = STALL_MS;
    if (!s->limits.blobs_max)
        s->limits.blobs_max = BLOBS;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = http_watch_start(s, err);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return -1;
    *ret_server = TAKE(s);
    return 0;
}

uint16_t http_listener_port(const struct http_server *s, size_t index)
{
    return index < s->listeners_n ? s->listeners[index]->port : 0;
}

unsigned http_server_busy(const struct http_server *s)
{
    return atomic_load(&s->busy);
}

unsigned http_server_connections(struct http_server *s)
{
    unsigned n;

    (void)pthread_mutex_lock(&s->lock);
    n = s->connections_n;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

void http_server_quiesce(struct http_server *s)
{
    if (!atomic_exchange(&s->is_quiet, true)) {
        for (size_t i = 0; i < s->listeners_n; i++) {
            int fd = MHD_quiesce_daemon(s->listeners[i]->daemon);

            /* The daemon's poll keeps the socket open for a moment beyond close. */
            (void)shutdown(fd, SHUT_RDWR);
            (void)close(fd);
        }
    }
    http_watch_quiesce(s);
}

void http_server_hang_up(struct http_server *s)
{
    http_watch_hang_up(s);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    http_server_quiesce(s);
    (void)pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->busy))
        (void)pthread_cond_wait(&s->changed, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->listeners_n; i++) {
        MHD_stop_daemon(s->listeners[i]->daemon);
        free(s->listeners[i]);
    }
    http_watch_stop(s);
    free(s);
}
