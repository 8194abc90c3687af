#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "porter_rig.h"
#include "unit.h"

enum { OWNER = 4242, QUOTA = 1 << 20 };

static struct rig rig;
static struct workspace *ws;
static struct err err;

static void begin(enum rig_mode mode)
{
    rig_init(&rig, mode == RIG_USER_4243 ? 4243 : OWNER);
    rig_start(&rig, rig.dir, mode);
    ws = workspace_new(rig.fd, QUOTA);
    rig.fd = -1;
    err = (struct err){0};
}

static void end(void)
{
    workspace_free(ws);
    if (rig.pid)
        ck_assert_int_eq(rig_wait(&rig), ERR_NONE);
    rig_check_outside(&rig);
    rig_done(&rig);
}

static void ok(int rc)
{
    ck_assert_msg(rc == 0, "%s", err.msg);
}

static void fails(int rc, enum err_kind kind)
{
    ck_assert_int_eq(rc, -1);
    ck_assert_msg(err.kind == kind, "kind %s, not %s: %s", err_kind_name(err.kind),
                  err_kind_name(kind), err.msg);
    ck_assert_int_ne(err.msg[0], '\0');
    err = (struct err){0};
}

static void expect_list(const char *expected)
{
    auto_free char *list = rig_list(ws);

    ck_assert_str_eq(list, expected);
}

static void expect_file(const char *path, const char *text)
{
    auto_free char *data = rig_read(&rig, path);

    ck_assert_msg(data != NULL, "'%s' is missing", path);
    ck_assert_str_eq(data, text);
}

static char *open_and_read(const char *path)
{
    char data[4096];
    ssize_t n;
    int fd;

    if (workspace_open(ws, path, &fd, &err) < 0)
        return NULL;
    n = read(fd, data, sizeof(data));
    ck_assert_int_ge(n, 0);
    ck_assert_int_eq(close(fd), 0);
    return xstrndup(data, (size_t)n);
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

/* ---- files ---- */

START_TEST(what_was_put_is_listed_and_read_back)
{
    auto_free char *data = NULL;
    struct workspace_entry *list;
    size_t n;

    begin((enum rig_mode)_i);
    expect_list("");
    ok(rig_put(ws, "b.txt", "hello", 0644, &err));
    ok(rig_put(ws, "sub/deeper/a.py", "print(1)", 0755, &err));
    ok(workspace_make_dir(ws, "sub/empty", &err));
    expect_list("b.txt sub/ sub/deeper/ sub/deeper/a.py sub/empty/");
    data = open_and_read("sub/deeper/a.py");
    ck_assert_str_eq(data, "print(1)");
    expect_file("b.txt", "hello");
    ok(workspace_list(ws, &list, &n, &err));
    ck_assert_uint_eq(list[0].size, 5);
    ck_assert_uint_eq(list[0].mode, 0644);
    ck_assert_uint_eq(list[3].mode, 0755);
    ck_assert(llabs(list[0].mtime_ns / 1000000 - clock_wall_ms()) < 60000);
    workspace_entries_free(list, n);
    end();
}
END_TEST

START_TEST(files_belong_to_the_owner_of_the_directory)
{
    char path[200];
    struct stat st;

    if (geteuid() != 0) {
        (void)puts("skipped: needs root");
        return;
    }
    begin(RIG_RUN);
    ok(rig_put(ws, "d/f", "x", 0600, &err));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", rig.dir, i ? "d/f" : "d");
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_uint_eq(st.st_uid, OWNER);
        ck_assert_uint_eq(st.st_gid, OWNER);
    }
    end();
}
END_TEST

static const struct {
    mode_t asked, kept;
} modes[] = {
    {0,     0600},
    {0444,  0644},
    {0777,  0777},
    {06755, 0755},
    {0070,  0670},
};

START_TEST(a_file_keeps_its_mode_but_stays_the_owners)
{
    char path[200];
    struct stat st;

    begin(RIG_RUN);
    ok(rig_put(ws, "f", "x", modes[_i].asked, &err));
    (void)snprintf(path, sizeof(path), "%s/f", rig.dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, modes[_i].kept);
    end();
}
END_TEST

START_TEST(nobody_sees_a_file_before_its_commit)
{
    uint64_t token;
    int fd;

    begin(RIG_RUN);
    ok(workspace_create(ws, 3, &fd, &token, &err));
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    expect_list("");
    ok(workspace_commit(ws, token, "done", 0644, &err));
    ck_assert_int_eq(close(fd), 0);
    expect_list("done");
    end();
}
END_TEST

START_TEST(a_dropped_file_leaves_nothing)
{
    uint64_t token;
    int fd;

    begin(RIG_RUN);
    ok(workspace_create(ws, 3, &fd, &token, &err));
    ck_assert_int_eq(close(fd), 0);
    workspace_drop(ws, token);
    fails(workspace_commit(ws, token, "late", 0644, &err), ERR_NOTFOUND);
    expect_list("");
    ck_assert_int_eq(rmdir(rig.dir), 0);
    ck_assert_int_eq(mkdir(rig.dir, 0755), 0);
    workspace_free(ws);
    ws = NULL;
    (void)rig_wait(&rig);
    end();
}
END_TEST

START_TEST(the_last_writer_wins)
{
    uint64_t token[2];
    int fd[2];

    begin(RIG_RUN);
    rig_write(&rig, "f", "old");
    for (int i = 0; i < 2; i++) {
        ok(workspace_create(ws, 6, &fd[i], &token[i], &err));
        ck_assert_int_eq(write(fd[i], i ? "second" : "first", i ? 6 : 5), i ? 6 : 5);
        ck_assert_int_eq(close(fd[i]), 0);
    }
    ok(workspace_commit(ws, token[1], "f", 0644, &err));
    ok(workspace_commit(ws, token[0], "f", 0644, &err));
    expect_file("f", "first");
    expect_list("f");
    end();
}
END_TEST

static const struct {
    const char *path;
    enum err_kind kind; /* of a commit */
} bad_names[] = {
    {"",                               ERR_INVALID},
    {"/etc/passwd",                    ERR_INVALID},
    {"../outside/x",                   ERR_INVALID},
    {"a/../../x",                      ERR_INVALID},
    {"a//b",                           ERR_INVALID},
    {"a\nb",                           ERR_INVALID},
    {"dir",                            ERR_INVALID},
    {"file/below",                     ERR_DENIED },
    {"outlink/x",                      ERR_DENIED },
    {"outlink/sub/x",                  ERR_DENIED },
    {"dir/uplink/x",                   ERR_DENIED },
    {".oneshot-0123456789abcdef.part", ERR_INVALID},
};

START_TEST(names_that_cannot_be_are_refused)
{
    const char *path = bad_names[_i].path;
    int fd;

    begin(RIG_SERVE);
    rig_mkdir(&rig, "dir");
    rig_write(&rig, "file", "x");
    rig_link(&rig, rig.outside, "outlink");
    rig_link(&rig, "../..", "dir/uplink");
    fails(rig_put(ws, path, "evil", 0644, &err), bad_names[_i].kind);
    if (strcmp(path, "dir") != 0)
        fails(workspace_make_dir(ws, path, &err), bad_names[_i].kind);
    fails(workspace_open(ws, path, &fd, &err),
          bad_names[_i].kind == ERR_INVALID && strcmp(path, "dir") != 0 ? ERR_INVALID
                                                                        : ERR_NOTFOUND);
    expect_list("dir/ file");
    end();
}
END_TEST

START_TEST(links_are_never_followed)
{
    char secret[100];
    int fd;

    begin((enum rig_mode)_i);
    (void)snprintf(secret, sizeof(secret), "%s/secret", rig.outside);
    rig_link(&rig, secret, "abs");
    rig_link(&rig, "../outside/secret", "rel");
    rig_link(&rig, rig.outside, "dir");
    expect_list("");
    fails(workspace_open(ws, "abs", &fd, &err), ERR_NOTFOUND);
    fails(workspace_open(ws, "rel", &fd, &err), ERR_NOTFOUND);
    fails(workspace_open(ws, "dir/secret", &fd, &err), ERR_NOTFOUND);
    fails(workspace_remove(ws, "dir/secret", 0, &err), ERR_DENIED);
    fails(workspace_remove(ws, "abs", 0, &err), ERR_BUSY);
    fails(workspace_make_dir(ws, "dir/new", &err), ERR_DENIED);
    fails(workspace_make_dir(ws, "dir", &err), ERR_DENIED);
    /* A commit takes the link's place, not its target's. */
    ok(rig_put(ws, "abs", "mine", 0644, &err));
    expect_file("abs", "mine");
    expect_list("abs");
    end();
}
END_TEST

START_TEST(what_is_no_plain_file_cannot_be_opened)
{
    char path[200];
    int fd;

    begin(RIG_RUN);
    (void)snprintf(path, sizeof(path), "%s/pipe", rig.dir);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    rig_mkdir(&rig, "dir");
    fails(workspace_open(ws, "pipe", &fd, &err), ERR_NOTFOUND);
    fails(workspace_open(ws, "dir", &fd, &err), ERR_NOTFOUND);
    fails(workspace_open(ws, "nothing", &fd, &err), ERR_NOTFOUND);
    fails(workspace_open(ws, "no/thing", &fd, &err), ERR_NOTFOUND);
    fails(workspace_remove(ws, "pipe", 0, &err), ERR_BUSY);
    ok(rig_put(ws, "pipe", "now a file", 0644, &err));
    expect_file("pipe", "now a file");
    end();
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_not_found)
{
    char path[200];
    int fd;

    begin(geteuid() == 0 ? RIG_RUN : RIG_USER_4243);
    rig_write(&rig, "f", "x");
    (void)snprintf(path, sizeof(path), "%s/f", rig.dir);
    ck_assert_int_eq(chmod(path, 0), 0);
    fails(workspace_open(ws, "f", &fd, &err), ERR_NOTFOUND);
    end();
}
END_TEST

START_TEST(a_directory_without_rights_is_denied)
{
    char path[200];

    if (geteuid() != 0) {
        (void)puts("skipped: needs root");
        return;
    }
    begin(RIG_RUN);
    rig_mkdir(&rig, "roots");
    (void)snprintf(path, sizeof(path), "%s/roots", rig.dir);
    ck_assert_int_eq(chown(path, 0, 0), 0);
    fails(rig_put(ws, "roots/f", "x", 0644, &err), ERR_DENIED);
    fails(workspace_make_dir(ws, "roots/d", &err), ERR_DENIED);
    fails(workspace_make_dir(ws, "roots/d/e", &err), ERR_DENIED);
    rig_write(&rig, "roots/f", "x");
    fails(workspace_remove(ws, "roots/f", 0, &err), ERR_DENIED);
    end();
}
END_TEST

START_TEST(removal_asks_whether_it_is_still_the_same)
{
    struct workspace_entry *list;
    int64_t mtime;
    size_t n;

    begin(RIG_RUN);
    rig_write(&rig, "f", "x");
    rig_write(&rig, "g", "x");
    ok(workspace_list(ws, &list, &n, &err));
    mtime = list[0].mtime_ns;
    workspace_entries_free(list, n);
    fails(workspace_remove(ws, "f", mtime - 1, &err), ERR_BUSY);
    expect_file("f", "x");
    ok(workspace_remove(ws, "f", mtime, &err));
    ok(workspace_remove(ws, "f", mtime, &err));
    ok(workspace_remove(ws, "no/such", 0, &err));
    ok(workspace_remove(ws, "g", 0, &err));
    expect_list("");
    end();
}
END_TEST

START_TEST(only_empty_directories_are_removed)
{
    begin(RIG_RUN);
    ok(rig_put(ws, "d/f", "x", 0644, &err));
    fails(workspace_remove(ws, "d", 0, &err), ERR_BUSY);
    ok(workspace_remove(ws, "d/f", 0, &err));
    ok(workspace_remove(ws, "d", 0, &err));
    expect_list("");
    end();
}
END_TEST

START_TEST(a_stolen_name_is_not_committed)
{
    char name[300] = "", path[600];
    struct dirent *d;
    uint64_t token;
    DIR *dir;
    int fd;

    begin(RIG_RUN);
    ok(workspace_create(ws, 3, &fd, &token, &err));
    ck_assert_int_eq(close(fd), 0);
    dir = opendir(rig.dir);
    while ((d = readdir(dir))) {
        if (str_starts(d->d_name, ".oneshot-"))
            (void)str_copy(name, d->d_name, sizeof(name));
    }
    (void)closedir(dir);
    ck_assert_int_ne(name[0], '\0');
    (void)snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
    ck_assert_int_eq(unlink(path), 0);
    rig_link(&rig, rig.outside, name);
    fails(workspace_commit(ws, token, "f", 0644, &err), ERR_NOTFOUND);
    expect_list("");
    end();
}
END_TEST

/* ---- bounds ---- */

START_TEST(the_quota_counts_all_files)
{
    auto_free char *half = xcalloc(1, QUOTA / 2 + 1), *most = xcalloc(1, QUOTA + 1);
    uint64_t token;
    int fd;

    begin(RIG_RUN);
    memset(half, 'h', QUOTA / 2);
    memset(most, 'm', QUOTA);
    fails(workspace_create(ws, QUOTA + 1, &fd, &token, &err), ERR_LIMIT);
    ok(rig_put(ws, "one", half, 0644, &err));
    ok(rig_put(ws, "two", half, 0644, &err));
    fails(rig_put(ws, "three", "x", 0644, &err), ERR_LIMIT);
    ok(rig_put(ws, "empty", "", 0644, &err));
    ok(rig_put(ws, "two", half, 0644, &err)); /* takes its own place */
    fails(rig_put(ws, "two", most, 0644, &err), ERR_LIMIT);
    ok(workspace_remove(ws, "one", 0, &err));
    ok(rig_put(ws, "three", "x", 0644, &err));
    expect_list("empty three two");
    end();
}
END_TEST

START_TEST(the_quota_counts_what_was_there_before)
{
    auto_free char *most = xcalloc(1, QUOTA + 1);

    begin(RIG_RUN);
    memset(most, 'm', QUOTA);
    rig_write(&rig, "old", most);
    if (_i == 0)
        expect_list("old");
    fails(rig_put(ws, "new", "x", 0644, &err), ERR_LIMIT);
    rig_write(&rig, "old", "");
    if (_i == 0)
        expect_list("old");
    else
        ok(rig_put(ws, "old", "", 0644, &err)); /* nothing grows */
    end();
}
END_TEST

START_TEST(what_was_really_written_counts)
{
    auto_free char *most = xcalloc(1, QUOTA + 2);
    uint64_t token;
    int fd;

    begin(RIG_RUN);
    ok(workspace_create(ws, 1, &fd, &token, &err));
    ck_assert_int_eq(write(fd, most, QUOTA + 1), QUOTA + 1);
    ck_assert_int_eq(close(fd), 0);
    fails(workspace_commit(ws, token, "lie", 0644, &err), ERR_LIMIT);
    expect_list("");
    end();
}
END_TEST

START_TEST(uncommitted_bytes_are_bounded)
{
    uint64_t token[3];
    int fd[3];

    begin(RIG_RUN);
    for (int i = 0; i < 2; i++)
        ok(workspace_create(ws, QUOTA, &fd[i], &token[i], &err));
    fails(workspace_create(ws, 1, &fd[2], &token[2], &err), ERR_LIMIT);
    workspace_drop(ws, token[0]);
    ok(workspace_create(ws, 1, &fd[2], &token[2], &err));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(close(fd[i]), 0);
    end();
}
END_TEST

START_TEST(a_workspace_over_its_quota_may_shrink)
{
    auto_free char *much = xcalloc(1, 2 * QUOTA + 1);

    begin(RIG_RUN);
    memset(much, 'm', 2 * QUOTA);
    rig_write(&rig, "big", much);
    much[QUOTA] = '\0';
    ok(rig_put(ws, "big", much, 0644, &err));
    expect_list("big");
    end();
}
END_TEST

START_TEST(entries_are_bounded)
{
    struct workspace_entry *list;
    size_t n;

    begin(RIG_RUN);
    rig_write_many(&rig, "", PORTER_ENTRIES_MAX);
    fails(rig_put(ws, "one-more", "x", 0644, &err), ERR_LIMIT);
    fails(workspace_make_dir(ws, "dir", &err), ERR_LIMIT);
    fails(workspace_make_dir(ws, "dir/sub", &err), ERR_LIMIT);
    ok(rig_put(ws, "7", "x", 0644, &err));
    ok(workspace_list(ws, &list, &n, &err));
    ck_assert_uint_eq(n, PORTER_ENTRIES_MAX);
    workspace_entries_free(list, n);
    rig_write(&rig, "beyond", "");
    fails(workspace_list(ws, &list, &n, &err), ERR_LIMIT);
    fails(rig_put(ws, "one-more", "x", 0644, &err), ERR_LIMIT);
    workspace_free(ws);
    (void)rig_wait(&rig);
    /* A porter that was never asked for a list counts by itself, and finds too many. */
    rig_start(&rig, rig.dir, RIG_RUN);
    ws = workspace_new(rig.fd, QUOTA);
    rig.fd = -1;
    fails(rig_put(ws, "one-more", "x", 0644, &err), ERR_LIMIT);
    end();
}
END_TEST

START_TEST(files_full_of_holes_do_not_wrap_the_count)
{
    char path[200];

    begin(RIG_RUN);
    for (int i = 0; i < 9; i++) {
        int fd;

        (void)snprintf(path, sizeof(path), "%s/hole%d", rig.dir, i);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        /* Nine times 2^61 would come around to 2^61; less where a file cannot be that large. */
        if (ftruncate(fd, (off_t)1 << 61) < 0)
            ck_assert_int_eq(ftruncate(fd, (off_t)1 << 40), 0);
        ck_assert_int_eq(close(fd), 0);
    }
    free(rig_list(ws));
    fails(rig_put(ws, "f", "x", 0644, &err), ERR_LIMIT);
    end();
}
END_TEST

START_TEST(long_names_come_in_many_messages)
{
    auto_free char *list = NULL;
    char path[220];
    size_t len = 0;

    begin(RIG_RUN);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(path, sizeof(path), "%0200d", i);
        rig_write(&rig, path, "");
        len += strlen(path) + 1;
    }
    list = rig_list(ws);
    ck_assert_uint_eq(strlen(list), len - 1);
    end();
}
END_TEST

START_TEST(a_full_file_system_is_a_limit)
{
    static const char how[] = "size=64k,nr_inodes=4,uid=4242";
    int fd, rc;
    uint64_t token;

    rig_init(&rig, OWNER);
    /* In a mount table of our own, which goes with this process whatever happens. */
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", rig.dir, "tmpfs", 0, how) < 0) {
        (void)puts("skipped: cannot mount");
        rig_done(&rig);
        return;
    }
    rig_start(&rig, rig.dir, RIG_RUN);
    ws = workspace_new(rig.fd, QUOTA);
    rig.fd = -1;
    for (rc = 0; rc == 0;) {
        rc = workspace_create(ws, 1, &fd, &token, &err);
        if (rc == 0)
            ck_assert_int_eq(close(fd), 0);
    }
    fails(rc, ERR_LIMIT);
    workspace_free(ws);
    ck_assert_int_eq(rig_wait(&rig), 0);
    ck_assert_int_eq(umount(rig.dir), 0);
    rig_done(&rig);
}
END_TEST

/* ---- attacks from outside while it works ---- */

struct swapper {
    char real[200], link[200];
    atomic_bool is_over;
    unsigned swaps;
};

/* Exchanges a directory and a link again and again. */
static void *swap(void *arg)
{
    struct swapper *s = arg;

    while (!atomic_load(&s->is_over)) {
        if (syscall(SYS_renameat2, AT_FDCWD, s->real, AT_FDCWD, s->link, RENAME_EXCHANGE) == 0)
            s->swaps++;
    }
    return NULL;
}

START_TEST(a_directory_that_becomes_a_link_leads_nowhere)
{
    struct swapper s = {0};
    unsigned reads = 0, writes = 0, refusals = 0;
    pthread_t thread;
    int64_t until;

    begin(RIG_SERVE);
    rig_mkdir(&rig, "d");
    rig_write(&rig, "d/secret", "mine");
    rig_link(&rig, rig.outside, "s");
    (void)snprintf(s.real, sizeof(s.real), "%s/d", rig.dir);
    (void)snprintf(s.link, sizeof(s.link), "%s/s", rig.dir);
    ck_assert_int_eq(pthread_create(&thread, NULL, swap, &s), 0);
    until = clock_ms() + 1500;
    for (unsigned i = 0; clock_ms() < until || !reads || !writes || !refusals; i++) {
        char *data = open_and_read("d/secret"), *list = rig_list(ws), path[40];

        if (data) {
            ck_assert_str_eq(data, "mine");
            reads++;
        } else {
            refusals++;
        }
        ck_assert_ptr_null(strstr(list, "outside"));
        free(data);
        free(list);
        (void)snprintf(path, sizeof(path), "d/n%u", i % 50);
        writes += rig_put(ws, path, "new", 0644, &err) == 0;
        (void)snprintf(path, sizeof(path), "d/m%u/x/y", i % 50);
        (void)!workspace_make_dir(ws, path, &err);
        (void)!workspace_remove(ws, "d/n7", 0, &err);
        ck_assert_int_lt((int)i, 2000000);
    }
    atomic_store(&s.is_over, true);
    (void)pthread_join(thread, NULL);
    ck_assert_uint_gt(s.swaps, 0);
    ck_assert_uint_gt(writes, 0);
    end(); /* looks outside */
}
END_TEST

START_TEST(a_file_that_becomes_a_link_leads_nowhere)
{
    struct swapper s = {0};
    unsigned reads = 0, refusals = 0;
    pthread_t thread;
    char target[100];

    begin(RIG_SERVE);
    (void)snprintf(target, sizeof(target), "%s/secret", rig.outside);
    rig_write(&rig, "f", "mine");
    rig_link(&rig, target, "s");
    (void)snprintf(s.real, sizeof(s.real), "%s/f", rig.dir);
    (void)snprintf(s.link, sizeof(s.link), "%s/s", rig.dir);
    ck_assert_int_eq(pthread_create(&thread, NULL, swap, &s), 0);
    for (int i = 0; i < unit_rounds(3000, 100) || !reads || !refusals; i++) {
        char *data = open_and_read("f");

        if (data)
            ck_assert_str_eq(data, "mine");
        reads += data != NULL;
        refusals += data == NULL;
        free(data);
        ck_assert_int_lt(i, 2000000);
    }
    atomic_store(&s.is_over, true);
    (void)pthread_join(thread, NULL);
    end();
}
END_TEST

/* ---- a porter that dies, hangs or lies ---- */

START_TEST(without_a_porter_every_call_says_so_at_once)
{
    struct workspace_entry *list;
    uint64_t token;
    size_t n;
    int fd;

    begin(RIG_RUN);
    ok(workspace_create(ws, 1, &fd, &token, &err));
    ck_assert_int_eq(close(fd), 0);
    ck_assert(workspace_is_up(ws));
    ck_assert_int_eq(kill(rig.pid, SIGKILL), 0);
    ck_assert_int_eq(rig_wait(&rig), 128 + SIGKILL);
    fails(workspace_list(ws, &list, &n, &err), ERR_BUSY);
    ck_assert(!workspace_is_up(ws));
    fails(workspace_open(ws, "f", &fd, &err), ERR_BUSY);
    fails(workspace_commit(ws, token, "f", 0644, &err), ERR_BUSY);
    workspace_drop(ws, token);

    /* The next one knows nothing of what was under way, and sweeps it. */
    rig_start(&rig, rig.dir, RIG_RUN);
    workspace_set_fd(ws, rig.fd);
    rig.fd = -1;
    fails(workspace_commit(ws, token, "f", 0644, &err), ERR_NOTFOUND);
    ok(rig_put(ws, "f", "x", 0644, &err));
    expect_list("f");
    workspace_set_fd(ws, -1);
    fails(workspace_list(ws, &list, &n, &err), ERR_BUSY);
    workspace_drop(ws, token);
    workspace_free(NULL);
    end();
}
END_TEST

START_TEST(a_deleted_directory_ends_the_porter_and_comes_back)
{
    struct workspace_entry *list;
    struct stat st;
    size_t n;

    begin(RIG_RUN);
    expect_list("");
    if (geteuid() == 0)
        ck_assert_int_eq(chown(rig.base, OWNER, OWNER), 0);
    ck_assert_int_eq(rmdir(rig.dir), 0);
    fails(workspace_list(ws, &list, &n, &err), ERR_BUSY);
    ck_assert_int_eq(rig_wait(&rig), ERR_NOTFOUND);
    rig_start(&rig, rig.dir, RIG_CONFINED); /* makes it */
    workspace_set_fd(ws, rig.fd);
    rig.fd = -1;
    ok(rig_put(ws, "f", "x", 0644, &err));
    ck_assert_int_eq(stat(rig.dir, &st), 0);
    ck_assert_uint_eq(st.st_uid, geteuid() == 0 ? OWNER : geteuid());
    end();
}
END_TEST

/* Our end of a porter that the test plays itself. */
static int begin_fake(void)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ws = workspace_new(pair[0], UINT64_MAX);
    err = (struct err){0};
    return pair[1];
}

static void receive_ask(int fd, struct porter_ask *ret)
{
    int stray;
    ssize_t n = io_recv_msg(fd, ret, sizeof(*ret), &stray);

    ck_assert(porter_ask_is_valid(ret, n));
}

static void send_answer(int fd, const struct porter_answer *a, int file)
{
    ck_assert_int_eq(io_send_msg(fd, a, PORTER_ANSWER_HEAD + a->data_len, file), 0);
}

START_TEST(a_porter_that_hangs_is_given_up)
{
    struct porter_answer a = {.type = PORTER_CREATE, .is_last = 1, .token = 77};
    struct porter_ask ask;
    struct workspace_entry *list;
    uint64_t token, create_seq;
    int file, peer = begin_fake();
    unsigned files;
    size_t n;
    int fd;

    workspace_set_patience(ws, 20);
    fails(workspace_create(ws, 1, &fd, &token, &err), ERR_TIMEOUT);
    receive_ask(peer, &ask);
    create_seq = ask.seq;
    fails(workspace_list(ws, &list, &n, &err), ERR_TIMEOUT);
    receive_ask(peer, &ask);
    files = open_files();
    /* The answers come in the end: the file is given back, the list forgotten. */
    file = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    a.seq = create_seq;
    send_answer(peer, &a, file);
    ck_assert_int_eq(close(file), 0);
    a = (struct porter_answer){.type = PORTER_LIST, .is_last = 1, .seq = ask.seq};
    send_answer(peer, &a, -1);
    fails(workspace_open(ws, "f", &fd, &err), ERR_TIMEOUT);
    receive_ask(peer, &ask);
    ck_assert_uint_eq(ask.type, PORTER_OPEN);
    receive_ask(peer, &ask);
    ck_assert_uint_eq(ask.type, PORTER_DROP);
    ck_assert_uint_eq(ask.token, 77);
    ck_assert_uint_eq(open_files(), files);
    workspace_free(ws);
    ck_assert_int_eq(close(peer), 0);
}
END_TEST

static const struct lie {
    const char *what;
    struct porter_answer a;
    int extra;
    const char *file; /* opened and sent along */
} lies[] = {
    {"another type",                             {.type = PORTER_COMMIT, .is_last = 1},              0,  NULL            },
    {"no type",                                  {.is_last = 1},                                     0,  NULL            },
    {"a descriptor too many",                    {.type = PORTER_LIST, .is_last = 1},                0,  "/proc/self/exe"},
    {"an answer to something else, with a file",
     {.type = PORTER_OPEN, .is_last = 1},
     0,                                                                                                  "/proc/self/exe"},
    {"a short message",                          {.type = PORTER_LIST, .is_last = 1},                -1, NULL            },
    {"a long message",                           {.type = PORTER_LIST, .is_last = 1},                1,  NULL            },
    {"entries that are not there",               {.type = PORTER_LIST, .is_last = 1, .count = 1},    0,  NULL            },
    {"bytes that are no entry",                  {.type = PORTER_LIST, .is_last = 1, .data_len = 9}, 0,  NULL            },
    {"a bad entry",
     {.type = PORTER_LIST, .is_last = 1, .count = 1, .data_len = 30, .data = {1, 2, 3, 4, 5, 6, 7}},
     0,                                                                                                  NULL            },
    {"too many entries",
     {.type = PORTER_LIST, .is_last = 1, .count = PORTER_ENTRIES_MAX + 1, .data_len = 24},
     0,                                                                                                  NULL            },
};

START_TEST(a_porter_that_lies_is_dropped)
{
    const struct lie *l = &lies[_i];
    struct workspace_entry *list;
    struct porter_answer a = l->a;
    int peer = begin_fake();
    unsigned files = open_files();
    size_t n;
    int file = l->file ? open(l->file, O_RDONLY | O_CLOEXEC) : -1;

    log_init("test", LOG_ERROR, LOG_TEXT, 2);
    a.seq = 1;
    ck_assert_int_eq(
        io_send_msg(peer, &a, (size_t)(PORTER_ANSWER_HEAD + (int)a.data_len + l->extra), file), 0);
    if (file >= 0)
        ck_assert_int_eq(close(file), 0);
    fails(workspace_list(ws, &list, &n, &err), ERR_BUSY);
    ck_assert_uint_eq(open_files(), files);
    ck_assert(!workspace_is_up(ws));
    workspace_free(ws);
    ck_assert_int_eq(close(peer), 0);
}
END_TEST

START_TEST(a_descriptor_that_is_no_file_is_refused)
{
    struct porter_answer a = {.type = PORTER_OPEN, .is_last = 1, .seq = 1};
    int fd, file, peer = begin_fake();
    unsigned files = open_files();

    log_init("test", LOG_ERROR, LOG_TEXT, 2);
    file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    send_answer(peer, &a, file);
    ck_assert_int_eq(close(file), 0);
    fails(workspace_open(ws, "f", &fd, &err), ERR_BUSY);
    ck_assert_uint_eq(open_files(), files);
    workspace_free(ws);
    ck_assert_int_eq(close(peer), 0);
}
END_TEST

START_TEST(a_list_that_breaks_off_is_no_list)
{
    struct porter_answer a = {.type = PORTER_LIST, .seq = 1};
    const struct porter_entry e = {.path = "f", .path_len = 1};
    struct workspace_entry *list;
    int peer = begin_fake();
    size_t n;

    ck_assert(porter_entry_put(&a, &e));
    send_answer(peer, &a, -1);
    ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
    fails(workspace_list(ws, &list, &n, &err), ERR_BUSY);
    workspace_free(ws);
    ck_assert_int_eq(close(peer), 0);
}
END_TEST

START_TEST(every_fault_has_its_kind_and_text)
{
    struct porter_answer a = {.type = PORTER_REMOVE, .is_last = 1, .seq = 1};
    int peer = begin_fake();

    a.fault = (uint32_t)_i;
    a.sys = _i == PORTER_SYSTEM ? 5 : 0;
    send_answer(peer, &a, -1);
    ck_assert_int_eq(workspace_remove(ws, "f", 0, &err), -1);
    ck_assert_int_ne(err.kind, ERR_NONE);
    ck_assert_uint_gt(strlen(err.msg), strlen("workspace: "));
    if (_i == PORTER_SYSTEM) {
        ck_assert_int_eq(err.sys, 5);
        ck_assert_ptr_nonnull(strstr(err.msg, "Input/output error"));
    }
    workspace_free(ws);
    ck_assert_int_eq(close(peer), 0);
}
END_TEST

/* ---- many at once ---- */

enum { THREADS = 8, ROUNDS = 60 };

static void one_round(unsigned me, unsigned round, struct err *e)
{
    char path[60], text[60], data[60];
    struct workspace_entry *list;
    uint64_t token;
    ssize_t got;
    size_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "t%u/r%u", me, round % 7);
    (void)snprintf(text, sizeof(text), "thread %u round %u", me, round);
    if (rig_put(ws, path, text, 0644, e) < 0 || workspace_open(ws, path, &fd, e) < 0)
        ck_abort_msg("%s", e->msg);
    got = read(fd, data, sizeof(data) - 1);
    ck_assert_int_gt(got, 0);
    data[got] = '\0';
    ck_assert_str_eq(data, text);
    ck_assert_int_eq(close(fd), 0);
    if (workspace_list(ws, &list, &n, e) < 0)
        ck_abort_msg("%s", e->msg);
    ck_assert_uint_ge(n, 2);
    workspace_entries_free(list, n);
    if (workspace_create(ws, 5, &fd, &token, e) < 0)
        ck_abort_msg("%s", e->msg);
    ck_assert_int_eq(close(fd), 0);
    workspace_drop(ws, token);
    if (round % 5 == 4 && workspace_remove(ws, path, 0, e) < 0)
        ck_abort_msg("%s", e->msg);
}

static void *work(void *arg)
{
    static atomic_uint numbers;
    unsigned me = atomic_fetch_add(&numbers, 1);
    struct err e = {0};

    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++)
        one_round(me, i, &e);
    return NULL;
}

START_TEST(many_threads_share_one_porter)
{
    pthread_t threads[THREADS];
    auto_free char *list = NULL;

    begin(RIG_RUN);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    list = rig_list(ws);
    ck_assert_ptr_nonnull(strstr(list, "t7/"));
    end();
}
END_TEST

static void *ask_until_lost(void *arg)
{
    unsigned *answers = arg;
    struct workspace_entry *list;
    struct err e = {0};
    size_t n;

    while (workspace_list(ws, &list, &n, &e) == 0) {
        workspace_entries_free(list, n);
        (*answers)++;
    }
    ck_assert_int_eq(e.kind, ERR_BUSY);
    return NULL;
}

START_TEST(a_porter_that_dies_wakes_everybody)
{
    unsigned answers[THREADS] = {0};
    pthread_t threads[THREADS];

    begin(RIG_RUN);
    rig_write_many(&rig, "", 500);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_until_lost, &answers[i]), 0);
    for (int i = 0; i < 20; i++)
        free(rig_list(ws));
    ck_assert_int_eq(kill(rig.pid, SIGKILL), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    (void)rig_wait(&rig);
    end();
}
END_TEST

START_TEST(a_new_porter_ends_the_questions_to_the_old_one)
{
    unsigned answers = 0;
    pthread_t thread;
    struct porter_ask ask;
    int peer;

    rig_init(&rig, OWNER);
    peer = begin_fake();
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_until_lost, &answers), 0);
    receive_ask(peer, &ask); /* it waits now */
    rig_start(&rig, rig.dir, RIG_RUN);
    workspace_set_fd(ws, rig.fd);
    rig.fd = -1;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(answers, 0);
    expect_list("");
    ck_assert_int_eq(close(peer), 0);
    end();
}
END_TEST

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

START_TEST(a_round_trip_is_short)
{
    enum { TIMES = 2001 };
    int64_t took[TIMES];

    begin(RIG_RUN);
    for (int i = 0; i < TIMES; i++) {
        int64_t t = clock_us();

        free(rig_list(ws));
        took[i] = clock_us() - t;
    }
    qsort(took, TIMES, sizeof(*took), by_value);
    (void)printf("LIST of an empty directory: p50 %lld us, p90 %lld us, p99 %lld us\n",
                 (long long)took[TIMES / 2], (long long)took[TIMES * 9 / 10],
                 (long long)took[TIMES * 99 / 100]);
    /* Wide enough for sanitizers and busy machines: a lost wake-up would take seconds. */
    ck_assert_int_lt(took[TIMES / 2], 20000);
    end();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 60); /* 50,000 files, under sanitizers */
    tcase_add_loop_test(t, what_was_put_is_listed_and_read_back, RIG_RUN, RIG_USER_4243 + 1);
    tcase_add_test(t, files_belong_to_the_owner_of_the_directory);
    tcase_add_loop_test(t, a_file_keeps_its_mode_but_stays_the_owners, 0, ARRAY_LEN(modes));
    tcase_add_test(t, nobody_sees_a_file_before_its_commit);
    tcase_add_test(t, a_dropped_file_leaves_nothing);
    tcase_add_test(t, the_last_writer_wins);
    tcase_add_loop_test(t, names_that_cannot_be_are_refused, 0, ARRAY_LEN(bad_names));
    tcase_add_loop_test(t, links_are_never_followed, RIG_RUN, RIG_USER_4243 + 1);
    tcase_add_test(t, what_is_no_plain_file_cannot_be_opened);
    tcase_add_test(t, a_file_that_cannot_be_read_is_not_found);
    tcase_add_test(t, a_directory_without_rights_is_denied);
    tcase_add_test(t, removal_asks_whether_it_is_still_the_same);
    tcase_add_test(t, only_empty_directories_are_removed);
    tcase_add_test(t, a_stolen_name_is_not_committed);
    tcase_add_test(t, the_quota_counts_all_files);
    tcase_add_loop_test(t, the_quota_counts_what_was_there_before, 0, 2);
    tcase_add_test(t, what_was_really_written_counts);
    tcase_add_test(t, uncommitted_bytes_are_bounded);
    tcase_add_test(t, a_workspace_over_its_quota_may_shrink);
    tcase_add_test(t, entries_are_bounded);
    tcase_add_test(t, files_full_of_holes_do_not_wrap_the_count);
    tcase_add_test(t, long_names_come_in_many_messages);
    tcase_add_test(t, a_full_file_system_is_a_limit);
    tcase_add_test(t, a_directory_that_becomes_a_link_leads_nowhere);
    tcase_add_test(t, a_file_that_becomes_a_link_leads_nowhere);
    tcase_add_test(t, without_a_porter_every_call_says_so_at_once);
    tcase_add_test(t, a_deleted_directory_ends_the_porter_and_comes_back);
    tcase_add_test(t, a_porter_that_hangs_is_given_up);
    tcase_add_loop_test(t, a_porter_that_lies_is_dropped, 0, ARRAY_LEN(lies));
    tcase_add_test(t, a_descriptor_that_is_no_file_is_refused);
    tcase_add_test(t, a_list_that_breaks_off_is_no_list);
    tcase_add_loop_test(t, every_fault_has_its_kind_and_text, PORTER_GONE, PORTER_FAULTS);
    tcase_add_test(t, many_threads_share_one_porter);
    tcase_add_test(t, a_porter_that_dies_wakes_everybody);
    tcase_add_test(t, a_new_porter_ends_the_questions_to_the_old_one);
    tcase_add_test(t, a_round_trip_is_short);
}

UNIT_MAIN_ONE_PROCESS("workspace", add_tests)
