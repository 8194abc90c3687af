/*
 * The frames of the relay as a hostile container sends them, against real sockets of a target on
 * the loopback. The input is a row of steps: a frame for the front, or something that the target
 * or the clock does.
 *
 * Oracles beyond the sanitizers: the front sends no connection more than its credit, buffers at
 * most a window for it, gives back no more credit than it took bytes, tells nothing of connections
 * that were never opened, keeps the totals of the policy, and leaks no descriptor.
 */
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/relay_state.h"
#include "frames/le.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { IDS = 512, BYTES = 1 << 20, OPENED = 200, ACCEPTED = 16 };

static char names[][16] = {"db:1", "shut:1", "gone:1"}, to[3][40];
static struct policy_relay entries[] = {
    {.as = names[0], .to = to[0], .is_private = true},
    {.as = names[1], .to = to[0]},
    {.as = names[2], .to = to[2], .is_private = true},
};
static int64_t any[] = {80};
static struct policy policy = {
    .network = {.kind = NETWORK_RELAY,
                .relay = entries,
                .relay_n = ARRAY_LEN(entries),
                .any = any,
                .any_n = 1},
    .relay_connections = 20,
    .relay_opened = OPENED,
    .relay_bytes = BYTES,
    .relay_connect_ms = 1000,
    .relay_internet = true,
};
static struct resolver *resolver;
static int target = -1;

static int no_names(const char *host, const char *port, const struct addrinfo *hints,
                    struct addrinfo **ret)
{
    (void)host;
    (void)port;
    (void)hints;
    *ret = NULL;
    return EAI_NONAME;
}

static void set_up(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);

    target = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (target < 0 || bind(target, (struct sockaddr *)&a, n) < 0 || listen(target, 64) < 0 ||
        getsockname(target, (struct sockaddr *)&a, &n) < 0)
        abort();
    (void)snprintf(to[0], sizeof(to[0]), "127.0.0.1:%d", ntohs(a.sin_port));
    (void)snprintf(to[2], sizeof(to[2]), "gone.test:1");
    resolver = resolver_new(no_names);
    log_init("fuzz", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
}

/* What the other side would know of a connection. */
struct side {
    bool was_opened;
    uint64_t sent, credited; /* bytes up */
    uint64_t got, given;     /* bytes down */
};

struct game {
    struct relay *r;
    struct relay_counts counts;
    struct side sides[IDS];
    int accepted[ACCEPTED];
    size_t accepted_n;
    uint64_t opened;
};

static void check_frame(struct game *g, const uint8_t *frame, size_t n)
{
    uint16_t id = le_get16(frame + 2);
    uint32_t len = le_get32(frame + 4);
    struct side *s = &g->sides[id % IDS];

    assert(n == FRAME_HEAD + len && len <= RELAY_DATA_MAX);
    assert(id && id < IDS && s->was_opened);
    if (frame[0] == FRAME_RELAY_DATA) {
        s->got += len;
        assert(s->got <= RELAY_WINDOW + s->given);
    } else if (frame[0] == FRAME_RELAY_MORE) {
        s->credited += le_get32(frame + FRAME_HEAD);
        assert(s->credited <= s->sent);
    } else {
        assert(frame[0] == FRAME_RELAY_OPEN || frame[0] == FRAME_RELAY_CLOSE);
        assert(len == 0 || (frame[0] == FRAME_RELAY_CLOSE && len == 4));
    }
}

static void check(const struct game *g)
{
    size_t live = 0, lingering = 0;

    for (size_t i = 0; i < RELAY_SLOTS; i++) {
        const struct conn *c = g->r->conns[i];

        if (!c)
            continue;
        live += c->state != CONN_LINGER;
        lingering += c->state == CONN_LINGER;
        assert(c->end - c->start <= RELAY_WINDOW && c->credit <= RELAY_WINDOW);
        assert(c->owed <= RELAY_WINDOW && c->consumed <= c->owed);
    }
    assert(live == g->r->live && live <= RELAY_CONNS);
    assert(lingering == g->r->lingering && lingering <= (size_t)policy.relay_connections);
    assert(g->r->bytes <= (uint64_t)BYTES);
}

static void turn(struct game *g)
{
    struct pollfd p[RELAY_POLLED];
    size_t n = relay_poll(g->r, p);

    assert(n <= RELAY_POLLED);
    (void)poll(p, n, 0);
    relay_serve(g->r, p, n);
}

static void pull(struct game *g, unsigned most)
{
    const uint8_t *frame;
    size_t n;

    while (most-- && relay_next(g->r, &frame, &n))
        check_frame(g, frame, n);
}

/* What the target does: the low bits say with which of its connections. */
static void act(struct game *g, uint8_t what)
{
    static const char bytes[20000];
    static char sink[1 << 16];
    int fd;

    if (g->accepted_n < ACCEPTED) {
        fd = accept4(target, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            g->accepted[g->accepted_n++] = fd;
    }
    if (!g->accepted_n)
        return;
    fd = g->accepted[what % g->accepted_n];
    switch (what >> 5) {
    case 0:
        (void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
        break;
    case 1:
        (void)!send(fd, bytes, what, MSG_NOSIGNAL);
        break;
    case 2:
        (void)shutdown(fd, SHUT_WR);
        break;
    case 3:
        (void)shutdown(fd, SHUT_RDWR);
        break;
    default:
        (void)!read(fd, sink, sizeof(sink));
        break;
    }
}

/* One frame: type, id, length, then as many bytes as there are. */
static const char *say(struct game *g, const uint8_t *step, const uint8_t *data, size_t n)
{
    struct frame f = {.type = (uint8_t)(FRAME_RELAY_OPEN + step[0] % 4),
                      .id = (uint16_t)(step[1] | (step[0] & 0x10) << 4),
                      .len = (uint32_t)n,
                      .data = data};
    struct side *s = &g->sides[f.id % IDS];
    const char *wrong;

    if (f.id == 0 && f.type == FRAME_RELAY_MORE)
        return NULL; /* standard input: run_relay.c */
    wrong = relay_frame(g->r, &f);
    if (wrong)
        return wrong;
    if (f.type == FRAME_RELAY_OPEN) {
        assert(!s->was_opened);
        s->was_opened = true;
    } else if (f.type == FRAME_RELAY_DATA) {
        s->sent += n;
    } else if (f.type == FRAME_RELAY_MORE && n == 4) {
        s->given += le_get32(data);
    }
    return NULL;
}

static void play(struct game *g, const uint8_t *data, size_t n)
{
    static uint8_t large[FRAME_MAX];
    const char *wrong = NULL;

    while (n >= 3 && !wrong) {
        const uint8_t *step = data;
        size_t len = step[2];

        data += 3;
        n -= 3;
        if (step[0] & 0x80) {
            act(g, step[1]);
        } else if (step[0] & 0x40) {
            pull(g, step[1] % 8);
        } else if (step[0] & 0x20) {
            wrong = say(g, step, large, len * 256);
        } else {
            len = len < n ? len : n;
            wrong = say(g, step, data, len);
            data += len;
            n -= len;
        }
        turn(g);
        check(g);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct game game;
    int before, after;

    if (target < 0)
        set_up();
    before = dup(target);
    (void)close(before);
    game = (struct game){0};
    game.r = relay_new(&(struct relay_options){
        .policy = &policy, .run_id = "fuzz", .resolver = resolver, .counts = &game.counts});
    play(&game, data, n);
    pull(&game, 1000);
    if (n & 1)
        relay_end(game.r);
    relay_free(game.r);
    for (size_t i = 0; i < game.accepted_n; i++)
        (void)close(game.accepted[i]);
    /* Connections that nobody has accepted yet. */
    while ((after = accept4(target, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        (void)close(after);
    assert(game.counts.up + game.counts.down <= (uint64_t)BYTES);
    after = dup(target);
    (void)close(after);
    assert(after == before);
    return 0;
}
