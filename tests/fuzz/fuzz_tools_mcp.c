/*
 * Bytes of an MCP server: a reply in a split that the input chooses against the same in one piece,
 * then as a page of tools and as the result of a call. The first byte says how it is split, the
 * second whether it is a stream of events.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/log.h"
#include "base/mem.h"
#include "found_module.h"
#include "tools/mcp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_reply(const uint8_t *data, size_t n, size_t step, bool is_stream,
                      struct mcp_message *ret)
{
    struct mcp_reader r;
    struct err e = {0};
    bool goes_on = true;
    int rc;

    mcp_reader_init(&r, 1, 1 << 16, ret);
    for (size_t i = 0; goes_on && i < n; i += step)
        goes_on = mcp_reader_feed(&r, is_stream ? "text/event-stream" : "application/json",
                                  (const char *)data + i, n - i < step ? n - i : step);
    rc = mcp_reader_end(&r, &e);
    assert(rc == 0 || e.kind == ERR_PEER);
    mcp_reader_done(&r);
    return rc;
}

static void read_tools(const char *result, size_t n)
{
    struct found f = found_begin();
    auto_free char *cursor = NULL;

    if (mcp_read_tools(f.module, result, n, &cursor, NULL) == 0 &&
        tool_module_seal(f.module, NULL)) {
        assert(!cursor || json_scan_text(cursor, strlen(cursor), 1, NULL) == 0);
        found_check(&f);
    }
    found_end(&f);
}

static void read_result(const char *result, size_t n)
{
    CLEANUP(buf_done) struct buf b = {.max = 1 << 20};
    bool has_failed = false;

    if (mcp_read_result(result, n, &b, &has_failed, NULL) == 0 && !has_failed)
        assert(json_scan_passed_on(buf_get(&b), b.len, SIZE_MAX, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mcp_message whole, split;
    int a, b;

    if (size < 2)
        return 0;
    log_init("fuzz", LOG_ERROR, LOG_TEXT, -1);
    a = read_reply(data + 2, size - 2, size, data[1] & 1, &whole);
    b = read_reply(data + 2, size - 2, (size_t)data[0] + 1, data[1] & 1, &split);
    assert(a == b && whole.result_n == split.result_n && whole.code == split.code);
    if (a == 0 && whole.result) {
        assert(memcmp(whole.result, split.result, whole.result_n) == 0);
        read_tools(whole.result, whole.result_n);
        read_result(whole.result, whole.result_n);
    }
    mcp_message_done(&whole);
    mcp_message_done(&split);
    return 0;
}
