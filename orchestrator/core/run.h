#ifndef CORE_RUN_H
#define CORE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/random.h"
#include "base/spool.h"
#include "core/host.h"
#include "core/outcome.h"
#include "core/relay.h"

struct policy;
struct workspace;

struct run_pair {
    const char *name, *value;
};

struct run_file {
    const char *path; /* below the work directory; checked by path_check */
    const struct spool *data;
};

enum run_value { RUN_VALUE_NONE, RUN_VALUE_LAST_EXPRESSION, RUN_VALUE_BRANCH };

/* What a dialect asks for. Everything is borrowed until run_free. */
struct run_request {
    const char *dialect; /* for metrics, history and audit */
    const struct policy *policy;
    const char *code;
    size_t code_len;
    const char *filename; /* what tracebacks call the program: "<string>", "main.py" */
    bool extract;         /* look for code in markdown and dict text (contracts/aiq.md) */
    enum run_value value; /* BRANCH: of the branch that ran, too, else `_` (executor.md) */
    size_t value_max;     /* bytes of a BRANCH's JSON; a larger one fails the run; 0: it is cut */
    bool may_await;       /* `await` outside of functions; with a value it is allowed anyway */
    int figures;          /* 1 save open figures at the end, 0 do not, -1 as the policy says */
    const char *context;  /* a JSON object: variables of the program; NULL: none */
    const char *tools;    /* {"modules":[…]}, what it may import and call; NULL: none */
    const char *tools_workspace; /* where their tree of files stands; NULL: RUN_TOOLS_WORKSPACE */

    const char *stdin_data;
    size_t stdin_len;
    int stdin_fd;            /* read as it comes, instead of stdin_data; -1: none */
    const char *const *args; /* sys.argv[1:], NULL-terminated; may be NULL */
    const struct run_pair *env;
    size_t env_n;
    const struct run_file *files;
    size_t files_n;
    struct workspace *workspace; /* NULL: the work directory starts empty */

    int64_t give_up_ms;  /* clock_ms at which a program that does not end is told as timed out
                            without a word from its container; 0: never */
    int64_t timeout_ms;  /* of the program; <= 0 is a timeout at once, see RUN_TIMEOUT_DEFAULT */
    int64_t deadline_ms; /* clock_ms by which the reply must be on its way; INT64_MAX: none. The
                            wait in line then counts against the program's time (aiq). */
    uint64_t memory;     /* bytes; 0: the policy's */

    const char *client;      /* numeric address, for audit */
    const char *traceparent; /* W3C, or NULL */
    int client_fd;           /* watched: when the peer hangs up the run is cancelled; -1: none */
    bool wants_log;          /* keep the order of stdout and stderr */
};

#define RUN_TIMEOUT_DEFAULT INT64_MIN
#define RUN_TOOLS_WORKSPACE "/tmp/mcp_workspace"

struct run_out_file {
    char *path;
    bool is_tmp; /* it stood directly in /tmp */
    struct spool data;
};

struct run_omitted {
    char *path;
    const char *reason; /* "too_big" …; static */
    uint64_t size;
};

struct run_log_entry {
    uint32_t t_ms; /* since the program began */
    bool is_stderr;
    uint64_t offset; /* into the spool of its stream */
    uint32_t len;
};

struct run_result {
    char id[RANDOM_ID_MAX];
    enum outcome outcome;
    bool was_sent;     /* the JOB was sent: the program may have run */
    int exit_code;     /* 0..255; 128 + signal when a signal ended it; -1 when it has none */
    int term_signal;   /* 0: none */
    char reason[256];  /* one line for limits and infra: which limit, what was lost */
    int retry_after_s; /* with OUTCOME_INFRA before the JOB was sent, else 0 */
    struct err err;    /* its kind and text when OUTCOME_INFRA */

    struct spool out, err_out; /* stdout, stderr: as written, cut at the soft cap */
    bool out_is_cut, err_is_cut;
    uint64_t out_bytes, err_bytes; /* written by the program */
    struct run_log_entry *log;
    size_t log_n;

    struct buf value;           /* JSON, "" when there is none */
    struct buf fault;           /* JSON {type,message,traceback}, "" when there is none */
    struct run_out_file *files; /* sorted bytewise by path */
    size_t files_n;
    struct run_omitted *omitted;
    size_t omitted_n;

    uint64_t wall_us, cpu_us, memory_peak; /* of the program; peak 0 where it cannot be read */
    int64_t queue_us, take_us, run_us, collect_us;
    uint64_t memory; /* the limit that held, bytes */
    char container[65], image[72];
    bool was_warm;
    struct relay_counts relay; /* what its connections came to */
    struct host_counts calls;  /* and its host calls */
    uint32_t lacks;            /* comfort that its engine lacks, bits of enum engine_lack */
    int64_t started_wall_ms;
};

enum run_event_kind { RUN_QUEUED, RUN_STARTED, RUN_STDOUT, RUN_STDERR, RUN_FILE, RUN_DONE };

struct run_event {
    enum run_event_kind kind;
    const char *data; /* STDOUT, STDERR: bytes, borrowed until the next run_next */
    size_t len;
    const struct run_out_file *file; /* FILE: complete */
};

struct run;

/*
 * One run, pulled by its caller's thread: run_next blocks until there is something to tell and
 * ends with RUN_DONE, whatever happens; then run_result is final. run_free gives the container
 * back to be destroyed (call it after the reply is sent) and tells the observers.
 */
struct run *run_new(struct core *core, const struct run_request *request);
void run_next(struct run *run, struct run_event *ret);
struct run_result *run_result(struct run *run);
void run_cancel(struct run *run); /* any thread; run_next soon gives RUN_DONE */
void run_free(struct run *run);

/* run_next until RUN_DONE. */
struct run_result *run_wait(struct run *run);

#endif
