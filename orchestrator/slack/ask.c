#include "slack/ask.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/json_sieve.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"

#define GIB 1073741824ULL

enum {
    PROMPT_MAX = 2 * 1024 * 1024,
    TEXT_MAX = 64 * 1024 * 1024, /* the reply without its files */
    TOKENS_MAX = 100000,
    FILES_MAX = 200,
    REFUSAL_MAX = 64 * 1024,
    NAME_MAX_BYTES = 255,
    START_STEPS = 20, /* tries while it starts; each comes back within a step */
    HTTP_OK = 200,
    HTTP_TOO_MANY = 429,
    HTTP_UNAVAILABLE = 503,
};

void ask_answer_done(struct ask_answer *a)
{
    for (size_t i = 0; i < a->files_n; i++) {
        free(a->files[i].name);
        spool_done(&a->files[i].data);
    }
    free(a->files);
    free(a->output);
    free(a->error);
    *a = (struct ask_answer){0};
}

/* ---- the reply ---- */

/* Slack makes of a name what it shows; a path has no place there. */
static char *file_name(const char *name)
{
    const char *slash = strrchr(name, '/');

    if (slash)
        name = slash + 1;
    return *name ? xstrndup(name, NAME_MAX_BYTES) : xstrdup("file");
}

static int read_file(struct json_sieve *sieve, const cJSON *item, struct ask_answer *ret,
                     struct err *err)
{
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(item, "data");
    double index = cJSON_IsNumber(data) ? data->valuedouble : -1;
    struct spool *blob = NULL;

    if (index >= 0 && index < FILES_MAX)
        blob = json_sieve_blob(sieve, (size_t)index);
    if (!blob || ret->files_n == FILES_MAX)
        return err_set(err, ERR_PEER, "a file of the reply has no data");
    ret->files = xarray(ret->files, ret->files_n + 1, sizeof(*ret->files));
    ret->files[ret->files_n] = (struct ask_file){
        .name = file_name(json_get_text(item, "name")),
        .is_image = strcmp(json_get_text(item, "type"), "image") == 0,
    };
    spool_move(&ret->files[ret->files_n++].data, blob);
    return 0;
}

static int read_result(struct json_sieve *sieve, const cJSON *reply, struct ask_answer *ret,
                       struct err *err)
{
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(reply, "result"), *item;
    const char *status = json_get_text(result, "status");

    if (strcmp(status, "success") != 0 && strcmp(status, "error") != 0)
        return err_set(err, ERR_PEER, "the reply has no result");
    ret->is_success = strcmp(status, "success") == 0;
    ret->retries = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(reply, "retries"));
    ret->output = xstrdup(json_get_text(result, "output"));
    ret->error = xstrdup(json_get_text(result, "error"));
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(result, "files"))
    {
        if (read_file(sieve, item, ret, err) < 0)
            return -1;
    }
    return 0;
}

static int read_reply(struct json_sieve *sieve, struct ask_answer *ret, struct err *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    struct buf *text = json_sieve_text(sieve);

    if (json_sieve_end(sieve, err) < 0)
        return err_wrap(err, "the reply");
    reply = cJSON_ParseWithLength(buf_get(text), text->len);
    buf_done(text);
    return read_result(sieve, reply, ret, err);
}

static int refuse(const struct fetch_reply *r, struct err *err)
{
    bool is_idle = r->status == HTTP_TOO_MANY || r->status == HTTP_UNAVAILABLE;
    CLEANUP(cJSON_Delete_p) cJSON *body = NULL;

    if (json_scan_text(buf_get(&r->body), r->body.len, TOKENS_MAX, NULL) == 0)
        body = cJSON_ParseWithLength(buf_get(&r->body), r->body.len);
    return err_set(err, is_idle ? ERR_LIMIT : ERR_PEER, "status %d%s%.180s", r->status,
                   body ? ": " : "", json_get_text(body, "error"));
}

/* ---- the request ---- */

struct reading {
    struct json_sieve *sieve;
    struct err err;
};

static bool on_data(void *ctx, const char *type, const char *data, size_t n)
{
    struct reading *r = ctx;

    (void)type;
    return json_sieve_feed(r->sieve, data, n, &r->err) == 0;
}

static int ask_once(const struct ask_options *o, const struct buf *body, int64_t deadline_ms,
                    struct ask_answer *ret, struct err *err)
{
    static const char *const paths[] = {"result.files[].data", NULL};
    const struct json_sieve_options so = {
        .paths = paths,
        .spool_dir = o->spool_dir,
        .text_max = TEXT_MAX,
        .tokens_max = TOKENS_MAX,
        .blobs_max = FILES_MAX,
        .blob_max = GIB,
        .total_max = GIB,
        .replaces_nul = true,
    };
    CLEANUP(json_sieve_free_p) struct json_sieve *sieve = json_sieve_new(&so);
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    struct reading reading = {.sieve = sieve};
    auto_free char *url = xasprintf("%s/api/generate-code", o->url);
    const struct fetch_request q = {
        .url = url,
        .accept = "application/json",
        .ca_pem = o->ca_pem,
        .is_near = true,
        .body = body,
        .deadline_ms = deadline_ms,
        .reply_max = 2 * GIB,
        .stop = o->stop,
        .on_data = on_data,
        .ctx = &reading,
    };
    int rc;

    fetch_reply_init(&reply, REFUSAL_MAX);
    rc = fetch(&q, &reply, err);
    if (reading.err.kind != ERR_NONE) {
        *err = reading.err;
        return err_wrap(err, "the reply");
    }
    if (rc < 0)
        return -1;
    return reply.status == HTTP_OK ? read_reply(sieve, ret, err) : refuse(&reply, err);
}

int ask(const struct ask_options *o, const char *prompt, int64_t deadline_ms,
        struct ask_answer *ret, struct err *err)
{
    CLEANUP(buf_done) struct buf body = {0};
    int64_t began = clock_ms(), step_ms = o->start_ms / START_STEPS;
    struct err why = {0};

    *ret = (struct ask_answer){0};
    buf_init(&body, PROMPT_MAX);
    (void)buf_str(&body, "{\"prompt\":");
    json_put_str(&body, prompt, strlen(prompt));
    (void)buf_char(&body, '}');
    if (body.is_full)
        return err_set(err, ERR_INVALID, "the prompt is too long");
    for (;;) {
        int64_t tried = clock_ms();

        if (ask_once(o, &body, deadline_ms, ret, &why) == 0)
            return 0;
        /* Only a connection that was refused at once: nothing was run for it. */
        if (why.kind != ERR_BUSY || clock_ms() - tried > step_ms ||
            clock_ms() - began > o->start_ms || !stop_sleep(o->stop, clock_ms() + step_ms))
            break;
    }
    if (err)
        *err = why;
    return -1;
}
