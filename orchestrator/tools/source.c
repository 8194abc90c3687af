#include "tools/source.h"

#include <string.h>

#include "base/fetch.h"
#include "base/mem.h"
#include "base/yaml_bind.h"
#include "tools/found.h"
#include "tools/mcp.h"
#include "tools/openapi.h"

bool source_is(const struct module_config *about)
{
    return *about->openapi || *about->mcp;
}

static bool is_url(const char *s)
{
    return strstr(s, "://");
}

static char *with_query(const struct module_config *about, const char *url)
{
    auto_free char *query = tools_config_query(about);

    if (!*query)
        return xstrdup(url);
    return xasprintf("%s%c%s", url, strchr(url, '?') ? '&' : '?', query);
}

static void free_lines(char ***lines)
{
    for (size_t i = 0; *lines && (*lines)[i]; i++)
        free((*lines)[i]);
    free(*lines);
}

static int fetch_document(const struct module_config *about, const struct tool_way *way,
                          struct fetch_reply *reply, struct err *err)
{
    auto_free char *url = with_query(about, about->openapi);
    CLEANUP(free_lines) char **lines = tools_config_headers(about, NULL);
    struct fetch_request q = {.url = url, .method = "GET", .accept = "application/json"};

    q.headers = (const char *const *)lines;
    tool_way_fill(way, &q);
    fetch_reply_init(reply, way->reply_max);
    if (tool_fetch(&q, reply, err) < 0)
        return -1;
    if (reply->status != 200)
        return err_set(err, ERR_PEER, "status %d", reply->status);
    return reply->encoding[0] ? err_set(err, ERR_PEER, "the document is compressed") : 0;
}

static int discover_openapi(struct tool_module *m, const struct tools_files *files,
                            const struct tool_way *way, struct err *err)
{
    CLEANUP(fetch_reply_done) struct fetch_reply reply = {0};
    CLEANUP(buf_done) struct buf text = {.max = FOUND_DOC_MAX};
    const char *place = m->about->openapi;

    if (is_url(place)) {
        if (fetch_document(m->about, way, &reply, err) < 0)
            return -1;
        /* What is found is shown to programs: nothing that was sent comes back in it. */
        if (reply.body.data)
            secrets_hide(way->secrets, reply.body.data, reply.body.len);
        return openapi_read(m, place, buf_get(&reply.body), reply.body.len, err);
    }
    if (tools_files_read(files, place, &text, err) < 0)
        return -1;
    return openapi_read(m, "", buf_get(&text), text.len, err);
}

static int discover_mcp(struct tool_module *m, const struct tool_way *way, struct err *err)
{
    auto_free char *url = with_query(m->about, m->about->mcp);

    m->mcp = mcp_new(url, tools_config_headers(m->about, NULL));
    if (mcp_discover(m->mcp, way, m, err) == 0)
        return 0;
    mcp_end(m->mcp, way);
    return -1;
}

int source_discover(struct tools_config *config, const struct module_config *about,
                    const struct tools_files *files, const struct tool_way *way,
                    struct tool_module **ret, struct err *err)
{
    CLEANUP(tool_module_drop_p) struct tool_module *m = tool_module_new(config, about);
    struct tool_way own = *way;
    int rc;

    own.uses_proxy = about->uses_proxy;
    own.secrets = config->secrets;
    own.reply_max = FOUND_DOC_MAX;
    rc = *about->mcp ? discover_mcp(m, &own, err) : discover_openapi(m, files, &own, err);
    if (rc < 0) {
        if (err)
            secrets_hide(config->secrets, err->msg, strlen(err->msg));
        return -1;
    }
    *ret = TAKE(m);
    return 0;
}
