/*
 * The keeper's loop: one thread waits for the front, the monitor, the crew, parked streams and
 * time, and owns all state. Nothing in it blocks: engine calls are the crew's, sends do not wait.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "keeper/state.h"
#include "keeper/upkeep.h"

enum { EVENTS_PER_TURN = 64, STOP_SPARE_MS = 10000, CREW_SPARE = 2 };

int loop_watch(struct keeper *k, int fd, enum watch_kind kind, void *ptr, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data = {.fd = fd}};
    size_t slot = (size_t)fd;

    if (slot >= k->watches_n) {
        size_t n = slot + 64;

        k->watches = xarray(k->watches, n, sizeof(*k->watches));
        memset(k->watches + k->watches_n, 0, (n - k->watches_n) * sizeof(*k->watches));
        k->watches_n = n;
    }
    /* It was grown above, which the analyzer does not see. NOLINTNEXTLINE(*-security.ArrayBound) */
    k->watches[slot] = (struct watch){.kind = kind, .ptr = ptr};
    return epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

void loop_unwatch(struct keeper *k, int fd)
{
    k->watches[fd].ptr = NULL;
    (void)epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- stopping ---- */

static void stop(struct keeper *k, bool hurried)
{
    struct pool *p;
    struct member *m, *next;

    if (!k->is_stopping) {
        k->is_stopping = true;
        k->stop_ms = k->now_ms + k->o->settings->drain_ms;
        TAILQ_FOREACH (p, &k->pools.list, link)
            line_refuse_all(p, REFUSE_STOPPING, 1000);
    }
    if (hurried)
        k->stop_ms = k->now_ms;
    for (m = TAILQ_FIRST(&k->pools.members); m; m = next) {
        next = TAILQ_NEXT(m, in_all);
        if (k->stop_ms <= k->now_ms || m->state != MEMBER_RUNNING)
            life_discard(k, m, DISCARD_STOP);
    }
}

static bool is_over(const struct keeper *k)
{
    if (!k->is_stopping)
        return false;
    if (TAILQ_EMPTY(&k->pools.members))
        return true;
    if (k->now_ms < k->stop_ms + STOP_SPARE_MS)
        return false;
    log_error("containers are left behind: the engine did not remove them in time");
    return true;
}

/* ---- events ---- */

static void on_signal(struct keeper *k)
{
    struct signalfd_siginfo info;
    struct err err = {0};

    while (read(k->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGHUP) {
            stop(k, k->is_stopping);
            continue;
        }
        if (upkeep_load(k, &err) < 0)
            log_error("the policies stay as they are: %s", err.msg);
        else
            log_info("policies were read again");
    }
}

static void on_control(struct keeper *k)
{
    int fd;
    char message[8];
    ssize_t n = io_recv_msg(k->o->control_fd, message, sizeof(message), &fd);

    if (n > 0) {
        /* Without a descriptor there was none left to take it with. */
        if (fd >= 0)
            (void)clients_add(k, fd);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    /* The monitor is gone, and with it the front: nobody will ever ask again. */
    loop_unwatch(k, k->o->control_fd);
    stop(k, true);
}

static void on_crew(struct keeper *k)
{
    struct task *t;

    while ((t = crew_take(k->crew))) {
        if (t->kind == TASK_IMAGE)
            upkeep_image_done(k, t);
        else if (t->kind == TASK_LIST)
            upkeep_list_done(k, t);
        else if (t->kind == TASK_PING)
            upkeep_ping_done(k, t);
        else
            life_task_done(k, t);
        task_free(t);
    }
}

static void on_events(struct keeper *k)
{
    struct watch_note n;
    struct member *m;

    while (read(k->events_fd, &n, sizeof(n)) == (ssize_t)sizeof(n)) {
        TAILQ_FOREACH (m, &k->pools.members, in_all) {
            if (strcmp(m->container, n.container) == 0)
                m->is_oom = n.is_oom;
        }
    }
}

static void dispatch(struct keeper *k, const struct epoll_event *ev)
{
    const struct watch w = k->watches[ev->data.fd];

    if (!w.ptr)
        return; /* unwatched by an earlier event of this turn */
    switch (w.kind) {
    case WATCH_SIGNAL:
        on_signal(k);
        return;
    case WATCH_CONTROL:
        on_control(k);
        return;
    case WATCH_LISTEN:
        (void)clients_accept(k);
        return;
    case WATCH_CREW:
        on_crew(k);
        return;
    case WATCH_EVENTS:
        on_events(k);
        return;
    case WATCH_CLIENT:
        clients_readable(k, w.ptr);
        return;
    case WATCH_MEMBER:
        life_readable(k, w.ptr, ev->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
        return;
    }
}

static void turn(struct keeper *k)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int64_t life = life_next_ms(k), upkeep = upkeep_next_ms(k);
    int n = epoll_wait(k->epoll_fd, events, EVENTS_PER_TURN,
                       clock_left_ms(life < upkeep ? life : upkeep));

    k->now_ms = clock_ms();
    for (int i = 0; i < n; i++)
        dispatch(k, &events[i]);
    clients_reap(k);
    life_deadlines(k);
    upkeep_due(k);
    life_end_quiet(k);
    life_start_due(k);
    life_destroy_due(k);
    if (k->is_stopping && k->now_ms >= k->stop_ms)
        stop(k, true);
}

/* ---- setting up ---- */

char *keeper_socket_path(const struct settings *s)
{
    return xasprintf("%s/keeper.sock", s->state_dir);
}

static int listen_at(struct keeper *k, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    mode_t old;
    int rc;

    if (!k->o->listen_path)
        return 0;
    if (str_copy(at.sun_path, k->o->listen_path, sizeof(at.sun_path)) >= sizeof(at.sun_path))
        return err_set(err, ERR_INVALID, "'%s' is too long for a socket", k->o->listen_path);
    k->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (k->listen_fd < 0)
        return err_sys(err, "socket");
    (void)unlink(at.sun_path);
    old = umask(0177);
    rc = bind(k->listen_fd, (const struct sockaddr *)&at, sizeof(at));
    (void)umask(old);
    if (rc < 0 || listen(k->listen_fd, 16) < 0)
        return err_sys(err, "listen at '%s'", at.sun_path);
    return loop_watch(k, k->listen_fd, WATCH_LISTEN, k, EPOLLIN);
}

static unsigned cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : (unsigned)n;
}

static uint64_t budget_of(const struct settings *s)
{
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t least = 1ULL << 30;

    if (s->pool_memory)
        return (uint64_t)s->pool_memory;
    return ram / 10 > least ? ram / 10 : least;
}

static int open_all(struct keeper *k, struct err *err)
{
    const struct settings *s = k->o->settings;
    sigset_t set;

    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (k->epoll_fd < 0 || k->signal_fd < 0)
        return err_sys(err, "epoll");
    k->starts_max = s->parallel_starts ? (unsigned)s->parallel_starts : 2 * cpus();
    k->destroys_max = (k->starts_max + 1) / 2;
    if (crew_new(k->o->ops, k->o->engine, k->starts_max + k->destroys_max + CREW_SPARE, &k->crew,
                 err) < 0)
        return -1;
    if (io_set_nonblocking(k->o->control_fd, true) < 0 ||
        loop_watch(k, k->signal_fd, WATCH_SIGNAL, k, EPOLLIN) < 0 ||
        loop_watch(k, k->o->control_fd, WATCH_CONTROL, k, EPOLLIN) < 0 ||
        loop_watch(k, crew_fd(k->crew), WATCH_CREW, k, EPOLLIN) < 0)
        return err_sys(err, "epoll");
    if (!clients_add(k, k->o->first_client_fd))
        return err_set(err, ERR_INTERNAL, "no client");
    if (watch_start(k, err) < 0 || listen_at(k, err) < 0)
        return -1;
    return 0;
}

static void close_all(struct keeper *k)
{
    struct set_node *node;
    struct client *c;

    TAILQ_FOREACH (c, &k->clients, link)
        clients_drop(k, c);
    clients_reap(k);
    crew_free(k->crew);
    pools_done(&k->pools);
    while ((node = TAILQ_FIRST(&k->sets))) {
        TAILQ_REMOVE(&k->sets, node, link);
        policy_set_done(&node->set);
        free(node);
    }
    if (k->listen_fd >= 0) {
        (void)unlink(k->o->listen_path);
        (void)close(k->listen_fd);
    }
    if (k->signal_fd >= 0)
        (void)close(k->signal_fd);
    if (k->epoll_fd >= 0)
        (void)close(k->epoll_fd);
    free(k->watches);
    free(k->left);
    /* The event thread may be inside the engine's client until the process ends. */
    if (!k->is_watching_events)
        k->o->ops->close(k->o->engine);
}

int keeper_run(const struct keeper_options *o, struct err *err)
{
    struct keeper k = {.o = o,
                       .epoll_fd = -1,
                       .signal_fd = -1,
                       .listen_fd = -1,
                       .events_fd = -1,
                       .is_engine_up = true,
                       .containers_max = (unsigned)o->settings->containers_max,
                       .quiet_until_ms = INT64_MIN,
                       .now_ms = clock_ms()};
    int rc = -1;

    TAILQ_INIT(&k.sets);
    TAILQ_INIT(&k.clients);
    (void)snprintf(k.epoch, sizeof(k.epoch), "%016llx", (unsigned long long)random_u64());
    pools_init(&k.pools, o->on_demand ? 0 : budget_of(o->settings));
    if (open_all(&k, err) == 0 && upkeep_load(&k, err) == 0) {
        log_info("epoch %s, %u starts at a time, %llu MiB for parked containers", k.epoch,
                 k.starts_max, (unsigned long long)(k.pools.budget >> 20));
        while (!is_over(&k))
            turn(&k);
        rc = 0;
    }
    close_all(&k);
    return rc;
}
