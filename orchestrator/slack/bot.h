#ifndef SLACK_BOT_H
#define SLACK_BOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct board;

/* The Slack bot: takes requests into the ledger, has the generator work, answers. */
struct bot;

/* Texts are borrowed until bot_free. */
struct bot_options {
    const char *api_url, *bot_token;
    const char *app_token;     /* "": no Socket Mode */
    const char *generator_url; /* without the path */
    const char *ca_pem;        /* certificates to trust instead of the system's; NULL: those */
    const char *ledger_path, *spool_dir;
    const char *channel;      /* whose messages count beside direct ones; "": none */
    const char *const *users; /* who may ask the model; ends with NULL; empty: everybody */
    int64_t daily_budget, timeout_ms, debug_timeout_ms, patience_ms;
    int64_t workers, queue_max, ping_ms;
    bool is_fed;         /* another process adds to the ledger, too: the Events API's */
    struct board *board; /* counts; NULL: nobody reads them */
};

/* Opens the ledger and starts the threads; Slack need not be there yet. */
int bot_start(const struct bot_options *o, struct bot **ret, struct err *err) MUST_CHECK;

/* Takes no more requests, and begins none of those that wait: the next start does. */
void bot_quiesce(struct bot *b);

/* How many requests are being answered. */
int64_t bot_busy(struct bot *b);

/* Ends what is being answered: the next start answers it "interrupted". NULL is fine. */
void bot_free(struct bot *b);

#endif
