#include "frames/stream.h"

#include <string.h>

#include "frames/le.h"

void ready_bytes(uint8_t out[READY_LEN])
{
    frame_put_head(out, FRAME_READY, 0, FRAME_VERSION, 8);
    memcpy(out + FRAME_HEAD, READY_TEXT, 8);
}

void job_encode(uint8_t out[JOB_LEN], const struct job *job)
{
    le_put32(out, job->flags);
    le_put32(out + 4, job->timeout_ms);
    le_put32(out + 8, job->grace_ms);
    le_put64(out + 12, job->output_soft);
    le_put64(out + 20, job->output_hard);
    le_put64(out + 28, job->file_max);
    le_put64(out + 36, job->files_max);
    le_put32(out + 44, job->files_count);
    le_put32(out + 48, FRAME_VERSION);
}

bool job_decode(struct job *ret, const uint8_t *data, size_t n)
{
    if (n != JOB_LEN || le_get32(data + 48) != FRAME_VERSION)
        return false;
    *ret = (struct job){
        .flags = le_get32(data),
        .timeout_ms = le_get32(data + 4),
        .grace_ms = le_get32(data + 8),
        .output_soft = le_get64(data + 12),
        .output_hard = le_get64(data + 20),
        .file_max = le_get64(data + 28),
        .files_max = le_get64(data + 36),
        .files_count = le_get32(data + 44),
    };
    return !(ret->flags & ~(uint32_t)JOB_FLAGS_ALL);
}

size_t entry_encode(uint8_t *out, const struct entry *e)
{
    out[0] = e->kind;
    out[1] = e->reason;
    out[2] = e->is_tmp;
    out[3] = 0;
    le_put32(out + 4, e->mode);
    le_put64(out + 8, e->size);
    memcpy(out + ENTRY_FIXED, e->path, e->path_len);
    return ENTRY_FIXED + e->path_len;
}

bool entry_decode(struct entry *ret, const uint8_t *data, size_t n)
{
    if (n <= ENTRY_FIXED || n > ENTRY_LEN_MAX || data[3])
        return false;
    *ret = (struct entry){
        .kind = data[0],
        .reason = data[1],
        .is_tmp = data[2] == 1,
        .mode = le_get32(data + 4) & 0777,
        .size = le_get64(data + 8),
        .path = (const char *)data + ENTRY_FIXED,
        .path_len = n - ENTRY_FIXED,
    };
    return data[0] <= ENTRY_DIR && data[1] < OMIT_REASONS && data[2] <= 1 &&
           (ret->kind == ENTRY_FILE || ret->size == 0) && !memchr(ret->path, 0, ret->path_len);
}

void report_encode(uint8_t out[REPORT_LEN], const struct outcome_report *r)
{
    out[0] = r->end;
    out[1] = r->flags;
    le_put16(out + 2, 0);
    le_put32(out + 4, (uint32_t)r->exit_code);
    le_put32(out + 8, (uint32_t)r->term_signal);
    le_put64(out + 12, r->wall_us);
    le_put64(out + 20, r->cpu_us);
    le_put64(out + 28, r->peak_bytes);
    le_put64(out + 36, r->stdout_bytes);
    le_put64(out + 44, r->stderr_bytes);
}

bool report_decode(struct outcome_report *ret, const uint8_t *data, size_t n)
{
    if (n != REPORT_LEN || data[0] >= END_KINDS || data[1] & ~REPORT_FLAGS_ALL)
        return false;
    *ret = (struct outcome_report){
        .end = data[0],
        .flags = data[1],
        .exit_code = (int32_t)le_get32(data + 4),
        .term_signal = (int32_t)le_get32(data + 8),
        .wall_us = le_get64(data + 12),
        .cpu_us = le_get64(data + 20),
        .peak_bytes = le_get64(data + 28),
        .stdout_bytes = le_get64(data + 36),
        .stderr_bytes = le_get64(data + 44),
    };
    return ret->exit_code >= 0 && ret->exit_code <= 255 && ret->term_signal >= 0 &&
           ret->term_signal <= 64;
}

void end_encode(uint8_t out[END_LEN], const struct end_report *e)
{
    le_put32(out, (uint32_t)e->exit_code);
    le_put32(out + 4, (uint32_t)e->os_errno);
    le_put32(out + 8, (uint32_t)(e->is_blocked | e->is_no_memory << 1));
}

bool end_decode(struct end_report *ret, const uint8_t *data, size_t n)
{
    uint32_t bits;

    if (n != END_LEN)
        return false;
    bits = le_get32(data + 8);
    *ret = (struct end_report){
        .exit_code = (int32_t)le_get32(data),
        .os_errno = (int32_t)le_get32(data + 4),
        .is_blocked = bits & 1,
        .is_no_memory = bits & 2,
    };
    return bits <= 3 && ret->exit_code >= 0 && ret->exit_code <= 255;
}
