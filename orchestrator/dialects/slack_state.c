#include "dialects/slack_state.h"

#include "base/counter.h"
#include "core/metrics.h"
#include "dialects/app.h"
#include "slack/board.h"
#include "store/ledger.h"

static const char *const via_names[BOARD_VIAS] = {
    [BOARD_SOCKET] = "socket",
    [BOARD_HTTP] = "http",
};

static const char *const event_names[BOARD_EVENTS] = {
    [BOARD_TAKEN] = "taken",           [BOARD_DUPLICATE] = "duplicate", [BOARD_IGNORED] = "ignored",
    [BOARD_UNREADABLE] = "unreadable", [BOARD_UNSIGNED] = "not_signed", [BOARD_UNKEPT] = "not_kept",
};

static const char *const fault_names[BOARD_FAULTS] = {
    [BOARD_RATELIMITED] = "ratelimited", [BOARD_UNREACHABLE] = "unreachable",
    [BOARD_DENIED] = "denied",           [BOARD_REFUSED] = "refused",
    [BOARD_STRANGE] = "strange",
};

static const char *const end_names[BOARD_ENDS] = {
    [BOARD_ANSWERED] = "answered",
    [BOARD_POSTPONED] = "postponed",
    [BOARD_UNANSWERED] = "unanswered",
    [BOARD_LEFT] = "left",
};

static void put_events(struct buf *b, const struct board *o)
{
    static const char name[] = "oneshot_slack_events_total";

    metrics_family(b, name, "counter", "Events from Slack, by what became of them.");
    for (size_t v = 0; v < BOARD_VIAS; v++) {
        for (size_t i = 0; i < BOARD_EVENTS; i++)
            (void)buf_fmt(b, "%s{via=\"%s\",outcome=\"%s\"} %llu\n", name, via_names[v],
                          event_names[i], (unsigned long long)counter_get(&o->events[v][i]));
    }
}

static void put_calls(struct buf *b, const struct board *o)
{
    static const char errors[] = "oneshot_slack_api_errors_total";

    metrics_single(b, "oneshot_slack_api_calls_total", "counter",
                   "Requests sent to Slack's Web API, further tries among them.",
                   counter_get(&o->calls));
    metrics_family(b, errors, "counter", "Requests to Slack's Web API that failed.");
    for (size_t i = 0; i < BOARD_FAULTS; i++)
        metrics_labelled(b, errors, "kind", fault_names[i], counter_get(&o->faults[i]));
}

static void put_ends(struct buf *b, const struct board *o)
{
    static const char name[] = "oneshot_slack_answers_total";

    metrics_family(b, name, "counter",
                   "Requests that the bot was done with: answered, postponed because Slack was "
                   "away, never to be answered, or left for the next start.");
    for (size_t i = 0; i < BOARD_ENDS; i++)
        metrics_labelled(b, name, "end", end_names[i], counter_get(&o->ends[i]));
}

static void put_load(struct buf *b, const struct ledger_load *l)
{
    static const char name[] = "oneshot_slack_requests";

    metrics_family(b, name, "gauge",
                   "Requests that wait for work, are worked on, or are to be told that they were "
                   "interrupted or could not be delivered.");
    metrics_labelled(b, name, "state", "waiting", (uint64_t)l->waiting);
    metrics_labelled(b, name, "state", "running", (uint64_t)l->begun);
    metrics_labelled(b, name, "state", "untold", (uint64_t)l->untold);
}

static bool count(const struct app *app, struct ledger_load *ret)
{
    return app->ledger && ledger_count(app->ledger, ret, NULL) == 0;
}

void slack_metrics(struct buf *b, void *ctx)
{
    const struct app *app = ctx;
    const struct board *o = app->slack_board;
    struct ledger_load load;

    metrics_single(b, "oneshot_slack_connected_since_seconds", "gauge",
                   "When Socket Mode was connected, Unix time; 0 without a connection.",
                   counter_get(&o->connected_s));
    metrics_single(b, "oneshot_slack_connections_total", "counter",
                   "Connections of Socket Mode that were made.", counter_get(&o->connections));
    put_events(b, o);
    put_calls(b, o);
    put_ends(b, o);
    if (count(app, &load))
        put_load(b, &load);
}

void slack_put_health(struct buf *b, const struct app *app)
{
    struct ledger_load load;
    uint64_t since;

    if (!app->slack_board)
        return;
    since = counter_get(&app->slack_board->connected_s);
    (void)buf_fmt(b, ",\"slack\":{\"connected\":%s,\"connected_since\":", since ? "true" : "false");
    (void)buf_fmt(b, since ? "%llu" : "null", (unsigned long long)since);
    if (count(app, &load))
        (void)buf_fmt(b, ",\"waiting\":%lld,\"running\":%lld,\"untold\":%lld",
                      (long long)load.waiting, (long long)load.begun, (long long)load.untold);
    (void)buf_char(b, '}');
}
