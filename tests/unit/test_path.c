#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "unit.h"

/* ---- names ---- */

static const char *const good[] = {
    "a",
    "a/b/c",
    "a b/c.d",
    "...",
    "..a/b..",
    ".hidden",
    "caf\xC3\xA9/\xF0\x9F\x98\x80",
    "-rf",
    "a\\b",
    "\xC2\x80" /* a control by Unicode, not by bytes: harmless in a name */,
};

START_TEST(accepts_names_below_a_directory)
{
    struct err e = {0};

    ck_assert_msg(path_check(good[_i], strlen(good[_i]), &e) == 0, "'%s': %s", good[_i], e.msg);
}
END_TEST

static const struct bad {
    const char *path;
    size_t n;
    const char *words;
} bad[] = {
    {"",          0, "empty or over"    },
    {"/",         1, "empty component"  },
    {"/etc",      4, "empty component"  },
    {"a/",        2, "empty component"  },
    {"a//b",      4, "empty component"  },
    {".",         1, "'.' or '..'"      },
    {"..",        2, "'.' or '..'"      },
    {"a/./b",     5, "'.' or '..'"      },
    {"../a",      4, "'.' or '..'"      },
    {"a/..",      4, "'.' or '..'"      },
    {"a/../../b", 9, "'.' or '..'"      },
    {"a\0b",      3, "control character"},
    {"a\nb",      3, "control character"},
    {"\x1b[2J",   4, "control character"},
    {"a\x7f",     2, "control character"},
    {"a\xFF",     2, "not UTF-8"        },
    {"\xC0\xAF",  2, "not UTF-8"        },
    {"a\xC3",     2, "not UTF-8"        },
};

START_TEST(refuses_names_that_lead_elsewhere_or_fool)
{
    struct err e = {0};

    ck_assert_msg(path_check(bad[_i].path, bad[_i].n, &e) == -1, "'%s'", bad[_i].path);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(e.msg, bad[_i].words));
    ck_assert_int_eq(path_check(bad[_i].path, bad[_i].n, NULL), -1);
}
END_TEST

START_TEST(names_have_limits_and_may_reach_them)
{
    char path[PATH_REL_MAX + 2];
    struct err e = {0};

    memset(path, 'a', sizeof(path));
    ck_assert_int_eq(path_check(path, PATH_NAME_MAX, &e), 0);
    ck_assert_int_eq(path_check(path, PATH_NAME_MAX + 1, &e), -1);
    for (size_t i = 200; i < sizeof(path); i += 200)
        path[i] = '/';
    ck_assert_int_eq(path_check(path, PATH_REL_MAX, &e), 0);
    ck_assert_int_eq(path_check(path, PATH_REL_MAX + 1, &e), -1);
    for (size_t i = 1; i < sizeof(path); i += 2)
        path[i] = '/';
    ck_assert_int_eq(path_check(path, 2 * PATH_DEPTH_MAX - 1, &e), 0);
    ck_assert_int_eq(path_check(path, 2 * PATH_DEPTH_MAX + 1, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.msg, "deeper than 32"));
}
END_TEST

START_TEST(the_base_is_behind_the_last_slash)
{
    ck_assert_str_eq(path_base("a"), "a");
    ck_assert_str_eq(path_base("a/b"), "b");
    ck_assert_str_eq(path_base("/a/b/c.txt"), "c.txt");
    ck_assert_str_eq(path_base("a/"), "");
}
END_TEST

/* ---- opening, with the system call and by hand ---- */

enum mode { WITH_OPENAT2, WITHOUT_IT, FORBIDDEN, MODES };

static char top[] = "/tmp/oneshot-path-XXXXXX";
static int dir_fd;

/* Kernels before 5.6 do not know openat2; older engines' filters refuse it. */
static void set_mode(int mode)
{
    scmp_filter_ctx ctx;

    if (mode == WITH_OPENAT2)
        return;
    ctx = seccomp_init(SCMP_ACT_ALLOW);
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(mode == FORBIDDEN ? EPERM : ENOSYS),
                                      SCMP_SYS(openat2), 0),
                     0);
    ck_assert_int_eq(seccomp_load(ctx), 0);
    seccomp_release(ctx);
}

static void put_file(int at, const char *name, const char *text)
{
    auto_fd int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* in/: d/e/file, file, links of every kind; outside: secret. */
static void make_tree(void)
{
    auto_fd int base = -1;

    ck_assert_ptr_nonnull(mkdtemp(top));
    base = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(mkdirat(base, "in", 0755), 0);
    ck_assert_int_eq(mkdirat(base, "out", 0755), 0);
    put_file(base, "out/secret", "secret");
    ck_assert_int_eq(mkdirat(base, "in/d", 0755), 0);
    ck_assert_int_eq(mkdirat(base, "in/d/e", 0755), 0);
    put_file(base, "in/file", "top");
    put_file(base, "in/d/e/file", "deep");
    ck_assert_int_eq(symlinkat("file", base, "in/link"), 0);
    ck_assert_int_eq(symlinkat("d", base, "in/dirlink"), 0);
    ck_assert_int_eq(symlinkat("../out", base, "in/away"), 0);
    ck_assert_int_eq(symlinkat("../out/secret", base, "in/d/steal"), 0);
    ck_assert_int_eq(symlinkat("nowhere", base, "in/dangling"), 0);
    ck_assert_int_eq(symlinkat("/proc/self/root", base, "in/root"), 0);
    dir_fd = openat(base, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(dir_fd, 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void remove_tree(void)
{
    (void)close(dir_fd);
    ck_assert_int_eq(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* The secret is as it was and alone. */
static void check_outside(void)
{
    auto_free char *path = xasprintf("%s/out/secret", top), *text = NULL;
    auto_free char *dir = xasprintf("%s/out", top);
    size_t n;

    ck_assert_int_eq(io_read_file(path, 100, &text, &n, NULL), 0);
    ck_assert_str_eq(text, "secret");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

static const struct opening {
    const char *path;
    int flags;
    const char *text; /* NULL: refused; "" for a directory or a new file */
} openings[] = {
    {"file",            O_RDONLY,                           "top" },
    {"d/e/file",        O_RDONLY,                           "deep"},
    {"d/e",             O_RDONLY | O_DIRECTORY,             ""    },
    {"d/e",             O_PATH | O_DIRECTORY,               ""    },
    {"missing",         O_RDONLY,                           NULL  },
    {"d/missing/file",  O_RDONLY,                           NULL  },
    {"file/below",      O_RDONLY,                           NULL  },
    {"link",            O_RDONLY,                           NULL  },
    {"link",            O_PATH,                             NULL  },
    {"link",            O_PATH | O_NOFOLLOW,                NULL  },
    {"dirlink/e/file",  O_RDONLY,                           NULL  },
    {"dirlink",         O_RDONLY | O_DIRECTORY,             NULL  },
    {"dirlink",         O_PATH | O_DIRECTORY,               NULL  },
    {"away/secret",     O_RDONLY,                           NULL  },
    {"d/steal",         O_RDONLY,                           NULL  },
    {"d/steal",         O_WRONLY | O_TRUNC,                 NULL  },
    {"root/etc/passwd", O_RDONLY,                           NULL  },
    {"dangling",        O_WRONLY | O_CREAT,                 NULL  },
    {"away/new",        O_WRONLY | O_CREAT,                 NULL  },
    {"d/new",           O_RDWR | O_CREAT | O_EXCL,          ""    },
    {"file",            O_WRONLY | O_CREAT | O_EXCL,        NULL  },
    {"d",               O_RDWR | __O_TMPFILE | O_DIRECTORY, ""    },
};

START_TEST(opens_what_is_below_and_follows_nothing)
{
    int count = ARRAY_LEN(openings);
    const struct opening *o = &openings[_i % count];
    char text[16] = "";
    int fd;

    make_tree();
    set_mode(_i / count);
    fd = path_open(dir_fd, o->path, o->flags, 0600);
    ck_assert_msg((fd >= 0) == !!o->text, "%s: %s", o->path, fd < 0 ? strerror(errno) : "opened");
    if (fd < 0)
        ck_assert_int_gt(errno, 0);
    else
        ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    if (o->text && o->text[0]) {
        ck_assert_int_eq(read(fd, text, sizeof(text) - 1), (ssize_t)strlen(o->text));
        ck_assert_str_eq(text, o->text);
    }
    if (fd >= 0)
        (void)close(fd);
    check_outside();
    remove_tree();
}
END_TEST

START_TEST(new_files_have_the_mode_that_was_asked_for)
{
    struct stat st;
    int fd;

    make_tree();
    set_mode(_i);
    (void)umask(0);
    fd = path_open(dir_fd, "d/fresh", O_WRONLY | O_CREAT | O_EXCL, 0640);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    (void)close(fd);
    /* A mode without O_CREAT is of no interest. */
    fd = path_open(dir_fd, "d/fresh", O_RDONLY, 0777);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    remove_tree();
}
END_TEST

START_TEST(no_descriptor_is_left_open)
{
    int before, after;

    make_tree();
    set_mode(_i);
    before = open("/", O_PATH | O_CLOEXEC);
    (void)close(before);
    for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
        int fd = path_open(dir_fd, openings[i].path, openings[i].flags, 0600);

        if (fd >= 0)
            (void)close(fd);
        (void)path_make_parents(dir_fd, openings[i].path);
    }
    after = open("/", O_PATH | O_CLOEXEC);
    ck_assert_int_eq(after, before);
    remove_tree();
}
END_TEST

START_TEST(a_directory_that_is_closed_opens_nothing)
{
    set_mode(_i);
    ck_assert_int_eq(path_open(-1, "a/b", O_RDONLY, 0), -1);
    ck_assert_int_eq(errno, EBADF);
    ck_assert_int_eq(path_make_parents(-1, "a/b"), -1);
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

/* ---- a directory that is swapped for a link all the time ---- */

static atomic_bool is_over;

static void *swap(void *arg)
{
    (void)arg;
    while (!atomic_load(&is_over))
        (void)renameat2(dir_fd, "d", dir_fd, "away", RENAME_EXCHANGE);
    return NULL;
}

START_TEST(a_swapped_directory_never_leads_outside)
{
    pthread_t swapper;
    unsigned refused = 0, opened = 0;

    make_tree();
    ck_assert_int_eq(mkdirat(dir_fd, "d/secret.d", 0755), 0);
    put_file(dir_fd, "d/secret", "inside");
    set_mode(_i);
    ck_assert_int_eq(pthread_create(&swapper, NULL, swap, NULL), 0);
    for (int i = 0; i < unit_rounds(20000, 100) || !opened || !refused; i++) {
        int fd = path_open(dir_fd, "d/secret", O_RDONLY, 0);
        char c = 0;

        if (fd >= 0) {
            MUST(read(fd, &c, 1) == 1 && c == 'i');
            opened++;
            (void)close(fd);
        } else {
            refused++;
        }
        fd = path_open(dir_fd, "d/planted", O_WRONLY | O_CREAT, 0600);
        if (fd >= 0)
            (void)close(fd);
        (void)path_make_parents(dir_fd, "d/made/x");
    }
    atomic_store(&is_over, true);
    (void)pthread_join(swapper, NULL);
    check_outside();
    remove_tree();
}
END_TEST

/* ---- parents ---- */

START_TEST(missing_directories_are_made_and_others_left)
{
    struct stat st;

    make_tree();
    (void)umask(0);
    ck_assert_int_eq(path_make_parents(dir_fd, "plain"), 0);
    ck_assert_int_eq(fstatat(dir_fd, "plain", &st, 0), -1);
    ck_assert_int_eq(path_make_parents(dir_fd, "d/e/f/g/file"), 0);
    ck_assert_int_eq(fstatat(dir_fd, "d/e/f/g", &st, AT_SYMLINK_NOFOLLOW), 0);
    ck_assert_uint_eq(st.st_mode, S_IFDIR | 0755);
    ck_assert_int_eq(fstatat(dir_fd, "d/e/f/g/file", &st, 0), -1);
    ck_assert_int_eq(path_make_parents(dir_fd, "d/e/f/g/file"), 0);
    remove_tree();
}
END_TEST

static const char *const blocked[] = {"file/x/y", "away/x/y",     "dirlink/x/y",
                                      "link/x/y", "dangling/x/y", "root/tmp/x/y"};

START_TEST(no_directory_is_made_beyond_a_link_or_a_file)
{
    make_tree();
    ck_assert_int_eq(path_make_parents(dir_fd, blocked[_i]), -1);
    ck_assert_int_gt(errno, 0);
    check_outside();
    remove_tree();
}
END_TEST

START_TEST(a_directory_that_may_not_be_made_is_told)
{
    make_tree();
    if (geteuid() == 0) {
        /* Root may write anywhere but in a directory that was removed. */
        int gone;

        ck_assert_int_eq(mkdirat(dir_fd, "gone", 0755), 0);
        gone = openat(dir_fd, "gone", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(unlinkat(dir_fd, "gone", AT_REMOVEDIR), 0);
        ck_assert_int_eq(path_make_parents(gone, "x/y"), -1);
        ck_assert_int_eq(errno, ENOENT);
        (void)close(gone);
    } else {
        ck_assert_int_eq(fchmod(dir_fd, 0555), 0);
        ck_assert_int_eq(path_make_parents(dir_fd, "x/y"), -1);
        ck_assert_int_eq(errno, EACCES);
        ck_assert_int_eq(fchmod(dir_fd, 0755), 0);
    }
    remove_tree();
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 20);
    tcase_add_loop_test(t, accepts_names_below_a_directory, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, refuses_names_that_lead_elsewhere_or_fool, 0, ARRAY_LEN(bad));
    tcase_add_test(t, names_have_limits_and_may_reach_them);
    tcase_add_test(t, the_base_is_behind_the_last_slash);
    tcase_add_loop_test(t, opens_what_is_below_and_follows_nothing, 0, MODES * ARRAY_LEN(openings));
    tcase_add_loop_test(t, new_files_have_the_mode_that_was_asked_for, 0, MODES);
    tcase_add_loop_test(t, no_descriptor_is_left_open, 0, MODES);
    tcase_add_loop_test(t, a_directory_that_is_closed_opens_nothing, 0, MODES);
    tcase_add_loop_test(t, a_swapped_directory_never_leads_outside, 0, MODES);
    tcase_add_test(t, missing_directories_are_made_and_others_left);
    tcase_add_loop_test(t, no_directory_is_made_beyond_a_link_or_a_file, 0, ARRAY_LEN(blocked));
    tcase_add_test(t, a_directory_that_may_not_be_made_is_told);
}

UNIT_MAIN("path", add_tests)
