#include "base/json_keys.h"

#include "base/mem.h"
#include "base/random.h"

enum { FIRST_CAP = 64 };

#define PRIME ((UINT64_C(1) << 61) - 1)

__extension__ typedef unsigned __int128 wide;

void json_keys_init(struct json_keys *k)
{
    *k = (struct json_keys){.point = random_u64() % (PRIME - 2) + 2};
}

void json_keys_done(struct json_keys *k)
{
    free(k->table);
    *k = (struct json_keys){0};
}

uint64_t json_keys_hash(const struct json_keys *k, uint64_t hash, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        wide v = (wide)hash * k->point + (unsigned char)bytes[i] + 1;
        uint64_t sum = (uint64_t)(v & PRIME) + (uint64_t)(v >> 61);

        hash = sum >= PRIME ? sum - PRIME : sum;
    }
    return hash;
}

static bool put(uint64_t *table, size_t cap, uint64_t hash)
{
    size_t i = (size_t)hash & (cap - 1);

    while (table[i]) {
        if (table[i] == hash)
            return false;
        i = (i + 1) & (cap - 1);
    }
    table[i] = hash;
    return true;
}

static void grow(struct json_keys *k)
{
    size_t cap = k->cap ? 2 * k->cap : FIRST_CAP;
    uint64_t *table = xcalloc(cap, sizeof(*table));

    for (size_t i = 0; i < k->cap; i++) {
        if (k->table[i])
            (void)put(table, cap, k->table[i]);
    }
    free(k->table);
    k->table = table;
    k->cap = cap;
}

bool json_keys_add(struct json_keys *k, uint64_t hash)
{
    if (2 * k->len >= k->cap)
        grow(k);
    k->len++;
    return put(k->table, k->cap, hash ? hash : PRIME);
}
