#include "policy/policy.h"

#include <assert.h>
#include <dirent.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "policy/policy_check.h"
#include "policy/policy_table.h"
#include "policy/seccomp.h"
#include "policy/syntax.h"
#include "policy/validation.h"

enum { POLICIES_MAX = 256, EXTENDS_MAX = 8 };

/* Far more than the limits of the keys add up to: a text that was cut would hash like another. */
enum { PRINT_MAX = 64 << 20 };

static const char suffix[] = ".yaml";

/* One file of the directory, as written and with what it extends laid under it. */
struct source {
    char *name, *path;
    struct yaml_node *root;   /* NULL: it could not be read */
    struct yaml_node *merged; /* NULL: not yet, or not possible */
    int depth;                /* how many policies lie under it */
    bool is_resolving, is_resolved;
};

struct loading {
    struct yaml *y;
    const char *dir;
    struct source *sources;
    size_t n;
};

/* ---- the directory ---- */

static int is_candidate(const struct dirent *e)
{
    if (strcmp(e->d_name, POLICY_TOOLS_FILE) == 0)
        return 0;
    return e->d_name[0] != '.' && (str_ends(e->d_name, suffix) || str_ends(e->d_name, ".yml"));
}

static void add_source(struct loading *l, const char *file)
{
    auto_free char *path = xasprintf("%s/%s", l->dir, file);
    auto_free char *name = xstrndup(file, strlen(file) - strlen(suffix));

    if (!str_ends(file, suffix)) {
        (void)yaml_fault(l->y, NULL, "", "%s: the name of a policy's file must end in %s", path,
                         suffix);
        return;
    }
    if (!syntax_name(name)) {
        (void)yaml_fault(l->y, NULL, "", "%s: the name must be lower-case letters, digits, - and _",
                         path);
        return;
    }
    l->sources = xarray(l->sources, l->n + 1, sizeof(*l->sources));
    l->sources[l->n++] = (struct source){.name = TAKE(name), .path = TAKE(path)};
}

static int by_name(const void *a, const void *b)
{
    const struct source *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void list_sources(struct loading *l)
{
    struct dirent **entries = NULL;
    int n = scandir(l->dir, &entries, is_candidate, NULL);
    struct err e = {0};

    if (n < 0) {
        (void)err_sys(&e, "list '%s'", l->dir);
        (void)yaml_fault(l->y, NULL, "", "%s", e.msg);
        return;
    }
    if (n == 0)
        (void)yaml_fault(l->y, NULL, "", "%s: there is no policy here (NAME.yaml)", l->dir);
    else if (n > POLICIES_MAX)
        (void)yaml_fault(l->y, NULL, "", "%s: over %d policies", l->dir, POLICIES_MAX);
    for (int i = 0; i < n; i++) {
        if (n <= POLICIES_MAX)
            add_source(l, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (l->n)
        qsort(l->sources, l->n, sizeof(*l->sources), by_name);
    for (size_t i = 0; i < l->n; i++)
        l->sources[i].root = yaml_read(l->y, l->sources[i].path);
}

/* ---- extends ---- */

static struct source *find_source(const struct loading *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->sources[i].name, name) == 0)
            return &l->sources[i];
    }
    return NULL;
}

static void resolve(struct loading *l, struct source *s);

/* Lays `s` over the policy that it extends. */
static void resolve_parent(struct loading *l, struct source *s, const struct yaml_node *extends)
{
    const char *name = yaml_text(l->y, extends, "extends", "the name of a policy");
    struct source *parent = name ? find_source(l, name) : NULL;

    if (!name)
        return;
    if (!parent) {
        (void)yaml_fault(l->y, extends, "extends", "there is no policy '%.64s'", name);
        return;
    }
    if (parent->is_resolving) {
        (void)yaml_fault(l->y, extends, "extends", "'%s' leads back to '%s'", name, s->name);
        return;
    }
    resolve(l, parent);
    s->depth = parent->depth + 1;
    if (s->depth > EXTENDS_MAX)
        (void)yaml_fault(l->y, extends, "extends", "has over %d policies under it", EXTENDS_MAX);
    else if (parent->merged)
        s->merged = yaml_merge(l->y, policy_table, parent->merged, s->root);
}

static void resolve(struct loading *l, struct source *s)
{
    const struct yaml_node *extends = yaml_get(s->root, "extends");

    if (s->is_resolved || !s->root)
        return;
    s->is_resolving = true;
    if (extends)
        resolve_parent(l, s, extends);
    else
        s->merged = s->root;
    s->is_resolving = false;
    s->is_resolved = true;
}

/* ---- one policy ---- */

static void policy_done(struct policy *p)
{
    yaml_release(policy_table, p);
    for (size_t i = 0; p->env && p->env[i].name; i++) {
        free(p->env[i].name);
        free(p->env[i].value);
    }
    free(p->env);
    free(p->name);
    free(p->file);
    free(p->seccomp_json);
    free(p->validation);
    *p = (struct policy){0};
}

static void load_profile(struct yaml *y, const struct yaml_node *root, const char *dir,
                         struct policy *p)
{
    auto_free char *path =
        *p->seccomp == '/' ? xstrdup(p->seccomp) : xasprintf("%s/%s", dir, p->seccomp);
    struct err e = {0};

    if (seccomp_profile_load(path, &p->seccomp_json, &e) < 0)
        (void)yaml_fault(y, yaml_near(root, "isolation.seccomp"), "isolation.seccomp", "%s: %s",
                         p->seccomp, e.msg);
}

char *policy_print(const struct policy *p, bool with_docs)
{
    CLEANUP(buf_done) struct buf b = {.max = PRINT_MAX};

    yaml_print(&b, policy_table, p, with_docs);
    assert(!b.is_full);
    return buf_take(&b);
}

/* Passed variables may be secrets: their values count, but as digests of their own. */
static void hash_policy(struct policy *p)
{
    CLEANUP(buf_done) struct buf b = {.max = 2UL * PRINT_MAX};
    auto_free char *text = policy_print(p, false);
    unsigned char raw[DIGEST_LEN];
    char hex[DIGEST_TEXT];

    (void)buf_fmt(&b, "%s\n%s\n", p->name, text);
    for (const struct policy_pair *e = p->env; e->name; e++)
        (void)buf_fmt(&b, "%s %s\n", e->name, digest_text(hex, e->value, strlen(e->value)));
    (void)buf_str(&b, p->seccomp_json);
    digest_sha256(raw, buf_get(&b), b.len);
    str_hex(p->hash, raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(p->key); i++)
        p->key = p->key << 8 | raw[i];
}

/* Faults that only repeat what was said of the extended policy count too. */
static bool load_policy(struct loading *l, const struct source *s, struct policy *p)
{
    size_t before = l->y->faults_n;

    *p = (struct policy){.name = xstrdup(s->name), .file = xstrdup(s->path)};
    yaml_bind(l->y, policy_table, s->merged, p);
    if (l->y->faults_n == before) {
        policy_check(l->y, s->merged, p);
        load_profile(l->y, s->merged, l->dir, p);
    }
    if (l->y->faults_n != before) {
        policy_done(p);
        return false;
    }
    p->validation = validation_text(p);
    hash_policy(p);
    return true;
}

/* ---- the set ---- */

void policy_set_read(struct yaml *y, const char *dir, struct policy_set *ret_set)
{
    struct loading l = {.y = y, .dir = dir};

    *ret_set = (struct policy_set){0};
    list_sources(&l);
    if (l.n)
        ret_set->list = xcalloc(l.n, sizeof(*ret_set->list));
    for (size_t i = 0; i < l.n; i++) {
        resolve(&l, &l.sources[i]);
        if (l.sources[i].merged && load_policy(&l, &l.sources[i], &ret_set->list[ret_set->n]))
            ret_set->n++;
    }
    for (size_t i = 0; i < l.n; i++) {
        free(l.sources[i].name);
        free(l.sources[i].path);
    }
    free(l.sources);
}

int policy_set_load(const char *dir, struct policy_set *ret_set, struct err *err)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct policy_set set;

    yaml_init(&y);
    policy_set_read(&y, dir, &set);
    if (yaml_result(&y, err) < 0) {
        policy_set_done(&set);
        return -1;
    }
    *ret_set = set;
    return 0;
}

void policy_set_done(struct policy_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        policy_done(&set->list[i]);
    free(set->list);
    *set = (struct policy_set){0};
}

const struct policy *policy_find(const struct policy_set *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->list[i].name, name) == 0)
            return &set->list[i];
    }
    return NULL;
}

const struct policy *policy_find_key(const struct policy_set *set, uint64_t key)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->list[i].key == key)
            return &set->list[i];
    }
    return NULL;
}
