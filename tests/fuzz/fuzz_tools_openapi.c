/* An OpenAPI document of a stranger: it ends in time, and what it becomes can be told to programs. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "found_module.h"
#include "tools/openapi.h"
#include "tools/pyname.h"
#include "tools/urls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct tool_module *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct tool_function *f = &m->functions[i];

        assert(pyname_is_function(f->name));
        /* Calls, and the credentials with them, go nowhere else. */
        assert(url_is_same_origin(f->url, "http://192.0.2.1/"));
        for (size_t k = 0; k < f->params_n; k++)
            assert(pyname_is_valid(f->params[k].name));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct found f = found_begin();
    auto_free char *copy = xstrndup((const char *)data, size);
    struct err e = {0};

    log_init("fuzz", LOG_ERROR, LOG_TEXT, -1);
    if (openapi_read(f.module, "http://192.0.2.1/a/openapi.json", copy, strlen(copy), &e) == 0) {
        check(f.module);
        found_check(&f);
    } else {
        assert(e.kind != ERR_NONE);
    }
    found_end(&f);
    return 0;
}
