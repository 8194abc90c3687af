#ifndef TESTS_UNTIL_H
#define TESTS_UNTIL_H

#include <poll.h>

#include "base/clock.h"
#include "unit.h"

/* Waits for a condition that another thread brings about, at most RIG_WAIT_MS of the rig. */
#define RIG_UNTIL(condition)                                                  \
    do {                                                                      \
        int64_t until_ = clock_ms() + RIG_WAIT_MS;                            \
                                                                              \
        while (!(condition)) {                                                \
            ck_assert_msg(clock_ms() < until_, "never true: %s", #condition); \
            (void)poll(NULL, 0, 1);                                           \
        }                                                                     \
    } while (0)

#endif
