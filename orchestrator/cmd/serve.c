/*
 * The monitor: a small process that holds the lock of the state directory (an older instance of
 * that name is therefore dead), starts keeper, front and porters, and restarts whichever dies. It
 * reads no request and makes no engine call. Without an engine there is no keeper: the front finds
 * a closed pair where it would be.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/place.h"
#include "dialects/dialects.h"
#include "slack/board.h"

enum {
    PORTERS_MAX = 16,
    RESTART_FIRST_MS = 50,
    RESTART_LAST_MS = 5000,
    STEADY_MS = 10000, /* a process that lived so long starts again at once */
    STOP_SPARE_MS = 15000,
};

struct child {
    const char *name; /* hidden subcommand */
    pid_t pid;        /* 0: not running */
    int control;      /* our end; -1 */
    int64_t began_ms, restart_ms;
    unsigned fails;
};

struct monitor {
    struct settings settings;
    const char *config;
    char **workspaces;
    unsigned porters_n;
    struct child keeper, front, slack, porters[PORTERS_MAX];
    int signal_fd, lock_fd, board_fd;
    struct board *board;
    bool has_engine, is_stopping, is_hurried;
    int64_t kill_ms;
};

static int start(struct monitor *m, struct child *c, char *const argv[], const int *fds, size_t n)
{
    struct err err = {0};

    (void)m;
    c->began_ms = clock_ms();
    if (child_start(argv, fds, n, &c->pid, &err) == 0)
        return 0;
    log_error("%s", err.msg);
    c->pid = 0;
    return -1;
}

static void fill_args(const struct monitor *m, char **argv, char *name, char *flag, char *config)
{
    size_t n = 0;

    argv[n++] = name;
    if (m->config) {
        argv[n++] = flag;
        argv[n++] = config;
    }
    argv[n] = NULL;
}

/* Starts one of the two with a fresh control pair and `handover` as its end of the other pair. */
static int start_with(struct monitor *m, struct child *c, const int *rest, size_t rest_n)
{
    auto_free char *name = xstrdup(c->name), *config = xstrdup(m->config);
    char flag[] = "--config", *argv[4];
    int pair[2], fds[3 + PORTERS_MAX], rc;

    if (child_pair(pair, NULL) < 0)
        return -1;
    if (c->control >= 0)
        (void)close(c->control);
    c->control = pair[0];
    fds[0] = pair[1];
    for (size_t i = 0; i < rest_n; i++)
        fds[1 + i] = rest[i];
    fill_args(m, argv, name, flag, config);
    rc = start(m, c, argv, fds, 1 + rest_n);
    (void)close(pair[1]);
    return rc;
}

/* Whether requests come over HTTP is told by a flag: the secret that says it is the front's. */
static void start_slack(struct monitor *m)
{
    auto_free char *config = xstrdup(m->config);
    char name[] = "_slack", flag[] = "--config", fed[] = "--fed", *argv[5];
    size_t n = 0;
    int pair[2], fds[2];

    if (child_pair(pair, NULL) < 0)
        return;
    fds[0] = pair[1];
    fds[1] = m->board_fd;
    fill_args(m, argv, name, flag, config);
    while (argv[n])
        n++;
    if (m->settings.slack_signing_secret[0])
        argv[n++] = fed;
    argv[n] = NULL;
    if (m->slack.control >= 0)
        (void)close(m->slack.control);
    m->slack.control = pair[0];
    (void)start(m, &m->slack, argv, fds, ARRAY_LEN(fds));
    (void)close(pair[1]);
}

static int start_porter(struct monitor *m, unsigned i, int fd)
{
    char name[] = "_porter";
    char *argv[] = {name, m->workspaces[i], NULL};

    return start(m, &m->porters[i], argv, &fd, 1);
}

static void close_list(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)close(fds[i]);
}

/* The front comes with new pairs to every porter: the old porters end with the old front. */
static int start_front(struct monitor *m, int handover)
{
    int rest[2 + PORTERS_MAX];
    size_t n = 0;
    int rc;

    rest[n++] = handover;
    rest[n++] = m->board_fd;
    for (unsigned i = 0; i < m->porters_n; i++) {
        int pair[2];

        if (child_pair(pair, NULL) < 0)
            break;
        (void)start_porter(m, i, pair[1]);
        (void)close(pair[1]);
        rest[n++] = pair[0];
    }
    rc = start_with(m, &m->front, rest, n);
    close_list(rest + 2, n - 2);
    return rc;
}

static void send_peer(const struct child *to, int fd)
{
    const struct control c = {.what = CONTROL_PEER};

    if (to->pid && to->control >= 0 && io_send_msg(to->control, &c, sizeof(c), fd) < 0)
        log_warning("%s does not take its new peer", to->name);
}

static void start_pair(struct monitor *m)
{
    int pair[2];

    if (child_pair(pair, NULL) < 0)
        return;
    if (m->has_engine)
        (void)start_with(m, &m->keeper, &pair[0], 1);
    (void)start_front(m, pair[1]);
    close_list(pair, 2);
}

static void restart(struct monitor *m, struct child *c)
{
    int pair[2];

    if (child_pair(pair, NULL) < 0)
        return;
    log_info("starting %s again", c->name + 1);
    if (c == &m->keeper) {
        if (start_with(m, c, &pair[0], 1) == 0)
            send_peer(&m->front, pair[1]);
    } else if (start_front(m, pair[1]) == 0) {
        send_peer(&m->keeper, pair[0]);
    }
    close_list(pair, 2);
}

static void restart_porter(struct monitor *m, unsigned i)
{
    const struct control c = {.what = CONTROL_WORKSPACE, .number = (unsigned char)i};
    int pair[2];

    if (!m->front.pid || child_pair(pair, NULL) < 0)
        return;
    if (start_porter(m, i, pair[1]) == 0)
        (void)io_send_msg(m->front.control, &c, sizeof(c), pair[0]);
    close_list(pair, 2);
}

/* ---- deaths ---- */

static void plan_restart(struct child *c, int64_t now)
{
    int64_t wait = 0;

    if (now - c->began_ms > STEADY_MS)
        c->fails = 0;
    else
        wait = RESTART_FIRST_MS;
    for (unsigned i = 0; i < c->fails && wait < RESTART_LAST_MS; i++)
        wait *= 2;
    c->fails++;
    c->restart_ms = now + (wait < RESTART_LAST_MS ? wait : RESTART_LAST_MS);
}

static void died(struct monitor *m, struct child *c, int status)
{
    c->pid = 0;
    if (c == &m->slack && m->board) /* which itself may have had no time to say so */
        atomic_store(&m->board->connected_s, 0);
    if (c->control >= 0)
        (void)close(c->control);
    c->control = -1;
    plan_restart(c, clock_ms());
    if (m->is_stopping && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (WIFSIGNALED(status))
        log_error("%s was ended by signal %d", c->name + 1, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        log_error("%s ended with status %d", c->name + 1, WEXITSTATUS(status));
}

static void reap(struct monitor *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->keeper.pid)
            died(m, &m->keeper, status);
        else if (pid == m->front.pid)
            died(m, &m->front, status);
        else if (pid == m->slack.pid)
            died(m, &m->slack, status);
        for (unsigned i = 0; i < m->porters_n; i++) {
            if (pid == m->porters[i].pid)
                died(m, &m->porters[i], status);
        }
    }
}

static void restart_due(struct monitor *m)
{
    int64_t now = clock_ms();

    if (m->has_engine && !m->keeper.pid && m->keeper.restart_ms <= now)
        restart(m, &m->keeper);
    if (!m->front.pid && m->front.restart_ms <= now)
        restart(m, &m->front);
    if (m->settings.slack_enabled && !m->slack.pid && m->slack.restart_ms <= now)
        start_slack(m);
    for (unsigned i = 0; i < m->porters_n; i++) {
        if (!m->porters[i].pid && m->porters[i].restart_ms <= now)
            restart_porter(m, i);
    }
}

/* ---- stopping: the front first, so that the keeper is there for what still runs ---- */

static void tell(const struct child *c, int sig)
{
    if (c->pid > 0)
        (void)kill(c->pid, sig);
}

static void stop(struct monitor *m)
{
    if (m->is_stopping) {
        log_info("stopping at once");
        /* To them a second signal, of whatever kind; a SIGTERM could be lost in a pending one. */
        tell(&m->front, SIGINT);
        tell(&m->keeper, SIGINT);
        tell(&m->slack, SIGINT);
        m->is_hurried = true;
        return;
    }
    log_info("stopping");
    m->is_stopping = true;
    m->kill_ms = clock_ms() + m->settings.drain_ms + STOP_SPARE_MS;
    tell(m->front.pid ? &m->front : &m->keeper, SIGTERM);
    tell(&m->slack, SIGTERM);
}

static bool is_over(struct monitor *m)
{
    if (!m->is_stopping)
        return false;
    if (clock_ms() > m->kill_ms) {
        tell(&m->front, SIGKILL);
        tell(&m->keeper, SIGKILL);
        tell(&m->slack, SIGKILL);
    }
    return !m->front.pid && !m->keeper.pid && !m->slack.pid;
}

static void on_signal(struct monitor *m)
{
    struct signalfd_siginfo info;

    while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        bool front_ran = m->front.pid > 0;

        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            stop(m);
        if (info.ssi_signo == SIGHUP) {
            tell(&m->keeper, SIGHUP);
            tell(&m->front, SIGHUP);
        }
        reap(m);
        if (m->is_stopping && front_ran && !m->front.pid)
            tell(&m->keeper, SIGTERM);
    }
}

static bool is_complete(const struct monitor *m)
{
    for (unsigned i = 0; i < m->porters_n; i++) {
        if (!m->porters[i].pid)
            return false;
    }
    return (m->keeper.pid || !m->has_engine) && m->front.pid &&
           (m->slack.pid || !m->settings.slack_enabled);
}

static void run(struct monitor *m)
{
    start_pair(m);
    while (!is_over(m)) {
        struct pollfd p = {.fd = m->signal_fd, .events = POLLIN};

        (void)poll(&p, 1, is_complete(m) ? 1000 : RESTART_FIRST_MS);
        on_signal(m);
        if (!m->is_stopping)
            restart_due(m);
    }
    for (unsigned i = 0; i < m->porters_n; i++)
        tell(&m->porters[i], SIGTERM);
}

static int open_signals(struct monitor *m)
{
    sigset_t set;

    child_signals();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signal_fd < 0 ? -1 : 0;
}

static int check_slack(const struct settings *s, struct err *err)
{
    if (!s->slack_enabled)
        return 0;
    if (!s->slack_bot_token[0])
        return err_set(
            err, ERR_INVALID,
            "slack.enabled (ENABLE_SLACK): slack.bot_token (SLACK_BOT_TOKEN) is not set");
    if (!s->slack_app_token[0] && !s->slack_signing_secret[0])
        return err_set(err, ERR_INVALID,
                       "slack.enabled (ENABLE_SLACK): set slack.app_token (SLACK_APP_TOKEN) for "
                       "Socket Mode or slack.signing_secret (SLACK_SIGNING_SECRET) for HTTP");
    return 0;
}

/* Settings and policies are read here only to refuse what is wrong before anything is started. */
static int prepare(struct monitor *m, struct err *err)
{
    struct policy_set set = {0};

    if (settings_load(m->config, &m->settings, err) < 0 || dialects_check(&m->settings, err) < 0 ||
        check_slack(&m->settings, err) < 0)
        return -1;
    m->has_engine = settings_has_engine(&m->settings);
    log_init("monitor", m->settings.log_level, m->settings.log_format, STDERR_FILENO);
    if (policy_set_load(m->settings.policies_dir, &set, err) < 0)
        return -1;
    m->workspaces = place_workspaces(&m->settings, &set);
    policy_set_done(&set);
    while (m->workspaces[m->porters_n])
        m->porters_n++;
    if (m->porters_n > PORTERS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d workspaces", PORTERS_MAX);
    if (place_prepare(&m->settings, err) < 0 || place_lock(&m->settings, &m->lock_fd, err) < 0 ||
        board_make(&m->board_fd, err) < 0)
        return -1;
    if (setenv("ONESHOT_INSTANCE", m->settings.instance, 1) < 0 || open_signals(m) < 0)
        return err_sys(err, "prepare");
    m->board = board_map(m->board_fd);
    return 0;
}

static int write_pid(const struct monitor *m)
{
    auto_free char *path = place_path(&m->settings, "oneshot.pid");
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    return fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0 ? -1 : 0;
}

int cmd_serve(int argc, char **argv)
{
    struct monitor m = {
        .lock_fd = -1,
        .board_fd = -1,
        .keeper = {.name = "_keeper", .control = -1},
        .front = {.name = "_front",  .control = -1},
        .slack = {.name = "_slack",  .control = -1},
    };
    const struct arg table[] = {
        ARG_VALUE("--config", "-c", "FILE", &m.config,
                  "settings (default: ./oneshot.yaml, /etc/oneshot/oneshot.yaml, built in)"),
    };
    struct err err = {0};
    int n = args_read_options(argc, argv, table, ARRAY_LEN(table), "serve [--config FILE]");

    if (n)
        return n == -2 ? 0 : EXIT_USAGE;
    for (unsigned i = 0; i < PORTERS_MAX; i++)
        m.porters[i] = (struct child){.name = "_porter", .control = -1};
    if (prepare(&m, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        return err.kind == ERR_BUSY ? EXIT_UNAVAILABLE : EXIT_USAGE;
    }
    if (write_pid(&m) < 0)
        log_warning("cannot write the process id below '%s'", m.settings.state_dir);
    /* Our environment holds the secrets of every child; one that is taken over runs as our user where
     * we are not root, and may not read them here. */
    (void)prctl(PR_SET_DUMPABLE, 0);
    run(&m);
    log_info("stopped");
    place_free_list(m.workspaces);
    settings_done(&m.settings);
    return 0;
}
