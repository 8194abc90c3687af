#include "core/core.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/callers.h"
#include "core/core_state.h"
#include "core/resolve.h"
#include "policy/policy.h"

/* A policy set and how many runs hold it. */
struct set_node {
    struct policy_set set;
    unsigned pins;
    TAILQ_ENTRY(set_node) link;
};

TAILQ_HEAD(set_list, set_node);

struct observer {
    core_observer *fn;
    void *ctx;
};

struct host {
    char kind[HOST_KIND_MAX];
    host_fn *fn;
    void *ctx;
};

enum { OBSERVERS_MAX = 8 };

struct core {
    char *spool_dir;
    struct link *link;
    struct resolver *resolver;
    struct callers *callers;
    struct host hosts[HOST_KINDS];
    size_t hosts_n;
    struct observer observers[OBSERVERS_MAX];
    size_t observers_n;

    pthread_mutex_t lock; /* guards the sets; newest first */
    struct set_list sets;
};

int core_new(const struct core_options *o, struct core **ret, struct err *err)
{
    struct core *core = xcalloc(1, sizeof(*core));

    if (link_new(o->keeper_fd, &core->link, err) < 0) {
        free(core);
        return -1;
    }
    core->spool_dir = xstrdup(o->spool_dir);
    core->resolver = resolver_new(NULL);
    core->callers = callers_new(CALLERS_IDLE_MS);
    TAILQ_INIT(&core->sets);
    (void)pthread_mutex_init(&core->lock, NULL);
    *ret = core;
    return 0;
}

static void drop_node(struct core *core, struct set_node *node)
{
    TAILQ_REMOVE(&core->sets, node, link);
    policy_set_done(&node->set);
    free(node);
}

void core_free(struct core *core)
{
    struct set_node *node;

    if (!core)
        return;
    link_free(core->link);
    resolver_free(core->resolver);
    callers_free(core->callers);
    while ((node = TAILQ_FIRST(&core->sets)))
        drop_node(core, node);
    (void)pthread_mutex_destroy(&core->lock);
    free(core->spool_dir);
    free(core);
}

void core_set_keeper(struct core *core, int fd)
{
    link_set_fd(core->link, fd);
}

bool core_has_keeper(const struct core *core)
{
    return link_is_up(core->link);
}

/* Under the lock. */
static void drop_unused(struct core *core)
{
    struct set_node *node = TAILQ_FIRST(&core->sets), *next;

    for (node = node ? TAILQ_NEXT(node, link) : NULL; node; node = next) {
        next = TAILQ_NEXT(node, link);
        if (node->pins == 0)
            drop_node(core, node);
    }
}

void core_set_policies(struct core *core, struct policy_set *set)
{
    struct set_node *node = xcalloc(1, sizeof(*node));

    node->set = *set;
    *set = (struct policy_set){0};
    (void)pthread_mutex_lock(&core->lock);
    TAILQ_INSERT_HEAD(&core->sets, node, link);
    drop_unused(core);
    (void)pthread_mutex_unlock(&core->lock);
}

const struct policy *core_pin_policy(struct core *core, const char *name)
{
    const struct policy *found = NULL;
    struct set_node *node;

    (void)pthread_mutex_lock(&core->lock);
    node = TAILQ_FIRST(&core->sets);
    if (node)
        found = policy_find(&node->set, name);
    if (found)
        node->pins++;
    (void)pthread_mutex_unlock(&core->lock);
    return found;
}

void core_unpin_policy(struct core *core, const struct policy *policy)
{
    struct set_node *node;

    if (!policy)
        return;
    (void)pthread_mutex_lock(&core->lock);
    TAILQ_FOREACH (node, &core->sets, link) {
        if (policy >= node->set.list && policy < node->set.list + node->set.n) {
            node->pins--;
            break;
        }
    }
    drop_unused(core);
    (void)pthread_mutex_unlock(&core->lock);
}

void core_policy_names(struct core *core, struct policy_names *ret)
{
    const struct set_node *node;

    *ret = (struct policy_names){0};
    (void)pthread_mutex_lock(&core->lock);
    node = TAILQ_FIRST(&core->sets);
    ret->n = node ? node->set.n : 0;
    ret->list = xcalloc(ret->n, sizeof(*ret->list));
    for (size_t i = 0; i < ret->n; i++)
        ret->list[i] = (struct policy_name){.name = xstrdup(node->set.list[i].name),
                                            .key = node->set.list[i].key};
    (void)pthread_mutex_unlock(&core->lock);
}

const char *policy_names_find(const struct policy_names *names, uint64_t key)
{
    for (size_t i = 0; i < names->n; i++) {
        if (names->list[i].key == key)
            return names->list[i].name;
    }
    return "other";
}

void policy_names_done(struct policy_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i].name);
    free(names->list);
    *names = (struct policy_names){0};
}

void core_observe(struct core *core, core_observer *fn, void *ctx)
{
    if (core->observers_n < OBSERVERS_MAX)
        core->observers[core->observers_n++] = (struct observer){fn, ctx};
}

void core_tell_observers(const struct core *core, const struct run_request *request,
                         const struct run_result *result)
{
    for (size_t i = 0; i < core->observers_n; i++)
        core->observers[i].fn(core->observers[i].ctx, request, result);
}

void core_add_host(struct core *core, const char *kind, host_fn *fn, void *ctx)
{
    assert(core->hosts_n < HOST_KINDS && strlen(kind) < HOST_KIND_MAX);
    core->hosts[core->hosts_n] = (struct host){.fn = fn, .ctx = ctx};
    (void)str_copy(core->hosts[core->hosts_n++].kind, kind, HOST_KIND_MAX);
}

bool core_find_host(const struct core *core, const char *kind, host_fn **ret_fn, void **ret_ctx)
{
    for (size_t i = 0; i < core->hosts_n; i++) {
        if (strcmp(core->hosts[i].kind, kind) != 0)
            continue;
        *ret_fn = core->hosts[i].fn;
        *ret_ctx = core->hosts[i].ctx;
        return true;
    }
    return false;
}

struct callers *core_callers(const struct core *core)
{
    return core->callers;
}

struct link *core_link(const struct core *core)
{
    return core->link;
}

struct resolver *core_resolver(const struct core *core)
{
    return core->resolver;
}

const char *core_spool_dir(const struct core *core)
{
    return core->spool_dir;
}

int core_stats(struct core *core, struct handover_pool **ret_pools, size_t *ret_n,
               struct handover_counts *ret_counts, struct err *err)
{
    return link_stats(core->link, ret_pools, ret_n, ret_counts, err);
}
