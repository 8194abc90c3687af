#include "cmd/shown.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

enum { TIME_LEN = 19 };

/*
 * What a terminal must not get of the text's next `step` bytes. U+0080 to U+009F are controls, too;
 * as single bytes they are for terminals that do not read UTF-8, and no text has those.
 */
static bool is_control(const unsigned char *s, int step)
{
    if (step <= 0)
        return true;
    if (step == 2)
        return s[0] == 0xC2 && s[1] < 0xA0;
    return (s[0] < 0x20 && s[0] != '\n' && s[0] != '\t') || s[0] == 0x7F;
}

void shown_safely(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + n;
    bool is_terminal = isatty(STDOUT_FILENO);

    while (s < end) {
        int step = utf8_step(s, (size_t)(end - s));
        const unsigned char *next = s + (step > 0 ? step : 1);

        if (is_terminal && is_control(s, step)) {
            for (; s < next; s++)
                (void)printf("\\x%02x", *s);
        } else {
            (void)fwrite(s, 1, (size_t)(next - s), stdout);
        }
        s = next;
    }
}

void shown_text(const char *name, const char *text)
{
    if (!text[0])
        return;
    (void)printf("%-12s ", name);
    shown_safely(text, strlen(text));
    (void)putchar('\n');
}

const char *shown_time(char out[CLOCK_TEXT_MAX], int64_t wall_ms)
{
    (void)clock_text(out, wall_ms);
    out[10] = ' ';
    out[TIME_LEN] = '\0';
    return out;
}

const char *shown_duration(char out[SHOWN_DURATION], uint64_t us)
{
    double s = (double)us / 1e6;

    if (s < 1)
        (void)snprintf(out, SHOWN_DURATION, "%.1f ms", s * 1000);
    else if (s < 100)
        (void)snprintf(out, SHOWN_DURATION, "%.2f s", s);
    else
        (void)snprintf(out, SHOWN_DURATION, "%.0f s", s);
    return out;
}
