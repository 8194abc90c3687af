#include "engine/docker_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

/* Why one of our callbacks ended a transfer. */
enum stop { STOP_NONE, STOP_HEAD, STOP_BODY, STOP_READER, STOP_LATE };

struct transfer {
    CURL *curl;
    const struct docker_http_request *q;
    struct docker_http_reply *reply;
    size_t head_len;
    bool has_head; /* its blank line came: libcurl takes a head that was cut for a whole one */
    enum stop stop;
    char text[CURL_ERROR_SIZE];
};

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int add_headers(struct docker_http *h, struct err *err)
{
    static const char *const lines[] = {
        "Content-Type: application/json",
        /* Since API 1.53 the engine may choose other framings of events for a client of any. */
        "Accept: application/json",
        /* A large body would wait for a 100 that the engine does not send. */
        "Expect:",
    };

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct curl_slist *longer = curl_slist_append(h->headers, lines[i]);

        if (!longer)
            return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
        h->headers = longer;
    }
    return 0;
}

int docker_http_init(struct docker_http *h, const char *path, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, init_curl);
    *h = (struct docker_http){0};
    if (str_copy(h->socket, path, sizeof(h->socket)) >= sizeof(h->socket))
        return err_set(err, ERR_INVALID, "engine socket path is over %zu bytes",
                       sizeof(h->socket) - 1);
    (void)pthread_mutex_init(&h->lock, NULL);
    if (add_headers(h, err) < 0) {
        docker_http_done(h);
        return -1;
    }
    return 0;
}

void docker_http_done(struct docker_http *h)
{
    while (h->idle_n)
        curl_easy_cleanup(h->idle[--h->idle_n]);
    curl_slist_free_all(h->headers);
    h->headers = NULL;
    (void)pthread_mutex_destroy(&h->lock);
}

/* An easy handle keeps its connection open, so the pool of handles is the pool of connections. */
static CURL *take_handle(struct docker_http *h)
{
    CURL *curl = NULL;

    (void)pthread_mutex_lock(&h->lock);
    if (h->idle_n)
        curl = h->idle[--h->idle_n];
    (void)pthread_mutex_unlock(&h->lock);
    return curl ? curl : curl_easy_init();
}

static void give_handle(struct docker_http *h, CURL *curl)
{
    curl_easy_reset(curl);
    (void)pthread_mutex_lock(&h->lock);
    if (h->idle_n < DOCKER_HTTP_IDLE) {
        h->idle[h->idle_n++] = curl;
        curl = NULL;
    }
    (void)pthread_mutex_unlock(&h->lock);
    curl_easy_cleanup(curl);
}

static size_t on_head(char *data, size_t size, size_t n, void *ctx)
{
    static const char name[] = "Api-Version:";
    struct transfer *t = ctx;
    char *out = t->reply->api_version;
    size_t i = sizeof(name) - 1, k = 0;

    n *= size;
    t->head_len += n;
    if (t->head_len > DOCKER_HTTP_HEAD_MAX) {
        t->stop = STOP_HEAD;
        return 0;
    }
    /* Not every other line: a trailer comes here too. */
    if (n > 5 && memcmp(data, "HTTP/", 5) == 0)
        t->has_head = false;
    else if (n == 2 && memcmp(data, "\r\n", 2) == 0)
        t->has_head = true;
    if (n < i || strncasecmp(data, name, i) != 0)
        return n;
    while (i < n && data[i] == ' ')
        i++;
    while (i < n && data[i] > ' ' && k + 1 < sizeof(t->reply->api_version))
        out[k++] = data[i++];
    out[k] = '\0';
    return n;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;

    n *= size;
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->q->on_data && status == 200) {
        if (t->q->on_data(t->q->ctx, data, n))
            return n;
        t->stop = STOP_READER;
        return 0;
    }
    if (buf_add(&t->reply->body, data, n) == 0)
        return n;
    t->stop = STOP_BODY;
    return 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct transfer *t = ctx;
    long status = 0;

    (void)a, (void)b, (void)c, (void)d;
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (!t->q->on_tick(t->q->ctx))
        t->stop = STOP_READER;
    else if (!status && clock_ms() >= t->q->deadline_ms)
        t->stop = STOP_LATE;
    return t->stop != STOP_NONE;
}

static void set_body(const struct transfer *t)
{
    const struct docker_http_request *q = t->q;

    if (strcmp(q->method, "POST") == 0) {
        (void)curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, q->body ? q->body : "");
        (void)curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
        return;
    }
    (void)curl_easy_setopt(t->curl, CURLOPT_CUSTOMREQUEST, q->method);
}

static void set_options(struct docker_http *h, struct transfer *t)
{
    CURL *c = t->curl;
    int left = clock_left_ms(t->q->deadline_ms);
    char url[DOCKER_HTTP_PATH_MAX + 16];

    (void)snprintf(url, sizeof(url), "http://docker%s", t->q->path);
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, h->socket);
    (void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(c, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->text);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    if (t->q->on_data) {
        (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    } else {
        /* 0 would be no limit at all. */
        (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, left ? (long)left : 1L);
    }
    set_body(t);
}

int docker_http_connect_err(const char *socket, int sys, struct err *err)
{
    bool is_absent = sys == ENOENT || sys == ECONNREFUSED || sys == EAGAIN;
    char text[80];

    (void)err_set(err, is_absent ? ERR_BUSY : ERR_PEER, "cannot connect to '%s': %s", socket,
                  strerror_r(sys, text, sizeof(text)));
    if (err)
        err->sys = sys;
    return -1;
}

static int stop_err(const struct transfer *t, struct err *err)
{
    if (t->stop == STOP_HEAD)
        return err_set(err, ERR_PEER, "head of the reply is over %d bytes", DOCKER_HTTP_HEAD_MAX);
    if (t->stop == STOP_BODY)
        return err_set(err, ERR_PEER, "reply is over %d bytes", DOCKER_HTTP_BODY_MAX);
    return err_set(err, ERR_TIMEOUT, "no answer in time");
}

static int result(const struct docker_http *h, struct transfer *t, CURLcode rc, struct err *err)
{
    long sys = 0;

    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->reply->status);
    if (t->stop == STOP_READER) {
        t->reply->is_stopped = true;
        return 0;
    }
    if (rc == CURLE_OK && t->has_head)
        return 0;
    if (t->stop != STOP_NONE)
        return stop_err(t, err);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "no answer in time");
    t->reply->is_lost = true;
    if (rc == CURLE_COULDNT_CONNECT) {
        (void)curl_easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &sys);
        return docker_http_connect_err(h->socket, (int)sys, err);
    }
    if (rc == CURLE_OK)
        return err_set(err, ERR_PEER, "reply was cut in its head");
    return err_set(err, ERR_PEER, "%s", t->text[0] ? t->text : curl_easy_strerror(rc));
}

void docker_http_reply_init(struct docker_http_reply *r)
{
    *r = (struct docker_http_reply){0};
    buf_init(&r->body, DOCKER_HTTP_BODY_MAX);
}

void docker_http_reply_done(struct docker_http_reply *r)
{
    buf_done(&r->body);
}

int docker_http_do(struct docker_http *h, const struct docker_http_request *q,
                   struct docker_http_reply *ret, struct err *err)
{
    struct transfer t = {.q = q, .reply = ret};
    int rc;

    if (clock_left_ms(q->deadline_ms) == 0)
        return err_set(err, ERR_TIMEOUT, "no answer in time");
    t.curl = take_handle(h);
    if (!t.curl)
        return err_set(err, ERR_INTERNAL, "libcurl is out of memory");
    set_options(h, &t);
    /* When a kept connection ends before any byte of the reply, libcurl asks once more on a new
     * one. A call may so reach the engine twice; names and states make the second one harmless. */
    rc = result(h, &t, curl_easy_perform(t.curl), err);
    give_handle(h, t.curl);
    return rc;
}
