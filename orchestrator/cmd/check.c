#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/yaml.h"
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "dialects/dialects.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "tools/tools.h"

struct options {
    const char *config, *policies;
    bool is_quiet;
    char **names;
    int names_n;
};

static int fail(const char *what, const char *which)
{
    (void)fprintf(stderr, "oneshot: %s '%s'\n", what, which);
    return EXIT_USAGE;
}

static void print_settings(const struct settings *s)
{
    auto_free char *text = settings_print(s, false);

    (void)printf("# settings: %s\n%s", *s->file ? s->file : "built-in defaults", text);
}

static void print_policy(const struct policy *p, bool with_docs)
{
    auto_free char *text = policy_print(p, with_docs);

    (void)printf("# policy %s: %s, sha256 %s\n%s", p->name, p->file, p->hash, text);
}

static void print_all(const struct settings *s, const struct policy_set *set)
{
    print_settings(s);
    for (size_t i = 0; i < set->n; i++) {
        (void)puts("---");
        print_policy(&set->list[i], false);
    }
}

/* Whoever asks for one policy wants to know what its keys mean. */
static int print_named(const struct options *o, const struct policy_set *set)
{
    for (int i = 0; i < o->names_n; i++) {
        if (!policy_find(set, o->names[i]))
            return fail("there is no policy", o->names[i]);
    }
    for (int i = 0; i < o->names_n && !o->is_quiet; i++) {
        if (i)
            (void)puts("---");
        print_policy(policy_find(set, o->names[i]), true);
    }
    return 0;
}

/* Where the policies cannot be read, their directory is a fault already. */
static void check_tools(struct yaml *y, const struct settings *s, const char *policies)
{
    const struct tools_files_options o = {.file = s->tools_file,
                                          .policies_dir = policies,
                                          .secrets = s->tools_secrets,
                                          .ca_file = s->ca_file};
    struct tools_files files;
    struct err err = {0};

    if (tools_files_open(&o, &files, &err) < 0) {
        (void)yaml_fault(y, NULL, "", "%s", err.msg);
        return;
    }
    tools_check(y, &files);
    tools_files_done(&files);
}

static int check(const struct options *o, struct settings *s, struct policy_set *set)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct err err = {0};
    const char *policies;

    yaml_init(&y);
    settings_read(&y, o->config, s);
    policies = o->policies ? o->policies : s->policies_dir;
    policy_set_read(&y, policies, set);
    if (!y.faults_n)
        check_tools(&y, s, policies);
    if (y.faults_n) {
        (void)fputs(buf_get(&y.faults), stderr);
        return EXIT_USAGE;
    }
    if (dialects_check(s, &err) < 0) {
        (void)fprintf(stderr, "%s: %s\n", *s->file ? s->file : "settings", err.msg);
        return EXIT_USAGE;
    }
    if (o->names_n)
        return print_named(o, set);
    if (!o->is_quiet)
        print_all(s, set);
    return 0;
}

/* Reads settings and policies as `serve` would; every fault is a line on standard error. */
int cmd_check(int argc, char **argv)
{
    struct options o = {.names = argv + 1};
    const struct arg table[] = {
        ARG_VALUE("--config", "-c", "FILE", &o.config, "settings"),
        ARG_VALUE("--policies", NULL, "DIR", &o.policies, "policies, instead of the settings'"),
        ARG_FLAG("--quiet", "-q", &o.is_quiet, "print nothing where all is well"),
    };
    CLEANUP(settings_done) struct settings s = {0};
    CLEANUP(policy_set_done) struct policy_set set = {0};
    int status;

    o.names_n = args_read(argc, argv, table, ARRAY_LEN(table),
                          "check [--config FILE] [--policies DIR] [--quiet] [POLICY ...]");
    if (o.names_n < 0)
        return o.names_n == -2 ? 0 : EXIT_USAGE;
    status = check(&o, &s, &set);
    if (status == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        status = fail("cannot write to", "standard output");
    return status;
}
