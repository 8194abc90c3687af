#ifndef BASE_JSON_STR_H
#define BASE_JSON_STR_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decodes the inside of one JSON string as it arrives, behind the opening quote up to and with the
 * closing one: escapes are resolved, everything else must be UTF-8 without control characters.
 * Lone surrogates are refused, and NUL unless `takes_nul` is set after json_str_init.
 */
struct json_str {
    int state;
    bool takes_nul;
    unsigned char held[4]; /* a UTF-8 sequence that is not complete yet */
    size_t held_len;
    unsigned hex, hex_len, high; /* high: the surrogate that waits for its partner */
    char bytes[4];               /* what an escape stands for */
    size_t escape_len;           /* bytes taken since the backslash of an unfinished escape */

    /* What the last step gave. */
    const char *piece; /* decoded bytes, in the input or in this struct; good until the next step */
    size_t piece_len;
    const char *problem; /* why it is refused; static storage */
    size_t problem_back; /* how many bytes before `*p` the wrong thing begins */
};

enum json_str_step {
    JSON_STR_MORE,  /* all input is taken */
    JSON_STR_PIECE, /* see piece */
    JSON_STR_END,   /* the closing quote is taken */
    JSON_STR_BAD,   /* see problem; `*p` stays at the byte that showed it */
};

void json_str_init(struct json_str *t);

/* Takes bytes from `*p`, which it moves, up to `end`. Call again after JSON_STR_PIECE. */
enum json_str_step json_str_step(struct json_str *t, const char **p, const char *end);

#endif
