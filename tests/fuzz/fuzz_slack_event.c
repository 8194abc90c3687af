/*
 * A message of Slack's from its bytes to a command, and a program's output on its way back. What
 * comes out is valid UTF-8 wherever what goes in is, no longer than promised, and mentions nobody.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "slack/command.h"
#include "slack/event.h"
#include "slack/markup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_command(const char *text)
{
    struct command c;

    command_read(text, &c);
    assert((c.kind == COMMAND_NONE) == (c.name[0] == '\0'));
    assert(utf8_valid_prefix(text, strlen(text)) != strlen(text) ||
           utf8_valid_prefix(c.name, strlen(c.name)) == strlen(c.name));
    assert(c.rest_n >= 0 && (size_t)c.rest_n <= strlen(text));
}

static void check_markup(const char *text, size_t n)
{
    CLEANUP(buf_done) struct buf plain = {.max = 2 * n + 16};
    bool is_good = utf8_valid_prefix(text, n) == n;

    markup_read(&plain, text, n);
    assert(!plain.is_full);
    assert(!is_good || utf8_valid_prefix(buf_get(&plain), plain.len) == plain.len);
    check_command(buf_get(&plain));
}

static void check_block(const char *text, size_t n)
{
    CLEANUP(buf_done) struct buf b = {.max = 8 * n + 64};
    const char *s;

    markup_put_block(&b, text, n, 100);
    s = buf_get(&b);
    assert(!b.is_full && b.len == strlen(s) + (memchr(text, '\0', n) ? b.len - strlen(s) : 0));
    assert(utf8_valid_prefix(s, b.len) == b.len);
    assert(b.len >= 8 && memcmp(s, "```\n", 4) == 0 && memcmp(s + b.len - 4, "\n```", 4) == 0);
    assert(!memchr(s, '<', b.len) && !memchr(s, '>', b.len));
    assert(!memmem(s + 3, b.len - 6, "``", 2));
}

static void check_event(const char *text, size_t n)
{
    CLEANUP(event_done) struct event e = {0};
    struct err err = {0};
    int rc = event_read(text, n, &(struct event_place){.channel = "C1"}, &e, &err);

    assert(rc == 0 || err.kind == ERR_INVALID || err.kind == ERR_LIMIT);
    assert(rc == 0 || e.kind == EVENT_OTHER);
    if (e.kind != EVENT_REQUEST)
        return;
    assert(strlen(e.request.user) > 0 && !strpbrk(e.request.user, "<>&| "));
    assert(strlen(e.request.channel) > 0 && strlen(e.request.ts) > 0);
    check_command(e.request.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = NULL;

    if (size > 64 * 1024)
        return 0;
    text = xstrndup((const char *)data, size);
    check_event((const char *)data, size);
    check_markup(text, strlen(text));
    check_block((const char *)data, size);
    return 0;
}
