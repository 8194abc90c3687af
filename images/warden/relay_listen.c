#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

/* "ADDRESS:PORT" of the container's own; n bytes. */
static bool parse_address(const char *text, size_t n, struct sockaddr_in *ret)
{
    char copy[32];
    char *colon, *end;
    long port;

    if (n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    colon = strchr(copy, ':');
    if (!colon)
        return false;
    *colon = '\0';
    port = strtol(colon + 1, &end, 10);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return !*end && port > 0 && port < 65536 && inet_pton(AF_INET, copy, &ret->sin_addr) == 1;
}

static int listen_at(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
        listen(fd, RELAY_BACKLOG) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* `target` is "" for the proxy; n bytes. */
static int add_listener(struct relay *r, const char *address, size_t address_n, const char *target,
                        size_t n)
{
    struct relay_listener *l = &r->listeners[r->listeners_n];
    struct sockaddr_in a;

    if (r->listeners_n == RELAY_LISTENERS || n >= sizeof(l->target) ||
        !parse_address(address, address_n, &a))
        return -1;
    *l = (struct relay_listener){.fd = listen_at(&a), .is_proxy = n == 0};
    if (l->fd < 0)
        return -1;
    memcpy(l->target, target, n);
    r->listeners_n++;
    return 0;
}

int relay_listen(struct relay *r, const char *relay, const char *proxy)
{
    for (size_t i = 0; i < RELAY_CONNS; i++)
        r->conns[i].fd = -1;
    while (relay && *relay) {
        size_t n = strcspn(relay, ","), left = strcspn(relay, "=");

        if (left + 1 >= n || add_listener(r, relay, left, relay + left + 1, n - left - 1) < 0)
            return -1;
        relay += n + (relay[n] == ',');
    }
    return proxy && *proxy ? add_listener(r, proxy, strlen(proxy), "", 0) : 0;
}

int relay_accept(const struct relay_listener *l, bool *ret_is_short)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    *ret_is_short =
        fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
    return fd;
}

void relay_empty(struct relay *r)
{
    for (size_t i = 0; i < r->listeners_n; i++) {
        int fd = 0;

        /* What an earlier run left in a kept worker may connect without an end. */
        for (int n = 0; n <= RELAY_BACKLOG && fd >= 0; n++) {
            fd = relay_accept(&r->listeners[i], &r->is_full);
            if (fd >= 0)
                (void)close(fd);
        }
    }
}
