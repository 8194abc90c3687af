#ifndef DIALECTS_GENERATOR_H
#define DIALECTS_GENERATOR_H

#include "http/http.h"

extern const struct http_api generator_api;

#endif
