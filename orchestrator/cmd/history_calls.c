#include "cmd/history_calls.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "cmd/cmd.h"
#include "cmd/shown.h"
#include "store/call_record.h"

enum { JSON_MAX = 256 * 1024 * 1024 };

/* ---- for people ---- */

static void print_row(const struct call_record *r)
{
    char started[CLOCK_TEXT_MAX], took[SHOWN_DURATION];

    (void)printf("%-20.20s  %s  %7d  %-10.10s  %-28.28s  %8lld  %8lld  %9s\n", r->generation,
                 shown_time(started, r->started_ms), r->attempt, r->verdict, r->model,
                 (long long)r->tokens_in, (long long)r->tokens_out,
                 shown_duration(took, (uint64_t)r->took_us));
}

static void print_list(const struct call_record *list, size_t n)
{
    (void)printf("%-20s  %-19s  %7s  %-10s  %-28s  %8s  %8s  %9s\n", "GENERATION", "STARTED (UTC)",
                 "ATTEMPT", "VERDICT", "MODEL", "TOKENS", "AND OUT", "TIME");
    for (size_t i = 0; i < n; i++)
        print_row(&list[i]);
}

static void print_part(const char *title, const char *text)
{
    if (!text)
        return;
    (void)printf("\n-- %s --\n", title);
    shown_safely(text, strlen(text));
    (void)putchar('\n');
}

static void print_call(const struct call_record *r)
{
    char started[CLOCK_TEXT_MAX], took[SHOWN_DURATION];

    (void)printf("%-12s %d\n", "attempt", r->attempt);
    (void)printf("%-12s %s UTC\n", "started", shown_time(started, r->started_ms));
    shown_text("dialect", r->dialect);
    shown_text("client", r->client);
    shown_text("model", r->model);
    shown_text("verdict", r->verdict);
    (void)printf("%-12s %s in %d tr%s\n", "time", shown_duration(took, (uint64_t)r->took_us),
                 r->tries, r->tries == 1 ? "y" : "ies");
    if (r->tokens_in >= 0)
        (void)printf("%-12s %lld in, %lld out\n", "tokens", (long long)r->tokens_in,
                     (long long)r->tokens_out);
    if (r->status)
        (void)printf("%-12s %d\n", "status", r->status);
    shown_text("finish", r->finish);
    shown_text("run", r->run);
    print_part("prompt", r->prompt);
    print_part("reply", r->reply);
    print_part("error", r->error);
}

static void print_generation(const struct call_record *list, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        print_call(&list[i]);
        if (i)
            (void)puts("\n========\n");
    }
}

/* ---- for programs ---- */

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, ",\"%s\":", key);
    if (value && value[0])
        json_put_str(b, value, strlen(value));
    else
        (void)buf_str(b, "null");
}

static void put_number(struct buf *b, const char *key, int64_t value, bool is_known)
{
    if (is_known)
        (void)buf_fmt(b, ",\"%s\":%lld", key, (long long)value);
    else
        (void)buf_fmt(b, ",\"%s\":null", key);
}

static void put_call(struct buf *b, const struct call_record *r)
{
    char started[CLOCK_TEXT_MAX];

    (void)buf_fmt(b, "{\"id\":\"%s\",\"started\":\"%s\"", r->id,
                  clock_text(started, r->started_ms));
    put_text(b, "generation", r->generation);
    put_number(b, "attempt", r->attempt, true);
    put_text(b, "dialect", r->dialect);
    put_text(b, "client", r->client);
    put_text(b, "model", r->model);
    put_text(b, "verdict", r->verdict);
    put_number(b, "status", r->status, r->status != 0);
    put_text(b, "finish", r->finish);
    put_number(b, "tries", r->tries, true);
    put_number(b, "took_us", r->took_us, true);
    put_number(b, "tokens_in", r->tokens_in, r->tokens_in >= 0);
    put_number(b, "tokens_out", r->tokens_out, r->tokens_out >= 0);
    put_text(b, "run", r->run);
    put_text(b, "prompt", r->prompt);
    put_text(b, "reply", r->reply);
    put_text(b, "error", r->error);
    (void)buf_char(b, '}');
}

static int print_json(const struct call_record *list, size_t n)
{
    CLEANUP(buf_done) struct buf b = {0};

    buf_init(&b, JSON_MAX);
    (void)buf_str(&b, "{\"calls\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            (void)buf_char(&b, ',');
        put_call(&b, &list[i]);
    }
    (void)buf_str(&b, "]}");
    if (b.is_full) {
        (void)fputs("oneshot: the calls are too large to be shown as JSON: ask for less with "
                    "--limit\n",
                    stderr);
        return EXIT_USAGE;
    }
    (void)puts(buf_get(&b));
    return 0;
}

int history_calls(struct store *s, const struct call_filter *f, bool json, struct err *err)
{
    struct call_record *list = NULL;
    int status = 0;
    size_t n = 0;

    if (store_calls(s, f, &list, &n, err) < 0)
        return -1;
    if (json)
        status = print_json(list, n);
    else if (!n)
        (void)fputs("oneshot: no calls of the model\n", stderr);
    else if (f->generation)
        print_generation(list, n);
    else
        print_list(list, n);
    store_calls_free(list, n);
    return status;
}
