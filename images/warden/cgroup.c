#include "cgroup.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct source {
    const char *v1, *v1_key; /* path below the root of the hierarchies */
    const char *v2, *v2_key;
    uint64_t v1_divide;
} sources[CGROUP_FILES] = {
    [CGROUP_USAGE] = {"memory/memory.usage_in_bytes",     "",         "memory.current", "",           1   },
    [CGROUP_PEAK] = {"memory/memory.max_usage_in_bytes", "",         "memory.peak",    "",           1   },
    [CGROUP_OOM] = {"memory/memory.oom_control",        "oom_kill", "memory.events",  "oom_kill",   1   },
    [CGROUP_LIMIT] = {"memory/memory.failcnt",            "",         "memory.events",  "max",        1   },
    [CGROUP_PIDS] = {"pids/pids.events",                 "max",      "pids.events",    "max",        1   },
    [CGROUP_TASKS] = {"pids/pids.current",                "",         "pids.current",   "",           1   },
    [CGROUP_CPU] = {"cpuacct/cpuacct.usage",            "",         "cpu.stat",       "usage_usec", 1000},
};

static bool parse_number(const char *s, uint64_t *ret)
{
    uint64_t v = 0;

    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        uint64_t digit = (uint64_t)(*s - '0');

        v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
    }
    *ret = v;
    return true;
}

bool cgroup_parse(const char *text, const char *key, uint64_t *ret)
{
    size_t key_len = strlen(key);

    if (key_len == 0)
        return parse_number(text, ret);
    while (text) {
        const char *end = strchr(text, '\n');

        if (strncmp(text, key, key_len) == 0 && text[key_len] == ' ')
            return parse_number(text + key_len + 1, ret);
        text = end ? end + 1 : NULL;
    }
    return false;
}

void cgroup_open(struct cgroup *cg, const char *root)
{
    int at = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    for (int i = 0; i < CGROUP_FILES; i++) {
        cg->fd[i] = at < 0 ? -1 : openat(at, sources[i].v1, O_RDONLY | O_CLOEXEC);
        cg->is_v2[i] = cg->fd[i] < 0;
        if (at >= 0 && cg->fd[i] < 0)
            cg->fd[i] = openat(at, sources[i].v2, O_RDONLY | O_CLOEXEC);
    }
    if (at >= 0)
        (void)close(at);
}

void cgroup_close(struct cgroup *cg)
{
    for (int i = 0; i < CGROUP_FILES; i++) {
        if (cg->fd[i] >= 0)
            (void)close(cg->fd[i]);
        cg->fd[i] = -1;
    }
}

uint64_t cgroup_read(const struct cgroup *cg, enum cgroup_file file, bool *ret_known)
{
    const struct source *src = &sources[file];
    bool is_v2 = cg->is_v2[file];
    char text[4096];
    uint64_t v = 0;
    ssize_t n = cg->fd[file] < 0 ? -1 : pread(cg->fd[file], text, sizeof(text) - 1, 0);

    *ret_known = false;
    if (n <= 0)
        return 0;
    text[n] = '\0';
    *ret_known = cgroup_parse(text, is_v2 ? src->v2_key : src->v1_key, &v);
    return is_v2 ? v : v / src->v1_divide;
}

void cgroup_look(const struct cgroup *cg, struct cgroup_look *ret)
{
    *ret = (struct cgroup_look){0};
    for (int i = 0; i < CGROUP_TASKS; i++) {
        bool is_known;

        ret->value[i] = cgroup_read(cg, (enum cgroup_file)i, &is_known);
        ret->known |= (uint32_t)is_known << i;
    }
}

uint64_t cgroup_moved(const struct cgroup_look *a, const struct cgroup_look *b,
                      enum cgroup_file file)
{
    if (!cgroup_knows(a, file) || !cgroup_knows(b, file) || b->value[file] < a->value[file])
        return 0;
    return b->value[file] - a->value[file];
}

bool cgroup_peak(const struct cgroup_look *before, const struct cgroup_look *after,
                 uint64_t *ret_bytes)
{
    uint64_t base = before->value[CGROUP_USAGE];
    uint64_t top = after->value[CGROUP_PEAK];

    if (!cgroup_knows(before, CGROUP_USAGE) || !cgroup_knows(after, CGROUP_USAGE) ||
        !cgroup_knows(after, CGROUP_PEAK))
        return false;
    /* A mark left by the imports before the run says nothing about the run itself. */
    if (cgroup_knows(before, CGROUP_PEAK) && cgroup_moved(before, after, CGROUP_PEAK) == 0)
        top = after->value[CGROUP_USAGE];
    *ret_bytes = top > base ? top - base : 0;
    return true;
}
