/*
 * The hand-over messages, as both sides read them.
 *
 * Front: what a keeper sends while questions are under way, and to nobody. Oracles: every question
 * comes back, no descriptor is lost, a message that is none costs the keeper its place.
 *
 * Keeper: what a front sends, to pools with members that run for it, for somebody else, and that
 * are parked. Oracles: a member of somebody else stays as it is, no deadline passes the policy's,
 * the line has a bound, descriptors that come along are closed.
 *
 * The first byte says who reads. A message is a length byte and a sequence of struct handover that
 * are filled from the rest.
 */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "core/link.h"
#include "keeper/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MESSAGES = 40, HOUR_MS = 3600000 };

static void make_pair(int ret[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret) < 0)
        abort();
}

static int spare_fd(void)
{
    int fd = dup(STDERR_FILENO);

    (void)close(fd);
    return fd;
}

/* Takes the next message out of the input; false at its end. */
static bool next(const uint8_t **data, size_t *n, struct handover *m, size_t *ret_len, bool *ret_fd)
{
    uint8_t how;
    size_t take;

    if (!*n)
        return false;
    how = *(*data)++;
    --*n;
    /* Most are of the right length; types are small numbers, so that they are found. */
    *ret_len = how & 64 ? (size_t)how : sizeof(*m);
    *ret_fd = how & 128;
    *m = (struct handover){.type = how & 15};
    take = *n < sizeof(*m) - sizeof(m->type) ? *n : sizeof(*m) - sizeof(m->type);
    if (take > 64)
        take = 64;
    memcpy((uint8_t *)m + sizeof(m->type), *data, take);
    *data += take;
    *n -= take;
    return true;
}

static void send_all(int fd, const uint8_t *data, size_t n)
{
    struct handover m;
    bool with_fd;
    size_t len;

    for (int i = 0; i < MESSAGES && next(&data, &n, &m, &len, &with_fd); i++)
        (void)io_send_msg(fd, &m, len, with_fd ? STDERR_FILENO : -1);
}

/* ---- the front ---- */

/* What comes before a question is asked is to nobody; the end of the pair answers everything. */
static void as_front(const uint8_t *data, size_t n)
{
    struct link_wait wait = {.client_fd = -1, .cancel_fd = -1};
    struct handover_take take = {.policy = 1, .wait_ms = 1000};
    struct lease lease = {.fd = -1};
    struct handover_pool *pools = NULL;
    struct handover_counts counts;
    struct handover_fate fate;
    struct handover refusal;
    struct link *l = NULL;
    size_t pools_n = 0;
    int pair[2];

    make_pair(pair);
    send_all(pair[0], data, n);
    (void)shutdown(pair[0], SHUT_WR);
    if (link_new(pair[1], &l, NULL) < 0)
        abort();
    if (link_take(l, &take, &wait, &lease, &refusal, NULL) == 0) {
        assert(lease.fd >= 0);
        link_extend(l, &lease, 5);
        link_fate(l, &lease, &fate);
        link_done(l, &lease);
    }
    if (link_stats(l, &pools, &pools_n, &counts, NULL) == 0)
        free(pools);
    link_free(l);
    (void)close(pair[0]);
}

/* ---- the keeper ---- */

static uint32_t no_lacks(const struct engine *e)
{
    (void)e;
    return 0;
}

static void no_counts(const struct engine *e, uint64_t calls[ENGINE_CALLS],
                      uint64_t errors[ENGINE_CALLS])
{
    (void)e;
    memset(calls, 0, ENGINE_CALLS * sizeof(*calls));
    memset(errors, 0, ENGINE_CALLS * sizeof(*errors));
}

/* What the crew asks for a FATE. */
static int no_inspect(struct engine *e, const char *id, struct engine_state *ret, struct err *err)
{
    (void)e;
    (void)id;
    (void)ret;
    return err_set(err, ERR_PEER, "no engine");
}

static int no_wait(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err)
{
    (void)e;
    (void)id;
    (void)ms;
    (void)ret_exit;
    return err_set(err, ERR_PEER, "no engine");
}

static const struct engine_ops ops = {
    .lacks = no_lacks, .counts = no_counts, .inspect = no_inspect, .wait = no_wait};
static struct crew *crew;
static char name[] = "fuzz";
static const struct policy policy = {
    .name = name,
    .key = 1,
    .time_max_ms = 1000,
    .memory = 64 << 20,
    .memory_max = 128 << 20,
    .pool_min = 1,
    .pool_max = 4,
    .queue_max = 8,
    .queue_wait_ms = 1000,
};

static struct member *running(struct keeper *k, struct pool *p, struct client *c)
{
    struct member *m = member_new(&k->pools, p, k->now_ms);

    member_move(m, MEMBER_BOOTING, k->now_ms);
    member_move(m, MEMBER_PARKED, k->now_ms);
    member_move(m, MEMBER_RUNNING, k->now_ms);
    m->client = c;
    m->deadline_ms = k->now_ms + 1000;
    return m;
}

/* Until every call on a member has come back. */
static void await_crew(struct keeper *k)
{
    const struct member *m;
    struct task *t;
    unsigned busy = 1;

    while (busy) {
        while ((t = crew_take(crew))) {
            life_task_done(k, t);
            task_free(t);
        }
        busy = 0;
        TAILQ_FOREACH (m, &k->pools.members, in_all)
            busy += m->busy;
        if (busy)
            (void)io_wait(crew_fd(crew), POLLIN, clock_ms() + 1000);
    }
}

static void end_keeper(struct keeper *k)
{
    struct client *c;
    struct member *m;

    await_crew(k);
    TAILQ_FOREACH (c, &k->clients, link)
        clients_drop(k, c);
    clients_reap(k);
    while ((m = TAILQ_FIRST(&k->pools.members))) {
        if (m->state != MEMBER_REMOVING)
            life_discard(k, m, DISCARD_STOP);
        member_free(&k->pools, m);
    }
    pools_done(&k->pools);
    (void)close(k->epoll_fd);
    free(k->watches);
}

static void as_keeper(const uint8_t *data, size_t n)
{
    static struct keeper_options o = {.ops = &ops};
    struct keeper k = {.o = &o,
                       .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                       .is_engine_up = true,
                       .crew = crew,
                       .now_ms = HOUR_MS};
    struct engine_image image = {.digest = "sha256:1111"};
    int ours[2], other[2];
    struct client *c, *foreign;
    struct pool *p;
    const struct member *m;
    uint64_t theirs;

    TAILQ_INIT(&k.clients);
    TAILQ_INIT(&k.sets);
    pools_init(&k.pools, 1 << 30);
    p = pool_add(&k.pools, &policy, &image);
    p->footprint = 1 << 20;
    make_pair(ours);
    make_pair(other);
    c = clients_add(&k, ours[1]);
    foreign = clients_add(&k, other[1]);
    (void)running(&k, p, c);
    theirs = running(&k, p, foreign)->id;
    send_all(ours[0], data, n);
    (void)shutdown(ours[0], SHUT_WR);
    while (!c->is_gone)
        clients_readable(&k, c);
    m = member_find(&k.pools, theirs);
    assert(m && m->state == MEMBER_RUNNING && m->client == foreign &&
           m->deadline_ms == HOUR_MS + 1000);
    assert(p->waiting_n == 0);
    end_keeper(&k);
    (void)close(ours[0]);
    (void)close(other[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int before;

    if (!crew) {
        log_init("fuzz", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
        if (crew_new(&ops, NULL, 1, &crew, NULL) < 0)
            abort();
    }
    if (!n)
        return 0;
    before = spare_fd();
    if (data[0] & 1)
        as_front(data + 1, n - 1);
    else
        as_keeper(data + 1, n - 1);
    assert(spare_fd() == before);
    return 0;
}
