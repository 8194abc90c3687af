#include "core/call_wire.h"

#include <string.h>

#include "base/json.h"
#include "base/json_raw.h"
#include "base/json_scan.h"
#include "base/str.h"
#include "frames/frame.h"
#include "policy/syntax.h"

/* ---- reading ---- */

static bool is_word(const char *at, size_t n, const char *word)
{
    return n == strlen(word) && memcmp(at, word, n) == 0;
}

/* A string as short and plain as all names are. False: it is none. */
static bool copy_plain(char *out, size_t size, const char *at, size_t n)
{
    if (n < 3 || *at != '"' || n - 2 >= size || memchr(at, '\\', n))
        return false;
    memcpy(out, at + 1, n - 2);
    out[n - 2] = '\0';
    return true;
}

static int take_member(struct call_text *c, const struct json_raw *m, struct err *err)
{
    if (is_word(m->key, m->key_n, "\"kind\"")) {
        if (!copy_plain(c->kind, sizeof(c->kind), m->value, m->n) || !syntax_word(c->kind))
            return err_set(err, ERR_INVALID, "the kind of a host call must be a word");
    } else if (is_word(m->key, m->key_n, "\"name\"")) {
        if (!copy_plain(c->name, sizeof(c->name), m->value, m->n) || !syntax_module(c->name))
            return err_set(err, ERR_INVALID,
                           "the name of a host call must be one such as data.get_devices");
    } else if (is_word(m->key, m->key_n, "\"args\"")) {
        if (*m->value != '{')
            return err_set(err, ERR_INVALID, "the arguments of a host call must be an object");
        c->args = m->value;
        c->args_len = m->n;
    }
    return 0;
}

int call_text_read(struct call_text *ret, const char *text, size_t n, struct err *err)
{
    struct call_text c = {.args = "{}", .args_len = 2};
    struct json_raw_walk w;
    struct json_raw m;

    if (json_scan_text(text, n, CALL_TOKENS, err) < 0)
        return err_wrap(err, "a host call is no JSON");
    if (!json_raw_begin(&w, text, n))
        return err_set(err, ERR_INVALID, "a host call must be a JSON object");
    while (json_raw_next(&w, &m)) {
        if (take_member(&c, &m, err) < 0)
            return -1;
    }
    if (!*c.kind || !*c.name)
        return err_set(err, ERR_INVALID, "a host call must have a kind and a name");
    *ret = c;
    return 0;
}

/* ---- writing ---- */

/* Text of any length as frames whose heads are filled in when their lengths are known. */
struct framing {
    struct buf *b;
    uint16_t id;
    size_t head_at, len; /* of the frame that is being written */
};

static void open_frame(struct framing *f)
{
    const uint8_t head[FRAME_HEAD] = {0};

    f->head_at = f->b->len;
    f->len = 0;
    (void)buf_add(f->b, head, sizeof(head));
}

static void close_frame(struct framing *f, uint8_t flags)
{
    if (!f->b->is_full)
        frame_put_head((uint8_t *)f->b->data + f->head_at, FRAME_REPLY, flags, f->id,
                       (uint32_t)f->len);
}

static void put_span(struct framing *f, const char *data, size_t n)
{
    while (n) {
        size_t take = FRAME_MAX - f->len;

        if (!take) {
            close_frame(f, FRAME_MORE);
            open_frame(f);
            continue;
        }
        take = take < n ? take : n;
        (void)buf_add(f->b, data, take);
        f->len += take;
        data += take;
        n -= take;
    }
}

static void put_text(struct buf *b, uint16_t id, const char *before, const struct buf *text)
{
    struct framing f = {.b = b, .id = id};

    open_frame(&f);
    put_span(&f, before, strlen(before));
    put_span(&f, buf_get(text), text->len);
    put_span(&f, "}", 1);
    close_frame(&f, 0);
}

static void put_error(struct buf *b, uint16_t id, const struct host_answer *answer)
{
    CLEANUP(buf_done) struct buf text = {0};

    buf_init(&text, (size_t)HOST_MESSAGE_MAX * JSON_ESCAPE_MAX + 256);
    (void)buf_str(&text, "{\"type\":");
    json_put_str(&text, answer->type, strlen(answer->type));
    (void)buf_str(&text, ",\"message\":");
    json_put_str(&text, buf_get(&answer->message), answer->message.len);
    (void)buf_char(&text, '}');
    put_text(b, id, "{\"error\":", &text);
}

static void check_result(struct host_answer *answer, size_t reply_max)
{
    struct err err = {0};

    if (answer->result.is_full || answer->result.len > reply_max)
        host_fail(answer, HOST_LIMIT, "ToolError", "the result is larger than %zu bytes",
                  reply_max);
    else if (!answer->result.len)
        (void)buf_str(&answer->result, "null");
    else if (json_scan_passed_on(buf_get(&answer->result), answer->result.len,
                                 answer->result.len + 1, &err) < 0)
        host_fail(answer, HOST_FAILED, "ToolError", "the result is no JSON: %s", err.msg);
}

void call_reply_put(struct buf *b, uint16_t id, struct host_answer *answer, size_t reply_max)
{
    size_t at = b->len;

    if (!answer->is_error)
        check_result(answer, reply_max);
    if (!answer->is_error) {
        put_text(b, id, "{\"result\":", &answer->result);
        if (!b->is_full)
            return;
        b->len = at;
        b->is_full = false;
        host_fail(answer, HOST_LIMIT, "ToolError", "there is no memory for the result");
    }
    put_error(b, id, answer);
}
