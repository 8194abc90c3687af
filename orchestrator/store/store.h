#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/record.h"
#include "store/call_record.h"

/*
 * The history of runs and of calls of the model. Rows are written by a thread of its own, in the order in which runs ended:
 * whoever ran something never waits for a disk. What cannot be written is tried again for as long
 * as the queue has room; a database that is broken, full or locked costs history, never a run.
 * See store/backend.h for where the rows go.
 */
struct store;

enum store_code { STORE_CODE_OFF, STORE_CODE_DIGEST, STORE_CODE_FULL };

struct store_options {
    const char *url; /* "sqlite:PATH"; a relative path lies in `dir`, sqlite:///PATH is absolute */
    const char *dir; /* exists; we may write there */
    enum store_code code_store; /* what a row keeps of the program */
    enum store_code code_log;   /* not OFF: one log record per run, with so much of the program */
    int64_t age_ms;             /* older runs are deleted; 0: never */
    int64_t size_max; /* bytes of the database; the oldest runs are deleted; 0: no limit */
    int64_t close_ms; /* how long store_close waits for what is queued; 0: 5 s */
};

/*
 * Opens the database and starts the thread. A damaged file is moved aside ("*.corrupt-TIME") and a
 * new one begun; where the disk is full or the database locked the thread opens it later.
 * ERR_INVALID: the URL, or a database of a newer version or of something else. ERR_DENIED: we may
 * not write there. Strings of `o` are copied.
 */
int store_open(const struct store_options *o, struct store **ret, struct err *err) MUST_CHECK;

/*
 * For reading alone, beside a service that writes. ERR_NOTFOUND: there is no database yet,
 * ERR_DENIED: we may not read it, ERR_PEER: it is damaged.
 */
int store_open_reader(const char *url, const char *dir, struct store **ret,
                      struct err *err) MUST_CHECK;

/*
 * Writes what is queued, counts and logs what could not be written in time. The store stays: runs
 * that end later are counted as lost, but told by the audit log. A second call does nothing.
 */
void store_stop(struct store *s);

/* The same, and frees it: no thread may observe or read any more. NULL is fine. */
void store_close(struct store *s);

/*
 * A core_observer; `ctx` is the struct store. Copies what is kept. Any thread. Waits at most 50 ms
 * when the queue is full, then drops the run and counts it.
 */
void store_observe(void *ctx, const struct run_request *request, const struct run_result *result);

/* NULL members match everything. */
struct store_filter {
    size_t limit;       /* 1..STORE_LIST_MAX */
    const char *before; /* only runs whose id sorts before it: ids sort by time */
    const char *policy, *dialect, *outcome;
};

enum { STORE_LIST_MAX = 1000 };

/*
 * Newest first, without the programs' text. Runs of the last moments may not be there yet. ERR_BUSY:
 * the database cannot be read now. Any thread. Release with store_records_free.
 */
int store_list(struct store *s, const struct store_filter *filter, struct run_record **ret,
               size_t *ret_n, struct err *err) MUST_CHECK;
void store_records_free(struct run_record *list, size_t n);

/* One run with its text. ERR_NOTFOUND: there is no such run. Release with run_record_done. */
int store_get(struct store *s, const char *id, struct run_record *ret, struct err *err) MUST_CHECK;

/*
 * Remembers a call of a model, as store_observe does a run; its texts are taken over. They are kept
 * where code_store is STORE_CODE_FULL.
 */
void store_add_call(struct store *s, const struct call_record *r);

struct call_filter {
    size_t limit;           /* 1..STORE_LIST_MAX */
    const char *before;     /* only calls whose id sorts before it; NULL: all */
    const char *generation; /* NULL: of all */
};

/* Newest first, with their texts. As store_list; release with store_calls_free. */
int store_calls(struct store *s, const struct call_filter *filter, struct call_record **ret,
                size_t *ret_n, struct err *err) MUST_CHECK;
void store_calls_free(struct call_record *list, size_t n);

struct store_state {
    uint64_t queued;  /* rows that wait */
    uint64_t written; /* rows since the start */
    uint64_t dropped; /* runs that will never be in the history */
    uint64_t errors;  /* attempts that failed */
    uint64_t size;    /* bytes of the database on disk */
    bool is_failing;  /* the last attempt failed */
};

void store_state(struct store *s, struct store_state *ret);

/* A metrics_source (core/metrics.h); `ctx` is the struct store. */
void store_metrics(struct buf *b, void *ctx);

#endif
