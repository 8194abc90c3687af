#ifndef FRAMES_RELAY_H
#define FRAMES_RELAY_H

/*
 * Connections of a program to the outside, carried over the stream. The warden accepts them at
 * loopback addresses of the container and opens them; the front alone decides, resolves, connects.
 *
 *   OPEN   warden: connection `id` to "host:port". Ids rise from 1 within a run and never return,
 *          so a frame that crosses the end of its connection is known as late and means nothing.
 *          front, no payload: it is connected; only now either side may send DATA.
 *   DATA   at most as many bytes as the peer gave credit for: RELAY_WINDOW at first, ...
 *   MORE   ... and as many again as MORE says. With id 0: bytes of standard input that the program
 *          has taken, so that a program that reads none does not hold up its connections.
 *   CLOSE  no payload: the sender's half is over. A u32: it is aborted, or refused, for this errno;
 *          both sides forget it at once.
 *
 * ENDED closes whatever is still open. Each side buffers at most a window per connection, and never
 * stops reading the stream for one.
 */
enum {
    RELAY_WINDOW = 65536,
    RELAY_CONNS = 128,       /* at the same time */
    RELAY_TARGET_MAX = 280,  /* "host:port" */
    RELAY_IDS = 60000,       /* connections of one run */
    RELAY_STDIN = 512 << 10, /* bytes of standard input under way, where there is a relay */
};

/* Why a connection is refused, as an errno that the program's side can put into words. */
#define RELAY_NOT_LISTED EACCES    /* the policy names no such target */
#define RELAY_NOT_PUBLIC EPERM     /* it leads to an address that is closed */
#define RELAY_NO_NAME    ENOENT    /* the name has no address */
#define RELAY_NO_ANSWER  ETIMEDOUT /* nobody answered in time */
#define RELAY_TOO_MANY   EMFILE    /* too many connections */
#define RELAY_TOO_MUCH   EDQUOT    /* the run has carried as many bytes as it may */

#endif
