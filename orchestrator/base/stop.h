#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* How long work that cannot be woken may go on before it looks here again. */
enum { STOP_STEP_MS = 200 };

/*
 * Whether anybody still waits for what is being made: the client's connection is looked at, and
 * stop_ask may be called from any thread. One thread works, others ask.
 */
struct stop {
    int client_fd; /* looked at for a hang-up only; -1: none */
    pthread_mutex_t lock;
    bool is_asked;           /* under the lock */
    void (*wake)(void *ctx); /* under the lock; called when asked; NULL: none */
    void *ctx;
};

void stop_init(struct stop *s, int client_fd);
void stop_done(struct stop *s);

void stop_ask(struct stop *s);

/* NULL is fine and never asked. */
bool stop_is_asked(struct stop *s);

/*
 * What stop_ask is to call from now on, once, in its thread; NULL: nothing. Called at once when
 * asked before.
 */
void stop_on_ask(struct stop *s, void (*wake)(void *ctx), void *ctx);

/* Waits until that moment of clock_ms. False: somebody asked. */
bool stop_sleep(struct stop *s, int64_t until_ms);

#endif
