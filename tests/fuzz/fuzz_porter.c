/*
 * Both ends of the porter's protocol. The first byte chooses: even, the rest are questions of a
 * hostile front to a porter that serves a real directory; odd, the rest are answers of a hostile
 * porter to one question of the front.
 *
 * Oracles beyond the sanitizers: every answer of the porter is valid, a directory beside the one
 * that is served stays as it was although links lead there, no descriptor is leaked.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "core/porter.h"
#include "core/porter_wire.h"
#include "core/workspace.h"

enum { MESSAGES_MAX = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[] = "/dev/shm/fuzz-porter-XXXXXX";
static int in_fd = -1, top_fd;

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

static void clean_up(void)
{
    (void)nftw(top, remove_one, 40, FTW_DEPTH | FTW_PHYS);
    (void)rmdir(top);
}

static void write_file(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), name);
    (void)close(fd);
}

/* top/in is served, top/out must not change. */
static void begin(void)
{
    log_init("fuzz", LOG_ERROR, LOG_TEXT, 2);
    must(mkdtemp(top) != NULL, "mkdtemp");
    (void)atexit(clean_up);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(mkdirat(top_fd, "out", 0755) == 0, "out");
    write_file(top_fd, "out/secret", "secret");
}

static void make_tree(void)
{
    char path[80];

    (void)snprintf(path, sizeof(path), "%s/in", top);
    (void)nftw(path, remove_one, 40, FTW_DEPTH | FTW_PHYS);
    (void)mkdirat(top_fd, "in", 0755);
    if (in_fd < 0)
        in_fd = openat(top_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(mkdirat(in_fd, "d", 0755) == 0, "d");
    write_file(in_fd, "d/f", "text");
    write_file(in_fd, "a", "");
    must(symlinkat("../out", in_fd, "l") == 0, "l");
    must(symlinkat("../../out/secret", in_fd, "d/s") == 0, "s");
}

static void check_outside(void)
{
    int fd = openat(top_fd, "out/secret", O_RDONLY | O_CLOEXEC), entries = 0;
    char text[8] = "";
    DIR *dir;

    must(fd >= 0 && read(fd, text, sizeof(text)) == 6 && !strcmp(text, "secret"), "secret changed");
    (void)close(fd);
    dir = fdopendir(openat(top_fd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (readdir(dir))
        entries++;
    must(entries == 3, "something was made outside");
    (void)closedir(dir);
}

static int lowest_free_fd(void)
{
    int fd = dup(0);

    (void)close(fd);
    return fd;
}

/* Takes `n` bytes from the input, fewer at its end. */
static size_t take(const uint8_t **data, size_t *size, void *out, size_t n)
{
    if (n > *size)
        n = *size;
    memcpy(out, *data, n);
    *data += n;
    *size -= n;
    return n;
}

static void set_limits(int fd)
{
    const struct timeval soon = {.tv_usec = 200000};
    int room = 1 << 20;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
}

static void read_answers(int fd)
{
    static struct porter_answer a;
    int file;
    ssize_t n;

    while ((n = io_recv_msg(fd, &a, sizeof(a), &file)) > 0) {
        struct porter_entry e;
        size_t at = 0;

        must(porter_answer_is_valid(&a, n, file >= 0), "an invalid answer");
        for (uint32_t i = 0; i < a.count; i++)
            must(porter_entry_get(&a, &at, &e), "an invalid entry");
        must(at == a.data_len, "bytes behind the entries");
        if (file >= 0)
            (void)close(file);
    }
}

/*
 * A question is: type, path length, flags, then the path. Flag 1 adds raw bytes for the rest of
 * the head; flag 2 lies about the length.
 */
static void send_question(int fd, const uint8_t **data, size_t *size)
{
    struct porter_ask ask = {.quota = 1000, .size = 10, .mode = 0644};
    uint8_t head[3] = {0};
    size_t n;

    (void)take(data, size, head, sizeof(head));
    if (head[2] & 1)
        (void)take(data, size, (uint8_t *)&ask + 4, PORTER_ASK_HEAD - 4);
    ask.type = head[0] % (PORTER_TYPES + 1);
    n = take(data, size, ask.path, head[1]);
    ask.path_len = (uint32_t)n;
    n += PORTER_ASK_HEAD;
    if (head[2] & 2)
        n += head[2] >> 2;
    (void)send(fd, &ask, n < sizeof(ask) ? n : sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void as_front(const uint8_t *data, size_t size)
{
    struct err err = {0};
    int pair[2];

    make_tree();
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    set_limits(pair[1]);
    for (int i = 0; size && i < MESSAGES_MAX; i++)
        send_question(pair[0], &data, &size);
    (void)shutdown(pair[0], SHUT_WR);
    (void)!porter_serve(in_fd, pair[1], &err);
    (void)close(pair[1]);
    read_answers(pair[0]);
    (void)close(pair[0]);
    check_outside();
}

static void ask_once(struct workspace *w, uint8_t how)
{
    struct workspace_entry *list;
    struct err err = {0};
    uint64_t token;
    int fd = -1;
    size_t n;

    if (how % 3 == 0 && workspace_list(w, &list, &n, &err) == 0)
        workspace_entries_free(list, n);
    if (how % 3 == 1)
        (void)!workspace_open(w, "f", &fd, &err);
    if (how % 3 == 2)
        (void)!workspace_create(w, 1, &fd, &token, &err);
    if (fd >= 0)
        (void)close(fd);
}

/* An answer is: two bytes of length, flags, then the message. Flag 1: with a descriptor. */
static void send_answer(int fd, const uint8_t **data, size_t *size)
{
    static struct porter_answer a;
    uint8_t head[3] = {0};
    size_t n;
    int file = -1;

    (void)take(data, size, head, sizeof(head));
    memset(&a, 0, PORTER_ANSWER_HEAD);
    n = take(data, size, &a, (size_t)(head[0] | (head[1] & 0x3f) << 8));
    if (head[2] & 2)
        a.seq = 1; /* the question's */
    if (head[2] & 4)
        a.data_len = n > PORTER_ANSWER_HEAD ? (uint32_t)(n - PORTER_ANSWER_HEAD) : 0;
    if (head[2] & 1)
        file = openat(in_fd, head[2] & 8 ? "a" : "d", O_RDONLY | O_CLOEXEC);
    (void)io_send_msg(fd, &a, n < PORTER_ANSWER_HEAD && head[2] & 4 ? PORTER_ANSWER_HEAD : n, file);
    if (file >= 0)
        (void)close(file);
}

static void as_porter(const uint8_t *data, size_t size)
{
    struct workspace *w;
    uint8_t how = 0;
    int pair[2];

    if (in_fd < 0)
        make_tree();
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    w = workspace_new(pair[0], 1000);
    set_limits(pair[1]);
    (void)take(&data, &size, &how, 1);
    for (int i = 0; size && i < MESSAGES_MAX; i++)
        send_answer(pair[1], &data, &size);
    (void)shutdown(pair[1], SHUT_WR);
    ask_once(w, how);
    workspace_free(w);
    (void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int before;

    if (!top_fd)
        begin();
    if (in_fd < 0)
        make_tree();
    if (size < 2)
        return 0;
    before = lowest_free_fd();
    if (data[0] % 2)
        as_porter(data + 1, size - 1);
    else
        as_front(data + 1, size - 1);
    must(lowest_free_fd() == before, "a descriptor was leaked");
    return 0;
}
