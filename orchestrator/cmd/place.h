#ifndef CMD_PLACE_H
#define CMD_PLACE_H

#include "base/err.h"
#include "policy/policy.h"
#include "policy/settings.h"

/* The state directory and what lies in it. */

/*
 * Makes the state directory with the parts that the front owns ("store", "spool"), and names the
 * instance: settings->instance if set, else what "instance" in the state directory says, else a
 * new random name.
 */
int place_prepare(struct settings *s, struct err *err) MUST_CHECK;

/* Takes the lock that says "this instance is alive". ERR_BUSY when another one holds it. */
int place_lock(const struct settings *s, int *ret_fd, struct err *err) MUST_CHECK;

char *place_path(const struct settings *s, const char *name); /* below it; caller frees */

/*
 * The distinct workspace directories of a set, absolute, NULL-terminated; none where no program
 * runs. Caller frees all.
 */
char **place_workspaces(const struct settings *s, const struct policy_set *set);
void place_free_list(char **list);

#endif
