#ifndef STORE_BACKEND_H
#define STORE_BACKEND_H

#include "store/row.h"
#include "store/store.h"

/*
 * Where rows go. Error kinds say what to do: ERR_INVALID (these rows, or this database, will never
 * do), ERR_PEER (the database is damaged: close it and open it anew with `is_damaged`), ERR_NOTFOUND
 * (it is no longer where it was: close it and open it anew); with any other the same may be tried
 * again later.
 */
struct backend;

struct backend_options {
    const char *url, *dir;
    bool is_reader;  /* nothing is made, changed or moved */
    bool is_damaged; /* what stands there is moved aside first */
};

struct backend_bounds {
    int64_t oldest_ms; /* rows that began earlier are deleted; 0: none */
    int64_t size_max;  /* 0: no limit */
};

struct backend_ops {
    const char *scheme; /* what its URLs begin with */

    /* MUST make or migrate the database in one transaction, and never lose rows on the way. */
    int (*open)(const struct backend_options *o, struct backend **ret, struct err *err);
    void (*close)(struct backend *b); /* MUST accept NULL */

    /* MUST be all or nothing; a row whose id is there already MUST be left as it is. */
    int (*write)(struct backend *b, struct row *const *rows, size_t n, struct err *err);

    /* Deletes a bounded number of rows. `*ret_more`: come again soon. */
    int (*trim)(struct backend *b, const struct backend_bounds *bounds, bool *ret_more,
                struct err *err);

    /* MUST be safe from any thread, also while another one writes. */
    int (*list)(struct backend *b, const struct store_filter *f, struct run_record **ret,
                size_t *ret_n, struct err *err);
    int (*get)(struct backend *b, const char *id, struct run_record *ret, struct err *err);
    int (*calls)(struct backend *b, const struct call_filter *f, struct call_record **ret,
                 size_t *ret_n, struct err *err);
    uint64_t (*size)(struct backend *b);

    /* Makes a call of the writing thread that is under way, and every later one, fail soon. */
    void (*interrupt)(struct backend *b);
};

extern const struct backend_ops sqlite_ops;

#endif
