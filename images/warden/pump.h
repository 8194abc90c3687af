#ifndef WARDEN_PUMP_H
#define WARDEN_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "frames/stream.h"
#include "queue.h"

/*
 * Moves what the worker writes towards the front: its output, counted and cut, and the few kinds
 * of control frames that a program may cause. Both are hostile. Nothing is read for which there is
 * no room, so a front that does not read slows the program down and costs no memory.
 */
enum { PUMP_OUT, PUMP_ERR, PUMP_STREAMS };
enum { PUMP_VALUE, PUMP_FAULT, PUMP_CALL, PUMP_STEP, PUMP_KINDS };

struct pump {
    struct child *child;
    struct queue *out;
    const struct job *job;
    struct frame_reader control;

    uint64_t seen[PUMP_STREAMS]; /* bytes that the program wrote */
    bool is_cut[PUMP_STREAMS];
    uint64_t passed[PUMP_KINDS];

    bool is_up;          /* FRAME_UP came */
    bool is_over_output; /* past output_hard */
    bool is_broken;      /* the worker sent what it may not send */
    bool has_more;       /* pump_control stopped early and is to be called again */
    bool is_checked;     /* FRAME_CHECKED came: from now on the program may say anything */
    bool has_report;     /* FRAME_END came; what follows is dropped */
    struct end_report report;
};

void pump_init(struct pump *p, struct child *child, struct queue *out, uint8_t *storage,
               size_t cap);

/* A new run begins: counts from zero. What the pipes still hold belongs to nobody and is dropped. */
void pump_begin(struct pump *p, const struct job *job);

/* The descriptor of this stream is worth polling: it is open, and what comes has a place. */
bool pump_wants(const struct pump *p, int stream);

/* Reads once. True when something came; at the end of the stream its descriptor is closed. */
bool pump_output(struct pump *p, int stream);

/* Words of the warden's own on standard error; dropped when they have no place or are not wanted. */
void pump_note(struct pump *p, const char *text, size_t n);

/* Reads all that the pipes held at the call, or until there is no room: then false. */
bool pump_drain(struct pump *p);

/*
 * Takes some control frames; before each, the output that was written earlier. Between runs they
 * are dropped.
 */
void pump_control(struct pump *p, bool is_running);

#endif
