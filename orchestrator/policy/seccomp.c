#include "policy/seccomp.h"

#include <stdbool.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum { PROFILE_MAX = 256 * 1024 };

static bool has_repeated_key(const cJSON *item)
{
    const cJSON *a, *b;

    cJSON_ArrayForEach(a, item)
    {
        for (b = a->next; cJSON_IsObject(item) && b; b = b->next) {
            if (str_eq_nocase(a->string, b->string))
                return true;
        }
    }
    return false;
}

/* A list with something in it, all of it texts that begin with `prefix`. */
static bool is_list_of(const cJSON *list, const char *prefix)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || !str_starts(item->valuestring, prefix))
            return false;
    }
    return cJSON_IsArray(list) && list->child;
}

static int check_rule(const cJSON *rule, int index, struct err *err)
{
    const cJSON *action = cJSON_GetObjectItemCaseSensitive(rule, "action");

    if (!cJSON_IsObject(rule) || has_repeated_key(rule))
        return err_set(err, ERR_INVALID, "syscalls[%d] must be an object without repeated keys",
                       index);
    if (!is_list_of(cJSON_GetObjectItemCaseSensitive(rule, "names"), ""))
        return err_set(err, ERR_INVALID, "syscalls[%d].names must be a list of names", index);
    if (!cJSON_IsString(action) || !str_starts(action->valuestring, "SCMP_ACT_"))
        return err_set(err, ERR_INVALID, "syscalls[%d].action must be SCMP_ACT_…", index);
    return 0;
}

static int check_profile(const cJSON *profile, struct err *err)
{
    const cJSON *action = cJSON_GetObjectItemCaseSensitive(profile, "defaultAction");
    const cJSON *rules = cJSON_GetObjectItemCaseSensitive(profile, "syscalls"), *rule;
    int index = 0;

    if (!cJSON_IsObject(profile) || has_repeated_key(profile))
        return err_set(err, ERR_INVALID, "must be one JSON object without repeated keys");
    if (!cJSON_IsString(action) || strcmp(action->valuestring, "SCMP_ACT_ERRNO") != 0)
        return err_set(err, ERR_INVALID, "defaultAction must be SCMP_ACT_ERRNO");
    if (!is_list_of(cJSON_GetObjectItemCaseSensitive(profile, "architectures"), "SCMP_ARCH_"))
        return err_set(err, ERR_INVALID, "architectures must be a list of SCMP_ARCH_…");
    if (!cJSON_IsArray(rules) || !rules->child)
        return err_set(err, ERR_INVALID, "syscalls must be a list of rules");
    cJSON_ArrayForEach(rule, rules)
    {
        if (check_rule(rule, index++, err) < 0)
            return -1;
    }
    return 0;
}

int seccomp_parse(const char *text, size_t n, char **ret_json, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *profile = NULL;

    if (memchr(text, '\0', n))
        return err_set(err, ERR_INVALID, "must not have a NUL character");
    profile = cJSON_ParseWithOpts(text, NULL, true);
    if (!profile)
        return err_set(err, ERR_INVALID, "is not JSON");
    if (check_profile(profile, err) < 0)
        return -1;
    *ret_json = cJSON_PrintUnformatted(profile);
    return *ret_json ? 0 : err_set(err, ERR_INTERNAL, "no memory to print it");
}

int seccomp_profile_load(const char *path, char **ret_json, struct err *err)
{
    auto_free char *text = NULL;
    size_t n;

    if (io_read_file(path, PROFILE_MAX, &text, &n, err) < 0)
        return -1;
    return seccomp_parse(text, n, ret_json, err);
}
