#include "policy/secrets.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"

const struct secret secrets_all[] = {
    {"COHERE_API_KEY=", SECRET_FRONT},
    {"CO_API_KEY=", SECRET_FRONT},
    {"EXECUTOR_API_TOKEN=", SECRET_FRONT},
    {"SLACK_SIGNING_SECRET=", SECRET_FRONT},
    {"SLACK_BOT_TOKEN=", SECRET_BOT},
    {"SLACK_APP_TOKEN=", SECRET_BOT},
    {0},
};

bool secrets_has(const char *name)
{
    for (const struct secret *s = secrets_all; s->entry; s++) {
        if (str_starts(s->entry, name) && strcmp(s->entry + strlen(name), "=") == 0)
            return true;
    }
    return false;
}
