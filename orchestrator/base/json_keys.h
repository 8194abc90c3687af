#ifndef BASE_JSON_KEYS_H
#define BASE_JSON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which keys of which objects a JSON text has had, by hash alone. A hash is the polynomial over the
 * object's number and the key's bytes modulo 2^61-1, at a secret random point: two of n keys of
 * length k meet by chance with n*n*k/2^62, and nobody can choose keys that meet.
 */
struct json_keys {
    uint64_t point;
    uint64_t *table; /* open addressing; 0 is empty */
    size_t cap, len;
};

void json_keys_init(struct json_keys *k); /* storage of the caller */
void json_keys_done(struct json_keys *k);

/* The hash of a key: begin with the object's number, then add the bytes in any split. */
uint64_t json_keys_hash(const struct json_keys *k, uint64_t hash, const char *bytes, size_t n);

/* False when that hash was there already. */
bool json_keys_add(struct json_keys *k, uint64_t hash);

#endif
