/*
 * What the front reads from the stream of a hostile container: the engine's heads, frames, and what
 * run_frames.c makes of them. The first byte chooses what was asked for.
 *
 * Oracles beyond the sanitizers: no total of the policy is passed, whatever is given back has an
 * acceptable path, a run that did not end by a RESULT is no success, and any split of the same
 * bytes gives the same result.
 */
#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/path.h"
#include "core/core.h"
#include "core/run_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FILES = 4, SOFT = 1 << 16, TOTAL = 1 << 17 };

static char name[] = "fuzz", tool[] = "data";
static char *tools[] = {tool, NULL};
static struct policy policy = {
    .name = name,
    .time_default_ms = 1000,
    .time_max_ms = 1000,
    .memory = 64 << 20,
    .pids = 64,
    .output_soft = SOFT,
    .output_hard = 4 << 20,
    .files_out = FILES,
    .files_out_size = TOTAL,
    .files_out_total = TOTAL,
    .inodes = 64,
    .gather = true,
    .gather_tmp = true,
    .tools = tools, /* that nobody offers: no thread, so any split ends the same */
    .calls_budget = 3,
    .calls_concurrency = 2,
    .calls_request = 4096,
    .calls_reply = 4096,
    .calls_total = 8192,
    .calls_time_ms = 1000,
};
static struct run_request request = {
    .dialect = "fuzz",
    .policy = &policy,
    .code = "",
    .filename = "",
    .value = RUN_VALUE_LAST_EXPRESSION,
    .stdin_fd = -1,
    .client_fd = -1,
    .deadline_ms = INT64_MAX,
};
static struct core *core;
static bool is_torn; /* the engine's heads broke: what came in the same read before is lost, too */

/* Replies to calls are taken, so that nothing waits. */
static void drain(int fd)
{
    char sink[4096];

    while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        continue;
}

static void check_event(const struct run_event *ev)
{
    if (ev->kind == RUN_FILE)
        assert(path_check(ev->file->path, strlen(ev->file->path), NULL) == 0);
    if (ev->kind == RUN_STDOUT || ev->kind == RUN_STDERR)
        assert(ev->len);
}

/* As run.c does with what it has read. False when the run is over. */
static bool take(struct run *run, uint8_t *space, size_t n)
{
    long payload = mux_strip(&run->mux, space, n);
    struct frame f;
    int got;

    if (payload < 0) {
        run->phase = PHASE_DONE;
        is_torn = true;
        return false;
    }
    frame_fill(&run->reader, (size_t)payload);
    while (run->phase != PHASE_DONE && (got = frame_next(&run->reader, &f))) {
        struct run_event ev = {.kind = RUN_QUEUED};
        int rc = got < 0 ? -1 : run_frame(run, &f, &ev);

        if (rc < 0)
            run->phase = PHASE_DONE;
        if (rc > 0)
            check_event(&ev);
    }
    return run->phase != PHASE_DONE;
}

static void check(const struct run_result *r)
{
    uint64_t total = 0;

    assert(r->out.size <= SOFT && r->err_out.size <= SOFT);
    assert(r->value.len <= RUN_VALUE_MAX && r->fault.len <= RUN_FAULT_MAX);
    assert(r->files_n <= FILES && r->omitted_n <= RUN_OMITTED_MAX && r->log_n <= RUN_LOG_MAX);
    for (size_t i = 0; i < r->files_n; i++)
        total += r->files[i].data.size;
    assert(total <= TOTAL);
    assert(memchr(r->reason, '\0', sizeof(r->reason)));
    assert((unsigned)r->outcome < OUTCOMES);
}

static struct run *play(const uint8_t *data, size_t n, size_t step)
{
    struct run *run = run_new(core, &request);
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    run->lease.fd = pair[0];
    run->storage = xmalloc(RUN_READ);
    frame_reader_init(&run->reader, run->storage, RUN_READ);
    run->phase = PHASE_SENT;
    run->result.was_sent = true;
    run->go_us = 1;
    for (size_t at = 0; at < n;) {
        size_t room, take_n = n - at < step ? n - at : step;
        uint8_t *space = frame_space(&run->reader, &room);

        assert(room > 0);
        take_n = take_n < room ? take_n : room;
        memcpy(space, data + at, take_n);
        at += take_n;
        if (!take(run, space, take_n))
            break;
        drain(pair[1]);
    }
    run_incoming_drop(run);
    check(&run->result);
    (void)close(pair[1]);
    return run;
}

static void same(const struct run_result *a, const struct run_result *b)
{
    assert(a->outcome == b->outcome && strcmp(a->reason, b->reason) == 0);
    assert(a->out.size == b->out.size && a->err_out.size == b->err_out.size);
    assert(a->files_n == b->files_n && a->omitted_n == b->omitted_n && a->log_n == b->log_n);
    assert(strcmp(buf_get(&a->value), buf_get(&b->value)) == 0);
    assert(memcmp(&a->calls, &b->calls, sizeof(a->calls)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct core_options o = {.spool_dir = "/tmp", .keeper_fd = -1};
    struct run *whole, *split;

    if (!core && core_new(&o, &core, NULL) < 0)
        abort();
    if (n == 0)
        return 0;
    request.wants_log = data[0] & 1;
    is_torn = false;
    whole = play(data + 1, n - 1, n);
    split = play(data + 1, n - 1, 1 + data[0] % 13);
    if (!is_torn)
        same(&whole->result, &split->result);
    run_free(whole);
    run_free(split);
    return 0;
}
