/*
 * The thread that writes history. It takes rows in batches, and keeps a batch in its hands until it
 * is written: an error that may pass (locked, full, read-only, input/output) is waited out, while
 * the queue fills up behind it; a damaged database is replaced.
 */
#include "store/writer.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    LINGER_MS = 100,   /* after the first row, for more to come */
    FULL_WAIT_MS = 50, /* a run that ends waits so long for room */
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
    TRIM_MS = 60000,
    TELL_MS = 60000,
    LEAP_MS = 3600000, /* of the wall clock: somebody set it */
    WRITER_STACK = 256 * 1024,
};

/* ---- counting and telling ---- */

static bool may_tell(atomic_int_fast64_t *last)
{
    int64_t now = clock_ms(), then = atomic_load(last);

    return (then == 0 || now - then >= TELL_MS) && atomic_compare_exchange_strong(last, &then, now);
}

static void tell_dropped(struct store *s)
{
    uint64_t all = atomic_load(&s->dropped);
    uint64_t before = atomic_exchange(&s->told_dropped, all);

    if (all > before)
        log_error("history: %llu runs are lost, %llu since the start",
                  (unsigned long long)(all - before), (unsigned long long)all);
}

static void note_error(struct store *s, const struct err *err)
{
    atomic_fetch_add(&s->errors, 1);
    atomic_store(&s->is_failing, true);
    if (may_tell(&s->told_error_ms))
        log_error("history: cannot be written now, runs go on: %s", err->msg);
}

static void note_success(struct store *s)
{
    if (!atomic_exchange(&s->is_failing, false))
        return;
    atomic_store(&s->told_error_ms, 0);
    log_info("history: can be written again");
}

static void finish_run(const struct store *s, struct run_record *r)
{
    run_record_digest(r);
    audit_log(s->code_log, r);
    if (s->code_store != STORE_CODE_FULL)
        run_record_done(r);
    if (s->code_store == STORE_CODE_OFF)
        r->code_sha256[0] = '\0';
}

/* Texts of prompts and replies are kept where those of programs are. */
static void finish_row(const struct store *s, struct row *r)
{
    if (r->kind == ROW_RUN)
        finish_run(s, &r->run);
    else if (s->code_store != STORE_CODE_FULL)
        call_record_done(&r->call);
}

/* ---- the queue ---- */

static struct timespec as_time(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

/* Under the lock. False: that moment has come. */
static bool wait_until(struct store *s, pthread_cond_t *cond, int64_t ms)
{
    struct timespec until = as_time(ms);

    return pthread_cond_timedwait(cond, &s->lock, &until) != ETIMEDOUT;
}

/* Under the lock. A single huge program is let through an empty queue. */
static bool has_room(const struct store *s, const struct row *r)
{
    if (s->queue_n == QUEUE_ROWS)
        return false;
    return s->queue_n == 0 || s->queue_bytes + row_text_bytes(r) <= QUEUE_BYTES;
}

void writer_add(struct store *s, struct row *r)
{
    int64_t until = clock_ms() + FULL_WAIT_MS;
    bool fits;

    (void)pthread_mutex_lock(&s->lock);
    /* Waiting helps only while rows are leaving. */
    while (!(fits = has_room(s, r)) && !atomic_load(&s->is_failing) && !s->is_stopping) {
        if (!wait_until(s, &s->room, until))
            break;
    }
    fits = fits && !s->is_stopping;
    if (fits) {
        s->queue[(s->queue_at + s->queue_n++) % QUEUE_ROWS] = r;
        s->queue_bytes += row_text_bytes(r);
        (void)pthread_cond_signal(&s->more);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (fits)
        return;
    finish_row(s, r); /* the audit log still tells it */
    row_free(r);
    atomic_fetch_add(&s->dropped, 1);
    if (may_tell(&s->told_drop_ms))
        tell_dropped(s);
}

/* Under the lock. */
static void take_batch(struct store *s)
{
    while (s->queue_n && s->batch_n < BATCH_ROWS) {
        struct row *r = s->queue[s->queue_at];

        s->queue_at = (s->queue_at + 1) % QUEUE_ROWS;
        s->queue_n--;
        s->queue_bytes -= row_text_bytes(r);
        s->batch[s->batch_n++] = r;
    }
    (void)pthread_cond_broadcast(&s->room);
}

/*
 * Waits for rows, for the time to trim, or for the end. False: the end, and nothing is left.
 */
static bool collect(struct store *s)
{
    bool goes_on;

    (void)pthread_mutex_lock(&s->lock);
    while (!s->queue_n && !s->is_stopping && wait_until(s, &s->more, s->trim_ms))
        continue;
    if (s->queue_n) {
        int64_t until = clock_ms() + LINGER_MS;

        while (s->queue_n < BATCH_ROWS && !s->is_stopping && wait_until(s, &s->more, until))
            continue;
    }
    take_batch(s);
    goes_on = s->batch_n || !s->is_stopping;
    (void)pthread_mutex_unlock(&s->lock);
    return goes_on;
}

/* Waits `*ms`, longer next time. False: the service stops and may wait no longer. */
static bool wait_to_retry(struct store *s, int64_t *ms)
{
    bool goes_on;

    (void)pthread_mutex_lock(&s->lock);
    if (s->is_stopping) {
        (void)wait_until(s, &s->more, clock_ms() + RETRY_MIN_MS);
    } else {
        int64_t until = clock_ms() + *ms;

        while (!s->is_stopping && wait_until(s, &s->more, until))
            continue;
    }
    goes_on = !s->is_stopping || clock_ms() < s->stop_ms;
    (void)pthread_mutex_unlock(&s->lock);
    *ms = 2 * *ms < RETRY_MAX_MS ? 2 * *ms : RETRY_MAX_MS;
    return goes_on;
}

/* ---- the backend ---- */

static int open_backend(struct store *s, bool is_damaged, struct err *err)
{
    const struct backend_options o = {.url = s->url, .dir = s->dir, .is_damaged = is_damaged};
    int rc;

    (void)pthread_rwlock_wrlock(&s->backend_lock);
    s->ops->close(s->backend);
    s->backend = NULL;
    rc = s->ops->open(&o, &s->backend, err);
    (void)pthread_rwlock_unlock(&s->backend_lock);
    return rc;
}

/* Writes `n` rows; begins a new database in place of one that is damaged or gone. */
static int write_rows(struct store *s, struct row *const *rows, size_t n, struct err *err)
{
    if (!s->backend && open_backend(s, false, err) < 0)
        return -1;
    if (s->ops->write(s->backend, rows, n, err) == 0)
        return 0;
    if (err->kind != ERR_PEER && err->kind != ERR_NOTFOUND)
        return -1;
    note_error(s, err);
    if (open_backend(s, err->kind == ERR_PEER, err) < 0)
        return -1;
    return s->ops->write(s->backend, rows, n, err);
}

/*
 * The service stops and waits for us no longer: where the last write failed a further try may take
 * seconds. What can be written is written to its end.
 */
static bool is_time_up(struct store *s)
{
    bool is_up;

    (void)pthread_mutex_lock(&s->lock);
    is_up = s->is_stopping && atomic_load(&s->is_failing) && clock_ms() >= s->stop_ms;
    (void)pthread_mutex_unlock(&s->lock);
    return is_up;
}

static int give_up(struct store *s, size_t n)
{
    atomic_fetch_add(&s->dropped, n);
    return 0;
}

/* Tries until the rows are written or given up. -1, with ERR_INVALID: they will never do. */
static int write_patiently(struct store *s, struct row *const *rows, size_t n, struct err *err)
{
    int64_t retry_ms = RETRY_MIN_MS;

    if (is_time_up(s))
        return give_up(s, n);
    while (write_rows(s, rows, n, err) < 0) {
        if (err->kind == ERR_INVALID)
            return -1;
        note_error(s, err);
        if (!wait_to_retry(s, &retry_ms))
            return give_up(s, n);
    }
    atomic_fetch_add(&s->written, n);
    note_success(s);
    return 0;
}

/* Where one row will never do the others must not go with it. */
static void write_batch(struct store *s)
{
    struct err err = {0};

    if (write_patiently(s, s->batch, s->batch_n, &err) == 0)
        return;
    for (size_t i = 0; i < s->batch_n; i++) {
        if (write_patiently(s, &s->batch[i], 1, &err) == 0)
            continue;
        note_error(s, &err);
        atomic_fetch_add(&s->dropped, 1);
    }
}

static void free_batch(struct store *s)
{
    for (size_t i = 0; i < s->batch_n; i++)
        row_free(s->batch[i]);
    s->batch_n = 0;
}

static bool is_trim_due(const struct store *s)
{
    if (clock_ms() >= s->trim_ms)
        return true;
    return s->backend && s->size_max > 0 && s->ops->size(s->backend) > (uint64_t)s->size_max;
}

bool writer_clock_is_steady(int64_t *offset_ms, int64_t wall_ms, int64_t monotonic_ms)
{
    int64_t before = *offset_ms, leap;

    *offset_ms = wall_ms - monotonic_ms;
    leap = *offset_ms - before;
    return before == 0 || (leap < LEAP_MS && leap > -LEAP_MS);
}

static void trim(struct store *s)
{
    struct backend_bounds bounds = {.size_max = s->size_max};
    struct err err = {0};
    bool more = false;

    if (!is_trim_due(s) || is_time_up(s))
        return;
    if (writer_clock_is_steady(&s->clock_offset_ms, clock_wall_ms(), clock_ms()) && s->age_ms > 0)
        bounds.oldest_ms = clock_wall_ms() - s->age_ms;
    if ((!s->backend && open_backend(s, false, &err) < 0) ||
        s->ops->trim(s->backend, &bounds, &more, &err) < 0)
        note_error(s, &err);
    s->trim_ms = clock_ms() + (more ? LINGER_MS : TRIM_MS);
}

static void *run_writer(void *arg)
{
    struct store *s = arg;

    while (collect(s)) {
        for (size_t i = 0; i < s->batch_n; i++)
            finish_row(s, s->batch[i]);
        if (s->batch_n)
            write_batch(s);
        free_batch(s);
        trim(s);
    }
    (void)pthread_mutex_lock(&s->lock);
    s->is_over = true;
    (void)pthread_cond_broadcast(&s->room);
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

int writer_start(struct store *s, struct err *err)
{
    struct backend_options o = {.url = s->url, .dir = s->dir};
    pthread_attr_t attr;
    int rc;

    if (s->ops->open(&o, &s->backend, err) < 0) {
        if (err->kind == ERR_INVALID || err->kind == ERR_DENIED)
            return -1;
        note_error(s, err);
    }
    s->trim_ms = clock_ms();
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WRITER_STACK);
    rc = pthread_create(&s->thread, &attr, run_writer, s);
    (void)pthread_attr_destroy(&attr);
    s->has_thread = rc == 0;
    return rc ? err_set(err, ERR_INTERNAL, "cannot start the thread that writes history") : 0;
}

/* The writer hangs in a call: it has had its time. */
static void interrupt(struct store *s)
{
    (void)pthread_rwlock_rdlock(&s->backend_lock);
    if (s->backend)
        s->ops->interrupt(s->backend);
    (void)pthread_rwlock_unlock(&s->backend_lock);
}

void writer_stop(struct store *s)
{
    bool is_over;

    if (!s->has_thread)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    s->stop_ms = clock_ms() + s->close_ms;
    (void)pthread_cond_broadcast(&s->more);
    (void)pthread_cond_broadcast(&s->room);
    while (!s->is_over && wait_until(s, &s->room, s->stop_ms))
        continue;
    is_over = s->is_over;
    (void)pthread_mutex_unlock(&s->lock);
    if (!is_over)
        interrupt(s);
    (void)pthread_join(s->thread, NULL);
    s->has_thread = false;
    tell_dropped(s);
}
