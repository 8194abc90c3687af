#ifndef SLACK_WS_H
#define SLACK_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The client's side of a WebSocket (RFC 6455) as bytes: frames to send, frames that come in any
 * split, the opening handshake. wslink.h has the connection.
 */
enum ws_kind {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

/* Status codes of a close frame (section 7.4.1). */
enum {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL = 1002,
    WS_NO_CODE = 1005, /* never sent: the other side gave none */
    WS_BAD_TEXT = 1007,
    WS_TOO_BIG = 1009,
};

enum { WS_CONTROL_MAX = 125, WS_HEAD_MAX = 14 };

/* One whole frame, masked with `mask`, which must be new and random for each. */
void ws_put(struct buf *out, enum ws_kind kind, const void *data, size_t n,
            const unsigned char mask[4]);

/* Gets whole messages, and control frames between their parts. -1 with `err` ends it all. */
typedef int ws_on_message(void *ctx, enum ws_kind kind, const char *data, size_t n,
                          struct err *err);

struct ws_reader {
    unsigned char head[WS_HEAD_MAX];
    size_t head_n;      /* bytes of the frame's head that are there */
    uint64_t left;      /* bytes of the frame's payload that are to come */
    bool is_in_payload; /* the head is complete */
    bool is_closed;     /* a close frame came: nothing counts any more */
    enum ws_kind kind;  /* of the message under way; WS_CONTINUATION: none */
    struct buf message, control;
    unsigned fault; /* the code to close with after an error; 0: none */
    ws_on_message *on_message;
    void *ctx;
};

/* A message may have `max` bytes. `on_message` and `ctx` are borrowed until ws_reader_done. */
void ws_reader_init(struct ws_reader *r, size_t max, ws_on_message *on_message, void *ctx);
void ws_reader_done(struct ws_reader *r);

/* ERR_PEER: it breaks the protocol, `fault` says how; or what on_message returned. */
int ws_feed(struct ws_reader *r, const void *data, size_t n, struct err *err) MUST_CHECK;

/* ---- the opening handshake ---- */

enum { WS_KEY_TEXT = 25, WS_ACCEPT_TEXT = 29 };

void ws_make_key(char out[WS_KEY_TEXT]);
void ws_accept(char out[WS_ACCEPT_TEXT], const char *key); /* what the server makes of it */

/* `path` with its query. `host` as in the Host header. */
void ws_put_request(struct buf *out, const char *host, const char *path, const char *key);

/*
 * Bytes of the server's head once it is complete and agrees, 0 while more is needed, -1 with
 * ERR_PEER when it does not (its status is told).
 */
long ws_check_head(const char *data, size_t n, const char *key, struct err *err);

#endif
