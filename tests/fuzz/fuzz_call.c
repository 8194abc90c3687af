/*
 * Host calls: the payload of a CALL from a hostile program, and the REPLY to whatever a provider
 * may say. The same bytes are read as both.
 *
 * Oracles beyond the sanitizers: what is taken is JSON, has names that may stand in logs, and its
 * arguments are one whole object, the same that cJSON finds; a reply is a chain of whole frames and
 * its text is JSON whatever the provider said.
 */
#include <assert.h>
#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "core/call_wire.h"
#include "frames/frame.h"
#include "frames/le.h"
#include "policy/syntax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TOKENS = 1 << 20 };

static bool is_json(const char *text, size_t n)
{
    return json_scan_text(text, n, TOKENS, NULL) == 0;
}

static void check_call(const char *text, size_t n)
{
    CLEANUP(cJSON_Delete_p) cJSON *whole = NULL, *args = NULL;
    struct call_text c;
    const cJSON *found;

    if (call_text_read(&c, text, n, NULL) < 0)
        return;
    assert(is_json(text, n) && is_json(c.args, c.args_len) && *c.args == '{');
    assert(syntax_word(c.kind) && syntax_module(c.name));
    whole = cJSON_ParseWithLength(text, n);
    if (!whole) /* it has bounds of its own */
        return;
    found = cJSON_GetObjectItemCaseSensitive(whole, "kind");
    assert(cJSON_IsString(found) && strcmp(found->valuestring, c.kind) == 0);
    found = cJSON_GetObjectItemCaseSensitive(whole, "name");
    assert(cJSON_IsString(found) && strcmp(found->valuestring, c.name) == 0);
    found = cJSON_GetObjectItemCaseSensitive(whole, "args");
    args = cJSON_ParseWithLength(c.args, c.args_len);
    if (found && args)
        assert(cJSON_Compare(found, args, true));
}

static void check_reply(struct host_answer *answer, size_t reply_max)
{
    CLEANUP(buf_done) struct buf frames = {0}, text = {0};
    bool is_last = false;

    buf_init(&frames, 1 << 20);
    buf_init(&text, 1 << 20);
    call_reply_put(&frames, 0xabcd, answer, reply_max);
    assert(frames.len);
    for (size_t at = 0; at < frames.len;) {
        const uint8_t *f = (const uint8_t *)buf_get(&frames) + at;
        uint32_t len = le_get32(f + 4);

        assert(!is_last && f[0] == FRAME_REPLY && le_get16(f + 2) == 0xabcd && len <= FRAME_MAX);
        is_last = !(f[1] & FRAME_MORE);
        at += FRAME_HEAD + (size_t)len;
        assert(at <= frames.len);
        (void)buf_add(&text, f + FRAME_HEAD, len);
    }
    assert(is_last);
    assert(json_scan_passed_on(buf_get(&text), text.len, TOKENS, NULL) == 0);
    assert(answer->is_error == (strncmp(buf_get(&text), "{\"error\":", 9) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    auto_free char *text = xmalloc(n + 1);
    struct host_answer answer = {.verdict = HOST_OK};

    if (n)
        memcpy(text, data, n);
    text[n] = '\0';
    check_call(text, n);
    buf_init(&answer.result, 1 << 20);
    (void)buf_add(&answer.result, text, n);
    check_reply(&answer, n ? n - data[0] % 2 : 0);
    host_fail(&answer, HOST_FAILED, "ToolError", "%s", text);
    check_reply(&answer, 0);
    buf_done(&answer.result);
    buf_done(&answer.message);
    return 0;
}
