#ifndef DIALECTS_AIQ_H
#define DIALECTS_AIQ_H

struct http_api;

extern const struct http_api aiq_api;

#endif
