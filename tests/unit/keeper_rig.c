#include "keeper_rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "frames/mux.h"
#include "frames/stream.h"

enum { PATIENCE_MS = RIG_PATIENCE_S * 1000 };

struct fake *fake;
char rig_dir[64];
struct settings rig_settings;
struct keeper_options rig_options;
int rig_front = -1;
pid_t rig_keeper_pid;

static int control = -1, probes[2] = {-1, -1}, streams[2] = {-1, -1};
static int ours[BOXES_MAX];  /* in the test: the containers' ends */
static int peers[BOXES_MAX]; /* in the keeper's process: the same, to look at */

/* ---- the clock of this program ---- */

int64_t clock_ms(void)
{
    return __atomic_load_n(&fake->now_ms, __ATOMIC_SEQ_CST);
}

int64_t clock_us(void)
{
    return clock_ms() * 1000;
}

int64_t clock_wall_ms(void)
{
    return (int64_t)time(NULL) * 1000;
}

int clock_left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_ms();

    if (deadline_ms == INT64_MAX)
        return -1;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

const char *clock_text(char *out, int64_t wall_ms)
{
    (void)snprintf(out, CLOCK_TEXT_MAX, "%lld", (long long)wall_ms);
    return out;
}

/* ---- shared memory ---- */

/* The lock, and whether its last owner died with it: what it guards is whole at any time. */
static void lock_fake(void)
{
    if (pthread_mutex_lock(&fake->lock) == EOWNERDEAD)
        (void)pthread_mutex_consistent(&fake->lock);
}

static void unlock_fake(void)
{
    (void)__atomic_add_fetch(&fake->changes, 1, __ATOMIC_SEQ_CST);
    (void)pthread_mutex_unlock(&fake->lock);
    (void)syscall(SYS_futex, &fake->changes, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Lets the lock go until somebody unlocks it, or for `ms`. */
static void await_change(int ms)
{
    uint32_t seen = __atomic_load_n(&fake->changes, __ATOMIC_SEQ_CST);
    struct timespec most = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    (void)pthread_mutex_unlock(&fake->lock);
    (void)syscall(SYS_futex, &fake->changes, FUTEX_WAIT, seen, &most, NULL, 0);
    lock_fake();
}

void rig_lock(void)
{
    lock_fake();
}

void rig_unlock(void)
{
    unlock_fake();
}

/* Waits for a change, and gives up when there is none for too long. */
void rig_wait_change(const char *what, int line)
{
    time_t until = time(NULL) + RIG_PATIENCE_S;

    await_change(RIG_PATIENCE_S * 1000);
    if (time(NULL) < until)
        return;
    unlock_fake();
    ck_abort_msg("line %d: in vain: %s", line, what);
}

static void init_lock(void)
{
    pthread_mutexattr_t m;

    (void)pthread_mutexattr_init(&m);
    (void)pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&m, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&fake->lock, &m);
}

static void share(void)
{
    fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(fake, MAP_FAILED);
    fake->now_ms = 1000000;
    fake->usage = 100 << 20;
    (void)str_copy(fake->digest,
                   "sha256:"
                   "1111111111111111111111111111111111111111111111111111111111111111",
                   sizeof(fake->digest));
    init_lock();
}

/* ---- the engine, in threads of the keeper's process ---- */

/* Notes the call, waits while its verb is held, tells whether it fails. Leaves the lock taken. */
static int enter(enum verb verb, bool may_fail, struct err *err)
{
    struct verb_state *v = &fake->verbs[verb];

    lock_fake();
    v->calls++;
    v->inside++;
    unlock_fake(); /* who waits for this looks now */
    lock_fake();
    while (v->is_held)
        await_change(RIG_PATIENCE_S * 1000);
    v->inside--;
    if (v->fails <= 0 || !may_fail)
        return 0;
    v->fails--;
    return err_set(err, v->kind ? v->kind : ERR_PEER, "told to fail");
}

static int leave(int rc)
{
    unlock_fake();
    return rc;
}

static struct box *find_box(const char *id)
{
    for (unsigned i = 0; i < fake->boxes_n; i++) {
        if (strcmp(fake->boxes[i].id, id) == 0 && !fake->boxes[i].is_gone)
            return &fake->boxes[i];
    }
    return NULL;
}

static int fake_ping(struct engine *e, struct err *err)
{
    (void)e;
    return leave(enter(VERB_PING, true, err));
}

static int fake_image(struct engine *e, const char *reference, struct engine_image *ret,
                      struct err *err)
{
    int rc = enter(VERB_IMAGE, true, err);

    (void)e;
    if (rc == 0 && strcmp(reference, fake->missing) == 0)
        rc = err_set(err, ERR_NOTFOUND, "no such image");
    if (rc == 0)
        (void)str_copy(ret->digest, fake->digest, sizeof(ret->digest));
    return leave(rc);
}

static const char *label(const struct engine_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->labels_n; i++) {
        if (strcmp(spec->labels[i].name, name) == 0)
            return spec->labels[i].value;
    }
    return "";
}

static void put_ready(int fd)
{
    uint8_t bytes[MUX_HEAD + READY_LEN] = {1, 0, 0, 0, 0, 0, 0, READY_LEN};

    ready_bytes(bytes + MUX_HEAD);
    (void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static int fake_park(struct engine *e, const struct engine_spec *spec, char ret_id[ENGINE_ID_MAX],
                     int *ret_fd, struct err *err)
{
    const char *policy = label(spec, LABEL_POLICY);
    bool may_fail = !fake->failing_policy[0] || strcmp(policy, fake->failing_policy) == 0;
    int rc = enter(VERB_PARK, may_fail, err), pair[2];
    unsigned i = fake->boxes_n;
    struct box *b = &fake->boxes[i];

    (void)e;
    if (rc == 0 && i == BOXES_MAX)
        rc = err_set(err, ERR_INTERNAL, "too many containers for the test");
    if (rc < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return leave(-1);
    fake->boxes_n++;
    *b = (struct box){.memory = spec->memory, .made_ms = fake->now_ms};
    (void)snprintf(b->id, sizeof(b->id), "%064x", i + 1);
    (void)str_copy(b->name, spec->name, sizeof(b->name));
    (void)str_copy(b->image, spec->image, sizeof(b->image));
    (void)str_copy(b->policy, policy, sizeof(b->policy));
    (void)str_copy(b->instance, label(spec, LABEL_INSTANCE), sizeof(b->instance));
    (void)str_copy(b->epoch, label(spec, LABEL_EPOCH), sizeof(b->epoch));
    peers[i] = pair[1];
    if (!fake->says_nothing)
        put_ready(pair[1]);
    (void)io_send_msg(streams[1], &i, sizeof(i), pair[1]);
    (void)io_set_nonblocking(pair[0], true);
    (void)str_copy(ret_id, b->id, ENGINE_ID_MAX);
    *ret_fd = pair[0];
    return leave(0);
}

static int fake_update(struct engine *e, const char *id, int64_t memory, struct err *err)
{
    int rc = enter(VERB_UPDATE, true, err);
    struct box *b = find_box(id);

    (void)e;
    if (rc == 0 && b)
        b->memory = memory;
    return leave(rc);
}

static int fake_usage(struct engine *e, const char *id, uint64_t *ret_bytes, struct err *err)
{
    int rc = enter(VERB_USAGE, true, err);

    (void)e;
    (void)id;
    *ret_bytes = fake->usage;
    return leave(rc);
}

static int fake_inspect(struct engine *e, const char *id, struct engine_state *ret, struct err *err)
{
    int rc = enter(VERB_INSPECT, true, err);

    (void)e;
    (void)id;
    *ret = fake->state;
    return leave(rc);
}

static int fake_wait(struct engine *e, const char *id, int64_t ms, int *ret_exit, struct err *err)
{
    int rc = enter(VERB_WAIT, true, err);

    (void)e;
    (void)id;
    (void)ms;
    fake->state.is_running = false;
    *ret_exit = fake->state.exit_code;
    return leave(rc);
}

static void destroy_foreign(const char *id)
{
    for (unsigned i = 0; i < fake->foreign_n; i++) {
        if (strcmp(fake->foreign[i].id, id) == 0)
            fake->foreign[i].id[0] = '\0';
    }
}

static int fake_destroy(struct engine *e, const char *id, struct err *err)
{
    int rc = enter(VERB_DESTROY, true, err);
    struct box *b = find_box(id);
    struct pollfd p = {.events = POLLRDHUP};

    (void)e;
    if (rc < 0)
        return leave(rc);
    destroy_foreign(id);
    if (b) {
        p.fd = peers[b - fake->boxes];
        b->was_closed = poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP);
        b->is_gone = true;
        (void)close(p.fd);
    }
    return leave(0);
}

static int fake_list(struct engine *e, struct engine_container **ret, size_t *ret_n,
                     struct err *err)
{
    int rc = enter(VERB_LIST, true, err);
    size_t n = 0;

    (void)e;
    *ret = xcalloc(BOXES_MAX + FOREIGN_MAX, sizeof(**ret));
    for (unsigned i = 0; i < fake->foreign_n; i++) {
        if (fake->foreign[i].id[0])
            (*ret)[n++] = fake->foreign[i];
    }
    for (unsigned i = 0; i < fake->boxes_n; i++) {
        const struct box *b = &fake->boxes[i];
        struct engine_container *c = &(*ret)[n];

        if (b->is_gone)
            continue;
        (void)str_copy(c->id, b->id, sizeof(c->id));
        (void)str_copy(c->name, b->name, sizeof(c->name));
        (void)str_copy(c->instance, b->instance, sizeof(c->instance));
        (void)str_copy(c->epoch, b->epoch, sizeof(c->epoch));
        n++;
    }
    *ret_n = n;
    return leave(rc);
}

static int fake_watch(struct engine *e, engine_watcher *fn, void *ctx, struct err *err)
{
    struct engine_event ev = {.action = "oom", .name = "", .instance = "other"};
    char id[65];

    (void)e;
    lock_fake();
    while (!fake->oom_id[0] && !fake->is_watch_broken)
        await_change(RIG_PATIENCE_S * 1000);
    (void)str_copy(id, fake->oom_id, sizeof(id));
    fake->oom_id[0] = '\0';
    (void)leave(0);
    ev.id = id;
    /* Of another service, of another kind, and then the one that counts. */
    (void)fn(ctx, &ev);
    ev.instance = "test";
    ev.action = "die";
    (void)fn(ctx, &ev);
    ev.action = "oom";
    (void)fn(ctx, &ev);
    return err_set(err, ERR_PEER, "the stream of events ended");
}

static void fake_unwatch(struct engine *e)
{
    (void)e;
}

static void fake_counts(const struct engine *e, uint64_t calls[ENGINE_CALLS],
                        uint64_t errors[ENGINE_CALLS])
{
    (void)e;
    for (int i = 0; i < ENGINE_CALLS; i++) {
        calls[i] = (uint64_t)i + 100;
        errors[i] = (uint64_t)i;
    }
}

static uint32_t fake_lacks(const struct engine *e)
{
    (void)e;
    return 0;
}

static void fake_close(struct engine *e)
{
    (void)e;
}

static const struct engine_ops fake_ops = {
    .name = "fake",
    .ping = fake_ping,
    .image = fake_image,
    .park = fake_park,
    .update = fake_update,
    .usage = fake_usage,
    .inspect = fake_inspect,
    .wait = fake_wait,
    .destroy = fake_destroy,
    .list = fake_list,
    .watch = fake_watch,
    .unwatch = fake_unwatch,
    .lacks = fake_lacks,
    .counts = fake_counts,
    .close = fake_close,
};

/* ---- directories and policies ---- */

static char instance_name[] = "test";
static char *state_dir, *policies_dir;

static void copy_beside(const char *name)
{
    auto_free char *from = xasprintf("policies/%s", name), *data = NULL;
    auto_free char *to = xasprintf("%s/%s", policies_dir, name);
    auto_fd int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    size_t n;

    ck_assert_int_eq(io_read_file(from, 1 << 20, &data, &n, NULL), 0);
    ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
}

/* What the rigs' policies extend: values of its own, whatever the service ships. */
static const char base_policy[] =
    "image: test/image\n"
    "work_dir: /work\n"
    "isolation: {seccomp: seccomp-python.json, uid: 65534, gid: 65534}\n"
    "time: {default: 30s, max: 30s, grace: 500ms}\n"
    "memory: 512MiB\n"
    "cpus: 1\n"
    "pids: 64\n"
    "files: {open: 256, size: 25%}\n"
    "tmpfs: {work: 25%, tmp: 12%, shm: 6%, inodes: 4096}\n"
    "output: {soft: 10MiB, hard: 64MiB}\n"
    "input_files: {count: 100, total: 12%}\n"
    "output_files: {gather: true, tmp: false, count: 20, size: 20MiB,"
    " total: 37%}\n"
    "pool: {min: 0, max: 4, idle: 10m, age: 1h}\n"
    "queue: {max: 256, wait: 30s}\n";

/* The numbers of a pool are asked for again and again: the files are read once per change. */
static struct {
    char policy[32];
    uint64_t key;
} last_key;

static void write_policy(const char *name, const char *head, const char *lines)
{
    auto_free char *path = xasprintf("%s/%s.yaml", policies_dir, name);
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_gt(dprintf(fd, "%s%s\n", head, lines), 0);
    last_key.policy[0] = '\0';
}

void rig_init(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    share();
    (void)snprintf(rig_dir, sizeof(rig_dir), "/tmp/oneshot-keeper-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(rig_dir));
    state_dir = xasprintf("%s/state", rig_dir);
    policies_dir = xasprintf("%s/policies", rig_dir);
    ck_assert_int_eq(mkdir(state_dir, 0700), 0);
    ck_assert_int_eq(mkdir(policies_dir, 0700), 0);
    rig_settings = (struct settings){.instance = instance_name,
                                     .state_dir = state_dir,
                                     .policies_dir = policies_dir,
                                     .parallel_starts = 4,
                                     .containers_max = 256,
                                     .pool_memory = 1LL << 40,
                                     .drain_ms = 5000};
    rig_options = (struct keeper_options){
        .settings = &rig_settings, .policies_dir = policies_dir, .ops = &fake_ops};
    memset(ours, -1, sizeof(ours));
    write_policy("default", base_policy, "");
    copy_beside("seccomp-python.json");
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void close_all(void)
{
    int *const fds[] = {&control, &probes[0], &probes[1], &rig_front, &streams[0], &streams[1]};

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close_p(fds[i]);
        *fds[i] = -1;
    }
    for (size_t i = 0; i < BOXES_MAX; i++) {
        close_p(&ours[i]);
        ours[i] = -1;
    }
}

void rig_done(void)
{
    ck_assert_int_eq(rig_keeper_pid, 0);
    close_all();
    ck_assert_int_eq(nftw(rig_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(state_dir);
    free(policies_dir);
}

void rig_policy(const char *name, const char *lines)
{
    write_policy(name, "extends: default\n", lines);
}

void rig_remove_policy(const char *name)
{
    auto_free char *path = xasprintf("%s/%s.yaml", policies_dir, name);

    ck_assert_int_eq(unlink(path), 0);
    last_key.policy[0] = '\0';
}

uint64_t rig_key(const char *policy)
{
    const struct policy *p;
    struct policy_set set;
    struct err e = {0};
    uint64_t key;

    if (strcmp(last_key.policy, policy) == 0)
        return last_key.key;
    ck_assert_msg(policy_set_load(policies_dir, &set, &e) == 0, "%s", e.msg);
    p = policy_find(&set, policy);
    ck_assert_ptr_nonnull(p);
    key = p->key;
    policy_set_done(&set);
    (void)str_copy(last_key.policy, policy, sizeof(last_key.policy));
    last_key.key = key;
    return key;
}

/* ---- the keeper's process ---- */

static void make_pair(int type, int ret[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret), 0);
}

static void __attribute__((noreturn)) be_keeper(void)
{
    auto_free char *path = xasprintf("%s/log", rig_dir);
    sigset_t set;
    int rc;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    log_init("keeper", LOG_DEBUG, LOG_TEXT,
             open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    rc = keeper_run(&rig_options, &fake->err);
    lock_fake();
    fake->rc = rc;
    fake->is_over = true;
    (void)leave(0);
    exit(0); /* not _exit: leaks are looked for, coverage is written */
}

void rig_start(void)
{
    int control_pair[2], front_pair[2];

    make_pair(SOCK_SEQPACKET, control_pair);
    make_pair(SOCK_SEQPACKET, front_pair);
    make_pair(SOCK_SEQPACKET, streams);
    rig_options.control_fd = control_pair[1];
    rig_options.first_client_fd = front_pair[1];
    fake->is_over = false;
    rig_keeper_pid = fork();
    ck_assert_int_ge(rig_keeper_pid, 0);
    if (rig_keeper_pid == 0) {
        (void)close(control_pair[0]);
        (void)close(front_pair[0]);
        (void)close(streams[0]);
        be_keeper();
    }
    (void)close(control_pair[1]);
    (void)close(front_pair[1]);
    (void)close(streams[1]);
    streams[1] = -1;
    control = control_pair[0];
    rig_front = front_pair[0];
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        probes[i] = rig_new_client();
}

int rig_new_client(void)
{
    static const char message[2] = "p";
    int pair[2];

    make_pair(SOCK_SEQPACKET, pair);
    ck_assert_int_eq(io_send_msg(control, message, sizeof(message), pair[1]), 0);
    (void)close(pair[1]);
    return pair[0];
}

int rig_wait(void)
{
    int status;

    UNTIL(fake->is_over);
    ck_assert_int_eq(waitpid(rig_keeper_pid, &status, 0), rig_keeper_pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the keeper ended with %#x",
                  (unsigned)status);
    rig_keeper_pid = 0;
    close_all();
    return fake->rc;
}

void rig_close_control(void)
{
    (void)close(control);
    control = -1;
}

int rig_end(void)
{
    rig_close_control();
    return rig_wait();
}

void rig_signal(int sig)
{
    ck_assert_int_eq(kill(rig_keeper_pid, sig), 0);
}

/* ---- messages ---- */

void rig_ask(int fd, struct handover m)
{
    ck_assert_int_eq(io_send_msg(fd, &m, sizeof(m), -1), 0);
}

struct handover rig_answer(int fd, int *ret_fd)
{
    struct handover m;
    int got = -1;

    ck_assert_msg(io_wait(fd, POLLIN, clock_ms() + PATIENCE_MS) == 1, "no answer");
    ck_assert_int_eq(io_recv_msg(fd, &m, sizeof(m), &got), sizeof(m));
    ck_assert(handover_is_valid(&m, sizeof(m), false));
    if (ret_fd)
        *ret_fd = got;
    else
        close_p(&got);
    return m;
}

/* One question for all pools; the answers up to the counts. */
static struct handover_counts stats(int probe, uint64_t key, unsigned nth,
                                    struct handover_pool *ret)
{
    struct handover m;

    *ret = (struct handover_pool){0};
    rig_ask(probe, (struct handover){.type = HANDOVER_STATS, .seq = 1});
    while ((m = rig_answer(probe, NULL)).type == HANDOVER_POOL) {
        if (m.u.pool.policy == key && nth-- == 0)
            *ret = m.u.pool;
    }
    ck_assert_uint_eq(m.type, HANDOVER_COUNTS);
    return m.u.counts;
}

struct handover_pool rig_pool_of(uint64_t key, unsigned nth)
{
    struct handover_pool pool;

    (void)stats(probes[0], key, nth, &pool);
    return pool;
}

struct handover_pool rig_pool(const char *policy)
{
    return rig_pool_of(rig_key(policy), 0);
}

struct handover_counts rig_counts(void)
{
    struct handover_pool pool;

    return stats(probes[0], 0, 0, &pool);
}

/*
 * A question that is sent while a turn answers another client's comes up in a later one. The first
 * answer may come from a turn that began before the clock was moved; what was due in that of the
 * second has been done when the next one answers.
 */
void rig_turn(void)
{
    struct handover_pool pool;

    for (size_t i = 0; i < 2 * ARRAY_LEN(probes); i++)
        (void)stats(probes[i % ARRAY_LEN(probes)], 0, 0, &pool);
}

void rig_advance(int64_t ms)
{
    (void)__atomic_add_fetch(&fake->now_ms, ms, __ATOMIC_SEQ_CST);
    rig_turn();
}

void rig_until_measuring(void)
{
    time_t until = time(NULL) + RIG_PATIENCE_S;

    while (!FAKE(VERB_USAGE).inside && time(NULL) <= until)
        rig_advance(100);
    UNTIL(FAKE(VERB_USAGE).inside == 1);
}

bool rig_is_quiet(int fd)
{
    rig_turn();
    return io_wait(fd, POLLIN, 0) == 0;
}

bool rig_is_closed(int fd)
{
    struct handover m;
    int got;

    return io_wait(fd, POLLIN, clock_ms() + PATIENCE_MS) == 1 &&
           io_recv_msg(fd, &m, sizeof(m), &got) == 0;
}

void rig_take(int fd, uint64_t seq, uint64_t key, uint32_t wait_ms)
{
    struct handover m = {.type = HANDOVER_TAKE, .seq = seq};

    m.u.take = (struct handover_take){.policy = key, .wait_ms = wait_ms, .run_ms = 2000};
    rig_ask(fd, m);
}

int rig_run(const char *policy, uint64_t seq, struct handover *ret_taken)
{
    int fd = -1;

    rig_take(rig_front, seq, rig_key(policy), 1000);
    *ret_taken = rig_answer(rig_front, &fd);
    ck_assert_uint_eq(ret_taken->type, HANDOVER_TAKEN);
    ck_assert_uint_eq(ret_taken->seq, seq);
    ck_assert_int_ge(fd, 0);
    return fd;
}

void rig_finish(const struct handover *taken, int fd)
{
    (void)close(fd);
    rig_ask(rig_front, (struct handover){.type = HANDOVER_DONE, .member = taken->member});
}

/* ---- streams ---- */

int rig_stream(unsigned i)
{
    while (ours[i] < 0) {
        unsigned n = BOXES_MAX;
        int fd = -1;

        ck_assert_msg(io_wait(streams[0], POLLIN, clock_ms() + PATIENCE_MS) == 1, "no container");
        ck_assert_int_eq(io_recv_msg(streams[0], &n, sizeof(n), &fd), sizeof(n));
        ck_assert_uint_lt(n, BOXES_MAX);
        ours[n] = fd;
    }
    return ours[i];
}

void rig_say_ready(unsigned i)
{
    put_ready(rig_stream(i));
}

unsigned rig_box_of(const struct handover *taken)
{
    char id[65];

    str_hex(id, taken->u.taken.container, sizeof(taken->u.taken.container));
    for (unsigned i = 0; i < fake->boxes_n; i++) {
        if (strcmp(fake->boxes[i].id, id) == 0)
            return i;
    }
    ck_abort_msg("a container that was never made: %s", id);
    return 0;
}

unsigned rig_alive(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < fake->boxes_n; i++)
        n += !fake->boxes[i].is_gone;
    return n;
}

/*
 * A step of the clock, with time for the engine's threads: a measurement has so many steps until
 * the keeper does without it, and they may have no processor right now.
 */
static void step(int64_t ms)
{
    unsigned seen = FAKE(VERB_USAGE).calls;

    rig_advance(ms);
    for (int i = 0; i < 20 && ms && FAKE(VERB_USAGE).calls == seen; i++)
        (void)poll(NULL, 0, 1);
}

void rig_settle(const char *policy, unsigned parked)
{
    time_t until = time(NULL) + RIG_PATIENCE_S;
    struct handover_pool p;

    /* Measuring takes a look every 250 ms. */
    while (time(NULL) <= until) {
        p = rig_pool(policy);
        if (p.parked == parked && p.starting == 0)
            return;
        step(p.footprint || !p.starting ? 0 : 250);
    }
    p = rig_pool(policy);
    ck_abort_msg("it does not settle: %u parked, %u starting, %llu started, %llu bytes", p.parked,
                 p.starting, (unsigned long long)p.started, (unsigned long long)p.footprint);
}
