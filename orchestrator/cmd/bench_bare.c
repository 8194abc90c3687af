#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/random.h"
#include "cmd/bench.h"
#include "engine/engine.h"
#include "frames/mux.h"
#include "frames/stream.h"
#include "keeper/spec.h"
#include "policy/policy.h"
#include "policy/settings.h"

enum {
    BARE_THREADS = 64,
    BARE_WAIT_MS = 60000,
    BARE_GUESS_MIB = 256,
    JOB_BYTES_MAX = 1024 * 1024,
    READER_CAP = 2 * (FRAME_HEAD + FRAME_MAX),
};

struct bare {
    const struct bench_plan *plan;
    const struct policy *policy;
    struct engine *engine;
    struct engine_image image;
    char instance[48];
    int64_t until_us;
    atomic_size_t begun;
};

struct bare_thread {
    struct bare *bare;
    pthread_t thread;
    struct bench_result result;
};

static void put(struct buf *b, uint8_t type, const void *data, size_t n)
{
    uint8_t head[FRAME_HEAD];

    frame_put_head(head, type, 0, 0, (uint32_t)n);
    (void)buf_add(b, head, sizeof(head));
    (void)buf_add(b, data, n);
}

static int send_job(const struct bare *bare, int fd, struct err *err)
{
    static const char meta[] =
        "{\"filename\":\"main.py\",\"argv\":[],\"env\":{},\"value\":\"none\"}";
    const struct policy *p = bare->policy;
    struct job job = {.flags = p->gather ? JOB_GATHER : 0,
                      .timeout_ms = (uint32_t)p->time_max_ms,
                      .grace_ms = (uint32_t)p->time_grace_ms,
                      .output_soft = (uint64_t)p->output_soft,
                      .output_hard = (uint64_t)p->output_hard,
                      .file_max = (uint64_t)p->files_out_size,
                      .files_max = (uint64_t)p->files_out_total,
                      .files_count = (uint32_t)p->files_out};
    CLEANUP(buf_done) struct buf b = {0};
    uint8_t bytes[JOB_LEN];

    buf_init(&b, JOB_BYTES_MAX);
    job_encode(bytes, &job);
    put(&b, FRAME_JOB, bytes, sizeof(bytes));
    put(&b, FRAME_META, meta, sizeof(meta) - 1);
    put(&b, FRAME_CODE, bare->plan->code, strlen(bare->plan->code));
    put(&b, FRAME_GO, NULL, 0);
    return io_write_all(fd, buf_get(&b), b.len, clock_ms() + BARE_WAIT_MS, err);
}

/* Reads until a frame of `type` came. */
static int read_until(int fd, uint8_t type, struct frame_reader *r, struct mux *m, struct err *err)
{
    for (;;) {
        struct frame f;
        size_t room;
        uint8_t *space;
        ssize_t n;
        long payload;

        while (frame_next(r, &f) > 0) {
            if (f.type == type)
                return 0;
        }
        space = frame_space(r, &room);
        n = io_read_some(fd, space, room, clock_ms() + BARE_WAIT_MS, err);
        if (n < 0)
            return -1;
        payload = n ? mux_strip(m, space, (size_t)n) : -1;
        if (payload < 0)
            return err_set(err, ERR_PEER, "the container's stream ended");
        frame_fill(r, (size_t)payload);
    }
}

static int one_job(const struct bare *bare, int fd, struct err *err)
{
    auto_free uint8_t *storage = xmalloc(READER_CAP);
    struct frame_reader r;
    struct mux m = {0};

    frame_reader_init(&r, storage, READER_CAP);
    if (read_until(fd, FRAME_READY, &r, &m, err) < 0 || send_job(bare, fd, err) < 0)
        return -1;
    return read_until(fd, FRAME_RESULT, &r, &m, err);
}

static int one_run(struct bare *bare, size_t number, struct err *err)
{
    char name[96], id[ENGINE_ID_MAX];
    struct spec *spec;
    int fd, rc;

    (void)snprintf(name, sizeof(name), "oneshot-%s-%zu", bare->instance, number);
    spec = spec_new(bare->policy,
                    &(struct spec_names){
                        .instance = bare->instance,
                        .epoch = "bench",
                        .name = name,
                        .image = bare->image.digest,
                        .limit = bare->policy->memory + (int64_t)BARE_GUESS_MIB * 1024 * 1024,
                    });
    rc = docker_ops.park(bare->engine, spec_get(spec), id, &fd, err);
    spec_free(spec);
    if (rc < 0)
        return -1;
    rc = one_job(bare, fd, err);
    (void)close(fd);
    if (docker_ops.destroy(bare->engine, id, rc < 0 ? NULL : err) < 0)
        return -1;
    return rc;
}

static bool may_begin(struct bare *bare, size_t *ret_number)
{
    *ret_number = atomic_fetch_add(&bare->begun, 1);
    if (bare->plan->count)
        return *ret_number < bare->plan->count;
    return clock_us() < bare->until_us;
}

static void *loop(void *arg)
{
    struct bare_thread *t = arg;
    size_t number;

    while (may_begin(t->bare, &number)) {
        int64_t began = clock_us();

        if (one_run(t->bare, number, NULL) == 0)
            bench_add(&t->result, clock_us() - began);
        else
            t->result.errors++;
    }
    return NULL;
}

static void run_threads(struct bare *bare, struct bench_result *ret)
{
    unsigned n = bare->plan->parallel < BARE_THREADS ? bare->plan->parallel : BARE_THREADS;
    struct bare_thread threads[BARE_THREADS] = {0};
    int64_t began = clock_us();
    unsigned started = 0;

    bare->until_us = began + (int64_t)(bare->plan->seconds * 1e6);
    for (; started < n; started++) {
        threads[started].bare = bare;
        if (pthread_create(&threads[started].thread, NULL, loop, &threads[started]) != 0)
            break;
    }
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i].thread, NULL);
        bench_merge(ret, &threads[i].result);
    }
    ret->wall_us = clock_us() - began;
}

int bench_bare(const struct bench_plan *plan, struct bench_result *ret, struct err *err)
{
    struct bare bare = {.plan = plan};
    struct settings settings = {0};
    struct policy_set set = {0};
    int rc = -1;

    (void)snprintf(bare.instance, sizeof(bare.instance), "bench-%08llx",
                   (unsigned long long)(random_u64() >> 32));
    if (settings_load(plan->config, &settings, err) < 0)
        return -1;
    if (policy_set_load(settings.policies_dir, &set, err) == 0) {
        bare.policy = policy_find(&set, plan->policy);
        if (!bare.policy)
            (void)err_set(err, ERR_NOTFOUND, "there is no policy '%s'", plan->policy);
        else if (docker_open(settings.engine_host, &bare.engine, err) == 0 &&
                 docker_ops.image(bare.engine, bare.policy->image, &bare.image, err) == 0)
            rc = 0;
    }
    if (rc == 0)
        run_threads(&bare, ret);
    docker_ops.close(bare.engine);
    policy_set_done(&set);
    settings_done(&settings);
    return rc;
}
