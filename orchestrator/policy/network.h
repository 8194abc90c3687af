#ifndef POLICY_NETWORK_H
#define POLICY_NETWORK_H

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

#endif
