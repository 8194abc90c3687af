/*
 * A run as server-sent events: queued, started, stdout, stderr, file (with its content), result
 * (the object of the plain reply, file contents left out). Each event is one line of JSON.
 */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "dialects/exec.h"
#include "dialects/native_reply.h"

struct stream {
    struct exec *exec;
    struct run *run;
    struct utf8_repair repair[2]; /* stdout, stderr: a character may be cut between two events */
    struct http_parts *parts;     /* an event that is sent in pieces; NULL: none */
    bool is_done;
};

static void put_plain(struct buf *out, const char *name, const char *id)
{
    (void)buf_fmt(out, "event: %s\ndata: {\"id\":\"%s\"}\n\n", name, id);
}

static void put_text(struct buf *out, bool is_stderr, const char *text, size_t n)
{
    if (!n)
        return;
    (void)buf_fmt(out, "event: %s\ndata: {\"text\":", is_stderr ? "stderr" : "stdout");
    json_put_str(out, text, n);
    (void)buf_str(out, "}\n\n");
}

static void put_output(struct stream *s, struct buf *out, const struct run_event *ev)
{
    auto_free char *text = xmalloc(UTF8_REPAIR_MAX(ev->len));
    bool is_stderr = ev->kind == RUN_STDERR;
    size_t n = utf8_repair_feed(&s->repair[is_stderr], ev->data, ev->len, text);

    put_text(out, is_stderr, text, n);
}

/* A character whose last bytes never came. */
static void put_rest(struct stream *s, struct buf *out)
{
    char text[UTF8_REPAIR_MAX(0)];

    for (int i = 0; i < 2; i++)
        put_text(out, i, text, utf8_repair_flush(&s->repair[i], text));
}

static void open_event(struct stream *s, const char *name)
{
    s->parts = http_parts_new();
    (void)buf_fmt(http_parts_text(s->parts), "event: %s\ndata: ", name);
}

static void close_event(struct stream *s)
{
    (void)buf_str(http_parts_text(s->parts), "\n\n");
}

/* Also of what never reached a container (outcome "infra"): the status line is long gone. */
static void open_result(struct stream *s)
{
    struct run_result *r = run_result(s->run);

    s->is_done = true;
    open_event(s, "result");
    native_put_result(s->parts, s->exec, r, false);
    close_event(s);
}

static void tell(struct stream *s, struct buf *out, const struct run_event *ev)
{
    switch (ev->kind) {
    case RUN_QUEUED:
        put_plain(out, "queued", run_result(s->run)->id);
        return;
    case RUN_STARTED:
        put_plain(out, "started", run_result(s->run)->id);
        return;
    case RUN_STDOUT:
    case RUN_STDERR:
        put_output(s, out, ev);
        return;
    case RUN_FILE:
        open_event(s, "file");
        native_put_file(s->parts, ev->file, true);
        close_event(s);
        return;
    case RUN_DONE:
        put_rest(s, out);
        open_result(s);
        return;
    }
}

static bool pull(void *ctx, struct buf *out)
{
    struct stream *s = ctx;

    while (out->len == 0) {
        struct run_event ev;

        if (s->parts) {
            if (http_parts_pull(s->parts, out))
                return true;
            http_parts_free(s->parts);
            s->parts = NULL;
        }
        if (s->is_done)
            return false;
        run_next(s->run, &ev);
        tell(s, out, &ev);
    }
    return true;
}

static void forget(void *ctx)
{
    struct stream *s = ctx;

    http_parts_free(s->parts);
    free(s);
}

void native_stream(struct http_exchange *x, struct exec *e)
{
    struct stream *s = xcalloc(1, sizeof(*s));

    s->exec = e;
    s->run = exec_start(e);
    http_on_complete(x, forget, s);
    http_set_header(x, "Cache-Control", "no-store");
    http_reply_stream(x, 200, "text/event-stream", pull, s);
}
