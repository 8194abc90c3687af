#ifndef CMD_CONNECT_H
#define CMD_CONNECT_H

#include <sys/types.h>

#include "base/err.h"
#include "policy/settings.h"

/* A way to a keeper for commands that are no service. */
struct connection {
    int fd;      /* the handover pair; hand it to core_new */
    int control; /* of a keeper of our own; -1 */
    pid_t pid;   /* 0: the running service's keeper */
};

/* The running service's keeper. ERR_BUSY when there is none. */
int connect_service(const struct settings *s, struct connection *ret, struct err *err) MUST_CHECK;

struct core;

/*
 * A core over the service's keeper, or over one of our own where there is no service. Our own
 * speaks of its business only when something is wrong. `config` may be NULL.
 */
int connect_core(const struct settings *s, const char *config, struct connection *ret_connection,
                 struct core **ret_core, struct err *err) MUST_CHECK;

/* Where the service has other policies than the files say: from now on a keeper of our own serves.
 * -1: it does already, or there is none to be had. */
int connect_own_core(const struct settings *s, const char *config, struct connection *c,
                     struct core *core, struct err *err) MUST_CHECK;

/* Ends a keeper of our own and waits until its containers are gone. */
void connect_close(struct connection *c);

#endif
