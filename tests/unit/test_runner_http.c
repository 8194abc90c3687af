/* A sandbox elsewhere: what its replies come to, whatever it says. */
#include "model/runner.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http_script.h"
#include "unit.h"

#define HEAD(status, more) \
    "HTTP/1.1 " status "\r\nConnection: close\r\nContent-Type: application/json\r\n" more "\r\n"
#define LOST "infrastructure failure, the program may have run: gone"

/* clang-format off */
static const struct {
    const char *name, *reply;
    enum runner_end end;
    bool is_ok, has_code;
    int code;
    const char *out, *err; /* NULL: not looked at */
    size_t files;
    int status, retry_after_s;
    const char *reason;
} rows[] = {
    {"good", HEAD("200 OK", "X-Run-Id: 0123456789abcdef0123\r\n") "{\"ok\":true,\"return_code\":0,\"std_out\":\"a \\u00b0C\",\"std_err\":\"b\",\"output_files\":[{\"filename\":\"x.png\",\"b64_data\":\"eA==\"}]}",
     RUNNER_RAN, true, true, 0, "a \xC2\xB0""C", "b", 1, 0, 0, ""},
    {"NULs", HEAD("200 OK", "X-Run-Id: ../../x\r\n") "{\"ok\":true,\"return_code\":0,\"std_out\":\"a\\u0000b\",\"std_err\":\"\\u0000\",\"output_files\":[]}",
     RUNNER_RAN, true, true, 0, "a\xEF\xBF\xBD""b", "\xEF\xBF\xBD", 0, 0, 0, ""},
    {"failed", HEAD("200 OK", "") "{\"ok\":false,\"return_code\":-9,\"std_out\":\"\",\"std_err\":\"\",\"output_files\":[]}",
     RUNNER_RAN, false, true, -9, "", "", 0, 0, 0, ""},
    {"timed out", HEAD("200 OK", "") "{\"ok\":false,\"return_code\":null,\"std_out\":\"so far\",\"std_err\":\"late\"}",
     RUNNER_RAN, false, false, 0, "so far", "late", 0, 0, 0, ""},
    {"lost", HEAD("200 OK", "") "{\"ok\":false,\"return_code\":-9,\"std_out\":\"so far\",\"std_err\":\"x\\n" LOST "\\n\"}",
     RUNNER_LOST, false, false, 0, "so far", NULL, 0, 0, 0, LOST},
    {"those words in a program that ended well", HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0,\"std_out\":\"\",\"std_err\":\"" LOST "\"}",
     RUNNER_RAN, true, true, 0, "", LOST, 0, 0, 0, ""},
    {"busy", HEAD("503 x", "Retry-After: 7\r\n") "{\"error\":\"no container\"}",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 503, 7, "sandbox (SANDBOX_URL): status 503: no container"},
    {"words for a terminal", HEAD("503 x", "Retry-After: 7\r\n") "{\"error\":\"no\\u001b[2J\\n\"}",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 503, 7, "sandbox (SANDBOX_URL): status 503: no [2J "},
    {"refused", HEAD("413 x", "") "{\"error\":\"too large\"}",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, "sandbox (SANDBOX_URL): status 413: too large"},
    {"something else", HEAD("404 x", "") "<html>",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, "sandbox (SANDBOX_URL): status 404"},
    {"no JSON", HEAD("200 OK", "") "<html>",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, NULL},
    {"cut JSON", HEAD("200 OK", "") "{\"ok\":true,\"std_out\":\"",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, NULL},
    {"a cut body", HEAD("200 OK", "Content-Length: 99\r\n") "{\"ok\":true,",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, NULL},
    {"no verdict", HEAD("200 OK", "") "{\"std_out\":\"\",\"std_err\":\"\"}",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, "sandbox (SANDBOX_URL): it has no 'ok'"},
    {"no output", HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0}",
     RUNNER_UNAVAILABLE, true, true, 0, "", "", 0, 502, 5, "sandbox (SANDBOX_URL): it has no text 'std_out'"},
    {"a file above the directory", HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0,\"std_out\":\"\",\"std_err\":\"\",\"output_files\":[{\"filename\":\"../x\",\"b64_data\":\"\"}]}",
     RUNNER_UNAVAILABLE, true, true, 0, "", "", 0, 502, 5, NULL},
    {"a file without content", HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0,\"std_out\":\"\",\"std_err\":\"\",\"output_files\":[{\"filename\":\"x\"}]}",
     RUNNER_UNAVAILABLE, true, true, 0, "", "", 0, 502, 5, NULL},
    {"a file that is no base64", HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0,\"std_out\":\"\",\"std_err\":\"\",\"output_files\":[{\"filename\":\"x\",\"b64_data\":\"*\"}]}",
     RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, NULL},
    {"nothing", "", RUNNER_UNAVAILABLE, false, false, 0, "", "", 0, 502, 5, NULL},
};
/* clang-format on */

static char *text_of(const struct spool *s)
{
    char *out = xcalloc(1, (size_t)s->size + 1);

    ck_assert_int_ge(spool_read(s, 0, out, (size_t)s->size, NULL), 0);
    return out;
}

static void check(size_t i, const struct runner_result *r)
{
    auto_free char *out = text_of(&r->out), *err = text_of(&r->err_out);

    ck_assert_msg(r->end == rows[i].end, "%s: %d, %s", rows[i].name, r->end, r->reason);
    if (rows[i].out)
        ck_assert_str_eq(out, rows[i].out);
    if (rows[i].err)
        ck_assert_str_eq(err, rows[i].err);
    if (rows[i].reason)
        ck_assert_str_eq(r->reason, rows[i].reason);
    ck_assert_int_eq(r->status, rows[i].status);
    ck_assert_int_eq(r->retry_after_s, rows[i].retry_after_s);
    if (r->end != RUNNER_RAN)
        return;
    ck_assert_int_eq(r->is_ok, rows[i].is_ok);
    ck_assert_int_eq(r->has_code, rows[i].has_code);
    ck_assert_int_eq(r->return_code, rows[i].code);
    ck_assert_uint_eq(r->files_n, rows[i].files);
}

START_TEST(every_reply_comes_to_something)
{
    const char *const replies[] = {rows[_i].reply, NULL};
    CLEANUP(runner_result_done) struct runner_result r = {0};
    struct runner *runner = NULL;
    struct http_script s;

    http_script_begin(&s, replies);
    ck_assert_int_eq(runner_http_new(s.url, 1000, NULL, &runner, NULL), 0);
    runner_run(runner,
               &(struct runner_call){.code = "print(\"x\")",
                                     .deadline_ms = clock_ms() + patient(10000),
                                     .spool_dir = "/tmp"},
               &r);
    runner_free(runner);
    http_script_end(&s);
    check((size_t)_i, &r);
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "POST / HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&s.asked), "{\"code\":\"print(\\\"x\\\")\"}"));
    ck_assert_ptr_null(strstr(buf_get(&s.asked), "Authorization"));
    ck_assert_str_eq(r.id,
                     _i == 0 ? "0123456789abcdef0123" : ""); /* an id of another kind is none */
    buf_done(&s.asked);
}
END_TEST

START_TEST(a_sandbox_that_is_silent_is_left_when_the_time_is_up)
{
    static const char *const silent[] = {NULL};
    CLEANUP(runner_result_done) struct runner_result r = {0};
    struct runner *runner = NULL;
    struct http_script s;

    http_script_begin(&s, silent);
    ck_assert_int_eq(runner_http_new(s.url, 60000, NULL, &runner, NULL), 0);
    runner_run(
        runner,
        &(struct runner_call){.code = "x", .deadline_ms = clock_ms() + 300, .spool_dir = "/tmp"},
        &r);
    runner_free(runner);
    http_script_end(&s);
    ck_assert(r.is_late);
    ck_assert_int_eq(r.end, RUNNER_RAN); /* it may have */
    ck_assert(!r.is_ok && !r.has_code);
    buf_done(&s.asked);
}
END_TEST

static void count(void *ctx, bool is_stderr, const char *text, size_t n)
{
    size_t *counts = ctx;

    ck_assert_uint_eq(n % 3, 0); /* no character is split */
    ck_assert(n == 0 || memcmp(text, "\xE2\x82\xAC", 3) == 0);
    counts[is_stderr] += n;
}

START_TEST(output_is_told_in_whole_characters)
{
    enum { CHARACTERS = 20000 };
    CLEANUP(runner_result_done) struct runner_result r = {0};
    CLEANUP(buf_done) struct buf reply = {.max = 1 << 20};
    size_t counts[2] = {0};
    struct runner *runner = NULL;
    struct http_script s;

    (void)buf_str(&reply, HEAD("200 OK", "") "{\"ok\":true,\"return_code\":0,\"std_err\":\"\","
                                             "\"std_out\":\"");
    for (int i = 0; i < CHARACTERS; i++)
        (void)buf_str(&reply, "\xE2\x82\xAC");
    (void)buf_str(&reply, "\"}");
    http_script_begin(&s, (const char *const[]){buf_get(&reply), NULL});
    ck_assert_int_eq(runner_http_new(s.url, 1000, NULL, &runner, NULL), 0);
    runner_run(runner,
               &(struct runner_call){.code = "x",
                                     .deadline_ms = clock_ms() + patient(10000),
                                     .spool_dir = "/tmp",
                                     .on_output = count,
                                     .ctx = counts},
               &r);
    runner_free(runner);
    http_script_end(&s);
    ck_assert_uint_eq(counts[0], (size_t)3 * CHARACTERS);
    ck_assert_uint_eq(counts[1], 0);
    buf_done(&s.asked);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, every_reply_comes_to_something, 0, ARRAY_LEN(rows));
    tcase_add_test(t, a_sandbox_that_is_silent_is_left_when_the_time_is_up);
    tcase_add_test(t, output_is_told_in_whole_characters);
}

UNIT_MAIN("runner_http", add_tests)
