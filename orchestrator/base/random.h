#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n); /* from the system's source; aborts if there is none */
uint64_t random_u64(void);

#define RANDOM_ID_MAX 24

/* A new id that sorts by time: 11 hex digits of milliseconds, 9 random ones. Returns `out`. */
const char *random_id(char out[RANDOM_ID_MAX]);

#endif
