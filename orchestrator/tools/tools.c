/*
 * The set of modules that is valid now never changes: who calls holds it, and whatever is read or
 * found anew makes another one. One thread looks for what has to be found, source after source,
 * and again, ever later, where a source does not answer.
 */
#include "tools/tools.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fetch.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/yaml.h"
#include "policy/policy.h"
#include "tools/arguments.h"
#include "tools/call.h"
#include "tools/catalogue.h"
#include "tools/gates.h"
#include "tools/mcp.h"
#include "tools/source.h"

enum {
    IDLE_MAX = 64, /* connections */
    DISCOVER_MS = 20000,
    RETRY_FIRST_MS = 1000,
    RETRY_MAX_MS = 60000,
    END_MS = 2000,  /* of a session; and of all when the service stops */
    LEAVE_MS = 200, /* after which a set that was in use may be in use no more */
    END_REPLY = 4096,
    CACHED_MAX = 64,
};

/* One module of the configuration. */
struct slot {
    const struct module_config *about;
    struct tool_module *module; /* held; NULL: its source has not answered yet */
    bool is_due;                /* its source has to be asked, at due_ms */
    int64_t due_ms, wait_ms;
    char fault[ERR_MSG_MAX]; /* why its source has failed; "" */
};

struct cached {
    uint64_t policy;
    char *text;
};

struct tools {
    struct tools_files files;
    struct fetch_pool *pool;
    struct gates *gates;
    struct stop stop; /* of discoveries */
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t change;
    bool is_stopping;
    struct tools_config *config; /* held */
    unsigned turn;               /* how often it was read */
    struct slot *slots;          /* one for each of its modules */
    struct toolset *set;
    struct toolset **leaving; /* those before it: calls may be under way in them */
    size_t leaving_n;
    struct cached cache[CACHED_MAX]; /* catalogues of this set */
    size_t cached_n;
};

/* ---- slots, under the lock ---- */

static void slots_free(struct slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tool_module_drop(slots[i].module);
    free(slots);
}

static void forget_cache(struct tools *t)
{
    for (size_t i = 0; i < t->cached_n; i++)
        free(t->cache[i].text);
    t->cached_n = 0;
}

static void make_set(struct tools *t)
{
    struct toolset *set = toolset_new(t->config->n);

    for (size_t i = 0; i < t->config->n; i++) {
        if (t->slots[i].module)
            toolset_add(set, t->slots[i].module);
    }
    if (t->set) {
        t->leaving = xarray(t->leaving, t->leaving_n + 1, sizeof(struct toolset *));
        t->leaving[t->leaving_n++] = t->set;
    }
    t->set = set;
    forget_cache(t);
}

/* What was found at the same place holds until it has been looked at again. */
static struct tool_module *found_before(const struct tools *t, const struct module_config *about)
{
    struct tool_module *m = t->set ? toolset_module(t->set, about->name) : NULL;

    if (!m || !tools_config_is_same_source(m->about, about))
        return NULL;
    return tool_module_hold(m);
}

static struct tool_module *make_module(struct tools_config *config,
                                       const struct module_config *about)
{
    struct tool_module *m = tools_config_module(config, about);

    /* The configuration was looked at when it was read. */
    (void)tool_module_seal(m, NULL);
    return m;
}

/* `config` is moved. */
static void take_config(struct tools *t, struct tools_config *config)
{
    struct slot *slots = xcalloc(config->n + 1, sizeof(*slots));

    for (size_t i = 0; i < config->n; i++) {
        struct slot *s = &slots[i];

        s->about = &config->modules[i];
        s->is_due = source_is(s->about);
        s->due_ms = clock_ms();
        s->module = s->is_due ? found_before(t, s->about) : make_module(config, s->about);
    }
    if (t->slots)
        slots_free(t->slots, t->config->n);
    tools_config_drop(t->config);
    t->slots = slots;
    t->config = config;
    t->turn++;
    make_set(t);
    (void)pthread_cond_broadcast(&t->change);
}

/* ---- what was replaced ---- */

/* Before the last reference of a module is dropped; without the lock. */
static void end_module(const struct tools *t, struct tool_module *m, int64_t deadline_ms)
{
    const struct tool_way way = {
        .pool = t->pool,
        .ca_pem = t->files.ca_pem,
        .uses_proxy = m->about->uses_proxy,
        .secrets = m->config->secrets,
        .deadline_ms = deadline_ms,
        .reply_max = END_REPLY,
    };

    if (m->mcp && atomic_load(&m->refs) == 1)
        mcp_end(m->mcp, &way);
}

static void end_set(const struct tools *t, struct toolset *set, int64_t deadline_ms)
{
    for (size_t i = 0; i < set->n; i++)
        end_module(t, set->modules[i], deadline_ms);
    toolset_drop(set);
}

/* One that nobody uses any more: nobody can take it again. Gives the lock up. False: none. */
static bool end_one(struct tools *t)
{
    for (size_t i = 0; i < t->leaving_n; i++) {
        struct toolset *set = t->leaving[i];

        if (atomic_load(&set->refs) > 1)
            continue;
        t->leaving[i] = t->leaving[--t->leaving_n];
        (void)pthread_mutex_unlock(&t->lock);
        end_set(t, set, clock_ms() + END_MS);
        (void)pthread_mutex_lock(&t->lock);
        return true;
    }
    return false;
}

static void end_all(struct tools *t)
{
    int64_t deadline = clock_ms() + END_MS;

    for (size_t i = 0; i < t->leaving_n; i++)
        end_set(t, t->leaving[i], deadline);
    free(t->leaving);
    end_set(t, t->set, deadline);
}

/* ---- discovery ---- */

/* The one whose time has come first; NULL: none has to be asked at all. */
static struct slot *next_due(const struct tools *t)
{
    struct slot *first = NULL;

    for (size_t i = 0; i < t->config->n; i++) {
        struct slot *s = &t->slots[i];

        if (s->is_due && (!first || s->due_ms < first->due_ms))
            first = s;
    }
    return first;
}

static void put_off(struct slot *s, const char *why)
{
    s->wait_ms = s->wait_ms ? 2 * s->wait_ms : RETRY_FIRST_MS;
    s->wait_ms = s->wait_ms > RETRY_MAX_MS ? RETRY_MAX_MS : s->wait_ms;
    s->due_ms = clock_ms() + s->wait_ms;
    /* The same over and over would fill the log. */
    if (strcmp(s->fault, why) != 0)
        log_warning("tools: module '%s': %s; it is tried again in %lld s and later", s->about->name,
                    why, (long long)(s->wait_ms / 1000));
    (void)snprintf(s->fault, sizeof(s->fault), "%s", why);
}

static void settle(struct tools *t, struct slot *s, struct tool_module *found,
                   const struct err *why)
{
    if (!found) {
        put_off(s, why->msg);
        return;
    }
    log_info("tools: module '%s' has %zu functions", s->about->name, found->n);
    tool_module_drop(s->module);
    s->module = tool_module_hold(found);
    s->is_due = false;
    s->wait_ms = 0;
    s->fault[0] = '\0';
    make_set(t);
}

/* Called with the lock, which is given up meanwhile: the configuration may be another one then. */
static void discover(struct tools *t, size_t index)
{
    CLEANUP(tool_module_drop_p) struct tool_module *found = NULL;
    struct tools_config *config = tools_config_hold(t->config);
    const struct module_config *about = t->slots[index].about;
    const struct tool_way way = {
        .pool = t->pool,
        .ca_pem = t->files.ca_pem,
        .deadline_ms = clock_ms() + DISCOVER_MS,
        .stop = &t->stop,
    };
    unsigned turn = t->turn;
    struct err why = {0};

    (void)pthread_mutex_unlock(&t->lock);
    (void)!source_discover(config, about, &t->files, &way, &found, &why);
    (void)pthread_mutex_lock(&t->lock);
    if (turn == t->turn && !t->is_stopping) {
        settle(t, &t->slots[index], found, &why);
    } else if (found) {
        (void)pthread_mutex_unlock(&t->lock);
        end_module(t, found, clock_ms() + END_MS);
        (void)pthread_mutex_lock(&t->lock);
    }
    tools_config_drop(config);
}

/* ---- the thread ---- */

static void wait_until(struct tools *t, const struct slot *due)
{
    int64_t until = due ? due->due_ms : INT64_MAX, leave = clock_ms() + LEAVE_MS;
    struct timespec at;

    if (t->leaving_n && leave < until)
        until = leave;
    if (until == INT64_MAX) {
        (void)pthread_cond_wait(&t->change, &t->lock);
        return;
    }
    at = (struct timespec){.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    (void)pthread_cond_timedwait(&t->change, &t->lock, &at);
}

static void *discover_all(void *arg)
{
    struct tools *t = arg;

    (void)pthread_mutex_lock(&t->lock);
    while (!t->is_stopping) {
        const struct slot *due = next_due(t);

        if (due && due->due_ms <= clock_ms())
            discover(t, (size_t)(due - t->slots));
        else if (!end_one(t))
            wait_until(t, due);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* ---- life ---- */

static struct tools_config *read_config(const struct tools_files *files, struct err *err)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct tools_config *config;

    yaml_init(&y);
    config = tools_config_read(&y, files);
    if (!config && yaml_result(&y, err) == 0)
        (void)err_set(err, ERR_INTERNAL, "the tools cannot be read");
    return config;
}

int tools_open(struct tools_files *files, struct tools **ret, struct err *err)
{
    struct tools_config *config = read_config(files, err);
    pthread_condattr_t attr;
    struct tools *t;

    if (!config) {
        tools_files_done(files);
        return -1;
    }
    t = xcalloc(1, sizeof(*t));
    t->files = *files;
    *files = (struct tools_files){.dir_fd = -1, .secrets_dir_fd = -1, .secrets_fd = -1};
    t->pool = fetch_pool_new(IDLE_MAX);
    t->gates = gates_new();
    stop_init(&t->stop, -1);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->change, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_lock(&t->lock);
    take_config(t, config);
    (void)pthread_mutex_unlock(&t->lock);
    *ret = t;
    return 0;
}

void tools_start(struct tools *t)
{
    t->has_thread = pthread_create(&t->thread, NULL, discover_all, t) == 0;
    if (!t->has_thread)
        log_error("tools: there is no thread for what has to be found");
}

void tools_free(struct tools *t)
{
    if (!t)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->is_stopping = true;
    (void)pthread_cond_broadcast(&t->change);
    (void)pthread_mutex_unlock(&t->lock);
    stop_ask(&t->stop);
    if (t->has_thread)
        (void)pthread_join(t->thread, NULL);
    slots_free(t->slots, t->config->n);
    forget_cache(t);
    end_all(t);
    tools_config_drop(t->config);
    fetch_pool_free(t->pool);
    gates_free(t->gates);
    stop_done(&t->stop);
    (void)pthread_cond_destroy(&t->change);
    (void)pthread_mutex_destroy(&t->lock);
    tools_files_done(&t->files);
    free(t);
}

int tools_reload(struct tools *t, struct err *err)
{
    struct tools_config *config = read_config(&t->files, err);

    if (!config)
        return -1;
    (void)pthread_mutex_lock(&t->lock);
    take_config(t, config);
    (void)pthread_mutex_unlock(&t->lock);
    return 0;
}

void tools_check(struct yaml *y, const struct tools_files *files)
{
    tools_config_drop(tools_config_read(y, files));
}

/* ---- what there is ---- */

bool tools_is_ready(struct tools *t)
{
    bool is_ready = true;

    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->config->n; i++)
        is_ready = is_ready && t->slots[i].module && !t->slots[i].fault[0];
    (void)pthread_mutex_unlock(&t->lock);
    return is_ready;
}

char *tools_faults(struct tools *t)
{
    CLEANUP(buf_done) struct buf b = {.max = 64UL * 2 * ERR_MSG_MAX};

    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->config->n; i++) {
        const struct slot *s = &t->slots[i];

        if (s->fault[0])
            (void)buf_fmt(&b, "module '%s': %s\n", s->about->name, s->fault);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return xstrdup(buf_get(&b));
}

static struct toolset *hold_set(struct tools *t)
{
    struct toolset *set;

    (void)pthread_mutex_lock(&t->lock);
    set = toolset_hold(t->set);
    (void)pthread_mutex_unlock(&t->lock);
    return set;
}

static const char *find_cached(const struct tools *t, uint64_t policy)
{
    for (size_t i = 0; i < t->cached_n; i++) {
        if (t->cache[i].policy == policy)
            return t->cache[i].text;
    }
    return NULL;
}

char *tools_catalogue(struct tools *t, const struct policy *policy)
{
    uint64_t key = policy ? policy->key : 0;
    char *text;

    (void)pthread_mutex_lock(&t->lock);
    text = xstrdup(find_cached(t, key));
    if (!text) {
        text = catalogue_make(t->set, policy ? policy->tools : NULL);
        if (t->cached_n == CACHED_MAX)
            forget_cache(t);
        t->cache[t->cached_n++] = (struct cached){key, xstrdup(text)};
    }
    (void)pthread_mutex_unlock(&t->lock);
    return text;
}

/* ---- calls ---- */

struct calling {
    struct tools *tools;
    const struct host_call *call;
    const struct tool_module *module;
    const struct tool_function *f;
    struct tool_way way;
};

static void no_function(struct tools *t, const char *name, struct host_answer *ret)
{
    size_t n = strcspn(name, ".");
    bool is_awaited = false;

    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->config->n; i++) {
        const struct slot *s = &t->slots[i];

        is_awaited = is_awaited || (!s->module && strlen(s->about->name) == n &&
                                    strncmp(s->about->name, name, n) == 0);
    }
    (void)pthread_mutex_unlock(&t->lock);
    if (is_awaited)
        host_fail(ret, HOST_DOWN, "ToolError",
                  "MCP tool '%s' connection failed: its source has not been reached",
                  name + n + (name[n] == '.'));
    else
        host_fail(ret, HOST_FORBIDDEN, "ToolError", "there is no tool '%.120s'", name);
}

static void carry_out(const struct calling *c, const struct arguments *args,
                      struct host_answer *ret)
{
    struct err err = {0};

    if (gates_enter(c->tools->gates, c->call->name, c->f->concurrency, c->way.deadline_ms,
                    c->way.stop, &err) < 0) {
        tool_lost(ret, c->f, &c->way, &err);
        return;
    }
    if (c->module->mcp)
        mcp_call(c->module->mcp, c->f, args, &c->way, ret);
    else
        tool_call_http(c->f, args, &c->way, ret);
    gates_leave(c->tools->gates, c->call->name);
}

static void call_function(const struct calling *c, struct host_answer *ret)
{
    CLEANUP(arguments_done) struct arguments args = {0};
    struct err err = {0};

    if (arguments_read(c->f, c->call->args, c->call->args_len, &args, &err) < 0)
        tool_refuse(ret, c->f, err.msg);
    else
        carry_out(c, &args, ret);
}

void tools_call(void *tools, const struct host_call *call, struct host_answer *ret)
{
    struct tools *t = tools;
    CLEANUP(toolset_drop_p) struct toolset *set = hold_set(t);
    struct tool_module *m = NULL;
    const struct tool_function *f = toolset_find(set, call->name, &m);
    struct calling c = {.tools = t, .call = call, .module = m, .f = f};
    int64_t deadline;

    if (!f) {
        no_function(t, call->name, ret);
        return;
    }
    deadline = clock_ms() + f->timeout_ms;
    c.way = (struct tool_way){
        .pool = t->pool,
        .ca_pem = t->files.ca_pem,
        .uses_proxy = m->about->uses_proxy,
        .secrets = m->config->secrets,
        .deadline_ms = deadline < call->deadline_ms ? deadline : call->deadline_ms,
        .reply_max = (size_t)f->reply_max,
        .stop = call->stop,
    };
    if (c.way.reply_max > call->reply_max)
        c.way.reply_max = call->reply_max;
    call_function(&c, ret);
}
