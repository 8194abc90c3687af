#include "core/call_table.h"

#include "base/mem.h"

void call_table_init(struct call_table *t)
{
    for (int i = 0; i < CALL_STATES; i++)
        TAILQ_INIT(&t->lines[i]);
}

static struct call_bucket *bucket(struct call_table *t, uint16_t id)
{
    return &t->by_id[id % CALL_BUCKETS];
}

struct call *call_table_find(struct call_table *t, uint16_t id)
{
    struct call *call;

    LIST_FOREACH(call, bucket(t, id), same)
    {
        if (call->id == id)
            return call;
    }
    return NULL;
}

struct call *call_table_first(const struct call_table *t, enum call_state state)
{
    return TAILQ_FIRST(&t->lines[state]);
}

static void join_line(struct call_table *t, struct call *call, enum call_state state)
{
    call->state = state;
    TAILQ_INSERT_TAIL(&t->lines[state], call, link);
    t->n[state]++;
}

static void leave_line(struct call_table *t, struct call *call)
{
    TAILQ_REMOVE(&t->lines[call->state], call, link);
    t->n[call->state]--;
}

struct call *call_table_add(struct call_table *t, uint16_t id, size_t text_max)
{
    struct call *call = xcalloc(1, sizeof(*call));

    call->id = id;
    buf_init(&call->text, text_max);
    LIST_INSERT_HEAD(bucket(t, id), call, same);
    join_line(t, call, CALL_COMING);
    return call;
}

void call_table_move(struct call_table *t, struct call *call, enum call_state state)
{
    leave_line(t, call);
    join_line(t, call, state);
}

void call_table_remove(struct call_table *t, struct call *call)
{
    leave_line(t, call);
    LIST_REMOVE(call, same);
    buf_done(&call->text);
    buf_done(&call->reply);
    free(call);
}

void call_table_clear(struct call_table *t)
{
    struct call *call;

    for (int i = 0; i < CALL_STATES; i++) {
        while ((call = TAILQ_FIRST(&t->lines[i])))
            call_table_remove(t, call);
    }
}
