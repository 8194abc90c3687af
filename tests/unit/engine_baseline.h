#ifndef TESTS_ENGINE_BASELINE_H
#define TESTS_ENGINE_BASELINE_H

#include "base/cleanup.h"
#include "engine/engine.h"

/* The container that tests/e2e/expected_create_body.json describes, as a spec. */

static const char *const baseline_argv[] = {"/usr/bin/cat", NULL};

static const struct engine_pair baseline_env[] = {
    {"PATH",                    "/usr/local/bin:/usr/bin:/bin"},
    {"HOME",                    "/work"                       },
    {"LANG",                    "C.UTF-8"                     },
    {"PYTHONDONTWRITEBYTECODE", "1"                           },
    {"TMPDIR",                  "/tmp"                        },
    {"MPLCONFIGDIR",            "/tmp"                        },
};

static const struct engine_pair baseline_labels[] = {
    {LABEL_INSTANCE, "engine-test"},
    {LABEL_EPOCH,    "e1"         },
    {LABEL_POLICY,   "baseline"   },
    {LABEL_HASH,     "0f"         },
};

static const struct engine_tmpfs baseline_tmpfs[] = {
    {"/tmp",  "rw,noexec,nosuid,nodev,size=32m,nr_inodes=1024,mode=1777"                    },
    {"/work", "rw,noexec,nosuid,nodev,size=64m,nr_inodes=1024,mode=0700,uid=65534,gid=65534"},
};

static const struct engine_ulimit baseline_ulimits[] = {
    {"core",       0,        0       },
    {"nofile",     256,      256     },
    {"fsize",      67108864, 67108864},
    {"memlock",    65536,    65536   },
    {"msgqueue",   0,        0       },
    {"sigpending", 256,      256     },
    {"cpu",        35,       36      },
};

static inline struct engine_spec baseline_spec(const char *name, const char *image,
                                               const char *seccomp_json)
{
    return (struct engine_spec){
        .name = name,
        .image = image,
        .runtime = "",
        .hostname = "sandbox",
        .work_dir = "/work",
        .user = "65534:65534",
        .argv = baseline_argv,
        .env = baseline_env,
        .env_n = ARRAY_LEN(baseline_env),
        .labels = baseline_labels,
        .labels_n = ARRAY_LEN(baseline_labels),
        .memory = 268435456,
        .nano_cpus = 1000000000,
        .pids = 64,
        .shm_size = 8388608,
        .network = "none",
        .seccomp_json = seccomp_json,
        .tmpfs = baseline_tmpfs,
        .tmpfs_n = ARRAY_LEN(baseline_tmpfs),
        .ulimits = baseline_ulimits,
        .ulimits_n = ARRAY_LEN(baseline_ulimits),
    };
}

#endif
