#ifndef POLICY_SETTINGS_H
#define POLICY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

struct yaml;

/* What the service itself needs to know; read from one YAML file, overridable by environment. */

enum code_capture { CODE_OFF, CODE_DIGEST, CODE_FULL };

struct listener {
    char *address; /* "127.0.0.1", "::1", "0.0.0.0" */
    int64_t port;
    char **dialects; /* NULL-terminated; the first gives the listener's error shape */
};

struct settings {
    char *file;     /* where they came from, "" = built-in defaults */
    char *instance; /* name on labels; two services on one engine need two */
    char *state_dir;
    char *policies_dir;

    struct listener *listeners;
    size_t listeners_n;
    bool allow_unauthenticated; /* may listen on other addresses than loopback without keys */
    char **hosts;               /* further accepted Host names; NULL-terminated */
    char **origins;             /* further accepted Origins */

    int64_t front_uid, front_gid; /* who the front becomes when started as root */

    char *engine_host;       /* "unix:///var/run/docker.sock"; "" = $DOCKER_HOST or the usual one */
    int64_t pool_memory;     /* budget of all parked containers; 0: the larger of 1 GiB and 10 % */
    int64_t containers_max;  /* parked and running ones together */
    int64_t parallel_starts; /* 0: twice the processors */
    int64_t drain_ms;        /* how long a stop waits for running programs */

    int64_t connections, connections_per_address;
    int64_t idle_ms, header_ms, body_ms; /* connection time-outs */
    int64_t body_max, body_files_max, json_tokens;

    char *store_url; /* "sqlite:PATH"; relative paths lie in state_dir */
    enum code_capture code_store, code_log;
    int64_t history_age_ms, history_size;

    enum log_level log_level;
    enum log_format log_format;
};

/*
 * `path` NULL: $ONESHOT_CONFIG, else ./oneshot.yaml, /etc/oneshot/oneshot.yaml, else the defaults.
 * Environment variables of the table override the file (empty ones do not). Errors as in policy.h;
 * one is a listener that other machines can reach without allow_unauthenticated.
 */
int settings_load(const char *path, struct settings *ret_settings, struct err *err) MUST_CHECK;

/* The same with every fault left in `y`, which the caller initialises and owns. */
void settings_read(struct yaml *y, const char *path, struct settings *ret_settings);

void settings_done(struct settings *s);

/* YAML that loads again to the same, but for the password of store.url. Caller frees. */
char *settings_print(const struct settings *s, bool with_docs);

#endif
