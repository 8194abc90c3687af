#include "dialects/dialects.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "dialects/aiq.h"
#include "dialects/app.h"
#include "dialects/executor.h"
#include "dialects/generator.h"
#include "dialects/native.h"
#include "dialects/slack.h"
#include "dialects/status.h"
#include "dialects/telemetry.h"
#include "policy/policy.h"
#include "policy/settings.h"

const struct http_api *const dialects_all[] = {
    &aiq_api,       &telemetry_api, &native_api, &executor_api,
    &generator_api, &slack_api,     &status_api, NULL,
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

static bool runs_programs(const struct http_api *api)
{
    return api != &generator_api && api != &slack_api && api != &status_api;
}

/* Without an engine only what sends programs elsewhere, or runs none. */
static int check_without_engine(const struct settings *s, struct err *err)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        for (size_t k = 0; s->listeners[i].dialects[k]; k++) {
            if (runs_programs(dialect_find(s->listeners[i].dialects[k])))
                return err_set(err, ERR_INVALID,
                               "listeners[%zu].dialects: '%s' needs an engine, and engine.host "
                               "(ONESHOT_ENGINE_HOST) is none",
                               i, s->listeners[i].dialects[k]);
        }
    }
    if (!s->sandbox_url[0])
        return err_set(err, ERR_INVALID,
                       "generate.sandbox_url (SANDBOX_URL) must be set where engine.host "
                       "(ONESHOT_ENGINE_HOST) is none");
    return 0;
}

int dialects_check(const struct settings *s, struct err *err)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        for (size_t k = 0; s->listeners[i].dialects[k]; k++) {
            if (!dialect_find(s->listeners[i].dialects[k]))
                return unknown(s->listeners[i].dialects[k], i, err);
        }
    }
    return settings_has_engine(s) ? 0 : check_without_engine(s, err);
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
