#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cmd/bench.h"

enum {
    HTTP_THREADS = 64,
    REPLY_MAX = 128 * 1024 * 1024,
    QUIET_LIMIT_MS = 60000,
    QUIET_STEP_MS = 10,
};

struct http_bench {
    const struct bench_plan *plan;
    const char *kind; /* field of the body that holds the program */
    int64_t until_us;
    atomic_size_t begun;
    pthread_barrier_t barrier;
};

struct http_thread {
    struct http_bench *bench;
    unsigned number;
    pthread_t thread;
    struct bench_result result;
    CURL *curl;
    struct curl_slist *headers;
    struct buf body, reply;
};

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
    return buf_add(ctx, data, size * n) < 0 ? 0 : size * n;
}

static CURL *open_curl(const char *url, struct buf *reply, struct curl_slist *headers)
{
    CURL *curl = curl_easy_init();

    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, 120L);
    return curl;
}

/* Every program is told apart by a comment that it prints back: nobody else's output may come. */
static void make_body(struct http_thread *t, const char *nonce)
{
    const struct bench_plan *p = t->bench->plan;
    auto_free char *code = xasprintf("%s\nprint('%s')\n", p->code, nonce);

    buf_clear(&t->body);
    (void)buf_fmt(&t->body, "{\"%s\":", t->bench->kind);
    json_put_str(&t->body, code, strlen(code));
    if (strcmp(t->bench->kind, "generated_code") == 0)
        (void)buf_str(&t->body, ",\"timeout\":60");
    if (strstr(p->url, "/v1/runs"))
        (void)buf_fmt(&t->body, ",\"policy\":\"%s\"", p->policy);
    (void)buf_char(&t->body, '}');
}

static void one(struct http_thread *t, size_t number)
{
    char nonce[64];
    long status = 0;
    curl_off_t took = 0;

    (void)snprintf(nonce, sizeof(nonce), "nonce-%u-%zu", t->number, number);
    make_body(t, nonce);
    buf_clear(&t->reply);
    (void)curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, buf_get(&t->body));
    (void)curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE, (long)t->body.len);
    if (curl_easy_perform(t->curl) != CURLE_OK) {
        t->result.errors++;
        return;
    }
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->curl, CURLINFO_TOTAL_TIME_T, &took);
    if (status != 200)
        t->result.errors++;
    else if (!strstr(buf_get(&t->reply), nonce))
        t->result.mixed++;
    else
        bench_add(&t->result, took);
}

/* ---- waiting for a full and quiet pool ---- */

static bool is_full(const cJSON *pools, const char *policy)
{
    const cJSON *p;
    bool full = false;

    cJSON_ArrayForEach(p, pools)
    {
        double parked = cJSON_GetNumberValue(cJSON_GetObjectItem(p, "parked"));
        double busy = cJSON_GetNumberValue(cJSON_GetObjectItem(p, "starting")) +
                      cJSON_GetNumberValue(cJSON_GetObjectItem(p, "removing"));
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(p, "policy"));

        if (busy > 0)
            return false;
        if (name && strcmp(name, policy) == 0)
            full = parked > 0 && parked >= cJSON_GetNumberValue(cJSON_GetObjectItem(p, "target"));
    }
    return full;
}

static bool look(CURL *curl, struct buf *reply, const char *policy)
{
    CLEANUP(cJSON_Delete_p) cJSON *json = NULL;

    buf_clear(reply);
    if (curl_easy_perform(curl) != CURLE_OK)
        return false;
    json = cJSON_Parse(buf_get(reply));
    return json && is_full(cJSON_GetObjectItem(json, "pools"), policy);
}

/*
 * Asks the same service's /v1/pools; on other ports the native one is 8000's, by --pools. Returns
 * the microseconds until the pool was full for the first time.
 */
static int64_t wait_quiet(const struct bench_plan *p)
{
    CLEANUP(buf_done) struct buf reply = {0};
    int64_t began = clock_ms(), deadline = began + QUIET_LIMIT_MS, since = 0;
    CURL *curl;

    buf_init(&reply, REPLY_MAX);
    curl = open_curl(p->pools_url, &reply, NULL);
    while (clock_ms() < deadline) {
        if (!look(curl, &reply, p->policy))
            since = 0;
        else if (!since)
            since = clock_ms();
        else if (clock_ms() - since >= (int64_t)(p->settle_s * 1000))
            break;
        (void)poll(NULL, 0, QUIET_STEP_MS);
    }
    curl_easy_cleanup(curl);
    return ((since ? since : clock_ms()) - began) * 1000;
}

/* ---- threads ---- */

static bool may_begin(struct http_bench *b, size_t *ret_number)
{
    *ret_number = atomic_fetch_add(&b->begun, 1);
    if (b->plan->count)
        return *ret_number < b->plan->count;
    return clock_us() < b->until_us;
}

static void free_running(struct http_thread *t)
{
    size_t number;

    while (may_begin(t->bench, &number)) {
        if (t->bench->plan->is_paced)
            (void)wait_quiet(t->bench->plan);
        one(t, number);
    }
}

static void bursts(struct http_thread *t)
{
    for (size_t i = 0; i < t->bench->plan->count; i++) {
        if (t->number == 0 && t->bench->plan->is_paced) {
            int64_t took = wait_quiet(t->bench->plan);

            t->result.refills += i > 0;
            t->result.refill_us += i > 0 ? took : 0;
        }
        (void)pthread_barrier_wait(&t->bench->barrier);
        one(t, i);
        (void)pthread_barrier_wait(&t->bench->barrier);
    }
}

static void *loop(void *arg)
{
    struct http_thread *t = arg;

    buf_init(&t->body, REPLY_MAX);
    buf_init(&t->reply, REPLY_MAX);
    t->headers = curl_slist_append(NULL, "Content-Type: application/json");
    t->headers = curl_slist_append(t->headers, "Expect:");
    t->curl = open_curl(t->bench->plan->url, &t->reply, t->headers);
    if (t->bench->plan->is_burst)
        bursts(t);
    else
        free_running(t);
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    buf_done(&t->body);
    buf_done(&t->reply);
    return NULL;
}

static const char *kind_of(const char *url)
{
    if (strstr(url, "/v1/runs"))
        return "code";
    return strstr(url, "/execute") ? "generated_code" : "code";
}

int bench_http(const struct bench_plan *plan, struct bench_result *ret, struct err *err)
{
    unsigned n = plan->parallel < HTTP_THREADS ? plan->parallel : HTTP_THREADS, started = 0;
    struct http_bench b = {.plan = plan, .kind = kind_of(plan->url)};
    struct http_thread threads[HTTP_THREADS] = {0};
    int64_t began = clock_us();

    (void)pthread_barrier_init(&b.barrier, NULL, n);
    b.until_us = began + (int64_t)(plan->seconds * 1e6);
    for (; started < n; started++) {
        threads[started].bench = &b;
        threads[started].number = started;
        if (pthread_create(&threads[started].thread, NULL, loop, &threads[started]) != 0)
            break;
    }
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i].thread, NULL);
        bench_merge(ret, &threads[i].result);
    }
    ret->wall_us = clock_us() - began;
    (void)pthread_barrier_destroy(&b.barrier);
    return started == n ? 0 : err_set(err, ERR_INTERNAL, "cannot start %u threads", n);
}
