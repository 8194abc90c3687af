#include "base/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/str.h"

void digest_sha256(unsigned char out[DIGEST_LEN], const void *data, size_t n)
{
    if (EVP_Digest(data, n, out, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

const char *digest_text(char out[DIGEST_TEXT], const void *data, size_t n)
{
    unsigned char raw[DIGEST_LEN];

    digest_sha256(raw, data, n);
    str_hex(out, raw, sizeof(raw));
    return out;
}
