#ifndef CMD_INTERRUPT_H
#define CMD_INTERRUPT_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

/* Ctrl-C and its like: the first one ends the work and keeps what it made; the second ends us. */
struct interrupt {
    int fd; /* of interrupt_open */
    void (*cancel)(void *ctx);
    void *ctx;
    int signal; /* that ended the work; 0: none did */
    pthread_t thread;
    bool has_thread;
};

/* Before there are threads. */
int interrupt_open(int *ret_fd, struct err *err) MUST_CHECK;

/* A thread looks out for signals from now until interrupt_end. */
void interrupt_watch(struct interrupt *w);
void interrupt_end(struct interrupt *w);

#endif
