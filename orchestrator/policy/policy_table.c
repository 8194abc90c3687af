#include "policy/policy_table.h"

#include <string.h>

#include "base/yaml_bind.h"
#include "policy/network.h"
#include "policy/policy.h"
#include "policy/syntax.h"
#include "policy/validation.h"

#define KIB  1024.0
#define MIB  (1024 * KIB)
#define GIB  (1024 * MIB)
#define TIB  (1024 * GIB)
#define SEC  1000.0
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

static bool is_work_dir(const char *s)
{
    return strcmp(s, "/work") == 0 || strcmp(s, "/workspace") == 0;
}

static bool is_runtime(const char *s)
{
    return !*s || syntax_word(s);
}

static bool is_not_empty(const char *s)
{
    return *s;
}

static const struct yaml_syntax image = {syntax_image, "an image such as oneshot/python:1"};
static const struct yaml_syntax runtime = {is_runtime, "the name of an OCI runtime, or \"\""};
static const struct yaml_syntax work_dir = {is_work_dir, "/work or /workspace"};
static const struct yaml_syntax module = {syntax_module, "a module such as urllib.parse"};
static const struct yaml_syntax import = {validation_is_import,
                                          "a module such as urllib.parse, or *"};
static const struct yaml_syntax tool = {syntax_tool,
                                        "a tool such as data.get_devices, a module, or *"};
static const struct yaml_syntax env_name = {
    syntax_env, "the name of a variable (ONESHOT_… is kept for the service)"};
static const struct yaml_syntax file_name = {is_not_empty, "a file's name"};

/* clang-format off */
#define AT(m) .offset = offsetof(struct policy, m)
#define SHARE_OF_MEMORY .share = YAML_OF_MEMBER, .share_of = offsetof(struct policy, memory)

static const struct yaml_field isolation_fields[] = {
    {.key = "seccomp", .type = YAML_TEXT,    AT(seccomp), .is_required = true, .syntax = &file_name, .doc = "[isolation] file of the seccomp profile, beside the policies"},
    {.key = "uid",     .type = YAML_INTEGER, AT(uid), .is_required = true, .min = 1000, .max = 65534, .doc = "[isolation] user of the program, 1000 to 65534"},
    {.key = "gid",     .type = YAML_INTEGER, AT(gid), .is_required = true, .min = 1000, .max = 65534, .doc = "[isolation] group of the program, 1000 to 65534"},
    {0},
};

static const struct yaml_field time_fields[] = {
    {.key = "default", .type = YAML_TIME, AT(time_default_ms), .is_required = true, .min = 1, .max = DAY, .doc = "[isolation] a run ends after so long when its request says nothing"},
    {.key = "max",     .type = YAML_TIME, AT(time_max_ms), .is_required = true, .min = 1, .max = DAY, .doc = "[isolation] a request may ask for so long"},
    {.key = "grace",   .type = YAML_TIME, AT(time_grace_ms), .is_required = true, .min = 0, .max = 10 * SEC, .doc = "[isolation] from the request to end until the program is killed"},
    {0},
};

static const struct yaml_field memory_fields[] = {
    {.key = "limit", .type = YAML_SIZE, AT(memory), .is_required = true, .min = 16 * MIB, .max = TIB, .share = YAML_OF_RAM, .doc = "[isolation] what the program may add; 50% is half of the machine's memory"},
    {.key = "max",   .type = YAML_SIZE, AT(memory_max), .min = 16 * MIB, .max = TIB, .share = YAML_OF_RAM, .doc = "[isolation] a request may ask for so much; without the key as much as limit"},
    {0},
};

static const struct yaml_field files_fields[] = {
    {.key = "open", .type = YAML_INTEGER, AT(open_files), .is_required = true, .min = 16, .max = 1048576, .doc = "[isolation] open files of a process"},
    {.key = "size", .type = YAML_SIZE,    AT(file_size), .is_required = true, .min = 4 * KIB, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] largest file that the program may write"},
    {0},
};

static const struct yaml_field tmpfs_fields[] = {
    {.key = "work",   .type = YAML_SIZE,    AT(work_size), .is_required = true, .min = 4 * KIB, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] size of the work directory"},
    {.key = "tmp",    .type = YAML_SIZE,    AT(tmp_size), .is_required = true, .min = 4 * KIB, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] size of /tmp"},
    {.key = "shm",    .type = YAML_SIZE,    AT(shm_size), .is_required = true, .min = 4 * KIB, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] size of /dev/shm"},
    {.key = "inodes", .type = YAML_INTEGER, AT(inodes), .is_required = true, .min = 16, .max = 10000000, .doc = "[isolation] files and directories in each of work and tmp"},
    {0},
};

static const struct yaml_field output_fields[] = {
    {.key = "soft",       .type = YAML_SIZE,    AT(output_soft), .is_required = true, .min = 1, .max = GIB, .doc = "[isolation] stdout and stderr are cut after so much each; the run goes on"},
    {.key = "hard",       .type = YAML_SIZE,    AT(output_hard), .is_required = true, .min = 1, .max = TIB, .doc = "[isolation] a run that prints more than this in all is ended"},
    {.key = "characters", .type = YAML_INTEGER, AT(output_characters), .min = 0, .max = 1e9, .doc = "[comfort] texts in replies are cut after so many characters; 0 = not"},
    {0},
};

static const struct yaml_field input_fields[] = {
    {.key = "count", .type = YAML_INTEGER, AT(files_in), .is_required = true, .min = 0, .max = 100000, .doc = "[isolation] files that a request may bring"},
    {.key = "total", .type = YAML_SIZE,    AT(files_in_total), .is_required = true, .min = 0, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] bytes of them together"},
    {0},
};

static const struct yaml_field results_fields[] = {
    {.key = "gather", .type = YAML_BOOL,    AT(gather), .is_required = true, .doc = "[comfort] new and changed files of the work directory go back to the client"},
    {.key = "tmp",    .type = YAML_BOOL,    AT(gather_tmp), .is_required = true, .doc = "[comfort] and images and data files that stand directly in /tmp"},
    {.key = "count",  .type = YAML_INTEGER, AT(files_out), .is_required = true, .min = 0, .max = 100000, .doc = "[isolation] files that go back; further ones are named as left out"},
    {.key = "size",   .type = YAML_SIZE,    AT(files_out_size), .is_required = true, .min = 0, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] bytes of one of them"},
    {.key = "total",  .type = YAML_SIZE,    AT(files_out_total), .is_required = true, .min = 0, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] bytes of all of them"},
    {0},
};

static const struct yaml_field relay_fields[] = {
    {.key = "connections", .type = YAML_INTEGER, AT(relay_connections), .initial = "64", .min = 1, .max = 128, .doc = "[isolation] connections at the same time, 1 to 128; a further one is refused"},
    {.key = "opened",      .type = YAML_INTEGER, AT(relay_opened), .initial = "1000", .min = 1, .max = 60000, .doc = "[isolation] connections of a run in all"},
    {.key = "bytes",       .type = YAML_SIZE,    AT(relay_bytes), .initial = "1GiB", .min = 1, .max = TIB, .doc = "[isolation] bytes that a run may transfer, both ways together"},
    {.key = "connect",     .type = YAML_TIME,    AT(relay_connect_ms), .initial = "10s", .min = 1, .max = 10 * MIN, .doc = "[isolation] time to find a name's address and to connect"},
    {.key = "internet",    .type = YAML_BOOL,    AT(relay_internet), .initial = "true", .doc = "[isolation] false turns {any: …} of the network off"},
    {0},
};

/* 24 names each: the keeper's create body has room for them beside its own. */
static const struct yaml_field env_fields[] = {
    {.key = "set",   .type = YAML_PAIRS, AT(env_set), .max = 24, .syntax = &env_name, .doc = "[comfort] variables of the program, NAME: value"},
    {.key = "pass",  .type = YAML_TEXTS, AT(env_pass), .max = 24, .syntax = &env_name, .doc = "[isolation] variables taken over from the service, where they are set; nothing else of its environment is"},
    {.key = "allow", .type = YAML_TEXTS, AT(env_allow), .max = 256, .syntax = &env_name, .doc = "[isolation] variables that a request may set"},
    {0},
};

static const struct yaml_field imports_fields[] = {
    {.key = "allow", .type = YAML_TEXTS, AT(imports_allow), .max = 1000, .syntax = &import, .doc = "[comfort] modules that the program may import, with what is in them; empty or * = all others, too"},
    {.key = "block", .type = YAML_TEXTS, AT(imports_block), .max = 1000, .syntax = &module, .doc = "[comfort] modules that it may not import; the longest name that fits decides"},
    {0},
};

static const struct yaml_word calls_logs[] = {
    {"digest", CALLS_LOG_DIGEST},
    {"text",   CALLS_LOG_TEXT  },
    {"off",    CALLS_LOG_OFF   },
    {0},
};

static const struct yaml_field calls_fields[] = {
    {.key = "budget",      .type = YAML_INTEGER, AT(calls_budget), .initial = "100", .min = 0, .max = 100000, .doc = "[isolation] host calls of a run; further ones fail"},
    {.key = "concurrency", .type = YAML_INTEGER, AT(calls_concurrency), .initial = "16", .min = 1, .max = 64, .doc = "[isolation] calls of a run under way at the same time; further ones wait in order"},
    {.key = "request",     .type = YAML_SIZE,    AT(calls_request), .initial = "256KiB", .min = KIB, .max = 64 * MIB, .doc = "[isolation] bytes of one call, its name and arguments"},
    {.key = "reply",       .type = YAML_SIZE,    AT(calls_reply), .initial = "10MiB", .min = KIB, .max = 256 * MIB, .doc = "[isolation] bytes of one result"},
    {.key = "total",       .type = YAML_SIZE,    AT(calls_total), .initial = "64MiB", .min = KIB, .max = GIB, .doc = "[isolation] bytes of all calls and results of a run"},
    {.key = "time",        .type = YAML_TIME,    AT(calls_time_ms), .initial = "30s", .min = 1, .max = HOUR, .doc = "[isolation] a call that takes longer fails"},
    {.key = "log",         .type = YAML_WORD,    AT(calls_log), .initial = "digest", .words = calls_logs, .doc = "[comfort] what the log shows of a call's arguments: digest (SHA-256), text, off"},
    {0},
};

static const struct yaml_field workspace_fields[] = {
    {.key = "path",  .type = YAML_TEXT, AT(workspace), .doc = "[comfort] host directory that is the work directory's content from run to run; \"\" = none"},
    {.key = "quota", .type = YAML_SIZE, AT(workspace_quota), .min = 0, .max = TIB, SHARE_OF_MEMORY, .doc = "[isolation] bytes that it may hold"},
    {0},
};

static const struct yaml_field pool_fields[] = {
    {.key = "min",  .type = YAML_INTEGER, AT(pool_min), .is_required = true, .min = 0, .max = 256, .doc = "[comfort] containers that are always parked"},
    {.key = "max",  .type = YAML_INTEGER, AT(pool_max), .is_required = true, .min = 0, .max = 256, .doc = "[comfort] containers that are parked at most"},
    {.key = "idle", .type = YAML_TIME,    AT(pool_idle_ms), .is_required = true, .min = SEC, .max = 30 * DAY, .doc = "[comfort] unused for so long, one is left; for ten times as long, min"},
    {.key = "age",  .type = YAML_TIME,    AT(pool_age_ms), .is_required = true, .min = SEC, .max = 30 * DAY, .doc = "[comfort] a parked container older than this is replaced"},
    {0},
};

static const struct yaml_field queue_fields[] = {
    {.key = "max",  .type = YAML_INTEGER, AT(queue_max), .is_required = true, .min = 0, .max = 100000, .doc = "[comfort] runs that may wait for a container"},
    {.key = "wait", .type = YAML_TIME,    AT(queue_wait_ms), .is_required = true, .min = 0, .max = HOUR, .doc = "[comfort] and for how long"},
    {0},
};

const struct yaml_field policy_table[] = {
    {.key = "extends",      .type = YAML_CALLER,  .doc = "the policy whose keys hold where this one has none"},
    {.key = "description",  .type = YAML_TEXT,    AT(description), .doc = "what the policy is for"},
    {.key = "image",        .type = YAML_TEXT,    AT(image), .is_required = true, .syntax = &image, .doc = "[isolation] image of the container; it is pinned by its digest"},
    {.key = "runtime",      .type = YAML_TEXT,    AT(runtime), .syntax = &runtime, .doc = "[isolation] OCI runtime of the engine, such as runsc; \"\" = its default"},
    {.key = "work_dir",     .type = YAML_TEXT,    AT(work_dir), .is_required = true, .syntax = &work_dir, .doc = "[isolation] work directory of the program: /work or /workspace"},
    {.key = "isolation",    .type = YAML_TABLE,   .table = isolation_fields, .doc = "who the program is and which system calls it has"},
    {.key = "time",         .type = YAML_TABLE,   .table = time_fields, .doc = "how long a program may run"},
    {.key = "memory",       .type = YAML_TABLE,   .table = memory_fields, .shorthand = "limit", .doc = "memory beyond that of the parked interpreter; memory: SIZE is short for {limit: SIZE}"},
    {.key = "cpus",         .type = YAML_REAL,    AT(cpus), .is_required = true, .min = 0.01, .max = 1024, .doc = "[isolation] processors, 0.5 or 50% is half a one; no more than the machine has"},
    {.key = "pids",         .type = YAML_INTEGER, AT(pids), .is_required = true, .min = 3, .max = 65536, .doc = "[isolation] processes and threads, the two of the interpreter and its warden among them"},
    {.key = "files",        .type = YAML_TABLE,   .table = files_fields, .doc = "files while the program runs"},
    {.key = "tmpfs",        .type = YAML_TABLE,   .table = tmpfs_fields, .doc = "the only places to write; they count as memory, so their sum and 48MiB must fit into it; 25% is a share of memory.limit"},
    {.key = "output",       .type = YAML_TABLE,   .table = output_fields, .doc = "what the program prints"},
    {.key = "input_files",  .type = YAML_TABLE,   .table = input_fields, .doc = "files that come with a request"},
    {.key = "output_files", .type = YAML_TABLE,   .table = results_fields, .doc = "files that go back"},
    {.key = "network",      .type = YAML_CUSTOM,  AT(network), .custom = &network_custom, .initial = "none", .doc = "[isolation] none, open, {join: NAME}, {relay: [host:port, {as: host:port, to: host:port, private: true}, {any: [80, 443]}]}"},
    {.key = "relay",        .type = YAML_TABLE,   .table = relay_fields, .doc = "what a program may do with a relay, where network has one"},
    {.key = "env",          .type = YAML_TABLE,   .table = env_fields, .doc = "environment of the program"},
    {.key = "warm",         .type = YAML_TEXTS,   AT(warm), .max = 64, .syntax = &module, .doc = "[comfort] modules imported while the container is parked"},
    {.key = "figures",      .type = YAML_BOOL,    AT(figures), .doc = "[comfort] open matplotlib figures are saved when the program ends"},
    {.key = "imports",      .type = YAML_TABLE,   .table = imports_fields, .doc = "which imports are refused before anything runs; advice to the author, not a wall"},
    {.key = "validation",   .type = YAML_TABLE,   .table = validation_table, .doc = "what else is refused before anything runs; advice, too"},
    {.key = "tools",        .type = YAML_TEXTS,   AT(tools), .max = 256, .syntax = &tool, .doc = "[isolation] host calls that the program may make: data.get_devices, data for all of a module, * for all"},
    {.key = "calls",        .type = YAML_TABLE,   .table = calls_fields, .doc = "how many host calls, how large, how long"},
    {.key = "workspace",    .type = YAML_TABLE,   .table = workspace_fields, .doc = "a work directory that persists"},
    {.key = "pool",         .type = YAML_TABLE,   .table = pool_fields, .doc = "parked containers"},
    {.key = "queue",        .type = YAML_TABLE,   .table = queue_fields, .doc = "the line of runs that wait for a container"},
    {0},
};
/* clang-format on */
