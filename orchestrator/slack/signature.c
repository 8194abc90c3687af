#include "slack/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

enum { STAMP_MAX = 20, MAC_LEN = 32 };

void signature_make(char out[SIGNATURE_TEXT], const char *secret, const char *stamp,
                    const char *body, size_t n)
{
    unsigned char mac[MAC_LEN];
    unsigned len = sizeof(mac);
    CLEANUP(buf_done) struct buf base = {0};

    buf_init(&base, n + STAMP_MAX + 8);
    (void)buf_fmt(&base, "v0:%s:", stamp);
    (void)buf_add(&base, body, n);
    if (!HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)buf_get(&base),
              base.len, mac, &len))
        abort();
    (void)str_copy(out, "v0=", SIGNATURE_TEXT);
    str_hex(out + 3, mac, sizeof(mac));
}

bool signature_is_good(const struct signed_request *r, const char *secret, int64_t now_s)
{
    char wanted[SIGNATURE_TEXT];
    int64_t stamp_s;

    /* An empty secret would make everybody's signature good. */
    if (!r->stamp || !r->signature || !secret[0] || strlen(r->stamp) > STAMP_MAX)
        return false;
    if (!str_to_i64(r->stamp, now_s - SIGNATURE_WINDOW_S, now_s + SIGNATURE_WINDOW_S, &stamp_s))
        return false;
    signature_make(wanted, secret, r->stamp, r->body, r->n);
    return str_eq_secret(wanted, strlen(wanted), r->signature, strlen(r->signature));
}
