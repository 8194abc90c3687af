/*
 * The Slack bot as a process: on its own (`oneshot slack`), or as a child of the service. Only it
 * has Slack's tokens, and it parses nothing but what Slack and the generator say.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/confine.h"
#include "cmd/place.h"
#include "policy/settings.h"
#include "slack/board.h"
#include "slack/bot.h"

enum { CA_MAX = 4 * 1024 * 1024, DRAIN_STEP_MS = 50 };

struct slack {
    struct settings settings;
    char *ca_pem, *ledger_path, *spool_dir, *generator_url;
    bool is_child, is_fed;
    int signal_fd, lock_fd;
    struct bot *bot;
};

/* ---- where the generator is ---- */

static bool speaks_generator(const struct listener *l)
{
    for (size_t i = 0; l->dialects[i]; i++) {
        if (strcmp(l->dialects[i], "generator") == 0)
            return true;
    }
    return false;
}

/* An address that stands for all of the machine's is no place to connect to. */
static char *listener_url(const struct listener *l)
{
    const char *host = l->address;

    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    return xasprintf(strchr(host, ':') ? "http://[%s]:%lld" : "http://%s:%lld", host,
                     (long long)l->port);
}

static int find_generator(struct slack *s, struct err *err)
{
    const struct settings *o = &s->settings;

    if (o->slack_generator_url[0]) {
        s->generator_url = xstrdup(o->slack_generator_url);
        for (size_t n = strlen(s->generator_url); n && s->generator_url[n - 1] == '/';)
            s->generator_url[--n] = '\0';
        return 0;
    }
    for (size_t i = 0; i < o->listeners_n; i++) {
        if (speaks_generator(&o->listeners[i]) && o->listeners[i].port) {
            s->generator_url = listener_url(&o->listeners[i]);
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "no listener with a fixed port speaks generator: set CODE_GENERATOR_URL");
}

/* ---- starting ---- */

static int open_signals(struct slack *s, struct err *err)
{
    sigset_t set;

    child_signals();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd < 0 ? err_sys(err, "signalfd") : 0;
}

/* Two bots at one ledger would answer twice and call each other's work interrupted. */
static int lock(struct slack *s, struct err *err)
{
    auto_free char *path = place_path(&s->settings, "slack.lock");

    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(err, "open '%s'", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_BUSY, "another bot works with '%s'", s->settings.state_dir);
    return 0;
}

static int check(const struct slack *s, struct err *err)
{
    const struct settings *o = &s->settings;

    if (!o->slack_bot_token[0])
        return err_set(err, ERR_INVALID, "slack.bot_token (SLACK_BOT_TOKEN) is not set");
    if (!o->slack_app_token[0] && !s->is_fed)
        return err_set(
            err, ERR_INVALID,
            "slack.app_token (SLACK_APP_TOKEN) is not set: without it requests come over "
            "HTTP only, to `oneshot serve`");
    return 0;
}

static int open_files(struct slack *s, struct err *err)
{
    size_t n;

    s->ledger_path = place_path(&s->settings, "store/slack.db");
    s->spool_dir = place_path(&s->settings, "spool");
    if (s->settings.ca_file[0] &&
        io_read_file(s->settings.ca_file, CA_MAX, &s->ca_pem, &n, err) < 0)
        return err_wrap(err, "model.ca_file");
    return 0;
}

static int start_bot(struct slack *s, struct err *err)
{
    const struct settings *o = &s->settings;

    if (!o->slack_channel[0])
        log_warning("slack: SLACK_DEFAULT_CHANNEL is not set: only direct messages count");
    return bot_start(
        &(struct bot_options){
            .api_url = o->slack_api_url,
            .bot_token = o->slack_bot_token,
            .app_token = o->slack_app_token,
            .generator_url = s->generator_url,
            .ca_pem = s->ca_pem,
            .ledger_path = s->ledger_path,
            .spool_dir = s->spool_dir,
            .channel = o->slack_channel,
            .users = (const char *const *)o->slack_users,
            .daily_budget = o->slack_daily_budget,
            .timeout_ms = o->slack_timeout_ms,
            .debug_timeout_ms = o->slack_debug_timeout_ms,
            .patience_ms = o->slack_patience_ms,
            .workers = o->slack_workers,
            .queue_max = o->slack_queue,
            .ping_ms = o->slack_ping_ms,
            .is_fed = s->is_fed,
            .board = s->is_child ? board_map(CHILD_SLACK_BOARD) : NULL,
        },
        &s->bot, err);
}

static int prepare(struct slack *s, const char *config, struct err *err)
{
    const char *by;

    if (settings_load(config, &s->settings, err) < 0)
        return -1;
    log_init("slack", s->settings.log_level, s->settings.log_format, STDERR_FILENO);
    if (open_signals(s, err) < 0 || check(s, err) < 0 || find_generator(s, err) < 0)
        return -1;
    if (!s->is_child && place_prepare(&s->settings, err) < 0)
        return -1;
    if (lock(s, err) < 0 || open_files(s, err) < 0)
        return -1;
    if (confine_front(s->settings.front_uid, s->settings.front_gid, &by, err) < 0)
        return -1;
    return start_bot(s, err);
}

/* ---- running ---- */

/* How many signals to end came. */
static unsigned read_signals(const struct slack *s)
{
    struct signalfd_siginfo info;
    unsigned n = 0;

    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        n += info.ssi_signo != SIGHUP;
    return n;
}

/* Until a signal, or until the monitor is gone. */
static void wait_for_end(const struct slack *s)
{
    struct control c;
    int fd;

    for (;;) {
        struct pollfd p[2] = {
            {.fd = s->signal_fd,                     .events = POLLIN},
            {.fd = s->is_child ? CHILD_CONTROL : -1, .events = POLLIN}
        };

        (void)poll(p, 2, -1);
        if (read_signals(s))
            return;
        if (p[1].revents && io_recv_msg(CHILD_CONTROL, &c, sizeof(c), &fd) <= 0)
            return;
    }
}

static void drain(const struct slack *s)
{
    int64_t until = clock_ms() + s->settings.drain_ms;

    bot_quiesce(s->bot);
    while (bot_busy(s->bot) && clock_ms() < until) {
        struct pollfd p = {.fd = s->signal_fd, .events = POLLIN};

        (void)poll(&p, 1, DRAIN_STEP_MS);
        if (read_signals(s))
            return;
    }
}

static void release(struct slack *s)
{
    bot_free(s->bot);
    settings_done(&s->settings);
    free(s->ca_pem);
    free(s->ledger_path);
    free(s->spool_dir);
    free(s->generator_url);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
}

static int run(struct slack *s, const char *config)
{
    struct err err = {0};

    if (prepare(s, config, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        release(s);
        return err.kind == ERR_BUSY ? EXIT_UNAVAILABLE : EXIT_USAGE;
    }
    wait_for_end(s);
    drain(s);
    release(s);
    return 0;
}

int cmd_slack(int argc, char **argv)
{
    struct slack s = {.signal_fd = -1, .lock_fd = -1};
    const char *config = NULL;
    const struct arg table[] = {ARG_VALUE("--config", "-c", "FILE", &config, "settings")};
    int n = args_read_options(argc, argv, table, ARRAY_LEN(table), "slack [--config FILE]");

    if (n)
        return n == -2 ? 0 : EXIT_USAGE;
    return run(&s, config);
}

int cmd_slack_child(int argc, char **argv)
{
    struct slack s = {.signal_fd = -1, .lock_fd = -1, .is_child = true};
    const char *config = NULL;
    const struct arg table[] = {
        ARG_VALUE("--config", NULL, "FILE", &config, "settings"),
        ARG_FLAG("--fed", NULL, &s.is_fed, "requests come over HTTP, too"),
    };

    if (args_read(argc, argv, table, ARRAY_LEN(table), "_slack") < 0)
        return EXIT_USAGE;
    return run(&s, config);
}
