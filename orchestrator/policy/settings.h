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

enum model_api { MODEL_API_V1, MODEL_API_V2 };

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

    char *engine_host;       /* "unix:///var/run/docker.sock"; "" = $DOCKER_HOST or the usual one;
                                "none" */
    int64_t pool_memory;     /* budget of all parked containers; 0: the larger of 1 GiB and 10 % */
    int64_t containers_max;  /* parked and running ones together */
    int64_t parallel_starts; /* 0: twice the processors */
    int64_t drain_ms;        /* how long a stop waits for running programs */

    int64_t connections, connections_per_address;
    int64_t idle_ms, header_ms, body_ms; /* connection time-outs */
    int64_t body_max, body_files_max, json_tokens, http_memory;

    /* the language model of the generator */
    char *model_url; /* "": Cohere's own */
    char *model_key; /* a secret: never printed, logged or passed on */
    char *model_name;
    enum model_api model_api;
    double model_temperature;
    int64_t model_max_tokens, model_timeout_ms, model_retries;
    int64_t model_rate; /* calls a minute; 0: no limit, -1: what the model is known to have */
    char *ca_file;      /* certificates to trust instead of the system's, "": those */

    char *generate_policy, *generate_guide;
    int64_t generate_retries, generate_timeout_ms, generate_error_max;
    char *sandbox_url; /* where programs run; "": here */
    int64_t sandbox_timeout_ms;
    bool generate_checks_slicks, generate_checks_plots;

    /* the Slack bot; the tokens and the signing secret are secrets */
    bool slack_enabled;
    char *slack_bot_token, *slack_app_token, *slack_signing_secret;
    char *slack_channel; /* id; "": direct messages alone */
    char *slack_api_url;
    char *slack_generator_url;  /* "": our own listener */
    char **slack_users;         /* empty: everybody */
    int64_t slack_daily_budget; /* 0: no limit */
    int64_t slack_timeout_ms, slack_debug_timeout_ms, slack_patience_ms;
    int64_t slack_workers, slack_queue, slack_ping_ms;

    char *executor_token;     /* a secret that clients of the executor must know; "": none */
    char *executor_workspace; /* directory of the tools' files, as programs see it */

    char *tools_file;    /* "": tools.yaml beside the policies */
    char *tools_secrets; /* file of what the tools' file calls ${secret:NAME}; "": none */

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

/* False: no program runs here, and there is no keeper. */
bool settings_has_engine(const struct settings *s);

/* Overwrites what only the Slack bot's process needs; it is "" afterwards. */
void settings_forget_tokens(struct settings *s);

/* YAML that loads again to the same, but for secrets: keys, tokens, the password of store.url. Caller
 * frees. */
char *settings_print(const struct settings *s, bool with_docs);

#endif
