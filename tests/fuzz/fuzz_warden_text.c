/*
 * The warden's small readers of text. The first byte chooses: the kernel's counter files, or names.
 *
 * Oracles beyond the sanitizers: the front's rule for paths and the warden's agree; an escaped name
 * is a name, and escaping it can be undone.
 */
#include <stdio.h>
#include <stdlib.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/cgroup.c"
#include "../../images/warden/names.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "base/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

static void read_counters(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"", "max", "oom_kill", "usage_usec"};
    char *text = malloc(size + 1);

    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        uint64_t v = 0;

        if (!cgroup_parse(text, keys[i], &v))
            must(v == 0);
    }
    free(text);
}

static int from_hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = strchr(digits, c);

    must(c && at);
    return at ? (int)(at - digits) : 0;
}

static void read_name(const char *name, size_t n)
{
    char escaped[4 * NAME_MAX_BYTES], back[NAME_MAX_BYTES];
    size_t len, m = 0;

    must(name_path_is_ok(name, n) == (path_check(name, n, NULL) == 0));
    if (n == 0 || n > NAME_MAX_BYTES)
        return;
    len = name_escape(escaped, sizeof(escaped), name, n);
    for (size_t i = 0; i < len; i++) {
        if (escaped[i] != '\\') {
            back[m++] = escaped[i];
        } else if (escaped[i + 1] == '\\') {
            back[m++] = escaped[++i];
        } else {
            must(escaped[i + 1] == 'x');
            back[m++] = (char)(from_hex(escaped[i + 2]) << 4 | from_hex(escaped[i + 3]));
            i += 3;
        }
    }
    must(m == n && memcmp(back, name, n) == 0);
    for (size_t i = 0; i < len; i++)
        must((unsigned char)escaped[i] >= 0x20 && escaped[i] != 0x7F && escaped[i] != '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        read_counters(data + 1, size - 1);
    else
        read_name((const char *)data + 1, size - 1);
    return 0;
}
