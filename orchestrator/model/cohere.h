#ifndef MODEL_COHERE_H
#define MODEL_COHERE_H

#include <stdint.h>

#include "base/err.h"
#include "model/model.h"

/* Cohere's chat API (docs.cohere.com/reference/chat), asked for streams. */

#define COHERE_URL   "https://api.cohere.com"
#define COHERE_MODEL "command-a-reasoning-08-2025"

enum cohere_api { COHERE_V1, COHERE_V2 };

struct cohere_options {
    const char *url; /* "" or NULL: COHERE_URL */
    const char *key; /* "": every call fails with ERR_DENIED and status 0 */
    const char *name;
    enum cohere_api api;
    const char *ca_pem; /* certificates to trust instead of the system's; NULL: those */
    double temperature;
    int64_t max_tokens;      /* 0: the model's own */
    int64_t timeout_ms;      /* of one try */
    int64_t retries;         /* further tries after 408, 429, 5xx and lost connections */
    int64_t rate_per_minute; /* 0: no limit; -1: what the model is known to have */
    int64_t backoff_ms;      /* of the first retry, doubled for each; 0: 1 s */
};

/* Strings are copied. ERR_INVALID: URL, key or name cannot stand in a request. */
int cohere_new(const struct cohere_options *o, struct model **ret, struct err *err) MUST_CHECK;

/* Calls a minute that such a model allows there, 0: no limit that matters. */
unsigned cohere_known_rate(const char *url, const char *name);

/* What to take instead of a model that Cohere has deprecated; NULL where it has not. */
const char *cohere_replacement(const char *name);

#endif
