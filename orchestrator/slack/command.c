#include "slack/command.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "base/utf8.h"

static const char blank[] = " \t\r\n\v\f";

static const struct {
    const char *name;
    enum command_kind kind;
} names[] = {
    {"!agent",       COMMAND_AGENT      },
    {"!agent-debug", COMMAND_AGENT_DEBUG},
    {"!help",        COMMAND_HELP       },
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void command_read(const char *text, struct command *ret)
{
    const char *end;
    char whole[COMMAND_NAME_MAX];
    size_t n;

    *ret = (struct command){.rest = ""};
    text += strspn(text, blank);
    if (text[0] != '!' || !is_letter(text[1]))
        return;
    n = strcspn(text, blank);
    (void)str_copy(whole, text, n < sizeof(whole) ? n + 1 : sizeof(whole));
    whole[utf8_cut(whole, strlen(whole))] = '\0';
    (void)str_copy(ret->name, whole, sizeof(ret->name));
    ret->kind = COMMAND_UNKNOWN;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (n == strlen(names[i].name) && str_eq_nocase(ret->name, names[i].name))
            ret->kind = names[i].kind;
    }
    ret->rest = text + n + strspn(text + n, blank);
    end = ret->rest + strnlen(ret->rest, INT_MAX);
    while (end > ret->rest && strchr(blank, end[-1]))
        end--;
    ret->rest_n = (int)(end - ret->rest);
}

bool command_is_work(const struct command *c)
{
    return (c->kind == COMMAND_AGENT || c->kind == COMMAND_AGENT_DEBUG) && c->rest_n > 0;
}
