#ifndef CMD_CMD_H
#define CMD_CMD_H

/* Subcommands of `oneshot`: each takes its own arguments (argv[0] is its name), returns the exit
 * status of the program. */

int cmd_serve(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_slack(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_history(int argc, char **argv);

/* The processes that `serve` and `run` start; not for people. */
int cmd_keeper(int argc, char **argv);
int cmd_front(int argc, char **argv);
int cmd_porter(int argc, char **argv);
int cmd_slack_child(int argc, char **argv);
int cmd_health(int argc, char **argv);

enum {
    EXIT_USAGE = 2,       /* wrong arguments or configuration */
    EXIT_NO_ENGINE = 3,   /* the engine cannot be reached */
    EXIT_UNAVAILABLE = 4, /* no container could be had */
    EXIT_MODEL = 5,       /* the language model failed */
};

#endif
