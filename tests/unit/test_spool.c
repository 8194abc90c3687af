#include "base/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/random.h"
#include "unit.h"

DEFINE_CLEANUP(scmp_filter_ctx, seccomp_release)

/* The whole content, read in pieces of `step` bytes. */
static char *content(const struct spool *s, size_t step)
{
    char *out = xmalloc(s->size + 1);
    uint64_t at = 0;
    ssize_t n;

    while ((n = spool_read(s, at, out + at, step < s->size - at ? step : s->size - at, NULL)) > 0)
        at += (uint64_t)n;
    ck_assert_int_eq(n, 0);
    ck_assert_uint_eq(at, s->size);
    return out;
}

static void check(const struct spool *s, const char *data, size_t n, size_t step)
{
    auto_free char *got = content(s, step);

    ck_assert_uint_eq(s->size, n);
    ck_assert_mem_eq(got, data, n);
}

START_TEST(an_empty_spool_reads_as_nothing)
{
    CLEANUP(spool_done) struct spool s = {0};
    char c;

    spool_init(&s, "/nonexistent");
    ck_assert_int_eq(spool_add(&s, NULL, 0, NULL), 0);
    ck_assert_uint_eq(s.size, 0);
    ck_assert_int_eq(spool_read(&s, 0, &c, 1, NULL), 0);
    ck_assert_int_eq(spool_read(&s, UINT64_MAX, &c, 1, NULL), 0);
}
END_TEST

START_TEST(few_bytes_stay_in_memory)
{
    CLEANUP(spool_done) struct spool s = {0};
    auto_free char *data = xmalloc(SPOOL_MEMORY);
    char some[4] = "";

    random_bytes(data, SPOOL_MEMORY);
    spool_init(&s, "/nonexistent");
    for (size_t i = 0; i < SPOOL_MEMORY; i += 4096)
        ck_assert_int_eq(spool_add(&s, data + i, 4096, NULL), 0);
    ck_assert_int_eq(s.fd, -1);
    check(&s, data, SPOOL_MEMORY, 1000);
    ck_assert_int_eq(spool_read(&s, SPOOL_MEMORY - 2, some, 4, NULL), 2);
    ck_assert_mem_eq(some, data + SPOOL_MEMORY - 2, 2);
    ck_assert_int_eq(spool_read(&s, SPOOL_MEMORY, some, 4, NULL), 0);
    ck_assert_int_eq(spool_read(&s, 0, some, 0, NULL), 0);
}
END_TEST

static const size_t steps[] = {1000, 65536, SPOOL_MEMORY, SPOOL_MEMORY + 1, 3 * SPOOL_MEMORY};

START_TEST(many_bytes_go_to_a_file_that_no_name_leads_to)
{
    enum { SIZE = 3 * SPOOL_MEMORY };
    char dir[] = "/tmp/oneshot-spool-XXXXXX", some[4];
    auto_free char *data = xmalloc(SIZE);
    struct stat st;
    struct spool s;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    random_bytes(data, SIZE);
    spool_init(&s, dir);
    for (size_t i = 0; i < SIZE; i += steps[_i])
        ck_assert_int_eq(spool_add(&s, data + i, SIZE - i < steps[_i] ? SIZE - i : steps[_i], NULL),
                         0);
    ck_assert_int_ge(s.fd, 0);
    ck_assert_ptr_null(s.mem);
    ck_assert_int_ne(fcntl(s.fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(fstat(s.fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_uint_eq(st.st_nlink, 0);
    check(&s, data, SIZE, 77777);
    ck_assert_int_eq(spool_read(&s, SIZE - 1, some, 4, NULL), 1);
    ck_assert_int_eq(spool_read(&s, SIZE, some, 4, NULL), 0);
    spool_done(&s);
    ck_assert_int_eq(s.fd, -1);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(a_spool_can_be_moved_in_both_forms)
{
    CLEANUP(spool_done) struct spool a = {0}, b = {0}, c = {0};
    auto_free char *data = xcalloc(SPOOL_MEMORY + 1, 1);

    spool_init(&a, "/tmp");
    ck_assert_int_eq(spool_add(&a, "abc", 3, NULL), 0);
    spool_move(&b, &a);
    ck_assert_uint_eq(a.size, 0);
    ck_assert_ptr_null(a.mem);
    check(&b, "abc", 3, 10);
    ck_assert_int_eq(spool_add(&a, data, SPOOL_MEMORY + 1, NULL), 0);
    spool_move(&c, &a);
    ck_assert_int_eq(a.fd, -1);
    check(&c, data, SPOOL_MEMORY + 1, 65536);
    ck_assert_int_eq(spool_add(&a, "again", 5, NULL), 0);
    check(&a, "again", 5, 2);
}
END_TEST

START_TEST(a_directory_that_is_not_there_loses_nothing)
{
    CLEANUP(spool_done) struct spool s = {0};
    auto_free char *data = xcalloc(SPOOL_MEMORY, 1);
    struct err e = {0};

    spool_init(&s, "/nonexistent/spool");
    ck_assert_int_eq(spool_add(&s, "abc", 3, &e), 0);
    ck_assert_int_eq(spool_add(&s, data, SPOOL_MEMORY, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(e.msg, "/nonexistent/spool"));
    check(&s, "abc", 3, 3);
    ck_assert_int_eq(spool_add(&s, "def", 3, &e), 0);
    check(&s, "abcdef", 6, 6);
}
END_TEST

/* A tmpfs of `kib` on a fresh directory, seen by this process alone; false when that is not possible. */
static bool tiny_disk(char *dir, const char *options)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, options) < 0) {
        printf("skipped: no right to mount a tmpfs\n");
        (void)rmdir(dir);
        return false;
    }
    return true;
}

/* The spool's file may be open still. */
static void tiny_disk_done(const char *dir)
{
    ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(a_full_disk_is_told_and_loses_nothing_that_was_taken)
{
    char dir[] = "/tmp/oneshot-disk-XXXXXX";
    CLEANUP(spool_done) struct spool s = {0};
    auto_free char *data = xmalloc(1 << 20);
    struct err e = {0};
    size_t n = 0;

    if (!tiny_disk(dir, "size=512k"))
        return;
    random_bytes(data, 1 << 20);
    spool_init(&s, dir);
    while (n < 1 << 20 && spool_add(&s, data + n, 10000, &e) == 0)
        n += 10000;
    ck_assert_int_eq(e.kind, ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(e.msg, dir));
    ck_assert_uint_gt(n, SPOOL_MEMORY);
    check(&s, data, n, 65536);
    /* What still fits is taken, behind what was there. */
    ck_assert_int_eq(spool_add(&s, data + n, 100, &e), 0);
    check(&s, data, n + 100, 65536);
    tiny_disk_done(dir);
}
END_TEST

START_TEST(a_disk_that_cannot_even_take_the_memory_leaves_it_there)
{
    char dir[] = "/tmp/oneshot-disk-XXXXXX";
    CLEANUP(spool_done) struct spool s = {0};
    auto_free char *data = xmalloc(SPOOL_MEMORY);
    struct err e = {0};

    if (!tiny_disk(dir, "size=64k"))
        return;
    random_bytes(data, SPOOL_MEMORY);
    spool_init(&s, dir);
    ck_assert_int_eq(spool_add(&s, data, SPOOL_MEMORY - 3, &e), 0);
    ck_assert_int_eq(spool_add(&s, data, 1000, &e), -1);
    ck_assert_int_eq(e.kind, ERR_BUSY);
    check(&s, data, SPOOL_MEMORY - 3, 65536);
    ck_assert_int_eq(spool_add(&s, data + SPOOL_MEMORY - 3, 3, &e), 0);
    check(&s, data, SPOOL_MEMORY, 65536);
    tiny_disk_done(dir);
}
END_TEST

/* As on a file system without O_TMPFILE: opening a directory for writing is refused. */
static void forbid_tmpfile(int error)
{
    CLEANUP(seccomp_release_p) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO((unsigned)error), SCMP_SYS(openat), 1,
                                      SCMP_A2(SCMP_CMP_MASKED_EQ, O_TMPFILE, O_TMPFILE)),
                     0);
    ck_assert_int_eq(seccomp_load(ctx), 0);
}

static const int refusals[] = {EOPNOTSUPP, EISDIR, EINVAL};

START_TEST(works_without_unnamed_files)
{
    enum { SIZE = SPOOL_MEMORY + 100 };
    char dir[] = "/tmp/oneshot-spool-XXXXXX";
    auto_free char *data = xmalloc(SIZE);
    struct stat st;
    struct spool s;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    random_bytes(data, SIZE);
    forbid_tmpfile(refusals[_i]);
    spool_init(&s, dir);
    ck_assert_int_eq(spool_add(&s, data, SIZE, NULL), 0);
    ck_assert_int_eq(fstat(s.fd, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 0);
    ck_assert_int_ne(fcntl(s.fd, F_GETFD) & FD_CLOEXEC, 0);
    check(&s, data, SIZE, 65536);
    spool_done(&s);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(a_file_that_shrank_is_an_error_not_an_end)
{
    CLEANUP(spool_done) struct spool s = {0};
    auto_free char *data = xcalloc(SPOOL_MEMORY + 1, 1);
    struct err e = {0};
    char c;

    spool_init(&s, "/tmp");
    ck_assert_int_eq(spool_add(&s, data, SPOOL_MEMORY + 1, NULL), 0);
    ck_assert_int_eq(ftruncate(s.fd, 10), 0);
    ck_assert_int_eq(spool_read(&s, 100, &c, 1, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, an_empty_spool_reads_as_nothing);
    tcase_add_test(t, few_bytes_stay_in_memory);
    tcase_add_loop_test(t, many_bytes_go_to_a_file_that_no_name_leads_to, 0, ARRAY_LEN(steps));
    tcase_add_test(t, a_spool_can_be_moved_in_both_forms);
    tcase_add_test(t, a_directory_that_is_not_there_loses_nothing);
    tcase_add_test(t, a_full_disk_is_told_and_loses_nothing_that_was_taken);
    tcase_add_test(t, a_disk_that_cannot_even_take_the_memory_leaves_it_there);
    tcase_add_loop_test(t, works_without_unnamed_files, 0, ARRAY_LEN(refusals));
    tcase_add_test(t, a_file_that_shrank_is_an_error_not_an_end);
}

UNIT_MAIN("spool", add_tests)
