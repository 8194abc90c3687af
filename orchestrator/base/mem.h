#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/cleanup.h"

/*
 * For small allocations of our own choosing: they abort when memory is gone, so callers never
 * check. Sizes that an outsider decides go through struct buf or struct spool, which have a limit.
 */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xarray(void *old, size_t n, size_t size); /* overflow-checked realloc */
char *xstrdup(const char *s);                   /* NULL stays NULL */
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
