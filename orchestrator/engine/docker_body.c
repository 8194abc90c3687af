#include "engine/docker_body.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"

#define ALNUM "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

enum { NAME_MAX_LEN = 128, IMAGE_MAX_LEN = 512, MEMORY_MIN = 6 * 1024 * 1024 };

/* What no policy can change. Empty members stand here so that a reader sees them refused. */
static const char fixed_config[] =
    "\"Cmd\":[],\"AttachStdin\":true,\"OpenStdin\":true,\"StdinOnce\":true,"
    "\"AttachStdout\":true,\"AttachStderr\":true,\"Tty\":false,"
    "\"StopSignal\":\"SIGKILL\",\"StopTimeout\":0,"
    /* A check of the image's own would run as an exec beside the program. */
    "\"Healthcheck\":{\"Test\":[\"NONE\"]}";

static const char fixed_host[] =
    "\"ReadonlyRootfs\":true,\"Privileged\":false,\"CapDrop\":[\"ALL\"],\"CapAdd\":[],"
    "\"OomKillDisable\":false,\"OomScoreAdj\":1000,"
    "\"IpcMode\":\"private\",\"CgroupnsMode\":\"private\",\"PidMode\":\"\",\"UTSMode\":\"\","
    "\"UsernsMode\":\"\",\"Devices\":[],\"DeviceCgroupRules\":[],\"Binds\":[],"
    "\"PublishAllPorts\":false,\"Links\":[],"
    "\"LogConfig\":{\"Type\":\"none\"},\"AutoRemove\":false,"
    "\"RestartPolicy\":{\"Name\":\"no\"},\"Init\":false";

/* These replace the engine's own lists, so its entries (the first ten) stay among ours. */
static const char *const masked[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/modules",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/key-users",
    "/proc/slabinfo",
    "/proc/pagetypeinfo",
    "/proc/buddyinfo",
    "/proc/zoneinfo",
    "/proc/vmstat",
    "/proc/diskstats",
    "/proc/partitions",
    "/proc/locks",
    "/proc/crypto",
    "/proc/schedstat",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/pressure",
    "/proc/consoles",
    "/proc/devices",
    "/proc/misc",
    "/sys/kernel",
    "/sys/module",
    "/sys/block",
    "/sys/class",
    "/sys/bus",
    "/sys/dev",
    "/sys/power",
    "/sys/hypervisor",
    NULL,
};

static const char *const readonly[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

bool docker_name_is_valid(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= NAME_MAX_LEN && strspn(name, ALNUM "_.-") == n && strspn(name, ALNUM) > 0;
}

bool docker_image_is_valid(const char *reference)
{
    size_t n = strlen(reference);

    return n > 0 && n <= IMAGE_MAX_LEN && strspn(reference, ALNUM "_.-/:@") == n &&
           strspn(reference, ALNUM) > 0 && !strstr(reference, "..") && !strstr(reference, "//");
}

static void put_str(struct buf *b, const char *s)
{
    json_put_str(b, s, strlen(s));
}

static void put_key(struct buf *b, const char *key)
{
    (void)buf_char(b, ',');
    put_str(b, key);
    (void)buf_char(b, ':');
}

static void put_text(struct buf *b, const char *key, const char *value)
{
    put_key(b, key);
    put_str(b, value);
}

static void put_number(struct buf *b, const char *key, int64_t value)
{
    put_key(b, key);
    (void)buf_fmt(b, "%lld", (long long)value);
}

static void put_list(struct buf *b, const char *key, const char *const *list)
{
    put_key(b, key);
    (void)buf_char(b, '[');
    for (size_t i = 0; list && list[i]; i++) {
        if (i)
            (void)buf_char(b, ',');
        put_str(b, list[i]);
    }
    (void)buf_char(b, ']');
}

static void put_env(struct buf *b, const struct engine_spec *s)
{
    put_key(b, "Env");
    for (size_t i = 0; i < s->env_n; i++) {
        const struct engine_pair *p = &s->env[i];
        CLEANUP(buf_done) struct buf pair = {0};

        buf_init(&pair, DOCKER_BODY_MAX);
        (void)buf_fmt(&pair, "%s=%s", p->name, p->value);
        (void)buf_char(b, i ? ',' : '[');
        json_put_str(b, buf_get(&pair), pair.len);
    }
    (void)buf_str(b, s->env_n ? "]" : "[]");
}

static void put_labels(struct buf *b, const struct engine_spec *s)
{
    put_key(b, "Labels");
    (void)buf_char(b, '{');
    for (size_t i = 0; i < s->labels_n; i++) {
        if (i)
            (void)buf_char(b, ',');
        put_str(b, s->labels[i].name);
        (void)buf_char(b, ':');
        put_str(b, s->labels[i].value);
    }
    (void)buf_char(b, '}');
}

static void put_tmpfs(struct buf *b, const struct engine_spec *s)
{
    put_key(b, "Tmpfs");
    (void)buf_char(b, '{');
    for (size_t i = 0; i < s->tmpfs_n; i++) {
        if (i)
            (void)buf_char(b, ',');
        put_str(b, s->tmpfs[i].path);
        (void)buf_char(b, ':');
        put_str(b, s->tmpfs[i].options);
    }
    (void)buf_char(b, '}');
}

static void put_ulimits(struct buf *b, const struct engine_spec *s)
{
    put_key(b, "Ulimits");
    (void)buf_char(b, '[');
    for (size_t i = 0; i < s->ulimits_n; i++) {
        const struct engine_ulimit *u = &s->ulimits[i];

        (void)buf_str(b, i ? ",{\"Name\":" : "{\"Name\":");
        put_str(b, u->name);
        (void)buf_fmt(b, ",\"Soft\":%lld,\"Hard\":%lld}", (long long)u->soft, (long long)u->hard);
    }
    (void)buf_char(b, ']');
}

/* The profile is JSON inside a JSON string. */
static void put_security(struct buf *b, const char *seccomp_json)
{
    size_t n = strlen(seccomp_json);
    char *room;

    put_key(b, "SecurityOpt");
    (void)buf_str(b, "[\"no-new-privileges=true\",\"seccomp=");
    room = n < DOCKER_BODY_MAX ? buf_room(b, JSON_ESCAPE_MAX * n) : NULL;
    if (room)
        buf_commit(b, json_escape(room, seccomp_json, n));
    else
        b->is_full = true;
    (void)buf_str(b, "\"]");
}

static void put_memory(struct buf *b, int64_t memory)
{
    (void)buf_fmt(b, "\"Memory\":%lld,\"MemorySwap\":%lld", (long long)memory, (long long)memory);
}

static void put_host(struct buf *b, const struct engine_spec *s, bool has_swappiness)
{
    (void)buf_str(b, ",\"HostConfig\":{");
    put_memory(b, s->memory);
    /* cgroup v2 knows no swappiness, and Podman refuses a body that has it. */
    if (has_swappiness)
        put_number(b, "MemorySwappiness", 0);
    put_number(b, "NanoCpus", s->nano_cpus);
    put_number(b, "PidsLimit", s->pids);
    put_number(b, "ShmSize", s->shm_size);
    put_text(b, "NetworkMode", s->network);
    put_list(b, "ExtraHosts", s->extra_hosts);
    if (s->runtime && *s->runtime)
        put_text(b, "Runtime", s->runtime);
    put_security(b, s->seccomp_json);
    put_tmpfs(b, s);
    put_ulimits(b, s);
    put_list(b, "MaskedPaths", masked);
    put_list(b, "ReadonlyPaths", readonly);
    (void)buf_char(b, ',');
    (void)buf_str(b, fixed_host);
    (void)buf_char(b, '}');
}

/* "uid:gid" in numbers without root: what the image's /etc/passwd says must not matter. */
static bool is_plain_user(const char *user)
{
    size_t uid = strspn(user, "0123456789"), gid;

    if (uid == 0 || user[uid] != ':' || user[0] == '0')
        return false;
    gid = strspn(user + uid + 1, "0123456789");
    return gid > 0 && user[uid + 1] != '0' && !user[uid + 1 + gid];
}

/* An engine reads a missing or negative limit as none at all. */
static int check(const struct engine_spec *s, struct err *err)
{
    if (!docker_name_is_valid(s->name))
        return err_set(err, ERR_INVALID, "container name '%.64s'", s->name);
    if (!docker_image_is_valid(s->image))
        return err_set(err, ERR_INVALID, "image reference '%.64s'", s->image);
    if (!is_plain_user(s->user))
        return err_set(err, ERR_INVALID, "user '%.64s' is not uid:gid without root", s->user);
    if (!s->argv || !s->argv[0])
        return err_set(err, ERR_INVALID, "no command");
    if (!s->network || !*s->network || strcmp(s->network, "host") == 0 ||
        str_starts(s->network, "container:"))
        return err_set(err, ERR_INVALID, "network mode '%.64s'", s->network ? s->network : "");
    if (s->memory < MEMORY_MIN || s->nano_cpus <= 0 || s->pids <= 0 || s->shm_size <= 0)
        return err_set(err, ERR_INVALID, "a limit of memory, processors, processes or shm");
    if (!s->seccomp_json || *s->seccomp_json != '{')
        return err_set(err, ERR_INVALID, "the seccomp profile is not a JSON object");
    return 0;
}

int docker_body_create(const struct engine_spec *spec, bool has_swappiness, struct buf *out,
                       struct err *err)
{
    if (check(spec, err) < 0)
        return err_wrap(err, "create");
    (void)buf_char(out, '{');
    (void)buf_str(out, fixed_config);
    put_text(out, "Image", spec->image);
    put_text(out, "User", spec->user);
    put_text(out, "Hostname", spec->hostname);
    put_text(out, "WorkingDir", spec->work_dir);
    put_list(out, "Entrypoint", spec->argv);
    put_env(out, spec);
    put_labels(out, spec);
    put_host(out, spec, has_swappiness);
    (void)buf_char(out, '}');
    if (out->is_full)
        return err_set(err, ERR_LIMIT, "create: the body is over %zu bytes", out->max);
    return 0;
}

void docker_body_update(int64_t memory, struct buf *out)
{
    (void)buf_char(out, '{');
    put_memory(out, memory);
    (void)buf_char(out, '}');
}
