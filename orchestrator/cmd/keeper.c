#include <stdio.h>
#include <sys/prctl.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "keeper/keeper.h"

enum { FILES_OWN = 256, FILES_EACH = 4 };

int cmd_keeper(int argc, char **argv)
{
    const char *config = NULL;
    bool on_demand = false;
    const struct arg table[] = {
        ARG_VALUE("--config", NULL, "FILE", &config, "settings"),
        ARG_FLAG("--on-demand", NULL, &on_demand, "park nothing ahead"),
    };
    struct settings settings = {0};
    struct engine *engine = NULL;
    struct err err = {0};
    auto_free char *socket_path = NULL;
    int rc;

    if (args_read(argc, argv, table, ARRAY_LEN(table), "_keeper") < 0)
        return EXIT_USAGE;
    child_signals();
    /* No other process of this user may read or trace the one that holds the engine. */
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (settings_load(config, &settings, &err) < 0 ||
        docker_open(settings.engine_host, &engine, &err) < 0) {
        (void)fprintf(stderr, "oneshot: %s\n", err.msg);
        return EXIT_USAGE;
    }
    /* A stream per container, one call of the engine for each that comes or goes. */
    io_want_files(FILES_OWN + FILES_EACH * (uint64_t)settings.containers_max);
    log_init("keeper", settings.log_level, settings.log_format, STDERR_FILENO);
    socket_path = on_demand ? NULL : keeper_socket_path(&settings);
    rc = keeper_run(
        &(struct keeper_options){
            .settings = &settings,
            .policies_dir = settings.policies_dir,
            .ops = &docker_ops,
            .engine = engine,
            .control_fd = CHILD_CONTROL,
            .first_client_fd = CHILD_HANDOVER,
            .listen_path = socket_path,
            .on_demand = on_demand,
        },
        &err);
    if (rc < 0)
        log_error("%s", err.msg);
    settings_done(&settings);
    return rc < 0 ? 1 : 0;
}
