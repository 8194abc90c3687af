#include "base/sse.h"

#include <string.h>

#include "unit.h"

static int note(void *ctx, const char *event, const char *data, size_t n, struct err *err)
{
    struct buf *seen = ctx;

    ck_assert_uint_eq(strlen(data), n);
    if (strcmp(data, "refuse") == 0)
        return err_set(err, ERR_PEER, "refused");
    return buf_fmt(seen, "[%s|%s]", event, data);
}

static const struct {
    enum sse_form form;
    const char *in, *out;
} rows[] = {
    {SSE_EVENTS, "data: a\n\n",                               "[|a]"                      },
    {SSE_EVENTS, "event: x\ndata: a\n\n",                     "[x|a]"                     },
    {SSE_EVENTS, "data:a\ndata: b\ndata\n\n",                 "[|a\nb\n]"                 },
    {SSE_EVENTS, "data:  a\n\n",                              "[| a]"                     },
    {SSE_EVENTS, ": a comment\n\ndata: a\r\n\r\ndata: b\r\r", "[|a][|b]"                  },
    {SSE_EVENTS, "event: x\n\ndata: a\n\n",                   "[|a]"                      },
    {SSE_EVENTS, "id: 1\nretry: 5\nother: x\ndata: a\n\n",    "[|a]"                      },
    {SSE_EVENTS, "data: a\n",                                 "[|a]"                      },
    {SSE_EVENTS, "data: a",                                   "[|a]"                      },
    {SSE_EVENTS,
     "\xEF\xBB\xBF"
     "data: a\n\n",                                           "[|a]"                      },
    {SSE_EVENTS,
     "data: a\n\n\xEF\xBB\xBF"
     "data: b\n\n",                                           "[|a]"                      },
    {SSE_EVENTS, "data\n\n",                                  "[|]"                       },
    {SSE_EVENTS, "",                                          ""                          },
    {SSE_EVENTS, "\n\n\n",                                    ""                          },
    {SSE_LINES,  "{\"a\": 1}\n{\"b\": 2}\r\n",                "[|{\"a\": 1}][|{\"b\": 2}]"},
    {SSE_LINES,  "a\n\n  \nb",                                "[|a][|b]"                  },
    {SSE_LINES,  "data: a\n",                                 "[|data: a]"                },
};

/* In pieces of every size the same events come. */
START_TEST(reads_events_in_any_split)
{
    const char *in = rows[_i].in;

    for (size_t step = 1; step <= strlen(in) + 1; step++) {
        CLEANUP(sse_done) struct sse s = {0};
        CLEANUP(buf_done) struct buf seen = {.max = 4096};
        struct err err = {0};

        sse_init(&s, rows[_i].form, note, &seen);
        for (size_t i = 0; i < strlen(in); i += step) {
            size_t n = strlen(in) - i < step ? strlen(in) - i : step;

            ck_assert_int_eq(sse_feed(&s, in + i, n, &err), 0);
        }
        ck_assert_int_eq(sse_end(&s, &err), 0);
        ck_assert_str_eq(buf_get(&seen), rows[_i].out);
    }
}
END_TEST

START_TEST(passes_on_what_its_user_refuses)
{
    CLEANUP(sse_done) struct sse s = {0};
    CLEANUP(buf_done) struct buf seen = {.max = 4096};
    struct err err = {0};

    sse_init(&s, SSE_EVENTS, note, &seen);
    ck_assert_int_eq(sse_feed(&s, "data: refuse\n\n", 14, &err), -1);
    ck_assert_int_eq(err.kind, ERR_PEER);
    ck_assert_str_eq(err.msg, "refused");
}
END_TEST

static const char *const endless[] = {"x", "data: x\n"};

START_TEST(an_event_without_an_end_is_refused_at_the_bound)
{
    CLEANUP(sse_done) struct sse s = {0};
    CLEANUP(buf_done) struct buf seen = {.max = 4096};
    struct err err = {0};
    int rc = 0;

    sse_init(&s, SSE_EVENTS, note, &seen);
    for (size_t i = 0; rc == 0 && i <= SSE_EVENT_MAX; i++)
        rc = sse_feed(&s, endless[_i], strlen(endless[_i]), &err);
    ck_assert_int_eq(rc, -1);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    ck_assert_uint_le(s.line.cap + s.data.cap, 4 * SSE_EVENT_MAX);
}
END_TEST

START_TEST(a_long_name_of_an_event_is_cut)
{
    CLEANUP(sse_done) struct sse s = {0};
    CLEANUP(buf_done) struct buf seen = {.max = 4096};
    char in[200] = "event: ";

    memset(in + 7, 'n', 100);
    memcpy(in + 107, "\ndata: a\n\n", 11);
    sse_init(&s, SSE_EVENTS, note, &seen);
    ck_assert_int_eq(sse_feed(&s, in, strlen(in), NULL), 0);
    ck_assert_uint_eq(strlen(buf_get(&seen)), SSE_NAME_MAX - 1 + strlen("[|a]"));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, reads_events_in_any_split, 0, ARRAY_LEN(rows));
    tcase_add_test(t, passes_on_what_its_user_refuses);
    tcase_add_loop_test(t, an_event_without_an_end_is_refused_at_the_bound, 0, 2);
    tcase_add_test(t, a_long_name_of_an_event_is_cut);
}

UNIT_MAIN("sse", add_tests)
