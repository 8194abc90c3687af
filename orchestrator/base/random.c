#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

void random_bytes(void *out, size_t n)
{
    unsigned char *p = out;

    while (n) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        p += got;
        n -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof(v));
    return v;
}

const char *random_id(char out[RANDOM_ID_MAX])
{
    (void)snprintf(out, RANDOM_ID_MAX, "%011llx%09llx", (unsigned long long)clock_wall_ms(),
                   (unsigned long long)(random_u64() & 0xFFFFFFFFFULL));
    return out;
}
