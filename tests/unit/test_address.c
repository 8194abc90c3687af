#include "core/address.h"

#include <netdb.h>
#include <string.h>

#include "unit.h"

/* Numbers only; the caller owns the list. */
static struct addrinfo *parse(const char *text, const char *port)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;

    ck_assert_msg(getaddrinfo(text, port, &hints, &list) == 0, "%s", text);
    return list;
}

static const char *const open_ones[] = {
    "1.1.1.1",          "8.8.8.8",         "9.255.255.255",        "11.0.0.0",
    "100.63.255.255",   "100.128.0.0",     "126.255.255.255",      "128.0.0.1",
    "169.253.255.255",  "169.255.0.0",     "172.15.255.255",       "172.32.0.0",
    "192.0.1.0",        "192.167.255.255", "192.169.0.0",          "198.17.255.255",
    "198.20.0.0",       "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1",
    "64:ff9b::8.8.8.8", "::ffff:8.8.8.8",  "2001:4860:4860::8888", "3ffe:ffff::1",
};

static const char *const closed_ones[] = {
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:808:808::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
};

START_TEST(public_addresses_are_open)
{
    for (size_t i = 0; i < sizeof(open_ones) / sizeof(*open_ones); i++) {
        struct addrinfo *a = parse(open_ones[i], "1");

        ck_assert_msg(address_is_public(a->ai_addr), "%s", open_ones[i]);
        freeaddrinfo(a);
    }
}
END_TEST

START_TEST(special_addresses_are_closed)
{
    for (size_t i = 0; i < sizeof(closed_ones) / sizeof(*closed_ones); i++) {
        struct addrinfo *a = parse(closed_ones[i], "1");

        ck_assert_msg(!address_is_public(a->ai_addr), "%s", closed_ones[i]);
        freeaddrinfo(a);
    }
}
END_TEST

START_TEST(other_families_are_closed)
{
    struct sockaddr a = {.sa_family = AF_UNIX};

    ck_assert(!address_is_public(&a));
    ck_assert(!address_is_own(&a));
}
END_TEST

START_TEST(loopback_is_this_machines_own)
{
    struct addrinfo *own = parse("127.0.0.1", "1"), *mapped = parse("::ffff:127.0.0.1", "1");
    struct addrinfo *other = parse("198.51.100.77", "1");

    ck_assert(address_is_own(own->ai_addr));
    ck_assert(address_is_own(mapped->ai_addr));
    ck_assert(!address_is_own(other->ai_addr));
    freeaddrinfo(own);
    freeaddrinfo(mapped);
    freeaddrinfo(other);
}
END_TEST

START_TEST(addresses_are_written_with_their_port)
{
    static const struct {
        const char *host, *port, *text;
    } rows[] = {
        {"192.0.2.1",                               "80",    "192.0.2.1:80"         },
        {"255.255.255.255",                         "65535", "255.255.255.255:65535"},
        {"2001:db8::1",                             "443",   "[2001:db8::1]:443"    },
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"                          },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct addrinfo *a = parse(rows[i].host, rows[i].port);
        char text[ADDRESS_TEXT_MAX];

        address_text(text, a->ai_addr);
        ck_assert_str_eq(text, rows[i].text);
        freeaddrinfo(a);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, public_addresses_are_open);
    tcase_add_test(t, special_addresses_are_closed);
    tcase_add_test(t, other_families_are_closed);
    tcase_add_test(t, loopback_is_this_machines_own);
    tcase_add_test(t, addresses_are_written_with_their_port);
}

UNIT_MAIN("address", add_tests)
