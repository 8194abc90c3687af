#include "slack/ws.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/random.h"
#include "base/str.h"
#include "base/utf8.h"

enum {
    FIN = 0x80,
    RESERVED = 0x70,
    KIND = 0x0F,
    MASKED = 0x80,
    LENGTH = 0x7F,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    HEAD_MAX = 16 * 1024,
    FIELD_MAX = 128,
    SHA1_LEN = 20,
};

/* ---- frames to send ---- */

static void put_length(struct buf *out, size_t n)
{
    if (n < LENGTH_16) {
        (void)buf_char(out, (char)(MASKED | n));
        return;
    }
    (void)buf_char(out, (char)(MASKED | (n <= UINT16_MAX ? LENGTH_16 : LENGTH_64)));
    for (int shift = n <= UINT16_MAX ? 8 : 56; shift >= 0; shift -= 8)
        (void)buf_char(out, (char)((uint64_t)n >> shift & 0xFF));
}

void ws_put(struct buf *out, enum ws_kind kind, const void *data, size_t n,
            const unsigned char mask[4])
{
    const unsigned char *p = data;
    char *room;

    (void)buf_char(out, (char)(FIN | kind));
    put_length(out, n);
    (void)buf_add(out, mask, 4);
    room = n ? buf_room(out, n) : NULL;
    if (!room)
        return;
    for (size_t i = 0; i < n; i++)
        room[i] = (char)(p[i] ^ mask[i % 4]);
    buf_commit(out, n);
}

/* ---- frames that come ---- */

void ws_reader_init(struct ws_reader *r, size_t max, ws_on_message *on_message, void *ctx)
{
    *r = (struct ws_reader){.on_message = on_message, .ctx = ctx};
    buf_init(&r->message, max);
    buf_init(&r->control, WS_CONTROL_MAX);
}

void ws_reader_done(struct ws_reader *r)
{
    buf_done(&r->message);
    buf_done(&r->control);
}

static int fail(struct ws_reader *r, unsigned code, const char *what, struct err *err)
{
    r->fault = code;
    return err_set(err, ERR_PEER, "websocket: %s", what);
}

static enum ws_kind frame_kind(const struct ws_reader *r)
{
    return (enum ws_kind)(r->head[0] & KIND);
}

static bool is_control(enum ws_kind kind)
{
    return kind >= WS_CLOSE;
}

/* What its first two bytes allow. */
static int check_start(struct ws_reader *r, struct err *err)
{
    enum ws_kind kind = frame_kind(r);
    bool is_last = r->head[0] & FIN;

    if (r->head[0] & RESERVED)
        return fail(r, WS_PROTOCOL, "a reserved bit is set", err);
    if (r->head[1] & MASKED)
        return fail(r, WS_PROTOCOL, "a frame of the server is masked", err);
    if (kind > WS_PONG || (kind > WS_BINARY && kind < WS_CLOSE))
        return fail(r, WS_PROTOCOL, "a frame of no known kind", err);
    if (is_control(kind) && (!is_last || (r->head[1] & LENGTH) > WS_CONTROL_MAX))
        return fail(r, WS_PROTOCOL, "a control frame is in parts or too long", err);
    if (kind == WS_CONTINUATION && r->kind == WS_CONTINUATION)
        return fail(r, WS_PROTOCOL, "a part continues nothing", err);
    if ((kind == WS_TEXT || kind == WS_BINARY) && r->kind != WS_CONTINUATION)
        return fail(r, WS_PROTOCOL, "a message begins within another", err);
    return 0;
}

static size_t head_size(const struct ws_reader *r)
{
    unsigned length = r->head_n > 1 ? r->head[1] & LENGTH : 0;

    return length == LENGTH_64 ? 10 : length == LENGTH_16 ? 4 : 2;
}

static int read_length(struct ws_reader *r, struct err *err)
{
    unsigned length = r->head[1] & LENGTH;
    size_t n = head_size(r);
    uint64_t v = 0;

    for (size_t i = 2; i < n; i++)
        v = v << 8 | r->head[i];
    if (n == 2)
        v = length;
    else if (v < LENGTH_16 || (length == LENGTH_64 && v <= UINT16_MAX) || v > INT64_MAX)
        return fail(r, WS_PROTOCOL, "a length is not written in the shortest way", err);
    if (!is_control(frame_kind(r)) && v > r->message.max - r->message.len)
        return fail(r, WS_TOO_BIG, "a message is too long", err);
    r->left = v;
    r->is_in_payload = true;
    return 0;
}

/* What a close frame may hold (RFC 6455, 7.4, and its registry): the others are for no wire. */
static bool is_close_code(unsigned code)
{
    return (code >= WS_NORMAL && code <= 1003) || (code >= WS_BAD_TEXT && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static int end_control(struct ws_reader *r, struct err *err)
{
    enum ws_kind kind = frame_kind(r);
    const char *data = buf_get(&r->control);
    size_t n = r->control.len;
    int rc;

    if (kind == WS_CLOSE) {
        r->is_closed = true;
        if (n == 1)
            return fail(r, WS_PROTOCOL, "half a close code", err);
        if (n && !is_close_code((unsigned)(unsigned char)data[0] << 8 | (unsigned char)data[1]))
            return fail(r, WS_PROTOCOL, "a close code that is none", err);
        if (n > 2 && utf8_valid_prefix(data + 2, n - 2) != n - 2)
            return fail(r, WS_BAD_TEXT, "the reason for closing is not UTF-8", err);
    }
    rc = r->on_message(r->ctx, kind, data, n, err);
    buf_clear(&r->control);
    return rc;
}

static int end_message(struct ws_reader *r, struct err *err)
{
    enum ws_kind kind = r->kind;
    const char *data = buf_get(&r->message);
    size_t n = r->message.len;
    int rc;

    if (kind == WS_TEXT && utf8_valid_prefix(data, n) != n)
        return fail(r, WS_BAD_TEXT, "a text is not UTF-8", err);
    rc = r->on_message(r->ctx, kind, data, n, err);
    r->kind = WS_CONTINUATION;
    buf_clear(&r->message);
    return rc;
}

static int end_frame(struct ws_reader *r, struct err *err)
{
    bool is_last = r->head[0] & FIN;
    int rc = 0;

    if (is_control(frame_kind(r)))
        rc = end_control(r, err);
    else if (is_last)
        rc = end_message(r, err);
    r->head_n = 0;
    r->is_in_payload = false;
    return rc;
}

static int take_head(struct ws_reader *r, unsigned char byte, struct err *err)
{
    r->head[r->head_n++] = byte;
    if (r->head_n == 2 && check_start(r, err) < 0)
        return -1;
    if (r->head_n < 2 || r->head_n < head_size(r))
        return 0;
    if (read_length(r, err) < 0)
        return -1;
    if (!is_control(frame_kind(r)) && frame_kind(r) != WS_CONTINUATION)
        r->kind = frame_kind(r);
    return 0;
}

static int take_payload(struct ws_reader *r, const unsigned char *p, size_t n, struct err *err)
{
    if (n && buf_add(is_control(frame_kind(r)) ? &r->control : &r->message, p, n) < 0)
        return fail(r, WS_TOO_BIG, "a message is too long", err);
    r->left -= n;
    return 0;
}

int ws_feed(struct ws_reader *r, const void *data, size_t n, struct err *err)
{
    const unsigned char *p = data;

    while (n && !r->is_closed) {
        size_t used = 1;

        if (!r->is_in_payload) {
            if (take_head(r, *p, err) < 0)
                return -1;
        } else {
            used = r->left < n ? (size_t)r->left : n;
            if (take_payload(r, p, used, err) < 0)
                return -1;
        }
        p += used;
        n -= used;
        if (r->is_in_payload && r->left == 0 && end_frame(r, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the opening handshake ---- */

void ws_make_key(char out[WS_KEY_TEXT])
{
    unsigned char raw[16];

    random_bytes(raw, sizeof(raw));
    out[base64_encode(out, raw, sizeof(raw))] = '\0';
}

void ws_accept(char out[WS_ACCEPT_TEXT], const char *key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
    unsigned char raw[SHA1_LEN];
    char text[WS_KEY_TEXT + sizeof(guid)];
    int n = snprintf(text, sizeof(text), "%s%s", key, guid);

    if (n < 0 || EVP_Digest(text, (size_t)n, raw, NULL, EVP_sha1(), NULL) != 1)
        abort();
    out[base64_encode(out, raw, sizeof(raw))] = '\0';
}

void ws_put_request(struct buf *out, const char *host, const char *path, const char *key)
{
    (void)buf_fmt(out,
                  "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
                  "User-Agent: oneshot/" ONESHOT_VERSION "\r\n\r\n",
                  path, host, key);
}

/* The value between `from` and `to` without white space; false when it is empty or too long. */
static bool copy_value(const char *from, const char *to, char value[FIELD_MAX])
{
    size_t n;

    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    n = (size_t)(to - from);
    if (n == 0 || n >= FIELD_MAX)
        return false;
    memcpy(value, from, n);
    value[n] = '\0';
    return true;
}

/* No string function may see the head: it has no end of its own. */
static bool get_field(const char *head, const char *end, const char *name, char value[FIELD_MAX])
{
    size_t k = strlen(name);

    for (const char *line = head; line < end;) {
        const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);

        if (!stop)
            stop = end;
        if ((size_t)(stop - line) > k && line[k] == ':' && strncasecmp(line, name, k) == 0)
            return copy_value(line + k + 1, stop, value);
        line = stop + 2;
    }
    return false;
}

static int check_fields(const char *head, const char *end, const char *key, struct err *err)
{
    char value[FIELD_MAX], wanted[WS_ACCEPT_TEXT];

    ws_accept(wanted, key);
    if (!get_field(head, end, "Upgrade", value) || !str_eq_nocase(value, "websocket"))
        return err_set(err, ERR_PEER, "websocket: the server does not upgrade");
    if (!get_field(head, end, "Connection", value) || !strcasestr(value, "upgrade"))
        return err_set(err, ERR_PEER, "websocket: the server does not upgrade the connection");
    if (!get_field(head, end, "Sec-WebSocket-Accept", value) || strcmp(value, wanted) != 0)
        return err_set(err, ERR_PEER, "websocket: the server answers another key");
    if (get_field(head, end, "Sec-WebSocket-Extensions", value) ||
        get_field(head, end, "Sec-WebSocket-Protocol", value))
        return err_set(err, ERR_PEER, "websocket: the server wants what was not offered");
    return 0;
}

long ws_check_head(const char *data, size_t n, const char *key, struct err *err)
{
    const char *end = memmem(data, n, "\r\n\r\n", 4);

    if (memcmp(data, "HTTP/1.1 ", n < 9 ? n : 9) != 0)
        return err_set(err, ERR_PEER, "websocket: the reply is not HTTP/1.1");
    if (!end)
        return n > HEAD_MAX ? err_set(err, ERR_PEER, "websocket: the head is too long") : 0;
    if (memchr(data, '\0', (size_t)(end - data)))
        return err_set(err, ERR_PEER, "websocket: the head has a NUL in it");
    if (memcmp(data + 9, "101", 3) != 0)
        return err_set(err, ERR_PEER, "websocket: the server answers %.3s", data + 9);
    if (check_fields(data, end, key, err) < 0)
        return -1;
    return (long)(end + 4 - data);
}
