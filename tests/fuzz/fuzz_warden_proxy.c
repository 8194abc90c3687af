/*
 * Requests to the warden's proxy as a hostile program writes them.
 *
 * Oracles beyond the sanitizers: what is incomplete stays so for every shorter piece; a target is a
 * host and a port as the front wants them; a rewritten head is no longer than there is room, is one
 * head with one Host and one Connection, asks for a path, and names no proxy.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/proxy.c"
/* NOLINTEND(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t count(const char *text, const char *word)
{
    size_t n = 0;

    while ((text = strcasestr(text, word))) {
        n++;
        text++;
    }
    return n;
}

static void check_rewritten(const uint8_t *data, const struct proxy_request *r)
{
    char *out = malloc(r->head_len + PROXY_SPARE + 1);
    struct proxy_request again;
    char *space;
    size_t n;

    assert(out);
    n = proxy_rewrite(data, r, (uint8_t *)out);
    assert(n <= r->head_len + PROXY_SPARE);
    out[n] = '\0';
    assert(strlen(out) == n);
    assert(strcmp(out + n - 4, "\r\n\r\n") == 0 && strstr(out, "\r\n\r\n") == out + n - 4);
    space = strchr(out, ' ');
    assert(space && space[1] == '/' && !memchr(space, '#', strcspn(space, "\r")));
    assert(count(out, "\nHost:") == 1 && count(out, "\nConnection: close\r\n") == 1);
    assert(count(out, "\nProxy-Connection:") == 0 && count(out, "\nProxy-Authorization:") == 0);
    /* It goes to a server: as a request to a proxy it means nothing. */
    assert(proxy_parse((const uint8_t *)out, n, &again) == PROXY_BAD);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_request r, shorter;
    enum proxy_kind kind = proxy_parse(data, n, &r);
    char reply[PROXY_REPLY_MAX];

    if (kind == PROXY_MORE)
        assert(n < PROXY_HEAD_MAX);
    if (kind == PROXY_CONNECT || kind == PROXY_PLAIN) {
        assert(r.head_len <= n && r.head_len <= PROXY_HEAD_MAX);
        assert(proxy_parse(data, r.head_len - 1, &shorter) == PROXY_MORE);
        assert(strlen(r.target) < RELAY_TARGET_MAX && strrchr(r.target, ':'));
        for (const char *p = r.target; *p; p++)
            assert(*p > ' ' && *p < 0x7f && !(*p >= 'A' && *p <= 'Z'));
    }
    if (kind == PROXY_PLAIN)
        check_rewritten(data, &r);
    if (kind == PROXY_BAD) {
        assert(r.status >= 400 && r.why);
        assert(proxy_reply(reply, r.status, "", r.why) < sizeof(reply));
    }
    return 0;
}
