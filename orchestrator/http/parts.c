#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "http/steps.h"

/*
 * Parts are read once, from front to back. What must be changed on the way (base64, JSON) goes
 * through a stage of fixed size, so memory does not depend on what is sent.
 */

enum kind { PART_TEXT, PART_RAW, PART_BASE64, PART_JSON };

enum {
    READ_BASE64 = 12 * 1024, /* a multiple of three: no padding but at the end */
    READ_JSON = 4 * 1024,
    STAGE = JSON_ESCAPE_MAX * (READ_JSON + 4) + 2,
    WORK = READ_JSON + UTF8_REPAIR_MAX(READ_JSON), /* more than READ_BASE64 */
};

struct part {
    struct part *next;
    enum kind kind;
    struct buf text;           /* PART_TEXT */
    const struct spool *spool; /* the others */
};

struct http_parts {
    struct part *first, *last, *at;
    uint64_t offset;         /* in `at` */
    bool is_begun, is_ended; /* of a JSON string: its quotes are out */
    struct utf8_repair repair;
    char *stage, *work; /* one allocation; not on the stack, which idle connections keep */
    size_t stage_at, stage_len;
    bool is_reading;
};

/* So much text at once is not what parts are for. */
#define TEXT_MAX ((size_t)1 << 30)

struct http_parts *http_parts_new(void)
{
    return xcalloc(1, sizeof(struct http_parts));
}

void http_parts_free(struct http_parts *p)
{
    struct part *next;

    if (!p)
        return;
    for (struct part *part = p->first; part; part = next) {
        next = part->next;
        buf_done(&part->text);
        free(part);
    }
    free(p->stage);
    free(p);
}

static struct part *add(struct http_parts *p, enum kind kind, const struct spool *s)
{
    struct part *part = xcalloc(1, sizeof(*part));

    part->kind = kind;
    part->spool = s;
    buf_init(&part->text, TEXT_MAX);
    if (p->last)
        p->last->next = part;
    else
        p->first = part;
    p->last = part;
    return part;
}

struct buf *http_parts_text(struct http_parts *p)
{
    if (p->last && p->last->kind == PART_TEXT)
        return &p->last->text;
    return &add(p, PART_TEXT, NULL)->text;
}

void http_parts_base64(struct http_parts *p, const struct spool *s)
{
    (void)add(p, PART_BASE64, s);
}

void http_parts_raw(struct http_parts *p, const struct spool *s)
{
    (void)add(p, PART_RAW, s);
}

bool http_parts_is_full(const struct http_parts *p)
{
    for (const struct part *part = p->first; part; part = part->next) {
        if (part->text.is_full)
            return true;
    }
    return false;
}

/* One that is in memory is small: written out at once, its length is known in advance. */
void http_parts_json_string(struct http_parts *p, const struct spool *s)
{
    if (s->fd < 0)
        json_put_str(http_parts_text(p), s->mem_len ? s->mem : "", s->mem_len);
    else
        (void)add(p, PART_JSON, s);
}

int64_t http_parts_length(const struct http_parts *p, uint64_t *ret_about)
{
    bool is_exact = true;

    *ret_about = 0;
    for (const struct part *part = p->first; part; part = part->next) {
        switch (part->kind) {
        case PART_TEXT:
            *ret_about += part->text.len;
            break;
        case PART_RAW:
            *ret_about += part->spool->size;
            break;
        case PART_BASE64:
            *ret_about += BASE64_LEN(part->spool->size);
            break;
        case PART_JSON:
            *ret_about += 2 * part->spool->size;
            is_exact = false;
            break;
        }
    }
    return is_exact ? (int64_t)*ret_about : -1;
}

static int stage_base64(struct http_parts *p)
{
    size_t have = 0;

    /* A short read in the middle would put padding into the middle. */
    while (have < READ_BASE64) {
        ssize_t n = spool_read(p->at->spool, p->offset, p->work + have, READ_BASE64 - have, NULL);

        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
        p->offset += (uint64_t)n;
    }
    p->stage_len = base64_encode(p->stage, p->work, have);
    return 0;
}

static int stage_json(struct http_parts *p)
{
    ssize_t n = spool_read(p->at->spool, p->offset, p->work, READ_JSON, NULL);
    char *out = p->stage, *fixed = p->work + READ_JSON;

    if (n < 0)
        return -1;
    if (!p->is_begun)
        *out++ = '"';
    p->is_begun = true;
    p->offset += (uint64_t)n;
    if (n > 0) {
        out += json_escape(out, fixed, utf8_repair_feed(&p->repair, p->work, (size_t)n, fixed));
    } else if (!p->is_ended) {
        out += json_escape(out, fixed, utf8_repair_flush(&p->repair, fixed));
        *out++ = '"';
        p->is_ended = true;
    }
    p->stage_len = (size_t)(out - p->stage);
    return 0;
}

static int stage(struct http_parts *p)
{
    p->stage_at = p->stage_len = 0;
    if (p->at->kind == PART_BASE64)
        return stage_base64(p);
    /* A read that ends inside a character may give nothing yet. */
    do {
        if (stage_json(p) < 0)
            return -1;
    } while (p->stage_len == 0 && !p->is_ended);
    return 0;
}

/* Bytes of the current part, 0 when it is over, -1 when its spool cannot be read. */
static ssize_t read_staged(struct http_parts *p, char *out, size_t n)
{
    if (!p->stage) {
        p->stage = xmalloc(STAGE + WORK);
        p->work = p->stage + STAGE;
    }
    if (p->stage_at == p->stage_len && stage(p) < 0)
        return -1;
    if (n > p->stage_len - p->stage_at)
        n = p->stage_len - p->stage_at;
    memcpy(out, p->stage + p->stage_at, n);
    p->stage_at += n;
    return (ssize_t)n;
}

static ssize_t read_text(struct http_parts *p, char *out, size_t n)
{
    const struct buf *text = &p->at->text;

    if (n > text->len - p->offset)
        n = text->len - p->offset;
    if (n)
        memcpy(out, text->data + p->offset, n);
    p->offset += n;
    return (ssize_t)n;
}

static ssize_t read_raw(struct http_parts *p, char *out, size_t n)
{
    ssize_t got = spool_read(p->at->spool, p->offset, out, n, NULL);

    if (got > 0)
        p->offset += (uint64_t)got;
    return got;
}

static ssize_t read_part(struct http_parts *p, char *out, size_t n)
{
    switch (p->at->kind) {
    case PART_TEXT:
        return read_text(p, out, n);
    case PART_RAW:
        return read_raw(p, out, n);
    case PART_BASE64:
    case PART_JSON:
        return read_staged(p, out, n);
    }
    return -1;
}

static void next_part(struct http_parts *p)
{
    p->at = p->at->next;
    p->offset = 0;
    p->is_begun = p->is_ended = false;
    p->repair = (struct utf8_repair){0};
}

ssize_t http_parts_read(struct http_parts *p, char *out, size_t n)
{
    size_t done = 0;

    if (!p->is_reading)
        p->at = p->first;
    p->is_reading = true;
    while (p->at && done < n) {
        ssize_t got = read_part(p, out + done, n - done);

        if (got < 0)
            return -1;
        if (got == 0)
            next_part(p);
        done += (size_t)got;
    }
    return (ssize_t)done;
}

bool http_parts_pull(struct http_parts *p, struct buf *out)
{
    char *room = buf_room(out, HTTP_BLOCK);
    ssize_t n = room ? http_parts_read(p, room, HTTP_BLOCK) : -1;

    out->is_full = out->is_full || n < 0; /* what lost bytes must not look like a whole one */
    if (n > 0)
        buf_commit(out, (size_t)n);
    return n != 0;
}
