#ifndef TESTS_RELAY_RIG_H
#define TESTS_RELAY_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/address.h"
#include "core/relay.h"
#include "core/resolve.h"
#include "frames/frame.h"
#include "frames/le.h"
#include "loopback.h"
#include "policy/policy.h"
#include "unit.h"

/*
 * The front's end of the relay between a warden, which this program plays frame by frame, and
 * targets of its own on the loopback.
 */
enum { RIG_WAIT_MS = 15000, RIG_ENTRIES = 8 };

struct rig {
    struct policy policy;
    struct policy_relay entries[RIG_ENTRIES];
    int64_t any[2];
    struct resolver *resolver;
    struct relay_counts counts;
    struct relay *relay;
    int target; /* a listener */
    uint16_t port;
};

/* ---- names: how many were asked for, and a gate before the answers ---- */

static pthread_mutex_t rig_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t rig_changed = PTHREAD_COND_INITIALIZER;
static bool rig_is_gate_shut;
static unsigned rig_asked, rig_waiting;

static inline void rig_open_gate(void)
{
    (void)pthread_mutex_lock(&rig_lock);
    rig_is_gate_shut = false;
    (void)pthread_cond_broadcast(&rig_changed);
    (void)pthread_mutex_unlock(&rig_lock);
}

/* Waits until so many lookups stand at the gate. */
static inline void rig_wait_at_gate(unsigned n)
{
    (void)pthread_mutex_lock(&rig_lock);
    while (rig_waiting < n)
        (void)pthread_cond_wait(&rig_changed, &rig_lock);
    (void)pthread_mutex_unlock(&rig_lock);
}

/* "public.test" and "meta.test" are addresses that nobody connects to; "here.test" is loopback. */
static inline int rig_lookup(const char *host, const char *port, const struct addrinfo *hints,
                             struct addrinfo **ret)
{
    struct addrinfo numeric = *hints;
    const char *address = NULL;

    (void)pthread_mutex_lock(&rig_lock);
    rig_asked++;
    rig_waiting++;
    (void)pthread_cond_broadcast(&rig_changed);
    while (rig_is_gate_shut)
        (void)pthread_cond_wait(&rig_changed, &rig_lock);
    rig_waiting--;
    (void)pthread_mutex_unlock(&rig_lock);
    if (strcmp(host, "here.test") == 0)
        address = "127.0.0.1";
    else if (strcmp(host, "meta.test") == 0)
        address = "169.254.169.254";
    if (!address)
        return EAI_NONAME;
    numeric.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    return getaddrinfo(address, port, &numeric, ret);
}

/* ---- the rig ---- */

/* Entry `as` leads to `host` at the target's port. */
static inline void rig_list(struct rig *r, const char *as, const char *host, bool is_private)
{
    struct policy_network *net = &r->policy.network;

    r->entries[net->relay_n++] = (struct policy_relay){
        .as = xstrdup(as), .to = xasprintf("%s:%u", host, r->port), .is_private = is_private};
}

static inline void rig_init(struct rig *r)
{
    static char name[] = "p";
    struct relay_options o = {.policy = &r->policy, .run_id = "run", .counts = &r->counts};

    *r = (struct rig){
        .policy = {.name = name,
                   .relay_connections = 100,
                   .relay_opened = 1000,
                   .relay_bytes = INT64_C(1) << 40,
                   .relay_connect_ms = RIG_WAIT_MS,
                   .relay_internet = true}
    };
    r->target = loopback_listen(64, &r->port);
    r->policy.network.kind = NETWORK_RELAY;
    r->policy.network.relay = r->entries;
    r->policy.network.any = r->any;
    r->any[0] = 80;
    r->any[1] = 443;
    r->policy.network.any_n = 2;
    rig_is_gate_shut = false;
    rig_asked = rig_waiting = 0;
    rig_list(r, "db:1", "127.0.0.1", true);
    rig_list(r, "named:1", "here.test", true);
    rig_list(r, "closed:1", "127.0.0.1", false);
    rig_list(r, "rebound:1", "here.test", false);
    rig_list(r, "meta:1", "meta.test", false);
    rig_list(r, "gone:1", "gone.test", true);
    r->resolver = resolver_new(rig_lookup);
    o.resolver = r->resolver;
    r->relay = relay_new(&o);
}

static inline void rig_done(struct rig *r)
{
    rig_open_gate();
    relay_free(r->relay);
    resolver_free(r->resolver);
    for (size_t i = 0; i < r->policy.network.relay_n; i++) {
        free(r->entries[i].as);
        free(r->entries[i].to);
    }
    (void)close(r->target);
}

/* ---- the warden ---- */

static inline const char *rig_say(struct rig *r, uint8_t type, uint16_t id, const void *data,
                                  size_t n)
{
    return relay_frame(r->relay,
                       &(struct frame){.type = type, .id = id, .len = (uint32_t)n, .data = data});
}

static inline const char *rig_say_number(struct rig *r, uint8_t type, uint16_t id, uint32_t value)
{
    uint8_t bytes[4];

    le_put32(bytes, value);
    return rig_say(r, type, id, bytes, sizeof(bytes));
}

static inline const char *rig_open(struct rig *r, uint16_t id, const char *target)
{
    return rig_say(r, FRAME_RELAY_OPEN, id, target, strlen(target));
}

static inline void rig_turn(struct rig *r, int64_t until)
{
    struct pollfd p[RELAY_POLLED];
    size_t n = relay_poll(r->relay, p);
    int64_t due = relay_due_ms(r->relay);

    (void)poll(p, n, clock_left_ms(due < until ? due : until));
    relay_serve(r->relay, p, n);
}

/*
 * The next frame, within the time; type 0: none. The last look is one that began behind the time: a
 * busy machine may have left none for those before.
 */
static inline struct frame rig_next_within(struct rig *r, int ms)
{
    int64_t until = clock_ms() + ms;
    const uint8_t *data;
    bool is_late = false;
    size_t n;

    while (!relay_next(r->relay, &data, &n)) {
        if (is_late)
            return (struct frame){.type = 0};
        is_late = clock_ms() >= until;
        rig_turn(r, until);
    }
    MUST(n >= FRAME_HEAD && n == FRAME_HEAD + le_get32(data + 4));
    return (struct frame){.type = data[0],
                          .id = le_get16(data + 2),
                          .len = le_get32(data + 4),
                          .data = data + FRAME_HEAD};
}

static inline struct frame rig_expect(struct rig *r, uint8_t type, uint16_t id)
{
    struct frame f = rig_next_within(r, RIG_WAIT_MS);

    ck_assert_int_eq(f.type, type);
    ck_assert_int_eq(f.id, id);
    return f;
}

static inline void rig_expect_refusal(struct rig *r, uint16_t id, int number)
{
    struct frame f = rig_expect(r, FRAME_RELAY_CLOSE, id);

    ck_assert_uint_eq(f.len, 4);
    ck_assert_int_eq((int)le_get32(f.data), number);
}

/* A connection to the target; its end there. */
static inline int rig_connect(struct rig *r, uint16_t id)
{
    int fd;

    ck_assert_ptr_null(rig_open(r, id, "db:1"));
    ck_assert_uint_eq(rig_expect(r, FRAME_RELAY_OPEN, id).len, 0);
    fd = accept4(r->target, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

#endif
