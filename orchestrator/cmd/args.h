#ifndef CMD_ARGS_H
#define CMD_ARGS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Options of subcommands: "--name", "--name VALUE", "--name=VALUE", "-x"; "--" ends them. One
 * table per command.
 */
enum { ARG_LIST_MAX = 64 };

struct arg_list {
    const char *items[ARG_LIST_MAX];
    size_t n;
};

struct arg {
    const char *name;  /* "--policy" */
    const char *alias; /* "-p", or NULL */
    const char *value; /* what it takes, for the help ("NAME"); NULL: a flag */
    void *at;          /* const char **, struct arg_list * or bool * */
    bool is_list;      /* may be given many times */
    const char *help;
};

#define ARG_FLAG(n, a, to, h)     {.name = (n), .alias = (a), .at = (to), .help = (h)}
#define ARG_VALUE(n, a, v, to, h) {.name = (n), .alias = (a), .value = (v), .at = (to), .help = (h)}
#define ARG_LIST(n, a, v, to, h) \
    {.name = (n), .alias = (a), .value = (v), .at = (to), .is_list = true, .help = (h)}

/*
 * Reads argv[1..]; what is not an option stays, in order, at the front of argv from index 1, and
 * its count is returned. -1: wrong (told on stderr); -2: help was asked for and printed.
 * The second form leaves everything behind the first word alone: a program's own arguments. The
 * third takes no words at all: one is a mistake.
 */
int args_read(int argc, char **argv, const struct arg *table, size_t n, const char *usage);
int args_read_until_word(int argc, char **argv, const struct arg *table, size_t n,
                         const char *usage);
int args_read_options(int argc, char **argv, const struct arg *table, size_t n, const char *usage);

#endif
