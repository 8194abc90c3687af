#include "base/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/fetch_pool.h"
#include "base/mem.h"
#include "base/spool.h"
#include "base/stop.h"
#include "base/str.h"

enum {
    CONNECT_MS = 10000,
    HEAD_MAX = 64 * 1024,
    WAIT_MAX_S = 1000000, /* longer ones are told as this: it is as good as for ever */
    IDLE_S = 60,          /* TCP keep-alive: middle boxes forget connections of models that think */
};

enum end { END_NONE, END_HEAD, END_BODY, END_READER };

struct transfer {
    CURL *curl;
    const struct fetch_request *q;
    struct fetch_reply *reply;
    struct curl_slist *headers;
    size_t head_n, body_n;
    uint64_t sent; /* of a file */
    enum end end;
    char text[CURL_ERROR_SIZE];
};

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool fetch_is_url(const char *url)
{
    const char *host = strstr(url, "://");

    if (!str_starts(url, "http://") && !str_starts(url, "https://"))
        return false;
    host += 3;
    for (const char *c = url; *c; c++) {
        if (*c <= ' ' || *c == 0x7F)
            return false;
    }
    return *host && *host != '/' && !memchr(host, '@', strcspn(host, "/?#")) && !strchr(host, '#');
}

bool fetch_is_this_machine(const char *url)
{
    static const char *const names[] = {"localhost", "[::1]"};
    const char *host = strstr(url, "://");
    size_t n, digits;

    if (!host)
        return false;
    host += 3;
    n = *host == '[' ? strcspn(host, "]/?#") + 1 : strcspn(host, ":/?#");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (n == strlen(names[i]) && strncasecmp(host, names[i], n) == 0)
            return true;
    }
    digits = strspn(host, "0123456789.");
    return str_starts(host, "127.") && digits == n;
}

/* ---- the reply ---- */

void fetch_reply_init(struct fetch_reply *r, size_t max)
{
    *r = (struct fetch_reply){.retry_after_ms = -1};
    buf_init(&r->body, max);
}

void fetch_reply_done(struct fetch_reply *r)
{
    buf_done(&r->body);
    free(r->redirect);
    r->redirect = NULL;
}

int64_t fetch_retry_after(const char *value, int64_t now_s)
{
    double seconds;
    time_t date;

    if (str_to_real(value, &seconds)) {
        if (seconds < 0)
            return -1;
        return (int64_t)((seconds < WAIT_MAX_S ? seconds : WAIT_MAX_S) * 1000);
    }
    date = curl_getdate(value, NULL);
    if (date < 0)
        return -1;
    if (date <= now_s)
        return 0;
    return (date - now_s < WAIT_MAX_S ? date - now_s : WAIT_MAX_S) * 1000;
}

static bool read_header(CURL *curl, const char *name, char *out, size_t size)
{
    struct curl_header *h = NULL;

    if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return false;
    return str_copy(out, h->value, size) < size;
}

static void read_wait(struct transfer *t)
{
    int64_t now_s = clock_wall_ms() / 1000, v;
    char text[64];

    if (read_header(t->curl, "retry-after-ms", text, sizeof(text)) &&
        str_to_i64(text, 0, WAIT_MAX_S * INT64_C(1000), &v))
        t->reply->retry_after_ms = v;
    else if (read_header(t->curl, "retry-after", text, sizeof(text)))
        t->reply->retry_after_ms = fetch_retry_after(text, now_s);
    else if (read_header(t->curl, "x-ratelimit-reset", text, sizeof(text)) &&
             str_to_i64(text, now_s, now_s + WAIT_MAX_S, &v))
        t->reply->retry_after_ms = (v - now_s) * 1000;
}

static void read_head(struct transfer *t)
{
    const char *type = NULL;
    long status = 0;

    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    t->reply->status = (int)status;
    if (type)
        (void)str_copy(t->reply->type, type, sizeof(t->reply->type));
}

static size_t on_head(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;

    (void)data;
    t->head_n += size * n;
    if (t->head_n <= HEAD_MAX)
        return size * n;
    t->end = END_HEAD;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;

    n *= size;
    t->body_n += n;
    if (t->body_n > t->q->reply_max) {
        t->end = END_BODY;
        return 0;
    }
    read_head(t);
    if (t->q->on_data && t->reply->status == 200) {
        if (t->q->on_data(t->q->ctx, t->reply->type, data, n))
            return n;
        t->end = END_READER;
        return 0;
    }
    /* Of what is no 200 only the first part is ever told. */
    (void)buf_add(&t->reply->body, data, n);
    return n;
}

/* ---- the request ---- */

static int add_header(struct transfer *t, const char *line, struct err *err)
{
    struct curl_slist *longer = curl_slist_append(t->headers, line);

    if (!longer)
        return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
    t->headers = longer;
    return 0;
}

static bool has_body(const struct fetch_request *q)
{
    return q->body || q->file;
}

static int add_headers(struct transfer *t, struct err *err)
{
    const char *kind = t->q->type ? t->q->type : "application/json";
    auto_free char *accept = xasprintf("Accept: %s", t->q->accept);
    auto_free char *type = xasprintf("Content-Type: %s", kind);
    auto_free char *bearer =
        t->q->bearer ? xasprintf("Authorization: Bearer %s", t->q->bearer) : NULL;

    if (add_header(t, has_body(t->q) ? type : "Content-Type:", err) < 0 ||
        add_header(t, accept, err) < 0 || add_header(t, "Expect:", err) < 0)
        return -1;
    for (size_t i = 0; t->q->headers && t->q->headers[i]; i++) {
        if (add_header(t, t->q->headers[i], err) < 0)
            return -1;
    }
    return bearer ? add_header(t, bearer, err) : 0;
}

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    ssize_t got = spool_read(t->q->file, t->sent, out, size * n, NULL);

    if (got < 0)
        return CURL_READFUNC_ABORT;
    t->sent += (uint64_t)got;
    return (size_t)got;
}

static void set_body(struct transfer *t)
{
    CURL *c = t->curl;
    const char *method = t->q->method ? t->q->method : "POST";

    if (strcmp(method, "GET") == 0) {
        (void)curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
        return;
    }
    (void)curl_easy_setopt(c, CURLOPT_POST, 1L);
    if (strcmp(method, "POST") != 0)
        (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    if (!has_body(t->q)) {
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, 0L);
        return;
    }
    if (!t->q->file) {
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, buf_get(t->q->body));
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->q->body->len);
        return;
    }
    (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->q->file->size);
    (void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
    (void)curl_easy_setopt(c, CURLOPT_READDATA, t);
}

static void set_options(struct transfer *t)
{
    CURL *c = t->curl;

    (void)curl_easy_setopt(c, CURLOPT_URL, t->q->url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    /* What a proxy says about its tunnel is no part of the reply. */
    (void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    /* A name that cannot be resolved must not hold up whoever cancels. */
    (void)curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "oneshot/" ONESHOT_VERSION);
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, (long)IDLE_S);
    (void)curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, (long)IDLE_S / 2);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    set_body(t);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->text);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    /* A proxy of the environment is for the way out, not for this machine. */
    if (t->q->is_near || fetch_is_this_machine(t->q->url))
        (void)curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    if (t->q->ca_pem) {
        struct curl_blob blob = {.len = strlen(t->q->ca_pem), .flags = CURL_BLOB_COPY};

        blob.data = (char *)(uintptr_t)t->q->ca_pem; /* copied, not changed */
        (void)curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &blob);
    }
}

/* ---- the exchange ---- */

static int end_err(const struct transfer *t, struct err *err)
{
    if (t->end == END_HEAD)
        return err_set(err, ERR_PEER, "the head of the reply is over %d bytes", HEAD_MAX);
    if (t->end == END_BODY)
        return err_set(err, ERR_PEER, "the reply is over %zu bytes", t->q->reply_max);
    return err_set(err, ERR_PEER, "the reply was refused");
}

static enum err_kind kind_of(const struct transfer *t, CURLcode rc)
{
    if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE)
        return ERR_DENIED;
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
        return ERR_INVALID;
    return t->head_n ? ERR_PEER : ERR_BUSY;
}

static void read_more(struct transfer *t)
{
    struct fetch_reply *r = t->reply;
    const char *redirect = NULL;

    read_head(t);
    read_wait(t);
    (void)read_header(t->curl, "x-run-id", r->run_id, sizeof(r->run_id));
    (void)read_header(t->curl, "content-encoding", r->encoding, sizeof(r->encoding));
    if (t->q->wants && !read_header(t->curl, t->q->wants, r->wanted, sizeof(r->wanted)))
        r->wanted[0] = '\0';
    (void)curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &redirect);
    r->redirect = xstrdup(redirect);
}

static int result(const struct transfer *t, CURLcode rc, struct err *err)
{
    if (rc == CURLE_OK)
        return 0;
    if (t->end != END_NONE)
        return end_err(t, err);
    return err_set(err, kind_of(t, rc), "%s", t->text[0] ? t->text : curl_easy_strerror(rc));
}

/* Until the transfer is over, nobody wants it any more or its time is up. */
static int drive(struct transfer *t, CURLM *multi, struct err *err)
{
    int running = 1, left = 0;

    for (;;) {
        CURLMsg *message;

        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return err_set(err, ERR_INTERNAL, "libcurl failed");
        message = curl_multi_info_read(multi, &left);
        if (message && message->msg == CURLMSG_DONE)
            return result(t, message->data.result, err);
        if (stop_is_asked(t->q->stop))
            return err_set(err, ERR_CANCELLED, "nobody waits for the reply any more");
        left = clock_left_ms(t->q->deadline_ms);
        if (left == 0)
            return err_set(err, ERR_TIMEOUT, "no whole answer in time");
        if (t->q->on_tick)
            t->q->on_tick(t->q->ctx);
        if (left < 0 || left > STOP_STEP_MS)
            left = STOP_STEP_MS;
        (void)curl_multi_poll(multi, NULL, 0, left, NULL);
    }
}

static int perform(struct transfer *t, struct err *err)
{
    CURLM *multi = fetch_pool_take(t->q->pool, t->q->url);
    int rc;

    if (!multi || curl_multi_add_handle(multi, t->curl) != CURLM_OK) {
        (void)curl_multi_cleanup(multi);
        return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
    }
    rc = drive(t, multi, err);
    /* Also of a reply whose end never came. */
    read_more(t);
    (void)curl_multi_remove_handle(multi, t->curl);
    fetch_pool_give(t->q->pool, t->q->url, multi);
    return rc;
}

int fetch(const struct fetch_request *q, struct fetch_reply *ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct transfer t = {.q = q, .reply = ret};
    int rc = -1;

    (void)pthread_once(&once, init_curl);
    t.curl = curl_easy_init();
    if (!t.curl)
        return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
    if (add_headers(&t, err) == 0) {
        set_options(&t);
        rc = perform(&t, err);
    }
    curl_easy_cleanup(t.curl);
    curl_slist_free_all(t.headers);
    return rc;
}
