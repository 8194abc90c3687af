/*
 * The frames of a hostile front, taken in by the warden above a real directory, and what it would
 * then gather from there. Links stand in the directory beforehand, as an earlier run of a kept
 * worker could have left them.
 *
 * Oracles beyond the sanitizers: the directory beside the work directory stays as it was, no
 * descriptor is leaked, whatever is gathered is a chain of valid frames with acceptable paths in
 * rising order, announced bytes and sent bytes agree.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/gather.c"
#include "../../images/warden/intake.c"
#include "../../images/warden/known.c"
#include "../../images/warden/names.c"
#include "../../images/warden/queue.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "frames/le.h"

enum { OUT_CAP = 4 << 20, WORKER_CAP = 2 * (FRAME_HEAD + FRAME_MAX), FRAMES_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[] = "/dev/shm/fuzz-warden-XXXXXX";
static int top_fd = -1;
static struct known known;
static struct gather gathering;
static uint8_t out_buf[OUT_CAP], worker_buf[WORKER_CAP];
static uint8_t reader_buf[2 * (FRAME_HEAD + FRAME_MAX)];

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    return ftw->level ? remove(path) : 0;
}

static void remove_all(void)
{
    (void)nftw(top, remove_one, 40, FTW_DEPTH | FTW_PHYS);
    (void)rmdir(top);
}

static void set_up(void)
{
    int fd;

    must(mkdtemp(top) != NULL, "mkdtemp");
    (void)atexit(remove_all);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(top_fd >= 0 && mkdirat(top_fd, "beside", 0755) == 0, "beside");
    fd = openat(top_fd, "beside/canary", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    must(fd >= 0 && write(fd, "canary", 6) == 6 && close(fd) == 0, "canary");
}

static void make_work(void)
{
    char work[64];

    (void)snprintf(work, sizeof(work), "%s/work", top);
    (void)nftw(work, remove_one, 40, FTW_DEPTH | FTW_PHYS);
    must(mkdirat(top_fd, "work", 0755) == 0 || errno == EEXIST, "work");
    must(symlinkat("../beside", top_fd, "work/d") == 0, "link");
    must(symlinkat("../beside/canary", top_fd, "work/f") == 0, "link");
    must(symlinkat("../beside/new", top_fd, "work/n") == 0, "link");
}

static void check_beside(void)
{
    int fd = openat(top_fd, "beside", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char text[8];
    struct stat st;
    int canary = openat(fd, "canary", O_RDONLY | O_CLOEXEC);

    must(fstat(fd, &st) == 0 && st.st_nlink == 2, "a directory appeared beside");
    must(canary >= 0 && read(canary, text, sizeof(text)) == 6 && memcmp(text, "canary", 6) == 0,
         "the canary changed");
    must(faccessat(fd, "new", F_OK, AT_SYMLINK_NOFOLLOW) < 0, "a file appeared beside");
    (void)close(canary);
    (void)close(fd);
}

static int no_wait(void *ctx)
{
    struct queue *out = ctx;

    return queue_has_room(out) ? 0 : -1;
}

static void check_frames(const struct queue *out)
{
    uint64_t left = 0;
    char last[NAME_PATH_MAX + 1] = "";

    for (size_t at = out->start; at < out->end;) {
        const uint8_t *p = out->buf + at;
        uint32_t n = le_get32(p + 4);
        struct entry e;

        must(n <= FRAME_MAX && at + FRAME_HEAD + n <= out->end, "a frame leaves the queue");
        if (p[0] == FRAME_OUT_ENTRY) {
            must(left == 0 && entry_decode(&e, p + FRAME_HEAD, n), "an entry");
            must(name_path_is_ok(e.path, e.path_len), "a path");
            if (e.kind == ENTRY_FILE) {
                char path[NAME_PATH_MAX + 1];

                memcpy(path, e.path, e.path_len);
                path[e.path_len] = '\0';
                must(strcmp(last, path) < 0, "the order");
                memcpy(last, path, sizeof(last));
            }
            left = e.size;
        } else if (p[0] == FRAME_OUT_DATA) {
            must(n <= left, "more bytes than announced");
            left -= n;
        } else if (p[0] == FRAME_OMITTED) {
            must(left == 0 && entry_decode(&e, p + FRAME_HEAD, n), "an omission");
        } else {
            must(p[0] == FRAME_GONE && name_path_is_ok((const char *)p + FRAME_HEAD, n),
                 "a removal");
        }
        at += FRAME_HEAD + n;
    }
    must(left == 0, "fewer bytes than announced");
}

/* False once the front broke the protocol. */
static bool take(struct intake *in, struct frame_reader *r, struct queue *worker, int *frames)
{
    struct frame f;
    int got;

    while (++*frames < FRAMES_MAX && (got = frame_next(r, &f)) != 0) {
        enum intake_state state = got < 0 ? INTAKE_BAD : intake_frame(in, &f, worker);

        must(worker->end - worker->start <= FRAME_HEAD + FRAME_MAX, "the worker's queue grew");
        worker->start = worker->end = 0;
        if (state == INTAKE_BAD)
            return false;
        if (state == INTAKE_GO && in->job.flags & JOB_GATHER) {
            struct queue out;

            queue_init(&out, out_buf, sizeof(out_buf));
            gathering.job = &in->job;
            gathering.known = in->known;
            gathering.out = &out;
            gathering.wait_room = no_wait;
            gathering.ctx = &out;
            if (gather_run(&gathering, in->work_fd, "/nonexistent") == 0)
                check_frames(&out);
        }
    }
    return *frames < FRAMES_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct intake in = {.known = &known, .file_fd = -1};
    struct frame_reader r;
    struct queue worker;
    int frames = 0, before;

    if (top_fd < 0)
        set_up();
    make_work();
    before = dup(top_fd);
    (void)close(before);
    memset(&known, 0, sizeof(known.slots) + 2 * sizeof(uint32_t));
    in.work_fd = openat(top_fd, "work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    frame_reader_init(&r, reader_buf, sizeof(reader_buf));
    queue_init(&worker, worker_buf, sizeof(worker_buf));
    while (size > 0) {
        size_t space, n;
        uint8_t *to = frame_space(&r, &space);

        n = size < space ? size : space;
        memcpy(to, data, n);
        frame_fill(&r, n);
        data += n;
        size -= n;
        if (!take(&in, &r, &worker, &frames))
            break;
    }
    check_beside();
    if (in.file_fd >= 0)
        (void)close(in.file_fd);
    (void)close(in.work_fd);
    frames = dup(top_fd);
    must(frames == before, "a descriptor leaked");
    (void)close(frames);
    return 0;
}
