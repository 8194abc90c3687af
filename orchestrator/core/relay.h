#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/relay.h"

struct frame;
struct policy;
struct resolver;

/*
 * The front's end of the relay (frames/relay.h): the connections of one run. Driven by the run's
 * own poll loop and thread. Everything that comes from the container is hostile: what an honest
 * warden would never send is a breach, what a program may ask for and not get is refused.
 */
enum relay_verdict {
    RELAY_OK,
    RELAY_UNLISTED,  /* the policy names no such target */
    RELAY_CLOSED,    /* the name leads to an address that is closed */
    RELAY_NAME,      /* the name has no address */
    RELAY_DOWN,      /* refused, unreachable */
    RELAY_TIMEOUT,   /* no connection in time */
    RELAY_LIMIT,     /* a limit of the policy */
    RELAY_CANCELLED, /* the program did not wait for the connection */
    RELAY_VERDICTS,
};

const char *relay_verdict_name(enum relay_verdict v); /* "unlisted" …; static */

struct relay_counts {
    uint64_t verdicts[RELAY_VERDICTS];
    uint64_t up, down; /* bytes from and to the programs */
};

enum {
    /* Those that the warden knows, and as many whose last bytes the target is yet to take. */
    RELAY_SLOTS = 2 * RELAY_CONNS,
    RELAY_POLLED = 1 + RELAY_SLOTS,
};

struct relay_options {
    const struct policy *policy; /* its network is NETWORK_RELAY; borrowed */
    const char *run_id;          /* borrowed */
    struct resolver *resolver;
    struct relay_counts *counts; /* added to at the end of each connection; borrowed */
};

struct relay;

struct relay *relay_new(const struct relay_options *o); /* NULL: no descriptor for it */
void relay_free(struct relay *r);

/* A frame of the relay. NULL, or what is wrong with it: a breach. */
const char *relay_frame(struct relay *r, const struct frame *f);

/* Up to RELAY_POLLED descriptors to wait for; returns how many. relay_serve takes them back. */
size_t relay_poll(const struct relay *r, struct pollfd *p);
void relay_serve(struct relay *r, const struct pollfd *p, size_t n);

/* clock_ms at which relay_serve is due whatever poll says; INT64_MAX: never. */
int64_t relay_due_ms(const struct relay *r);

/* The next frame for the warden, with its head; good until the next call. False: there is none. */
bool relay_next(struct relay *r, const uint8_t **ret, size_t *ret_n);

/* The program is over: only what it had sent is still delivered. */
void relay_end(struct relay *r);

/* Behind relay_end: not everything is delivered yet. */
bool relay_is_delivering(const struct relay *r);

#endif
