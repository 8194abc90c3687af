#ifndef POLICY_NETWORK_H
#define POLICY_NETWORK_H

#include <stddef.h>

struct policy_network;
struct policy_relay;
struct yaml_custom;

/*
 * The key `network` of a policy, a struct policy_network:
 *
 *   none | open | {join: NAME} | {relay: {any: [PORT …]}} | {relay: [ENTRY …]}
 *   ENTRY: "host:port" | {as: "host:port", to: "host:port", private: true} | {any: [PORT …]}
 *
 * `as` alone leads to the host of that name; `to` defaults to `as`.
 */
extern const struct yaml_custom network_custom;

/* The first entry with the same host as this one: entries of one host share a loopback address. */
size_t network_host_index(const struct policy_network *net, size_t entry);

/* The entry that a program calls so; NULL when there is none. */
const struct policy_relay *network_find(const struct policy_network *net, const char *target);

#endif
