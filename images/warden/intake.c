#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void note_failure(struct intake *in)
{
    if (in->failed_errno)
        return;
    in->failed_errno = errno ? errno : EIO;
    memcpy(in->failed_path, in->path, sizeof(in->path));
}

/* Opens the directory that holds the last component of in->path, making what is missing. */
static int open_parent(struct intake *in, const char **ret_last)
{
    char *part = in->path, *slash;
    int at = openat(in->work_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    while (at >= 0 && (slash = strchr(part, '/'))) {
        int next;

        *slash = '\0';
        if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
            next = -1;
        else
            next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        *slash = '/';
        (void)close(at);
        at = next;
        part = slash + 1;
    }
    *ret_last = part;
    return at;
}

static int make_dir(struct intake *in, int parent, const char *name)
{
    struct stat st;

    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return -1;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    known_add(in->known, in->path, in->entry.path_len, &st);
    return 0;
}

static int make_file(struct intake *in, int parent, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

    in->file_fd = openat(parent, name, flags, 0600);
    /* A later run of a kept worker may find the name taken by an earlier one. */
    if (in->file_fd < 0 && errno == EEXIST && unlinkat(parent, name, 0) == 0)
        in->file_fd = openat(parent, name, flags, 0600);
    return in->file_fd < 0 ? -1 : 0;
}

/*
 * The file is complete. Its time is set back by a second: a change within the same tick of the
 * kernel's clock could not be told from the state noted here otherwise.
 */
static void close_file(struct intake *in)
{
    mode_t mode = in->entry.mode ? (mode_t)in->entry.mode : 0644;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    struct stat st;

    if (in->file_fd < 0)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec--;
    if (fchmod(in->file_fd, mode) < 0 || futimens(in->file_fd, times) < 0 ||
        fstat(in->file_fd, &st) < 0)
        note_failure(in);
    else
        known_add(in->known, in->path, in->entry.path_len, &st);
    (void)close(in->file_fd);
    in->file_fd = -1;
}

static int write_all(int fd, const uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, data, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static enum intake_state take_job(struct intake *in, const struct frame *f)
{
    if (in->is_open || !job_decode(&in->job, f->data, f->len))
        return INTAKE_BAD;
    in->is_open = true;
    in->meta_len = in->code_len = 0;
    in->failed_errno = 0;
    return INTAKE_MORE;
}

static enum intake_state take_text(struct intake *in, const struct frame *f, struct queue *worker)
{
    size_t *len = f->type == FRAME_META ? &in->meta_len : &in->code_len;
    size_t max = f->type == FRAME_META ? INTAKE_META_MAX : INTAKE_CODE_MAX;

    if (f->len > max - *len)
        return INTAKE_BAD;
    *len += f->len;
    queue_frame(worker, f);
    return INTAKE_MORE;
}

static enum intake_state take_entry(struct intake *in, const struct frame *f)
{
    const char *last;
    int parent, done;

    if (!entry_decode(&in->entry, f->data, f->len) || in->entry.is_tmp || in->entry.reason ||
        !name_path_is_ok(in->entry.path, in->entry.path_len))
        return INTAKE_BAD;
    memcpy(in->path, in->entry.path, in->entry.path_len);
    in->path[in->entry.path_len] = '\0';
    in->file_left = in->entry.size;
    parent = open_parent(in, &last);
    if (parent < 0)
        done = -1;
    else if (in->entry.kind == ENTRY_DIR)
        done = make_dir(in, parent, last);
    else
        done = make_file(in, parent, last);
    if (done < 0)
        note_failure(in);
    if (parent >= 0)
        (void)close(parent);
    if (in->file_left == 0)
        close_file(in);
    return INTAKE_MORE;
}

static enum intake_state take_data(struct intake *in, const struct frame *f)
{
    if (f->len > in->file_left)
        return INTAKE_BAD;
    in->file_left -= f->len;
    if (in->file_fd >= 0 && write_all(in->file_fd, f->data, f->len) < 0) {
        note_failure(in);
        (void)close(in->file_fd);
        in->file_fd = -1;
    }
    if (in->file_left == 0)
        close_file(in);
    return INTAKE_MORE;
}

enum intake_state intake_frame(struct intake *in, const struct frame *f, struct queue *worker)
{
    if (f->type == FRAME_JOB)
        return take_job(in, f);
    if (!in->is_open || (in->file_left > 0) != (f->type == FRAME_DATA))
        return INTAKE_BAD;
    switch (f->type) {
    case FRAME_META:
    case FRAME_CODE:
        return take_text(in, f, worker);
    case FRAME_ENTRY:
        return take_entry(in, f);
    case FRAME_DATA:
        return take_data(in, f);
    case FRAME_GO:
        in->is_open = false;
        return INTAKE_GO;
    default:
        return INTAKE_BAD;
    }
}
