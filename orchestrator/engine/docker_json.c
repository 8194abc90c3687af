#include "engine/docker_json.h"

#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"

/* cJSON spends 64 bytes on each value, so 8 MiB of "[0,0,…" would be 300 MB: count first. */
enum { VALUES_MAX = 400 * 1000, LIST_MAX = 20 * 1000, WARNINGS_MAX = 64 };

#define EXACT 9007199254740992.0 /* 2^53: beyond it a double skips integers */

/*
 * Warnings that may stand: what they take away is comfort, the limits hold without it. Any other
 * warning means that a limit of the body is not enforced. Texts of moby's daemon, 20.10 to 29.
 */
static const struct comfort {
    const char *words;
    enum engine_lack lack;
} comforts[] = {
    {"does not support swap limit",        ENGINE_LACKS_SWAP_LIMIT},
    {"does not support memory swappiness", ENGINE_LACKS_SWAPPINESS},
};

/* ---- parsing within bounds ---- */

/* The caller deletes `*ret`. Everything that is not one whole, strict JSON value is ERR_PEER. */
static int parse(const char *data, size_t n, const char *what, cJSON **ret, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    struct err cause = {0};

    if (str_is_blank(data, n))
        return err_set(err, ERR_PEER, "%s: the reply is empty", what);
    if (json_scan_text(data, n, VALUES_MAX, &cause) < 0)
        return err_set(err, ERR_PEER, "%s: the reply is not good JSON: %s", what, cause.msg);
    doc = cJSON_ParseWithLength(data, n);
    if (!doc)
        return err_set(err, ERR_PEER, "%s: the reply is not good JSON", what);
    *ret = TAKE(doc);
    return 0;
}

static int bind(const cJSON *object, const struct json_field *table, size_t n, void *out,
                struct err *err)
{
    struct err cause = {0};

    if (json_bind(object, table, n, out, NULL, &cause) < 0)
        return err_set(err, ERR_PEER, "%s", cause.msg);
    return 0;
}

/* An engine's list may be null. NULL: it is neither. */
static bool is_list(const cJSON *item)
{
    return !item || cJSON_IsNull(item) || cJSON_IsArray(item);
}

/* ---- texts ---- */

/*
 * Of a text that is too long the beginning and the end: what an engine was doing comes first, layer by
 * layer, and the cause comes last.
 */
static size_t drop_middle(char out[DOCKER_TEXT_MAX], const char *s, size_t n)
{
    static const char gap[] = "…";
    size_t head = utf8_cut(s, DOCKER_TEXT_MAX / 3);
    size_t tail = DOCKER_TEXT_MAX - sizeof(gap) - head;

    while (tail && ((unsigned char)s[n - tail] & 0xC0) == 0x80)
        tail--;
    memcpy(out, s, head);
    memcpy(out + head, gap, sizeof(gap) - 1);
    memcpy(out + head + sizeof(gap) - 1, s + n - tail, tail);
    return head + sizeof(gap) - 1 + tail;
}

/* One line of valid UTF-8 without control characters, shortened to fit. */
static void copy_clean(char *out, size_t size, const char *s, size_t n)
{
    char kept[DOCKER_TEXT_MAX], fixed[UTF8_REPAIR_MAX(DOCKER_TEXT_MAX)];
    struct utf8_repair repair = {0};
    size_t len;

    if (n >= DOCKER_TEXT_MAX) {
        n = drop_middle(kept, s, n);
        s = kept;
    }
    len = utf8_repair_feed(&repair, s, n, fixed);
    if (len > size - 1)
        len = utf8_cut(fixed, size - 1);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)fixed[i] < 0x20 || fixed[i] == 0x7F)
            fixed[i] = ' ';
    }
    while (len && fixed[len - 1] == ' ')
        len--;
    memcpy(out, fixed, len);
    out[len] = '\0';
}

void docker_json_text(const char *data, size_t n, char out[DOCKER_TEXT_MAX])
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    const char *open = memchr(data, '{', n), *message, *close = memrchr(data, '}', n);

    /* From the brace on: the body of a refused attach may come in chunks, with their sizes. */
    if (open && close > open)
        (void)parse(open, (size_t)(close + 1 - open), "error", &doc, NULL);
    message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "message"));
    if (!message || !*message)
        message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "cause"));
    if (message)
        copy_clean(out, DOCKER_TEXT_MAX, message, strlen(message));
    else
        copy_clean(out, DOCKER_TEXT_MAX, data, n);
}

/* An id or name that stands in a path as it is. */
static bool is_plain_id(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n >= ENGINE_ID_MAX)
        return false;
    return strspn(s, "0123456789abcdefABCDEF") == n;
}

/* ---- create, update ---- */

static void sort_warning(const char *text, struct docker_warnings *w)
{
    for (size_t i = 0; i < ARRAY_LEN(comforts); i++) {
        if (strcasestr(text, comforts[i].words)) {
            w->lacks |= comforts[i].lack;
            return;
        }
    }
    if (w->denied[0])
        return;
    copy_clean(w->denied, sizeof(w->denied), text, strlen(text));
    if (!w->denied[0])
        (void)str_copy(w->denied, "a warning without words", sizeof(w->denied));
}

static int read_warnings(const cJSON *list, struct docker_warnings *ret, struct err *err)
{
    const cJSON *item;
    int n = 0;

    *ret = (struct docker_warnings){0};
    if (!is_list(list))
        return err_set(err, ERR_PEER, "'Warnings' must be a list");
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || ++n > WARNINGS_MAX)
            return err_set(err, ERR_PEER, "'Warnings' must be a short list of strings");
        sort_warning(item->valuestring, ret);
    }
    return 0;
}

struct created {
    const char *id;
    const cJSON *warnings;
};

static const struct json_field created_fields[] = {
    JSON_FIELD_TEXT(created, id, "Id", true, ENGINE_ID_MAX - 1),
    JSON_FIELD_ITEM(created, warnings, "Warnings", false),
};

int docker_json_created(const char *data, size_t n, char ret_id[ENGINE_ID_MAX],
                        struct docker_warnings *ret_warnings, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    struct created c = {0};

    if (parse(data, n, "create", &doc, err) < 0 ||
        bind(doc, created_fields, ARRAY_LEN(created_fields), &c, err) < 0 ||
        read_warnings(c.warnings, ret_warnings, err) < 0)
        return -1;
    if (!is_plain_id(c.id))
        return err_set(err, ERR_PEER, "create: the reply's 'Id' is not an id");
    (void)str_copy(ret_id, c.id, ENGINE_ID_MAX);
    return 0;
}

int docker_json_updated(const char *data, size_t n, struct docker_warnings *ret_warnings,
                        struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;

    if (parse(data, n, "update", &doc, err) < 0)
        return -1;
    if (!cJSON_IsObject(doc))
        return err_set(err, ERR_PEER, "update: the reply is not an object");
    return read_warnings(cJSON_GetObjectItemCaseSensitive(doc, "Warnings"), ret_warnings, err);
}

/* ---- inspect, wait ---- */

struct state {
    const char *status;
    bool running, oom;
    int64_t exit_code;
};

static const struct json_field state_fields[] = {
    JSON_FIELD_TEXT(state, status, "Status", true, 0),
    JSON_FIELD_BOOL(state, running, "Running", true),
    JSON_FIELD_BOOL(state, oom, "OOMKilled", true),
    JSON_FIELD_INT(state, exit_code, "ExitCode", true, INT32_MIN, INT32_MAX),
};

int docker_json_state(const char *data, size_t n, struct engine_state *ret, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    struct state s = {0};
    bool has_exited;

    if (parse(data, n, "inspect", &doc, err) < 0)
        return -1;
    if (bind(cJSON_GetObjectItemCaseSensitive(doc, "State"), state_fields, ARRAY_LEN(state_fields),
             &s, err) < 0)
        return err_wrap(err, "inspect: 'State'");
    has_exited = !s.running && strcmp(s.status, "exited") == 0;
    if (has_exited && (s.exit_code < 0 || s.exit_code > 255))
        return err_set(err, ERR_PEER, "inspect: exit code %lld", (long long)s.exit_code);
    *ret = (struct engine_state){
        .is_running = s.running,
        .is_oom = s.oom,
        .exit_code = has_exited ? (int)s.exit_code : ENGINE_EXIT_UNKNOWN,
    };
    return 0;
}

struct waited {
    int64_t status;
    const cJSON *error;
};

static const struct json_field wait_fields[] = {
    JSON_FIELD_INT(waited, status, "StatusCode", true, 0, 255),
    JSON_FIELD_ITEM(waited, error, "Error", false),
};

int docker_json_exit(const char *data, size_t n, int *ret_exit, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    struct waited w = {0};
    const char *words;
    char text[DOCKER_TEXT_MAX];

    if (parse(data, n, "wait", &doc, err) < 0)
        return -1;
    if (bind(doc, wait_fields, ARRAY_LEN(wait_fields), &w, err) < 0)
        return err_wrap(err, "wait");
    words = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(w.error, "Message"));
    if (words && *words) {
        copy_clean(text, sizeof(text), words, strlen(words));
        return err_set(err, ERR_PEER, "wait: %s", text);
    }
    *ret_exit = (int)w.status;
    return 0;
}

/* ---- list ---- */

struct container {
    const char *id, *state;
    const cJSON *names, *labels;
    int64_t created;
};

static const struct json_field container_fields[] = {
    JSON_FIELD_TEXT(container, id, "Id", true, ENGINE_ID_MAX - 1),
    JSON_FIELD_TEXT(container, state, "State", false, 0),
    JSON_FIELD_ITEM(container, names, "Names", false),
    JSON_FIELD_ITEM(container, labels, "Labels", false),
    JSON_FIELD_INT(container, created, "Created", false, 0, EXACT),
};

/* A value that does not fit is left out, so that a cut one is never taken for one of ours. */
static void copy_whole(char *out, size_t size, const char *value)
{
    if (!value || str_copy(out, value, size) >= size)
        out[0] = '\0';
}

static void copy_label(char *out, size_t size, const cJSON *labels, const char *name)
{
    copy_whole(out, size, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(labels, name)));
}

static int read_container(const cJSON *item, struct engine_container *ret, struct err *err)
{
    struct container c = {.created = ENGINE_TIME_UNKNOWN};
    const char *name;

    if (bind(item, container_fields, ARRAY_LEN(container_fields), &c, err) < 0)
        return err_wrap(err, "list");
    if (!is_plain_id(c.id))
        return err_set(err, ERR_PEER, "list: 'Id' is not an id");
    *ret = (struct engine_container){.created_s = c.created};
    (void)str_copy(ret->id, c.id, sizeof(ret->id));
    copy_whole(ret->state, sizeof(ret->state), c.state);
    name = cJSON_GetStringValue(cJSON_GetArrayItem(c.names, 0));
    copy_whole(ret->name, sizeof(ret->name), name && *name == '/' ? name + 1 : name);
    copy_label(ret->instance, sizeof(ret->instance), c.labels, LABEL_INSTANCE);
    copy_label(ret->epoch, sizeof(ret->epoch), c.labels, LABEL_EPOCH);
    copy_label(ret->policy, sizeof(ret->policy), c.labels, LABEL_POLICY);
    return 0;
}

int docker_json_list(const char *data, size_t n, struct engine_container **ret, size_t *ret_n,
                     struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    auto_free struct engine_container *list = NULL;
    const cJSON *item;
    size_t count, i = 0;

    if (parse(data, n, "list", &doc, err) < 0)
        return -1;
    if (!is_list(doc))
        return err_set(err, ERR_PEER, "list: the reply is not a list");
    count = (size_t)cJSON_GetArraySize(doc);
    if (count > LIST_MAX)
        return err_set(err, ERR_PEER, "list: over %d containers", LIST_MAX);
    if (count)
        list = xcalloc(count, sizeof(*list));
    cJSON_ArrayForEach(item, doc)
    {
        if (read_container(item, &list[i++], err) < 0)
            return -1;
    }
    *ret = TAKE(list);
    *ret_n = count;
    return 0;
}

/* ---- image, stats, info ---- */

struct image {
    const char *id;
    int64_t size;
    const cJSON *config;
};

static const struct json_field image_fields[] = {
    JSON_FIELD_TEXT(image, id, "Id", true, 0),
    JSON_FIELD_INT(image, size, "Size", true, 0, EXACT),
    JSON_FIELD_ITEM(image, config, "Config", true),
};

static bool is_digest(const char *s)
{
    static const char prefix[] = "sha256:";
    const char *hex = s + sizeof(prefix) - 1;

    return str_starts(s, prefix) && strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}

int docker_json_image(const char *data, size_t n, struct engine_image *ret, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    struct image i = {0};
    const cJSON *volumes;

    if (parse(data, n, "image", &doc, err) < 0)
        return -1;
    if (bind(doc, image_fields, ARRAY_LEN(image_fields), &i, err) < 0)
        return err_wrap(err, "image");
    if (!is_digest(i.id) || !cJSON_IsObject(i.config))
        return err_set(err, ERR_PEER, "image: 'Id' or 'Config' is not what it should be");
    /* No create body can take a declared volume away: it would be the host's disk, writable. */
    volumes = cJSON_GetObjectItemCaseSensitive(i.config, "Volumes");
    if (volumes && !cJSON_IsNull(volumes) && (!cJSON_IsObject(volumes) || volumes->child))
        return err_set(err, ERR_DENIED, "the image declares volumes, which no limit would hold");
    (void)str_copy(ret->digest, i.id, sizeof(ret->digest));
    ret->size = (uint64_t)i.size;
    return 0;
}

/* Reads a count of bytes; false when it is missing or no number. */
static bool get_bytes(const cJSON *object, const char *key, int64_t *ret)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= EXACT))
        return false;
    *ret = (int64_t)item->valuedouble;
    return true;
}

int docker_json_usage(const char *data, size_t n, uint64_t *ret_bytes, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    const cJSON *memory, *stats;
    int64_t usage = 0, cache = 0;

    if (parse(data, n, "stats", &doc, err) < 0)
        return -1;
    memory = cJSON_GetObjectItemCaseSensitive(doc, "memory_stats");
    stats = cJSON_GetObjectItemCaseSensitive(memory, "stats");
    /* cgroup v1 names it with its sub-groups "total_…", v2 has the plain name alone. */
    if (!get_bytes(memory, "usage", &usage) || (!get_bytes(stats, "total_inactive_file", &cache) &&
                                                !get_bytes(stats, "inactive_file", &cache)))
        return err_set(err, ERR_PEER, "stats: the engine does not tell the container's memory");
    *ret_bytes = usage > cache ? (uint64_t)(usage - cache) : 0;
    return 0;
}

int docker_json_cgroup(const char *data, size_t n, int *ret_version, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    const char *version;

    if (parse(data, n, "info", &doc, err) < 0)
        return -1;
    if (!cJSON_IsObject(doc))
        return err_set(err, ERR_PEER, "info: the reply is not an object");
    version = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "CgroupVersion"));
    *ret_version = 0;
    if (version && strcmp(version, "1") == 0)
        *ret_version = 1;
    if (version && strcmp(version, "2") == 0)
        *ret_version = 2;
    return 0;
}

/* ---- events ---- */

static const char *text_of(const cJSON *object, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

    return s ? s : "";
}

/* The new place, or the one that API 1.52 took away. */
static const char *either(const char *now, const char *before)
{
    return *now ? now : before;
}

int docker_json_event(const char *data, size_t n, engine_watcher *fn, void *ctx, bool *ret_go_on,
                      struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *doc = NULL;
    const cJSON *actor, *attributes, *time_ns;
    struct engine_event ev = {.time_ns = ENGINE_TIME_UNKNOWN};
    const char *type;

    if (parse(data, n, "events", &doc, err) < 0)
        return -1;
    if (!cJSON_IsObject(doc))
        return err_set(err, ERR_PEER, "events: a line is not an object");
    actor = cJSON_GetObjectItemCaseSensitive(doc, "Actor");
    attributes = cJSON_GetObjectItemCaseSensitive(actor, "Attributes");
    type = text_of(doc, "Type");
    ev.action = either(text_of(doc, "Action"), text_of(doc, "status"));
    ev.id = either(text_of(actor, "ID"), text_of(doc, "id"));
    ev.name = text_of(attributes, "name");
    ev.instance = text_of(attributes, LABEL_INSTANCE);
    time_ns = cJSON_GetObjectItemCaseSensitive(doc, "timeNano");
    /* Over 2^53 the double is off by up to 128 ns: good enough for an event. */
    if (cJSON_IsNumber(time_ns) && time_ns->valuedouble > 0 && time_ns->valuedouble < 9.2e18)
        ev.time_ns = (int64_t)time_ns->valuedouble;
    if ((*type && strcmp(type, "container") != 0) || !*ev.action || !*ev.id)
        return 0;
    *ret_go_on = fn(ctx, &ev);
    return 1;
}
