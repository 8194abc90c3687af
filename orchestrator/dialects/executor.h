#ifndef DIALECTS_EXECUTOR_H
#define DIALECTS_EXECUTOR_H

#include "http/http.h"

extern const struct http_api executor_api;

#endif
