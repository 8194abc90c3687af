#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/porter.h"
#include "core/porter_state.h"
#include "porter_rig.h"
#include "unit.h"

enum { OWNER = 4242 };

/* ThreadSanitizer has a thread of its own, which keeps the capabilities that ours gives up. */
#if defined(__SANITIZE_THREAD__)
enum { HAS_FOREIGN_THREAD = 1 };
#else
enum { HAS_FOREIGN_THREAD = 0 };
#endif

static bool is_root(void)
{
    return geteuid() == 0;
}

/* One answer; its descriptor is in `*ret_fd`. */
static void receive_answer(int fd, struct porter_answer *ret, int *ret_fd)
{
    ssize_t n = io_recv_msg(fd, ret, sizeof(*ret), ret_fd);

    ck_assert_int_gt(n, 0);
    ck_assert(porter_answer_is_valid(ret, n, *ret_fd >= 0));
}

/* ---- the wire ---- */

static const struct {
    const char *what;
    struct porter_ask ask;
    ssize_t extra; /* more bytes than announced */
    bool is_valid;
} asks[] = {
    {"a list",                {.type = PORTER_LIST},                                              0,  true },
    {"no type",               {.type = 0},                                                        0,  false},
    {"an unknown type",       {.type = PORTER_TYPES},                                             0,  false},
    {"a list of a path",      {.type = PORTER_LIST, .path_len = 1, .path = "a"},                  0,  false},
    {"an open",               {.type = PORTER_OPEN, .path_len = 3, .path = "a/b"},                0,  true },
    {"an open of nothing",    {.type = PORTER_OPEN},                                              0,  false},
    {"a way out",             {.type = PORTER_OPEN, .path_len = 4, .path = "../b"},               0,  false},
    {"an absolute path",      {.type = PORTER_OPEN, .path_len = 4, .path = "/etc"},               0,  false},
    {"a NUL",                 {.type = PORTER_OPEN, .path_len = 3, .path = {'a', 0, 'b'}},        0,  false},
    {"a control byte",        {.type = PORTER_REMOVE, .path_len = 2, .path = "a\n"},              0,  false},
    {"not UTF-8",             {.type = PORTER_MAKE_DIR, .path_len = 2, .path = "a\xff"},          0,  false},
    {"bytes behind the path", {.type = PORTER_OPEN, .path_len = 1, .path = "a"},                  1,  false},
    {"too few bytes",         {.type = PORTER_OPEN, .path_len = 2, .path = "ab"},                 -1, false},
    {"a path over the limit", {.type = PORTER_OPEN, .path_len = PATH_REL_MAX + 1},                0,  false},
    {"set-uid",               {.type = PORTER_COMMIT, .mode = 04755, .path_len = 1, .path = "a"}, 0,  false},
    {"a huge size",           {.type = PORTER_CREATE, .size = PORTER_BYTES_MAX + 1},              0,  false},
    {"a huge quota",          {.type = PORTER_CREATE, .quota = UINT64_MAX},                       0,  false},
    {"padding",               {.type = PORTER_LIST, .pad = 1},                                    0,  false},
    {"a create",              {.type = PORTER_CREATE, .size = 7, .quota = 7},                     0,  true },
    {"a drop",                {.type = PORTER_DROP, .token = 9},                                  0,  true },
};

START_TEST(questions_are_checked)
{
    ssize_t n = (ssize_t)(PORTER_ASK_HEAD + asks[_i].ask.path_len) + asks[_i].extra;

    ck_assert_msg(porter_ask_is_valid(&asks[_i].ask, n) == asks[_i].is_valid, "%s", asks[_i].what);
    ck_assert(!porter_ask_is_valid(&asks[_i].ask, PORTER_ASK_HEAD - 1));
}
END_TEST

static const struct {
    const char *what;
    uint32_t type, fault, is_last, count, data_len;
    bool has_fd, is_valid;
} answers[] = {
    {"the end of a list",              PORTER_LIST,   0,              1, 0, 0,                   false, true },
    {"a part of a list",               PORTER_LIST,   0,              0, 1, 30,                  false, true },
    {"a list with a descriptor",       PORTER_LIST,   0,              1, 0, 0,                   true,  false},
    {"a failed list that has entries", PORTER_LIST,   PORTER_ENTRIES, 1, 1, 30,                  false, false},
    {"a failed list that goes on",     PORTER_LIST,   PORTER_ENTRIES, 0, 0, 0,                   false, false},
    {"too much data",                  PORTER_LIST,   0,              1, 1, PORTER_DATA_MAX + 1, false, false},
    {"an open file",                   PORTER_OPEN,   0,              1, 0, 0,                   true,  true },
    {"an open file that is none",      PORTER_OPEN,   0,              1, 0, 0,                   false, false},
    {"a failed open",                  PORTER_OPEN,   PORTER_GONE,    1, 0, 0,                   false, true },
    {"a failed open with a file",      PORTER_OPEN,   PORTER_GONE,    1, 0, 0,                   true,  false},
    {"a commit with data",             PORTER_COMMIT, 0,              1, 0, 8,                   false, false},
    {"a commit that goes on",          PORTER_COMMIT, 0,              0, 0, 0,                   false, false},
    {"a commit",                       PORTER_COMMIT, PORTER_QUOTA,   1, 0, 0,                   false, true },
    {"an answer to a drop",            PORTER_DROP,   0,              1, 0, 0,                   false, false},
    {"an unknown fault",               PORTER_REMOVE, PORTER_FAULTS,  1, 0, 0,                   false, false},
    {"an unknown type",                PORTER_TYPES,  0,              1, 0, 0,                   false, false},
    {"a strange end",                  PORTER_LIST,   0,              2, 0, 0,                   false, false},
};

START_TEST(answers_are_checked)
{
    struct porter_answer a = {.type = answers[_i].type,
                              .fault = answers[_i].fault,
                              .is_last = answers[_i].is_last,
                              .count = answers[_i].count,
                              .data_len = answers[_i].data_len};
    ssize_t n = (ssize_t)(PORTER_ANSWER_HEAD + a.data_len);

    ck_assert_msg(porter_answer_is_valid(&a, n, answers[_i].has_fd) == answers[_i].is_valid, "%s",
                  answers[_i].what);
    ck_assert(!porter_answer_is_valid(&a, n + 1, answers[_i].has_fd));
    ck_assert(!porter_answer_is_valid(&a, PORTER_ANSWER_HEAD - 1, answers[_i].has_fd));
}
END_TEST

START_TEST(entries_come_back_as_they_were_put)
{
    const struct porter_entry in[2] = {
        {.path = "dir",          .path_len = 3, .is_dir = true, .mode = 0750,       .mtime_ns = -5},
        {.path = "dir/\xc3\xa4", .path_len = 6, .mode = 0644,   .size = 1ULL << 40, .mtime_ns = 7 },
    };
    struct porter_answer a = {.type = PORTER_LIST, .is_last = 1};
    struct porter_entry out;
    size_t at = 0;

    for (int i = 0; i < 2; i++)
        ck_assert(porter_entry_put(&a, &in[i]));
    ck_assert_uint_eq(a.count, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert(porter_entry_get(&a, &at, &out));
        ck_assert_uint_eq(out.path_len, in[i].path_len);
        ck_assert_mem_eq(out.path, in[i].path, out.path_len);
        ck_assert_int_eq(out.is_dir, in[i].is_dir);
        ck_assert_uint_eq(out.mode, in[i].mode);
        ck_assert_uint_eq(out.size, in[i].size);
        ck_assert_int_eq(out.mtime_ns, in[i].mtime_ns);
    }
    ck_assert_uint_eq(at, a.data_len);
    ck_assert(!porter_entry_get(&a, &at, &out));
}
END_TEST

START_TEST(an_answer_takes_no_more_entries_than_fit)
{
    struct porter_answer a = {.type = PORTER_LIST};
    struct porter_entry e = {.path = "0123456789", .path_len = 10};
    size_t n = 0;

    while (porter_entry_put(&a, &e))
        n++;
    ck_assert_uint_eq(n, PORTER_DATA_MAX / 34);
    ck_assert_uint_le(a.data_len, PORTER_DATA_MAX);
    e.path_len = PATH_REL_MAX + 1;
    a.data_len = 0;
    ck_assert(!porter_entry_put(&a, &e));
}
END_TEST

static const struct {
    const char *what;
    size_t at; /* byte that is changed */
    uint8_t to;
} bad_entries[] = {
    {"a kind that there is not",   6,  2   },
    {"set-uid",                    1,  0x08},
    {"a path over the end",        4,  200 },
    {"a negative size",            15, 0x80},
    {"a name with a control byte", 24, 1   },
    {"no path",                    4,  0   },
};

START_TEST(bad_entries_are_refused)
{
    struct porter_answer a = {.type = PORTER_LIST};
    struct porter_entry e = {.path = "name", .path_len = 4, .mode = 0644};
    size_t at = 0;

    ck_assert(porter_entry_put(&a, &e));
    a.data[bad_entries[_i].at] = bad_entries[_i].to;
    ck_assert_msg(!porter_entry_get(&a, &at, &e), "%s", bad_entries[_i].what);
    ck_assert_uint_eq(at, 0);
}
END_TEST

START_TEST(a_directory_has_no_size)
{
    struct porter_answer a = {.type = PORTER_LIST};
    struct porter_entry e = {.path = "d", .path_len = 1, .is_dir = true, .size = 4096};
    size_t at = 0;

    ck_assert(porter_entry_put(&a, &e));
    ck_assert(!porter_entry_get(&a, &at, &e));
}
END_TEST

/* ---- the walk ---- */

/* The tree as the walk tells it, joined by blanks; NULL and `err` when it fails. */
static char *walk_all(const char *dir, struct err *err)
{
    auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(walk_free_p) struct walk *w = walk_new(fd);
    struct porter_entry e;
    struct buf b;
    int rc;

    buf_init(&b, 1 << 24);
    (void)buf_str(&b, "");
    while ((rc = walk_next(w, &e, err)) > 0)
        (void)buf_fmt(&b, "%s%.*s%s", b.len ? " " : "", (int)e.path_len, e.path,
                      e.is_dir ? "/" : "");
    if (rc == 0)
        return b.data ? buf_take(&b) : xstrdup("");
    buf_done(&b);
    return NULL;
}

START_TEST(a_walk_tells_parents_first_and_names_in_order)
{
    auto_free char *told = NULL;
    struct err err = {0};
    struct rig r;

    rig_init(&r, OWNER);
    rig_mkdir(&r, "b");
    rig_mkdir(&r, "b/sub");
    rig_mkdir(&r, "empty");
    rig_write(&r, "b/sub/z", "");
    rig_write(&r, "b/sub/a", "");
    rig_write(&r, "b/x", "");
    rig_write(&r, "b-", "");
    rig_write(&r, "B", "");
    rig_write(&r, "\xc3\xa4 name", "");
    told = walk_all(r.dir, &err);
    ck_assert_str_eq(told, "B b/ b/sub/ b/sub/a b/sub/z b/x b- empty/ \xc3\xa4 name");
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_skips_whatever_is_no_plain_file)
{
    char path[200], long_name[256];
    auto_free char *told = NULL;
    struct err err = {0};
    struct rig r;

    rig_init(&r, OWNER);
    memset(long_name, 'n', 255);
    long_name[255] = '\0';
    rig_write(&r, "plain", "");
    rig_write(&r, long_name, "");
    rig_write(&r, "new\nline", "");
    rig_write(&r, "not\xff utf8", "");
    rig_write(&r, ".oneshot-0123456789abcdef.part", "");
    rig_write(&r, ".hidden", "");
    rig_link(&r, "/etc/passwd", "link");
    rig_link(&r, "..", "up");
    rig_link(&r, "nowhere", "dangling");
    (void)snprintf(path, sizeof(path), "%s/fifo", r.dir);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    (void)snprintf(path, sizeof(path), "%s/device", r.dir);
    if (is_root())
        ck_assert_int_eq(mknod(path, S_IFCHR | 0666, 0x103), 0);
    told = walk_all(r.dir, &err);
    ck_assert_msg(strncmp(told, ".hidden nnn", 11) == 0, "%s", told);
    ck_assert_ptr_nonnull(strstr(told, "n plain"));
    ck_assert_uint_eq(strlen(told), strlen(".hidden  plain") + 255);
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_goes_as_deep_as_a_path_may_be)
{
    char path[200] = "";
    auto_free char *told = NULL;
    struct err err = {0};
    struct rig r;

    rig_init(&r, OWNER);
    for (int i = 0; i < PATH_DEPTH_MAX + 2; i++) {
        (void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "%sd", i ? "/" : "");
        rig_mkdir(&r, path);
    }
    told = walk_all(r.dir, &err);
    ck_assert_ptr_nonnull(told);
    /* d/ d/d/ … : the sum of 2i over 32 levels, and a blank between each */
    ck_assert_uint_eq(strlen(told), 32 * 33 + 31);
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_leaves_paths_that_are_too_long_out)
{
    char path[1200] = "";
    auto_free char *told = NULL;
    struct err err = {0};
    struct rig r;

    rig_init(&r, OWNER);
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(path);

        memset(path + n, 'p', 203);
        path[n + 203] = '\0';
        rig_mkdir(&r, path);
        (void)snprintf(path + n + 203, sizeof(path) - n - 203, "/");
    }
    path[strlen(path) - 1] = '\0';
    ck_assert_uint_eq(strlen(path), 1019);
    (void)snprintf(path + 1019, sizeof(path) - 1019, "/four");
    rig_write(&r, path, "");
    (void)snprintf(path + 1019, sizeof(path) - 1019, "/fives");
    rig_write(&r, path, "");
    told = walk_all(r.dir, &err);
    ck_assert(str_ends(told, "/four"));
    rig_done(&r);
}
END_TEST

/* 0: the owner sees all but what is closed to him. */
static int walk_as_owner(const void *arg)
{
    const struct rig *r = arg;
    auto_free char *told = NULL;

    if (is_root() && setuid(OWNER) < 0)
        return 2;
    told = walk_all(r->dir, NULL);
    return told && strcmp(told, "closed/ shown") == 0 ? 0 : 1;
}

START_TEST(a_directory_that_cannot_be_read_is_empty_for_the_walk)
{
    char path[200];
    struct rig r;

    rig_init(&r, OWNER);
    rig_mkdir(&r, "closed");
    rig_write(&r, "closed/file", "");
    rig_write(&r, "secret", "");
    rig_write(&r, "shown", "");
    (void)snprintf(path, sizeof(path), "%s/secret", r.dir);
    ck_assert_int_eq(chmod(path, 0), 0);
    (void)snprintf(path, sizeof(path), "%s/closed", r.dir);
    ck_assert_int_eq(chmod(path, 0), 0);
    ck_assert_int_eq(rig_in_child(walk_as_owner, &r), 0);
    ck_assert_int_eq(chmod(path, 0700), 0);
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_ends_at_the_limit)
{
    auto_free char *told = NULL;
    struct err err = {0};
    struct rig r;

    rig_init(&r, OWNER);
    rig_mkdir(&r, "d");
    rig_write_many(&r, "d/", PORTER_ENTRIES_MAX);
    told = walk_all(r.dir, &err);
    ck_assert_ptr_null(told);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    ck_assert_ptr_nonnull(strstr(err.msg, "50000"));
    rig_done(&r);
}
END_TEST

static int walk_without_descriptors(const void *arg)
{
    const struct rig *r = arg;
    struct rlimit limit;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct err err = {0};

    (void)close(next);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)next + 3; /* the top, and one below */
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || walk_all(r->dir, &err))
        return 1;
    return err.sys == EMFILE ? 0 : 2;
}

START_TEST(a_walk_without_descriptors_fails_and_says_so)
{
    struct rig r;

    rig_init(&r, OWNER);
    rig_mkdir(&r, "a");
    rig_mkdir(&r, "a/b");
    ck_assert_int_eq(rig_in_child(walk_without_descriptors, &r), 0);
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_ends_at_the_limit_whatever_the_names_stand_for)
{
    auto_free char *told = NULL;
    struct err err = {0};
    char path[100];
    struct rig r;

    rig_init(&r, OWNER);
    for (int i = 0; i <= 2 * PORTER_ENTRIES_MAX; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d", r.dir, i);
        MUST(symlink("x", path) == 0);
    }
    told = walk_all(r.dir, &err);
    ck_assert_ptr_null(told);
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    rig_done(&r);
}
END_TEST

START_TEST(a_walk_of_what_is_no_directory_fails)
{
    auto_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP(walk_free_p) struct walk *w = walk_new(fd);
    struct porter_entry e;
    struct err err = {0};

    ck_assert_int_eq(walk_next(w, &e, &err), -1);
    ck_assert_int_eq(err.sys, ENOTDIR);
    walk_free(NULL);
}
END_TEST

START_TEST(times_outside_the_range_are_clamped)
{
    struct stat st = {
        .st_mtim = {.tv_sec = 3, .tv_nsec = 5}
    };

    ck_assert_int_eq(walk_mtime_ns(&st), 3000000005);
    st.st_mtim.tv_sec = INT64_MAX / 1000;
    ck_assert_int_eq(walk_mtime_ns(&st), INT64_MAX);
    st.st_mtim.tv_sec = INT64_MIN / 1000;
    ck_assert_int_eq(walk_mtime_ns(&st), INT64_MIN);
}
END_TEST

/* ---- the conversation ---- */

START_TEST(ends_when_the_front_is_gone)
{
    struct rig r;

    rig_init(&r, OWNER);
    rig_start(&r, r.dir, (enum rig_mode)_i);
    ck_assert_int_eq(rig_wait(&r), ERR_NONE);
    rig_done(&r);
}
END_TEST

START_TEST(a_hostile_front_ends_it)
{
    struct porter_ask ask = asks[_i].ask;
    struct rig r;

    if (asks[_i].is_valid)
        return;
    rig_init(&r, OWNER);
    rig_start(&r, r.dir, RIG_RUN);
    if (ask.path_len > PATH_REL_MAX)
        ask.path_len = PATH_REL_MAX + 1;
    ck_assert_int_eq(send(r.fd, &ask,
                          (size_t)((ssize_t)(PORTER_ASK_HEAD + ask.path_len) + asks[_i].extra),
                          MSG_NOSIGNAL),
                     (ssize_t)(PORTER_ASK_HEAD + ask.path_len) + asks[_i].extra);
    ck_assert_int_eq(rig_wait(&r), ERR_PEER);
    rig_done(&r);
}
END_TEST

START_TEST(a_descriptor_from_the_front_is_closed)
{
    struct porter_ask ask = {.type = PORTER_LIST, .seq = 3};
    struct porter_answer a;
    int pair[2], fd;
    char byte;
    struct rig r;

    rig_init(&r, OWNER);
    rig_start(&r, r.dir, RIG_RUN);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(io_send_msg(r.fd, &ask, PORTER_ASK_HEAD, pair[1]), 0);
    ck_assert_int_eq(close(pair[1]), 0);
    receive_answer(r.fd, &a, &fd);
    ck_assert_uint_eq(a.seq, 3);
    ck_assert_int_eq(read(pair[0], &byte, 1), 0);
    ck_assert_int_eq(close(pair[0]), 0);
    rig_done(&r);
}
END_TEST

START_TEST(a_long_list_does_not_hold_a_question_up)
{
    struct porter_ask list = {.type = PORTER_LIST, .seq = 1};
    struct porter_ask open_ask = {.type = PORTER_OPEN, .seq = 2};
    struct porter_answer a;
    unsigned parts = 0;
    bool was_last = false, saw_open = false;
    struct rig r;

    rig_init(&r, OWNER);
    rig_write_many(&r, "some-longer-name-", 10000);
    rig_start(&r, r.dir, RIG_RUN);
    rig_ask(r.fd, &list, NULL);
    rig_ask(r.fd, &open_ask, "some-longer-name-77");
    while (!was_last) {
        int fd;

        receive_answer(r.fd, &a, &fd);
        saw_open = saw_open || a.seq == 2;
        if (a.seq == 2)
            ck_assert_int_eq(close(fd), 0);
        parts += a.seq == 1;
        was_last = a.seq == 1 && a.is_last;
        /* The second question was there at the latest when the first part had been sent. */
        ck_assert(saw_open || parts < 3);
    }
    ck_assert_uint_ge(parts, 10000 / 128);
    rig_done(&r);
}
END_TEST

START_TEST(many_lists_take_turns)
{
    enum { LISTS = 40 };
    unsigned first_end = 0, parts = 0, ends = 0, counts[LISTS] = {0};
    struct porter_answer a;
    struct rig r;
    int status;

    rig_init(&r, OWNER);
    rig_write_many(&r, "", 1000);
    rig_start(&r, r.dir, RIG_RUN);
    /* All questions are there before it comes to the first. */
    ck_assert_int_eq(kill(r.pid, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(r.pid, &status, WUNTRACED), r.pid);
    ck_assert(WIFSTOPPED(status));
    for (unsigned i = 0; i < LISTS; i++)
        rig_ask(r.fd, &(struct porter_ask){.type = PORTER_LIST, .seq = i}, NULL);
    ck_assert_int_eq(kill(r.pid, SIGCONT), 0);
    while (ends < LISTS) {
        int fd;

        receive_answer(r.fd, &a, &fd);
        counts[a.seq] += a.count;
        parts++;
        ends += a.is_last;
        if (ends && !first_end)
            first_end = parts;
    }
    /* One after the other the first would have ended with its 8th part. */
    ck_assert_uint_gt(first_end, 3 * 8);
    for (unsigned i = 0; i < LISTS; i++)
        ck_assert_uint_eq(counts[i], 1000);
    rig_done(&r);
}
END_TEST

START_TEST(too_many_lists_are_turned_away)
{
    unsigned busy = 0, ends = 0;
    struct porter_answer a;
    struct rig r;
    pid_t asker;
    int status;

    rig_init(&r, OWNER);
    rig_write_many(&r, "a-name-of-some-length-", 3000);
    rig_start(&r, r.dir, RIG_RUN);
    asker = fork();
    if (asker == 0) {
        for (unsigned i = 0; i < 2 * PORTER_QUESTIONS_MAX; i++)
            rig_ask(r.fd, &(struct porter_ask){.type = PORTER_LIST, .seq = i}, NULL);
        _exit(0);
    }
    /* Nothing is read until everything is asked, so that the line really grows. */
    while (ends < 2 * PORTER_QUESTIONS_MAX) {
        int fd;

        receive_answer(r.fd, &a, &fd);
        ends += a.is_last;
        busy += a.fault == PORTER_BUSY;
        if (busy >= 1)
            break;
    }
    ck_assert_uint_ge(busy, 1);
    (void)kill(r.pid, SIGKILL);
    (void)kill(asker, SIGKILL);
    ck_assert_int_eq(waitpid(asker, &status, 0), asker);
    (void)rig_wait(&r);
    rig_done(&r);
}
END_TEST

START_TEST(a_front_that_goes_in_the_middle_of_a_list_ends_it)
{
    struct rig r;

    rig_init(&r, OWNER);
    rig_write_many(&r, "", 2000);
    rig_start(&r, r.dir, RIG_RUN);
    for (unsigned i = 0; i < 20; i++)
        rig_ask(r.fd, &(struct porter_ask){.type = PORTER_LIST, .seq = i}, NULL);
    ck_assert_int_eq(rig_wait(&r), ERR_NONE);
    rig_done(&r);
}
END_TEST

START_TEST(sizes_over_the_quota_are_refused_here_too)
{
    struct porter_ask ask = {.type = PORTER_CREATE, .size = 101, .quota = 100};
    struct porter_answer a;
    struct rig r;
    int fd;

    rig_init(&r, OWNER);
    rig_start(&r, r.dir, RIG_RUN);
    rig_ask(r.fd, &ask, NULL);
    receive_answer(r.fd, &a, &fd);
    ck_assert_uint_eq(a.fault, PORTER_QUOTA);
    rig_done(&r);
}
END_TEST

/* ---- what becomes of the process ---- */

static void status_field(pid_t pid, const char *field, char out[80])
{
    auto_free char *data = NULL;
    char path[40], *at;
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    ck_assert_int_eq(io_read_file(path, 1 << 16, &data, &n, NULL), 0);
    at = strstr(data, field);
    ck_assert_ptr_nonnull(at);
    at += strlen(field);
    at += strspn(at, "\t ");
    at[strcspn(at, "\n")] = '\0';
    (void)str_copy(out, at, 80);
}

static void expect_status(pid_t pid, const char *field, const char *value)
{
    char text[80];

    status_field(pid, field, text);
    ck_assert_msg(strcmp(text, value) == 0, "%s is '%s', not '%s'", field, text, value);
}

/* Asks once, so that the porter is known to have gone through all its preparations. */
static void settle(struct rig *r)
{
    struct porter_answer a;
    int fd;

    rig_ask(r->fd, &(struct porter_ask){.type = PORTER_LIST, .seq = 1}, NULL);
    receive_answer(r->fd, &a, &fd);
}

START_TEST(as_root_it_becomes_the_owner_and_nothing_more)
{
    char path[60], link[100] = "", ids[60];
    uid_t owner = _i ? 0 : OWNER;
    struct rig r;
    struct stat st;

    if (!is_root()) {
        (void)puts("skipped: needs root");
        return;
    }
    rig_init(&r, owner);
    rig_start(&r, r.dir, RIG_CONFINED);
    settle(&r);
    (void)snprintf(ids, sizeof(ids), "%d\t%d\t%d\t%d", (int)owner, (int)owner, (int)owner,
                   (int)owner);
    expect_status(r.pid, "Uid:", ids);
    expect_status(r.pid, "Gid:", ids);
    expect_status(r.pid, "Groups:", "");
    expect_status(r.pid, "CapInh:", "0000000000000000");
    expect_status(r.pid, "CapPrm:", "0000000000000000");
    expect_status(r.pid, "CapEff:", "0000000000000000");
    expect_status(r.pid, "CapBnd:", "0000000000000000");
    expect_status(r.pid, "CapAmb:", "0000000000000000");
    expect_status(r.pid, "NoNewPrivs:", "1");
    expect_status(r.pid, "Seccomp:", "2");
    (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)r.pid);
    ck_assert_int_gt(readlink(path, link, sizeof(link) - 1), 0);
    ck_assert_str_eq(link, r.dir);
    /* Not dumpable: its own files in /proc belong to root. */
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)r.pid);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 0);
    rig_done(&r);
}
END_TEST

START_TEST(as_a_user_it_gives_up_what_it_can)
{
    struct rig r;

    rig_init(&r, 4243);
    rig_start(&r, r.dir, RIG_USER_4243);
    settle(&r);
    expect_status(r.pid, "CapEff:", "0000000000000000");
    expect_status(r.pid, "CapPrm:", "0000000000000000");
    expect_status(r.pid, "NoNewPrivs:", "1");
    expect_status(r.pid, "Seccomp:", "2");
    rig_done(&r);
}
END_TEST

/* Takes one capability from this process, as the engine does from root in a container. */
static int drop_capability(int cap)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &head, data) < 0)
        return -1;
    data[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
    data[CAP_TO_INDEX(cap)].permitted &= ~CAP_TO_MASK(cap);
    return (int)syscall(SYS_capset, &head, data);
}

static const struct {
    const char *what;
    int cap;
    bool is_missing; /* the directory has to be made */
    int kind;
} lacks[] = {
    {"without chroot it works within the directory all the same", CAP_SYS_CHROOT, false, ERR_NONE    },
    {"who cannot become the owner does not serve",                CAP_SETUID,     false, ERR_INTERNAL},
    {"who cannot drop groups does not serve",                     CAP_SETGID,     false, ERR_INTERNAL},
    {"who cannot act as the owner makes no directory",            CAP_SETUID,     true,  ERR_INTERNAL},
};

/* A porter whose front is gone at once, without `cap` (-1: with all of them). */
struct brief_porter {
    const char *dir;
    int cap;
};

static int run_briefly(const void *arg)
{
    const struct brief_porter *b = arg;
    struct err err = {0};
    int pair[2];

    log_init("test", LOG_ERROR, LOG_TEXT, open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
        shutdown(pair[0], SHUT_WR) < 0 || (b->cap >= 0 && drop_capability(b->cap) < 0))
        return 99;
    (void)!porter_run(b->dir, pair[1], &err);
    return (int)err.kind;
}

START_TEST(root_may_be_less_than_root)
{
    auto_free char *dir = NULL;
    struct rig r;

    if (!is_root() || HAS_FOREIGN_THREAD) {
        (void)puts("skipped: needs root, and no thread but ours");
        return;
    }
    rig_init(&r, OWNER);
    dir = xasprintf("%s%s", r.dir, lacks[_i].is_missing ? "/new" : "");
    ck_assert_msg(rig_in_child(run_briefly, &(struct brief_porter){dir, lacks[_i].cap}) ==
                      lacks[_i].kind,
                  "%s", lacks[_i].what);
    rig_done(&r);
}
END_TEST

START_TEST(a_closed_directory_is_no_workspace_for_a_user)
{
    struct rig r;

    rig_init(&r, 4243);
    ck_assert_int_eq(chmod(r.dir, 0), 0);
    rig_start(&r, r.dir, RIG_USER_4243);
    ck_assert_int_eq(rig_wait(&r), ERR_INTERNAL);
    rig_done(&r);
}
END_TEST

static int try_many_files(void)
{
    for (int i = 0; i < 1000; i++) {
        if (openat(AT_FDCWD, ".", O_RDONLY | O_CLOEXEC) < 0)
            return 1;
    }
    return 0;
}

/* Somebody who tries something behind porter_confine. */
struct attempt {
    const char *dir;
    int (*try)(void);
};

static int try_confined(const void *arg)
{
    const struct attempt *a = arg;
    struct rlimit limit;
    int fd, dir_fd;

    /* A soft limit as low as some systems set it. */
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 256;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || porter_open_dir(a->dir, &dir_fd, NULL) < 0 ||
        porter_confine(dir_fd, fd, NULL) < 0)
        return 99;
    return a->try();
}

static int try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || errno != EPERM;
}

static int try_inet(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM;
}

static int try_exec(void)
{
    char name[] = "true", *argv[] = {name, NULL}, *none[] = {NULL};

    return execve("/bin/true", argv, none) == 0 || errno != EPERM;
}

static int try_fork(void)
{
    return fork() >= 0 || errno != EPERM;
}

static int try_setuid(void)
{
    return setuid(1) == 0 || errno != EPERM;
}

static int try_chroot(void)
{
    return chroot(".") == 0 || errno != EPERM;
}

static int try_kill(void)
{
    return kill(1, 0) == 0 || errno != EPERM;
}

static int try_outside(void)
{
    return open("/etc/passwd", O_RDONLY) >= 0 || open("../outside/secret", O_RDONLY) >= 0;
}

static int try_inherited(void)
{
    int fd, n = 0;

    for (fd = 3; fd < 100; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n != 2; /* the directory and the pair */
}

static int (*const tries[])(void) = {
    try_socket, try_inet, try_exec,      try_fork,    try_setuid,
    try_chroot, try_kill, try_inherited, try_outside, try_many_files,
};

START_TEST(confined_it_can_do_nothing_else)
{
    struct rig r;

    if (tries[_i] == try_outside && !is_root()) {
        (void)puts("skipped: needs root");
        return;
    }
    rig_init(&r, OWNER);
    ck_assert_int_eq(rig_in_child(try_confined, &(struct attempt){r.dir, tries[_i]}), 0);
    rig_done(&r);
}
END_TEST

START_TEST(a_missing_directory_is_made_for_the_owner_of_its_parent)
{
    char dir[120];
    struct stat st;
    struct rig r;

    rig_init(&r, OWNER);
    (void)snprintf(dir, sizeof(dir), "%s/new//./deeper/ws/", r.dir);
    ck_assert_int_eq(rig_in_child(run_briefly, &(struct brief_porter){dir, -1}), ERR_NONE);
    ck_assert_int_eq(stat(dir, &st), 0);
    ck_assert(S_ISDIR(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 0777, 0755);
    ck_assert_uint_eq(st.st_uid, is_root() ? OWNER : geteuid());
    (void)snprintf(dir, sizeof(dir), "%s/new", r.dir);
    ck_assert_int_eq(stat(dir, &st), 0);
    ck_assert_uint_eq(st.st_uid, is_root() ? OWNER : geteuid());
    rig_done(&r);
}
END_TEST

static const struct {
    const char *dir; /* %s: the rig's directory */
    enum err_kind kind;
} bad_dirs[] = {
    {"/",                                                                            ERR_INVALID },
    {"%s/..//../../../..",                                                           ERR_INVALID },
    {"%s/file",                                                                      ERR_INTERNAL},
    {"%s/file/below",                                                                ERR_INTERNAL},
    {"/proc/1/nowhere",                                                              ERR_INTERNAL},
    {"%s/"
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
     "nnn"
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
     "nnn"
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/x", ERR_INVALID },
};

START_TEST(directories_that_cannot_be_are_refused)
{
    char dir[500];
    struct rig r;

    rig_init(&r, OWNER);
    rig_write(&r, "file", "");
    (void)str_copy(dir, bad_dirs[_i].dir, sizeof(dir));
    if (str_starts(bad_dirs[_i].dir, "%s"))
        (void)snprintf(dir, sizeof(dir), "%s%s", r.dir, bad_dirs[_i].dir + 2);
    ck_assert_int_eq(rig_in_child(run_briefly, &(struct brief_porter){dir, -1}), bad_dirs[_i].kind);
    rig_done(&r);
}
END_TEST

START_TEST(a_link_on_the_way_to_a_missing_directory_is_the_operators)
{
    char dir[120], real[120];
    struct stat st;
    struct rig r;

    rig_init(&r, OWNER);
    rig_mkdir(&r, "real");
    rig_link(&r, "real", "link");
    (void)snprintf(dir, sizeof(dir), "%s/link/ws", r.dir);
    ck_assert_int_eq(rig_in_child(run_briefly, &(struct brief_porter){dir, -1}), ERR_NONE);
    (void)snprintf(real, sizeof(real), "%s/real/ws", r.dir);
    ck_assert_int_eq(lstat(real, &st), 0);
    rig_done(&r);
}
END_TEST

START_TEST(leftovers_are_swept_unless_somebody_writes_them)
{
    static const char mine[] = ".oneshot-00000000000000aa.part";
    static const char other[] = ".oneshot-00000000000000bb.part";
    char path[200];
    struct rig r;
    int fd;

    rig_init(&r, OWNER);
    rig_write(&r, mine, "left by a crash");
    rig_write(&r, other, "being written");
    rig_write(&r, ".oneshot-notes", "the user's");
    (void)snprintf(path, sizeof(path), "%s/%s", r.dir, other);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    rig_start(&r, r.dir, RIG_RUN);
    settle(&r);
    ck_assert(!rig_has(&r, mine));
    ck_assert(rig_has(&r, other));
    ck_assert(rig_has(&r, ".oneshot-notes"));
    ck_assert_int_eq(close(fd), 0);
    rig_done(&r);
}
END_TEST

START_TEST(files_under_way_are_bounded)
{
    struct porter_ask ask = {.type = PORTER_CREATE, .quota = 100};
    struct porter_answer a;
    struct rig r;
    int fd;

    rig_init(&r, OWNER);
    rig_start(&r, r.dir, RIG_RUN);
    for (unsigned i = 0; i <= PORTER_FILES_MAX; i++) {
        ask.seq = i;
        rig_ask(r.fd, &ask, NULL);
        receive_answer(r.fd, &a, &fd);
        ck_assert_uint_eq(a.fault, i < PORTER_FILES_MAX ? PORTER_FINE : PORTER_BUSY);
        if (fd >= 0)
            ck_assert_int_eq(close(fd), 0);
    }
    /* The front goes: nothing stays behind. */
    ck_assert_int_eq(rig_wait(&r), ERR_NONE);
    ck_assert_int_eq(rmdir(r.dir), 0);
    ck_assert_int_eq(mkdir(r.dir, 0755), 0);
    rig_done(&r);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60); /* 50,000 files, under sanitizers */
    tcase_add_loop_test(t, questions_are_checked, 0, ARRAY_LEN(asks));
    tcase_add_loop_test(t, answers_are_checked, 0, ARRAY_LEN(answers));
    tcase_add_test(t, entries_come_back_as_they_were_put);
    tcase_add_test(t, an_answer_takes_no_more_entries_than_fit);
    tcase_add_loop_test(t, bad_entries_are_refused, 0, ARRAY_LEN(bad_entries));
    tcase_add_test(t, a_directory_has_no_size);
    tcase_add_test(t, a_walk_tells_parents_first_and_names_in_order);
    tcase_add_test(t, a_walk_skips_whatever_is_no_plain_file);
    tcase_add_test(t, a_walk_goes_as_deep_as_a_path_may_be);
    tcase_add_test(t, a_walk_leaves_paths_that_are_too_long_out);
    tcase_add_test(t, a_directory_that_cannot_be_read_is_empty_for_the_walk);
    tcase_add_test(t, a_walk_ends_at_the_limit);
    tcase_add_test(t, a_walk_ends_at_the_limit_whatever_the_names_stand_for);
    tcase_add_test(t, a_walk_without_descriptors_fails_and_says_so);
    tcase_add_test(t, a_walk_of_what_is_no_directory_fails);
    tcase_add_test(t, times_outside_the_range_are_clamped);
    tcase_add_loop_test(t, ends_when_the_front_is_gone, RIG_RUN, RIG_CONFINED + 1);
    tcase_add_loop_test(t, a_hostile_front_ends_it, 0, ARRAY_LEN(asks));
    tcase_add_test(t, a_descriptor_from_the_front_is_closed);
    tcase_add_test(t, a_long_list_does_not_hold_a_question_up);
    tcase_add_test(t, many_lists_take_turns);
    tcase_add_test(t, too_many_lists_are_turned_away);
    tcase_add_test(t, a_front_that_goes_in_the_middle_of_a_list_ends_it);
    tcase_add_test(t, sizes_over_the_quota_are_refused_here_too);
    tcase_add_loop_test(t, root_may_be_less_than_root, 0, ARRAY_LEN(lacks));
    tcase_add_test(t, a_closed_directory_is_no_workspace_for_a_user);
    tcase_add_loop_test(t, as_root_it_becomes_the_owner_and_nothing_more, 0, 2);
    tcase_add_test(t, as_a_user_it_gives_up_what_it_can);
    tcase_add_loop_test(t, confined_it_can_do_nothing_else, 0, ARRAY_LEN(tries));
    tcase_add_test(t, a_missing_directory_is_made_for_the_owner_of_its_parent);
    tcase_add_loop_test(t, directories_that_cannot_be_are_refused, 0, ARRAY_LEN(bad_dirs));
    tcase_add_test(t, a_link_on_the_way_to_a_missing_directory_is_the_operators);
    tcase_add_test(t, leftovers_are_swept_unless_somebody_writes_them);
    tcase_add_test(t, files_under_way_are_bounded);
}

UNIT_MAIN_ONE_PROCESS("porter", add_tests)
