#ifndef WARDEN_CHILD_H
#define WARDEN_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The worker and whatever it starts. Everything else in the container descends from it, so pid 1
 * may signal and reap all there is.
 */
struct child {
    pid_t pid;  /* 0 once it is reaped */
    int status; /* as waitpid(2) gives it, when pid is 0 */
    int out_fd; /* its standard output and error; -1 after their end */
    int err_fd;
    int control_fd; /* frames, both ways */
    int task_fd;    /* /proc/PID/task */
    int signal_fd;  /* SIGCHLD and SIGTERM, both blocked */
    bool is_told;   /* SIGTERM came from outside of the container */
};

struct child_options {
    const char *const *argv;
    const char *work_dir;
    const char *oom_score; /* what the worker goes back to; NULL: it keeps the warden's */
};

/*
 * Blocks the signals and starts the worker: /dev/null, output and error at 0 to 2, the control
 * channel at 3, a pipe for standard input at 4, nothing else open. The caller owns `*ret_stdin`,
 * the non-blocking writing end. 0, or -1 with errno.
 */
int child_start(struct child *c, const struct child_options *o, int *ret_stdin);

/*
 * A new pipe for the standard input of a later run: its reading end goes to the worker with a
 * FRAME_STDIN, the caller owns the returned writing end. -1 when the worker does not take it.
 */
int child_new_stdin(struct child *c);

/* Collects whoever died; notes the worker's status when it is among them. Does not block. */
void child_reap(struct child *c);

/* Empties the signal descriptor; sets is_told. */
void child_take_signals(struct child *c);

/* Stops the worker with all its threads. 0; -1 when it died or did not stop in 200 ms. */
int child_stop(struct child *c);

/* Lets a stopped worker go on. */
void child_continue(const struct child *c);

/* No other process than the warden and the worker. `tasks` is the cgroup's count of threads. */
bool child_is_alone(const struct child *c, bool is_counted, size_t tasks);

/* Kills and reaps all processes, at most for 5 s. */
void child_kill_all(struct child *c);

/* Kills and reaps all processes but the worker. 0; -1 when some are left after 2 s. */
int child_kill_others(struct child *c);

#endif
