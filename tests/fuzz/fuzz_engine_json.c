/*
 * Every decoder of the engine's replies on the same bytes. Beyond "no crash": what a decoder
 * accepts is within its documented range, and a refusal fills the error.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "base/utf8.h"
#include "engine/docker_body.h"
#include "engine/docker_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_event(void *ctx, const struct engine_event *ev)
{
    (void)ctx;
    assert(*ev->action && *ev->id && ev->name && ev->instance);
    assert(ev->time_ns > 0 || ev->time_ns == ENGINE_TIME_UNKNOWN);
    return true;
}

static void check_text(const char *text)
{
    size_t n = strlen(text);

    assert(n < DOCKER_TEXT_MAX && utf8_valid_prefix(text, n) == n);
    for (size_t i = 0; i < n; i++)
        assert((unsigned char)text[i] >= 0x20 && text[i] != 0x7F);
}

static void check_rc(int rc, struct err *err)
{
    assert(rc == 0 || ((err->kind == ERR_PEER || err->kind == ERR_DENIED) && err->msg[0]));
    *err = (struct err){0};
}

static void check_containers(const char *s, size_t n)
{
    struct engine_container *list = NULL;
    struct engine_state state = {.exit_code = -7};
    struct engine_image image;
    struct err err = {0};
    size_t count = 0;
    int rc = docker_json_list(s, n, &list, &count, &err);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        assert(docker_name_is_valid(list[i].id));
        assert(list[i].created_s >= ENGINE_TIME_UNKNOWN);
    }
    check_rc(rc, &err);
    free(list);
    rc = docker_json_state(s, n, &state, &err);
    assert(rc < 0 || (state.exit_code >= ENGINE_EXIT_UNKNOWN && state.exit_code <= 255));
    check_rc(rc, &err);
    rc = docker_json_image(s, n, &image, &err);
    assert(rc < 0 || (strlen(image.digest) == 71 && docker_image_is_valid(image.digest)));
    check_rc(rc, &err);
}

static void check_replies(const char *s, size_t n)
{
    struct docker_warnings w = {0};
    char id[ENGINE_ID_MAX];
    struct err err = {0};
    uint64_t bytes = 0;
    int number = -7, rc = docker_json_created(s, n, id, &w, &err);

    if (rc == 0) {
        assert(docker_name_is_valid(id));
        check_text(w.denied);
    }
    check_rc(rc, &err);
    check_rc(docker_json_updated(s, n, &w, &err), &err);
    rc = docker_json_exit(s, n, &number, &err);
    assert(rc < 0 ? number == -7 : number >= 0 && number <= 255);
    check_rc(rc, &err);
    rc = docker_json_usage(s, n, &bytes, &err);
    assert(bytes <= UINT64_C(1) << 53);
    check_rc(rc, &err);
    number = -7;
    rc = docker_json_cgroup(s, n, &number, &err);
    assert(rc < 0 ? number == -7 : number >= 0 && number <= 2);
    check_rc(rc, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *s = (const char *)data;
    char text[DOCKER_TEXT_MAX];
    struct err err = {0};
    bool go_on = false;
    int rc;

    if (size > 64 * 1024)
        return 0;
    check_containers(s, size);
    check_replies(s, size);
    rc = docker_json_event(s, size, on_event, NULL, &go_on, &err);
    assert(rc != 1 || go_on);
    assert(rc >= 0 || err.kind == ERR_PEER);
    docker_json_text(s, size, text);
    check_text(text);
    return 0;
}
