#include "dialects/native_state.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "dialects/app.h"
#include "dialects/native_reply.h"
#include "dialects/slack_state.h"
#include "policy/policy.h"

enum { STATE_MAX = 4 * 1024 * 1024 };

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

static void reply_json(struct http_exchange *x, int status, struct buf *b)
{
    http_reply(x, status, "application/json", b);
}

/* ---- policies ---- */

static const char *network_name(const struct policy *p)
{
    static const char *const names[] = {
        [NETWORK_NONE] = "none",
        [NETWORK_RELAY] = "relay",
        [NETWORK_JOIN] = "join",
        [NETWORK_OPEN] = "open",
    };

    return names[p->network.kind];
}

static void put_policy(struct buf *b, const struct policy *p)
{
    (void)buf_char(b, '{');
    put_text(b, "name", p->name);
    (void)buf_char(b, ',');
    put_text(b, "description", p->description);
    (void)buf_fmt(b, ",\"hash\":\"%s\",", p->hash);
    put_text(b, "image", p->image);
    (void)buf_fmt(b,
                  ",\"timeout_default\":%.15g,\"timeout_max\":%.15g,\"memory\":%lld,"
                  "\"memory_max\":%lld,\"cpus\":%.15g,\"pids\":%lld,\"network\":\"%s\"}",
                  (double)p->time_default_ms / 1000, (double)p->time_max_ms / 1000,
                  (long long)p->memory, (long long)p->memory_max, p->cpus, (long long)p->pids,
                  network_name(p));
}

void native_policies(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    struct policy_names names = {0};
    struct buf b;

    core_policy_names(app->core, &names);
    buf_init(&b, STATE_MAX);
    (void)buf_str(&b, "{\"policies\":[");
    for (size_t i = 0; i < names.n; i++) {
        const struct policy *p = core_pin_policy(app->core, names.list[i].name);

        if (!p)
            continue; /* a reload took it away in between */
        if (b.data[b.len - 1] == '}')
            (void)buf_char(&b, ',');
        put_policy(&b, p);
        core_unpin_policy(app->core, p);
    }
    (void)buf_str(&b, "]}");
    policy_names_done(&names);
    reply_json(x, 200, &b);
}

/* ---- pools ---- */

static void put_pool(struct buf *b, const struct handover_pool *p, const char *name)
{
    uint64_t asked = p->hits + p->misses;

    (void)buf_char(b, '{');
    put_text(b, "policy", name);
    (void)buf_fmt(b,
                  ",\"parked\":%u,\"starting\":%u,\"running\":%u,\"waiting\":%u,\"removing\":%u,"
                  "\"target\":%u,\"min\":%u,\"max\":%u,\"hits\":%llu,\"misses\":%llu,"
                  "\"hit_rate\":",
                  p->parked, p->starting, p->running, p->waiting, p->removing, p->target, p->min,
                  p->max, (unsigned long long)p->hits, (unsigned long long)p->misses);
    if (asked)
        (void)buf_fmt(b, "%.4f", (double)p->hits / (double)asked);
    else
        (void)buf_str(b, "null");
    (void)buf_fmt(b,
                  ",\"started\":%llu,\"refill_per_minute\":%u,\"start_ms_p50\":%u,"
                  "\"footprint_bytes\":%llu}",
                  (unsigned long long)p->started, p->refill_per_min, p->start_ms_p50,
                  (unsigned long long)p->footprint);
}

void native_pools(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    auto_free struct handover_pool *pools = NULL;
    struct handover_counts counts;
    struct policy_names names = {0};
    struct err err = {0};
    struct buf b;
    size_t n;

    if (core_stats(app->core, &pools, &n, &counts, &err) < 0) {
        http_set_header(x, "Retry-After", "1");
        native_problem(x, 503, "%s", err.msg);
        return;
    }
    core_policy_names(app->core, &names);
    buf_init(&b, STATE_MAX);
    (void)buf_fmt(&b,
                  "{\"engine_up\":%s,\"memory_budget_bytes\":%llu,\"memory_reserved_bytes\":%llu,"
                  "\"pools\":[",
                  counts.is_engine_up ? "true" : "false", (unsigned long long)counts.budget,
                  (unsigned long long)counts.reserved);
    for (size_t i = 0; i < n; i++) {
        if (i)
            (void)buf_char(&b, ',');
        put_pool(&b, &pools[i], policy_names_find(&names, pools[i].policy));
    }
    (void)buf_str(&b, "]}");
    policy_names_done(&names);
    reply_json(x, 200, &b);
}

void native_metrics(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    auto_free struct handover_pool *pools = NULL;
    struct handover_counts counts = {0};
    struct policy_names names = {0};
    struct buf b;
    size_t n = 0;

    /* Without a keeper the runs are still worth telling. */
    bool has_keeper = core_stats(app->core, &pools, &n, &counts, NULL) == 0;

    core_policy_names(app->core, &names);
    buf_init(&b, STATE_MAX);
    metrics_render(
        app->metrics, &b,
        &(struct metrics_pools){
            .pools = pools, .n = n, .counts = has_keeper ? &counts : NULL, .names = &names});
    policy_names_done(&names);
    http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

/* ---- health ---- */

static const char *not_promised(enum network_kind kind)
{
    return kind == NETWORK_OPEN
               ? "programs reach the internet, private networks, metadata services, the host's own "
                 "addresses but its loopback, and each other; nothing of it is counted or logged"
               : "programs reach whatever that network reaches, the host's own addresses but its "
                 "loopback among them, and each other; nothing of it is counted or logged";
}

/* Policies whose programs have a network that this service does not watch. */
static void put_networks(struct buf *b, const struct app *app)
{
    struct policy_names names = {0};
    const char *separator = "";

    core_policy_names(app->core, &names);
    (void)buf_str(b, ",\"unwatched_networks\":[");
    for (size_t i = 0; i < names.n; i++) {
        const struct policy *p = core_pin_policy(app->core, names.list[i].name);

        if (p && (p->network.kind == NETWORK_OPEN || p->network.kind == NETWORK_JOIN)) {
            (void)buf_fmt(b, "%s{", separator);
            put_text(b, "policy", p->name);
            (void)buf_char(b, ',');
            put_text(b, "network", network_name(p));
            (void)buf_char(b, ',');
            put_text(b, "not_promised", not_promised(p->network.kind));
            (void)buf_char(b, '}');
            separator = ",";
        }
        core_unpin_policy(app->core, p);
    }
    (void)buf_char(b, ']');
    policy_names_done(&names);
}

void native_health(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    auto_free struct handover_pool *pools = NULL;
    struct handover_counts counts = {0};
    struct buf b;
    size_t n;

    (void)!core_stats(app->core, &pools, &n, &counts, NULL);
    buf_init(&b, STATE_MAX);
    (void)buf_fmt(&b,
                  "{\"status\":\"ok\",\"version\":\"%s\",\"uptime_s\":%lld,\"keeper\":%s,"
                  "\"engine\":%s,\"front\":{\"confined_by\":\"%s\"},\"not_enforced\":",
                  ONESHOT_VERSION, (long long)((clock_wall_ms() - app->started_wall_ms) / 1000),
                  core_has_keeper(app->core) ? "true" : "false",
                  counts.is_engine_up ? "true" : "false", app->confinement);
    native_put_lacks(&b, counts.lacks);
    put_networks(&b, app);
    slack_put_health(&b, app);
    (void)buf_char(&b, '}');
    reply_json(x, 200, &b);
}

/* Ready: the engine answers, and a container is parked unless no policy parks any. */
void native_ready(struct http_exchange *x, void *ctx)
{
    const struct app *app = ctx;
    auto_free struct handover_pool *pools = NULL;
    struct handover_counts counts;
    struct err err = {0};
    unsigned parked = 0, wanted = 0;
    struct buf b;
    size_t n;

    if (core_stats(app->core, &pools, &n, &counts, &err) < 0)
        (void)err_wrap(&err, "no keeper");
    else if (!counts.is_engine_up)
        (void)err_set(&err, ERR_BUSY, "the container engine does not answer");
    for (size_t i = 0; err.kind == ERR_NONE && i < n; i++) {
        parked += pools[i].parked + pools[i].running;
        wanted += pools[i].target;
    }
    if (err.kind == ERR_NONE && wanted && !parked)
        (void)err_set(&err, ERR_BUSY, "no container is parked yet");
    if (err.kind != ERR_NONE) {
        http_set_header(x, "Retry-After", "1");
        native_problem(x, 503, "%s", err.msg);
        return;
    }
    buf_init(&b, STATE_MAX);
    (void)buf_fmt(&b, "{\"status\":\"ready\",\"parked\":%u}", parked);
    reply_json(x, 200, &b);
}
