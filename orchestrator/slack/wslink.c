#include "slack/wslink.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/stop.h"
#include "base/str.h"
#include "slack/ws.h"

enum {
    MESSAGE_MAX = 4 * 1024 * 1024,
    OUT_MAX = 1024 * 1024, /* what waits to be sent: acknowledgements, pings */
    HEAD_MAX = 32 * 1024,
    PIECE = 16 * 1024,
    CLOSE_MS = 2000, /* the other side's close frame may take so long */
    STALE_PINGS = 4, /* as Slack's own client */
};

struct wslink {
    CURL *curl;
    int fd;      /* curl's, to poll */
    int wake_fd; /* an eventfd */
    atomic_bool wants_close;
    bool close_is_sent;
    int64_t close_ms; /* then it is over without the other side's word */
    int64_t ping_ms, next_ping_ms, heard_ms;
    struct ws_reader reader;
    struct buf out, early; /* early: what came behind the server's head, of the first frames */
    int (*on_text)(void *ctx, struct wslink *l, const char *text, size_t n, struct err *err);
    void *ctx;
};

/* ---- bytes ---- */

static int wait_for(const struct wslink *l, short events, int64_t deadline_ms, struct err *err)
{
    int ready = io_wait(l->fd, events, deadline_ms);

    if (ready < 0)
        return err_sys(err, "poll");
    return ready ? 0 : err_set(err, ERR_TIMEOUT, "no answer in time");
}

static int broken(CURLcode rc, struct err *err)
{
    return err_set(err, ERR_PEER, "the connection broke off: %s", curl_easy_strerror(rc));
}

/* Bytes, 0 when none are there now, -1 when there will be no more. */
static ssize_t receive(struct wslink *l, char *out, size_t n, struct err *err)
{
    size_t got = 0;
    CURLcode rc = curl_easy_recv(l->curl, out, n, &got);

    if (rc == CURLE_AGAIN)
        return 0;
    if (rc != CURLE_OK)
        return broken(rc, err);
    if (got == 0)
        return err_set(err, ERR_PEER, "the other side closed the connection without a word");
    return (ssize_t)got;
}

/* As much of what waits as goes now. */
static int flush(struct wslink *l, struct err *err)
{
    while (l->out.len) {
        size_t sent = 0;
        CURLcode rc = curl_easy_send(l->curl, l->out.data, l->out.len, &sent);

        if (rc == CURLE_AGAIN)
            return 0;
        if (rc != CURLE_OK)
            return broken(rc, err);
        buf_drop(&l->out, sent);
    }
    return 0;
}

/* Nothing goes behind our close frame (RFC 6455, 5.5.1). */
static void put(struct wslink *l, enum ws_kind kind, const void *data, size_t n)
{
    unsigned char mask[4];

    if (l->close_is_sent)
        return;
    random_bytes(mask, sizeof(mask));
    ws_put(&l->out, kind, data, n, mask);
}

void wslink_send(struct wslink *l, const char *text, size_t n)
{
    put(l, WS_TEXT, text, n);
}

static void put_close(struct wslink *l, unsigned code)
{
    const unsigned char bytes[2] = {(unsigned char)(code >> 8), (unsigned char)(code & 0xFF)};

    if (l->close_is_sent)
        return;
    put(l, WS_CLOSE, bytes, code ? sizeof(bytes) : 0);
    l->close_is_sent = true;
    l->close_ms = clock_ms() + CLOSE_MS;
}

/* ---- connecting ---- */

/* "ws://host:1/path?query" in parts; `host` with its port. */
struct address {
    char *url, *host; /* url: http or https, for libcurl */
    const char *path; /* of the ws URL; "" */
};

static int read_address(const char *url, struct address *ret, struct err *err)
{
    bool is_tls = str_starts(url, "wss://");
    const char *host = url + (is_tls ? strlen("wss://") : strlen("ws://"));
    size_t n;

    if (!is_tls && !str_starts(url, "ws://"))
        return err_set(err, ERR_INVALID, "the address is neither ws:// nor wss://");
    for (const char *c = url; *c; c++) {
        if (*c <= ' ' || *c == 0x7F)
            return err_set(err, ERR_INVALID, "the address has blanks or control characters in it");
    }
    n = strcspn(host, "/?#");
    if (n == 0 || memchr(host, '@', n) || strchr(host, '#'))
        return err_set(err, ERR_INVALID, "the address has no plain host");
    ret->host = xstrndup(host, n);
    ret->url = xasprintf("%s://%s/", is_tls ? "https" : "http", ret->host);
    ret->path = host + n;
    return 0;
}

static bool is_this_machine(const char *host)
{
    return str_starts(host, "127.") || str_starts(host, "localhost") || str_starts(host, "[::1]");
}

/* Not 0: libcurl gives up. It asks about once a second. */
static int on_progress(void *stop, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return stop_is_asked(stop);
}

static void set_options(struct wslink *l, const struct wslink_options *o, const struct address *a)
{
    CURL *c = l->curl;

    (void)curl_easy_setopt(c, CURLOPT_URL, a->url);
    (void)curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    /* Else TLS may agree on HTTP/2, which has no such upgrade. */
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, o->stop);
    if (is_this_machine(a->host))
        (void)curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    if (o->ca_pem) {
        struct curl_blob blob = {.len = strlen(o->ca_pem), .flags = CURL_BLOB_COPY};

        blob.data = (char *)(uintptr_t)o->ca_pem; /* copied, not changed */
        (void)curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &blob);
    }
}

static int connect_to(struct wslink *l, const struct wslink_options *o, const struct address *a,
                      struct err *err)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode rc;

    l->curl = curl_easy_init();
    if (!l->curl)
        return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
    set_options(l, o, a);
    rc = curl_easy_perform(l->curl);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "no connection in time");
    if (rc != CURLE_OK)
        return err_set(err, ERR_BUSY, "no connection: %s", curl_easy_strerror(rc));
    if (curl_easy_getinfo(l->curl, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
        return err_set(err, ERR_BUSY, "the connection is gone at once");
    l->fd = (int)fd;
    return 0;
}

static int read_head(struct wslink *l, const char *key, int64_t deadline_ms, struct err *err)
{
    struct buf *head = &l->early;
    long used = 0;

    while (used == 0) {
        char piece[PIECE];
        ssize_t n = receive(l, piece, sizeof(piece), err);

        if (n < 0 || (n == 0 && wait_for(l, POLLIN, deadline_ms, err) < 0))
            return -1;
        if (buf_add(head, piece, (size_t)n) < 0)
            return err_set(err, ERR_PEER, "websocket: the head is too long");
        if (head->len)
            used = ws_check_head(head->data, head->len, key, err);
    }
    if (used < 0)
        return -1;
    buf_drop(head, (size_t)used);
    return 0;
}

static int shake_hands(struct wslink *l, const struct address *a, int64_t deadline_ms,
                       struct err *err)
{
    auto_free char *path = xasprintf("%s%s", a->path[0] == '/' ? "" : "/", a->path);
    char key[WS_KEY_TEXT];

    ws_make_key(key);
    ws_put_request(&l->out, a->host, path, key);
    if (l->out.is_full)
        return err_set(err, ERR_INVALID, "the address is too long");
    while (l->out.len) {
        if (flush(l, err) < 0 || (l->out.len && wait_for(l, POLLOUT, deadline_ms, err) < 0))
            return -1;
    }
    return read_head(l, key, deadline_ms, err);
}

/* ---- messages ---- */

static int on_message(void *ctx, enum ws_kind kind, const char *data, size_t n, struct err *err)
{
    struct wslink *l = ctx;

    switch (kind) {
    case WS_TEXT:
        return l->on_text(l->ctx, l, data, n, err);
    case WS_PING:
        put(l, WS_PONG, data, n);
        return 0;
    case WS_CLOSE:
        /* The same code back (RFC 6455, 5.5.1). */
        put_close(l, n < 2 ? 0 : (unsigned)(unsigned char)data[0] << 8 | (unsigned char)data[1]);
        return 0;
    case WS_PONG:
    case WS_BINARY:
    case WS_CONTINUATION:
        break;
    }
    return 0;
}

int wslink_open(const struct wslink_options *o, struct wslink **ret, struct err *err)
{
    struct wslink *l = xcalloc(1, sizeof(*l));
    struct address a = {.path = ""};
    int64_t deadline_ms = clock_ms() + o->connect_ms;
    int rc;

    l->ping_ms = o->ping_ms;
    l->on_text = o->on_text;
    l->ctx = o->ctx;
    l->fd = -1;
    buf_init(&l->out, OUT_MAX);
    buf_init(&l->early, HEAD_MAX);
    ws_reader_init(&l->reader, MESSAGE_MAX, on_message, l);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        wslink_free(l);
        return err_sys(err, "eventfd");
    }
    rc = read_address(o->url, &a, err);
    if (rc == 0)
        rc = connect_to(l, o, &a, err);
    if (rc == 0)
        rc = shake_hands(l, &a, deadline_ms, err);
    free(a.url);
    free(a.host);
    if (rc < 0) {
        wslink_free(l);
        return -1;
    }
    l->heard_ms = clock_ms();
    l->next_ping_ms = l->heard_ms + l->ping_ms;
    *ret = l;
    return 0;
}

void wslink_free(struct wslink *l)
{
    if (!l)
        return;
    curl_easy_cleanup(l->curl);
    if (l->wake_fd >= 0)
        (void)close(l->wake_fd);
    ws_reader_done(&l->reader);
    buf_done(&l->out);
    buf_done(&l->early);
    free(l);
}

void wslink_ask_close(struct wslink *l)
{
    const uint64_t one = 1;

    atomic_store(&l->wants_close, true);
    (void)!write(l->wake_fd, &one, sizeof(one));
}

/* ---- running ---- */

static int digest(struct wslink *l, const char *data, size_t n, struct err *err)
{
    if (ws_feed(&l->reader, data, n, err) == 0)
        return 0;
    put_close(l, l->reader.fault ? l->reader.fault : WS_GOING_AWAY);
    (void)flush(l, NULL);
    return -1;
}

/*
 * A piece of what is there. 1: there may be more, which TLS may hold where poll does not see it; but
 * acknowledgements go first, however fast the other side is.
 */
static int take_in(struct wslink *l, struct err *err)
{
    char piece[PIECE];
    ssize_t n;

    if (l->early.len && digest(l, l->early.data, l->early.len, err) < 0)
        return -1;
    buf_clear(&l->early);
    if (l->reader.is_closed)
        return 0;
    n = receive(l, piece, sizeof(piece), err);
    if (n <= 0)
        return n < 0 ? -1 : 0;
    l->heard_ms = clock_ms();
    if (digest(l, piece, (size_t)n, err) < 0)
        return -1;
    if (l->out.is_full)
        return err_set(err, ERR_PEER, "the other side takes nothing any more");
    return 1;
}

static int keep_alive(struct wslink *l, int64_t now, struct err *err)
{
    char text[32];
    int n;

    if (now - l->heard_ms > STALE_PINGS * l->ping_ms)
        return err_set(err, ERR_TIMEOUT, "nothing came for %lld ms, not even a pong",
                       (long long)(now - l->heard_ms));
    if (now < l->next_ping_ms)
        return 0;
    n = snprintf(text, sizeof(text), "%lld", (long long)now);
    put(l, WS_PING, text, (size_t)n);
    l->next_ping_ms = now + l->ping_ms;
    return 0;
}

static bool is_over(const struct wslink *l, int64_t now)
{
    return l->close_is_sent && ((l->reader.is_closed && !l->out.len) || now >= l->close_ms);
}

/* For bytes, somebody's wish, or the time of what is due next. */
static void wait_for_news(struct wslink *l)
{
    bool is_closing = l->close_is_sent && l->close_ms < l->next_ping_ms;
    uint64_t woken;
    struct pollfd p[2] = {
        {.fd = l->fd,      .events = (short)(POLLIN | (l->out.len ? POLLOUT : 0))},
        {.fd = l->wake_fd, .events = POLLIN                                      },
    };

    (void)poll(p, 2, clock_left_ms(is_closing ? l->close_ms : l->next_ping_ms));
    if (p[1].revents)
        (void)!read(l->wake_fd, &woken, sizeof(woken));
}

int wslink_run(struct wslink *l, struct err *err)
{
    for (;;) {
        int more = take_in(l, err);
        int64_t now = clock_ms();

        if (more < 0)
            return l->close_is_sent && l->reader.fault == 0 ? 0 : -1;
        if (atomic_load(&l->wants_close))
            put_close(l, WS_NORMAL);
        if (keep_alive(l, now, err) < 0 || flush(l, err) < 0)
            return l->close_is_sent ? 0 : -1;
        if (is_over(l, now))
            return 0;
        if (!more)
            wait_for_news(l);
    }
}
