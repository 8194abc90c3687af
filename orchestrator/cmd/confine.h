#ifndef CMD_CONFINE_H
#define CMD_CONFINE_H

#include <stdint.h>

#include "base/err.h"

/*
 * Takes every right from the calling process that the front does not need: as root it becomes
 * uid:gid without groups and capabilities; always no_new_privs, not dumpable, and a seccomp filter
 * that refuses AF_UNIX sockets, new programs, tracing, mounts and namespaces. `*ret_by` says what
 * keeps it from the engine: "uid" or "seccomp". Call while there is one thread.
 */
int confine_front(int64_t uid, int64_t gid, const char **ret_by, struct err *err) MUST_CHECK;

#endif
