/* `oneshot ps`: the pools as the service's keeper counts them, the containers as the engine does. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/connect.h"
#include "core/core.h"
#include "engine/engine.h"
#include "policy/policy.h"

enum { JSON_MAX = 16 * 1024 * 1024 };

struct view {
    struct settings settings;
    struct policy_set set;
    struct handover_pool *pools;
    size_t pools_n;
    struct handover_counts counts;
    bool has_service;
    struct engine_container *containers;
    size_t containers_n;
};

static const char *policy_name(const struct view *v, uint64_t key)
{
    const struct policy *p = policy_find_key(&v->set, key);

    return p ? p->name : "(older)";
}

static int ask_service(struct view *v, struct err *err)
{
    struct connection c;
    struct core *core;
    int rc;

    if (connect_service(&v->settings, &c, err) < 0)
        return -1;
    if (core_new(&(struct core_options){.spool_dir = "/tmp", .keeper_fd = c.fd}, &core, err) < 0)
        return -1;
    rc = core_stats(core, &v->pools, &v->pools_n, &v->counts, err);
    core_free(core);
    return rc;
}

static int ask_engine(struct view *v, struct err *err)
{
    struct engine *engine;
    int rc;

    if (docker_open(v->settings.engine_host, &engine, err) < 0)
        return -1;
    rc = docker_ops.list(engine, &v->containers, &v->containers_n, err);
    docker_ops.close(engine);
    return rc;
}

static void print_pools(const struct view *v)
{
    (void)printf("%-14s %6s %8s %7s %7s %8s %8s %6s %9s\n", "POLICY", "PARKED", "STARTING",
                 "RUNNING", "WAITING", "WARM", "COLD", "START", "FOOTPRINT");
    for (size_t i = 0; i < v->pools_n; i++) {
        const struct handover_pool *p = &v->pools[i];

        (void)printf("%-14s %3u/%-2u %8u %7u %7u %8llu %8llu %4ums %6lluMiB\n",
                     policy_name(v, p->policy), p->parked, p->target, p->starting, p->running,
                     p->waiting, (unsigned long long)p->hits, (unsigned long long)p->misses,
                     p->start_ms_p50, (unsigned long long)(p->footprint >> 20));
    }
}

static void print_containers(const struct view *v)
{
    int64_t now = (int64_t)time(NULL);

    (void)printf("\n%-12s  %-14s %-9s %8s  %s\n", "CONTAINER", "POLICY", "STATE", "AGE",
                 "INSTANCE");
    for (size_t i = 0; i < v->containers_n; i++) {
        const struct engine_container *c = &v->containers[i];

        (void)printf("%-12.12s  %-14s %-9s %7llds  %s\n", c->id, c->policy, c->state,
                     (long long)(now - c->created_s), c->instance);
    }
}

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

static void print_json(const struct view *v)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, JSON_MAX);
    (void)buf_fmt(&b, "{\"service\":%s,\"pools\":[", v->has_service ? "true" : "false");
    for (size_t i = 0; i < v->pools_n; i++) {
        const struct handover_pool *p = &v->pools[i];

        (void)buf_str(&b, i ? ",{" : "{");
        put_text(&b, "policy", policy_name(v, p->policy));
        (void)buf_fmt(&b, ",\"parked\":%u,\"starting\":%u,\"running\":%u,\"waiting\":%u}",
                      p->parked, p->starting, p->running, p->waiting);
    }
    (void)buf_str(&b, "],\"containers\":[");
    for (size_t i = 0; i < v->containers_n; i++) {
        const struct engine_container *c = &v->containers[i];

        (void)buf_str(&b, i ? ",{" : "{");
        put_text(&b, "id", c->id);
        (void)buf_char(&b, ',');
        put_text(&b, "policy", c->policy);
        (void)buf_char(&b, ',');
        put_text(&b, "state", c->state);
        (void)buf_char(&b, ',');
        put_text(&b, "instance", c->instance);
        (void)buf_fmt(&b, ",\"created\":%lld}", (long long)c->created_s);
    }
    (void)buf_str(&b, "]}");
    (void)puts(buf_get(&b));
}

int cmd_ps(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false;
    const struct arg table[] = {
        ARG_VALUE("--config", "-c", "FILE", &config, "settings"),
        ARG_FLAG("--json", NULL, &json, "for programs"),
    };
    struct view v = {0};
    struct err err = {0};
    int n = args_read_options(argc, argv, table, ARRAY_LEN(table), "ps [--json]");
    int status = 0;

    if (n)
        return n == -2 ? 0 : EXIT_USAGE;
    child_signals();
    log_init("ps", LOG_ERROR, LOG_TEXT, STDERR_FILENO);
    if (settings_load(config, &v.settings, &err) < 0 ||
        policy_set_load(v.settings.policies_dir, &v.set, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        return EXIT_USAGE;
    }
    v.has_service = ask_service(&v, &err) == 0;
    if (!v.has_service && !json)
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
    if (ask_engine(&v, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        status = EXIT_NO_ENGINE;
    }
    if (json) {
        print_json(&v);
    } else {
        if (v.has_service)
            print_pools(&v);
        print_containers(&v);
    }
    free(v.pools);
    free(v.containers);
    policy_set_done(&v.set);
    settings_done(&v.settings);
    return status;
}
