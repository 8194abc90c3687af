#ifndef SLACK_SOCKET_MODE_H
#define SLACK_SOCKET_MODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "slack/web.h"

/*
 * Socket Mode: keeps one WebSocket to Slack open and takes the events that come over it. A
 * connection that Slack wants to end is replaced first and closed then; one that breaks off or falls
 * silent is replaced at once, with growing pauses when that fails.
 */
struct socket_mode;

struct socket_mode_options {
    const struct slack_web *web;
    int64_t ping_ms;

    /*
     * Gets the payload of each event, in a thread of the connection; within three seconds. 0: it is
     * acknowledged; -1: it is not, and Slack will send it again.
     */
    int (*on_event)(void *ctx, const char *payload, size_t n);
    void *ctx;
};

int socket_mode_start(const struct socket_mode_options *o, struct socket_mode **ret,
                      struct err *err) MUST_CHECK;

/* Closes the connection and ends the threads. NULL is fine. */
void socket_mode_stop(struct socket_mode *m);

#endif
