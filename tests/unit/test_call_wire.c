/* Host calls as they stand in frames: what is read, what is refused, what is answered. */
#include "unit.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "core/call_wire.h"
#include "frames/frame.h"
#include "frames/le.h"

/* ---- CALL ---- */

/* clang-format off */
static const struct good {
    const char *text, *kind, *name, *args;
} goods[] = {
    {"{\"kind\":\"tool\",\"name\":\"data.get_devices\",\"args\":{}}", "tool", "data.get_devices", "{}"},
    {"{\"kind\":\"tool\",\"name\":\"f\"}", "tool", "f", "{}"},
    {" { \"args\" : {\"a\":[1,{\"b\":\"}\\\"]\"}] , \"c\":-1.5e3} ,\n\"name\":\"a.b\",\"kind\":\"db-2\"\t} ", "db-2", "a.b", "{\"a\":[1,{\"b\":\"}\\\"]\"}] , \"c\":-1.5e3}"},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"more\":[true,null,1],\"args\":{\"n\":12345678901234567890}}", "tool", "f", "{\"n\":12345678901234567890}"},
    {"{\"kind\":\"tool\",\"x\":\"\\\\\",\"name\":\"f\",\"y\":\"\\\"name\\\":\"}", "tool", "f", "{}"},
};
/* clang-format on */

START_TEST(a_call_is_taken_apart_and_its_arguments_stay_as_they_are)
{
    const struct good *x = &goods[_i];
    struct call_text c;
    struct err err = {0};

    ck_assert_msg(call_text_read(&c, x->text, strlen(x->text), &err) == 0, "%s", err.msg);
    ck_assert_str_eq(c.kind, x->kind);
    ck_assert_str_eq(c.name, x->name);
    ck_assert_uint_eq(c.args_len, strlen(x->args));
    ck_assert_mem_eq(c.args, x->args, c.args_len);
}
END_TEST

/* clang-format off */
static const struct bad {
    const char *text, *problem;
} bads[] = {
    {"", "a host call is no JSON: Expecting value, the text is empty"},
    {"{\"kind\":\"tool\",\"name\":\"f\"}x", "a host call is no JSON: "},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"name\":\"g\"}", "a host call is no JSON: "},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"args\":{\"a\":\"\\ud800\"}}", "a host call is no JSON: "},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"args\":{\"a\":\"\xff\"}}", "a host call is no JSON: "},
    {"[]", "a host call must be a JSON object"},
    {"\"kind\"", "a host call must be a JSON object"},
    {"{}", "a host call must have a kind and a name"},
    {"{\"kind\":\"tool\"}", "a host call must have a kind and a name"},
    {"{\"k\\u0069nd\":\"tool\",\"name\":\"f\"}", "a host call must have a kind and a name"},
    {"{\"kind\":1,\"name\":\"f\"}", "the kind of a host call must be a word"},
    {"{\"kind\":\"\",\"name\":\"f\"}", "the kind of a host call must be a word"},
    {"{\"kind\":\"a b\",\"name\":\"f\"}", "the kind of a host call must be a word"},
    {"{\"kind\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"name\":\"f\"}", "the kind of a host call must be a word"},
    {"{\"kind\":\"tool\",\"name\":null}", "the name of a host call must be one such as data.get_devices"},
    {"{\"kind\":\"tool\",\"name\":\"a..b\"}", "the name of a host call must be one such as data.get_devices"},
    {"{\"kind\":\"tool\",\"name\":\"../b\"}", "the name of a host call must be one such as data.get_devices"},
    {"{\"kind\":\"tool\",\"name\":\"a\\u0062\"}", "the name of a host call must be one such as data.get_devices"},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"args\":[]}", "the arguments of a host call must be an object"},
    {"{\"kind\":\"tool\",\"name\":\"f\",\"args\":null}", "the arguments of a host call must be an object"},
};
/* clang-format on */

START_TEST(a_call_that_is_none_says_why)
{
    const struct bad *x = &bads[_i];
    struct call_text c;
    struct err err = {0};

    ck_assert_int_eq(call_text_read(&c, x->text, strlen(x->text), &err), -1);
    ck_assert_msg(strstr(err.msg, x->problem) == err.msg, "%s", err.msg);
}
END_TEST

START_TEST(a_call_that_is_too_deep_or_has_too_much_in_it_is_refused)
{
    CLEANUP(buf_done) struct buf b = {0};
    struct call_text c;
    struct err err = {0};
    int n = _i ? CALL_TOKENS : 100;

    buf_init(&b, 1 << 20);
    (void)buf_str(&b, "{\"kind\":\"tool\",\"name\":\"f\",\"args\":{\"a\":[0");
    for (int i = 0; i < n; i++)
        (void)buf_str(&b, _i ? ",0" : ",[0");
    for (int i = 0; i < n && !_i; i++)
        (void)buf_char(&b, ']');
    (void)buf_str(&b, "]}}");
    ck_assert(!b.is_full);
    ck_assert_int_eq(call_text_read(&c, buf_get(&b), b.len, &err), -1);
    ck_assert_int_eq(err.kind, _i ? ERR_LIMIT : ERR_INVALID);
}
END_TEST

/* ---- REPLY ---- */

static struct buf frames, payload;
static struct host_answer answer;
static unsigned parts;

static void set_up(void)
{
    buf_init(&frames, 16 << 20);
    buf_init(&payload, 16 << 20);
    answer = (struct host_answer){.verdict = HOST_OK};
    buf_init(&answer.result, 15 << 20);
}

static void tear_down(void)
{
    buf_done(&frames);
    buf_done(&payload);
    buf_done(&answer.result);
    buf_done(&answer.message);
}

/* The reply as the worker puts it together. */
static const char *reply(size_t reply_max)
{
    bool is_last = false;

    call_reply_put(&frames, 513, &answer, reply_max);
    parts = 0;
    for (size_t at = 0; at < frames.len; parts++) {
        const uint8_t *f = (const uint8_t *)buf_get(&frames) + at;
        uint32_t n = le_get32(f + 4);

        ck_assert(!is_last);
        ck_assert_uint_eq(f[0], FRAME_REPLY);
        ck_assert_uint_eq(le_get16(f + 2), 513);
        ck_assert_uint_le(n, FRAME_MAX);
        ck_assert_int_eq(buf_add(&payload, f + FRAME_HEAD, n), 0);
        is_last = !(f[1] & FRAME_MORE);
        at += FRAME_HEAD + n;
    }
    ck_assert(is_last);
    return buf_get(&payload);
}

START_TEST(a_result_is_answered_as_it_is)
{
    (void)buf_str(&answer.result, _i ? "" : " {\"n\":12345678901234567890} ");
    ck_assert_str_eq(reply(100),
                     _i ? "{\"result\":null}" : "{\"result\": {\"n\":12345678901234567890} }");
    ck_assert_uint_eq(parts, 1);
    ck_assert_int_eq(answer.verdict, HOST_OK);
}
END_TEST

/* Lengths around those at which a part is full. */
START_TEST(a_long_result_comes_in_parts)
{
    size_t around = strlen("{\"result\":") + 1, n = (size_t)FRAME_MAX * 2 - around - 2 + (size_t)_i;

    (void)buf_char(&answer.result, '"');
    while (answer.result.len < n - 1)
        (void)buf_char(&answer.result, (char)('a' + answer.result.len % 26));
    (void)buf_char(&answer.result, '"');
    (void)reply(n);
    ck_assert_uint_eq(parts, n + around > (size_t)FRAME_MAX * 2 ? 3 : 2);
    ck_assert_uint_eq(payload.len, n + around);
    ck_assert_mem_eq(buf_get(&payload) + around - 1, buf_get(&answer.result), n);
}
END_TEST

START_TEST(a_result_that_is_no_json_is_an_error)
{
    (void)buf_str(&answer.result, "{'a': 1}");
    ck_assert_ptr_nonnull(strstr(reply(100), "{\"error\":{\"type\":\"ToolError\",\"message\":"
                                             "\"the result is no JSON: "));
    ck_assert_int_eq(answer.verdict, HOST_FAILED);
}
END_TEST

/* 0: for the policy; 1: for what the provider was given; 2: for the memory that there is. */
START_TEST(a_result_that_is_too_large_is_an_error)
{
    if (_i == 1)
        buf_init(&answer.result, 5);
    if (_i == 2)
        buf_init(&frames, 150);
    (void)buf_char(&answer.result, '"');
    for (int i = 0; i < 200; i++)
        (void)buf_char(&answer.result, 'x');
    (void)buf_char(&answer.result, '"');
    ck_assert_str_eq(
        reply(_i ? 1000 : 201),
        _i == 0   ? "{\"error\":{\"type\":\"ToolError\",\"message\":\"the result is larger "
                    "than 201 bytes\"}}"
        : _i == 1 ? "{\"error\":{\"type\":\"ToolError\",\"message\":\"the result is "
                    "larger than 1000 bytes\"}}"
                  : "{\"error\":{\"type\":\"ToolError\",\"message\":\"there is no memory "
                    "for the result\"}}");
    ck_assert_int_eq(answer.verdict, HOST_LIMIT);
}
END_TEST

START_TEST(a_message_may_hold_anything_and_is_cut)
{
    CLEANUP(buf_done) struct buf much = {0};

    if (_i == 0) {
        host_fail(&answer, HOST_DOWN, "ToolError", "a \"b\" \xff\n");
        ck_assert_str_eq(reply(0), "{\"error\":{\"type\":\"ToolError\",\"message\":"
                                   "\"a \\\"b\\\" \xef\xbf\xbd\\n\"}}");
        return;
    }
    buf_init(&much, 1 << 20);
    while (much.len < HOST_MESSAGE_MAX * 2)
        (void)buf_char(&much, '\1');
    host_fail(&answer, HOST_DOWN, "ToolError", "%s", buf_get(&much));
    ck_assert_uint_eq(answer.message.len, HOST_MESSAGE_MAX);
    (void)reply(0);
    ck_assert_uint_gt(parts, 1); /* each byte is six characters */
}
END_TEST

/* ---- lists ---- */

static char all[] = "*", module[] = "data", one[] = "device.get", deep[] = "a.b";
static const struct {
    char *list[4];
    const char *name;
    bool is_listed;
} lists[] = {
    {{NULL},        "data.get",     false},
    {{all},         "data.get",     true },
    {{one, module}, "data.get",     true },
    {{one, module}, "data.sub.get", true },
    {{one, module}, "data",         true },
    {{one, module}, "database.get", false},
    {{one, module}, "dat",          false},
    {{one, module}, "device.get",   true },
    {{one, module}, "device.getx",  false},
    {{one, module}, "device",       false},
    {{deep},        "a.b.c",        true },
    {{deep},        "a.bc",         false},
};

START_TEST(a_list_has_calls_modules_or_all)
{
    ck_assert(host_is_listed(lists[_i].list, lists[_i].name) == lists[_i].is_listed);
}
END_TEST

START_TEST(every_verdict_has_a_name_of_its_own)
{
    for (int i = 0; i < HOST_VERDICTS; i++) {
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(host_verdict_name((enum host_verdict)i),
                             host_verdict_name((enum host_verdict)k));
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, a_call_is_taken_apart_and_its_arguments_stay_as_they_are, 0,
                        ARRAY_LEN(goods));
    tcase_add_loop_test(t, a_call_that_is_none_says_why, 0, ARRAY_LEN(bads));
    tcase_add_loop_test(t, a_call_that_is_too_deep_or_has_too_much_in_it_is_refused, 0, 2);
    tcase_add_loop_test(t, a_result_is_answered_as_it_is, 0, 2);
    tcase_add_loop_test(t, a_long_result_comes_in_parts, 0, 5);
    tcase_add_test(t, a_result_that_is_no_json_is_an_error);
    tcase_add_loop_test(t, a_result_that_is_too_large_is_an_error, 0, 3);
    tcase_add_loop_test(t, a_message_may_hold_anything_and_is_cut, 0, 2);
    tcase_add_loop_test(t, a_list_has_calls_modules_or_all, 0, ARRAY_LEN(lists));
    tcase_add_test(t, every_verdict_has_a_name_of_its_own);
}

UNIT_MAIN_ONE_PROCESS("call wire", add_tests)
