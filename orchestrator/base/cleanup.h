#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))

/* Runs `fn(&var)` when `var` leaves scope; `fn` must accept the empty value. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines `free_fn_p`, so a local can be written `CLEANUP(free_fn_p) type *x = NULL;`. */
#define DEFINE_CLEANUP(type, free_fn)       \
    static inline void free_fn##_p(type *p) \
    {                                       \
        free_fn(*p);                        \
    }

static inline void free_p(void *p)
{
    free(*(void **)p);
}

static inline void close_p(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define auto_free CLEANUP(free_p)
#define auto_fd   CLEANUP(close_p)

/* Moves a descriptor out of a cleanup local, which becomes -1. */
static inline int take_fd(int *fd)
{
    int out = *fd;

    *fd = -1;
    return out;
}

/* Moves ownership out of a cleanup local: `*ret = TAKE(x);` leaves x NULL. */
#define TAKE(p)                    \
    __extension__({                \
        __typeof__(p) take_ = (p); \
        (p) = NULL;                \
        take_;                     \
    })

#endif
