#ifndef CORE_CALL_WIRE_H
#define CORE_CALL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/host.h"

/* Host calls as they stand in frames: CALL is read here, REPLY written. Both are JSON. */

enum { CALL_NAME_MAX = 256, CALL_TOKENS = 200000 };

/* {"kind":"tool","name":"data.get_devices","args":{…}}; other members are ignored. */
struct call_text {
    char kind[HOST_KIND_MAX];
    char name[CALL_NAME_MAX];
    const char *args; /* within the text that was read; "{}" where there are none */
    size_t args_len;
};

/* ERR_INVALID or ERR_LIMIT: what is wrong with it, in words for the program's author. */
int call_text_read(struct call_text *ret, const char *text, size_t n, struct err *err) MUST_CHECK;

/*
 * Appends the answer as REPLY frames with their heads. A result that is no JSON, or too large for
 * `reply_max` or `b`, becomes an error of `answer`.
 */
void call_reply_put(struct buf *b, uint16_t id, struct host_answer *answer, size_t reply_max);

#endif
