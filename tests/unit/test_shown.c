/* What strangers wrote, on a terminal: this program's own, whose other end is read here. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/shown.h"
#include "unit.h"

static int to_keep = -1, other_end = -1;

static void write_to(int fd)
{
    (void)fflush(stdout);
    ck_assert_int_ge(dup2(fd, STDOUT_FILENO), 0);
    (void)close(fd);
}

static void open_terminal(void)
{
    struct termios mode;
    int fd;

    to_keep = dup(STDOUT_FILENO);
    other_end = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(other_end, 0);
    ck_assert_int_eq(grantpt(other_end) + unlockpt(other_end), 0);
    fd = open(ptsname(other_end), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_eq(tcgetattr(fd, &mode), 0);
    cfmakeraw(&mode);
    ck_assert_int_eq(tcsetattr(fd, TCSANOW, &mode), 0);
    write_to(fd);
}

static void open_pipe(void)
{
    int pair[2];

    to_keep = dup(STDOUT_FILENO);
    ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
    other_end = pair[0];
    write_to(pair[1]);
}

/* What came out, up to an end of text that is written behind it. */
static void check_shown(const char *text, size_t n, const char *wanted, size_t wanted_n)
{
    char got[256];
    size_t k = 0;

    shown_safely(text, n);
    (void)putchar('\n');
    write_to(to_keep);
    while (k == 0 || got[k - 1] != '\n') {
        ssize_t more = read(other_end, got + k, sizeof(got) - k);

        ck_assert_int_gt(more, 0);
        k += (size_t)more;
    }
    (void)close(other_end);
    ck_assert_uint_eq(k, wanted_n + 1);
    ck_assert_mem_eq(got, wanted, wanted_n);
}

static const struct {
    const char *text, *wanted;
} rows[] = {
    {"plain\ttext",                            "plain\ttext"                           },
    {"\x1b[31mred\r\x07\x7f",                  "\\x1b[31mred\\x0d\\x07\\x7f"           },
    {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},

    /* U+009B does what ESC [ does; U+00A0 is a blank */
    {"\xc2\x9b"
     "31m",                               "\\xc2\\x9b31m"                         },
    {"\xc2\x80\xc2\x9f\xc2\xa0",               "\\xc2\\x80\\xc2\\x9f\xc2\xa0"          },

    /* no UTF-8 */
    {"a\x9b"
     "31m\xff",                           "a\\x9b31m\\xff"                        },
    {"\xe2\x9b"
     "b\xc2",                             "\\xe2\\x9b"
     "b\\xc2"                                                        },
};

START_TEST(a_terminal_is_not_commanded)
{
    open_terminal();
    check_shown(rows[_i].text, strlen(rows[_i].text), rows[_i].wanted, strlen(rows[_i].wanted));
}
END_TEST

START_TEST(what_is_no_terminal_gets_all_as_it_is)
{
    open_pipe();
    check_shown(rows[_i].text, strlen(rows[_i].text), rows[_i].text, strlen(rows[_i].text));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, a_terminal_is_not_commanded, 0, ARRAY_LEN(rows));
    tcase_add_loop_test(t, what_is_no_terminal_gets_all_as_it_is, 0, ARRAY_LEN(rows));
}

UNIT_MAIN_ONE_PROCESS("shown", add_tests)
