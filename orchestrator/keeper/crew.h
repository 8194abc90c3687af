#ifndef KEEPER_CREW_H
#define KEEPER_CREW_H

#include "engine/engine.h"
#include "keeper/spec.h"

/*
 * Threads that make the engine calls, so that the keeper's loop never waits for the engine. The
 * loop hands tasks in, is told by a readable descriptor, and takes finished tasks back in any
 * order. A task belongs to whoever holds it.
 */
enum task_kind {
    TASK_PING,
    TASK_IMAGE,   /* text -> image */
    TASK_START,   /* spec -> container, fd */
    TASK_DESTROY, /* container */
    TASK_UPDATE,  /* container, number (bytes) */
    TASK_USAGE,   /* container -> number (bytes) */
    TASK_FATE,    /* container -> state; waits up to `number` ms for its end */
    TASK_LIST,    /* -> list, list_n */
};

struct task {
    enum task_kind kind;
    uint64_t member, seq; /* whom it is for; the crew does not look at them */
    void *owner;          /* likewise */

    struct spec *spec;
    char container[ENGINE_ID_MAX];
    char *text;
    uint64_t number;

    int rc; /* 0, or -1 with err */
    struct err err;
    int fd;
    struct engine_image image;
    struct engine_state state;
    struct engine_container *list;
    size_t list_n;

    struct task *next; /* the crew's */
};

struct task *task_new(enum task_kind kind);
void task_free(struct task *t); /* closes fd if it is still there */

struct crew;

int crew_new(const struct engine_ops *ops, struct engine *engine, unsigned threads,
             struct crew **ret, struct err *err) MUST_CHECK;
void crew_add(struct crew *c, struct task *t);
int crew_fd(const struct crew *c);      /* readable when something is finished */
struct task *crew_take(struct crew *c); /* NULL when nothing is */

/* Ends the threads after the calls under way; tasks that were not begun are freed. */
void crew_free(struct crew *c);

#endif
