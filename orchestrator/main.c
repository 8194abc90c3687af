#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cmd/cmd.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* NULL: not for people */
};

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct command commands[] = {
    {"serve",     cmd_serve,       "start the service"                                    },
    {"run",       cmd_run,         "run one program in a container of its own"            },
    {"generate",  cmd_generate,    "let the model write a program, run it, save its files"},
    {"slack",     cmd_slack,       "run the Slack bot alone"                              },
    {"check",     cmd_check,       "check settings and policies, print what they mean"    },
    {"ps",        cmd_ps,          "show containers and pools"                            },
    {"history",   cmd_history,     "show past runs"                                       },
    {"bench",     cmd_bench,       "measure this machine and the service"                 },
    {"version",   cmd_version,     "print the version"                                    },
    {"help",      cmd_help,        "print this"                                           },
    {"--help",    cmd_help,        NULL                                                   },
    {"-h",        cmd_help,        NULL                                                   },
    {"--version", cmd_version,     NULL                                                   },
    {"_keeper",   cmd_keeper,      NULL                                                   },
    {"_front",    cmd_front,       NULL                                                   },
    {"_porter",   cmd_porter,      NULL                                                   },
    {"_slack",    cmd_slack_child, NULL                                                   },
    {"_health",   cmd_health,      NULL                                                   },
};

static void print_help(FILE *to)
{
    (void)fputs("usage: oneshot COMMAND [ARGUMENTS]\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].help)
            (void)fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
    }
    (void)fputs("\n`oneshot COMMAND --help` tells the arguments of a command.\n", to);
}

static int cmd_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    print_help(stdout);
    return 0;
}

static int cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)puts("oneshot " ONESHOT_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    (void)fprintf(stderr, "oneshot: there is no command '%s'\n\n", argv[1]);
    print_help(stderr);
    return EXIT_USAGE;
}
