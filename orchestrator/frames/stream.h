#ifndef FRAMES_STREAM_H
#define FRAMES_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/frame.h"

/*
 * Payloads of the stream between front and warden. Every decoder checks length and ranges and
 * returns false on anything else: both sides treat what they read as hostile.
 */

/* The payload of FRAME_READY; with its head these are the READY_LEN bytes that the keeper expects. */
#define READY_TEXT "oneshot1"
enum { READY_LEN = FRAME_HEAD + 8 };
void ready_bytes(uint8_t out[READY_LEN]);

enum job_flags {
    JOB_KEEP = 1 << 0,   /* the worker lives on for another run (sessions) */
    JOB_GATHER = 1 << 1, /* send new and changed files of the work directory back */
    JOB_TMP = 1 << 2,    /* with GATHER: also images and data files directly in /tmp */
    JOB_SYNC = 1 << 3,   /* with GATHER: also directories, and GONE for removed inputs */
    JOB_CHECK = 1 << 4,  /* the worker validates the program: blocked until CHECKED, never after */
    JOB_FLAGS_ALL = (1 << 5) - 1,
};

/* FRAME_JOB */
struct job {
    uint32_t flags;
    uint32_t timeout_ms;  /* from GO to the soft end */
    uint32_t grace_ms;    /* from the soft end (flush, please) to SIGKILL */
    uint64_t output_soft; /* bytes of stdout and of stderr that are sent; the rest is counted */
    uint64_t output_hard; /* bytes of both together after which the run ends as output_limit */
    uint64_t file_max;    /* bytes of one output file */
    uint64_t files_max;   /* bytes of all output files */
    uint32_t files_count;
};

enum {
    JOB_LEN = 52,
    JOB_META_MAX = 8 << 20, /* bytes of all META: variables are in it, and the tools */
};
void job_encode(uint8_t out[JOB_LEN], const struct job *job);
bool job_decode(struct job *ret, const uint8_t *data, size_t n);

enum entry_kind { ENTRY_FILE = 0, ENTRY_DIR = 1 };

enum omit_reason {
    OMIT_NONE,
    OMIT_TOO_BIG,     /* over the limit for one file */
    OMIT_TOO_MANY,    /* past the count limit */
    OMIT_TOTAL,       /* past the limit for all files */
    OMIT_NOT_REGULAR, /* link, pipe, socket, device */
    OMIT_NAME,        /* not a name that path_check accepts; the path is sent escaped */
    OMIT_TOO_DEEP,
    OMIT_UNREADABLE,
    OMIT_REASONS,
};

/* FRAME_ENTRY, FRAME_OUT_ENTRY and FRAME_OMITTED; the path is not NUL-terminated. */
struct entry {
    uint8_t kind;   /* enum entry_kind */
    uint8_t reason; /* enum omit_reason, 0 unless OMITTED */
    bool is_tmp;    /* it stood directly in /tmp, `path` is its name there */
    uint32_t mode;  /* permission bits */
    uint64_t size;
    const char *path;
    size_t path_len;
};

enum { ENTRY_FIXED = 16, ENTRY_PATH_MAX = 4096, ENTRY_LEN_MAX = ENTRY_FIXED + ENTRY_PATH_MAX };

/* Returns the encoded length; `out` holds ENTRY_LEN_MAX bytes. */
size_t entry_encode(uint8_t *out, const struct entry *e);
bool entry_decode(struct entry *ret, const uint8_t *data, size_t n);

enum run_end {
    END_NORMAL = 0, /* the program ended by itself: exit_code or term_signal */
    END_TIMEOUT,    /* the warden stopped it */
    END_OOM,        /* it failed and the kernel had killed for memory */
    END_PIDS,       /* it failed and the process limit was hit */
    END_DISK,       /* it failed and a file system was full */
    END_OUTPUT,     /* past output_hard */
    END_CANCELLED,
    END_BLOCKED, /* validation refused it, nothing was run */
    END_KINDS,
};

enum report_flags {
    REPORT_STDOUT_CUT = 1 << 0,
    REPORT_STDERR_CUT = 1 << 1,
    REPORT_PEAK_KNOWN = 1 << 2, /* peak_bytes was readable on this machine */
    REPORT_KEPT = 1 << 3,       /* JOB_KEEP, and the worker is indeed there for another run */
    REPORT_FLAGS_ALL = (1 << 4) - 1,
};

/* FRAME_RESULT */
struct outcome_report {
    uint8_t end; /* enum run_end */
    uint8_t flags;
    int32_t exit_code;                   /* 0..255; meaningful when term_signal is 0 */
    int32_t term_signal;                 /* 0, or the signal that ended the worker */
    uint64_t wall_us;                    /* GO to the end of the program */
    uint64_t cpu_us;                     /* user + system of all its processes */
    uint64_t peak_bytes;                 /* memory beyond the parked footprint */
    uint64_t stdout_bytes, stderr_bytes; /* written by the program, sent or not */
};

enum { REPORT_LEN = 52 };
void report_encode(uint8_t out[REPORT_LEN], const struct outcome_report *r);
bool report_decode(struct outcome_report *ret, const uint8_t *data, size_t n);

/* FRAME_END: worker -> warden. */
struct end_report {
    int32_t exit_code; /* 0..255 */
    int32_t os_errno;  /* errno of the OSError that ended it, else 0 */
    bool is_blocked;   /* validation refused the program; believed with JOB_CHECK, before CHECKED */
    bool is_no_memory; /* MemoryError ended it */
};

enum { END_LEN = 12 };
void end_encode(uint8_t out[END_LEN], const struct end_report *e);
bool end_decode(struct end_report *ret, const uint8_t *data, size_t n);

#endif
