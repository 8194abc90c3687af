#ifndef SLACK_EVENT_H
#define SLACK_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "store/ledger.h"

/* What came from Slack, over either way: what it is, and what becomes of it. */

enum event_kind {
    EVENT_OTHER,     /* to be acknowledged, and nothing else */
    EVENT_CHALLENGE, /* url_verification */
    EVENT_REQUEST,   /* a message for us */
};

struct event {
    enum event_kind kind;
    char *challenge;               /* EVENT_CHALLENGE */
    struct ledger_request request; /* EVENT_REQUEST */
};

/* Whose requests are taken. Borrowed. */
struct event_place {
    const char *channel;      /* whose messages count beside direct ones; "": none */
    const char *const *users; /* who may ask the model, ends with NULL; NULL or empty: everybody */
};

bool event_is_allowed(const char *const *users, const char *user);

/*
 * Reads the object that the Events API posts and Socket Mode wraps. A message is for us when it is
 * nobody's but a person's, new, begins with '!' and a letter, and stands in the channel or in a
 * direct message. What its user may not ask for is no work: it takes no place in the queue.
 * ERR_INVALID: no JSON that we would take. Call event_done either way.
 */
int event_read(const char *text, size_t n, const struct event_place *at, struct event *ret,
               struct err *err) MUST_CHECK;
void event_done(struct event *e);

#endif
