#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

/* Deadlines are clock_ms() values; INT64_MAX waits for ever. All retry on EINTR. */

/* 1 ready, 0 deadline passed, -1 error. `events` as for poll(2); hang-ups count as ready. */
int io_wait(int fd, short events, int64_t deadline_ms);

/*
 * Writes everything. ERR_TIMEOUT, ERR_PEER (gone) or ERR_INTERNAL. Works on either blocking mode;
 * the deadline holds for sockets and pipes, files are written as long as it takes.
 */
int io_write_all(int fd, const void *data, size_t n, int64_t deadline_ms,
                 struct err *err) MUST_CHECK;
int io_writev_all(int fd, struct iovec *iov, int n, int64_t deadline_ms,
                  struct err *err) MUST_CHECK; /* changes `iov` */

/* One read: bytes, 0 at the end of the stream, -1 error; ERR_TIMEOUT when nothing came in time. */
ssize_t io_read_some(int fd, void *out, size_t n, int64_t deadline_ms, struct err *err) MUST_CHECK;

/* Whole small file into a fresh NUL-terminated string; ERR_LIMIT past `max`. Caller frees. */
int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                 struct err *err) MUST_CHECK;

int io_set_nonblocking(int fd, bool on);

/* Raises the soft limit of open descriptors to `n`, or as far as it may. Never lowers it. */
void io_want_files(uint64_t n);

/* One message with up to one descriptor. `fd` -1 sends none. 0 done, -1 error (errno kept). */
int io_send_msg(int sock, const void *data, size_t n, int fd);

/*
 * Receives one message. Returns its length, 0 when the peer is gone, -1 on error (errno kept;
 * EMSGSIZE when it is longer than `n`, EPROTO when it carries several descriptors). `*ret_fd` is
 * -1 when none came; received descriptors are close-on-exec.
 */
ssize_t io_recv_msg(int sock, void *data, size_t n, int *ret_fd);

#endif
