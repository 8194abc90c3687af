#include "dialects/dialects.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "dialects/aiq.h"
#include "dialects/app.h"
#include "dialects/native.h"
#include "dialects/telemetry.h"
#include "policy/policy.h"
#include "policy/settings.h"

const struct http_api *const dialects_all[] = {
    &aiq_api,
    &telemetry_api,
    &native_api,
    NULL,
};

const struct http_api *dialect_find(const char *name)
{
    for (size_t i = 0; dialects_all[i]; i++) {
        if (strcmp(dialects_all[i]->name, name) == 0)
            return dialects_all[i];
    }
    return NULL;
}

static int unknown(const char *name, size_t listener, struct err *err)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, 1024);
    for (size_t i = 0; dialects_all[i]; i++)
        (void)buf_fmt(&b, "%s%s", i ? ", " : "", dialects_all[i]->name);
    return err_set(err, ERR_INVALID, "listeners[%zu].dialects: there is no '%s', but %s", listener,
                   name, buf_get(&b));
}

int dialects_check(const struct settings *s, struct err *err)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        for (size_t k = 0; s->listeners[i].dialects[k]; k++) {
            if (!dialect_find(s->listeners[i].dialects[k]))
                return unknown(s->listeners[i].dialects[k], i, err);
        }
    }
    return 0;
}

struct workspace *app_workspace(const struct app *app, const struct policy *policy)
{
    if (!policy->workspace || !policy->workspace[0])
        return NULL;
    for (size_t i = 0; app->workspace_paths[i]; i++) {
        if (strcmp(app->workspace_paths[i], policy->workspace) == 0)
            return app->workspaces[i];
    }
    return NULL;
}
