#include "core/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

struct range4 {
    uint32_t net;
    unsigned bits;
};

struct range6 {
    uint8_t net[16];
    unsigned bits;
};

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

static const struct range4 closed4[] = {
    {V4(0,   0,   0,   0),  8 }, /* this network */
    {V4(10,  0,   0,   0),  8 },
    {V4(100, 64,  0,   0),  10}, /* shared by providers (CGNAT) */
    {V4(127, 0,   0,   0),  8 },
    {V4(169, 254, 0,   0),  16}, /* link-local, metadata services */
    {V4(172, 16,  0,   0),  12},
    {V4(192, 0,   0,   0),  24}, /* protocol assignments */
    {V4(192, 0,   2,   0),  24}, /* documentation */
    {V4(192, 88,  99,  0),  24}, /* 6to4 relays */
    {V4(192, 168, 0,   0),  16},
    {V4(198, 18,  0,   0),  15}, /* benchmarks */
    {V4(198, 51,  100, 0),  24},
    {V4(203, 0,   113, 0),  24},
    {V4(168, 63,  129, 16), 32}, /* a public address that one cloud answers inside of machines */
    {V4(224, 0,   0,   0),  3 }, /* multicast, reserved, broadcast */
};

/* Of what is not 2000::/3 nothing is public but translated IPv4; these lie inside of it. */
static const struct range6 closed6[] = {
    {{0x20, 0x01, 0x00},       23}, /* protocol assignments, Teredo, ORCHID */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02},             16}, /* 6to4 */
    {{0x3f, 0xff},             20}, /* documentation */
};

static const struct range6 global6 = {{0x20}, 3};
static const struct range6 mapped6 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
    96
};
static const struct range6 nat64 = {
    {0x00, 0x64, 0xff, 0x9b},
    96
};

static bool is_public4(uint32_t a)
{
    for (size_t i = 0; i < ARRAY_LEN(closed4); i++) {
        if ((a ^ closed4[i].net) >> (32 - closed4[i].bits) == 0)
            return false;
    }
    return true;
}

static bool is_in(const uint8_t a[16], const struct range6 *r)
{
    unsigned whole = r->bits / 8, rest = r->bits % 8;

    if (memcmp(a, r->net, whole) != 0)
        return false;
    return rest == 0 || (a[whole] ^ r->net[whole]) >> (8 - rest) == 0;
}

static bool is_public6(const uint8_t a[16])
{
    if (is_in(a, &mapped6) || is_in(a, &nat64))
        return is_public4(V4(a[12], a[13], a[14], a[15]));
    if (!is_in(a, &global6))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(closed6); i++) {
        if (is_in(a, &closed6[i]))
            return false;
    }
    return true;
}

bool address_is_public(const struct sockaddr *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof(v4));
        return is_public4(ntohl(v4.sin_addr.s_addr));
    }
    if (a->sa_family != AF_INET6)
        return false;
    memcpy(&v6, a, sizeof(v6));
    return is_public6(v6.sin6_addr.s6_addr);
}

/* As IPv6, so that one comparison does for both. */
static bool as_bytes(const struct sockaddr *a, uint8_t out[16])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (a && a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof(v4));
        memcpy(out, mapped6.net, 12);
        memcpy(out + 12, &v4.sin_addr, 4);
        return true;
    }
    if (!a || a->sa_family != AF_INET6)
        return false;
    memcpy(&v6, a, sizeof(v6));
    memcpy(out, &v6.sin6_addr, 16);
    return true;
}

bool address_is_own(const struct sockaddr *a)
{
    uint8_t wanted[16], found[16];
    struct ifaddrs *list = NULL;
    bool is_own = false;

    if (!as_bytes(a, wanted))
        return false;
    /* Without the list nothing can be said, so nothing is let through. */
    if (getifaddrs(&list) < 0)
        return true;
    for (const struct ifaddrs *i = list; i && !is_own; i = i->ifa_next)
        is_own = as_bytes(i->ifa_addr, found) && memcmp(found, wanted, sizeof(found)) == 0;
    freeifaddrs(list);
    return is_own;
}

void address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *a)
{
    char host[INET6_ADDRSTRLEN] = "?";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        (void)snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(v4.sin_port));
        return;
    }
    memcpy(&v6, a, sizeof(v6));
    (void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
    (void)snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(v6.sin6_port));
}
