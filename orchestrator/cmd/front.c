/*
 * The front: the process that speaks HTTP. It parses bytes of strangers, so it holds no right: an
 * own user id, no capability, no new privileges, and a seccomp filter that takes the unix sockets
 * (the engine's among them) from it.
 */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/make_generator.h"
#include "cmd/place.h"
#include "core/host.h"
#include "dialects/app.h"
#include "dialects/dialects.h"
#include "dialects/executor_counts.h"
#include "dialects/slack_state.h"
#include "http/server.h"
#include "model/generate.h"
#include "slack/board.h"
#include "store/ledger.h"
#include "tools/tools.h"

enum {
    WORKSPACES_MAX = 16,
    DRAIN_STEP_MS = 20,
    HANG_UP_MS = 2000, /* for requests to end whose clients are gone */
    FILES_OWN = 256,
    FILES_CALLS = 2 * HOST_THREADS, /* what providers of host calls hold */
    FILES_EACH = 9,                 /* a connection, and its run: stream, events, calls, spools */
};

struct front {
    struct settings settings;
    char *policies_dir; /* /proc/self/fd/N: readable whatever stands above it */
    char *spool_dir;
    struct generator_files generator_files;
    struct app app;
    struct workspace *workspaces[WORKSPACES_MAX];
    struct http_server *server;
    int signal_fd;
    bool is_stopping;
    int64_t stop_ms;
};

static int load_policies(struct front *f, struct err *err)
{
    struct policy_set set = {0};

    if (policy_set_load(f->policies_dir, &set, err) < 0)
        return -1;
    core_set_policies(f->app.core, &set);
    return 0;
}

static int open_policies_dir(struct front *f, struct err *err)
{
    int fd = open(f->settings.policies_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, "open '%s'", f->settings.policies_dir);
    f->policies_dir = xasprintf("/proc/self/fd/%d", fd);
    return 0;
}

static int find_workspaces(struct front *f, struct err *err)
{
    struct policy_set set = {0};

    /* The same list, in the same order, as the monitor made when it started the porters. */
    if (policy_set_load(f->policies_dir, &set, err) < 0)
        return -1;
    f->app.workspace_paths = place_workspaces(&f->settings, &set);
    f->app.workspaces = f->workspaces;
    for (unsigned i = 0; f->app.workspace_paths[i] && i < WORKSPACES_MAX; i++) {
        uint64_t quota = 0;

        for (size_t k = 0; k < set.n; k++) {
            if (strcmp(set.list[k].workspace, f->app.workspace_paths[i]) == 0)
                quota = (uint64_t)set.list[k].workspace_quota;
        }
        f->workspaces[i] = workspace_new(CHILD_FIRST_WORKSPACE + (int)i, quota);
    }
    policy_set_done(&set);
    return 0;
}

/* Without it Slack's requests are refused, and sent again; everything else goes on. */
static void open_ledger(struct front *f, const char *dir)
{
    auto_free char *path = xasprintf("%s/slack.db", dir);
    struct err err = {0};

    if (ledger_open(path, &f->app.ledger, &err) < 0)
        log_error("%s", err.msg);
}

static int open_store(struct front *f, struct err *err)
{
    const struct settings *s = &f->settings;
    auto_free char *dir = place_path(s, "store");

    if (s->slack_enabled)
        open_ledger(f, dir);
    return store_open(
        &(struct store_options){
            .url = s->store_url,
            .dir = dir,
            .code_store = (enum store_code)s->code_store,
            .code_log = (enum store_code)s->code_log,
            .age_ms = s->history_age_ms,
            .size_max = s->history_size,
        },
        &f->app.store, err);
}

static int open_core(struct front *f, struct err *err)
{
    f->spool_dir = place_path(&f->settings, "spool");
    if (core_new(&(struct core_options){.spool_dir = f->spool_dir, .keeper_fd = CHILD_HANDOVER},
                 &f->app.core, err) < 0 ||
        load_policies(f, err) < 0 || open_store(f, err) < 0)
        return -1;
    f->app.metrics = metrics_new();
    core_add_host(f->app.core, "tool", tools_call, f->app.tools);
    core_observe(f->app.core, metrics_observe, f->app.metrics);
    core_observe(f->app.core, store_observe, f->app.store);
    metrics_add(f->app.metrics, store_metrics, f->app.store);
    f->app.executor = executor_counts_new();
    if (f->settings.slack_enabled)
        f->app.slack_board = board_map(CHILD_BOARD);
    if (f->app.slack_board)
        metrics_add(f->app.metrics, slack_metrics, &f->app);
    return 0;
}

/* What is read from files, before their owner's rights are given away. */
static int open_tools(struct front *f, struct err *err)
{
    struct tools_files files;
    const struct tools_files_options o = {
        .file = f->settings.tools_file,
        .policies_dir = f->settings.policies_dir,
        .secrets = f->settings.tools_secrets,
        .ca_file = f->settings.ca_file,
    };

    if (tools_files_open(&o, &files, err) < 0)
        return -1;
    return tools_open(&files, &f->app.tools, err);
}

static int open_generator(struct front *f, struct err *err)
{
    const struct generator_place place = {
        .core = f->app.core, .store = f->app.store, .spool_dir = f->spool_dir};

    if (make_generator(&f->settings, &f->generator_files, &place, &f->app.generator, err) < 0)
        return -1;
    metrics_add(f->app.metrics, generate_metrics, f->app.generator);
    return 0;
}

/* ---- listeners ---- */

static int listen_one(struct front *f, size_t index, struct err *err)
{
    const struct listener *l = &f->settings.listeners[index];
    const struct http_api **apis;
    size_t n = 0;

    while (l->dialects[n])
        n++;
    /* Lives as long as the process, as the listener does. */
    apis = xcalloc(n + 1, sizeof(*apis));
    for (size_t i = 0; i < n; i++) {
        apis[i] = dialect_find(l->dialects[i]);
        if (!apis[i])
            return err_set(err, ERR_INVALID, "there is no dialect '%s'", l->dialects[i]);
    }
    if (http_listen(
            f->server,
            &(struct http_listener_options){
                .address = l->address, .port = (uint16_t)l->port, .apis = apis, .app = &f->app},
            err) < 0)
        return err_wrap(err, "listen at %s:%lld", l->address, (long long)l->port);
    log_info("%s listens at %s:%u", l->dialects[0], l->address,
             (unsigned)http_listener_port(f->server, index));
    return 0;
}

static int open_listeners(struct front *f, struct err *err)
{
    const struct settings *s = &f->settings;
    struct http_limits limits = {
        .connections = (unsigned)s->connections,
        .connections_per_address = (unsigned)s->connections_per_address,
        .idle_ms = s->idle_ms,
        .header_ms = s->header_ms,
        .body_ms = s->body_ms,
        .body_max = (size_t)s->body_max,
        .body_files_max = (size_t)s->body_files_max,
        .json_tokens = (size_t)s->json_tokens,
        .memory = (size_t)s->http_memory,
        .spool_dir = f->spool_dir,
        .hosts = (const char *const *)s->hosts,
        .origins = (const char *const *)s->origins,
    };

    if (http_server_new(&limits, &f->server, err) < 0)
        return -1;
    for (size_t i = 0; i < s->listeners_n; i++) {
        if (listen_one(f, i, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the main thread: signals and the monitor ---- */

static void reload(struct front *f)
{
    struct err err = {0};

    if (load_policies(f, &err) < 0)
        log_error("the policies stay as they are: %s", err.msg);
    if (tools_reload(f->app.tools, &err) < 0)
        log_error("the tools stay as they are: %s", err.msg);
}

static void on_signals(struct front *f)
{
    struct signalfd_siginfo info;

    while (read(f->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            reload(f);
        } else if (f->is_stopping) {
            f->stop_ms = clock_ms();
        } else {
            f->is_stopping = true;
            f->stop_ms = clock_ms() + f->settings.drain_ms;
        }
    }
}

/* False: the monitor is gone, and with it this service. */
static bool on_control(struct front *f)
{
    struct control c = {0};
    int fd;
    ssize_t n = io_recv_msg(CHILD_CONTROL, &c, sizeof(c), &fd);

    if (n <= 0)
        return false;
    if (fd >= 0 && c.what == CONTROL_PEER)
        core_set_keeper(f->app.core, fd);
    else if (fd >= 0 && c.what == CONTROL_WORKSPACE && c.number < WORKSPACES_MAX &&
             f->workspaces[c.number])
        workspace_set_fd(f->workspaces[c.number], fd);
    else if (fd >= 0)
        (void)close(fd);
    return true;
}

static void serve(struct front *f)
{
    while (!f->is_stopping) {
        struct pollfd p[2] = {
            {.fd = f->signal_fd,  .events = POLLIN},
            {.fd = CHILD_CONTROL, .events = POLLIN}
        };

        (void)poll(p, 2, -1);
        if (p[0].revents)
            on_signals(f);
        if (p[1].revents && !on_control(f)) {
            f->is_stopping = true;
            f->stop_ms = clock_ms();
        }
    }
}

static bool is_idle_in_time(struct front *f)
{
    while (http_server_busy(f->server) && clock_ms() < f->stop_ms) {
        struct pollfd p = {.fd = f->signal_fd, .events = POLLIN};

        (void)poll(&p, 1, DRAIN_STEP_MS);
        on_signals(f);
    }
    return http_server_busy(f->server) == 0;
}

/*
 * Requests under way are answered, up to a limit; whoever comes later is turned away. What is not
 * over by then is cancelled rather than left: history and audit have to tell what ran.
 */
static void drain(struct front *f)
{
    http_server_quiesce(f->server);
    if (is_idle_in_time(f))
        return;
    log_warning("%u requests are cut off", http_server_busy(f->server));
    http_server_hang_up(f->server);
    f->stop_ms = clock_ms() + HANG_UP_MS;
    (void)is_idle_in_time(f);
}

static int open_signals(struct front *f, struct err *err)
{
    sigset_t set;

    child_signals();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return f->signal_fd < 0 ? err_sys(err, "signalfd") : 0;
}

static int prepare(struct front *f, const char *config, struct err *err)
{
    if (settings_load(config, &f->settings, err) < 0)
        return -1;
    settings_forget_tokens(&f->settings);
    log_init("front", f->settings.log_level, f->settings.log_format, STDERR_FILENO);
    f->app.settings = &f->settings;
    io_want_files(FILES_OWN + FILES_CALLS + FILES_EACH * (uint64_t)f->settings.connections);
    f->app.started_wall_ms = clock_wall_ms();
    if (open_signals(f, err) < 0 || open_policies_dir(f, err) < 0 || find_workspaces(f, err) < 0 ||
        generator_files_open(&f->settings, &f->generator_files, err) < 0 || open_tools(f, err) < 0)
        return -1;
    if (confine_front(f->settings.front_uid, f->settings.front_gid, &f->app.confinement, err) < 0)
        return -1;
    if (open_core(f, err) < 0 || open_generator(f, err) < 0)
        return -1;
    tools_start(f->app.tools);
    return open_listeners(f, err);
}

/*
 * Handlers that are still not over use the store: what is queued is written, then we end. Without
 * the exit handlers of libraries: threads of host calls may be in the middle of TLS.
 */
static _Noreturn void finish(struct front *f)
{
    if (http_server_busy(f->server)) {
        store_stop(f->app.store);
        _exit(0);
    }
    http_server_free(f->server);
    generator_free(f->app.generator);
    store_close(f->app.store);
    ledger_close(f->app.ledger);
    _exit(0);
}

int cmd_front(int argc, char **argv)
{
    static struct front f;
    const char *config = NULL;
    const struct arg table[] = {ARG_VALUE("--config", NULL, "FILE", &config, "settings")};
    struct err err = {0};

    if (args_read(argc, argv, table, ARRAY_LEN(table), "_front") < 0)
        return EXIT_USAGE;
    /* A thread per connection: more arenas than processors only cost memory. */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
    if (prepare(&f, config, &err) < 0) {
        log_error("%s", err.msg);
        return 1;
    }
    serve(&f);
    drain(&f);
    finish(&f);
}
