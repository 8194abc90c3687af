/*
 * A run with a workspace, between a keeper and a container that this program plays and a real
 * porter over a temporary directory: what is sent, what is kept of what comes back, for how long.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <sys/resource.h>

#include "core/run_state.h"
#include "porter_rig.h"
#include "run_rig.h"

enum {
    OWNER = 4242,
    QUOTA = 1 << 20,
    BIG = 4 << 20,   /* more than a stream takes unread */
    LARGE = 1 << 30, /* takes longer than a program's time */
    TIME_MS = 10000,
    TIME_MAX_MS = 60000,
    GRACE_MS = 200,
    HARD_MS = TIME_MS + GRACE_MS + RUN_HARD_SPARE_MS,
    LISTED_MS = HARD_MS + RUN_LIST_MS,
    MS_BYTES = RUN_BYTES_PER_MS,
    LARGE_MS = RUN_COLLECT_MS + LARGE / RUN_BYTES_PER_MS,
    LATER_S = 1000000000, /* a time of change */
};

static struct rig place; /* the directory and its porter */
static struct run_rig box;
static struct workspace *ws;
static struct buf late;        /* what the container says when a hook says so … */
static uint64_t late_at_ms;    /* … here: when the keeper is asked for so much time */
static bool breaks_off_behind; /* … and its stream ends behind that */

static void open_workspace(uint64_t quota)
{
    rig_start(&place, place.dir, RIG_SERVE); /* its confinement is test_workspace's affair */
    ws = workspace_new(place.fd, quota);
    place.fd = -1;
    box.policy.workspace_quota = (int64_t)quota;
    box.request.workspace = ws;
}

static void setup(void)
{
    rig_init(&place, OWNER);
    run_rig_init(&box);
    box.policy.time_default_ms = box.policy.queue_wait_ms = TIME_MS;
    box.policy.time_max_ms = TIME_MAX_MS;
    box.policy.time_grace_ms = GRACE_MS;
    open_workspace(QUOTA);
    buf_init(&late, 64 << 20);
}

static void teardown(void)
{
    if (box.core)
        run_rig_stop(&box);
    workspace_free(ws);
    if (place.pid)
        ck_assert_int_eq(rig_wait(&place), ERR_NONE);
    rig_check_outside(&place);
    rig_done(&place);
    buf_done(&late);
}

/* The program is over, the front waits for nothing but the rest. */
static void say_late(struct run_rig *r, const struct handover *m)
{
    if (m->type != HANDOVER_EXTEND || m->ms != late_at_ms)
        return;
    rig_say_buf(r, &late);
    if (breaks_off_behind)
        (void)shutdown(r->stream, SHUT_RDWR);
}

/* Another quota than that of setup. */
static void set_quota(uint64_t quota)
{
    workspace_free(ws);
    ck_assert_int_eq(rig_wait(&place), ERR_NONE);
    open_workspace(quota);
}

static void kill_porter(void)
{
    ck_assert_int_eq(kill(place.pid, SIGKILL), 0);
    ck_assert_int_eq(rig_wait(&place), 128 + SIGKILL);
}

/* ---- the directory ---- */

static void set_mode(const char *path, mode_t mode)
{
    char full[1200];

    ck_assert_int_eq(chmod(below(&place, path, full), mode), 0);
}

/* Holes count as zeros. */
static void set_size(const char *path, off_t size)
{
    char full[1200];

    if (!rig_has(&place, path))
        rig_write(&place, path, "");
    ck_assert_int_eq(truncate(below(&place, path, full), size), 0);
}

/* As whoever writes to it at another time than it was listed. */
static void change(const char *path, const char *text)
{
    const struct timespec times[2] = {{.tv_sec = LATER_S}, {.tv_sec = LATER_S}};
    char full[1200];

    rig_write(&place, path, text);
    ck_assert_int_eq(utimensat(AT_FDCWD, below(&place, path, full), times, 0), 0);
}

static void expect_file(const char *path, const char *text)
{
    auto_free char *data = rig_read(&place, path);

    ck_assert_msg(data != NULL, "'%s' is missing", path);
    ck_assert_str_eq(data, text);
}

static void expect_mode(const char *path, mode_t mode)
{
    char full[1200];
    struct stat st;

    ck_assert_int_eq(stat(below(&place, path, full), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, mode);
}

/* Files under way at the top: names of ours. */
static unsigned count_parts(void)
{
    const struct dirent *e;
    unsigned n = 0;
    DIR *d = opendir(place.dir);

    ck_assert_ptr_nonnull(d);
    while ((e = readdir(d)))
        n += strncmp(e->d_name, ".oneshot-", 9) == 0;
    (void)closedir(d);
    return n;
}

/* Everything that is there; the porter has done by then what it was told before. */
static void expect_list(const char *expected)
{
    auto_free char *list = rig_list(ws);

    ck_assert_str_eq(list, expected);
    ck_assert_uint_eq(count_parts(), 0);
}

/* ---- what the container says and hears ---- */

static void say_out(struct buf *b, const char *path, uint32_t mode, uint64_t size)
{
    rig_entry(b, FRAME_OUT_ENTRY,
              &(struct entry){.mode = mode, .size = size, .path = path, .path_len = strlen(path)});
}

static void say_dir(struct buf *b, const char *path)
{
    rig_entry(
        b, FRAME_OUT_ENTRY,
        &(struct entry){.kind = ENTRY_DIR, .mode = 0755, .path = path, .path_len = strlen(path)});
}

static void say_result(struct buf *b)
{
    rig_report(b, &(struct outcome_report){.end = END_NORMAL});
}

static void say_zeros(struct buf *b, uint64_t size)
{
    static const uint8_t zeros[FRAME_MAX];

    for (uint64_t n; size; size -= n) {
        n = size < FRAME_MAX ? size : FRAME_MAX;
        rig_frame_id(b, FRAME_OUT_DATA, 0, zeros, n);
    }
}

static void add_entry(struct buf *out, const struct frame *f)
{
    struct entry e;

    ck_assert(entry_decode(&e, f->data, f->len));
    (void)buf_fmt(out, "%s%.*s%s %o %llu", out->len ? "|" : "", (int)e.path_len, e.path,
                  e.kind == ENTRY_DIR ? "/" : "", e.mode, (unsigned long long)e.size);
}

static void add_data(struct buf *out, const struct frame *f)
{
    if (f->len > 64) {
        (void)buf_char(out, '~');
        return;
    }
    (void)buf_char(out, ':');
    for (uint32_t i = 0; i < f->len; i++)
        (void)buf_char(out, f->data[i] ? (char)f->data[i] : '0');
}

/* Files and directories in their order, "path mode size:data", "~" for many bytes, "0" for NUL. */
static void expect_sent(const char *expected)
{
    CLEANUP(buf_done) struct buf got = {0};
    uint8_t last = 0;

    run_rig_halt(&box);
    buf_init(&got, 1 << 20);
    for (uint64_t at = 0; at < box.heard.len;) {
        const uint8_t *p = (const uint8_t *)buf_get(&box.heard) + at;
        struct frame f = {
            .type = p[0], .len = (uint32_t)(p[4] | p[5] << 8 | p[6] << 16), .data = p + FRAME_HEAD};

        if (f.type == FRAME_ENTRY)
            add_entry(&got, &f);
        if (f.type == FRAME_DATA)
            add_data(&got, &f);
        last = f.type;
        at += FRAME_HEAD + f.len;
    }
    ck_assert_str_eq(buf_get(&got), expected);
    ck_assert_int_eq(last, FRAME_GO);
}

/* ---- running ---- */

static struct run *finish(void)
{
    struct run *run;

    run_rig_start(&box);
    run = run_new(box.core, &box.request);
    (void)run_wait(run);
    return run;
}

/* To the end and beyond: the keeper has heard everything. */
static void finish_well(void)
{
    struct run *run = finish();

    ck_assert_msg(run_result(run)->outcome == OUTCOME_OK, "%s: %s",
                  outcome_name(run_result(run)->outcome), run_result(run)->reason);
    run_free(run);
    (void)run_rig_wait(&box, HANDOVER_DONE);
}

/* The container was given back, and the client may come again. */
static void expect_nothing_has_run(struct run *run)
{
    const struct run_result *r = run_result(run);

    ck_assert_int_eq(r->outcome, OUTCOME_INFRA);
    ck_assert(!r->was_sent);
    ck_assert_int_eq(r->retry_after_s, 1);
    ck_assert_ptr_null(strstr(r->reason, "may have run"));
    run_free(run);
    ck_assert_uint_eq(run_rig_wait(&box, HANDOVER_DONE).member, 7);
}

static void expect_omitted(const struct run_result *r, const char *const *paths)
{
    size_t n = 0;

    for (; paths[n]; n++) {
        ck_assert_uint_gt(r->omitted_n, n);
        ck_assert_str_eq(r->omitted[n].path, paths[n]);
        ck_assert_str_eq(r->omitted[n].reason, "workspace");
    }
    ck_assert_uint_eq(r->omitted_n, n);
}

/* What was printed, whole. */
static void expect_text(const struct spool *s, const char *want)
{
    char got[64];

    ck_assert_uint_eq(s->size, strlen(want));
    ck_assert_int_eq(spool_read(s, 0, got, sizeof(got), NULL), (ssize_t)strlen(want));
    ck_assert_mem_eq(got, want, strlen(want));
}

/* ---- sending ---- */

START_TEST(the_directory_is_sent_as_it_is)
{
    CLEANUP(buf_done) struct buf b = {0};
    struct job job;

    rig_write(&place, "a", "one");
    rig_mkdir(&place, "d");
    rig_write(&place, "d/b", "two!");
    set_mode("d/b", 0755);
    rig_write(&place, "d/empty", "");
    set_mode("d/empty", 0600);
    rig_mkdir(&place, "d/inner");
    set_mode("d/inner", 0700);
    rig_link(&place, "../outside/secret", "link");
    box.policy.gather = box.policy.gather_tmp = _i;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(&box.says);
    finish_well();
    expect_sent("a 644 3:one|d/ 755 0|d/b 755 4:two!|d/empty 600 0|d/inner/ 700 0");
    ck_assert_uint_eq(rig_heard(&box, FRAME_JOB, &b), 1);
    ck_assert(job_decode(&job, (const uint8_t *)buf_get(&b), b.len));
    /* A workspace is gathered whatever the policy says of files in replies. */
    ck_assert_uint_eq(job.flags, JOB_GATHER | JOB_SYNC | (_i ? JOB_TMP : 0U));
    ck_assert_uint_eq(job.file_max, QUOTA);
    ck_assert_uint_eq(job.files_max, QUOTA);
    ck_assert_uint_eq(job.files_count, UINT32_MAX);
    ck_assert_uint_eq(job.timeout_ms, TIME_MS);
    ck_assert_uint_eq(job.grace_ms, GRACE_MS);
    /* What the program does not mention stays. */
    expect_list("a d/ d/b d/empty d/inner/");
}
END_TEST

static void write_at_take(struct run_rig *r, const struct handover *m)
{
    (void)r;
    if (m->type == HANDOVER_TAKE)
        rig_write(&place, "meanwhile", "seen");
}

START_TEST(the_list_is_of_the_moment_when_the_turn_comes)
{
    box.on_told = write_at_take;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(&box.says);
    finish_well();
    expect_sent("meanwhile 644 4:seen");
}
END_TEST

/* The container reads nothing meanwhile, and the rest of "big" is more than its stream takes. */
static void change_behind_the_list(struct run_rig *r, const struct frame *f)
{
    char full[1200];

    if (f->type != FRAME_ENTRY)
        return;
    r->on_frame = NULL;
    set_size("shrunk", 3);
    change("grown", "abcdef");
    ck_assert_int_eq(unlink(below(&place, "gone", full)), 0);
    ck_assert_int_eq(unlink(below(&place, "now-a-link", full)), 0);
    rig_link(&place, "../outside/secret", "now-a-link");
}

START_TEST(a_file_that_changes_behind_the_list_keeps_its_size)
{
    auto_free char *expected = xasprintf("big 644 %d%0*d|grown 644 3:abc|last 644 1:x|"
                                         "shrunk 644 8:123:00000",
                                         BIG, BIG / FRAME_MAX, 0);

    for (char *p = strchr(expected, '|') - BIG / FRAME_MAX; *p != '|'; p++)
        *p = '~';
    set_quota(BIG);
    set_size("big", BIG);
    rig_write(&place, "gone", "gone");
    rig_write(&place, "grown", "abc");
    rig_write(&place, "last", "x");
    rig_write(&place, "now-a-link", "file");
    rig_write(&place, "shrunk", "12345678");
    box.on_frame = change_behind_the_list;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(&box.says);
    finish_well();
    expect_sent(expected);
}
END_TEST

static void kill_porter_at_entry(struct run_rig *r, const struct frame *f)
{
    if (f->type != FRAME_ENTRY)
        return;
    r->on_frame = NULL;
    kill_porter();
}

/* 0: the porter dies while files are sent; 1: the container does; 2: there is no porter. */
START_TEST(without_all_of_its_files_nothing_runs)
{
    static const enum err_kind kinds[] = {ERR_BUSY, ERR_PEER, ERR_BUSY};
    CLEANUP(buf_done) struct buf b = {0};
    struct run *run;

    set_quota(BIG);
    set_size("big", BIG);
    rig_write(&place, "last", "x");
    if (_i == 0)
        box.on_frame = kill_porter_at_entry;
    box.says_at_once = box.ends = _i == 1;
    if (_i == 2)
        workspace_set_fd(ws, -1);
    run = finish();
    ck_assert_int_eq(run_result(run)->err.kind, kinds[_i]);
    expect_nothing_has_run(run);
    run_rig_halt(&box);
    ck_assert_uint_eq(rig_heard(&box, FRAME_GO, &b), 0);
}
END_TEST

/* ---- what comes back ---- */

START_TEST(what_comes_back_is_kept)
{
    struct entry picture = {.is_tmp = true, .size = 3, .path = "plot.png", .path_len = 8};
    const struct run_result *r;
    struct run *run;

    rig_write(&place, "old", "as it was");
    rig_write(&place, "other", "stays");
    box.policy.gather_tmp = true;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_dir(&box.says, "out");
    say_dir(&box.says, "out/empty");
    say_out(&box.says, "out/tool", 0755, 4);
    rig_frame(&box.says, FRAME_OUT_DATA, "#!");
    rig_frame(&box.says, FRAME_OUT_DATA, "sh");
    rig_file(&box.says, "deep/down/file", "x");
    rig_file(&box.says, "old", "new");
    say_out(&box.says, "void", 0400, 0);
    rig_entry(&box.says, FRAME_OUT_ENTRY, &picture);
    rig_frame(&box.says, FRAME_OUT_DATA, "PNG");
    say_result(&box.says);
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_OK);
    expect_list("deep/ deep/down/ deep/down/file old other out/ out/empty/ out/tool void");
    expect_file("old", "new");
    expect_file("other", "stays");
    expect_file("out/tool", "#!sh");
    expect_file("deep/down/file", "x");
    expect_mode("old", 0644);
    expect_mode("out/tool", 0755);
    expect_mode("void", 0600); /* the owner may always come back to it */
    /* The reply has what stood in /tmp, and that alone. */
    ck_assert_uint_eq(r->omitted_n, 0);
    ck_assert_uint_eq(r->files_n, 1);
    ck_assert_str_eq(r->files[0].path, "plot.png");
    expect_text(&r->files[0].data, "PNG");
    run_free(run);
}
END_TEST

/* The front has taken all that was said before it asks for more time. */
static void look_and_say_the_rest(struct run_rig *r, const struct handover *m)
{
    if (m->type != HANDOVER_EXTEND || m->ms != late_at_ms)
        return;
    ck_assert_uint_eq(count_parts(), 1);
    expect_file("old", "as it was");
    ck_assert(!rig_has(&place, "new"));
    say_late(r, m);
}

/* A file comes in two halves; between them the directory is looked at. */
static void say_in_halves(const char *path)
{
    set_quota(LARGE);
    rig_write(&place, "old", "as it was");
    box.on_told = look_and_say_the_rest;
    late_at_ms = LARGE_MS;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, path, 0644, 6);
    rig_frame(&box.says, FRAME_OUT_DATA, "abc");
    rig_frame(&late, FRAME_OUT_DATA, "def");
    say_result(&late);
}

START_TEST(nobody_sees_half_a_file)
{
    const char *path = _i ? "old" : "new";

    say_in_halves(path);
    finish_well();
    expect_file(path, "abcdef");
    expect_list(_i ? "old" : "new old");
}
END_TEST

/* How a transfer breaks, behind a whole file and half of another. */
static void breaks_off(struct buf *b)
{
    (void)b;
    box.ends = true;
}

static void goes_on_with_another(struct buf *b)
{
    rig_file(b, "another", "x");
}

static void sends_too_much(struct buf *b)
{
    rig_frame(b, FRAME_OUT_DATA, "more than was announced");
}

static void says_something_else(struct buf *b)
{
    rig_frame(b, FRAME_STDOUT, "hello");
}

static void ends_within(struct buf *b)
{
    say_result(b);
}

static void (*const breaks[])(struct buf *b) = {
    breaks_off, goes_on_with_another, sends_too_much, says_something_else, ends_within,
};

START_TEST(a_broken_transfer_leaves_nothing)
{
    struct run *run;

    rig_write(&place, "old", "as it was");
    rig_frame(&box.says, FRAME_ENDED, "");
    rig_file(&box.says, "whole", "kept");
    say_out(&box.says, "old", 0644, 9);
    rig_frame(&box.says, FRAME_OUT_DATA, "abc");
    breaks[_i](&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert_ptr_nonnull(strstr(run_result(run)->reason, "the program may have run"));
    run_free(run);
    expect_list("old whole");
    expect_file("old", "as it was");
    expect_file("whole", "kept");
}
END_TEST

START_TEST(a_file_that_became_unreadable_stays_as_it_was)
{
    struct entry e = {.reason = OMIT_UNREADABLE, .size = 9, .path = "old", .path_len = 3};
    const struct run_result *r;
    struct run *run;

    rig_write(&place, "old", "as it was");
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, "old", 0644, 9);
    rig_frame(&box.says, FRAME_OUT_DATA, "abc");
    rig_entry(&box.says, FRAME_OMITTED, &e);
    rig_file(&box.says, "next", "kept");
    say_result(&box.says);
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_OK);
    ck_assert_uint_eq(r->omitted_n, 1);
    ck_assert_str_eq(r->omitted[0].path, "old");
    ck_assert_str_eq(r->omitted[0].reason, "unreadable");
    run_free(run);
    expect_list("next old");
    expect_file("old", "as it was");
}
END_TEST

/* ---- what the program removed ---- */

static void change_before_the_end(struct run_rig *r, const struct frame *f)
{
    (void)r;
    if (f->type != FRAME_GO)
        return;
    change("changed", "by somebody");
    rig_write(&place, "filled/new", "by somebody");
    rig_write(&place, "came", "by somebody");
}

START_TEST(what_was_removed_goes_unless_it_changed_meanwhile)
{
    static const char *const removed[] = {"changed",     "d/file", "d",
                                          "filled/file", "filled", "file"};

    rig_mkdir(&place, "d");
    rig_mkdir(&place, "filled");
    rig_write(&place, "changed", "for the program");
    rig_write(&place, "d/file", "x");
    rig_write(&place, "file", "x");
    rig_write(&place, "filled/file", "x");
    rig_write(&place, "untouched", "x");
    box.on_frame = change_before_the_end;
    rig_frame(&box.says, FRAME_ENDED, "");
    for (size_t i = 0; i < ARRAY_LEN(removed); i++)
        rig_frame(&box.says, FRAME_GONE, removed[i]);
    say_result(&box.says);
    finish_well();
    expect_list("came changed filled/ filled/new untouched");
    expect_file("changed", "by somebody");
}
END_TEST

static const struct bad_removal {
    const char *path, *what;
} bad_removals[] = {
    {"came",        "a removal of what was never there"},
    {"nothing",     "a removal of what was never there"},
    {"d",           "a removal of what was never there"},
    {"../outside",  "a removal that was not asked for" },
    {"filled/../x", "a removal that was not asked for" },
    {"",            "a removal that was not asked for" },
};

START_TEST(a_removal_of_what_was_never_sent_is_a_breach)
{
    struct run *run;

    rig_mkdir(&place, "filled");
    rig_write(&place, "x", "stays");
    box.on_frame = change_before_the_end;
    rig_frame(&box.says, FRAME_ENDED, "");
    rig_frame(&box.says, FRAME_GONE, bad_removals[_i].path);
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_INFRA);
    ck_assert_int_eq(run_result(run)->err.kind, ERR_PEER);
    ck_assert_msg(strstr(run_result(run)->reason, bad_removals[_i].what), "%s",
                  run_result(run)->reason);
    run_free(run);
    expect_list("came changed filled/ filled/new x");
}
END_TEST

/* ---- what cannot be kept ---- */

START_TEST(what_does_not_fit_is_told_and_the_old_one_stays)
{
    static const char *const too_much[] = {"new", "old", NULL};
    struct run *run;

    set_size("most", QUOTA - 100);
    rig_write(&place, "old", "as it was");
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, "new", 0644, 101);
    say_zeros(&box.says, 101);
    say_out(&box.says, "old", 0644, 101);
    say_zeros(&box.says, 101);
    say_out(&box.says, "fits", 0644, 91);
    say_zeros(&box.says, 91);
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    expect_omitted(run_result(run), too_much);
    run_free(run);
    expect_list("fits most old");
    expect_file("old", "as it was");
}
END_TEST

/* The policy in force may allow more than the workspace that is open, until that is opened anew. */
START_TEST(a_file_beyond_the_quota_of_the_workspace_is_told)
{
    static const char *const too_much[] = {"large", NULL};
    struct run *run;

    box.policy.workspace_quota = 2 * QUOTA;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, "large", 0644, QUOTA + 1);
    say_zeros(&box.says, QUOTA + 1);
    rig_file(&box.says, "small", "kept");
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    expect_omitted(run_result(run), too_much);
    run_free(run);
    expect_list("small");
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_told_and_the_old_one_stays)
{
    static const char *const too_much[] = {"large", NULL};
    struct rlimit limit;
    rlim_t before;
    struct run *run;

    set_quota(BIG);
    rig_write(&place, "large", "as it was");
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, "large", 0644, 3 << 20);
    say_zeros(&box.says, 3 << 20);
    rig_file(&box.says, "small", "kept");
    say_result(&box.says);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    before = limit.rlim_cur;
    limit.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    run = finish();
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    expect_omitted(run_result(run), too_much);
    run_free(run);
    expect_list("large small");
    expect_file("large", "as it was");
}
END_TEST

START_TEST(a_file_and_a_directory_do_not_take_each_others_place)
{
    static const char *const in_the_way[] = {"d", NULL};
    struct run *run;

    rig_mkdir(&place, "d");
    rig_write(&place, "f", "as it was");
    rig_frame(&box.says, FRAME_ENDED, "");
    rig_file(&box.says, "d", "file");
    say_dir(&box.says, "f");
    rig_file(&box.says, "small", "kept");
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    expect_omitted(run_result(run), in_the_way);
    run_free(run);
    expect_list("d/ f small");
    expect_file("f", "as it was");
}
END_TEST

static void kill_porter_at_go(struct run_rig *r, const struct frame *f)
{
    (void)r;
    if (f->type == FRAME_GO)
        kill_porter();
}

START_TEST(without_a_porter_the_reply_comes_all_the_same)
{
    static const char *const lost[] = {"new", "old", "void", NULL};
    struct run *run;

    rig_write(&place, "old", "as it was");
    rig_write(&place, "removed", "stays");
    box.on_frame = kill_porter_at_go;
    rig_frame(&box.says, FRAME_STDOUT, "done");
    rig_frame(&box.says, FRAME_ENDED, "");
    say_dir(&box.says, "d");
    rig_file(&box.says, "new", "data");
    rig_file(&box.says, "old", "data");
    rig_file(&box.says, "void", "");
    rig_frame(&box.says, FRAME_GONE, "removed");
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    expect_text(&run_result(run)->out, "done");
    expect_omitted(run_result(run), lost);
    run_free(run);
    expect_file("old", "as it was");
    expect_file("removed", "stays");
    ck_assert(!rig_has(&place, "d") && !rig_has(&place, "new") && !rig_has(&place, "void"));
}
END_TEST

static void stop_porter_at_go(struct run_rig *r, const struct frame *f)
{
    (void)r;
    if (f->type == FRAME_GO && kill(place.pid, SIGSTOP) < 0)
        abort();
}

/* Each question to it waits out its patience, and there may be as many as the program left files. */
START_TEST(a_porter_that_hangs_is_waited_for_once)
{
    enum { FILES = 40 };
    const int64_t patience = patient(200);
    struct run *run;
    int64_t began;

    workspace_set_patience(ws, patience);
    box.on_frame = stop_porter_at_go;
    rig_frame(&box.says, FRAME_ENDED, "");
    for (int i = 0; i < FILES; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "%d", i);
        say_dir(&box.says, name);
        rig_file(&box.says, name, "data");
    }
    say_result(&box.says);
    began = clock_ms();
    run = finish();
    ck_assert_int_lt(clock_ms() - began, FILES / 4 * patience);
    ck_assert_int_eq(run_result(run)->outcome, OUTCOME_OK);
    ck_assert_uint_eq(run_result(run)->omitted_n, FILES);
    run_free(run);
    ck_assert_int_eq(kill(place.pid, SIGCONT), 0);
}
END_TEST

/* ---- how long the keeper shall wait ---- */

static const struct span {
    bool has_workspace;
    off_t held, input;  /* bytes in the workspace; of an input file of the request */
    int64_t most;       /* that may come back */
    uint32_t before_ms; /* asked for with TAKE, beyond the program's own time */
    uint64_t extensions[4];
} spans[] = {
    {false, 0,            0,       QUOTA, 0,           {0}                                 },
    {false, 0,            0,       LARGE, 0,           {LARGE_MS}                          },
    {false, 0,            QUOTA,   QUOTA, 64,          {0}                                 },
    {false, 0,            8 << 20, QUOTA, 512,         {HARD_MS}                           },
    {true,  0,            0,       QUOTA, RUN_LIST_MS, {HARD_MS}                           },
    {true,  MS_BYTES - 1, 0,       QUOTA, RUN_LIST_MS, {HARD_MS}                           },
    {true,  MS_BYTES,     0,       QUOTA, RUN_LIST_MS, {LISTED_MS + 1, HARD_MS}            },
    {true,  8 << 20,      0,       LARGE, RUN_LIST_MS, {LISTED_MS + 512, HARD_MS, LARGE_MS}},
};

START_TEST(the_keeper_is_told_how_long_to_wait)
{
    const struct span *x = &spans[_i];
    auto_free char *data = xcalloc(1, (size_t)x->input + 1);
    struct run_file file = {.path = "input"};
    struct spool input;
    size_t n = 0;

    spool_init(&input, "/tmp");
    ck_assert_int_eq(spool_add(&input, data, (size_t)x->input, NULL), 0);
    file.data = &input;
    box.request.files = &file;
    box.request.files_n = x->input ? 1 : 0;
    if (x->held)
        set_size("held", x->held);
    if (!x->has_workspace)
        box.request.workspace = NULL;
    box.policy.workspace_quota = box.policy.files_out_total = x->most;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(x->most == LARGE ? &late : &box.says);
    box.on_told = say_late;
    late_at_ms = LARGE_MS;
    finish_well();
    run_rig_halt(&box);
    ck_assert_uint_eq(box.last[HANDOVER_TAKE].u.take.run_ms, HARD_MS + x->before_ms);
    for (; x->extensions[n]; n++)
        ck_assert_uint_eq(box.extensions[n], x->extensions[n]);
    ck_assert_uint_eq(box.counts[HANDOVER_EXTEND], n);
    ck_assert_uint_eq(box.last[HANDOVER_EXTEND].member, n ? 7 : 0);
    spool_done(&input);
}
END_TEST

/* A reply that is due leaves the program what the way and the line have left of its time. */
static const struct due {
    int64_t timeout_ms, due_in_ms; /* 0: never */
    uint32_t wait_ms, job_ms, grace_ms;
    bool is_cut; /* they are upper bounds: some time has passed */
} dues[] = {
    {RUN_TIMEOUT_DEFAULT, 0,     TIME_MS, TIME_MS,     GRACE_MS, false},
    {100000,              0,     TIME_MS, TIME_MAX_MS, GRACE_MS, false},
    {5000,                50000, TIME_MS, 5000,        10,       false},
    {50000,               9000,  9000,    9000,        10,       true },
    {50000,               -1,    0,       0,           10,       false},
};

START_TEST(a_reply_that_is_due_shortens_the_wait_and_the_program)
{
    const struct due *x = &dues[_i];
    CLEANUP(buf_done) struct buf b = {0};
    uint32_t wait_ms;
    struct job job;

    box.request.timeout_ms = x->timeout_ms;
    if (x->due_in_ms)
        box.request.deadline_ms = clock_ms() + x->due_in_ms;
    box.says_at_once = true; /* some have little time */
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(&box.says);
    finish_well();
    run_rig_halt(&box);
    wait_ms = box.last[HANDOVER_TAKE].u.take.wait_ms;
    ck_assert_uint_eq(rig_heard(&box, FRAME_JOB, &b), 1);
    ck_assert(job_decode(&job, (const uint8_t *)buf_get(&b), b.len));
    ck_assert_uint_eq(job.grace_ms, x->grace_ms);
    if (x->is_cut) {
        ck_assert(wait_ms > 0 && wait_ms <= x->wait_ms);
        ck_assert(job.timeout_ms > 0 && job.timeout_ms <= wait_ms);
        return;
    }
    ck_assert_uint_eq(wait_ms, x->wait_ms);
    ck_assert_uint_eq(job.timeout_ms, x->job_ms);
}
END_TEST

/* ---- a reply that did not wait for its container ---- */

static unsigned observed;

static void observe_timeout(void *ctx, const struct run_request *request,
                            const struct run_result *r)
{
    ck_assert_ptr_eq(ctx, &box);
    ck_assert_ptr_eq(request, &box.request);
    ck_assert_int_eq(r->outcome, OUTCOME_TIMEOUT);
    ck_assert_str_eq(r->reason, "time limit of 10 s exceeded");
    ck_assert_int_eq(r->exit_code, -1);
    expect_text(&r->out, "early");
    observed++;
}

/* 0: the program ends well after all; 1: its warden ends it; 2: the stream breaks off. */
START_TEST(a_run_told_as_timed_out_keeps_its_files_all_the_same)
{
    struct run *run;
    int client[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, client), 0);
    rig_write(&place, "old", "as it was");
    rig_write(&place, "removed", "x");
    rig_frame(&box.says, FRAME_STARTED, "");
    rig_frame(&box.says, FRAME_STDOUT, "early");
    box.says_at_once = true;
    box.request.client_fd = client[0];
    box.request.give_up_ms = clock_ms(); /* with the first time that nothing comes */
    box.on_told = say_late;
    late_at_ms = RUN_COLLECT_MS;
    breaks_off_behind = _i == 2;
    rig_frame(&late, FRAME_STDOUT, "late");
    rig_frame(&late, FRAME_ENDED, "");
    rig_file(&late, "new", "data");
    rig_frame(&late, FRAME_GONE, "removed");
    if (_i == 2)
        say_out(&late, "old", 0644, 9);
    else
        rig_report(&late,
                   &(struct outcome_report){.end = _i ? END_TIMEOUT : END_NORMAL, .exit_code = 3});
    run_rig_start(&box);
    core_observe(box.core, observe_timeout, &box);
    run = run_new(box.core, &box.request);
    ck_assert_int_eq(run_wait(run)->outcome, OUTCOME_TIMEOUT);
    ck_assert_str_eq(run_result(run)->reason, "time limit of 10 s exceeded");
    expect_text(&run_result(run)->out, "early");
    expect_list("old removed"); /* the reply came first */
    (void)close(client[1]);     /* a client that has its reply may go */
    run_free(run);
    ck_assert_uint_eq(observed, 1);
    expect_list("new old");
    expect_file("new", "data");
    expect_file("old", "as it was");
    (void)run_rig_wait(&box, HANDOVER_DONE);
    run_rig_halt(&box);
    ck_assert_uint_eq(box.extensions[1], RUN_COLLECT_MS);
    if (_i == 2) /* the others are read in one go */
        ck_assert_uint_eq(box.extensions[2], RUN_COLLECT_MS + QUOTA / RUN_BYTES_PER_MS);
    (void)close(client[0]);
}
END_TEST

/* Its end came in time, only its files need longer: the reply waits for them. */
START_TEST(a_run_that_gathers_is_not_told_as_timed_out)
{
    say_in_halves("new");
    box.says_at_once = true;
    box.request.give_up_ms = clock_ms();
    finish_well();
    expect_file("new", "abcdef");
}
END_TEST

/* ---- what cannot be spooled ---- */

START_TEST(output_that_cannot_be_spooled_is_cut)
{
    enum { PIECES = SPOOL_MEMORY / FRAME_MAX };
    auto_free char *piece = xcalloc(1, FRAME_MAX);
    const struct run_result *r;
    struct run *run;

    box.spool_dir = "/nonexistent";
    box.request.wants_log = true;
    memset(piece, 'x', FRAME_MAX);
    for (int i = 0; i < PIECES + 2; i++)
        rig_frame_id(&box.says, FRAME_STDOUT, 0, piece, FRAME_MAX);
    rig_frame(&box.says, FRAME_STDERR, "fits");
    rig_frame(&box.says, FRAME_ENDED, "");
    say_result(&box.says);
    run = finish();
    r = run_result(run);
    ck_assert_int_eq(r->outcome, OUTCOME_OK);
    ck_assert_uint_eq(r->out.size, SPOOL_MEMORY);
    ck_assert(r->out_is_cut && !r->err_is_cut);
    expect_text(&r->err_out, "fits");
    ck_assert_uint_eq(r->log_n, PIECES + 1); /* what is not kept has no place in the order */
    ck_assert(r->log[PIECES].is_stderr);
    run_free(run);
}
END_TEST

/* Files of a reply are whole or not there; those of a workspace need no spool. */
START_TEST(a_file_that_cannot_be_spooled_ends_the_run)
{
    struct run *run;

    box.spool_dir = "/nonexistent";
    if (_i == 0)
        box.request.workspace = NULL;
    rig_frame(&box.says, FRAME_ENDED, "");
    say_out(&box.says, "large", 0644, SPOOL_MEMORY + 1);
    say_zeros(&box.says, SPOOL_MEMORY + 1);
    say_result(&box.says);
    run = finish();
    ck_assert_int_eq(run_result(run)->outcome, _i ? OUTCOME_OK : OUTCOME_INFRA);
    ck_assert_uint_eq(run_result(run)->files_n, 0);
    if (_i == 0)
        ck_assert_ptr_nonnull(strstr(run_result(run)->reason, "spool file in '/nonexistent'"));
    run_free(run);
    expect_list(_i ? "large" : "");
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, the_directory_is_sent_as_it_is, 0, 2);
    tcase_add_test(t, the_list_is_of_the_moment_when_the_turn_comes);
    tcase_add_test(t, a_file_that_changes_behind_the_list_keeps_its_size);
    tcase_add_loop_test(t, without_all_of_its_files_nothing_runs, 0, 3);
    tcase_add_test(t, what_comes_back_is_kept);
    tcase_add_loop_test(t, nobody_sees_half_a_file, 0, 2);
    tcase_add_loop_test(t, a_broken_transfer_leaves_nothing, 0, ARRAY_LEN(breaks));
    tcase_add_test(t, a_file_that_became_unreadable_stays_as_it_was);
    tcase_add_test(t, what_was_removed_goes_unless_it_changed_meanwhile);
    tcase_add_loop_test(t, a_removal_of_what_was_never_sent_is_a_breach, 0,
                        ARRAY_LEN(bad_removals));
    tcase_add_test(t, what_does_not_fit_is_told_and_the_old_one_stays);
    tcase_add_test(t, a_file_beyond_the_quota_of_the_workspace_is_told);
    tcase_add_test(t, a_file_that_cannot_be_written_is_told_and_the_old_one_stays);
    tcase_add_test(t, a_file_and_a_directory_do_not_take_each_others_place);
    tcase_add_test(t, without_a_porter_the_reply_comes_all_the_same);
    tcase_add_test(t, a_porter_that_hangs_is_waited_for_once);
    tcase_add_loop_test(t, the_keeper_is_told_how_long_to_wait, 0, ARRAY_LEN(spans));
    tcase_add_loop_test(t, a_reply_that_is_due_shortens_the_wait_and_the_program, 0,
                        ARRAY_LEN(dues));
    tcase_add_loop_test(t, a_run_told_as_timed_out_keeps_its_files_all_the_same, 0, 3);
    tcase_add_test(t, a_run_that_gathers_is_not_told_as_timed_out);
    tcase_add_test(t, output_that_cannot_be_spooled_is_cut);
    tcase_add_loop_test(t, a_file_that_cannot_be_spooled_ends_the_run, 0, 2);
}

UNIT_MAIN("run_workspace", add_tests)
