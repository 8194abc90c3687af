#ifndef DIALECTS_SLACK_H
#define DIALECTS_SLACK_H

#include "http/http.h"

extern const struct http_api slack_api;

#endif
