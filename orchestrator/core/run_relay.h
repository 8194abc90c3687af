#ifndef CORE_RUN_RELAY_H
#define CORE_RUN_RELAY_H

#include <stdbool.h>
#include <stddef.h>

/* The relay of one run, among its other frames. */
struct frame;
struct run;

bool run_relay_is_allowed(const struct run *run);

/* A frame of the relay. NULL, or what is wrong with it. */
const char *run_relay_frame(struct run *run, const struct frame *f);

/* Makes its next frame the one to be sent. */
bool run_relay_feed(struct run *run);

/* False: the warden holds as much of standard input as it may. */
bool run_relay_may_feed(const struct run *run, size_t n);
void run_relay_note_feed(struct run *run, size_t n);

/* The program is over. */
void run_relay_end(struct run *run);

/* Waits, while the run has time left, until targets have what the program had sent. */
void run_relay_deliver(struct run *run);

#endif
