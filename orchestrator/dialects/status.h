#ifndef DIALECTS_STATUS_H
#define DIALECTS_STATUS_H

#include "http/http.h"

extern const struct http_api status_api;

#endif
