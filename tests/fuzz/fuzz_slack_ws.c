/*
 * What a server sends over a WebSocket, in a split that the input chooses, against the same bytes in
 * one piece: the same messages, the same verdict, nothing beyond the bound. With an odd first byte
 * the input is the head of the opening handshake.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "slack/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 2000, SIZE_MAX_IN = 64 * 1024 };

struct heard {
    struct buf log; /* kind, length, bytes of each message */
    struct err err;
    unsigned fault;
    bool is_closed;
    int rc;
};

static int hear(void *ctx, enum ws_kind kind, const char *data, size_t n, struct err *err)
{
    struct heard *h = ctx;
    const unsigned char head[3] = {(unsigned char)kind, (unsigned char)(n >> 8),
                                   (unsigned char)(n & 0xFF)};

    (void)err;
    assert(kind == WS_TEXT || kind == WS_BINARY || kind >= WS_CLOSE);
    assert(n <= (kind >= WS_CLOSE ? WS_CONTROL_MAX : MESSAGE_MAX));
    assert(kind != WS_TEXT || utf8_valid_prefix(data, n) == n);
    (void)buf_add(&h->log, head, sizeof(head));
    (void)buf_add(&h->log, data, n);
    return 0;
}

static struct heard listen_to(const uint8_t *data, size_t n, size_t step)
{
    struct heard h = {.log = {.max = 8 * SIZE_MAX_IN}};
    struct ws_reader r;

    ws_reader_init(&r, MESSAGE_MAX, hear, &h);
    for (size_t at = 0; h.rc == 0 && at < n; at += step)
        h.rc = ws_feed(&r, data + at, n - at < step ? n - at : step, &h.err);
    h.fault = r.fault;
    h.is_closed = r.is_closed;
    ws_reader_done(&r);
    return h;
}

static void check_frames(const uint8_t *data, size_t n, size_t step)
{
    struct heard whole = listen_to(data, n, n ? n : 1), split = listen_to(data, n, step);

    assert(whole.rc == split.rc && whole.fault == split.fault);
    assert(whole.is_closed == split.is_closed);
    assert((whole.rc < 0) == (whole.fault != 0));
    assert(strcmp(whole.err.msg, split.err.msg) == 0);
    assert(whole.log.len == split.log.len);
    assert(!whole.log.len || memcmp(whole.log.data, split.log.data, whole.log.len) == 0);
    buf_done(&whole.log);
    buf_done(&split.log);
}

/* Whatever is said of a part of it must hold for more of it. */
static void check_head(const uint8_t *data, size_t n)
{
    static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
    struct err err = {0};
    long whole = ws_check_head((const char *)data, n, key, &err);

    assert(whole <= (long)n);
    assert((whole < 0) == (err.kind == ERR_PEER));
    for (size_t k = 0; k < n && k < 400; k++) {
        long part = ws_check_head((const char *)data, k, key, NULL);

        assert(part == 0 || part == whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SIZE_MAX_IN)
        return 0;
    if (data[0] & 1)
        check_head(data + 1, size - 1);
    else
        check_frames(data + 1, size - 1, (size_t)data[0] / 2 + 1);
    return 0;
}
