#include "policy/settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/settings_table.h"
#include "policy/syntax.h"

/* Far more than the limits of the keys add up to. */
enum { PRINT_MAX = 16 << 20 };

/*
 * Variables that move a listener, later rows over earlier ones. `dialect`: the one that must stand
 * first in its list, NULL = every listener.
 */
static const struct {
    const char *env, *dialect, *key;
} overrides[] = {
    {"ONESHOT_LISTEN_ADDRESS", NULL,        "address"},
    {"SANDBOX_HOST",           "aiq",       "address"},
    {"SANDBOX_PORT",           "aiq",       "port"   },
    {"TELEMETRY_PORT",         "telemetry", "port"   },
    {"ONESHOT_PORT",           "native",    "port"   },
    {"GENERATOR_PORT",         "generator", "port"   },
    {"EXECUTOR_PORT",          "executor",  "port"   },
};

/* Where policies are looked for when nothing says where. */
static const char *const policy_dirs[] = {"policies", "/etc/oneshot/policies",
                                          "/usr/share/oneshot/policies"};

static const char *get_env(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* ---- listeners ---- */

static void set_key(struct yaml *y, struct yaml_node *map, const char *key, struct yaml_node *value)
{
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->keys[i]->text, key) == 0) {
            map->items[i] = value;
            return;
        }
    }
    yaml_put(map, yaml_scalar(y, "built-in value", key), value);
}

static const char *first_dialect(const struct yaml_node *listener)
{
    const struct yaml_node *list = yaml_get(listener, "dialects");

    if (!list || list->kind != YAML_LIST || !list->n || list->items[0]->kind != YAML_SCALAR)
        return "";
    return list->items[0]->text;
}

static void override_listener(struct yaml *y, struct yaml_node *listener)
{
    for (size_t i = 0; i < ARRAY_LEN(overrides); i++) {
        const char *value = get_env(overrides[i].env), *dialect = overrides[i].dialect;
        auto_free char *from = xasprintf("environment variable %s", overrides[i].env);

        if (value && (!dialect || strcmp(first_dialect(listener), dialect) == 0))
            set_key(y, listener, overrides[i].key, yaml_scalar(y, from, value));
    }
}

/* The whole list, written as in the file: from the variable, else ours. NULL where it is faulty. */
static struct yaml_node *listeners_beside_file(struct yaml *y, const char *value)
{
    auto_free char *text = value ? xasprintf("listeners: %s", value) : NULL;
    const char *from = value ? "environment variable ONESHOT_LISTENERS" : "built-in value";
    const char *what = value ? text : settings_listeners;

    return yaml_get(yaml_parse(y, from, what, strlen(what)), "listeners");
}

/* Done in the tree, so that what is wrong with a variable is told with the variable's name. */
static void override_listeners(struct yaml *y, struct yaml_node *root)
{
    const char *value = get_env("ONESHOT_LISTENERS");
    struct yaml_node *list = yaml_get(root, "listeners");

    if (value || !list) {
        list = listeners_beside_file(y, value);
        if (!list) /* the fault is told; the rest is looked at all the same */
            list = listeners_beside_file(y, NULL);
        set_key(y, root, "listeners", list);
    }
    for (size_t i = 0; list->kind == YAML_LIST && i < list->n; i++) {
        if (list->items[i]->kind == YAML_MAP)
            override_listener(y, list->items[i]);
    }
}

static bool is_loopback(const char *address)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, address, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &six) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

static bool is_taken(const struct settings *s, size_t index)
{
    const struct listener *l = &s->listeners[index];

    for (size_t i = 0; i < index; i++) {
        if (l->port && s->listeners[i].port == l->port &&
            strcmp(s->listeners[i].address, l->address) == 0)
            return true;
    }
    return false;
}

static void check_listener(struct yaml *y, const struct yaml_node *node, struct settings *s,
                           size_t index)
{
    struct listener *l = &s->listeners[index];
    char key[64];

    (void)snprintf(key, sizeof(key), "listeners[%zu].address", index);
    if (strcmp(l->address, "localhost") == 0) {
        free(l->address);
        l->address = xstrdup("127.0.0.1");
    }
    if (!is_loopback(l->address) && !s->allow_unauthenticated)
        (void)yaml_fault(y, yaml_near(node, "address"), key,
                         "'%s' is open to other machines and there are no keys; set "
                         "allow_unauthenticated: true (ONESHOT_ALLOW_UNAUTHENTICATED=1) where "
                         "something else keeps strangers out",
                         l->address);
    if (is_taken(s, index))
        (void)yaml_fault(y, yaml_near(node, "port"), key, "port %d of '%s' is taken by another",
                         (int)l->port, l->address);
    (void)snprintf(key, sizeof(key), "listeners[%zu].dialects", index);
    if (!l->dialects[0])
        (void)yaml_fault(y, yaml_near(node, "dialects"), key, "must name a dialect");
}

static void check_listeners(struct yaml *y, const struct yaml_node *root, struct settings *s)
{
    const struct yaml_node *list = yaml_get(root, "listeners");

    if (!s->listeners_n)
        (void)yaml_fault(y, list, "listeners", "must have a listener");
    for (size_t i = 0; i < s->listeners_n; i++)
        check_listener(y, list->items[i], s, i);
}

/* ---- what depends on the machine ---- */

static char *default_state_dir(void)
{
    const char *state = get_env("XDG_STATE_HOME"), *home = get_env("HOME");

    if (geteuid() == 0)
        return xstrdup("/var/lib/oneshot");
    if (state && *state == '/')
        return xasprintf("%s/oneshot", state);
    return home ? xasprintf("%s/.local/state/oneshot", home) : NULL;
}

static void fill_state_dir(struct yaml *y, const struct yaml_node *root, struct settings *s)
{
    char *dir;

    if (*s->state_dir)
        return;
    dir = default_state_dir();
    if (!dir) {
        (void)yaml_fault(y, yaml_near(root, "state_dir"), "state_dir",
                         "must be set where there is no HOME");
        return;
    }
    free(s->state_dir);
    s->state_dir = dir;
}

static void fill_policies_dir(struct settings *s)
{
    const char *found = policy_dirs[0];
    struct stat st;

    if (*s->policies_dir)
        return;
    for (size_t i = ARRAY_LEN(policy_dirs); i-- > 0;) {
        if (stat(policy_dirs[i], &st) == 0 && S_ISDIR(st.st_mode))
            found = policy_dirs[i];
    }
    free(s->policies_dir);
    s->policies_dir = xstrdup(found);
}

/* DEBUG is what the scripts of the seed systems set; only our own variable is stronger. */
static void apply_debug(struct settings *s)
{
    const char *debug = get_env("DEBUG");

    if (debug && (strcmp(debug, "1") == 0 || str_eq_nocase(debug, "true")) &&
        !get_env("ONESHOT_LOG_LEVEL"))
        s->log_level = LOG_DEBUG;
}

/* ---- loading ---- */

static const char *find_file(const char *path)
{
    static const char *const usual[] = {"oneshot.yaml", "/etc/oneshot/oneshot.yaml"};

    if (!path)
        path = get_env("ONESHOT_CONFIG");
    for (size_t i = 0; !path && i < ARRAY_LEN(usual); i++) {
        if (access(usual[i], F_OK) == 0)
            path = usual[i];
    }
    return path;
}

void settings_read(struct yaml *y, const char *path, struct settings *ret_settings)
{
    const char *file = find_file(path);
    struct yaml_node *root = file ? yaml_read(y, file) : yaml_parse(y, "built-in value", "", 0);
    size_t before = y->faults_n;

    *ret_settings = (struct settings){.file = xstrdup(file ? file : "")};
    if (!root)
        root = yaml_parse(y, "built-in value", "", 0);
    override_listeners(y, root);
    yaml_bind(y, settings_table, root, ret_settings);
    fill_policies_dir(ret_settings);
    if (y->faults_n != before)
        return;
    fill_state_dir(y, root, ret_settings);
    apply_debug(ret_settings);
    check_listeners(y, root, ret_settings);
}

int settings_load(const char *path, struct settings *ret_settings, struct err *err)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    struct settings s;

    yaml_init(&y);
    settings_read(&y, path, &s);
    if (yaml_result(&y, err) < 0) {
        settings_done(&s);
        return -1;
    }
    *ret_settings = s;
    return 0;
}

void settings_done(struct settings *s)
{
    yaml_release(settings_table, s);
    free(s->file);
    *s = (struct settings){0};
}

bool settings_has_engine(const struct settings *s)
{
    return strcmp(s->engine_host, "none") != 0;
}

void settings_forget_tokens(struct settings *s)
{
    explicit_bzero(s->slack_bot_token, strlen(s->slack_bot_token));
    explicit_bzero(s->slack_app_token, strlen(s->slack_app_token));
}

/* ---- printing ---- */

/* "postgresql://user:secret@host/db" without the secret; caller frees. */
static char *without_password(const char *url)
{
    const char *user = strstr(url, "://"), *at, *colon;

    if (!user)
        return xstrdup(url);
    user += strlen("://");
    at = memrchr(user, '@', strcspn(user, "/?"));
    colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
    if (!colon)
        return xstrdup(url);
    return xasprintf("%.*s:***%s", (int)(colon - url), url, at);
}

char *settings_print(const struct settings *s, bool with_docs)
{
    CLEANUP(buf_done) struct buf b = {.max = PRINT_MAX};
    auto_free char *url = without_password(s->store_url);
    static char hidden[] = "***";
    struct settings shown = *s;
    char **const secrets[] = {&shown.model_key, &shown.slack_bot_token, &shown.slack_app_token,
                              &shown.slack_signing_secret, &shown.executor_token};

    shown.store_url = url;
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        if (**secrets[i])
            *secrets[i] = hidden;
    }
    yaml_print(&b, settings_table, &shown, with_docs);
    assert(!b.is_full);
    return buf_take(&b);
}
