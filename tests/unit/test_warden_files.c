/* Files in and out of the work directory: intake, the table of known files, gather. */
#include <sys/socket.h>
#include <sys/un.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/gather.c"
#include "../../images/warden/intake.c"
#include "../../images/warden/known.c"
#include "../../images/warden/names.c"
#include "../../images/warden/queue.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "frames/le.h"
#include "unit.h"

enum { OUT_CAP = 8 << 20, WORKER_CAP = 2 * (FRAME_HEAD + FRAME_MAX) };

static char dir[64];
static struct intake in;
static struct known known;
static struct gather gather;
static struct queue out, worker;
static uint8_t out_buf[OUT_CAP], worker_buf[WORKER_CAP];
static int room_calls, room_fails_at;

static int no_wait(void *ctx)
{
    (void)ctx;
    return room_fails_at && ++room_calls >= room_fails_at ? -1 : 0;
}

static void set_up(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/warden-files-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    in = (struct intake){
        .work_fd = open(dir, O_RDONLY | O_DIRECTORY), .known = &known, .file_fd = -1};
    ck_assert_int_ge(in.work_fd, 0);
    queue_init(&out, out_buf, sizeof(out_buf));
    queue_init(&worker, worker_buf, sizeof(worker_buf));
    memset(&known, 0, sizeof(known));
    room_calls = room_fails_at = 0;
}

/* Removes the tree below `at`, whatever stands in it. */
static void remove_below(int at)
{
    int copy = openat(at, ".", O_RDONLY | O_DIRECTORY);
    DIR *d = fdopendir(copy);
    const struct dirent *e;

    ck_assert_ptr_nonnull(d);
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(at, e->d_name, 0) < 0) {
            int below;

            ck_assert_int_eq(fchmodat(at, e->d_name, 0700, 0), 0);
            below = openat(at, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            ck_assert_int_ge(below, 0);
            remove_below(below);
            (void)close(below);
            ck_assert_int_eq(unlinkat(at, e->d_name, AT_REMOVEDIR), 0);
        }
    }
    (void)closedir(d);
}

static void tear_down(void)
{
    remove_below(in.work_fd);
    (void)close(in.work_fd);
    ck_assert_int_eq(rmdir(dir), 0);
}

static enum intake_state feed(uint8_t type, const void *data, size_t n)
{
    return intake_frame(&in, &(struct frame){.type = type, .len = (uint32_t)n, .data = data},
                        &worker);
}

static enum intake_state feed_job(uint32_t flags)
{
    uint8_t bytes[JOB_LEN];
    struct job job = {.flags = flags, .file_max = 1000, .files_max = 5000, .files_count = 20};

    job_encode(bytes, &job);
    return feed(FRAME_JOB, bytes, sizeof(bytes));
}

static enum intake_state feed_entry(uint8_t kind, const char *path, size_t size)
{
    uint8_t bytes[ENTRY_LEN_MAX];
    struct entry e = {.kind = kind, .size = size, .path = path, .path_len = strlen(path)};

    return feed(FRAME_ENTRY, bytes, entry_encode(bytes, &e));
}

static enum intake_state feed_file(const char *path, const char *text)
{
    enum intake_state state = feed_entry(ENTRY_FILE, path, strlen(text));

    if (state == INTAKE_MORE && *text)
        state = feed(FRAME_DATA, text, strlen(text));
    return state;
}

static void put_file(const char *path, const char *text)
{
    int fd = openat(in.work_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static const char *text_of(const char *path)
{
    static char text[256];
    int fd = openat(in.work_fd, path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        (void)close(fd);
    if (n < 0)
        return NULL;
    text[n] = '\0';
    return text;
}

/* What was sent, one item per line: "+path:bytes", "/path" for a directory, "-path", "!path reason". */
static const char *sent(void)
{
    static char text[1 << 16];
    size_t at = 0, len = 0;

    text[0] = '\0';
    while (at < out.end) {
        uint32_t n = le_get32(out_buf + at + 4);
        const char *data = (const char *)out_buf + at + FRAME_HEAD;
        struct entry e = {.path = "", .path_len = 0};
        uint8_t type = out_buf[at];

        if (type == FRAME_OUT_ENTRY || type == FRAME_OMITTED)
            ck_assert(entry_decode(&e, out_buf + at + FRAME_HEAD, n));
        if (type == FRAME_OUT_DATA)
            len += (size_t)snprintf(text + len, sizeof(text) - len, ":%.*s", (int)n, data);
        else if (type == FRAME_GONE)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "\n-%.*s", (int)n, data);
        else if (type == FRAME_OMITTED)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "\n!%.*s %d", (int)e.path_len,
                                    e.path, e.reason);
        else
            len += (size_t)snprintf(text + len, sizeof(text) - len, "\n%s%.*s",
                                    e.is_tmp              ? "tmp+"
                                    : e.kind == ENTRY_DIR ? "/"
                                                          : "+",
                                    (int)e.path_len, e.path);
        at += FRAME_HEAD + n;
    }
    out.start = out.end = 0;
    return text[0] ? text + 1 : text;
}

static int run_gather(const char *tmp)
{
    gather.job = &in.job;
    gather.known = &known;
    gather.out = &out;
    gather.wait_room = no_wait;
    return gather_run(&gather, in.work_fd, tmp);
}

/* ---- in ---- */

START_TEST(writes_inputs_below_the_directory)
{
    struct stat st;

    ck_assert_int_eq(feed_job(0), INTAKE_MORE);
    ck_assert_int_eq(feed_file("a", "one"), INTAKE_MORE);
    ck_assert_int_eq(feed_file("d/e/f", "two"), INTAKE_MORE);
    ck_assert_int_eq(feed_file("empty", ""), INTAKE_MORE);
    ck_assert_int_eq(feed_entry(ENTRY_DIR, "x/y", 0), INTAKE_MORE);
    ck_assert_int_eq(feed(FRAME_GO, NULL, 0), INTAKE_GO);
    ck_assert_int_eq(in.failed_errno, 0);
    ck_assert_str_eq(text_of("a"), "one");
    ck_assert_str_eq(text_of("d/e/f"), "two");
    ck_assert_str_eq(text_of("empty"), "");
    ck_assert_int_eq(fstatat(in.work_fd, "x/y", &st, 0), 0);
    ck_assert(S_ISDIR(st.st_mode));
    ck_assert_int_eq(fstatat(in.work_fd, "a", &st, 0), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0644);
    ck_assert_uint_eq(known.n, 4);
}
END_TEST

START_TEST(passes_the_program_on)
{
    (void)feed_job(0);
    ck_assert_int_eq(feed(FRAME_META, "{}", 2), INTAKE_MORE);
    ck_assert_int_eq(intake_frame(&in,
                                  &(struct frame){.type = FRAME_CODE,
                                                  .flags = FRAME_MORE,
                                                  .len = 1,
                                                  .data = (const uint8_t *)"x"},
                                  &worker),
                     INTAKE_MORE);
    ck_assert_uint_eq(worker.end, 2 * FRAME_HEAD + 3);
    ck_assert_mem_eq(worker_buf, "\x02\0\0\0\x02\0\0\0{}\x03\x01\0\0\x01\0\0\0x", 19);
}
END_TEST

START_TEST(refuses_what_is_out_of_place)
{
    static const char *const bad[] = {"../x", "/x", "a//b", ".", "a\nb", "\xFF"};
    uint8_t bytes[ENTRY_LEN_MAX];
    struct entry e = {.is_tmp = true, .path = "a", .path_len = 1};

    ck_assert_int_eq(feed(FRAME_GO, NULL, 0), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_JOB, "short", 5), INTAKE_BAD);
    ck_assert_int_eq(feed_job(0), INTAKE_MORE);
    ck_assert_int_eq(feed_job(0), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_DATA, "x", 1), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_RESULT, NULL, 0), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_ENTRY, "x", 1), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_ENTRY, bytes, entry_encode(bytes, &e)), INTAKE_BAD);
    e = (struct entry){.reason = OMIT_NAME, .path = "a", .path_len = 1};
    ck_assert_int_eq(feed(FRAME_ENTRY, bytes, entry_encode(bytes, &e)), INTAKE_BAD);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_int_eq(feed_entry(ENTRY_FILE, bad[i], 0), INTAKE_BAD);
    ck_assert_int_eq(feed_entry(ENTRY_FILE, "a", 2), INTAKE_MORE);
    ck_assert_int_eq(feed(FRAME_GO, NULL, 0), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_DATA, "xyz", 3), INTAKE_BAD);
    ck_assert_int_eq(feed(FRAME_DATA, "xy", 2), INTAKE_MORE);
    ck_assert_int_eq(feed(FRAME_DATA, "", 0), INTAKE_BAD);
}
END_TEST

START_TEST(bounds_the_program)
{
    static uint8_t block[FRAME_MAX];
    size_t n = 0;

    (void)feed_job(0);
    while (feed(FRAME_META, block, sizeof(block)) == INTAKE_MORE) {
        n++;
        worker.start = worker.end = 0;
    }
    ck_assert_uint_eq(n * sizeof(block), INTAKE_META_MAX);
    for (n = 0; feed(FRAME_CODE, block, sizeof(block)) == INTAKE_MORE; n++)
        worker.start = worker.end = 0;
    ck_assert_uint_eq(n * sizeof(block), INTAKE_CODE_MAX);
}
END_TEST

START_TEST(does_not_write_through_links)
{
    (void)feed_job(0);
    ck_assert_int_eq(symlinkat("/tmp", in.work_fd, "d"), 0);
    ck_assert_int_eq(symlinkat("target", in.work_fd, "f"), 0);
    ck_assert_int_eq(feed_file("d/warden-must-not-exist", "x"), INTAKE_MORE);
    ck_assert_int_eq(in.failed_errno, ENOTDIR);
    ck_assert_str_eq(in.failed_path, "d/warden-must-not-exist");
    ck_assert_int_eq(access("/tmp/warden-must-not-exist", F_OK), -1);
    in.failed_errno = 0;
    ck_assert_int_eq(feed_file("f", "new"), INTAKE_MORE);
    ck_assert_int_eq(in.failed_errno, 0);
    ck_assert_ptr_null(text_of("target"));
    ck_assert_str_eq(text_of("f"), "new");
    ck_assert_int_eq(feed_entry(ENTRY_DIR, "d", 0), INTAKE_MORE);
    ck_assert_int_eq(in.failed_errno, ENOTDIR);
}
END_TEST

START_TEST(goes_on_behind_a_file_that_cannot_be_written)
{
    (void)feed_job(0);
    (void)feed_file("file", "x");
    ck_assert_int_eq(feed_file("file/below", "lost"), INTAKE_MORE);
    ck_assert_int_eq(in.failed_errno, ENOTDIR);
    ck_assert_int_eq(feed_file("other", "kept"), INTAKE_MORE);
    ck_assert_str_eq(in.failed_path, "file/below");
    ck_assert_str_eq(text_of("other"), "kept");
    ck_assert_int_eq(feed_entry(ENTRY_DIR, "file", 0), INTAKE_MORE);
    ck_assert_int_eq(feed(FRAME_GO, NULL, 0), INTAKE_GO);
    ck_assert_int_eq(feed_job(0), INTAKE_MORE);
    ck_assert_int_eq(in.failed_errno, 0);
}
END_TEST

/* ---- known ---- */

START_TEST(known_files_are_told_from_changed_ones)
{
    struct stat st = {.st_ino = 7, .st_size = 3, .st_mode = S_IFREG}, other;
    size_t len = 0;
    bool is_dir = false;

    known_add(&known, "a/b", 3, &st);
    ck_assert(known_is_same(&known, "a/b", 3, &st));
    ck_assert(!known_is_same(&known, "a/c", 3, &st));
    ck_assert(!known_is_same(&known, "a", 1, &st));
    for (int i = 0; i < 7; i++) {
        other = st;
        other.st_ino += i == 0;
        other.st_size += i == 1;
        other.st_mtim.tv_sec += i == 2;
        other.st_mtim.tv_nsec += i == 3;
        other.st_ctim.tv_sec += i == 4;
        other.st_ctim.tv_nsec += i == 5;
        other.st_mode = i == 6 ? S_IFDIR : S_IFREG;
        ck_assert(!known_is_same(&known, "a/b", 3, &other));
    }
    known_add(&known, "a/b", 3, &other);
    ck_assert_uint_eq(known.n, 1);
    ck_assert(known_is_same(&known, "a/b", 3, &other));
    ck_assert_mem_eq(known_path(&known, 0, &len, &is_dir), "a/b", 3);
    ck_assert(is_dir && len == 3);
    known_set_gone(&known, 0);
    ck_assert_ptr_null(known_path(&known, 0, &len, &is_dir));
    ck_assert(!known_is_same(&known, "a/b", 3, &other));
}
END_TEST

START_TEST(a_full_table_forgets_and_does_not_overflow)
{
    struct stat st = {.st_mode = S_IFREG};
    char path[16];

    for (unsigned i = 0; i < KNOWN_MAX + 10; i++) {
        int n = snprintf(path, sizeof(path), "%u", i);

        st.st_ino = i;
        known_add(&known, path, (size_t)n, &st);
        ck_assert_int_eq(known_is_same(&known, path, (size_t)n, &st), i < KNOWN_MAX);
    }
    ck_assert_uint_eq(known.n, KNOWN_MAX);
    st.st_ino = 5;
    ck_assert(known_is_same(&known, "5", 1, &st));
}
END_TEST

START_TEST(a_full_text_forgets_and_does_not_overflow)
{
    enum { LONG = 60000 };
    static char path[UINT16_MAX + 1];
    struct stat st = {.st_mode = S_IFREG};

    for (int i = 0; i < 30; i++) {
        memset(path, 'a' + i % 26, LONG);
        path[0] = (char)('0' + i);
        known_add(&known, path, LONG, &st);
    }
    ck_assert_uint_eq(known.n, KNOWN_TEXT / LONG);
    known_add(&known, path, sizeof(path), &st);
    ck_assert_uint_eq(known.n, KNOWN_TEXT / LONG);
}
END_TEST

/* ---- out ---- */

START_TEST(sends_new_and_changed_files_in_order)
{
    (void)feed_job(JOB_GATHER);
    (void)feed_file("same", "1");
    (void)feed_file("changed", "1");
    put_file("changed", "2");
    put_file("a.txt", "A");
    put_file(".hid", "H");
    put_file("Z", "Z");
    (void)mkdirat(in.work_fd, "a", 0755);
    put_file("a/b", "B");
    put_file("a-b", "-");
    (void)mkdirat(in.work_fd, "__pycache__", 0755);
    put_file("__pycache__/x", "x");
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "+.hid:H\n+Z:Z\n+a-b:-\n+a.txt:A\n+a/b:B\n+changed:2");
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "");
}
END_TEST

START_TEST(tells_removals_and_directories_with_sync)
{
    (void)feed_job(JOB_GATHER | JOB_SYNC);
    (void)feed_file("a", "1");
    (void)feed_file("b", "1");
    (void)feed_file("d/x", "1");
    (void)feed_file("e/y", "1");
    (void)feed_entry(ENTRY_DIR, "k", 0);
    ck_assert_int_eq(unlinkat(in.work_fd, "a", 0), 0);
    ck_assert_int_eq(unlinkat(in.work_fd, "b", 0), 0);
    ck_assert_int_eq(mkdirat(in.work_fd, "b", 0755), 0);
    ck_assert_int_eq(renameat(in.work_fd, "d", in.work_fd, "f"), 0);
    ck_assert_int_eq(symlinkat("f", in.work_fd, "d"), 0);
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "-d/x\n-b\n-a\n/b\n!d 4\n/e\n/f\n+f/x:1\n/k");
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "/b\n!d 4\n/e\n/f\n/k");
}
END_TEST

START_TEST(leaves_out_what_is_no_file_and_says_so)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)feed_job(JOB_GATHER);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", dir);
    ck_assert_int_eq(bind(s, (const struct sockaddr *)&a, sizeof(a)), 0);
    (void)close(s);
    ck_assert_int_eq(mkfifoat(in.work_fd, "fifo", 0600), 0);
    ck_assert_int_eq(symlinkat("/etc/passwd", in.work_fd, "link"), 0);
    put_file("a\nb", "x");
    put_file("\xFF", "x");
    put_file("big", "");
    {
        int fd = openat(in.work_fd, "big", O_WRONLY);

        ck_assert_int_eq(ftruncate(fd, 1001), 0);
        (void)close(fd);
    }
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "!a\\x0ab 5\n!big 1\n!fifo 4\n!link 4\n!sock 4\n!\\xff 5");
}
END_TEST

START_TEST(goes_no_deeper_than_the_limit)
{
    char path[200] = "d";

    (void)feed_job(JOB_GATHER);
    for (int i = 0; i < 34; i++) {
        ck_assert_int_eq(mkdirat(in.work_fd, path, 0755), 0);
        (void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/d");
    }
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    path[2 * NAME_DEPTH_MAX - 1] = '\0';
    {
        char wanted[220];

        (void)snprintf(wanted, sizeof(wanted), "!%s 6", path);
        ck_assert_str_eq(sent(), wanted);
    }
}
END_TEST

START_TEST(limits_the_number_of_directories_too)
{
    uint8_t bytes[JOB_LEN];
    struct job job = {.flags = JOB_GATHER | JOB_SYNC, .files_count = 1};

    job_encode(bytes, &job);
    (void)feed(FRAME_JOB, bytes, sizeof(bytes));
    (void)mkdirat(in.work_fd, "a", 0755);
    (void)mkdirat(in.work_fd, "b", 0755);
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "/a\n!b 2");
}
END_TEST

START_TEST(counts_what_it_no_longer_names)
{
    char name[16];
    const char *told;
    unsigned lines = 1;

    (void)feed_job(JOB_GATHER);
    in.job.files_count = 0;
    for (unsigned i = 0; i < GATHER_OMITTED_MAX + 30; i++) {
        (void)snprintf(name, sizeof(name), "%05u", i);
        put_file(name, "");
    }
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_uint_eq(le_get64(out_buf + out.end - 9), 30);
    told = sent();
    for (const char *p = told; *p; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(lines, GATHER_OMITTED_MAX + 1);
    ck_assert_str_eq(told + strlen(told) - 5, "\n!. 2");
}
END_TEST

/* A directory can only be removed when it is empty. */
START_TEST(tells_what_was_in_a_directory_before_the_directory)
{
    (void)feed_job(JOB_GATHER | JOB_SYNC);
    (void)feed_entry(ENTRY_DIR, "d", 0);
    (void)feed_entry(ENTRY_DIR, "d/e", 0);
    (void)feed_file("d/e/f", "x");
    ck_assert_int_eq(unlinkat(in.work_fd, "d/e/f", 0), 0);
    ck_assert_int_eq(unlinkat(in.work_fd, "d/e", AT_REMOVEDIR), 0);
    ck_assert_int_eq(unlinkat(in.work_fd, "d", AT_REMOVEDIR), 0);
    ck_assert_int_eq(run_gather("/nonexistent"), 0);
    ck_assert_str_eq(sent(), "-d/e/f\n-d/e\n-d");
}
END_TEST

START_TEST(stops_when_nobody_wants_the_rest)
{
    (void)feed_job(JOB_GATHER | JOB_SYNC);
    (void)feed_file("gone", "x");
    ck_assert_int_eq(unlinkat(in.work_fd, "gone", 0), 0);
    (void)mkdirat(in.work_fd, "d", 0755);
    put_file("d/x", "abc");
    put_file("y", "abc");
    for (room_fails_at = 1; room_fails_at <= 6; room_fails_at++) {
        room_calls = 0;
        memset(&known, 0, sizeof(known));
        (void)feed_file("gone", "x");
        (void)unlinkat(in.work_fd, "gone", 0);
        ck_assert_int_eq(run_gather("/nonexistent"), -1);
        out.start = out.end = 0;
    }
}
END_TEST

START_TEST(fills_up_a_file_that_has_become_shorter)
{
    int fd;

    (void)feed_job(JOB_GATHER);
    put_file("f", "abc");
    fd = openat(in.work_fd, "f", O_RDONLY);
    gather.job = &in.job;
    gather.out = &out;
    gather.wait_room = no_wait;
    ck_assert_int_eq(send_bytes(&gather, fd, 5), 0);
    ck_assert_uint_eq(out.end, 2 * FRAME_HEAD + 5);
    ck_assert_mem_eq(out_buf + FRAME_HEAD, "abc", 3);
    ck_assert_mem_eq(out_buf + 2 * (size_t)FRAME_HEAD + 3, "\0\0", 2);
    (void)close(fd);
}
END_TEST

START_TEST(a_file_that_is_swapped_meanwhile_is_not_followed)
{
    (void)feed_job(JOB_GATHER);
    gather.job = &in.job;
    gather.out = &out;
    gather.known = &known;
    gather.wait_room = no_wait;
    gather.is_tmp = false;
    memcpy(gather.path, "f", 1);
    gather.path_len = 1;
    ck_assert_int_eq(mkfifoat(in.work_fd, "f", 0600), 0);
    ck_assert_int_eq(send_file(&gather, in.work_fd, "f"), 0);
    ck_assert_int_eq(unlinkat(in.work_fd, "f", 0), 0);
    ck_assert_int_eq(symlinkat("/etc/passwd", in.work_fd, "f"), 0);
    ck_assert_int_eq(send_file(&gather, in.work_fd, "f"), 0);
    ck_assert_int_eq(visit_file(&gather, in.work_fd, "nothing"), 0);
    ck_assert_str_eq(sent(), "!f 4\n!f 7\n!f 7");
}
END_TEST

START_TEST(takes_data_files_of_the_other_directory)
{
    char path[128];

    (void)feed_job(JOB_GATHER | JOB_TMP);
    ck_assert_int_eq(mkdirat(in.work_fd, "tmp", 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/tmp", dir);
    in.job.flags = JOB_GATHER;
    put_file("tmp/b.CSV", "1");
    put_file("tmp/a.png", "2");
    put_file("tmp/x.txt", "3");
    put_file("tmp/.png", "4");
    (void)mkdirat(in.work_fd, "tmp/d.png", 0755);
    ck_assert_int_eq(symlinkat("x.txt", in.work_fd, "tmp/l.png"), 0);
    ck_assert_int_eq(run_gather(path), 0);
    (void)sent();
    in.job.flags = JOB_GATHER | JOB_TMP;
    ck_assert_int_eq(run_gather(path), 0);
    /* The link is named where the walk comes upon it, and is no data file of the other. */
    ck_assert_str_eq(sent(), "!tmp/l.png 4\ntmp+a.png:2\ntmp+b.CSV:1");
    ck_assert_int_eq(run_gather(path), 0);
    ck_assert_str_eq(sent(), "!tmp/l.png 4");
}
END_TEST

START_TEST(types_are_asked_for_where_the_directory_does_not_tell)
{
    _Alignas(struct linux_dirent64) char buf[64] = {0};
    struct linux_dirent64 *d = (void *)buf;

    put_file("f", "");
    d->d_type = DT_UNKNOWN;
    d->d_name[0] = 'f';
    ck_assert_int_eq(type_of(in.work_fd, d), DT_REG);
    d->d_name[0] = 'g';
    ck_assert_int_eq(type_of(in.work_fd, d), DT_UNKNOWN);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, writes_inputs_below_the_directory);
    tcase_add_test(t, passes_the_program_on);
    tcase_add_test(t, refuses_what_is_out_of_place);
    tcase_add_test(t, bounds_the_program);
    tcase_add_test(t, does_not_write_through_links);
    tcase_add_test(t, goes_on_behind_a_file_that_cannot_be_written);
    tcase_add_test(t, known_files_are_told_from_changed_ones);
    tcase_add_test(t, a_full_table_forgets_and_does_not_overflow);
    tcase_add_test(t, a_full_text_forgets_and_does_not_overflow);
    tcase_add_test(t, sends_new_and_changed_files_in_order);
    tcase_add_test(t, tells_removals_and_directories_with_sync);
    tcase_add_test(t, leaves_out_what_is_no_file_and_says_so);
    tcase_add_test(t, goes_no_deeper_than_the_limit);
    tcase_add_test(t, limits_the_number_of_directories_too);
    tcase_add_test(t, counts_what_it_no_longer_names);
    tcase_add_test(t, tells_what_was_in_a_directory_before_the_directory);
    tcase_add_test(t, stops_when_nobody_wants_the_rest);
    tcase_add_test(t, fills_up_a_file_that_has_become_shorter);
    tcase_add_test(t, a_file_that_is_swapped_meanwhile_is_not_followed);
    tcase_add_test(t, takes_data_files_of_the_other_directory);
    tcase_add_test(t, types_are_asked_for_where_the_directory_does_not_tell);
}

UNIT_MAIN("warden files", add_tests)
