/* What dialects say of requests that never reach a container. */
#include "dialects/native.h"

#include <sched.h>
#include <sys/mount.h>

#include "base/spool.h"
#include "dialects/aiq.h"
#include "dialects/app.h"
#include "http_rig.h"
#include "policy/policy.h"

static const struct http_api *const apis[] = {&native_api, &aiq_api, NULL};

static struct settings settings;
static char *no_paths[] = {NULL};
static struct app app = {.settings = &settings, .workspace_paths = no_paths};
static struct http_server *server;

static void open_service(const char *spool_dir, int keeper_fd)
{
    const struct core_options o = {.spool_dir = spool_dir, .keeper_fd = keeper_fd};
    struct http_limits l = rig_limits();
    struct policy_set set = {0};

    ck_assert_int_eq(core_new(&o, &app.core, NULL), 0);
    ck_assert_int_eq(policy_set_load("policies", &set, NULL), 0);
    core_set_policies(app.core, &set);
    server = rig_open(&l, apis, &app);
}

static void close_service(void)
{
    http_server_free(server);
    core_free(app.core);
}

/* A run with a text file of `n` bytes; the reply's head is in `ret`. */
static void post_file(size_t n, struct rig_reply *ret)
{
    auto_free char *text = xmalloc(n + 1);
    int fd = rig_dial(server);
    struct buf body, head;

    memset(text, 'x', n);
    text[n] = '\0';
    buf_init(&body, n + 200);
    (void)buf_fmt(&body, "{\"code\":\"1\",\"files\":[{\"path\":\"a\",\"text\":\"%s\"}]}", text);
    buf_init(&head, 200);
    (void)buf_fmt(&head, "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                  body.len);
    rig_send(fd, buf_get(&head), head.len);
    rig_send(fd, buf_get(&body), body.len);
    *ret = rig_read(fd, true);
    buf_done(&head);
    buf_done(&body);
    (void)close(fd);
}

/* Seen by this process alone; false when that is not possible. */
static bool mount_tiny_disk(const char *dir)
{
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, "size=64k") == 0)
        return true;
    printf("skipped: no right to mount a tmpfs\n");
    return false;
}

/* 0: the disk is full, which may pass; 1: there is no place at all. */
START_TEST(what_cannot_be_spooled_is_not_the_clients_fault)
{
    char dir[] = "/tmp/oneshot-dialects-XXXXXX";
    struct rig_reply r;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    if (_i == 0 && !mount_tiny_disk(dir)) {
        (void)rmdir(dir);
        return;
    }
    open_service(_i ? "/nonexistent" : dir, -1);
    post_file(SPOOL_MEMORY + 1, &r);
    ck_assert_msg(r.status == (_i ? 500 : 503), "%d: %s", r.status, buf_get(&r.body));
    ck_assert_str_eq(rig_header(&r, "Retry-After"), _i ? "" : "1");
    ck_assert_str_eq(rig_header(&r, "Content-Type"), "application/problem+json");
    rig_done(&r);
    close_service();
    if (_i == 0)
        (void)umount(dir);
    (void)rmdir(dir);
}
END_TEST

/* The directory came with a reload: run without it, what the program writes would be lost silently. */
START_TEST(a_workspace_that_nobody_serves_is_no_empty_one)
{
    static const char ask[] =
        "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 34\r\n\r\n{\"generated_code\":\"1\",\"timeout\":5}";
    struct rig_reply r;
    int fd;

    open_service("/tmp", -1);
    fd = rig_dial(server);
    r = rig_ask(fd, ask);
    ck_assert_int_eq(r.status, 503);
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "workspace"));
    rig_done(&r);
    (void)close(fd);
    close_service();
}
END_TEST

/* The end of a stop: nothing was run, so it may be asked for again, at another service if need be. */
START_TEST(what_is_cancelled_in_line_is_unavailable)
{
    static const char ask[] = "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n"
                              "Content-Length: 12\r\n\r\n{\"code\":\"1\"}";
    struct rig_reply r;
    int fd, pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    open_service("/tmp", pair[1]);
    fd = rig_dial(server);
    rig_say(fd, ask);
    ck_assert_int_eq(io_wait(pair[0], POLLIN, clock_ms() + RIG_WAIT_MS), 1); /* TAKE */
    http_server_quiesce(server);
    http_server_hang_up(server);
    r = rig_read(fd, true);
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(rig_header(&r, "Retry-After"), "1");
    ck_assert_ptr_nonnull(strstr(buf_get(&r.body), "cancelled"));
    rig_done(&r);
    (void)close(fd);
    close_service();
    (void)close(pair[0]);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_cannot_be_spooled_is_not_the_clients_fault, 0, 2);
    tcase_add_test(t, what_is_cancelled_in_line_is_unavailable);
    tcase_add_test(t, a_workspace_that_nobody_serves_is_no_empty_one);
}

UNIT_MAIN("dialects", add_tests)
