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

/* A keeper of our own, which parks nothing ahead. `config` may be NULL. */
int connect_own(const struct settings *s, const char *config, struct connection *ret,
                struct err *err) MUST_CHECK;

/* Ends a keeper of our own and waits until its containers are gone. */
void connect_close(struct connection *c);

#endif
