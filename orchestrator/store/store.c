#include "store/store.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "core/metrics.h"
#include "store/writer.h"

enum { CLOSE_MS = 5000 };

static const struct backend_ops *const backends[] = {&sqlite_ops};

static const struct backend_ops *find_backend(const char *url, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        if (str_starts(url, backends[i]->scheme))
            return backends[i];
    }
    (void)err_set(err, ERR_INVALID, "store '%.40s…' is of no kind that this program knows", url);
    return NULL;
}

static void init_conditions(struct store *s)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_rwlock_init(&s->backend_lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->more, &attr);
    (void)pthread_cond_init(&s->room, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static struct store *store_new(const struct backend_ops *ops, const char *url, const char *dir)
{
    struct store *s = xcalloc(1, sizeof(*s));

    s->ops = ops;
    s->url = xstrdup(url);
    s->dir = xstrdup(dir);
    init_conditions(s);
    return s;
}

void store_stop(struct store *s)
{
    writer_stop(s);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    writer_stop(s);
    s->ops->close(s->backend);
    (void)pthread_cond_destroy(&s->more);
    (void)pthread_cond_destroy(&s->room);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_rwlock_destroy(&s->backend_lock);
    free(s->url);
    free(s->dir);
    free(s);
}

int store_open(const struct store_options *o, struct store **ret, struct err *err)
{
    const struct backend_ops *ops = find_backend(o->url, err);
    struct store *s;

    if (!ops)
        return -1;
    s = store_new(ops, o->url, o->dir);
    s->code_store = o->code_store;
    s->code_log = o->code_log;
    s->age_ms = o->age_ms;
    s->size_max = o->size_max;
    s->close_ms = o->close_ms > 0 ? o->close_ms : CLOSE_MS;
    if (writer_start(s, err) < 0) {
        store_close(s);
        return err_wrap(err, "history");
    }
    *ret = s;
    return 0;
}

int store_open_reader(const char *url, const char *dir, struct store **ret, struct err *err)
{
    const struct backend_ops *ops = find_backend(url, err);
    const struct backend_options o = {.url = url, .dir = dir, .is_reader = true};
    struct store *s;

    if (!ops)
        return -1;
    s = store_new(ops, url, dir);
    if (ops->open(&o, &s->backend, err) < 0) {
        store_close(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void store_observe(void *ctx, const struct run_request *request, const struct run_result *result)
{
    struct store *s = ctx;
    struct row *r = xmalloc(sizeof(*r));

    r->kind = ROW_RUN;
    run_record_init(&r->run, request, result,
                    s->code_store != STORE_CODE_OFF || s->code_log != STORE_CODE_OFF);
    writer_add(s, r);
}

void store_add_call(struct store *s, const struct call_record *record)
{
    struct row *r = xmalloc(sizeof(*r));

    r->kind = ROW_CALL;
    r->call = *record;
    writer_add(s, r);
}

/* ---- reading ---- */

static int no_backend(struct err *err)
{
    return err_set(err, ERR_BUSY, "the history is not available now");
}

int store_list(struct store *s, const struct store_filter *filter, struct run_record **ret,
               size_t *ret_n, struct err *err)
{
    int rc;

    (void)pthread_rwlock_rdlock(&s->backend_lock);
    rc = s->backend ? s->ops->list(s->backend, filter, ret, ret_n, err) : no_backend(err);
    (void)pthread_rwlock_unlock(&s->backend_lock);
    return rc;
}

int store_get(struct store *s, const char *id, struct run_record *ret, struct err *err)
{
    int rc;

    (void)pthread_rwlock_rdlock(&s->backend_lock);
    rc = s->backend ? s->ops->get(s->backend, id, ret, err) : no_backend(err);
    (void)pthread_rwlock_unlock(&s->backend_lock);
    return rc;
}

void store_records_free(struct run_record *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run_record_done(&list[i]);
    free(list);
}

int store_calls(struct store *s, const struct call_filter *filter, struct call_record **ret,
                size_t *ret_n, struct err *err)
{
    int rc;

    (void)pthread_rwlock_rdlock(&s->backend_lock);
    rc = s->backend ? s->ops->calls(s->backend, filter, ret, ret_n, err) : no_backend(err);
    (void)pthread_rwlock_unlock(&s->backend_lock);
    return rc;
}

void store_calls_free(struct call_record *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        call_record_done(&list[i]);
    free(list);
}

/* ---- figures ---- */

void store_state(struct store *s, struct store_state *ret)
{
    *ret = (struct store_state){
        .written = atomic_load(&s->written),
        .dropped = atomic_load(&s->dropped),
        .errors = atomic_load(&s->errors),
        .is_failing = atomic_load(&s->is_failing),
    };
    (void)pthread_mutex_lock(&s->lock);
    ret->queued = s->queue_n;
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_rwlock_rdlock(&s->backend_lock);
    ret->size = s->backend ? s->ops->size(s->backend) : 0;
    (void)pthread_rwlock_unlock(&s->backend_lock);
}

void store_metrics(struct buf *b, void *ctx)
{
    struct store_state t;

    store_state(ctx, &t);
    metrics_single(b, "oneshot_store_queue_rows", "gauge",
                   "Runs that wait to be written to the history.", t.queued);
    metrics_single(b, "oneshot_store_rows_written_total", "counter", "Runs written to the history.",
                   t.written);
    metrics_single(b, "oneshot_store_rows_dropped_total", "counter", "Runs that the history lost.",
                   t.dropped);
    metrics_single(b, "oneshot_store_errors_total", "counter",
                   "Attempts to write the history that failed.", t.errors);
    metrics_single(b, "oneshot_store_size_bytes", "gauge", "Size of the history on disk.", t.size);
    metrics_single(b, "oneshot_store_up", "gauge", "1 unless the last attempt to write failed.",
                   !t.is_failing);
}
