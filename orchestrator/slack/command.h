#ifndef SLACK_COMMAND_H
#define SLACK_COMMAND_H

#include <stdbool.h>

enum command_kind {
    COMMAND_NONE, /* no command at all: not for us */
    COMMAND_AGENT,
    COMMAND_AGENT_DEBUG,
    COMMAND_HELP,
    COMMAND_UNKNOWN,
};

enum { COMMAND_NAME_MAX = 41 };

struct command {
    enum command_kind kind;
    char name[COMMAND_NAME_MAX]; /* "!agent", as it was written; cut */
    const char *rest;            /* of the text: instructions without white space around them */
    int rest_n;                  /* 0: there are none */
};

/* Reads "!name instructions". What does not begin with '!' and a letter is COMMAND_NONE. */
void command_read(const char *text, struct command *ret);

/* Whether a model is to be asked for it: what queue and budget are for. */
bool command_is_work(const struct command *c);

#endif
