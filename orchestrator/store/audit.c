#include "base/log.h"
#include "store/writer.h"

void audit_log(enum store_code code_log, const struct run_record *r)
{
    struct log_field fields[] = {
        {.key = "run",         .text = r->id                         },
        {.key = "dialect",     .text = r->dialect                    },
        {.key = "policy",      .text = r->policy                     },
        {.key = "client",      .text = r->client                     },
        {.key = "traceparent", .text = r->traceparent                },
        {.key = "outcome",     .text = outcome_name(r->outcome)      },
        {.key = "wall_ms",     .number = (int64_t)(r->wall_us / 1000)},
        {.key = "sha256",      .text = r->code_sha256                },
        {.key = "code",        .text = r->code ? r->code : ""        }, /* last: left out unless FULL */
    };

    if (code_log == STORE_CODE_OFF)
        return;
    log_record(LOG_INFO, "run", fields,
               (unsigned)ARRAY_LEN(fields) - (code_log == STORE_CODE_FULL ? 0 : 1));
}
