#ifndef CMD_HISTORY_CALLS_H
#define CMD_HISTORY_CALLS_H

#include <stdbool.h>

#include "store/store.h"

/*
 * `oneshot history --calls`: what the model was asked and what it answered. With a generation the
 * texts are shown too, oldest first. -1 with `err` filled, else the exit status.
 */
int history_calls(struct store *s, const struct call_filter *f, bool json,
                  struct err *err) MUST_CHECK;

#endif
