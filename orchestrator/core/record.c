#include "core/record.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/policy.h"

/* Copies a text that may be NULL; a cut never splits a character (all of these are UTF-8). */
#define COPY(dst, src) copy_text((dst), sizeof(dst), (src))

static void copy_text(char *dst, size_t size, const char *src)
{
    size_t n = src ? strlen(src) : 0;

    if (n >= size) {
        n = size - 1;
        while (n && ((unsigned char)src[n] & 0xC0) == 0x80)
            n--;
    }
    if (n)
        memcpy(dst, src, n);
    dst[n] = '\0';
}

void run_record_init(struct run_record *r, const struct run_request *q,
                     const struct run_result *result, bool with_code)
{
    *r = (struct run_record){
        .started_ms = result->started_wall_ms,
        .outcome = result->outcome,
        .exit_code = result->exit_code,
        .term_signal = result->term_signal,
        .was_warm = result->was_warm,
        .wall_us = result->wall_us,
        .cpu_us = result->cpu_us,
        .memory_peak = result->memory_peak,
        .queue_us = result->queue_us,
        .take_us = result->take_us,
        .run_us = result->run_us,
        .collect_us = result->collect_us,
        .out_bytes = result->out_bytes,
        .err_bytes = result->err_bytes,
        .files = result->files_n,
        .code_bytes = q->code_len,
    };
    COPY(r->id, result->id);
    COPY(r->dialect, q->dialect);
    COPY(r->policy, q->policy->name);
    COPY(r->policy_hash, q->policy->hash);
    COPY(r->image, result->image);
    COPY(r->container, result->container);
    COPY(r->reason, result->reason);
    COPY(r->client, q->client);
    COPY(r->traceparent, q->traceparent);
    if (!with_code)
        return;
    r->code = xmalloc(q->code_len + 1);
    if (q->code_len)
        memcpy(r->code, q->code, q->code_len);
    r->code[q->code_len] = '\0';
}

void run_record_done(struct run_record *r)
{
    free(r->code);
    r->code = NULL;
}

void run_record_digest(struct run_record *r)
{
    if (r->code)
        (void)digest_text(r->code_sha256, r->code, (size_t)r->code_bytes);
}

enum outcome outcome_find(const char *name)
{
    int o = 0;

    while (o < OUTCOMES && strcmp(name, outcome_name((enum outcome)o)) != 0)
        o++;
    return (enum outcome)o;
}

/* ---- JSON ---- */

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "\"%s\":", key);
    if (value[0])
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

static void put_end(struct buf *b, const struct run_record *r)
{
    (void)buf_fmt(b, ",\"outcome\":\"%s\"", outcome_name(r->outcome));
    put_number(b, "exit_code", r->exit_code, r->exit_code >= 0);
    put_number(b, "signal", r->term_signal, r->term_signal != 0);
    (void)buf_char(b, ',');
    put_text(b, "reason", r->reason);
}

static void put_figures(struct buf *b, const struct run_record *r)
{
    (void)buf_fmt(b, ",\"usage\":{\"wall_ms\":%.3f,\"cpu_ms\":%.3f", (double)r->wall_us / 1000,
                  (double)r->cpu_us / 1000);
    put_number(b, "memory_peak_bytes", (int64_t)r->memory_peak, r->memory_peak != 0);
    (void)buf_fmt(b,
                  "},\"timings\":{\"queue_ms\":%.3f,\"take_ms\":%.3f,\"run_ms\":%.3f,"
                  "\"collect_ms\":%.3f}",
                  (double)r->queue_us / 1000, (double)r->take_us / 1000, (double)r->run_us / 1000,
                  (double)r->collect_us / 1000);
    (void)buf_fmt(b, ",\"stdout_bytes\":%llu,\"stderr_bytes\":%llu,\"files\":%llu",
                  (unsigned long long)r->out_bytes, (unsigned long long)r->err_bytes,
                  (unsigned long long)r->files);
}

static void put_container(struct buf *b, const struct run_record *r)
{
    (void)buf_str(b, ",\"container\":{");
    put_text(b, "id", r->container);
    (void)buf_char(b, ',');
    put_text(b, "image", r->image);
    (void)buf_char(b, ',');
    put_text(b, "policy", r->policy);
    (void)buf_char(b, ',');
    put_text(b, "policy_hash", r->policy_hash);
    (void)buf_fmt(b, ",\"warm\":%s}", r->was_warm ? "true" : "false");
}

void run_record_put(struct buf *b, const struct run_record *r, bool with_code)
{
    char when[CLOCK_TEXT_MAX];

    (void)buf_char(b, '{');
    put_text(b, "id", r->id);
    (void)buf_fmt(b, ",\"started_at\":\"%s\",", clock_text(when, r->started_ms));
    put_text(b, "dialect", r->dialect);
    put_end(b, r);
    put_figures(b, r);
    put_container(b, r);
    (void)buf_char(b, ',');
    put_text(b, "client", r->client);
    (void)buf_char(b, ',');
    put_text(b, "traceparent", r->traceparent);
    (void)buf_fmt(b, ",\"code_bytes\":%llu,", (unsigned long long)r->code_bytes);
    put_text(b, "code_sha256", r->code_sha256);
    if (with_code && r->code) {
        (void)buf_str(b, ",\"code\":");
        json_put_str(b, r->code, (size_t)r->code_bytes);
    } else if (with_code) {
        (void)buf_str(b, ",\"code\":null");
    }
    (void)buf_char(b, '}');
}
