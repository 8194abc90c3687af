#include "policy/network.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "policy/policy.h"
#include "policy/syntax.h"

enum { RELAY_MAX = 64, KEY_MAX = 2 * YAML_PATH_MAX };

static const char forms[] = "none, open, {relay: …} or {join: NAME}";
static const char endpoint_words[] = "host:port, such as influxdb3:8181";

static const struct yaml_syntax endpoint = {syntax_endpoint, endpoint_words};

/* clang-format off */
static const struct yaml_field entry_fields[] = {
    {.key = "as",      .type = YAML_TEXT, .offset = offsetof(struct policy_relay, as), .is_required = true, .syntax = &endpoint},
    {.key = "to",      .type = YAML_TEXT, .offset = offsetof(struct policy_relay, to), .syntax = &endpoint},
    {.key = "private", .type = YAML_BOOL, .offset = offsetof(struct policy_relay, is_private)},
    {0},
};
/* clang-format on */

static int bind_port(struct yaml *y, const struct yaml_node *node, const char *key,
                     struct policy_network *net)
{
    const char *text = yaml_text(y, node, key, "a port from 1 to 65535");
    int64_t port;

    if (!text)
        return -1;
    if (!str_to_i64(text, 1, 65535, &port))
        return yaml_fault(y, node, key, "must be a port from 1 to 65535, not '%.20s'", text);
    for (size_t i = 0; i < net->any_n; i++) {
        if (net->any[i] == port)
            return yaml_fault(y, node, key, "has port %d twice", (int)port);
    }
    net->any = xarray(net->any, net->any_n + 1, sizeof(*net->any));
    net->any[net->any_n++] = port;
    return 0;
}

/* `map` is {any: [80, 443]}. */
static int bind_any(struct yaml *y, const struct yaml_node *map, const char *key,
                    struct policy_network *net)
{
    const struct yaml_node *ports = yaml_get(map, "any");
    char path[KEY_MAX + 64];

    (void)snprintf(path, sizeof(path), "%s.any", key);
    if (!ports || map->n != 1)
        return yaml_fault(y, map, key, "must be {any: [PORT …]} and nothing else");
    if (ports->kind != YAML_LIST || !ports->n || ports->n > RELAY_MAX)
        return yaml_fault(y, ports, path, "must be a list of 1 to %d ports", RELAY_MAX);
    for (size_t i = 0; i < ports->n; i++) {
        if (bind_port(y, ports->items[i], path, net) < 0)
            return -1;
    }
    return 0;
}

static int check_relay(struct yaml *y, const struct yaml_node *node, const char *key,
                       const struct policy_network *net, const struct policy_relay *r)
{
    if (!syntax_endpoint(r->as))
        return yaml_fault(y, node, key, "must be %s, not '%.60s'", endpoint_words, r->as);
    for (size_t i = 0; i < net->relay_n; i++) {
        if (strcasecmp(net->relay[i].as, r->as) == 0)
            return yaml_fault(y, node, key, "names '%.60s' twice", r->as);
    }
    return 0;
}

static int add_relay(struct yaml *y, const struct yaml_node *node, const char *key,
                     struct policy_network *net)
{
    struct policy_relay r = {0};
    size_t before = y->faults_n;

    if (node->kind == YAML_MAP) {
        yaml_bind_at(y, entry_fields, node, key, &r);
    } else {
        const char *text = yaml_text(y, node, key, endpoint_words);

        r.as = xstrdup(text ? text : "");
        r.to = xstrdup("");
    }
    if (y->faults_n == before)
        (void)check_relay(y, node, key, net, &r);
    if (y->faults_n != before) {
        yaml_release(entry_fields, &r);
        return -1;
    }
    if (!*r.to) {
        free(r.to);
        r.to = xstrdup(r.as);
    }
    net->relay = xarray(net->relay, net->relay_n + 1, sizeof(*net->relay));
    net->relay[net->relay_n++] = r;
    return 0;
}

static int bind_relay(struct yaml *y, const struct yaml_node *node, const char *key,
                      struct policy_network *net)
{
    net->kind = NETWORK_RELAY;
    if (node->kind == YAML_MAP)
        return bind_any(y, node, key, net);
    if (node->kind != YAML_LIST || !node->n || node->n > RELAY_MAX)
        return yaml_fault(y, node, key, "must be a list of 1 to %d entries", RELAY_MAX);
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_node *entry = node->items[i];
        char path[KEY_MAX + 32];
        int rc;

        (void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
        rc =
            yaml_get(entry, "any") ? bind_any(y, entry, path, net) : add_relay(y, entry, path, net);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int bind_join(struct yaml *y, const struct yaml_node *node, const char *key,
                     struct policy_network *net)
{
    const char *text = yaml_text(y, node, key, "the name of a network");

    if (!text)
        return -1;
    if (!syntax_word(text))
        return yaml_fault(y, node, key, "must be the name of a network, not '%.60s'", text);
    net->kind = NETWORK_JOIN;
    free(net->join);
    net->join = xstrdup(text);
    return 0;
}

static int bind_word(struct yaml *y, const struct yaml_node *node, const char *key,
                     struct policy_network *net)
{
    const char *text = yaml_text(y, node, key, forms);

    if (!text)
        return -1;
    if (strcmp(text, "open") == 0)
        net->kind = NETWORK_OPEN;
    else if (strcmp(text, "none") != 0)
        return yaml_fault(y, node, key, "must be %s, not '%.40s'", forms, text);
    return 0;
}

static int network_bind(struct yaml *y, const struct yaml_node *node, const char *key, void *at)
{
    struct policy_network *net = at;
    char path[KEY_MAX];

    *net = (struct policy_network){.join = xstrdup("")};
    if (node->kind != YAML_MAP)
        return bind_word(y, node, key, net);
    if (node->n != 1)
        return yaml_fault(y, node, key, "must be %s", forms);
    (void)snprintf(path, sizeof(path), "%s.%s", key, node->keys[0]->text);
    if (strcmp(node->keys[0]->text, "relay") == 0)
        return bind_relay(y, node->items[0], path, net);
    if (strcmp(node->keys[0]->text, "join") == 0)
        return bind_join(y, node->items[0], path, net);
    return yaml_fault(y, node->keys[0], path, "is not a key here; network is %s", forms);
}

static void print_any(struct buf *b, const struct policy_network *net)
{
    (void)buf_str(b, "{any: [");
    for (size_t i = 0; i < net->any_n; i++)
        (void)buf_fmt(b, "%s%d", i ? ", " : "", (int)net->any[i]);
    (void)buf_str(b, "]}");
}

static void print_relay(struct buf *b, const struct policy_network *net)
{
    (void)buf_str(b, "{relay: [");
    for (size_t i = 0; i < net->relay_n; i++) {
        const struct policy_relay *r = &net->relay[i];

        (void)buf_str(b, i ? ", {as: " : "{as: ");
        yaml_print_text(b, r->as);
        (void)buf_str(b, ", to: ");
        yaml_print_text(b, r->to);
        (void)buf_fmt(b, ", private: %s}", r->is_private ? "true" : "false");
    }
    if (net->any_n) {
        (void)buf_str(b, net->relay_n ? ", " : "");
        print_any(b, net);
    }
    (void)buf_str(b, "]}");
}

static void network_print(struct buf *b, const void *at)
{
    const struct policy_network *net = at;

    switch (net->kind) {
    case NETWORK_NONE:
        (void)buf_str(b, "none");
        return;
    case NETWORK_OPEN:
        (void)buf_str(b, "open");
        return;
    case NETWORK_JOIN:
        (void)buf_str(b, "{join: ");
        yaml_print_text(b, net->join);
        (void)buf_char(b, '}');
        return;
    case NETWORK_RELAY:
        print_relay(b, net);
        return;
    }
}

static void network_release(void *at)
{
    struct policy_network *net = at;

    for (size_t i = 0; i < net->relay_n; i++)
        yaml_release(entry_fields, &net->relay[i]);
    free(net->relay);
    free(net->any);
    free(net->join);
    *net = (struct policy_network){0};
}

static size_t host_len(const char *as)
{
    return (size_t)(strrchr(as, ':') - as);
}

size_t network_host_index(const struct policy_network *net, size_t entry)
{
    size_t n = host_len(net->relay[entry].as);

    for (size_t i = 0; i < entry; i++) {
        if (host_len(net->relay[i].as) == n &&
            strncasecmp(net->relay[i].as, net->relay[entry].as, n) == 0)
            return i;
    }
    return entry;
}

const struct policy_relay *network_find(const struct policy_network *net, const char *target)
{
    for (size_t i = 0; i < net->relay_n; i++) {
        if (strcasecmp(net->relay[i].as, target) == 0)
            return &net->relay[i];
    }
    return NULL;
}

const struct yaml_custom network_custom = {network_bind, network_print, network_release};
