#ifndef POLICY_SECRETS_H
#define POLICY_SECRETS_H

#include <stdbool.h>

/*
 * Variables of the environment by which others know the service, or it them. No program may have
 * one: it could send it anywhere. Nor may a process of the service that has no use for it.
 */
enum secret_owner { SECRET_FRONT, SECRET_BOT };

struct secret {
    const char *entry; /* "NAME=": the beginning of its entry in the environment */
    enum secret_owner owner;
};

extern const struct secret secrets_all[]; /* ends with entry NULL */

bool secrets_has(const char *name);

#endif
