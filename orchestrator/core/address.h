#ifndef CORE_ADDRESS_H
#define CORE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT_MAX = 56 }; /* "[IPv6]:65535" */

/*
 * A unicast address of the public internet: none that IANA's special-purpose registries (RFC 6890)
 * keep for a machine, a link, a site, documentation or a translation of such a one.
 */
bool address_is_public(const struct sockaddr *a);

/* One of this machine's, or of the container that the service runs in. */
bool address_is_own(const struct sockaddr *a);

/* "192.0.2.1:80", "[2001:db8::1]:443". */
void address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *a);

#endif
