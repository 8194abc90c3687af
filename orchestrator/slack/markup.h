#ifndef SLACK_MARKUP_H
#define SLACK_MARKUP_H

#include <stddef.h>

#include "base/buf.h"

/*
 * What a person wrote, from what Slack makes of it: <@U1>, <#C1|name>, <!here> and links as they
 * look on the screen, &amp; &lt; &gt;, quotes that a telephone made curly, no-break spaces. Valid
 * UTF-8 stays valid, and the result is never longer than twice the text and 16 bytes.
 */
void markup_read(struct buf *out, const char *text, size_t n);

/* & < > as Slack wants them, so that no text of a program mentions anybody. */
void markup_put(struct buf *out, const char *text, size_t n);

/*
 * The first `max` characters (code points) in a code block, with nothing in them that ends it.
 * `n` bytes that need not be UTF-8.
 */
void markup_put_block(struct buf *out, const char *text, size_t n, size_t max);

/* Bytes of the first `max` characters. */
size_t markup_cut(const char *text, size_t n, size_t max);

#endif
