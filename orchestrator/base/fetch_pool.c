#include "base/fetch_pool.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/fetch.h"
#include "base/mem.h"

enum { IDLE_MS = 60000 };

struct idle {
    char *origin;
    CURLM *multi;
    int64_t since_ms;
};

/* The one that was used last is the warmest: the list is a stack, the oldest in front. */
struct fetch_pool {
    pthread_mutex_t lock;
    struct idle *list; /* under the lock, and so is n */
    size_t n, max;
};

struct fetch_pool *fetch_pool_new(size_t max)
{
    struct fetch_pool *p = xcalloc(1, sizeof(*p));

    (void)pthread_mutex_init(&p->lock, NULL);
    p->list = xcalloc(max + 1, sizeof(*p->list));
    p->max = max;
    return p;
}

static void close_idle(struct idle *i)
{
    free(i->origin);
    (void)curl_multi_cleanup(i->multi);
}

void fetch_pool_free(struct fetch_pool *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        close_idle(&p->list[i]);
    free(p->list);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

/* "http://host:port" of a URL. */
static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");

    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : strlen(url);
}

static bool is_at(const struct idle *i, const char *url)
{
    size_t n = origin_length(url);

    return strlen(i->origin) == n && strncmp(i->origin, url, n) == 0;
}

static struct idle remove_idle(struct fetch_pool *p, size_t at)
{
    struct idle out = p->list[at];

    p->n--;
    memmove(p->list + at, p->list + at + 1, (p->n - at) * sizeof(*p->list));
    return out;
}

CURLM *fetch_pool_take(struct fetch_pool *p, const char *url)
{
    struct idle found = {0};

    if (!p)
        return curl_multi_init();
    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = p->n; i-- > 0 && !found.multi;) {
        if (is_at(&p->list[i], url))
            found = remove_idle(p, i);
    }
    (void)pthread_mutex_unlock(&p->lock);
    free(found.origin);
    return found.multi ? found.multi : curl_multi_init();
}

void fetch_pool_give(struct fetch_pool *p, const char *url, CURLM *multi)
{
    struct idle old = {0}, last = {.multi = multi};

    if (!p) {
        (void)curl_multi_cleanup(multi);
        return;
    }
    last.origin = xstrndup(url, origin_length(url));
    last.since_ms = clock_ms();
    (void)pthread_mutex_lock(&p->lock);
    p->list[p->n++] = last;
    if (p->n > p->max || last.since_ms - p->list[0].since_ms > IDLE_MS)
        old = remove_idle(p, 0);
    (void)pthread_mutex_unlock(&p->lock);
    if (old.multi)
        close_idle(&old);
}
