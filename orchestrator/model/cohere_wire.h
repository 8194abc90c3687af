#ifndef MODEL_COHERE_WIRE_H
#define MODEL_COHERE_WIRE_H

#include "base/sse.h"
#include "model/cohere.h"

/* The JSON of Cohere's chat API, both versions. */

struct cohere_ask {
    const char *name;
    double temperature;
    int64_t max_tokens; /* 0: the model's own */
    const struct model_message *messages;
    size_t n;
};

/* Appends the body of a request for a stream. */
void cohere_put_ask(struct buf *b, enum cohere_api api, const struct cohere_ask *ask);

enum { COHERE_BLOCKS = 64 };

/* Reads a reply as it arrives, a stream or a whole object, whatever Content-Type says it is. */
struct cohere_reader {
    enum cohere_api api;
    struct model_reply *reply; /* filled; text and usage as far as they came */
    struct sse events;
    struct buf whole;        /* a reply that is no stream */
    bool is_stream, is_open; /* is_open: the form is known */
    bool is_over;            /* its last event was there */
    bool is_thinking[COHERE_BLOCKS];
    size_t thinking_bytes;
    struct err err; /* the first thing that was wrong */
};

void cohere_reader_init(struct cohere_reader *r, enum cohere_api api, struct model_reply *reply);
void cohere_reader_done(struct cohere_reader *r);

/* False, with r->err filled: no more is wanted. */
bool cohere_reader_feed(struct cohere_reader *r, const char *type, const char *data, size_t n);

/* ERR_PEER: it was cut, cannot be read or tells of a failure; ERR_TIMEOUT: the model's own. */
int cohere_reader_end(struct cohere_reader *r, struct err *err) MUST_CHECK;

/* The words of an error's body, one line of them (str_one_line); "" where there are none. */
void cohere_read_error(const char *body, size_t n, char *out, size_t size);

#endif
