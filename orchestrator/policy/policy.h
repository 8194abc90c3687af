#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/rules.h"

struct yaml;
struct yaml_pair;

/*
 * A policy says what a run may use. Policies are read from YAML (one file, one policy), checked,
 * and never change afterwards; a reload makes a new set. Sizes are bytes, times milliseconds.
 * Pointers are never NULL but for `list` of an empty set and where it is said; lists end with NULL.
 */

/* What a host call's line in the log shows of its arguments. */
enum calls_log { CALLS_LOG_DIGEST, CALLS_LOG_TEXT, CALLS_LOG_OFF };

enum network_kind { NETWORK_NONE, NETWORK_RELAY, NETWORK_JOIN, NETWORK_OPEN };

/* One host and port that the program may reach through the front. */
struct policy_relay {
    char *as;        /* "host:port" as the program says it */
    char *to;        /* "host:port" that the front connects to */
    bool is_private; /* `to` may be an address that is not public */
};

struct policy_network {
    enum network_kind kind;
    struct policy_relay *relay; /* NETWORK_RELAY: the listed ones … */
    size_t relay_n;
    int64_t *any; /* … and these ports of every public host */
    size_t any_n;
    char *join; /* NETWORK_JOIN: the engine's name of the network, else "" */
};

struct policy_pair {
    char *name, *value;
};

struct policy {
    char *name; /* the file's name without ".yaml" */
    char *description;
    char *file; /* path it was read from */

    /* container */
    char *image;        /* reference; resolved to a digest by the keeper */
    char *runtime;      /* the engine's OCI runtime, "" = its default */
    char *seccomp;      /* path of the profile, relative to the policy's file */
    char *seccomp_json; /* its content, minified */
    int64_t uid, gid;
    char *work_dir; /* /work or /workspace: baked into the images */

    /* limits */
    int64_t time_default_ms, time_max_ms, time_grace_ms;
    int64_t memory, memory_max; /* what the program may add; a request may ask up to memory_max */
    double cpus;                /* no more than the machine has */
    int64_t pids;
    int64_t open_files, file_size;
    int64_t work_size, tmp_size, shm_size, inodes; /* tmpfs of work_dir, /tmp, /dev/shm */
    int64_t output_soft, output_hard;
    int64_t output_characters; /* texts in replies are cut there; 0 = not */
    int64_t files_out, files_out_size, files_out_total; /* count, bytes each, bytes together */
    int64_t files_in, files_in_total;
    bool gather;     /* output files go back to the client */
    bool gather_tmp; /* images and data files directly in /tmp too */

    struct policy_network network;
    int64_t relay_connections, relay_opened; /* at the same time, and in all */
    int64_t relay_bytes;                     /* both ways together */
    int64_t relay_connect_ms;                /* to resolve and connect */
    bool relay_internet;                     /* `any` of the network holds */

    /* environment of the program */
    struct yaml_pair *env_set;
    char **env_pass;         /* names taken over from the service's environment */
    char **env_allow;        /* names that a request may set */
    struct policy_pair *env; /* what env_set and env_pass came to at load; ends with name NULL */

    /* interpreter */
    char **warm;  /* modules imported while parked */
    bool figures; /* open matplotlib figures are saved at the end */
    char **imports_allow, **imports_block;
    struct policy_validation rules;

    /* host calls */
    char **tools; /* "*", "data" for all of a module, "data.get_devices" */
    int64_t calls_budget, calls_concurrency;
    int64_t calls_request, calls_reply, calls_total; /* bytes: of one, and of all both ways */
    int64_t calls_time_ms;
    enum calls_log calls_log;

    /* persistent work directory (aiq): "" = none */
    char *workspace;
    int64_t workspace_quota;

    /* pool */
    int64_t pool_min, pool_max;
    int64_t pool_idle_ms; /* unused for so long: shrink to one; ten times as long: to pool_min */
    int64_t pool_age_ms;  /* a parked container older than this is replaced */
    int64_t queue_max, queue_wait_ms;

    /* computed */
    char *validation; /* rules for the worker (JSON); NULL: programs are not validated */
    char hash[65];    /* sha-256 over name, effective policy, passed environment, seccomp profile */
    uint64_t key;     /* its first 8 bytes: what front and keeper call the policy */
};

/* The one file of the directory that is no policy: what programs may call, see tools/. */
#define POLICY_TOOLS_FILE "tools.yaml"

struct policy_set {
    struct policy *list; /* sorted by name */
    size_t n;
};

/*
 * Reads every *.yaml of `dir` but POLICY_TOOLS_FILE. ERR_INVALID texts read "file:line:column:
 * 'key': what is wrong". The caller owns the set. A policy depends on the environment and on the
 * machine's memory and processors, so two processes that are to agree on keys must load with the
 * same.
 */
int policy_set_load(const char *dir, struct policy_set *ret_set, struct err *err) MUST_CHECK;
void policy_set_done(struct policy_set *set);

/*
 * The same with every fault left in `y`: the set holds the policies that have none. The caller
 * initialises `y` and owns it and the set.
 */
void policy_set_read(struct yaml *y, const char *dir, struct policy_set *ret_set);

/* NULL when there is none. Borrowed from the set. */
const struct policy *policy_find(const struct policy_set *set, const char *name);
const struct policy *policy_find_key(const struct policy_set *set, uint64_t key);

/*
 * The effective policy as YAML, every key with its value, variables and shares resolved; of the
 * passed environment only the names. It loads again to the same policy. Caller frees.
 */
char *policy_print(const struct policy *p, bool with_docs);

#endif
