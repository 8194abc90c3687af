#include "policy/policy_check.h"

#include <math.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "base/utf8.h"
#include "base/yaml_bind.h"
#include "policy/policy.h"
#include "policy/secrets.h"
#include "policy/syntax.h"
#include "policy/validation.h"

/*
 * What a program needs beside full file systems: without it "no space left" becomes a kill for
 * memory, and the run would be told the wrong limit.
 */
#define MEMORY_BESIDE_TMPFS (INT64_C(48) * 1024 * 1024)

enum { RELAY_FILES_MIN = 128 };

/* Of two keys that do not go together the one that this policy's own file has; else the first. */
static const char *own_key(const struct yaml_node *root, const struct policy *p, const char *key,
                           const char *other)
{
    if (strcmp(yaml_near(root, key)->file, p->file) == 0)
        return key;
    return strcmp(yaml_near(root, other)->file, p->file) == 0 ? other : key;
}

static void fault_between(struct yaml *y, const struct yaml_node *root, const struct policy *p,
                          const char *less, const char *more)
{
    const char *key = own_key(root, p, less, more);

    (void)yaml_fault(y, yaml_near(root, key), key, "%s is more than %s", less, more);
}

/* ---- members that follow from others ---- */

/* The engine refuses more processors than there are; all of them is what was meant. */
static double bounded_cpus(double cpus)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    return online > 0 ? fmin(cpus, (double)online) : cpus;
}

static size_t count_pairs(const struct yaml_pair *pairs)
{
    size_t n = 0;

    while (pairs[n].name)
        n++;
    return n;
}

static bool has_pair(const struct yaml_pair *pairs, const char *name)
{
    for (; pairs->name; pairs++) {
        if (strcmp(pairs->name, name) == 0)
            return true;
    }
    return false;
}

static size_t count_texts(char *const *texts)
{
    size_t n = 0;

    while (texts[n])
        n++;
    return n;
}

static bool has_text(char *const *texts, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(texts[i], text) == 0)
            return true;
    }
    return false;
}

static void resolve_env(struct yaml *y, const struct yaml_node *root, struct policy *p)
{
    size_t n = 0;

    p->env =
        xcalloc(count_pairs(p->env_set) + count_texts(p->env_pass) + 1, sizeof(struct policy_pair));
    for (const struct yaml_pair *e = p->env_set; e->name; e++)
        p->env[n++] = (struct policy_pair){xstrdup(e->name), xstrdup(e->value)};
    for (size_t i = 0; p->env_pass[i]; i++) {
        const char *name = p->env_pass[i], *value = getenv(name);

        if (secrets_has(name))
            (void)yaml_fault(y, yaml_near(root, "env.pass"), "env.pass",
                             "'%s' is the service's own secret; no program may see it", name);
        else if (has_pair(p->env_set, name) || has_text(p->env_pass, i, name))
            (void)yaml_fault(y, yaml_near(root, "env.pass"), "env.pass", "has '%s' a second time",
                             name);
        else if (value && utf8_valid_prefix(value, strlen(value)) != strlen(value))
            (void)yaml_fault(y, yaml_near(root, "env.pass"), "env.pass",
                             "environment variable '%s' is not UTF-8", name);
        else if (value)
            p->env[n++] = (struct policy_pair){xstrdup(name), xstrdup(value)};
    }
}

/* ---- what must fit together ---- */

static void check_limits(struct yaml *y, const struct yaml_node *root, const struct policy *p)
{
    if (p->time_default_ms > p->time_max_ms)
        fault_between(y, root, p, "time.default", "time.max");
    if (p->memory > p->memory_max)
        fault_between(y, root, p, "memory.limit", "memory.max");
    if (p->output_soft > p->output_hard)
        fault_between(y, root, p, "output.soft", "output.hard");
    if (p->pool_min > p->pool_max)
        fault_between(y, root, p, "pool.min", "pool.max");
}

static void check_tmpfs(struct yaml *y, const struct yaml_node *root, const struct policy *p)
{
    CLEANUP(buf_done) struct buf memory = {.max = 64}, sum = {.max = 64};
    int64_t tmpfs = p->work_size + p->tmp_size + p->shm_size;
    const char *key = own_key(root, p, "tmpfs", "memory.limit");

    if (tmpfs + MEMORY_BESIDE_TMPFS <= p->memory)
        return;
    units_put_size(&memory, p->memory);
    units_put_size(&sum, tmpfs);
    (void)yaml_fault(y, yaml_near(root, key), key,
                     "tmpfs.work + tmp + shm are %s; with 48MiB for the program that is more than "
                     "memory.limit, %s",
                     buf_get(&sum), buf_get(&memory));
}

static void check_space(struct yaml *y, const struct yaml_node *root, const struct policy *p)
{
    check_tmpfs(y, root, p);
    if (p->files_in_total > p->work_size)
        fault_between(y, root, p, "input_files.total", "tmpfs.work");
    if (p->workspace_quota > p->work_size)
        fault_between(y, root, p, "workspace.quota", "tmpfs.work");
    if (*p->workspace && !p->workspace_quota)
        (void)yaml_fault(y, yaml_near(root, "workspace.path"), "workspace.path",
                         "needs a workspace.quota");
}

static void check_warm(struct yaml *y, const struct yaml_node *root, const struct policy *p)
{
    for (size_t i = 0; p->warm[i]; i++) {
        if (!validation_permits(p, p->warm[i]))
            (void)yaml_fault(y, yaml_near(root, "warm"), "warm",
                             "'%.60s' is not among the imports that the policy permits",
                             p->warm[i]);
    }
}

static bool has_name(const char *endpoint)
{
    auto_free char *host = xstrndup(endpoint, (size_t)(strrchr(endpoint, ':') - endpoint));

    return *host != '[' && !syntax_address(host) && strcasecmp(host, "localhost") != 0;
}

/* The warden has a descriptor for each connection and listener, beside its own. */
static void check_network(struct yaml *y, const struct yaml_node *root, const struct policy *p)
{
    const struct policy_network *net = &p->network;
    const struct yaml_node *node = yaml_near(root, "network");

    for (size_t i = 0; i < net->relay_n; i++) {
        if (!has_name(net->relay[i].as))
            (void)yaml_fault(y, node, "network.relay",
                             "'%.60s' is no name that a program can look up; write {as: NAME:PORT, "
                             "to: %.60s}",
                             net->relay[i].as, net->relay[i].as);
    }
    if (net->kind == NETWORK_RELAY && p->open_files < RELAY_FILES_MIN)
        (void)yaml_fault(y, yaml_near(root, "files.open"), "files.open",
                         "must be %d or more where there is a relay", RELAY_FILES_MIN);
    if (net->kind == NETWORK_JOIN &&
        (strcmp(net->join, "host") == 0 || strcmp(net->join, "none") == 0 ||
         strcmp(net->join, "default") == 0))
        (void)yaml_fault(y, node, "network.join", "'%s' is no network that can be joined",
                         net->join);
}

void policy_check(struct yaml *y, const struct yaml_node *root, struct policy *p)
{
    p->cpus = bounded_cpus(p->cpus);
    if (!p->memory_max)
        p->memory_max = p->memory;
    resolve_env(y, root, p);
    check_limits(y, root, p);
    check_space(y, root, p);
    check_network(y, root, p);
    check_warm(y, root, p);
}
