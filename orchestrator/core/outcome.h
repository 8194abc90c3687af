#ifndef CORE_OUTCOME_H
#define CORE_OUTCOME_H

/* Why a run ended. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_CODE_ERROR, /* exception, exit status, signal of its own */
    OUTCOME_TIMEOUT,
    OUTCOME_OOM,
    OUTCOME_PIDS,
    OUTCOME_DISK,
    OUTCOME_OUTPUT_LIMIT,
    OUTCOME_BLOCKED, /* validation refused it; nothing was run */
    OUTCOME_CANCELLED,
    OUTCOME_INFRA, /* ours: no container, engine lost */
    OUTCOMES,
};

const char *outcome_name(enum outcome o); /* "output_limit" …; static */

#endif
