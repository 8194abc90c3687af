/*
 * status: what the service says about itself, at a listener that runs no program. A service without
 * an engine has it where native would be.
 */
#include "dialects/status.h"

#include "dialects/native_reply.h"
#include "dialects/native_state.h"

static void fail(struct http_exchange *x, enum http_fault fault, int status, const char *text)
{
    (void)fault;
    native_problem(x, status, "%s", text);
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/metrics", .handle = native_metrics},
    {.method = "GET", .path = "/health", .handle = native_health},
    {0},
};

const struct http_api status_api = {
    .name = "status",
    .routes = routes,
    .fail = fail,
};
