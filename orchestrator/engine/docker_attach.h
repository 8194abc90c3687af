#ifndef ENGINE_DOCKER_ATTACH_H
#define ENGINE_DOCKER_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct docker_http_reply;

enum { DOCKER_ATTACH_HEAD_MAX = 16 * 1024 };

/* What counts of a reply's head. */
struct docker_head {
    long status;
    int64_t length; /* Content-Length, -1 without one */
    bool is_chunked;
};

/*
 * Reads the head at `data` (status line and header fields up to the blank line). Returns its
 * length, 0 when more bytes are needed, -1 when it is not HTTP/1.
 */
long docker_head_parse(const char *data, size_t n, struct docker_head *ret);

/*
 * Posts `path` ("/v1.41/containers/…/attach?…") over a connection of its own. When the engine
 * hands the connection over (101, or 200 from engines that do not answer the upgrade) `*ret_fd` is
 * the raw stream, its first byte is the first byte behind the head, and it is in non-blocking mode;
 * the caller owns it. Any other status: 0, `*ret_fd` is -1, `ret_reply` (initialised by the caller)
 * holds status and the first part of the body. -1: errors as docker_http_do.
 */
int docker_attach_open(const char *socket, const char *path, int64_t deadline_ms, int *ret_fd,
                       struct docker_http_reply *ret_reply, struct err *err) MUST_CHECK;

#endif
