#ifndef FRAMES_FRAME_H
#define FRAMES_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The stream between front and warden, and the control channel between warden and worker: frames
 * of an 8-byte head (type, flags, id, length; little endian) and a payload of at most FRAME_MAX
 * bytes. This file and frame.c need nothing but libc: the warden is built from them too, and
 * images/worker/wire.py speaks the same format.
 */
enum {
    FRAME_VERSION = 1,
    FRAME_HEAD = 8,
    FRAME_MAX = 65536,
};

enum frame_type {
    /* front -> warden */
    FRAME_JOB = 0x01,    /* struct job: opens a run; the frames up to GO belong to it */
    FRAME_META = 0x02,   /* JSON for the worker, may come in parts */
    FRAME_CODE = 0x03,   /* the program, may come in parts */
    FRAME_ENTRY = 0x04,  /* struct entry: an input file or directory; its bytes follow as DATA */
    FRAME_DATA = 0x05,   /* bytes of the last ENTRY, exactly as many as it announced */
    FRAME_STDIN = 0x06,  /* bytes for the program's standard input, before or behind GO; the last
                            part has no MORE. To the worker: comes with the pipe of a later run */
    FRAME_GO = 0x07,     /* everything is there: start, the time runs. To the worker: with MORE when
                            it is to be kept for another run */
    FRAME_CANCEL = 0x08, /* end the run now */
    FRAME_REPLY = 0x09,  /* answer to CALL `id`, JSON, may come in parts; REPLY_WINDOW under way */

    /* warden -> front */
    FRAME_READY = 0x41,   /* once, READY_TEXT: the interpreter is up */
    FRAME_STARTED = 0x42, /* the program begins */
    FRAME_STDOUT = 0x43,  /* what it printed, in the order in which the warden saw it */
    FRAME_STDERR = 0x44,
    FRAME_VALUE = 0x45,     /* JSON: value of the last expression; may come in parts */
    FRAME_FAULT = 0x46,     /* JSON: {type, message, traceback} of the exception that ended it */
    FRAME_CALL = 0x47,      /* host call `id`, JSON; may come in parts */
    FRAME_STEP = 0x48,      /* JSON: one debug step; may come in parts */
    FRAME_ENDED = 0x49,     /* the program is over, files are gathered now; no payload */
    FRAME_OUT_ENTRY = 0x4a, /* struct entry: an output file; its bytes follow as OUT_DATA */
    FRAME_OUT_DATA = 0x4b,
    FRAME_OMITTED = 0x4c, /* struct entry: not sent, `reason` says why */
    FRAME_GONE = 0x4d,    /* path of an input that the program removed (JOB_SYNC) */
    FRAME_RESULT = 0x4e,  /* struct outcome_report: the last frame of a run */
    FRAME_TAKEN = 0x4f,   /* u32: so many bytes of REPLY frames, heads too, the worker has taken */

    /* both ways, where the policy has a relay: see frames/relay.h */
    FRAME_RELAY_OPEN = 0x21, /* connection `id`: "host:port"; back, with nothing: connected */
    FRAME_RELAY_DATA = 0x22, /* bytes of connection `id` */
    FRAME_RELAY_CLOSE =
        0x23,                /* half-close of the sender's side, or a u32 errno: refused, aborted */
    FRAME_RELAY_MORE = 0x24, /* u32: as many bytes of connection `id` were consumed */

    /* worker -> warden, never seen by the front */
    FRAME_UP = 0x61,      /* the interpreter is up */
    FRAME_END = 0x62,     /* struct end_report: the program is over, everything is flushed */
    FRAME_CHECKED = 0x63, /* validation has passed (JOB_CHECK): its first instruction is next */
};

/*
 * Bytes of REPLY frames that the front may have on the way to a worker: one that takes none holds
 * up nothing else of the stream. One more frame fits into what is not yet told as TAKEN.
 */
enum {
    REPLY_WINDOW = 2 * (FRAME_HEAD + FRAME_MAX),
    REPLY_TOLD = REPLY_WINDOW / 4, /* TAKEN comes when so many were taken */
};

enum {
    FRAME_MORE = 0x01, /* flag: the next frame of this type goes on where this one stops */
};

struct frame {
    uint8_t type, flags;
    uint16_t id;
    uint32_t len;
    const uint8_t *data; /* borrowed from the reader until the next frame_next */
};

void frame_put_head(uint8_t out[FRAME_HEAD], uint8_t type, uint8_t flags, uint16_t id,
                    uint32_t len);

/*
 * Incremental reader over storage of the caller (at least FRAME_HEAD + FRAME_MAX bytes). Read into
 * frame_space, tell frame_fill how much came, then take frames until frame_next says 0.
 */
struct frame_reader {
    uint8_t *buf;
    size_t cap, start, end;
};

void frame_reader_init(struct frame_reader *r, uint8_t *storage, size_t cap);
uint8_t *frame_space(struct frame_reader *r, size_t *ret_n); /* *ret_n > 0 after frame_next 0 */
void frame_fill(struct frame_reader *r, size_t n);

/* 1: `*ret` is the next frame; 0: more bytes are needed; -1: the peer breaks the protocol. */
int frame_next(struct frame_reader *r, struct frame *ret);

#endif
