/*
 * A model's reply in a split that the input chooses, against the same bytes in one piece: the same
 * text, usage and verdict. The first byte says how it is split, the second in which form it comes;
 * what is a good reply goes on to where the program in it is looked for.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "base/utf8.h"
#include "model/cohere_wire.h"
#include "model/extract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct got {
    struct model_reply reply;
    struct err err;
    int rc;
};

static struct got read_reply(const uint8_t *data, size_t n, size_t step, unsigned form)
{
    const char *type = form & 2 ? "application/json" : "text/event-stream";
    struct got g = {
        .reply = {.text = {.max = 1 << 20}, .tokens_in = -1, .tokens_out = -1}
    };
    struct cohere_reader r;
    bool goes_on = true;

    cohere_reader_init(&r, form & 1 ? COHERE_V1 : COHERE_V2, &g.reply);
    for (size_t i = 0; goes_on && i < n; i += step)
        goes_on = cohere_reader_feed(&r, type, (const char *)data + i, n - i < step ? n - i : step);
    g.rc = cohere_reader_end(&r, &g.err);
    cohere_reader_done(&r);
    return g;
}

static void look_for_code(const struct buf *text)
{
    char *code = extract_code(buf_get(text), text->len);

    assert(!code || !str_is_blank(code, strlen(code)));
    assert(!code || utf8_valid_prefix(code, strlen(code)) == strlen(code));
    free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct got whole, split;

    if (size < 2 || size > 256 * 1024)
        return 0;
    whole = read_reply(data + 2, size - 2, size, data[1]);
    split = read_reply(data + 2, size - 2, (size_t)data[0] + 1, data[1]);
    assert(whole.rc == split.rc);
    assert(strcmp(whole.err.msg, split.err.msg) == 0);
    assert(!whole.err.msg[strcspn(whole.err.msg, "\n\r\x1B\x7F")]);
    assert(whole.rc == 0 || whole.err.kind == ERR_PEER || whole.err.kind == ERR_TIMEOUT);
    if (whole.rc == 0) {
        assert(strcmp(buf_get(&whole.reply.text), buf_get(&split.reply.text)) == 0);
        assert(whole.reply.finish == split.reply.finish);
        assert(whole.reply.tokens_in == split.reply.tokens_in);
        assert(whole.reply.tokens_out == split.reply.tokens_out);
        assert(whole.reply.tokens_in >= -1 && whole.reply.tokens_in <= 1e12);
        look_for_code(&whole.reply.text);
    }
    model_reply_done(&whole.reply);
    model_reply_done(&split.reply);
    return 0;
}
