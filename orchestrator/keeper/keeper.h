#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "base/err.h"
#include "engine/engine.h"
#include "policy/policy.h"
#include "policy/settings.h"

/*
 * The keeper: the process that owns the engine's socket and the pools, and hands an open stream
 * out for each run. It knows no user data.
 */
struct keeper_options {
    const struct settings *settings;
    const char *policies_dir;     /* read again at every reload */
    const struct engine_ops *ops; /* the engine is closed by keeper_run */
    struct engine *engine;
    int control_fd;          /* to the monitor: new clients come in, its end stops the keeper */
    int first_client_fd;     /* the front's end of the handover pair */
    const char *listen_path; /* unix socket for commands of the same owner; NULL: none */
    bool on_demand;          /* park nothing ahead (one program run from the command line) */
};

/*
 * Runs until SIGTERM or until the monitor is gone, then destroys every container of its own.
 * The process must have one thread and SIGTERM, SIGINT and SIGHUP blocked. -1 when it could not
 * begin.
 */
int keeper_run(const struct keeper_options *o, struct err *err) MUST_CHECK;

/*
 * In the instance's name of a keeper that lives for one program only. Nobody takes its name again,
 * so what it could not remove (it was killed) is for every other keeper to remove.
 */
#define KEEPER_RUN_MARK ".run-"

/* Listening socket's path below the state directory. Caller frees. */
char *keeper_socket_path(const struct settings *s);

#endif
