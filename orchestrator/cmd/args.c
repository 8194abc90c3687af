#include "cmd/args.h"

#include <stdio.h>
#include <string.h>

static void print_usage(FILE *to, const struct arg *table, size_t n, const char *usage)
{
    (void)fprintf(to, "usage: oneshot %s\n\n", usage);
    for (size_t i = 0; i < n; i++) {
        char left[64];

        (void)snprintf(left, sizeof(left), "%s%s%s%s%s", table[i].name, table[i].alias ? ", " : "",
                       table[i].alias ? table[i].alias : "", table[i].value ? " " : "",
                       table[i].value ? table[i].value : "");
        (void)fprintf(to, "  %-24s %s\n", left, table[i].help);
    }
}

static const struct arg *find(const char *word, size_t len, const struct arg *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((strlen(table[i].name) == len && strncmp(word, table[i].name, len) == 0) ||
            (table[i].alias && strlen(table[i].alias) == len &&
             strncmp(word, table[i].alias, len) == 0))
            return &table[i];
    }
    return NULL;
}

static int complain(const char *what, const char *word)
{
    (void)fprintf(stderr, "oneshot: %s '%s'\n", what, word);
    return -1;
}

static int add_item(struct arg_list *list, const char *value)
{
    if (list->n == ARG_LIST_MAX)
        return complain("too many values, this is one too many:", value);
    list->items[list->n++] = value;
    return 0;
}

static int take(const struct arg *a, const char *value, const char *word)
{
    if (!a->value && value)
        return complain("this option takes no value:", word);
    if (!a->value)
        *(bool *)a->at = true;
    else if (a->is_list)
        return add_item(a->at, value);
    else
        *(const char **)a->at = value;
    return 0;
}

/* Handles the option at argv[*i]; moves *i over a value that follows it. */
static int one(int argc, char **argv, int *i, const struct arg *table, size_t n)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    const struct arg *a = find(word, equals ? (size_t)(equals - word) : strlen(word), table, n);

    if (!a)
        return complain("there is no option", word);
    if (a->value && !equals) {
        if (*i + 1 >= argc)
            return complain("a value is missing after", word);
        return take(a, argv[++*i], word);
    }
    return take(a, equals ? equals + 1 : NULL, word);
}

struct known {
    const struct arg *table;
    size_t n;
    const char *usage;
};

static int read_all(int argc, char **argv, const struct known *k, bool stops_at_word)
{
    int kept = 0;
    bool only_words = false;

    for (int i = 1; i < argc; i++) {
        if (only_words || argv[i][0] != '-' || !argv[i][1]) {
            argv[++kept] = argv[i];
            only_words = only_words || stops_at_word;
        } else if (strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_usage(stdout, k->table, k->n, k->usage);
            return -2;
        } else if (one(argc, argv, &i, k->table, k->n) < 0) {
            print_usage(stderr, k->table, k->n, k->usage);
            return -1;
        }
    }
    return kept;
}

int args_read(int argc, char **argv, const struct arg *table, size_t n, const char *usage)
{
    return read_all(argc, argv, &(struct known){table, n, usage}, false);
}

int args_read_until_word(int argc, char **argv, const struct arg *table, size_t n,
                         const char *usage)
{
    return read_all(argc, argv, &(struct known){table, n, usage}, true);
}

int args_read_options(int argc, char **argv, const struct arg *table, size_t n, const char *usage)
{
    int words = args_read(argc, argv, table, n, usage);

    if (words <= 0)
        return words;
    (void)complain("this is too much:", argv[1]);
    print_usage(stderr, table, n, usage);
    return -1;
}
