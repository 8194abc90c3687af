#ifndef WARDEN_PROXY_H
#define WARDEN_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/relay.h"

/*
 * The head of a request to an HTTP proxy, as a hostile program may write it: CONNECT host:port, or
 * a request with "http://…" in the place of the path.
 */
enum {
    PROXY_HEAD_MAX = 16384,
    /* What proxy_rewrite may add: "Host: ", a target, "Connection: close". */
    PROXY_SPARE = RELAY_TARGET_MAX + 64,
    PROXY_REPLY_MAX = 1024,
};

enum proxy_kind { PROXY_MORE, PROXY_CONNECT, PROXY_PLAIN, PROXY_BAD };

struct proxy_request {
    char target[RELAY_TARGET_MAX]; /* "host:port", in lower case */
    size_t head_len;               /* with the empty line */
    int status;                    /* PROXY_BAD: what to answer, and why */
    const char *why;
};

/* PROXY_MORE: the head is not complete; PROXY_BAD before it is longer than PROXY_HEAD_MAX. */
enum proxy_kind proxy_parse(const uint8_t *data, size_t n, struct proxy_request *ret);

/*
 * The head of a PROXY_PLAIN request as its server wants it: path instead of URL, Host from the URL,
 * one request per connection, nothing that is meant for the proxy. `out` holds head_len +
 * PROXY_SPARE bytes. Returns the length.
 */
size_t proxy_rewrite(const uint8_t *data, const struct proxy_request *r, uint8_t *out);

/* A whole answer of the proxy's own; the reason stands in the status line, where clients show it. */
size_t proxy_reply(char out[PROXY_REPLY_MAX], int status, const char *target, const char *why);

/* The status for a refused connection, and what to say behind its target. */
int proxy_status(int refusal);
const char *proxy_words(int refusal);

#endif
