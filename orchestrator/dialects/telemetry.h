#ifndef DIALECTS_TELEMETRY_H
#define DIALECTS_TELEMETRY_H

struct http_api;

extern const struct http_api telemetry_api;

#endif
