#ifndef BASE_JSON_RAW_H
#define BASE_JSON_RAW_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The members of an object and the items of a list as they came, for what goes on to others: cJSON
 * keeps numbers as doubles and would write 1.0 as 1. The text is one that json_scan_text has
 * accepted; of others nothing is promised but that no byte beyond them is read. All results lie
 * within the text.
 */
struct json_raw {
    const char *key; /* with its quotes and escapes; NULL of an item */
    size_t key_n;
    const char *value;
    size_t n;
};

struct json_raw_walk {
    const char *at, *end;
};

/* False: the text is no object. */
bool json_raw_begin(struct json_raw_walk *w, const char *text, size_t n);

/* The next member; false: there is none. */
bool json_raw_next(struct json_raw_walk *w, struct json_raw *ret);

/* The same for a list. */
bool json_raw_begin_list(struct json_raw_walk *w, const char *text, size_t n);
bool json_raw_next_item(struct json_raw_walk *w, struct json_raw *ret);

/* Behind the last one: the object ends there. False: json_scan_text would not have taken the text. */
bool json_raw_is_over(const struct json_raw_walk *w);

/* The value of the member of that name. False: there is none. */
bool json_raw_member(const char *text, size_t n, const char *key, const char **ret, size_t *ret_n);

#endif
