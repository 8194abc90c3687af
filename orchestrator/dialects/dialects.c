#include <string.h>

#include "dialects/aiq.h"
#include "dialects/app.h"
#include "dialects/dialects.h"
#include "dialects/native.h"
#include "dialects/telemetry.h"
#include "policy/policy.h"

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
