#ifndef DIALECTS_NATIVE_H
#define DIALECTS_NATIVE_H

struct http_api;

extern const struct http_api native_api;

#endif
