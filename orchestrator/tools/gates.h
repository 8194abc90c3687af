#ifndef TOOLS_GATES_H
#define TOOLS_GATES_H

#include <stdint.h>

#include "base/err.h"

struct stop;

/* How many calls of one function are under way at the same time, over all runs. Any thread. */
struct gates;

struct gates *gates_new(void);
void gates_free(struct gates *g);

/* Waits for a place among `max`. ERR_TIMEOUT, ERR_CANCELLED. Follow with gates_leave. */
int gates_enter(struct gates *g, const char *name, unsigned max, int64_t deadline_ms,
                struct stop *stop, struct err *err) MUST_CHECK;
void gates_leave(struct gates *g, const char *name);

#endif
