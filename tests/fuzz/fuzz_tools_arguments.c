/*
 * Arguments of a program against a function that has every kind of check, and the request that
 * comes of them: what is sent is JSON, and no argument gets out of its place in the URL or head.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json_scan.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "tools/arguments.h"
#include "tools/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] =
    "modules:\n"
    "  - name: data\n"
    "    url: http://192.0.2.1\n"
    "    functions:\n"
    "      - name: find\n"
    "        path: /find/{id}\n"
    "        parameters:\n"
    "          - {name: id, type: string, required: true, max_length: 50}\n"
    "          - {name: limit, type: integer, default: 100, min: 1, max: 1000}\n"
    "          - {name: kind, type: string, enum: [a, b]}\n"
    "          - {name: code, type: string, pattern: '^([A-Z]\\d{3})+$$'}\n"
    "          - {name: ids, type: array, schema: {items: {type: integer}}, max_length: 3}\n"
    "          - {name: more, schema: {anyOf: [{type: object, required: [a]}, {type: 'null'}]}}\n";

static struct tool_module *module(void)
{
    static struct tool_module *m;
    char dir[] = "/tmp/oneshot-fuzz-XXXXXX";
    char path[64];
    struct tools_files files;
    struct yaml y;
    struct tools_config *c;
    FILE *f;

    if (m)
        return m;
    if (!mkdtemp(dir))
        abort();
    (void)snprintf(path, sizeof(path), "%s/tools.yaml", dir);
    f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
    if (tools_files_open(&(struct tools_files_options){path, dir, "", ""}, &files, NULL) < 0)
        abort();
    yaml_init(&y);
    c = tools_config_read(&y, &files);
    assert(c);
    m = tools_config_module(c, &c->modules[0]);
    assert(tool_module_seal(m, NULL));
    tools_config_drop(c);
    yaml_done(&y);
    tools_files_done(&files);
    (void)unlink(path);
    (void)rmdir(dir);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *copy = xstrndup((const char *)data, size);
    CLEANUP(buf_done) struct buf body = {.max = SIZE_MAX / 2};
    struct arguments a;
    struct err e = {0};

    if (arguments_read(&module()->functions[0], copy, strlen(copy), &a, &e) == 0) {
        arguments_put_object(&a, true, &body);
        assert(json_scan_text(buf_get(&body), body.len, JSON_SCAN_TOKENS, &e) == 0);
        assert(strncmp(buf_get(&body), "{\"id\":\"", 7) == 0);
    } else {
        assert(e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
    }
    arguments_done(&a);
    return 0;
}
