#ifndef DIALECTS_NATIVE_STATE_H
#define DIALECTS_NATIVE_STATE_H

struct http_exchange;

/* What the service says about itself: handlers of the native dialect. */
void native_policies(struct http_exchange *x, void *app);
void native_pools(struct http_exchange *x, void *app);
void native_metrics(struct http_exchange *x, void *app);
void native_health(struct http_exchange *x, void *app);
void native_ready(struct http_exchange *x, void *app);

#endif
