#include <assert.h>
#include <cjson/cJSON.h>
#include <stdint.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/json_sieve.h"

/*
 * Oracles beyond "no crash": whole or in pieces gives the same answer in the same words; what is
 * accepted is read whole by cJSON, from the copy that the sieve makes.
 */

static int scan_pieces(const char *data, size_t n, struct err *err)
{
    CLEANUP(json_scan_free_p) struct json_scan *s = json_scan_new(JSON_SCAN_TOKENS, NULL, NULL);
    size_t step = 1 + n % 7;

    for (size_t i = 0; i < n; i += step) {
        if (json_scan_feed(s, data + i, n - i < step ? n - i : step, err) < 0)
            return -1;
    }
    return json_scan_end(s, err);
}

static void read_copy(const char *data, size_t n)
{
    const struct json_sieve_options o = {
        .spool_dir = "/tmp", .text_max = n + 64, .tokens_max = JSON_SCAN_TOKENS};
    CLEANUP(json_sieve_free_p) struct json_sieve *s = json_sieve_new(&o);
    const struct buf *text = json_sieve_text(s);
    const char *end = NULL;
    cJSON *value;
    int failed = json_sieve_feed(s, data, n, NULL);

    assert(failed == 0);
    failed = json_sieve_end(s, NULL);
    assert(failed == 0);
    value = cJSON_ParseWithLengthOpts(buf_get(text), text->len + 1, &end, true);
    assert(value);
    assert(end == buf_get(text) + text->len);
    cJSON_Delete(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err whole = {0}, split = {0};
    int good = json_scan_text((const char *)data, n, JSON_SCAN_TOKENS, &whole);

    assert(scan_pieces((const char *)data, n, &split) == good);
    assert(strcmp(whole.msg, split.msg) == 0);
    assert((good == 0) == (whole.kind == ERR_NONE));
    if (good == 0)
        read_copy((const char *)data, n);
    return 0;
}
