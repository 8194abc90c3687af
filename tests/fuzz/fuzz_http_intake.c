/*
 * The body of a request as the intake gathers it, from the first byte to the parsed JSON: the first
 * byte says what the route takes, how large it may be, and in which pieces it comes.
 *
 * Oracles beyond the sanitizers: a body is refused or its JSON is there, never both or none; what is
 * refused has a status of the interface; any split gives the same; nothing past the limit is kept.
 */
#include <assert.h>
#include <string.h>

#include "http/steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { BODY_MAX = 4096, FILES_MAX = 16384, TOKENS_MAX = 500 };

static struct http_server server = {
    .limits = {.body_max = BODY_MAX,
               .body_files_max = FILES_MAX,
               .json_tokens = TOKENS_MAX,
               .blobs_max = 8,
               .spool_dir = "/tmp"}
};
static struct http_listener listener = {.server = &server};
static const struct http_blob_field blobs[] = {{.path = "files[].content"}, {.path = NULL}};
static const struct http_route routes[] = {
    {.body = HTTP_BODY_JSON},
    {.body = HTTP_BODY_JSON, .blobs = blobs},
    {.body = HTTP_BODY_RAW},
    {.body = HTTP_BODY_NONE},
};

static void is_of_the_interface(const struct http_refusal *r)
{
    assert(r->status == 400 || r->status == 413);
    assert(memchr(r->text, '\0', sizeof(r->text)));
}

static void gather(struct http_exchange *x, const uint8_t *data, size_t n, size_t step)
{
    http_intake_begin(x);
    for (size_t at = 0; at < n; at += step)
        http_intake_take(x, (const char *)data + at, n - at < step ? n - at : step);
    http_intake_end(x);
    if (x->refusal.status)
        is_of_the_interface(&x->refusal);
    else if (x->route->body == HTTP_BODY_JSON)
        assert(x->intake.json);
    else
        assert(x->intake.raw.len == n && n <= x->intake.limit);
}

static void same(const struct http_exchange *a, const struct http_exchange *b)
{
    assert(a->refusal.status == b->refusal.status);
    assert(a->refusal.must_close == b->refusal.must_close);
    if (a->refusal.status)
        return;
    assert(!a->intake.json == !b->intake.json);
    if (a->intake.json)
        assert(cJSON_Compare(a->intake.json, b->intake.json, true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct http_connection connection = {.listener = &listener, .fd = -1};
    struct http_exchange whole = {.connection = &connection, .method = "POST"}, split;

    if (n == 0)
        return 0;
    whole.route = &routes[data[0] & 3];
    whole.intake.is_due = n > 1;
    whole.intake.announced = data[0] & 4 ? UINT64_MAX : n - 1;
    split = whole;
    gather(&whole, data + 1, n - 1, n);
    gather(&split, data + 1, n - 1, 1 + (data[0] >> 3) % 7);
    /* Where a fault comes before the limit the first of both is told, as the bytes come in. */
    if (n - 1 <= whole.intake.limit)
        same(&whole, &split);
    http_intake_done(&whole);
    http_intake_done(&split);
    assert(atomic_load(&server.held) == 0);
    return 0;
}
