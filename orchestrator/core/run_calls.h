#ifndef CORE_RUN_CALLS_H
#define CORE_RUN_CALLS_H

#include <stdbool.h>
#include <stdint.h>

struct frame;
struct run;

/* The host calls of a run, in its own thread. */

/* A part of a host call. NULL, or how the program misused them: the run ends. */
const char *run_calls_frame(struct run *run, const struct frame *f);

/* The worker has taken replies. NULL, or what is wrong with it: a breach. */
const char *run_calls_taken(struct run *run, const struct frame *f);

/* Makes the next frame of a reply the one to be sent. */
bool run_calls_feed(struct run *run);

/* Readable when run_calls_serve is due; -1: it never is. And clock_ms at which it is anyway. */
int run_calls_fd(const struct run *run);
int64_t run_calls_due_ms(const struct run *run);
void run_calls_serve(struct run *run);

/* Nobody waits for answers any more; may be called again. */
void run_calls_end(struct run *run);
void run_calls_free(struct run *run);

#endif
