#include "keeper/spec.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "policy/network.h"

enum { LABELS = 4, TMPFS = 2, ULIMITS = 7 };

/* Beyond the longest run: the interpreter's start and warm-up count too (design 5). */
enum { CPU_SECONDS_SPARE = 30 };

struct spec {
    struct engine_spec spec;
    char **owned;
    size_t owned_n;
    struct engine_pair *env;
    const char **hosts;
    struct engine_pair labels[LABELS];
    struct engine_tmpfs tmpfs[TMPFS];
    struct engine_ulimit ulimits[ULIMITS];
    const char *argv[2];
};

static const char *own(struct spec *s, char *text)
{
    s->owned = xarray(s->owned, s->owned_n + 1, sizeof(*s->owned));
    s->owned[s->owned_n++] = text;
    return text;
}

static const char *keep(struct spec *s, const char *text)
{
    return own(s, xstrdup(text));
}

/* The last word on a name counts: of two equal ones a program would see the first. */
static void add_env(struct spec *s, const char *name, const char *value)
{
    for (size_t i = 0; i < s->spec.env_n; i++) {
        if (strcmp(s->env[i].name, name) == 0) {
            s->env[i].value = value;
            return;
        }
    }
    s->env = xarray(s->env, s->spec.env_n + 1, sizeof(*s->env));
    s->env[s->spec.env_n++] = (struct engine_pair){name, value};
}

static char *join(char *const *list)
{
    char *out = xstrdup("");

    for (; list && *list; list++) {
        char *longer = xasprintf("%s%s%s", out, *out ? "," : "", *list);

        free(out);
        out = longer;
    }
    return out;
}

static void fill_env(struct spec *s, const struct policy *p)
{
    /* Numerical libraries start a thread per processor of the host unless told otherwise. */
    static const char *const threads[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                          "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS"};
    const char *count = own(s, xasprintf("%d", (int)fmax(1, ceil(p->cpus))));

    add_env(s, "PATH", "/usr/local/bin:/usr/bin:/bin");
    add_env(s, "HOME", spec_get(s)->work_dir);
    add_env(s, "LANG", "C.UTF-8");
    add_env(s, "TMPDIR", "/tmp");
    add_env(s, "MPLCONFIGDIR", "/tmp/.mpl");
    add_env(s, "PYTHONDONTWRITEBYTECODE", "1");
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        add_env(s, threads[i], count);
    add_env(s, "ONESHOT_WORK", spec_get(s)->work_dir);
    add_env(s, "ONESHOT_WARM", own(s, join(p->warm)));
    for (const struct policy_pair *e = p->env; e && e->name; e++)
        add_env(s, keep(s, e->name), keep(s, e->value));
    s->spec.env = s->env;
}

/* 127.0.0.1 is left to the program. */
enum { FIRST_LOOPBACK = 2, PROXY_LOOPBACK = 254, PROXY_PORT = 3128 };

static const char *loopback(struct spec *s, size_t host_index)
{
    return own(s, xasprintf("127.0.0.%zu", host_index + FIRST_LOOPBACK));
}

static void add_text(struct buf *b, const char *separator, const char *text)
{
    if (b->len)
        (void)buf_str(b, separator);
    (void)buf_str(b, text);
}

/* The hosts of the relay: what they resolve to, and where the warden listens for them. */
static void fill_hosts(struct spec *s, const struct policy_network *net, struct buf *names)
{
    CLEANUP(buf_done) struct buf listeners = {.max = SIZE_MAX};

    s->hosts = xcalloc(net->relay_n + 1, sizeof(*s->hosts));
    for (size_t i = 0, n = 0; i < net->relay_n; i++) {
        const char *as = net->relay[i].as, *colon = strrchr(as, ':');
        size_t host = network_host_index(net, i);
        const char *address = loopback(s, host);
        const char *name = own(s, xstrndup(as, (size_t)(colon - as)));

        add_text(&listeners, ",", own(s, xasprintf("%s%s=%s", address, colon, as)));
        if (host != i)
            continue;
        s->hosts[n++] = own(s, xasprintf("%s:%s", name, address));
        add_text(names, ",", name);
    }
    s->spec.extra_hosts = s->hosts;
    if (listeners.len)
        add_env(s, "ONESHOT_RELAY", keep(s, buf_get(&listeners)));
}

/* Libraries read the one or the other; names of the relay are reached directly. */
static void fill_proxy(struct spec *s, const char *direct)
{
    static const char *const proxies[] = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"};
    const char *at = own(s, xasprintf("127.0.0.%d:%d", PROXY_LOOPBACK, PROXY_PORT));

    add_env(s, "ONESHOT_PROXY", at);
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++)
        add_env(s, proxies[i], own(s, xasprintf("http://%s", at)));
    add_env(s, "NO_PROXY", keep(s, direct));
    add_env(s, "no_proxy", keep(s, direct));
}

static void fill_network(struct spec *s, const struct policy *p)
{
    CLEANUP(buf_done) struct buf direct = {.max = SIZE_MAX};

    s->spec.network = "none";
    if (p->network.kind == NETWORK_JOIN)
        s->spec.network = keep(s, p->network.join);
    if (p->network.kind == NETWORK_OPEN)
        s->spec.network = "bridge";
    if (p->network.kind != NETWORK_RELAY)
        return;
    (void)buf_str(&direct, "localhost,127.0.0.1,::1");
    fill_hosts(s, &p->network, &direct);
    if (p->network.any_n && p->relay_internet)
        fill_proxy(s, buf_get(&direct));
}

static void fill_labels(struct spec *s, const struct policy *p, const struct spec_names *n)
{
    s->labels[0] = (struct engine_pair){LABEL_INSTANCE, keep(s, n->instance)};
    s->labels[1] = (struct engine_pair){LABEL_EPOCH, keep(s, n->epoch)};
    s->labels[2] = (struct engine_pair){LABEL_POLICY, keep(s, p->name)};
    s->labels[3] = (struct engine_pair){LABEL_HASH, keep(s, p->hash)};
    s->spec.labels = s->labels;
    s->spec.labels_n = LABELS;
}

static void fill_tmpfs(struct spec *s, const struct policy *p)
{
    static const char common[] = "rw,noexec,nosuid,nodev";
    const char *tmp = own(s, xasprintf("%s,size=%lld,nr_inodes=%lld,mode=1777", common,
                                       (long long)p->tmp_size, (long long)p->inodes));
    const char *work = own(s, xasprintf("%s,size=%lld,nr_inodes=%lld,mode=0700,uid=%lld,gid=%lld",
                                        common, (long long)p->work_size, (long long)p->inodes,
                                        (long long)p->uid, (long long)p->gid));

    s->tmpfs[0] = (struct engine_tmpfs){"/tmp", tmp};
    s->tmpfs[1] = (struct engine_tmpfs){s->spec.work_dir, work};
    s->spec.tmpfs = s->tmpfs;
    s->spec.tmpfs_n = TMPFS;
}

static void fill_ulimits(struct spec *s, const struct policy *p)
{
    int64_t cpu =
        (int64_t)ceil((double)p->time_max_ms / 1000 * fmax(1, p->cpus)) + CPU_SECONDS_SPARE;
    struct engine_ulimit limits[ULIMITS] = {
        {"core",       0,             0            },
        {"nofile",     p->open_files, p->open_files},
        {"fsize",      p->file_size,  p->file_size },
        {"memlock",    65536,         65536        },
        {"msgqueue",   0,             0            },
        {"sigpending", 256,           256          },
        {"cpu",        cpu,           cpu + 1      },
    };

    memcpy(s->ulimits, limits, sizeof(limits));
    s->spec.ulimits = s->ulimits;
    s->spec.ulimits_n = ULIMITS;
}

struct spec *spec_new(const struct policy *p, const struct spec_names *n)
{
    struct spec *s = xcalloc(1, sizeof(*s));

    s->argv[0] = "/oneshot/warden";
    s->spec = (struct engine_spec){
        .name = keep(s, n->name),
        .image = keep(s, n->image),
        .runtime = keep(s, p->runtime),
        .hostname = "sandbox",
        .work_dir = keep(s, p->work_dir),
        .user = own(s, xasprintf("%lld:%lld", (long long)p->uid, (long long)p->gid)),
        .argv = s->argv,
        .memory = n->limit,
        .nano_cpus = (int64_t)(p->cpus * 1e9),
        .pids = p->pids,
        .shm_size = p->shm_size,
        .seccomp_json = keep(s, p->seccomp_json),
    };
    fill_network(s, p);
    fill_env(s, p);
    fill_labels(s, p, n);
    fill_tmpfs(s, p);
    fill_ulimits(s, p);
    return s;
}

void spec_free(struct spec *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->owned_n; i++)
        free(s->owned[i]);
    free(s->owned);
    free(s->env);
    free(s->hosts);
    free(s);
}

const struct engine_spec *spec_get(const struct spec *s)
{
    return &s->spec;
}
