#include "dialects/native_reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "dialects/exec.h"

enum {
    PROBLEM_MAX = 16 * 1024,
    PIECE_MAX = 64 * 1024,
    LOG_ENTRY_MAX = JSON_ESCAPE_MAX * PIECE_MAX + 128
};

static const char *title_of(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"                    },
        {403, "Forbidden"                      },
        {404, "Not Found"                      },
        {405, "Method Not Allowed"             },
        {413, "Content Too Large"              },
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"          },
        {503, "Service Unavailable"            },
    };

    for (size_t i = 0; i < ARRAY_LEN(titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

static void put_text(struct buf *b, const char *key, const char *value)
{
    (void)buf_fmt(b, "\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

void native_problem(struct http_exchange *x, int status, const char *fmt, ...)
{
    char detail[1024];
    struct buf b;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    buf_init(&b, PROBLEM_MAX);
    /* "about:blank": the status code says what kind of problem it is (RFC 9457 4.2.1). */
    (void)buf_fmt(&b, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,", title_of(status),
                  status);
    put_text(&b, "detail", detail);
    (void)buf_char(&b, ',');
    put_text(&b, "instance", http_path(x));
    (void)buf_char(&b, '}');
    http_reply(x, status, "application/problem+json", &b);
}

/* ---- the result object ---- */

static const char *type_of(const char *path)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".png",     "image/png"                                                        },
        {".jpg",     "image/jpeg"                                                       },
        {".jpeg",    "image/jpeg"                                                       },
        {".gif",     "image/gif"                                                        },
        {".svg",     "image/svg+xml"                                                    },
        {".webp",    "image/webp"                                                       },
        {".csv",     "text/csv"                                                         },
        {".json",    "application/json"                                                 },
        {".txt",     "text/plain"                                                       },
        {".html",    "text/html"                                                        },
        {".pdf",     "application/pdf"                                                  },
        {".md",      "text/markdown"                                                    },
        {".zip",     "application/zip"                                                  },
        {".xml",     "application/xml"                                                  },
        {".xlsx",    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
        {".parquet", "application/vnd.apache.parquet"                                   },
    };
    const char *dot = strrchr(path_base(path), '.');

    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++) {
        if (str_eq_nocase(dot, types[i].end))
            return types[i].type;
    }
    return "application/octet-stream";
}

static void put_status(struct buf *b, const struct run_result *r)
{
    (void)buf_char(b, '{');
    put_text(b, "id", r->id);
    (void)buf_fmt(b, ",\"outcome\":\"%s\",\"exit_code\":", outcome_name(r->outcome));
    if (r->exit_code < 0)
        (void)buf_str(b, "null");
    else
        (void)buf_fmt(b, "%d", r->exit_code);
    if (r->term_signal)
        (void)buf_fmt(b, ",\"signal\":%d", r->term_signal);
    else
        (void)buf_str(b, ",\"signal\":null");
}

static bool has_reason(const struct run_result *r)
{
    return r->outcome != OUTCOME_OK && r->reason[0];
}

/* The exception that ended the program, or the limit that did. */
static void put_error(struct buf *b, const struct run_result *r)
{
    (void)buf_str(b, ",\"error\":");
    if (r->fault.len && !has_reason(r)) {
        (void)buf_add(b, buf_get(&r->fault), r->fault.len);
        return;
    }
    if (!has_reason(r)) {
        (void)buf_str(b, "null");
        return;
    }
    (void)buf_fmt(b, "{\"type\":\"%s\",", outcome_name(r->outcome));
    put_text(b, "message", r->reason);
    (void)buf_str(b, ",\"traceback\":null}");
}

void native_put_file(struct http_parts *parts, const struct run_out_file *f, bool with_data)
{
    struct buf *b = http_parts_text(parts);

    (void)buf_char(b, '{');
    if (f->is_tmp) {
        char path[PATH_REL_MAX + 8];

        (void)snprintf(path, sizeof(path), "/tmp/%s", f->path);
        put_text(b, "path", path);
    } else {
        put_text(b, "path", f->path);
    }
    (void)buf_fmt(b, ",\"size\":%llu,\"type\":\"%s\"", (unsigned long long)f->data.size,
                  type_of(f->path));
    if (with_data) {
        (void)buf_str(b, ",\"data\":\"");
        http_parts_base64(parts, &f->data);
        (void)buf_char(http_parts_text(parts), '"');
    }
    (void)buf_char(http_parts_text(parts), '}');
}

static void put_usage(struct buf *b, const struct run_result *r)
{
    (void)buf_fmt(b, ",\"usage\":{\"wall_ms\":%.3f,\"cpu_ms\":%.3f,\"memory_peak_bytes\":",
                  (double)r->wall_us / 1000, (double)r->cpu_us / 1000);
    if (r->memory_peak)
        (void)buf_fmt(b, "%llu}", (unsigned long long)r->memory_peak);
    else
        (void)buf_str(b, "null}");
    (void)buf_fmt(b,
                  ",\"timings\":{\"queue_ms\":%.3f,\"take_ms\":%.3f,\"run_ms\":%.3f,"
                  "\"collect_ms\":%.3f}",
                  (double)r->queue_us / 1000, (double)r->take_us / 1000, (double)r->run_us / 1000,
                  (double)r->collect_us / 1000);
}

static void put_container(struct buf *b, const struct run_result *r, const struct policy *p)
{
    (void)buf_str(b, ",\"container\":{");
    put_text(b, "id", r->container);
    (void)buf_char(b, ',');
    put_text(b, "image", r->image);
    (void)buf_char(b, ',');
    put_text(b, "policy", p->name);
    (void)buf_fmt(b, ",\"policy_hash\":\"%s\",\"warm\":%s,\"memory_bytes\":%llu}", p->hash,
                  r->was_warm ? "true" : "false", (unsigned long long)r->memory);
}

static void put_omitted(struct buf *b, const struct run_result *r)
{
    (void)buf_str(b, ",\"omitted\":[");
    for (size_t i = 0; i < r->omitted_n; i++) {
        (void)buf_str(b, i ? ",{" : "{");
        put_text(b, "path", r->omitted[i].path);
        (void)buf_fmt(b, ",\"reason\":\"%s\",\"size\":%llu}", r->omitted[i].reason,
                      (unsigned long long)r->omitted[i].size);
    }
    (void)buf_char(b, ']');
}

/* A piece may end inside a character, which is repaired. */
static void put_log_entry(struct buf *b, const struct run_result *r, const struct run_log_entry *l)
{
    char piece[PIECE_MAX];
    ssize_t n = spool_read(l->is_stderr ? &r->err_out : &r->out, l->offset, piece,
                           l->len < sizeof(piece) ? l->len : sizeof(piece), NULL);

    (void)buf_fmt(b, "{\"t_ms\":%u,\"stream\":\"%s\",\"text\":", l->t_ms,
                  l->is_stderr ? "stderr" : "stdout");
    json_put_str(b, piece, n > 0 ? (size_t)n : 0);
    (void)buf_char(b, '}');
}

/*
 * The order in which the program wrote: all output once more, so it is put together in a spool.
 * NULL when that cannot be written.
 */
static const struct spool *make_log(struct exec *e, const struct run_result *r)
{
    CLEANUP(buf_done) struct buf b = {0};
    struct spool *s = exec_spool(e);

    buf_init(&b, LOG_ENTRY_MAX);
    for (size_t i = 0; i < r->log_n; i++) {
        if (i)
            (void)buf_char(&b, ',');
        put_log_entry(&b, r, &r->log[i]);
        if (b.is_full || spool_add(s, buf_get(&b), b.len, NULL) < 0)
            return NULL;
        buf_clear(&b);
    }
    return s;
}

static void put_log(struct http_parts *parts, struct exec *e, const struct run_result *r)
{
    const struct spool *log = make_log(e, r);

    (void)buf_str(http_parts_text(parts), log ? ",\"log\":[" : ",\"log\":null");
    if (!log)
        return;
    http_parts_raw(parts, log);
    (void)buf_char(http_parts_text(parts), ']');
}

void native_put_lacks(struct buf *b, uint32_t lacks)
{
    const char *comma = "";

    (void)buf_char(b, '[');
    for (uint32_t bit = 1; bit < ENGINE_LACKS_END; bit <<= 1) {
        if (!(lacks & bit))
            continue;
        (void)buf_str(b, comma);
        json_put_str(b, engine_lack_text(bit), strlen(engine_lack_text(bit)));
        comma = ",";
    }
    (void)buf_char(b, ']');
}

void native_put_result(struct http_parts *parts, struct exec *e, const struct run_result *r,
                       bool with_data)
{
    const struct run_request *q = exec_request(e);

    put_status(http_parts_text(parts), r);
    (void)buf_str(http_parts_text(parts), ",\"stdout\":");
    http_parts_json_string(parts, &r->out);
    (void)buf_str(http_parts_text(parts), ",\"stderr\":");
    http_parts_json_string(parts, &r->err_out);
    (void)buf_fmt(http_parts_text(parts), ",\"truncated\":{\"stdout\":%s,\"stderr\":%s}",
                  r->out_is_cut ? "true" : "false", r->err_is_cut ? "true" : "false");
    (void)buf_fmt(http_parts_text(parts), ",\"result\":%s",
                  r->value.len ? buf_get(&r->value) : "null");
    put_error(http_parts_text(parts), r);
    (void)buf_str(http_parts_text(parts), ",\"files\":[");
    for (size_t i = 0; i < r->files_n; i++) {
        if (i)
            (void)buf_char(http_parts_text(parts), ',');
        native_put_file(parts, &r->files[i], with_data);
    }
    (void)buf_char(http_parts_text(parts), ']');
    put_usage(http_parts_text(parts), r);
    put_container(http_parts_text(parts), r, q->policy);
    put_omitted(http_parts_text(parts), r);
    (void)buf_str(http_parts_text(parts), ",\"not_enforced\":");
    native_put_lacks(http_parts_text(parts), r->lacks);
    if (q->wants_log)
        put_log(parts, e, r);
    (void)buf_char(http_parts_text(parts), '}');
}

void native_answer(struct http_exchange *x, struct exec *e)
{
    struct run_result *r = exec_run(e);
    struct http_parts *parts;

    if (exec_is_unavailable(e)) {
        native_problem(x, 503, "%s", r->reason);
        return;
    }
    parts = http_parts_new();
    native_put_result(parts, e, r, true);
    http_reply_parts(x, 200, "application/json", parts);
}
