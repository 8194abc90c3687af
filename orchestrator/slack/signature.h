#ifndef SLACK_SIGNATURE_H
#define SLACK_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIGNATURE_WINDOW_S = 300, SIGNATURE_TEXT = 3 + 64 + 1 };

/* What Slack signs: "v0:STAMP:BODY" with HMAC-SHA-256. "v0=" and lower-case hex into `out`. */
void signature_make(char out[SIGNATURE_TEXT], const char *secret, const char *stamp,
                    const char *body, size_t n);

/* A signed request as it came; NULL where a header is missing. */
struct signed_request {
    const char *stamp, *signature; /* X-Slack-Request-Timestamp, X-Slack-Signature */
    const char *body;
    size_t n;
};

/*
 * Whether Slack sent it within the last five minutes of `now_s` (Unix time), or a clock runs so
 * much ahead. The time that it takes does not tell where a signature is wrong.
 */
bool signature_is_good(const struct signed_request *r, const char *secret, int64_t now_s);

#endif
