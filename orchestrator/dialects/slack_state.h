#ifndef DIALECTS_SLACK_STATE_H
#define DIALECTS_SLACK_STATE_H

#include "base/buf.h"

struct app;

/* A metrics_source; `app` is a struct app. */
void slack_metrics(struct buf *b, void *app);

/* The member "slack" of /health, a comma in front; nothing without a bot. */
void slack_put_health(struct buf *b, const struct app *app);

#endif
