#ifndef WARDEN_GUARD_H
#define WARDEN_GUARD_H

/*
 * For the worker, between fork and exec: a seccomp filter that keeps it and all its descendants
 * from changing limits, priority or processors of PID 1. The kernel allows that to any process of
 * the same user, dumpable or not: one prlimit(1, RLIMIT_CPU, …) kills the warden. 0, or -1.
 */
int guard_install(void);

#endif
