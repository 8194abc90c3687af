#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <poll.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "unit.h"

static int ends[2];

static void open_pipe(enum log_level level, enum log_format format)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    log_init("test", level, format, ends[1]);
}

/* Everything that is in the pipe now. */
static char *read_now(void)
{
    CLEANUP(buf_done) struct buf b = {.max = 64 << 20};
    struct pollfd p = {.fd = ends[0], .events = POLLIN};

    while (poll(&p, 1, 0) == 1 && p.revents & POLLIN) {
        char *room = buf_room(&b, 65536);
        ssize_t n = read(ends[0], room, 65536);

        if (n <= 0)
            break;
        buf_commit(&b, (size_t)n);
    }
    return buf_take(&b);
}

/* The record that was just written, behind its time. */
static char *line_now(void)
{
    auto_free char *all = read_now();
    char *space = strchr(all, ' ');

    ck_assert_msg(space && str_ends(all, "\n"), "'%s'", all);
    ck_assert_ptr_eq(strchr(all, '\n'), all + strlen(all) - 1);
    all[strlen(all) - 1] = '\0';
    return xstrdup(space + 1);
}

static const struct plain {
    const char *message, *line;
} plain[] = {
    {"hello",                             "info test: hello"                            },
    {"",                                  "info test: "                                 },
    {"two\nlines\r\n",                    "info test: two\\x0alines\\x0d\\x0a"          },
    {"\x1b[2Jgone\x07\x7f\t",             "info test: \\x1b[2Jgone\\x07\\x7f\\x09"      },
    {"caf\xC3\xA9 \xE2\x82\xAC \xC3\x80", "info test: caf\xC3\xA9 \xE2\x82\xAC \xC3\x80"},
    {"\xF0\x9F\x98\x80",                  "info test: \xF0\x9F\x98\x80"                 },
    {"bad \xFF\xC3( \xE2\x82",            "info test: bad \\xff\\xc3( \\xe2\\x82"       },
    {"csi \xC2\x9B"
     "2J \x9B"
     "2J",                           "info test: csi \\u009b2J \\x9b2J"            },
    {"rtl \xE2\x80\xAE"
     "cod.exe",                      "info test: rtl \\u202ecod.exe"               },
    {"ls \xE2\x80\xA8 ps \xE2\x80\xA9",   "info test: ls \\u2028 ps \\u2029"            },
    {"iso \xE2\x81\xA6 \xD8\x9C",         "info test: iso \\u2066 \\u061c"              },
};

START_TEST(a_message_is_one_harmless_line)
{
    auto_free char *line = NULL;

    open_pipe(LOG_INFO, LOG_TEXT);
    log_info("%s", plain[_i].message);
    line = line_now();
    ck_assert_str_eq(line, plain[_i].line);
    ck_assert_uint_eq(log_dropped(), 0);
}
END_TEST

static const struct log_field fields[] = {
    {.key = "run",  .text = "a\"b\nc\xFF"          },
    {.key = "ms",   .number = -12                  },
    {.key = "code", .text = "\xE2\x80\xAEx\xC2\x85"},
};

START_TEST(fields_follow_the_message_as_text)
{
    auto_free char *line = NULL;

    open_pipe(LOG_INFO, LOG_TEXT);
    log_record(LOG_WARNING, "done", fields, ARRAY_LEN(fields));
    line = line_now();
    ck_assert_str_eq(line, "warning test: done run=\"a\\\"b\\nc\xEF\xBF\xBD\" ms=-12 "
                           "code=\"\\u202ex\\u0085\"");
}
END_TEST

START_TEST(a_json_record_is_one_object)
{
    CLEANUP(cJSON_Delete_p) cJSON *j = NULL;
    auto_free char *all = NULL;

    open_pipe(LOG_INFO, LOG_JSON);
    log_record(LOG_ERROR, "line\nbreak \x1b \xE2\x80\xAE", fields, ARRAY_LEN(fields));
    all = read_now();
    ck_assert_ptr_eq(strchr(all, '\n'), all + strlen(all) - 1);
    for (const char *c = all; *c != '\n'; c++)
        ck_assert_uint_ge((unsigned char)*c, 0x20);
    ck_assert_ptr_null(strstr(all, "\xE2\x80\xAE"));
    j = cJSON_Parse(all);
    ck_assert_ptr_nonnull(j);
#define TEXT(key) cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, key))
    ck_assert_str_eq(TEXT("level"), "error");
    ck_assert_str_eq(TEXT("process"), "test");
    ck_assert_str_eq(TEXT("message"), "line\nbreak \x1b \xE2\x80\xAE");
    ck_assert_str_eq(TEXT("run"), "a\"b\nc\xEF\xBF\xBD");
    ck_assert_str_eq(TEXT("code"), "\xE2\x80\xAEx\xC2\x85");
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(j, "ms")) == -12);
    ck_assert_uint_eq(strlen(TEXT("time")), strlen("2026-11-21T10:00:00.123Z"));
}
END_TEST

START_TEST(levels_below_the_chosen_one_are_silent)
{
    auto_free char *all = NULL;

    open_pipe(LOG_WARNING, LOG_TEXT);
    ck_assert(!log_is_on(LOG_DEBUG) && !log_is_on(LOG_INFO));
    ck_assert(log_is_on(LOG_WARNING) && log_is_on(LOG_ERROR));
    log_debug("a");
    log_info("b");
    log_record(LOG_INFO, "c", NULL, 0);
    all = read_now();
    ck_assert_str_eq(all, "");
    log_error("d");
    free(TAKE(all));
    all = line_now();
    ck_assert_str_eq(all, "error test: d");
}
END_TEST

START_TEST(long_messages_are_cut_to_one_line)
{
    auto_free char *line = NULL;
    char text[5000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    open_pipe(LOG_INFO, LOG_TEXT);
    log_info("%s", text);
    line = line_now();
    ck_assert_uint_eq(strlen(line), strlen("info test: ") + 2047);
}
END_TEST

START_TEST(a_record_may_be_larger_than_a_pipe_usually_is)
{
    enum { SIZE = 500000 };
    auto_free char *text = xmalloc(SIZE + 1), *all = NULL;
    const struct log_field code = {.key = "code", .text = text};

    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    open_pipe(LOG_INFO, LOG_TEXT);
    log_record(LOG_INFO, "run", &code, 1);
    all = read_now();
    ck_assert_uint_eq(log_dropped(), 0);
    ck_assert_uint_gt(strlen(all), SIZE);
    ck_assert_str_eq(all + strlen(all) - 3, "x\"\n");
}
END_TEST

START_TEST(a_record_beyond_any_reason_is_dropped_and_counted)
{
    enum { SIZE = 17 * 1024 * 1024 };
    auto_free char *text = xmalloc(SIZE + 1), *all = NULL;
    const struct log_field code = {.key = "code", .text = text};

    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    open_pipe(LOG_INFO, LOG_TEXT);
    log_record(LOG_INFO, "run", &code, 1);
    all = read_now();
    ck_assert_str_eq(all, "");
    ck_assert_uint_eq(log_dropped(), 1);
}
END_TEST

/* Writes until lines are lost; returns how many were written. */
static unsigned fill(void)
{
    uint64_t before = log_dropped();
    unsigned n = 0;

    while (log_dropped() == before && n < 1000000)
        log_info("filling up %u", n++);
    ck_assert_uint_eq(log_dropped(), before + 1);
    return n - 1;
}

/* Whole lines, and at most `torn` that stop short. */
static unsigned count_lines(char *all, unsigned torn)
{
    char *save = NULL;
    unsigned n = 0, whole = 0;

    for (char *l = strtok_r(all, "\n", &save); l; l = strtok_r(NULL, "\n", &save), n++) {
        const char *at = strstr(l, "info test: filling up ");

        ck_assert_ptr_eq(strchr(l, ' ') + 1, at);
        whole += at && strspn(at + 22, "0123456789") == strlen(at + 22);
    }
    ck_assert_uint_le(n, whole + torn);
    return whole;
}

static void check_blocked(void)
{
    int64_t began;
    unsigned n;
    auto_free char *all = NULL;

    n = fill();
    ck_assert_uint_gt(n, 0);
    began = clock_ms();
    for (int i = 0; i < 100; i++)
        log_info("filling up %d", i);
    ck_assert_int_lt(clock_ms() - began, 3000);
    ck_assert_uint_ge(log_dropped(), 100);
    all = read_now();
    ck_assert_uint_ge(count_lines(all, 1), n);
    free(TAKE(all));
    /* The reader is back: lines arrive again, on lines of their own. */
    log_info("filling up %d", 7);
    all = read_now();
    ck_assert_ptr_nonnull(strstr(all, "info test: filling up 7\n"));
}

START_TEST(a_full_pipe_drops_lines_and_counts_them)
{
    open_pipe(LOG_INFO, LOG_TEXT);
    check_blocked();
}
END_TEST

START_TEST(a_full_socket_drops_lines_and_counts_them)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    log_init("test", LOG_INFO, LOG_TEXT, ends[1]);
    check_blocked();
}
END_TEST

START_TEST(a_stopped_terminal_drops_lines_and_counts_them)
{
    char *name;

    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ends[0] < 0 || grantpt(ends[0]) < 0 || unlockpt(ends[0]) < 0 ||
        !(name = ptsname(ends[0]))) {
        printf("skipped: no terminals here\n");
        return;
    }
    ends[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(ends[1], 0);
    log_init("test", LOG_INFO, LOG_TEXT, ends[1]);
    (void)fill();
    log_info("still here");
    ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

/* No /proc for the process: the pipe cannot be opened again. */
static void forbid_openat(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0), 0);
    ck_assert_int_eq(seccomp_load(ctx), 0);
    seccomp_release(ctx);
}

START_TEST(a_pipe_that_cannot_be_opened_again_never_blocks_either)
{
    char text[2048];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    forbid_openat();
    log_init("test", LOG_INFO, LOG_TEXT, ends[1]);
    check_blocked();
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    /* Four bytes for one: over what a pipe with room takes without waiting. */
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = '\x01';
    log_info("%s", text);
    ck_assert_uint_ge(log_dropped(), 102);
}
END_TEST

START_TEST(a_line_that_was_cut_ends_before_the_next)
{
    auto_free char *text = xmalloc(100001), *all = NULL;
    const struct log_field code = {.key = "code", .text = text};
    char *cut;

    memset(text, 'y', 100000);
    text[100000] = '\0';
    open_pipe(LOG_INFO, LOG_TEXT);
    ck_assert_int_ge(fcntl(ends[1], F_SETPIPE_SZ, 65536), 65536);
    log_record(LOG_INFO, "torn", &code, 1);
    ck_assert_uint_eq(log_dropped(), 1);
    log_info("lost"); /* there is no room even for the end of the line */
    ck_assert_uint_eq(log_dropped(), 2);
    all = read_now();
    ck_assert_ptr_null(strchr(all, '\n'));
    free(TAKE(all));
    log_info("next");
    all = read_now();
    cut = strchr(all, '\n');
    ck_assert_ptr_eq(cut, all);
    ck_assert_ptr_nonnull(strstr(cut + 1, "info test: next\n"));
    free(TAKE(all));
    log_info("after");
    all = line_now();
    ck_assert_str_eq(all, "info test: after");
}
END_TEST

START_TEST(the_open_file_of_others_keeps_its_flags)
{
    int other;

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    other = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
    log_init("test", LOG_INFO, LOG_TEXT, ends[1]);
    ck_assert_int_eq(fcntl(other, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(ends[1], F_GETFD) & FD_CLOEXEC, 0);
    (void)close(other);
}
END_TEST

START_TEST(a_file_takes_everything_and_a_full_disk_is_counted)
{
    char path[] = "/tmp/oneshot-log-XXXXXX", line[200];
    struct rlimit small = {.rlim_cur = 300, .rlim_max = 300};
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    (void)unlink(path);
    log_init("test", LOG_INFO, LOG_TEXT, fd);
    memset(line, 'z', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_info("%s", line);
    ck_assert_uint_eq(log_dropped(), 0);
    log_info("%s", line);
    log_info("%s", line);
    ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

START_TEST(a_closed_descriptor_only_counts)
{
    log_init("test", LOG_INFO, LOG_TEXT, 999);
    log_info("nobody");
    ck_assert_uint_eq(log_dropped(), 1);
    log_init("test", LOG_INFO, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    log_info("nobody");
    ck_assert_uint_eq(log_dropped(), 1);
}
END_TEST

enum { WRITERS = 8, LINES_EACH = 200 };

static void *write_lines(void *arg)
{
    char text[1500];
    unsigned seed = (unsigned)(size_t)arg;

    for (int i = 0; i < LINES_EACH; i++) {
        size_t n = (seed * 7919U + (unsigned)i * 104729U) % (sizeof(text) - 1);

        memset(text, 'a' + (int)seed, n);
        text[n] = '\0';
        log_info("<%zu %s>", n, text);
    }
    return NULL;
}

START_TEST(lines_of_many_threads_do_not_mix)
{
    CLEANUP(buf_done) struct buf all = {.max = 64 << 20};
    pthread_t threads[WRITERS];
    unsigned seen = 0;
    char *save = NULL;

    open_pipe(LOG_INFO, LOG_TEXT);
    for (size_t i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, (void *)i), 0);
    while (seen + log_dropped() < WRITERS * LINES_EACH) {
        auto_free char *some = NULL;

        /* Lines are counted as they come; what was dropped never will. */
        if (io_wait(ends[0], POLLIN, clock_ms() + 20) != 1)
            continue;
        some = read_now();
        (void)buf_str(&all, some);
        for (const char *c = some; *c; c++)
            seen += *c == '\n';
    }
    for (size_t i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    for (char *l = strtok_r(all.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        const char *at = strstr(l, "info test: <");
        size_t n = at ? strtoul(at + 12, NULL, 10) : 0;
        const char *text = at ? strchr(at + 12, ' ') + 1 : "";

        if (strlen(text) < n + 1)
            continue; /* cut by a full pipe, and counted */
        ck_assert_uint_eq(strlen(text), n + 1);
        ck_assert_int_eq(text[n], '>');
        for (size_t i = 1; i < n; i++)
            if (text[i] != text[0])
                ck_abort_msg("lines are mixed: %s", l);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 20);
    tcase_add_loop_test(t, a_message_is_one_harmless_line, 0, ARRAY_LEN(plain));
    tcase_add_test(t, fields_follow_the_message_as_text);
    tcase_add_test(t, a_json_record_is_one_object);
    tcase_add_test(t, levels_below_the_chosen_one_are_silent);
    tcase_add_test(t, long_messages_are_cut_to_one_line);
    tcase_add_test(t, a_record_may_be_larger_than_a_pipe_usually_is);
    tcase_add_test(t, a_record_beyond_any_reason_is_dropped_and_counted);
    tcase_add_test(t, a_full_pipe_drops_lines_and_counts_them);
    tcase_add_test(t, a_full_socket_drops_lines_and_counts_them);
    tcase_add_test(t, a_stopped_terminal_drops_lines_and_counts_them);
    tcase_add_test(t, a_pipe_that_cannot_be_opened_again_never_blocks_either);
    tcase_add_test(t, a_line_that_was_cut_ends_before_the_next);
    tcase_add_test(t, the_open_file_of_others_keeps_its_flags);
    tcase_add_test(t, a_file_takes_everything_and_a_full_disk_is_counted);
    tcase_add_test(t, a_closed_descriptor_only_counts);
    tcase_add_test(t, lines_of_many_threads_do_not_mix);
}

UNIT_MAIN("log", add_tests)
