#include "fake_engine.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "unit.h"

enum { CONNECTIONS_MAX = 512, REQUESTS_MAX = 4096, REQUEST_MAX = 1024 * 1024, DONE_MS = 3000 };

struct fake_engine {
    char dir[32], host[64];
    const struct fake_step *steps;
    size_t n;
    int listener, stop[2]; /* every thread ends when stop[1] is closed */
    pthread_t acceptor;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t took;  /* a request came */
    int used[64];
    pthread_t threads[CONNECTIONS_MAX];
    size_t threads_n;
    char *requests[REQUESTS_MAX];
    size_t requests_n;
};

struct connection {
    struct fake_engine *f;
    int fd;
    struct buf in;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

/* True when `fd` has something to read, false when the engine is told to stop. */
static bool wait_for(const struct fake_engine *f, int fd)
{
    struct pollfd p[2] = {
        {.fd = fd,         .events = POLLIN},
        {.fd = f->stop[0], .events = POLLIN}
    };

    while (poll(p, 2, -1) < 0)
        continue;
    return !p[1].revents;
}

static bool read_more(struct connection *c)
{
    char piece[16384];
    ssize_t n;

    if (!wait_for(c->f, c->fd))
        return false;
    n = read(c->fd, piece, sizeof(piece));
    return n > 0 && buf_add(&c->in, piece, (size_t)n) == 0;
}

/* Length of the whole request at the front of `c->in`, 0 when the connection ended. */
static size_t read_request(struct connection *c)
{
    for (;;) {
        const char *data = buf_get(&c->in), *end = strstr(data, "\r\n\r\n"), *length;
        size_t need;

        if (end) {
            length = strcasestr(data, "Content-Length:");
            need = (size_t)(end + 4 - data);
            if (length && length < end)
                need += strtoul(length + strlen("Content-Length:"), NULL, 10);
            if (c->in.len >= need)
                return need;
        }
        if (!read_more(c))
            return 0;
    }
}

static const struct fake_step *choose(struct fake_engine *f, const char *request)
{
    const struct fake_step *found = NULL;

    (void)pthread_mutex_lock(&f->lock);
    if (f->requests_n < REQUESTS_MAX)
        f->requests[f->requests_n++] = xstrdup(request);
    for (size_t i = 0; i < f->n && !found; i++) {
        const struct fake_step *s = &f->steps[i];
        int times = s->times ? s->times : 1;

        if ((s->expect && !str_starts(request, s->expect)) || (times > 0 && f->used[i] >= times))
            continue;
        f->used[i]++;
        found = s;
    }
    (void)pthread_cond_broadcast(&f->took);
    (void)pthread_mutex_unlock(&f->lock);
    return found;
}

static const struct fake_step *fallback(const char *request)
{
    static const struct fake_step ping = {
        .raw = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"};
    static const struct fake_step info = {.status = 200, .body = "{\"CgroupVersion\":\"1\"}"};
    static const struct fake_step other = {.status = 500,
                                           .body = "{\"message\":\"fake: not in the script\"}"};

    if (str_starts(request, "GET /_ping "))
        return &ping;
    return strstr(request, "/info HTTP/1.1") ? &info : &other;
}

static void send_bytes(int fd, const char *data, size_t n, bool is_slow)
{
    size_t step = is_slow ? 1 : n;

    for (size_t i = 0; i < n; i += step) {
        if (send(fd, data + i, step, MSG_NOSIGNAL) < 0)
            return;
    }
}

static void send_fill(int fd, const struct fake_step *s)
{
    char piece[65536];
    size_t left = s->fill;

    memset(piece, s->fill_with, sizeof(piece));
    while (left) {
        size_t n = left < sizeof(piece) ? left : sizeof(piece);

        if (send(fd, piece, n, MSG_NOSIGNAL) < 0)
            return;
        left -= n;
    }
}

static void send_reply(int fd, const struct fake_step *s)
{
    CLEANUP(buf_done) struct buf out = {0};
    const char *body = s->body ? s->body : "";

    buf_init(&out, REQUEST_MAX);
    if (s->status)
        (void)buf_fmt(&out, "HTTP/1.1 %d Fake\r\nContent-Length: %zu\r\n\r\n%s", s->status,
                      strlen(body), body);
    else if (s->raw)
        (void)buf_str(&out, s->raw);
    send_bytes(fd, buf_get(&out), out.len, s->is_slow);
    send_fill(fd, s);
}

static void drain(struct connection *c, bool is_echo)
{
    buf_clear(&c->in);
    while (read_more(c)) {
        if (is_echo)
            send_bytes(c->fd, buf_get(&c->in), c->in.len, false);
        buf_clear(&c->in);
    }
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    size_t n;

    while ((n = read_request(c)) > 0) {
        const struct fake_step *s = choose(c->f, buf_get(&c->in));

        if (!s)
            s = fallback(buf_get(&c->in));
        buf_drop(&c->in, n);
        send_reply(c->fd, s);
        if (s->after == FAKE_HANG || s->after == FAKE_ECHO)
            drain(c, s->after == FAKE_ECHO);
        if (s->after != FAKE_KEEP)
            break;
    }
    (void)close(c->fd);
    buf_done(&c->in);
    free(c);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct fake_engine *f = arg;

    while (wait_for(f, f->listener)) {
        struct connection *c = xcalloc(1, sizeof(*c));

        c->f = f;
        c->fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        must(c->fd >= 0, "accept");
        buf_init(&c->in, REQUEST_MAX);
        (void)pthread_mutex_lock(&f->lock);
        must(f->threads_n < CONNECTIONS_MAX, "too many connections");
        must(pthread_create(&f->threads[f->threads_n++], NULL, serve, c) == 0, "thread");
        (void)pthread_mutex_unlock(&f->lock);
    }
    return NULL;
}

struct fake_engine *fake_start(const struct fake_step *steps, size_t n)
{
    struct fake_engine *f = xcalloc(1, sizeof(*f));
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    (void)str_copy(f->dir, "/tmp/fake-engine-XXXXXX", sizeof(f->dir));
    must(mkdtemp(f->dir) != NULL, "mkdtemp");
    (void)snprintf(f->host, sizeof(f->host), "unix://%s/engine.sock", f->dir);
    f->steps = steps;
    f->n = n;
    must(n <= ARRAY_LEN(f->used), "too many steps");
    must(pipe(f->stop) == 0, "pipe");
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->took, NULL);
    (void)str_copy(sun.sun_path, f->host + strlen("unix://"), sizeof(sun.sun_path));
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(f->listener >= 0 && bind(f->listener, (const struct sockaddr *)&sun, sizeof(sun)) == 0 &&
             listen(f->listener, 64) == 0,
         "listen");
    must(pthread_create(&f->acceptor, NULL, accept_all, f) == 0, "thread");
    return f;
}

void fake_die(struct fake_engine *f)
{
    if (f->stop[1] < 0)
        return;
    (void)close(f->stop[1]);
    f->stop[1] = -1;
    (void)pthread_join(f->acceptor, NULL);
    (void)close(f->listener);
    for (size_t i = 0; i < f->threads_n; i++)
        (void)pthread_join(f->threads[i], NULL);
}

void fake_stop(struct fake_engine *f)
{
    fake_die(f);
    (void)close(f->stop[0]);
    (void)unlink(f->host + strlen("unix://"));
    (void)rmdir(f->dir);
    for (size_t i = 0; i < f->requests_n; i++)
        free(f->requests[i]);
    (void)pthread_cond_destroy(&f->took);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

const char *fake_host(const struct fake_engine *f)
{
    return f->host;
}

size_t fake_count(struct fake_engine *f)
{
    size_t n;

    (void)pthread_mutex_lock(&f->lock);
    n = f->requests_n;
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

const char *fake_request(struct fake_engine *f, size_t i)
{
    const char *out;

    (void)pthread_mutex_lock(&f->lock);
    out = i < f->requests_n ? f->requests[i] : "";
    (void)pthread_mutex_unlock(&f->lock);
    return out;
}

size_t fake_seen(struct fake_engine *f, const char *start)
{
    size_t n = 0, all = fake_count(f);

    for (size_t i = 0; i < all; i++)
        n += str_starts(fake_request(f, i), start);
    return n;
}

static bool is_done(const struct fake_engine *f)
{
    bool out = true;

    for (size_t i = 0; i < f->n; i++) {
        int times = f->steps[i].times;

        out &= times < 0 ? f->used[i] > 0 : f->used[i] == (times ? times : 1);
    }
    return out;
}

bool fake_is_done(struct fake_engine *f)
{
    struct timespec until;
    bool out;
    int rc = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)patient(DONE_MS) / 1000;
    (void)pthread_mutex_lock(&f->lock);
    while (!(out = is_done(f)) && rc == 0)
        rc = pthread_cond_timedwait(&f->took, &f->lock, &until);
    (void)pthread_mutex_unlock(&f->lock);
    return out;
}
