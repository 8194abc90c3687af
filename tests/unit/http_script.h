#ifndef TESTS_HTTP_SCRIPT_H
#define TESTS_HTTP_SCRIPT_H

/* A server that answers one connection after the other with bytes of the test's choice. */

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"
#include "loopback.h"
#include "unit.h"

/* What becomes of a connection behind a reply. */
enum script_ending {
    SCRIPT_CLOSES,
    SCRIPT_HOLDS,  /* until the client leaves */
    SCRIPT_DRIPS,  /* `more` over and over, with pauses, until the client leaves */
    SCRIPT_FLOODS, /* the same without pauses */
};

struct http_script {
    const char *const
        *replies; /* "" closes at once; NULL holds the connection, and ends the list */
    enum script_ending ending;
    const char *more;
    int fd;
    char url[64];
    pthread_t thread;
    struct buf asked; /* every request, one behind the other; read it after http_script_end */
    atomic_int said, served; /* replies; connections that are over */
};

static inline void script_read(struct http_script *s, int fd)
{
    char piece[8192];
    const char *head_end, *length;
    size_t from = s->asked.len, wanted = SIZE_MAX;

    while (s->asked.len - from < wanted) {
        ssize_t n = read(fd, piece, sizeof(piece));

        if (n <= 0)
            return;
        ck_assert_int_eq(buf_add(&s->asked, piece, (size_t)n), 0);
        head_end = strstr(buf_get(&s->asked) + from, "\r\n\r\n");
        if (!head_end)
            continue;
        length = strcasestr(buf_get(&s->asked) + from, "content-length: ");
        wanted = (size_t)(head_end + 4 - buf_get(&s->asked)) - from;
        if (length)
            wanted += (size_t)strtoul(length + 16, NULL, 10);
    }
}

static inline void script_go_on(const struct http_script *s, int fd)
{
    enum { PAUSE_MS = 5 };
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    if (s->ending == SCRIPT_HOLDS) {
        (void)poll(&p, 1, 30000);
        return;
    }
    while (s->ending != SCRIPT_CLOSES && send(fd, s->more, strlen(s->more), MSG_NOSIGNAL) > 0) {
        if (poll(&p, 1, s->ending == SCRIPT_DRIPS ? PAUSE_MS : 0) != 0)
            return;
    }
}

static inline void *script_serve(void *arg)
{
    struct http_script *s = arg;

    for (;; s->served++) {
        const char *reply = s->replies[s->served];
        int fd = accept(s->fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        script_read(s, fd);
        if (!reply) { /* until the client leaves */
            struct pollfd p = {.fd = fd, .events = POLLRDHUP};

            (void)poll(&p, 1, 5000);
            (void)close(fd);
            return NULL;
        }
        (void)send(fd, reply, strlen(reply), MSG_NOSIGNAL);
        s->said++;
        script_go_on(s, fd);
        (void)close(fd);
    }
}

/* With `ending` and `more` set by the caller. */
static inline void http_script_go(struct http_script *s)
{
    uint16_t port;

    buf_init(&s->asked, 1 << 20);
    s->fd = loopback_listen(8, &port);
    (void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, script_serve, s), 0);
}

static inline void http_script_begin(struct http_script *s, const char *const *replies)
{
    *s = (struct http_script){.replies = replies};
    http_script_go(s);
}

static inline void http_script_end(struct http_script *s)
{
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
}

#endif
