#ifndef BASE_FETCH_POOL_H
#define BASE_FETCH_POOL_H

#include <curl/curl.h>

struct fetch_pool;

/* One of fetch.c's: an exchange's multi handle, which holds the connection to that URL's host. */

/* An idle one of the same scheme, host and port, else a new one. `p` may be NULL. */
CURLM *fetch_pool_take(struct fetch_pool *p, const char *url);

/* No transfer may be in it any more. Moved. */
void fetch_pool_give(struct fetch_pool *p, const char *url, CURLM *multi);

#endif
