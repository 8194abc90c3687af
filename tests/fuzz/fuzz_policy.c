/*
 * The bytes are read as a policy that extends the shipped one, as settings and as a seccomp
 * profile. Whatever is accepted must print to a text that binds to the same again and must hold
 * what policy_check promises; whatever is refused must be told in printable lines.
 */
#include <stdint.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/yaml_bind.h"
#include "policy/policy.h"
#include "policy/policy_check.h"
#include "policy/policy_table.h"
#include "policy/seccomp.h"
#include "policy/settings.h"
#include "policy/settings_table.h"

#define MIB (INT64_C(1) << 20)

/* Larger inputs find nothing new; printed with every `$` doubled they would pass YAML's limits. */
enum { INPUT_MAX = 16384, PRINT_MAX = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *default_policy;

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static void check_faults(const struct yaml *y)
{
    const char *text = buf_get(&y->faults);

    must(utf8_valid_prefix(text, y->faults.len) == y->faults.len);
    for (; *text; text++)
        must(*text == '\n' || ((unsigned char)*text >= 0x20 && *text != 0x7F));
}

/* Binds what was printed and prints it again: both texts must be the same. */
static void check_round_trip(struct yaml *y, const struct yaml_field *table, const void *in,
                             void *again)
{
    CLEANUP(buf_done) struct buf first = {.max = PRINT_MAX}, second = {.max = PRINT_MAX};
    size_t before = y->faults_n;
    struct yaml_node *root;

    yaml_print(&first, table, in, true);
    must(!first.is_full);
    root = yaml_parse(y, "printed", buf_get(&first), first.len);
    must(root != NULL);
    yaml_bind(y, table, root, again);
    must(y->faults_n == before);
    yaml_print(&second, table, again, true);
    must(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
}

static void policy_release(struct policy *p)
{
    yaml_release(policy_table, p);
    for (size_t i = 0; p->env && p->env[i].name; i++) {
        free(p->env[i].name);
        free(p->env[i].value);
    }
    free(p->env);
}

static void try_policy(const char *text, size_t n)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    char file[] = "fuzz.yaml";
    struct policy p = {.file = file}, again = {0};
    struct yaml_node *base, *root;

    yaml_init(&y);
    y.ram = 16384 * MIB;
    base = yaml_parse(&y, "default.yaml", default_policy, strlen(default_policy));
    root = yaml_parse(&y, file, text, n);
    if (root) {
        root = yaml_merge(&y, policy_table, base, root);
        yaml_bind(&y, policy_table, root, &p);
        if (!y.faults_n)
            policy_check(&y, root, &p);
    }
    if (root && !y.faults_n) {
        must(p.work_size + p.tmp_size + p.shm_size + 48 * MIB <= p.memory);
        must(p.time_default_ms <= p.time_max_ms && p.memory <= p.memory_max && p.pids >= 3);
        must(p.uid >= 1000 && p.gid >= 1000 && p.cpus > 0 && p.output_soft <= p.output_hard);
        check_round_trip(&y, policy_table, &p, &again);
    }
    check_faults(&y);
    policy_release(&p);
    policy_release(&again);
}

static void try_settings(const char *text, size_t n)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct settings s = {0}, again = {0};
    struct yaml_node *root;

    yaml_init(&y);
    root = yaml_parse(&y, "settings.yaml", text, n);
    if (root)
        yaml_bind(&y, settings_table, root, &s);
    if (root && !y.faults_n)
        check_round_trip(&y, settings_table, &s, &again);
    check_faults(&y);
    yaml_release(settings_table, &s);
    yaml_release(settings_table, &again);
}

/* What was accepted is accepted again and does not change. */
static void try_profile(const char *text, size_t n)
{
    auto_free char *json = NULL, *again = NULL;

    if (seccomp_parse(text, n, &json, NULL) < 0)
        return;
    must(seccomp_parse(json, strlen(json), &again, NULL) == 0);
    must(strcmp(json, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = NULL;
    size_t n;

    if (size > INPUT_MAX)
        return 0;
    text = xmalloc(size + 1);

    /* Run it from the top of the repository. */
    if (!default_policy)
        must(io_read_file("policies/default.yaml", 1 << 20, &default_policy, &n, NULL) == 0);
    memcpy(text, data, size);
    text[size] = '\0';
    try_policy(text, size);
    try_settings(text, size);
    try_profile(text, size);
    return 0;
}
