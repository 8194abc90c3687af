#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "http_rig.h"

extern char **environ;

/* tests/fuzz/http_smoke.py against a server here; HTTP_SMOKE=100000 makes it the long run. */

static void hello(struct http_exchange *x, void *app)
{
    (void)app;
    rig_reply(x, 200, "hello");
}

static void raw(struct http_exchange *x, void *app)
{
    char text[32];
    size_t n;

    (void)app;
    (void)http_body(x, &n);
    (void)snprintf(text, sizeof(text), "%zu", n);
    rig_reply(x, 200, text);
}

static void json(struct http_exchange *x, void *app)
{
    (void)app;
    ck_assert_ptr_nonnull(http_json(x));
    rig_reply(x, 200, "json");
}

static const struct http_blob_field blobs[] = {{"files[].b64_data"}, {NULL}};

static const struct http_route routes[] = {
    {.method = "GET", .path = "/hello", .handle = hello},
    {.method = "GET", .path = "/canary", .handle = hello},
    {.method = "GET", .path = "/items/*", .handle = hello},
    {.method = "POST", .path = "/raw", .handle = raw, .body = HTTP_BODY_RAW},
    {.method = "POST", .path = "/json", .handle = json, .body = HTTP_BODY_JSON},
    {.method = "POST", .path = "/files", .handle = json, .body = HTTP_BODY_JSON, .blobs = blobs},
    {0},
};

static const struct http_api api = {.name = "test", .routes = routes, .fail = rig_fail};
static const struct http_api *const apis[] = {&api, NULL};

/*
 * A loopback of its own: on the machine's, every closed connection would stay in the packet
 * filter's table for two minutes, and 200,000 of them fill it for everybody.
 */
static bool has_own_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;
    bool is_up;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    close(fd);
    return is_up;
}

START_TEST(malformed_requests_are_read_as_strictly_as_a_proxy_may)
{
    static const char *const origins[] = {"https://console.example", NULL};
    struct http_limits l = rig_limits();
    char port[32], pid[32], count[32], seed[32];
    char program[] = "python3", script[] = "tests/fuzz/http_smoke.py", seconds[] = "--seconds=60";
    char *const argv[] = {program, script, port, pid, count, seed, seconds, NULL};
    const char *wanted = getenv("HTTP_SMOKE"), *from = getenv("HTTP_SMOKE_SEED");
    struct http_server *s;
    int status;
    pid_t child;

    if (!has_own_network()) {
        printf("skipped: no network namespace to be had\n");
        return;
    }
    l.origins = origins;
    s = rig_open(&l, apis, NULL);
    (void)snprintf(port, sizeof(port), "--port=%u", (unsigned)http_listener_port(s, 0));
    (void)snprintf(pid, sizeof(pid), "--pid=%d", unit_measures() ? (int)getpid() : 0);
    (void)snprintf(count, sizeof(count), "--count=%s", wanted ? wanted : "10000");
    (void)snprintf(seed, sizeof(seed), "--seed=%s", from ? from : "1");
    if (posix_spawnp(&child, program, NULL, NULL, argv, environ) != 0) {
        printf("skipped: no python3\n");
    } else {
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    RIG_UNTIL(http_server_connections(s) == 0);
    ck_assert_uint_eq(http_server_busy(s), 0);
    http_server_free(s);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_test(t, malformed_requests_are_read_as_strictly_as_a_proxy_may);
}

UNIT_MAIN("http_smoke", add_tests)
