/*
 * LIST answers. A walk goes on for one message at a time, in turns with the others, so that nobody
 * waits long for somebody else's 50,000 files. The sums that it finds on its way are what the quota
 * is measured by.
 */
#include "base/io.h"
#include "base/mem.h"
#include "core/porter_state.h"

#define SUM_MAX ((uint64_t)1 << 62)

enum {
    WALKS_MAX = 16, /* at once: each may hold a descriptor per level */
    STEP_ENTRIES = 128,
};

enum porter_fault porter_list_begin(struct porter *p, uint64_t seq)
{
    struct listing *l;

    if (p->listings_n == PORTER_QUESTIONS_MAX)
        return PORTER_BUSY;
    l = xcalloc(1, sizeof(*l));
    l->seq = seq;
    TAILQ_INSERT_TAIL(&p->listings, l, link);
    p->listings_n++;
    return PORTER_FINE;
}

static void end_listing(struct porter *p, struct listing *l)
{
    TAILQ_REMOVE(&p->listings, l, link);
    p->listings_n--;
    walk_free(l->walk);
    free(l);
}

void porter_lists_done(struct porter *p)
{
    struct listing *l;

    while ((l = TAILQ_FIRST(&p->listings)))
        end_listing(p, l);
}

static void begin_walk(const struct porter *p, struct listing *l)
{
    l->walk = walk_new(p->dir_fd);
    l->changes = p->changes;
    l->bytes_in = p->bytes_in;
    l->entries_in = p->entries_in;
}

/*
 * What was added during the walk may or may not be in its sums. It is added once more: the figure
 * is then too high by that much at the most, until the next LIST, and never too low.
 */
static void take_sums(struct porter *p, const struct listing *l)
{
    bool was_quiet = p->changes == l->changes;

    p->bytes = l->bytes + (was_quiet ? 0 : p->bytes_in - l->bytes_in);
    p->entries = l->entries + (was_quiet ? 0 : p->entries_in - l->entries_in);
    p->is_counted = true;
}

static enum porter_fault fault_of(const struct err *why)
{
    return why->kind == ERR_LIMIT ? PORTER_ENTRIES : PORTER_SYSTEM;
}

/* Files full of holes may claim more bytes than fit into a number. */
static void count_entry(struct listing *l, const struct porter_entry *e)
{
    l->bytes += e->size;
    if (l->bytes > SUM_MAX)
        l->bytes = SUM_MAX;
    l->entries++;
}

/* Fills the answer. 1: there is more; 0: that was all; -1: `why`. */
static int fill(struct porter *p, struct listing *l, struct err *why)
{
    for (int i = 0; i < STEP_ENTRIES; i++) {
        int rc = l->has_held ? 1 : walk_next(l->walk, &l->held, why);

        if (rc <= 0)
            return rc;
        l->has_held = !porter_entry_put(&p->answer, &l->held);
        if (l->has_held)
            return 1;
        count_entry(l, &l->held);
    }
    return 1;
}

static int advance(struct porter *p, struct listing *l)
{
    struct porter_answer *a = &p->answer;
    struct err why = {0};
    int rc;

    if (!l->walk)
        begin_walk(p, l);
    a->type = PORTER_LIST;
    a->fault = PORTER_FINE;
    a->sys = 0;
    a->count = a->data_len = 0;
    a->seq = l->seq;
    a->token = 0;
    rc = fill(p, l, &why);
    a->is_last = rc <= 0;
    if (rc == 0)
        take_sums(p, l);
    if (rc < 0) {
        a->count = a->data_len = 0;
        a->fault = fault_of(&why);
        a->sys = why.sys;
    }
    if (rc <= 0)
        end_listing(p, l);
    return io_send_msg(p->fd, a, PORTER_ANSWER_HEAD + a->data_len, -1);
}

int porter_list_step(struct porter *p)
{
    struct listing *l = TAILQ_FIRST(&p->listings), *behind = l;

    if (!l)
        return 0;
    /* To the end of those that are being walked: every one gets its turn. */
    for (int i = 1; i < WALKS_MAX && TAILQ_NEXT(behind, link); i++)
        behind = TAILQ_NEXT(behind, link);
    if (behind != l) {
        TAILQ_REMOVE(&p->listings, l, link);
        TAILQ_INSERT_AFTER(&p->listings, behind, l, link);
    }
    return advance(p, l);
}

void porter_count(struct porter *p)
{
    struct listing sums = {0};
    struct err why = {0};
    struct porter_entry e;
    int rc;

    if (p->is_counted)
        return;
    begin_walk(p, &sums);
    while ((rc = walk_next(sums.walk, &e, &why)) > 0)
        count_entry(&sums, &e);
    walk_free(sums.walk);
    if (rc < 0 && why.kind == ERR_LIMIT)
        sums.entries = PORTER_ENTRIES_MAX;
    take_sums(p, &sums);
}
