#ifndef SLACK_ANSWER_H
#define SLACK_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "slack/ask.h"
#include "slack/web.h"
#include "store/ledger.h"

/* From a request to the messages in its thread. */
struct answer_options {
    const struct slack_web *web;
    int64_t patience_ms; /* what was done is told for so long; see slack_web */
    const struct ask_options *ask;
    struct ledger *ledger;
    const char *const *users; /* who may ask the model, ends with NULL; empty: everybody */
    int64_t daily_budget;     /* requests of a user on a day (UTC); 0: no limit */
    int64_t timeout_ms, debug_timeout_ms;
    int64_t queue_max; /* for the text that says that it is full */
};

/*
 * Answers it in its thread. `*ret_counts`: against the budget of its user. ERR_CANCELLED: it is not
 * over, and nobody was told. Any other kind: Slack did not take a message, the rest was left out;
 * ERR_BUSY: another time it may.
 */
int answer(const struct answer_options *o, const struct ledger_request *r, bool *ret_counts,
           struct err *err) MUST_CHECK;

#endif
