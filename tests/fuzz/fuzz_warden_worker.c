/*
 * Control frames of a hostile worker, in pieces as the input says, between output on its pipes.
 *
 * Oracles beyond the sanitizers: only the four kinds that a program may cause, and its output, get
 * into the queue towards the front, whole; nothing follows an end report or a breach.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The warden is no library. NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../images/warden/pump.c"
#include "../../images/warden/queue.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "frames/le.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out_buf[4 * (FRAME_HEAD + FRAME_MAX)], control_buf[FRAME_HEAD + FRAME_MAX];

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static void check_queue(struct queue *out, bool is_over)
{
    while (out->start < out->end) {
        const uint8_t *p = out->buf + out->start;
        uint32_t n = le_get32(p + 4);

        must(n <= FRAME_MAX && out->start + FRAME_HEAD + n <= out->end, "a frame leaves the queue");
        must(p[0] >= FRAME_STDOUT && p[0] <= FRAME_STEP, "a forged frame");
        must(!is_over || p[0] == FRAME_STDOUT, "a frame followed the end");
        out->start += FRAME_HEAD + n;
    }
    out->start = out->end = 0;
}

/* The first byte of each piece is its length and whether something is printed before it. */
static void feed(struct pump *p, int control, int printed, const uint8_t *data, size_t size)
{
    int pieces_behind = 0;

    while (size > 1 && pieces_behind < 3) {
        size_t n = 1 + (data[0] & 0x7F) * 8U;
        bool is_over = p->has_report || p->is_broken;

        pieces_behind += is_over;
        if (data[0] & 0x80)
            must(write(printed, "text", 4) == 4, "print");
        n = n < size - 1 ? n : size - 1;
        must(write(control, data + 1, n) == (ssize_t)n, "write");
        data += 1 + n;
        size -= 1 + n;
        do
            pump_control(p, true);
        while (p->has_more && !p->is_broken && !p->has_report);
        (void)pump_drain(p);
        check_queue(p->out, is_over);
        must(!p->report.is_blocked || (p->job->flags & JOB_CHECK && !p->is_checked), "a block");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job job = {.flags = size & 1 ? JOB_CHECK : 0, .output_soft = 64, .output_hard = 1 << 20};
    struct child child = {0};
    struct pump pump;
    struct queue out;
    int o[2], e[2], c[2];

    must(pipe2(o, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(e, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, c) == 0, "socketpair");
    child.out_fd = o[0];
    child.err_fd = e[0];
    child.control_fd = c[0];
    queue_init(&out, out_buf, sizeof(out_buf));
    pump_init(&pump, &child, &out, control_buf, sizeof(control_buf));
    pump_begin(&pump, &job);
    feed(&pump, c[1], o[1], data, size);
    (void)close(o[1]);
    (void)close(e[1]);
    (void)close(c[1]);
    (void)pump_drain(&pump);
    pump_control(&pump, false);
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? child.out_fd : i == 1 ? child.err_fd : child.control_fd;

        if (fd >= 0)
            (void)close(fd);
    }
    return 0;
}
