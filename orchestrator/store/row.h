#ifndef STORE_ROW_H
#define STORE_ROW_H

#include <stdint.h>

#include "core/record.h"
#include "store/call_record.h"

/* What waits to be written: one row of one table. */
enum row_kind { ROW_RUN, ROW_CALL };

struct row {
    enum row_kind kind;
    union {
        struct run_record run;
        struct call_record call;
    };
};

uint64_t row_text_bytes(const struct row *r);
void row_free(struct row *r);

#endif
