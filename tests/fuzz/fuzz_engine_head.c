/*
 * The head of an attach reply: the parser's verdict on a whole text is the one that it reaches
 * when the text grows byte by byte, and a head is never longer than what was given.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/docker_attach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *s = (const char *)data;
    struct docker_head whole = {0}, part = {0};
    long verdict, early = 0;

    if (size > 4096)
        return 0;
    verdict = docker_head_parse(s, size, &whole);
    assert(verdict >= -1 && verdict <= (long)size);
    for (size_t n = 0; n <= size && !early; n++)
        early = docker_head_parse(s, n, &part);
    assert(early == verdict);
    if (verdict <= 0)
        return 0;
    assert(memcmp(s + verdict - 4, "\r\n\r\n", 4) == 0);
    assert(whole.status >= 100 && whole.status <= 599 && whole.length >= -1);
    assert(part.status == whole.status && part.length == whole.length &&
           part.is_chunked == whole.is_chunked);
    return 0;
}
