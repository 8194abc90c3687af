#ifndef TESTS_TOOLS_RIG_H
#define TESTS_TOOLS_RIG_H

/* Tools out of a file that the test writes, and a service that answers as the test says. */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "core/host.h"
#include "loopback.h"
#include "policy/policy.h"
#include "tools/tools.h"
#include "unit.h"
#include "until.h"

#define RIG __attribute__((unused)) static

enum { RIG_WAIT_MS = 60000, RIG_PEERS = 64 };

struct rig_site;

/* Puts a whole reply, head and all, into `reply`; nothing closes the connection. */
typedef void rig_answer(struct rig_site *s, const char *request, struct buf *reply);

/* A service: any number of connections, each with any number of requests. */
struct rig_site {
    rig_answer *answer;
    int fd;
    char url[64];
    pthread_t thread, peers[RIG_PEERS];
    unsigned peers_n;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t change;
    struct buf asked; /* every request, one behind the other */
    unsigned requests, inside, most;
    int mode;     /* the test's */
    bool is_held; /* answers wait until it is false */
    int open_fds[RIG_PEERS];
};

struct rig_peer {
    struct rig_site *site;
    unsigned number;
};

RIG bool rig_read_request(int fd, struct buf *b)
{
    char piece[8192];
    size_t wanted = SIZE_MAX;

    buf_clear(b);
    while (b->len < wanted) {
        ssize_t n = read(fd, piece, sizeof(piece));
        const char *end, *length;

        if (n <= 0 || buf_add(b, piece, (size_t)n) < 0)
            return false;
        end = strstr(buf_get(b), "\r\n\r\n");
        if (!end)
            continue;
        length = strcasestr(buf_get(b), "content-length: ");
        wanted = (size_t)(end + 4 - buf_get(b)) +
                 (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
    }
    return true;
}

RIG void *rig_serve_peer(void *arg)
{
    struct rig_peer *p = arg;
    struct rig_site *s = p->site;
    int fd = s->open_fds[p->number];
    struct buf request, reply;
    bool goes_on = true;

    buf_init(&request, 1 << 22);
    buf_init(&reply, 1 << 26);
    while (goes_on && rig_read_request(fd, &request)) {
        (void)pthread_mutex_lock(&s->lock);
        (void)buf_add(&s->asked, request.data, request.len);
        s->requests++;
        s->inside++;
        s->most = s->inside > s->most ? s->inside : s->most;
        (void)pthread_cond_broadcast(&s->change);
        while (s->is_held)
            (void)pthread_cond_wait(&s->change, &s->lock);
        (void)pthread_mutex_unlock(&s->lock);
        buf_clear(&reply);
        s->answer(s, buf_get(&request), &reply);
        (void)pthread_mutex_lock(&s->lock);
        s->inside--;
        (void)pthread_mutex_unlock(&s->lock);
        goes_on = reply.len &&
                  io_write_all(fd, reply.data, reply.len, clock_ms() + RIG_WAIT_MS, NULL) == 0;
    }
    (void)shutdown(fd, SHUT_RDWR);
    buf_done(&request);
    buf_done(&reply);
    free(p);
    return NULL;
}

RIG void *rig_serve(void *arg)
{
    struct rig_site *s = arg;
    int fd;

    while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
        struct rig_peer *p = xcalloc(1, sizeof(*p));

        (void)pthread_mutex_lock(&s->lock);
        if (s->peers_n == RIG_PEERS)
            abort();
        *p = (struct rig_peer){s, s->peers_n};
        s->open_fds[s->peers_n] = fd;
        if (pthread_create(&s->peers[s->peers_n++], NULL, rig_serve_peer, p) != 0)
            abort();
        (void)pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

RIG void rig_site_begin(struct rig_site *s, rig_answer *answer)
{
    uint16_t port;

    *s = (struct rig_site){.answer = answer};
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->change, NULL);
    buf_init(&s->asked, 1 << 24);
    s->fd = loopback_listen(64, &port);
    (void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, rig_serve, s), 0);
}

RIG void rig_hold(struct rig_site *s, bool is_held)
{
    (void)pthread_mutex_lock(&s->lock);
    s->is_held = is_held;
    (void)pthread_cond_broadcast(&s->change);
    (void)pthread_mutex_unlock(&s->lock);
}

RIG void rig_set_mode(struct rig_site *s, int mode)
{
    (void)pthread_mutex_lock(&s->lock);
    s->mode = mode;
    (void)pthread_mutex_unlock(&s->lock);
}

RIG int rig_mode(struct rig_site *s)
{
    int mode;

    (void)pthread_mutex_lock(&s->lock);
    mode = s->mode;
    (void)pthread_mutex_unlock(&s->lock);
    return mode;
}

RIG unsigned rig_requests(struct rig_site *s)
{
    unsigned n;

    (void)pthread_mutex_lock(&s->lock);
    n = s->requests;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

/* How many were answered at the same time at most. */
RIG unsigned rig_most(struct rig_site *s)
{
    unsigned n;

    (void)pthread_mutex_lock(&s->lock);
    n = s->most;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

/* A URL that nobody listens at, and nobody else will until `ret_fd` is closed; static storage. */
RIG const char *rig_nowhere(int *ret_fd)
{
    static char url[64];
    uint16_t port;

    *ret_fd = loopback_listen(LOOPBACK_NOBODY, &port);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    return url;
}

/* Everything that was asked so far; the caller frees. */
RIG char *rig_asked(struct rig_site *s)
{
    char *text;

    (void)pthread_mutex_lock(&s->lock);
    text = xstrdup(buf_get(&s->asked));
    (void)pthread_mutex_unlock(&s->lock);
    return text;
}

RIG void rig_forget(struct rig_site *s)
{
    (void)pthread_mutex_lock(&s->lock);
    buf_clear(&s->asked);
    s->requests = s->most = 0;
    (void)pthread_mutex_unlock(&s->lock);
}

RIG void rig_site_end(struct rig_site *s)
{
    rig_hold(s, false);
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < s->peers_n; i++)
        (void)shutdown(s->open_fds[i], SHUT_RDWR);
    for (unsigned i = 0; i < s->peers_n; i++) {
        (void)pthread_join(s->peers[i], NULL);
        (void)close(s->open_fds[i]);
    }
    (void)close(s->fd);
    buf_done(&s->asked);
}

/* A whole reply. */
RIG void rig_say(struct buf *reply, const char *status, const char *head, const char *body)
{
    (void)buf_fmt(reply, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body),
                  head, body);
}

RIG void rig_say_json(struct buf *reply, const char *body)
{
    rig_say(reply, "200 OK", "Content-Type: application/json\r\n", body);
}

/* The body of the last request. */
RIG const char *rig_body(const char *asked)
{
    const char *at = asked, *found = "";

    while ((at = strstr(at, "\r\n\r\n"))) {
        at += 4;
        found = at;
    }
    return found;
}

/* ---- tools ---- */

/* A directory of the test's own, with files in it. */
struct rig_place {
    char dir[64], file[96], secrets[96];
};

RIG void rig_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

RIG void rig_place_begin(struct rig_place *p)
{
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/oneshot-tools-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(p->dir));
    (void)snprintf(p->file, sizeof(p->file), "%s/tools.yaml", p->dir);
    (void)snprintf(p->secrets, sizeof(p->secrets), "%s/secrets", p->dir);
}

RIG void rig_place_end(struct rig_place *p)
{
    (void)unlink(p->file);
    (void)unlink(p->secrets);
    ck_assert_int_eq(rmdir(p->dir), 0);
}

RIG struct tools *rig_try(const struct rig_place *p, bool has_secrets, struct err *err)
{
    const struct tools_files_options o = {
        .file = p->file,
        .policies_dir = p->dir,
        .secrets = has_secrets ? p->secrets : "",
        .ca_file = "",
    };
    struct tools_files files;
    struct tools *t = NULL;

    if (tools_files_open(&o, &files, err) == 0)
        (void)!tools_open(&files, &t, err);
    return t;
}

RIG struct tools *rig_open(const struct rig_place *p, const char *text, const char *secrets)
{
    struct err e = {0};
    struct tools *t;

    rig_write(p->file, text);
    if (secrets)
        rig_write(p->secrets, secrets);
    t = rig_try(p, secrets, &e);
    ck_assert_msg(t != NULL, "%s", e.msg);
    return t;
}

RIG struct host_answer rig_call_within(struct tools *t, const char *name, const char *args,
                                       int64_t ms, struct stop *stop)
{
    struct stop own;
    struct host_call c = {
        .run_id = "r",
        .kind = "tool",
        .name = name,
        .args = args,
        .args_len = strlen(args),
        .deadline_ms = clock_ms() + ms,
        .reply_max = 1 << 20,
        .stop = stop ? stop : &own,
    };
    struct host_answer a = {0};

    stop_init(&own, -1);
    buf_init(&a.result, c.reply_max);
    buf_init(&a.message, HOST_MESSAGE_MAX);
    tools_call(t, &c, &a);
    stop_done(&own);
    return a;
}

RIG void rig_answer_done(struct host_answer *a)
{
    buf_done(&a->result);
    buf_done(&a->message);
}

/* What a call comes to, as a program sees it: "= JSON" or "! message"; the caller frees. */
RIG char *rig_call(struct tools *t, const char *name, const char *args)
{
    CLEANUP(rig_answer_done)
    struct host_answer a = rig_call_within(t, name, args, RIG_WAIT_MS, NULL);

    if (a.is_error)
        ck_assert_str_eq(a.type, "ToolError");
    return xasprintf("%c %s", a.is_error ? '!' : '=', buf_get(a.is_error ? &a.message : &a.result));
}

RIG void rig_check_call(struct tools *t, const char *name, const char *args, const char *expected)
{
    auto_free char *got = rig_call(t, name, args);

    ck_assert_msg(strcmp(got, expected) == 0, "%s(%s)\n  is   %s\n  not  %s", name, args, got,
                  expected);
}

RIG void rig_check_failure(struct tools *t, const char *name, const char *args,
                           enum host_verdict verdict, const char *part)
{
    CLEANUP(rig_answer_done)
    struct host_answer a = rig_call_within(t, name, args, RIG_WAIT_MS, NULL);

    ck_assert_msg(a.is_error, "%s", buf_get(&a.result));
    ck_assert_str_eq(host_verdict_name(a.verdict), host_verdict_name(verdict));
    ck_assert_msg(strstr(buf_get(&a.message), part) != NULL, "%s\n  lacks %s", buf_get(&a.message),
                  part);
}

#endif
