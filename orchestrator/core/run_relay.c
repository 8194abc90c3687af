#include "core/run_relay.h"

#include <poll.h>

#include "base/clock.h"
#include "core/core_state.h"
#include "core/relay.h"
#include "core/run_state.h"
#include "frames/le.h"

bool run_relay_is_allowed(const struct run *run)
{
    return run->request->policy->network.kind == NETWORK_RELAY;
}

static const char *take_stdin_credit(struct run *run, const struct frame *f)
{
    uint32_t n = f->len == 4 ? le_get32(f->data) : UINT32_MAX;

    if (n > run->stdin_under_way)
        return "credit for input that was not sent";
    run->stdin_under_way -= n;
    return NULL;
}

const char *run_relay_frame(struct run *run, const struct frame *f)
{
    const struct relay_options o = {.policy = run->request->policy,
                                    .run_id = run->result.id,
                                    .resolver = core_resolver(run->core),
                                    .counts = &run->result.relay};

    /* The reply is out, its connections are gone; only the files are still waited for. */
    if (run->is_told)
        return NULL;
    if (f->type == FRAME_RELAY_MORE && f->id == 0)
        return take_stdin_credit(run, f);
    if (!run->relay && f->type == FRAME_RELAY_OPEN)
        run->relay = relay_new(&o);
    return run->relay ? relay_frame(run->relay, f) : "a frame for no connection";
}

bool run_relay_feed(struct run *run)
{
    size_t n;

    if (!run->relay || !relay_next(run->relay, &run->feed_from, &n))
        return false;
    run->feed_at = 0;
    run->feed_len = n;
    return true;
}

bool run_relay_may_feed(const struct run *run, size_t n)
{
    return !run_relay_is_allowed(run) || run->stdin_under_way + n <= RELAY_STDIN;
}

void run_relay_note_feed(struct run *run, size_t n)
{
    if (run_relay_is_allowed(run))
        run->stdin_under_way += (uint32_t)n;
}

void run_relay_end(struct run *run)
{
    if (run->relay)
        relay_end(run->relay);
}

static int64_t deliver_until_ms(const struct run *run)
{
    int64_t until = run->go_us / 1000 + run->job_timeout_ms, least = clock_ms() + RUN_DELIVER_MS;
    int64_t due = run->request->give_up_ms;

    until = until > least ? until : least;
    return due && due < until ? due : until;
}

void run_relay_deliver(struct run *run)
{
    int64_t until = deliver_until_ms(run);

    while (run->relay && relay_is_delivering(run->relay) && clock_ms() < until) {
        struct pollfd p[2 + RELAY_POLLED];
        size_t n = relay_poll(run->relay, p + 2);

        p[0] = (struct pollfd){.fd = run->request->client_fd, .events = POLLRDHUP};
        p[1] = (struct pollfd){.fd = run->cancel_fd, .events = POLLIN};
        (void)poll(p, 2 + n, clock_left_ms(until));
        if (p[0].revents || p[1].revents)
            return;
        relay_serve(run->relay, p + 2, n);
    }
}
