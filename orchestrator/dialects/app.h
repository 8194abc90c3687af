#ifndef DIALECTS_APP_H
#define DIALECTS_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/metrics.h"
#include "core/workspace.h"
#include "http/http.h"
#include "policy/settings.h"
#include "store/store.h"

struct board;
struct executor_counts;
struct generator;
struct ledger;
struct tools;

/* What the dialects work with: built once by the front, borrowed by every handler. */
struct app {
    const struct settings *settings;
    struct core *core;
    struct metrics *metrics;
    struct store *store;
    struct generator *generator;
    struct tools *tools;
    struct executor_counts *executor;
    struct ledger *ledger;     /* of Slack's requests; NULL: there is no bot, or it fails */
    struct board *slack_board; /* what is counted of Slack; NULL: there is no bot */

    struct workspace **workspaces; /* in the order of workspace_paths */
    char **workspace_paths;        /* NULL-terminated */

    const char *confinement; /* how the front was confined: "uid" or "seccomp" */
    int64_t started_wall_ms;
};

/* The workspace of a policy, or NULL when it has none. */
struct workspace *app_workspace(const struct app *app, const struct policy *policy);

#endif
