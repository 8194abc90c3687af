#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "http/http.h"

/*
 * HTTP/1.1 listeners over libmicrohttpd. What that library does not watch is watched here:
 *
 * - A connection that sends nothing whole is closed at an absolute time, whatever it drips: the
 *   first request's headers must be there `header_ms` after the connection opened, a later one's
 *   `header_ms` after its first line, the body `body_ms` after the headers. Between requests it may
 *   be silent for `idle_ms`.
 * - No time-out runs while a handler works or an event stream waits for events.
 * - A reply must move on by 64 KiB (or to its end) within `stall_ms`, and be out within five
 *   minutes plus one second for each 64 KiB of it; event streams have no end of their own.
 * - Past `connections` the one that was idle longest is closed for a new one; where none is idle
 *   the new one's request is answered 503 with Retry-After; an eighth past it new ones are closed.
 * - The head of a request may have 9 KiB (431 and 414 beyond).
 * - No thread of this layer takes a signal.
 */
struct http_limits {
    unsigned connections;
    unsigned
        connections_per_address; /* for each listener; more are closed. 0: no limit (proxies) */
    int64_t idle_ms, header_ms, body_ms;
    int64_t stall_ms;      /* 0: 30 s */
    size_t body_max;       /* bytes of a body, or of its JSON text where blobs are taken out */
    size_t body_files_max; /* bytes of a body on routes with blobs */
    size_t json_tokens;    /* values and keys in a body */
    size_t memory;         /* bytes of all bodies under way, and of what they become; 0: no limit */
    size_t blobs_max;      /* how many blobs in a body; 0: 1000 */
    const char *spool_dir;

    /*
     * Against web pages that use the browser to reach this service. Host must be an IP address,
     * localhost or one of `hosts` (without port). Origin, where there is one, must be http or https
     * at that very Host, or one of `origins` ("https://console.example"), which also get CORS
     * headers. NULL-terminated; may be NULL.
     */
    const char *const *hosts;
    const char *const *origins;
};

struct http_listener_options {
    const char *address; /* IPv4, IPv6 ("::" takes IPv4 as well) or "localhost" */
    uint16_t port;       /* 0: any, see http_listener_port */

    /* NULL-terminated, tried in order; the first one's shape answers unknown paths. */
    const struct http_api *const *apis;
    void *app; /* handed to every handler */
};

enum { HTTP_LISTENERS = 16 };

struct http_server; /* shared by all listeners: limits, the watch over connections */

/* `limits` is copied; what it points to is borrowed until http_server_free. */
int http_server_new(const struct http_limits *limits, struct http_server **ret_server,
                    struct err *err) MUST_CHECK;

/* Options are copied, `apis` and `app` borrowed. ERR_INVALID for a bad address, ERR_BUSY when the
 * port is taken, ERR_DENIED when it is a privileged one. Not after http_server_quiesce. */
int http_listen(struct http_server *s, const struct http_listener_options *o,
                struct err *err) MUST_CHECK;

/* The port of the listener opened as number `index` from 0. */
uint16_t http_listener_port(const struct http_server *s, size_t index);

/*
 * Begins a clean stop: no more connections are accepted, idle ones are closed, and replies still to
 * come say Connection: close. Any thread, any number of times.
 */
void http_server_quiesce(struct http_server *s);

/*
 * For the end of a stop that waited long enough, behind http_server_quiesce: to every handler its
 * client is gone, as if it had closed its sending side. A reply that is given soon still gets there.
 */
void http_server_hang_up(struct http_server *s);

unsigned http_server_busy(const struct http_server *s);  /* requests between head and end */
unsigned http_server_connections(struct http_server *s); /* open ones, idle ones included */

/* Quiesces, waits for requests that are being answered, closes the rest. NULL is allowed. */
void http_server_free(struct http_server *s);

#endif
