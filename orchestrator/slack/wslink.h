#ifndef SLACK_WSLINK_H
#define SLACK_WSLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * One WebSocket connection to a ws:// or wss:// address, over libcurl's CONNECT_ONLY, which does
 * names, proxies and TLS. It belongs to the thread that runs it; others may only ask it to close.
 */
struct wslink;
struct stop;

struct wslink_options {
    const char *url;    /* a secret: it is never told */
    const char *ca_pem; /* certificates to trust instead of the system's; NULL: those */
    struct stop *stop;  /* ends wslink_open; may be NULL */
    int64_t connect_ms; /* for connection and handshake */
    int64_t ping_ms;    /* we ping as often; after four of them without a byte the link is stale */

    /* Gets every text message, in the thread of wslink_run. -1 with `err` ends the link. */
    int (*on_text)(void *ctx, struct wslink *l, const char *text, size_t n, struct err *err);
    void *ctx;
};

/* Connects and shakes hands. ERR_INVALID: the URL; ERR_BUSY, ERR_TIMEOUT, ERR_PEER. */
int wslink_open(const struct wslink_options *o, struct wslink **ret, struct err *err) MUST_CHECK;
void wslink_free(struct wslink *l);

/*
 * Receives until the link is closed: 0 when either side closed it in order, else -1. ERR_TIMEOUT:
 * it was stale; ERR_PEER: it broke off or breaks the protocol.
 */
int wslink_run(struct wslink *l, struct err *err) MUST_CHECK;

/* Queues a message; only in on_text. */
void wslink_send(struct wslink *l, const char *text, size_t n);

/* wslink_run will close the link and return soon. Any thread. */
void wslink_ask_close(struct wslink *l);

DEFINE_CLEANUP(struct wslink *, wslink_free)

#endif
