#ifndef CORE_PORTER_H
#define CORE_PORTER_H

#include "base/err.h"

/*
 * The process behind a workspace (core/workspace.h): it may touch one directory and nothing else,
 * and does for the front what the front has no right to do. The monitor starts one per directory;
 * the front asks over a SOCK_SEQPACKET pair (core/porter_wire.h).
 */

/*
 * Serves `dir` over `fd` (borrowed) until the front closes its end. A missing directory is made,
 * owned by the owner of what it stands in. As root the process first enters the directory
 * (chroot), becomes its owner and gives up every capability; whoever started it, it ends up
 * without the right to gain privileges, to be traced, to execute or to use the network. There is
 * no way back: call it in a process of its own with one thread, which ends afterwards.
 * 0: the front is gone. -1: ERR_INVALID (`dir` is the root directory), ERR_PEER (the front broke
 * the protocol), ERR_NOTFOUND (the directory was deleted meanwhile: start another), ERR_INTERNAL.
 */
int porter_run(const char *dir, int fd, struct err *err) MUST_CHECK;

/*
 * The serving part alone, with the rights that the caller has. Both descriptors are borrowed.
 * Returns as porter_run does.
 */
int porter_serve(int dir_fd, int fd, struct err *err) MUST_CHECK;

#endif
