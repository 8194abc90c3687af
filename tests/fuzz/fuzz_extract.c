/* Any text: the program in it is not blank, no longer than the text, and found the same again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/extract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *code;

    if (size > 64 * 1024)
        return 0;
    code = extract_code((const char *)data, size);
    if (!code)
        return 0;
    assert(strlen(code) <= size);
    assert(!str_is_blank(code, strlen(code)) || memchr(data, '\0', size));
    if (!strstr(code, "```") && !strstr(code, "~~~") && !memchr(data, '\0', size)) {
        char *again = extract_code(code, strlen(code));

        assert(again && strcmp(again, code) == 0);
        free(again);
    }
    free(code);
    return 0;
}
