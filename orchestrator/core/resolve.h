#ifndef CORE_RESOLVE_H
#define CORE_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"

/*
 * Names to addresses without blocking who asks: a few threads, started when they are needed, call
 * getaddrinfo. Any thread.
 */
enum { RESOLVE_ADDRESSES = 8, RESOLVE_THREADS = 32, RESOLVE_QUEUE = 256 };

struct resolved {
    struct sockaddr_storage list[RESOLVE_ADDRESSES];
    socklen_t len[RESOLVE_ADDRESSES];
    size_t n; /* 0: there is no such name */
};

struct resolver;
struct lookup;

/* As getaddrinfo, which NULL stands for. */
typedef int resolve_fn(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **ret);

struct resolver *resolver_new(resolve_fn *fn);
void resolver_free(struct resolver *r); /* waits for lookups under way */

/* `event_fd` is written to when there is an answer. NULL: too many ask. Drop what you get. */
struct lookup *resolver_ask(struct resolver *r, const char *host, const char *port, int event_fd);

/* True once the answer is there; `*ret` then is a copy. */
bool resolver_look(struct resolver *r, const struct lookup *l, struct resolved *ret);

/* Drops it, unless a thread is busy with it: false. */
bool resolver_withdraw(struct resolver *r, struct lookup *l);

/* At any time; behind it `event_fd` is not written to. */
void resolver_drop(struct resolver *r, struct lookup *l);

#endif
