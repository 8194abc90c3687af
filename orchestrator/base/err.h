#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/cleanup.h"

/* Kinds are what callers branch on; dialects map them to their own status words. */
enum err_kind {
    ERR_NONE = 0,
    ERR_INVALID,   /* the caller's input is wrong */
    ERR_NOTFOUND,  /* no such container, file, run */
    ERR_DENIED,    /* policy forbids it */
    ERR_LIMIT,     /* a size, count or memory bound was hit */
    ERR_TIMEOUT,   /* deadline passed */
    ERR_BUSY,      /* no capacity now; retry later */
    ERR_CANCELLED, /* the caller went away */
    ERR_PEER,      /* engine, model or store misbehaved */
    ERR_INTERNAL,
};

#define ERR_MSG_MAX 240

/* A value, never allocated: `struct err e = {0};` and pass `&e` down. NULL where nobody asks. */
struct err {
    enum err_kind kind;
    int sys; /* errno when the cause was a system call, else 0 */
    char msg[ERR_MSG_MAX];
};

/* All return -1, so a failing function ends with `return err_set(...)`. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* From errno: kind ERR_INTERNAL, text "…: strerror". */
int err_sys(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Prepends context on the way up; keeps kind and sys. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Lower-case word of a kind ("invalid", "busy" …) for logs and metrics; static storage. */
const char *err_kind_name(enum err_kind kind);

#endif
