#ifndef STORE_WRITER_H
#define STORE_WRITER_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/backend.h"
#include "store/row.h"

/* What store.c and the writing thread share. */

enum {
    QUEUE_ROWS = 4096,
    QUEUE_BYTES = 64 * 1024 * 1024, /* of programs' texts */
    BATCH_ROWS = 256,
};

struct store {
    const struct backend_ops *ops;
    char *url, *dir;
    enum store_code code_store, code_log;
    int64_t age_ms, size_max, close_ms;

    /* Read-held while the backend is used, write-held while the writer puts another in its place. */
    pthread_rwlock_t backend_lock;
    struct backend *backend; /* NULL while it cannot be opened */

    pthread_t thread;
    bool has_thread;
    struct row *batch[BATCH_ROWS]; /* in the writer's hands */
    size_t batch_n;
    int64_t trim_ms;         /* next */
    int64_t clock_offset_ms; /* wall clock minus monotonic one at the last trim; 0: none yet */

    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t more, room; /* rows came, or the end; rows went */
    struct row *queue[QUEUE_ROWS];
    size_t queue_at, queue_n;
    uint64_t queue_bytes;
    bool is_stopping, is_over;
    int64_t stop_ms; /* when stopping: give up then */

    atomic_uint_fast64_t written, dropped, errors;
    atomic_bool is_failing;
    atomic_int_fast64_t told_drop_ms, told_error_ms; /* at most one line a minute each */
    atomic_uint_fast64_t told_dropped;
};

int writer_start(struct store *s, struct err *err) MUST_CHECK;
void writer_stop(struct store *s); /* a second call does nothing */

/* Takes the row over: queues it, or drops and counts it. */
void writer_add(struct store *s, struct row *r);

/*
 * Whether the wall clock went on as it should since `*offset_ms` was noted, which is noted anew.
 * After a leap nothing is deleted for its age until the next time.
 */
bool writer_clock_is_steady(int64_t *offset_ms, int64_t wall_ms, int64_t monotonic_ms);

/* One log record about a run, as code_log says. */
void audit_log(enum store_code code_log, const struct run_record *r);

#endif
