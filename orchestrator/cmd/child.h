#ifndef CMD_CHILD_H
#define CMD_CHILD_H

#include <sys/types.h>

#include "base/err.h"

/*
 * How the processes of one service are started and which descriptors they find: this program
 * itself, again, with a hidden subcommand.
 */
enum {
    CHILD_CONTROL = 3,         /* to the monitor; its end means that the monitor is gone */
    CHILD_HANDOVER = 4,        /* front <-> keeper */
    CHILD_SLACK_BOARD = 4,     /* slack: what is counted of it, slack/board.h */
    CHILD_BOARD = 5,           /* front: the same */
    CHILD_FIRST_WORKSPACE = 6, /* front: pairs to the porters, in the order of the arguments */
};

/* What the monitor sends over the control pair: one byte, and a descriptor where one is meant. */
enum control_message {
    CONTROL_PEER = 'p',      /* the other process was started again: the new handover pair */
    CONTROL_WORKSPACE = 'w', /* a porter was started again: the new pair; the next byte is its
                                number */
};

struct control {
    unsigned char what, number;
};

/*
 * Starts `argv` (argv[0] is a hidden subcommand) with `fds` as descriptors 3, 4, …; everything
 * else is closed on exec. Signals are unblocked in the child.
 */
int child_start(char *const argv[], const int *fds, size_t fds_n, pid_t *ret_pid,
                struct err *err) MUST_CHECK;

/* A close-on-exec pair of SOCK_SEQPACKET sockets. */
int child_pair(int ret_fds[2], struct err *err) MUST_CHECK;

/* Blocks the signals that our processes take through descriptors; ignores SIGPIPE. */
void child_signals(void);

#endif
