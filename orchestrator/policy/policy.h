#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A policy says what a run may use. Policies are read from YAML (one file, one policy), checked,
 * and never change afterwards; a reload makes a new set. Sizes are bytes, times milliseconds.
 */

enum policy_network { NETWORK_NONE, NETWORK_RELAY, NETWORK_JOIN, NETWORK_OPEN };

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
    double cpus;
    int64_t pids;
    int64_t open_files, file_size;
    int64_t work_size, tmp_size, shm_size, inodes; /* tmpfs of work_dir, /tmp, /dev/shm */
    int64_t output_soft, output_hard;
    int64_t files_out, files_out_size, files_out_total; /* count, bytes each, bytes together */
    int64_t files_in, files_in_total;
    bool gather;      /* output files go back to the client */
    bool gather_tmp;  /* images and data files directly in /tmp too */

    /* network */
    enum policy_network network;
    char **relay; /* NULL-terminated "host:port"; empty unless network is relay */
    char *join;

    /* environment of the program */
    struct policy_pair *env; /* ends with name NULL; `pass` names are resolved into it at load */
    char **env_allow;        /* names that a request may set; NULL-terminated */

    /* interpreter */
    char **warm;  /* modules imported while parked; NULL-terminated */
    bool figures; /* open matplotlib figures are saved at the end */
    char **imports_allow, **imports_block;
    char **tools;

    /* persistent work directory (aiq): "" = none */
    char *workspace;
    int64_t workspace_quota;

    /* pool */
    int64_t pool_min, pool_max;
    int64_t pool_idle_ms;  /* unused for so long: shrink to one; ten times as long: to pool_min */
    int64_t pool_age_ms;   /* a parked container older than this is replaced */
    int64_t queue_max, queue_wait_ms;

    /* computed */
    char hash[65];   /* sha-256 over the effective policy as printed, and the seccomp profile */
    uint64_t key;    /* its first 8 bytes: what front and keeper call the policy */
};

struct policy_set {
    struct policy *list; /* sorted by name */
    size_t n;
};

/*
 * Reads every *.yaml of `dir`. ERR_INVALID texts read "file:line:column: 'key': what is wrong".
 * The caller owns the set.
 */
int policy_set_load(const char *dir, struct policy_set *ret_set, struct err *err) MUST_CHECK;
void policy_set_done(struct policy_set *set);

const struct policy *policy_find(const struct policy_set *set, const char *name);
const struct policy *policy_find_key(const struct policy_set *set, uint64_t key);

/* The effective policy as YAML, every key with its value. Caller frees. */
char *policy_print(const struct policy *p);

#endif
