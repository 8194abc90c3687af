#include "policy/policy.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml_bind.h"
#include "policy/network.h"
#include "policy/policy_table.h"
#include "policy/seccomp.h"
#include "policy/syntax.h"
#include "unit.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* ---- a directory for one test, which becomes the working directory ---- */

static char home[32];
static int before = -1; /* where the tests are started: the repository */

static char *read_text(const char *path)
{
    char *text = NULL;
    struct err e = {0};
    size_t n;

    ck_assert_msg(io_read_file(path, 1 << 20, &text, &n, &e) == 0, "%s", e.msg);
    return text;
}

static void write_text(const char *path, const char *text)
{
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* With the shipped default policy and profile in it. */
static void enter_directory(void)
{
    auto_free char *policy = read_text("policies/default.yaml");
    auto_free char *profile = read_text("policies/seccomp-python.json");

    before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)str_copy(home, "/tmp/test_policy.XXXXXX", sizeof(home));
    ck_assert_ptr_nonnull(mkdtemp(home));
    ck_assert_int_eq(chdir(home), 0);
    write_text("default.yaml", policy);
    write_text("seccomp-python.json", profile);
}

static void leave_directory(void)
{
    DIR *dir = opendir(".");
    const struct dirent *e;

    while ((e = readdir(dir)))
        (void)unlink(e->d_name);
    ck_assert_int_eq(closedir(dir), 0);
    ck_assert_int_eq(fchdir(before), 0);
    ck_assert_int_eq(close(before), 0);
    ck_assert_int_eq(rmdir(home), 0);
}

static void clear_variables(void)
{
    static const char *const names[] = {
        "SANDBOX_TIMEOUT",   "SANDBOX_MAX_FILES", "SANDBOX_MAX_FILE_MB", "OUTPUT_DATA_PATH",
        "EXECUTION_TIMEOUT", "MAX_MEMORY_MB",     "MAX_CPU_PERCENT",     "CODE_EXECUTION_TIMEOUT",
        "INFLUX_URL",        "INFLUX_TOKEN",      "INFLUX_ORG",          "INFLUX_DB",
        "INFLUX_SCHEMA",     "INFLUX_TABLE",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        ck_assert_int_eq(unsetenv(names[i]), 0);
}

/* Loads and expects exactly these faults. */
static void check_faults(const char *dir, const char *faults)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(policy_set_done) struct policy_set set = {0};

    yaml_init(&y);
    policy_set_read(&y, dir, &set);
    ck_assert_str_eq(buf_get(&y.faults), faults);
}

static struct policy_set load(const char *dir)
{
    struct policy_set set;
    struct err e = {0};

    ck_assert_msg(policy_set_load(dir, &set, &e) == 0, "%s", e.msg);
    return set;
}

/* ---- what is shipped ---- */

/* clang-format off */
/* The table of the contracts; a machine with less memory or fewer processors has less to give. */
static const struct {
    const char *name, *image, *work_dir;
    int64_t time_ms, time_max_ms, memory, memory_max;
    double cpus;
    int64_t pids, work_size, files_out, files_out_size, output_soft;
    bool gather, gather_tmp, figures;
    const char *workspace;
    int64_t quota;
    const char *warm;
    int64_t pool_min;
} contract[] = {
    {.name = "aiq", .pool_min = 1, .work_dir = "/workspace", .time_ms = 10000, .time_max_ms = 600000,
     .memory = 10 * GIB, .cpus = 2, .pids = 128, .work_size = GIB, .output_soft = 10 * MIB,
     .workspace = "./output", .quota = GIB, .warm = "numpy pandas", .files_out = 20,
     .files_out_size = 20 * MIB},
    {.name = "telemetry", .pool_min = 1, .time_ms = 120000, .time_max_ms = 120000, .memory = GIB, .cpus = 1,
     .pids = 128, .work_size = 256 * MIB, .files_out = 20, .files_out_size = 20 * MIB,
     .output_soft = 10 * MIB, .gather = true, .gather_tmp = true,
     .warm = "numpy pandas matplotlib"},
    {.name = "executor", .image = "oneshot/python-slim:latest", .time_ms = 30000, .time_max_ms = 30000,
     .memory = 128 * MIB, .cpus = 0.5, .pids = 32, .work_size = 16 * MIB, .output_soft = MIB,
     .warm = "asyncio"},
    {.name = "agents", .time_ms = 30000, .time_max_ms = 300000, .memory = 256 * MIB,
     .memory_max = GIB, .cpus = 0.5, .pids = 13, .work_size = 64 * MIB, .output_soft = MIB,
     .warm = "numpy pandas"},
    {.name = "interpreter", .time_ms = 60000, .time_max_ms = 60000, .memory = GIB, .cpus = 1,
     .pids = 128, .work_size = 512 * MIB, .files_out = 20, .files_out_size = 50 * MIB,
     .output_soft = 400000, .gather = true, .figures = true, .warm = "numpy pandas matplotlib"},
    {.name = "default", .pool_min = 1, .time_ms = 30000, .time_max_ms = 30000, .memory = 512 * MIB, .cpus = 1,
     .pids = 64, .work_size = 128 * MIB, .files_out = 20, .files_out_size = 20 * MIB,
     .output_soft = 10 * MIB, .gather = true},
    {.name = "large", .time_ms = 300000, .time_max_ms = 300000, .memory = 2 * GIB, .cpus = 2,
     .pids = 128, .work_size = 512 * MIB, .files_out = 50, .files_out_size = 256 * MIB,
     .output_soft = 10 * MIB, .gather = true},
};
/* clang-format on */

static void check_warm_list(const struct policy *p, const char *words)
{
    CLEANUP(buf_done) struct buf b = {.max = 256};

    for (size_t i = 0; p->warm[i]; i++)
        (void)buf_fmt(&b, "%s%s", i ? " " : "", p->warm[i]);
    ck_assert_str_eq(buf_get(&b), words ? words : "");
}

START_TEST(shipped_policies_hold_the_contract)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct policy *p;

    clear_variables();
    yaml_init(&y);
    y.ram = 64 * GIB;
    policy_set_read(&y, "policies", &set);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_uint_eq(set.n, ARRAY_LEN(contract));
    p = policy_find(&set, contract[_i].name);
    ck_assert_ptr_nonnull(p);
    ck_assert_str_eq(p->image, contract[_i].image ? contract[_i].image : "oneshot/python:latest");
    ck_assert_str_eq(p->work_dir, contract[_i].work_dir ? contract[_i].work_dir : "/work");
    ck_assert_int_eq(p->time_default_ms, contract[_i].time_ms);
    ck_assert_int_eq(p->time_max_ms, contract[_i].time_max_ms);
    ck_assert_int_eq(p->memory, contract[_i].memory);
    ck_assert_int_eq(p->memory_max,
                     contract[_i].memory_max ? contract[_i].memory_max : contract[_i].memory);
    ck_assert_double_eq(p->cpus, fmin(contract[_i].cpus, (double)sysconf(_SC_NPROCESSORS_ONLN)));
    ck_assert_int_eq(p->pids, contract[_i].pids);
    ck_assert_int_eq(p->work_size, contract[_i].work_size);
    ck_assert_int_eq(p->file_size, contract[_i].work_size);
    ck_assert_int_eq(p->files_out, contract[_i].files_out);
    ck_assert_int_eq(p->files_out_size, contract[_i].files_out_size);
    ck_assert_int_eq(p->output_soft, contract[_i].output_soft);
    ck_assert_int_eq(p->output_hard, 64 * MIB);
    ck_assert_int_eq(p->gather, contract[_i].gather);
    ck_assert_int_eq(p->gather_tmp, contract[_i].gather_tmp);
    ck_assert_int_eq(p->figures, contract[_i].figures);
    ck_assert_str_eq(p->workspace, contract[_i].workspace ? contract[_i].workspace : "");
    ck_assert_int_eq(p->workspace_quota, contract[_i].quota);
    ck_assert_int_eq(p->network.kind,
                     strcmp(p->name, "telemetry") == 0 ? NETWORK_RELAY : NETWORK_NONE);
    ck_assert_int_eq(p->uid, 65534);
    ck_assert_int_eq(p->pool_min, contract[_i].pool_min);
    ck_assert_int_eq(p->pool_max, 8);
    ck_assert_int_eq(p->pool_idle_ms, 600000);
    ck_assert_int_eq(p->pool_age_ms, 3600000);
    check_warm_list(p, contract[_i].warm);
    ck_assert_ptr_eq(policy_find_key(&set, p->key), p);
}
END_TEST

/* Its data source and the public internet; the variables move the one and turn off the other. */
START_TEST(telemetry_reaches_its_data_source_and_the_internet)
{
    CLEANUP(policy_set_done) struct policy_set set = {0}, moved = {0};
    const struct policy *p;

    clear_variables();
    set = load("policies");
    p = policy_find(&set, "telemetry");
    ck_assert_uint_eq(p->network.relay_n, 1);
    ck_assert_str_eq(p->network.relay[0].as, "influxdb3:8181");
    ck_assert_str_eq(p->network.relay[0].to, "influxdb3:8181");
    ck_assert(p->network.relay[0].is_private);
    ck_assert_uint_eq(p->network.any_n, 2);
    ck_assert(p->relay_internet);
    ck_assert_int_eq(setenv("INFLUX_ADDRESS", "10.1.2.3:8086", 1), 0);
    ck_assert_int_eq(setenv("TELEMETRY_INTERNET", "false", 1), 0);
    moved = load("policies");
    p = policy_find(&moved, "telemetry");
    ck_assert_str_eq(p->network.relay[0].as, "influxdb3:8181");
    ck_assert_str_eq(p->network.relay[0].to, "10.1.2.3:8086");
    ck_assert(!p->relay_internet);
    ck_assert_int_eq(unsetenv("INFLUX_ADDRESS"), 0);
    ck_assert_int_eq(unsetenv("TELEMETRY_INTERNET"), 0);
}
END_TEST

START_TEST(hosts_of_the_relay_are_compared_without_case)
{
    static char a80[] = "a:80", b80[] = "b:80", big443[] = "A:443", ab[] = "ab:80";
    struct policy_relay entries[] = {{.as = a80}, {.as = b80}, {.as = big443}, {.as = ab}};
    struct policy_network net = {.relay = entries, .relay_n = ARRAY_LEN(entries)};

    ck_assert_uint_eq(network_host_index(&net, 0), 0);
    ck_assert_uint_eq(network_host_index(&net, 1), 1);
    ck_assert_uint_eq(network_host_index(&net, 2), 0);
    ck_assert_uint_eq(network_host_index(&net, 3), 3);
    ck_assert_ptr_eq(network_find(&net, "a:443"), &entries[2]);
    ck_assert_ptr_eq(network_find(&net, "AB:80"), &entries[3]);
    ck_assert_ptr_null(network_find(&net, "a:8"));
    ck_assert_ptr_null(network_find(&net, "a"));
}
END_TEST

START_TEST(shipped_policies_follow_their_variables)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    const struct policy *p;

    clear_variables();
    ck_assert_int_eq(setenv("SANDBOX_TIMEOUT", "7.5", 1), 0);
    ck_assert_int_eq(setenv("SANDBOX_MAX_FILES", "3", 1), 0);
    ck_assert_int_eq(setenv("SANDBOX_MAX_FILE_MB", "", 1), 0);
    ck_assert_int_eq(setenv("OUTPUT_DATA_PATH", "/data/out put", 1), 0);
    ck_assert_int_eq(setenv("EXECUTION_TIMEOUT", "45", 1), 0);
    ck_assert_int_eq(setenv("MAX_MEMORY_MB", "64", 1), 0);
    ck_assert_int_eq(setenv("MAX_CPU_PERCENT", "75.5", 1), 0);
    set = load("policies");
    p = policy_find(&set, "telemetry");
    ck_assert_int_eq(p->time_default_ms, 7500);
    ck_assert_int_eq(p->time_max_ms, 7500);
    ck_assert_int_eq(p->files_out, 3);
    ck_assert_int_eq(p->files_out_size, 20 * MIB);
    ck_assert_str_eq(policy_find(&set, "aiq")->workspace, "/data/out put");
    p = policy_find(&set, "executor");
    ck_assert_int_eq(p->time_max_ms, 45000);
    ck_assert_int_eq(p->memory, 64 * MIB);
    ck_assert_double_eq(p->cpus, 0.755);
}
END_TEST

START_TEST(aiq_fits_on_small_machines)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    CLEANUP(yaml_done) struct yaml y = {0};
    const struct policy *p;

    clear_variables();
    yaml_init(&y);
    y.ram = 2 * GIB;
    policy_set_read(&y, "policies", &set);
    ck_assert_str_eq(buf_get(&y.faults), "");
    p = policy_find(&set, "aiq");
    ck_assert_int_eq(p->memory, GIB);
    ck_assert_int_eq(p->work_size, 256 * MIB);
    ck_assert_int_eq(p->workspace_quota, 256 * MIB);
}
END_TEST

static void copy_printed(const struct policy *p)
{
    auto_free char *file = xasprintf("%s.yaml", p->name);
    auto_free char *text = policy_print(p, true);

    write_text(file, text);
}

START_TEST(a_printed_policy_loads_to_the_same)
{
    CLEANUP(policy_set_done) struct policy_set first = {0}, second = {0};

    ck_assert_int_eq(setenv("INFLUX_TOKEN", "sesame", 1), 0);
    first = load("policies");
    enter_directory();
    for (size_t i = 0; i < first.n; i++)
        copy_printed(&first.list[i]);
    second = load(".");
    ck_assert_uint_eq(first.n, second.n);
    for (size_t i = 0; i < first.n; i++) {
        auto_free char *a = policy_print(&first.list[i], false);
        auto_free char *b = policy_print(&second.list[i], false);

        ck_assert_str_eq(a, b);
        ck_assert_str_eq(first.list[i].name, second.list[i].name);
        ck_assert_str_eq(first.list[i].hash, second.list[i].hash);
        ck_assert_str_eq(first.list[i].seccomp_json, second.list[i].seccomp_json);
    }
    leave_directory();
}
END_TEST

static void check_documented(const struct yaml_field *table, const struct yaml_node *map,
                             const char *text)
{
    for (const struct yaml_field *f = table; f->key; f++) {
        auto_free char *comment = xasprintf("# %s\n", f->doc);

        if (f->type == YAML_CALLER)
            continue;
        ck_assert_msg(yaml_get(map, f->key), "'%s' is not in default.yaml", f->key);
        ck_assert_msg(strstr(text, comment), "default.yaml does not say: %s", f->doc);
        if (f->type == YAML_TABLE)
            check_documented(f->table, yaml_get(map, f->key), text);
    }
}

START_TEST(the_default_policy_shows_and_explains_every_key)
{
    auto_free char *text = read_text("policies/default.yaml");
    CLEANUP(yaml_done) struct yaml y = {0};

    yaml_init(&y);
    check_documented(policy_table, yaml_parse(&y, "default.yaml", text, strlen(text)), text);
}
END_TEST

/* ---- one broken policy beside a good one ---- */

/* clang-format off */
static const struct {
    const char *text, *fault;
} broken[] = {
    {"pids: 1\n\tcpus: 1",
     "2:1: found a tab character that violates indentation while scanning a plain scalar (indent "
     "with spaces, not tabs)"},
    {"time:\n    max: 5s\n  default: 1s",
     "3:3: did not find expected key while parsing a block mapping"},
    {"a: &a [x]\nb: [*a, *a]", "1:4: 'a': anchors, aliases, tags and directives are not used here"},
    {"extends: default\npid: 5", "2:1: 'pid': is not a key here; did you mean 'pids'?"},
    {"extends: default\ntime: {maximum: 5s}", "2:8: 'time.maximum': is not a key here"},
    {"extends: default\npids: 0", "2:7: 'pids': must be from 3 to 65536, not 0"},
    {"extends: default\npids: -1", "2:7: 'pids': must be from 3 to 65536, not -1"},
    {"extends: default\npids: 64MiB", "2:7: 'pids': must be an integer, not '64MiB'"},
    {"extends: default\npids: .inf", "2:7: 'pids': must be an integer, not '.inf'"},
    {"extends: default\npids: 9223372036854775808",
     "2:7: 'pids': must be an integer, not '9223372036854775808'"},
    {"extends: default\nmemory: 15MiB",
     "2:9: 'memory.limit': must be from 16MiB to 1024GiB, not 15MiB"},
    {"extends: default\nmemory: 2TiB",
     "2:9: 'memory.limit': must be a size such as 256MiB (B, KiB, MiB, GiB), not '2TiB'"},
    {"extends: default\nmemory: 1GB",
     "2:9: 'memory.limit': must be a size such as 256MiB (B, KiB, MiB, GiB), not '1GB'"},
    {"extends: default\nmemory: 9999999999GiB",
     "2:9: 'memory.limit': '9999999999GiB' is too large"},
    {"extends: default\nmemory: {limit: 2GiB}",
     "2:17: 'memory.limit': memory.limit is more than memory.max"},
    {"extends: default\nmemory: {limit: 1GiB, max: 512MiB}",
     "2:17: 'memory.limit': memory.limit is more than memory.max"},
    {"extends: default\nmemory: 200%",
     "2:9: 'memory.limit': '200%' is not a share from 0% to 100%"},
    {"extends: default\nmemory: 64MiB\ninput_files: {total: 1MiB}\ntmpfs:\n  work: 16MiB",
     "5:3: 'tmpfs': tmpfs.work + tmp + shm are 28MiB; with 48MiB for the program that is more "
     "than memory.limit, 64MiB"},
    {"extends: default\ntmpfs: {work: 0}",
     "2:15: 'tmpfs.work': must be from 4KiB to 1024GiB, not 0"},
    {"extends: default\ntmpfs: {inodes: 5}",
     "2:17: 'tmpfs.inodes': must be from 16 to 10000000, not 5"},
    {"extends: default\ncpus: nan", "2:7: 'cpus': must be a number, not 'nan'"},
    {"extends: default\ncpus: 0", "2:7: 'cpus': must be from 0.01 to 1024, not 0"},
    {"extends: default\ncpus: -50%", "2:7: 'cpus': must be from 0.01 to 1024, not -50%"},
    {"extends: default\ntime: {default: 31s}",
     "2:17: 'time.default': time.default is more than time.max"},
    {"extends: default\ntime: {max: 20s}", "2:13: 'time.max': time.default is more than time.max"},
    {"extends: default\nmemory: 64MiB\ntmpfs: {work: 1MiB, tmp: 1MiB}\ninput_files: {total: "
     "0}\ntmpfs: {shm: 1MiB}", "5:1: 'tmpfs': stands here twice"},
    {"extends: default\nmemory: 80MiB",
     "2:9: 'memory.limit': tmpfs.work + tmp + shm are 35MiB; with 48MiB for the program that is "
     "more than memory.limit, 80MiB"},
    {"extends: default\ntime: {max: 1 minute}",
     "2:13: 'time.max': must be a time such as 30s (ms, s, m, h, d), not '1 minute'"},
    {"extends: default\ntime: {max: 0}", "2:13: 'time.max': must be from 1ms to 1d, not 0"},
    {"extends: default\ntime: 30s", "2:7: 'time': must be a map of keys and values"},
    {"extends: default\noutput: {soft: 65MiB}",
     "2:16: 'output.soft': output.soft is more than output.hard"},
    {"extends: default\nfiles: {open: 1}", "2:15: 'files.open': must be from 16 to 1048576, not 1"},
    {"extends: default\ninput_files: {total: 1GiB}",
     "2:22: 'input_files.total': input_files.total is more than tmpfs.work"},
    {"extends: default\nworkspace: {path: x}", "2:19: 'workspace.path': needs a workspace.quota"},
    {"extends: default\nworkspace: {path: x, quota: 1GiB}",
     "2:29: 'workspace.quota': workspace.quota is more than tmpfs.work"},
    {"extends: default\npool: {min: 9}", "2:13: 'pool.min': pool.min is more than pool.max"},
    {"extends: default\npool: {idle: 1ms}", "2:14: 'pool.idle': must be from 1s to 30d, not 1ms"},
    {"extends: default\nqueue: {wait: 2h}", "2:15: 'queue.wait': must be from 0s to 1h, not 2h"},
    {"extends: default\nwork_dir: /home",
     "2:11: 'work_dir': must be /work or /workspace, not '/home'"},
    {"extends: default\nimage: Oneshot/Python",
     "2:8: 'image': must be an image such as oneshot/python:1, not 'Oneshot/Python'"},
    {"extends: default\nruntime: ../runc",
     "2:10: 'runtime': must be the name of an OCI runtime, or \"\", not '../runc'"},
    {"extends: default\nisolation: {uid: 0}",
     "2:18: 'isolation.uid': must be from 1000 to 65534, not 0"},
    {"extends: default\nisolation: {gid: 65535}",
     "2:18: 'isolation.gid': must be from 1000 to 65534, not 65535"},
    {"extends: default\nisolation: {seccomp: unconfined}",
     "2:22: 'isolation.seccomp': unconfined: open './unconfined': No such file or directory"},
    {"extends: default\nisolation: {seccomp: default.yaml}",
     "2:22: 'isolation.seccomp': default.yaml: is not JSON"},
    {"extends: default\nisolation: {seccomp: \"\"}",
     "2:22: 'isolation.seccomp': must be a file's name, not ''"},
    {"extends: default\nenv: {set: {1A: x}}",
     "2:13: 'env.set.1A': must be the name of a variable (ONESHOT_\xe2\x80\xa6 is kept for the "
     "service)"},
    {"extends: default\nenv: {pass: [ONESHOT_KEYS]}",
     "2:14: 'env.pass': must be the name of a variable (ONESHOT_\xe2\x80\xa6 is kept for the "
     "service), not 'ONESHOT_KEYS'"},
    {"extends: default\nenv: {pass: [COHERE_API_KEY]}",
     "2:13: 'env.pass': 'COHERE_API_KEY' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [CO_API_KEY]}",
     "2:13: 'env.pass': 'CO_API_KEY' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [SLACK_BOT_TOKEN]}",
     "2:13: 'env.pass': 'SLACK_BOT_TOKEN' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [SLACK_APP_TOKEN]}",
     "2:13: 'env.pass': 'SLACK_APP_TOKEN' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [SLACK_SIGNING_SECRET]}",
     "2:13: 'env.pass': 'SLACK_SIGNING_SECRET' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [EXECUTOR_API_TOKEN]}",
     "2:13: 'env.pass': 'EXECUTOR_API_TOKEN' is the service's own secret; no program may see it"},
    {"extends: default\nenv: {pass: [A, A]}", "2:13: 'env.pass': has 'A' a second time"},
    {"extends: default\nenv: {set: {A: x}, pass: [A]}", "2:26: 'env.pass': has 'A' a second time"},
    {"extends: default\nenv: {pass: [BAD_BYTES]}",
     "2:13: 'env.pass': environment variable 'BAD_BYTES' is not UTF-8"},
    {"extends: default\nwarm: numpy", "2:7: 'warm': must be a list"},
    {"extends: default\nwarm: [os.path.]",
     "2:8: 'warm': must be a module such as urllib.parse, not 'os.path.'"},
    {"extends: default\nfigures: on", "2:10: 'figures': must be true or false, not 'on'"},
    {"extends: default\nnetwork: host",
     "2:10: 'network': must be none, open, {relay: \xe2\x80\xa6} or {join: NAME}, not 'host'"},
    {"extends: default\nnetwork: {join: host}",
     "2:10: 'network.join': 'host' is no network that can be joined"},
    {"extends: default\nnetwork: {join: none}",
     "2:10: 'network.join': 'none' is no network that can be joined"},
    {"extends: default\nnetwork: {relay: [192.0.2.1:80]}",
     "2:10: 'network.relay': '192.0.2.1:80' is no name that a program can look up; write {as: "
     "NAME:PORT, to: 192.0.2.1:80}"},
    {"extends: default\nnetwork: {relay: [\"[::1]:80\"]}",
     "2:10: 'network.relay': '[::1]:80' is no name that a program can look up; write {as: "
     "NAME:PORT, to: [::1]:80}"},
    {"extends: default\nnetwork: {relay: [localhost:80]}",
     "2:10: 'network.relay': 'localhost:80' is no name that a program can look up; write {as: "
     "NAME:PORT, to: localhost:80}"},
    {"extends: default\nfiles: {open: 100}\nnetwork: {relay: [a:80]}",
     "2:15: 'files.open': must be 128 or more where there is a relay"},
    {"extends: default\nrelay: {connections: 129}",
     "2:22: 'relay.connections': must be from 1 to 128, not 129"},
    {"extends: default\nrelay: {internet: off}",
     "2:19: 'relay.internet': must be true or false, not 'off'"},
    {"extends: default\nimports: {block: ['*']}",
     "2:19: 'imports.block': must be a module such as urllib.parse, not '*'"},
    {"extends: default\nvalidation: {names: [a.b]}",
     "2:22: 'validation.names': must be a name such as eval, not 'a.b'"},
    {"extends: default\nvalidation: {calls: ['*.a.b']}",
     "2:22: 'validation.calls': must be a function such as os.system, open(write), "
     "*.to_csv(outside), not '*.a.b'"},
    {"extends: default\nvalidation: {calls: [open(read)]}",
     "2:22: 'validation.calls': must be a function such as os.system, open(write), "
     "*.to_csv(outside), not 'open(read)'"},
    {"extends: default\nvalidation: {messages: {bytes: 'over {limit}'}}",
     "2:32: 'validation.messages.bytes': must be a text with {n}, {m}, {x}, {root}, {line} or "
     "{msg} where it applies, not 'over {limit}'"},
    {"extends: default\ntools: [data.*]",
     "2:9: 'tools': must be a tool such as data.get_devices, a module, or *, not 'data.*'"},
    {"extends: default\ncalls: {log: on}",
     "2:14: 'calls.log': must be digest, text or off, not 'on'"},
    {"extends: default\ncalls: {concurrency: 0}",
     "2:22: 'calls.concurrency': must be from 1 to 64, not 0"},
    {"extends: default\ncalls: {concurrency: 65}", /* a run has a quarter of all threads */
     "2:22: 'calls.concurrency': must be from 1 to 64, not 65"},
    {"extends: p", "1:10: 'extends': 'p' leads back to 'p'"},
    {"extends: nobody", "1:10: 'extends': there is no policy 'nobody'"},
    {"extends: [default]", "1:10: 'extends': must be the name of a policy, not a list"},
    {"extends: ", "1:9: 'extends': has no value; it must be the name of a policy"},
};
/* clang-format on */

START_TEST(refuses_a_broken_policy_with_place_key_and_reason)
{
    auto_free char *faults = xasprintf("./p.yaml:%s\n", broken[_i].fault);

    enter_directory();
    ck_assert_int_eq(setenv("BAD_BYTES", "x\xff", 1), 0);
    write_text("p.yaml", broken[_i].text);
    check_faults(".", faults);
    leave_directory();
}
END_TEST

START_TEST(names_what_a_policy_without_parent_lacks)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(policy_set_done) struct policy_set set = {0};

    enter_directory();
    write_text("p.yaml", "# nothing\n\nimage: x\nmemory: 1GiB\ntime: {max: 5s}\n");
    yaml_init(&y);
    policy_set_read(&y, ".", &set);
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "./p.yaml:3:1: 'pids': is missing\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "./p.yaml:5:7: 'time.default': is missing\n"));
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "./p.yaml:3:1: 'tmpfs.work': is missing\n"));
    ck_assert_ptr_null(strstr(buf_get(&y.faults), "'memory"));
    ck_assert_uint_eq(set.n, 1);
    leave_directory();
}
END_TEST

START_TEST(goes_on_with_the_other_files)
{
    enter_directory();
    write_text("a.yaml", "extends: default\npids: 0\ncpus: x\n");
    write_text("b.yaml", "extends: default\npids: [");
    write_text("c.yaml", "extends: a\ntime: {grace: 1d}\n");
    check_faults(".", "./b.yaml:3:1: did not find expected node content while parsing a flow node\n"
                      "./a.yaml:3:7: 'cpus': must be a number, not 'x'\n"
                      "./a.yaml:2:7: 'pids': must be from 3 to 65536, not 0\n"
                      "./c.yaml:2:15: 'time.grace': must be from 0s to 10s, not 1d\n");
    leave_directory();
}
END_TEST

START_TEST(the_first_fault_is_the_error)
{
    struct policy_set set;
    struct err e = {0};

    enter_directory();
    write_text("a.yaml", "extends: default\npids: 0\ncpus: x\n");
    ck_assert_int_eq(policy_set_load(".", &set, &e), -1);
    ck_assert_int_eq(e.kind, ERR_INVALID);
    ck_assert_str_eq(e.msg, "./a.yaml:3:7: 'cpus': must be a number, not 'x'");
    leave_directory();
}
END_TEST

/* ---- extends ---- */

START_TEST(merges_maps_and_replaces_lists)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    const struct policy *p;

    enter_directory();
    write_text("a.yaml", "extends: default\ntime: {default: 5s}\nwarm: [numpy, pandas]\n"
                         "env: {set: {A: '1', B: '1'}}\nmemory: {limit: 1GiB, max: 2GiB}\n");
    write_text("b.yaml", "extends: a\ntime: {max: 60s}\nwarm: [json]\n"
                         "env: {set: {B: '2', C: '2'}}\nmemory: 768MiB\n");
    set = load(".");
    p = policy_find(&set, "b");
    ck_assert_int_eq(p->time_default_ms, 5000);
    ck_assert_int_eq(p->time_max_ms, 60000);
    ck_assert_int_eq(p->time_grace_ms, 200);
    check_warm_list(p, "json");
    ck_assert_int_eq(p->memory, 768 * MIB);
    ck_assert_int_eq(p->memory_max, 768 * MIB);
    ck_assert_str_eq(p->env[0].name, "A");
    ck_assert_str_eq(p->env[0].value, "1");
    ck_assert_str_eq(p->env[1].value, "2");
    ck_assert_str_eq(p->env[2].name, "C");
    ck_assert_ptr_null(p->env[3].name);
    leave_directory();
}
END_TEST

START_TEST(follows_eight_policies_and_no_more)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};

    enter_directory();
    for (int i = 1; i <= 8; i++) {
        auto_free char *file = xasprintf("p%d.yaml", i);
        auto_free char *text =
            i == 1 ? xstrdup("extends: default\n") : xasprintf("extends: p%d\n", i - 1);

        write_text(file, text);
    }
    set = load(".");
    ck_assert_uint_eq(set.n, 9);
    write_text("a-last.yaml", "extends: p8\n");
    check_faults(".", "./a-last.yaml:1:10: 'extends': has over 8 policies under it\n");
    leave_directory();
}
END_TEST

START_TEST(refuses_circles)
{
    enter_directory();
    write_text("a.yaml", "extends: b\n");
    write_text("b.yaml", "extends: c\n");
    write_text("c.yaml", "extends: a\n");
    check_faults(".", "./c.yaml:1:10: 'extends': 'a' leads back to 'c'\n");
    leave_directory();
}
END_TEST

/* ---- the directory ---- */

START_TEST(takes_only_well_named_files)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(policy_set_done) struct policy_set set = {0};

    enter_directory();
    write_text(".hidden.yaml", "not: read\n");
    write_text("notes.txt", "not: read\n");
    write_text("a.yaml", "extends: default\n");
    write_text("a-b.yaml", "extends: default\n");
    write_text("Upper.yaml", "extends: default\n");
    write_text("x.yml", "extends: default\n");
    yaml_init(&y);
    policy_set_read(&y, ".", &set);
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "./Upper.yaml: the name must be lower-case"));
    ck_assert_ptr_nonnull(strstr(buf_get(&y.faults), "./x.yml: the name of a policy's file must "
                                                     "end in .yaml\n"));
    ck_assert_uint_eq(y.faults_n, 2);
    ck_assert_uint_eq(set.n, 3);
    ck_assert_str_eq(set.list[0].name, "a");
    ck_assert_str_eq(set.list[1].name, "a-b");
    ck_assert_str_eq(set.list[1].file, "./a-b.yaml");
    ck_assert_str_eq(set.list[2].name, "default");
    ck_assert_ptr_null(policy_find(&set, "Upper"));
    ck_assert_ptr_null(policy_find_key(&set, 1));
    leave_directory();
}
END_TEST

START_TEST(refuses_a_directory_without_policies)
{
    struct policy_set set;
    struct err e = {0};

    enter_directory();
    ck_assert_int_eq(unlink("default.yaml"), 0);
    ck_assert_int_eq(policy_set_load(".", &set, &e), -1);
    ck_assert_str_eq(e.msg, ".: there is no policy here (NAME.yaml)");
    ck_assert_int_eq(policy_set_load("nowhere", &set, &e), -1);
    ck_assert_str_eq(e.msg, "list 'nowhere': No such file or directory");
    for (int i = 0; i <= 256; i++) {
        auto_free char *file = xasprintf("p%d.yaml", i);

        write_text(file, "");
    }
    ck_assert_int_eq(policy_set_load(".", &set, &e), -1);
    ck_assert_str_eq(e.msg, ".: over 256 policies");
    leave_directory();
}
END_TEST

/* ---- environment and hash ---- */

static char *hash_of(const char *name)
{
    CLEANUP(policy_set_done) struct policy_set set = load(".");
    const struct policy *p = policy_find(&set, name);
    unsigned char raw[8];
    uint64_t key = 0;

    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(strlen(p->hash), 64);
    ck_assert(str_unhex(raw, 8, "0000000000000000") && sscanf(p->hash, "%16lx", &key) == 1);
    ck_assert_uint_eq(p->key, key);
    return xstrdup(p->hash);
}

START_TEST(the_hash_covers_what_counts_and_nothing_else)
{
    static const char policy[] = "extends: default\nenv: {pass: [SECRET_TOKEN]}\n";
    auto_free char *first = NULL, *again = NULL, *other_value = NULL, *unset = NULL, *twin = NULL;
    auto_free char *other_profile = NULL, *profile = NULL;

    enter_directory();
    write_text("p.yaml", policy);
    write_text("q.yaml", policy);
    ck_assert_int_eq(setenv("SECRET_TOKEN", "sesame", 1), 0);
    first = hash_of("p");
    twin = hash_of("q");
    write_text("p.yaml", "# a comment\nextends: default\nenv:\n  pass: [\"SECRET_TOKEN\"]\n");
    again = hash_of("p");
    ck_assert_int_eq(setenv("SECRET_TOKEN", "sesamf", 1), 0);
    other_value = hash_of("p");
    ck_assert_int_eq(unsetenv("SECRET_TOKEN"), 0);
    unset = hash_of("p");
    ck_assert_int_eq(setenv("SECRET_TOKEN", "sesame", 1), 0);
    profile = read_text("seccomp-python.json");
    *strstr(profile, "\"getpid\"") = ' ';
    *strstr(profile, "getpid\"") = ' ';
    memcpy(strstr(profile, "etpid\","), "        ", strlen("etpid\","));
    write_text("seccomp-python.json", profile);
    other_profile = hash_of("p");
    ck_assert_str_eq(first, again);
    ck_assert_str_ne(first, twin);
    ck_assert_str_ne(first, other_value);
    ck_assert_str_ne(first, unset);
    ck_assert_str_ne(unset, other_value);
    ck_assert_str_ne(first, other_profile);
    leave_directory();
}
END_TEST

START_TEST(passes_variables_without_ever_printing_them)
{
    CLEANUP(policy_set_done) struct policy_set set = {0};
    auto_free char *text = NULL;
    const struct policy *p;

    enter_directory();
    ck_assert_int_eq(setenv("SECRET_TOKEN", "sesame", 1), 0);
    ck_assert_int_eq(setenv("EMPTY_ONE", "", 1), 0);
    ck_assert_int_eq(unsetenv("UNSET_ONE"), 0);
    write_text("p.yaml", "extends: default\nenv: {set: {A: b$$c}, pass: [SECRET_TOKEN, EMPTY_ONE, "
                         "UNSET_ONE], allow: [TZ]}\n");
    set = load(".");
    p = policy_find(&set, "p");
    ck_assert_str_eq(p->env[0].value, "b$c");
    ck_assert_str_eq(p->env[1].name, "SECRET_TOKEN");
    ck_assert_str_eq(p->env[1].value, "sesame");
    ck_assert_str_eq(p->env[2].name, "EMPTY_ONE");
    ck_assert_str_eq(p->env[2].value, "");
    ck_assert_ptr_null(p->env[3].name);
    ck_assert_str_eq(p->env_allow[0], "TZ");
    text = policy_print(p, true);
    ck_assert_ptr_null(strstr(text, "sesame"));
    ck_assert_ptr_nonnull(strstr(text, "  set: {A: \"b$$c\"}\n"));
    ck_assert_ptr_nonnull(strstr(text, "  pass: [SECRET_TOKEN, EMPTY_ONE, UNSET_ONE]\n"));
    leave_directory();
}
END_TEST

START_TEST(warms_only_what_may_be_imported)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    CLEANUP(policy_set_done) struct policy_set set = {0};

    enter_directory();
    write_text("p.yaml", "extends: default\nwarm: [numpy.random, os, jsonx, json]\n"
                         "imports: {allow: [numpy, json, os], block: [os]}\n");
    yaml_init(&y);
    policy_set_read(&y, ".", &set);
    ck_assert_str_eq(
        buf_get(&y.faults),
        "./p.yaml:2:7: 'warm': 'os' is not among the imports that the policy permits\n"
        "./p.yaml:2:7: 'warm': 'jsonx' is not among the imports that the policy permits\n");
    leave_directory();
}
END_TEST

/* ---- network ---- */

struct only_network {
    struct policy_network network;
};

static const struct yaml_field network_table[] = {
    {.key = "network", .type = YAML_CUSTOM, .custom = &network_custom, .initial = "none"},
    {0},
};

/* clang-format off */
static const struct {
    const char *text, *printed;
} networks[] = {
    {"none", "none"},
    {"open", "open"},
    {"{join: my_net.1}", "{join: my_net.1}"},
    {"{join: \"null\"}", "{join: \"null\"}"},
    {"{relay: [influxdb3:8181]}",
     "{relay: [{as: \"influxdb3:8181\", to: \"influxdb3:8181\", private: false}]}"},
    {"{relay: [\"[2001:db8::1]:443\", 192.0.2.1:80]}",
     "{relay: [{as: \"[2001:db8::1]:443\", to: \"[2001:db8::1]:443\", private: false}, {as: "
     "\"192.0.2.1:80\", to: \"192.0.2.1:80\", private: false}]}"},
    {"{relay: [{as: db:1, to: \"${TARGET:-other:2}\", private: true}]}",
     "{relay: [{as: \"db:1\", to: \"other:2\", private: true}]}"},
    {"{relay: {any: [80, 443]}}", "{relay: [{any: [80, 443]}]}"},
    {"{relay: [{any: [443]}, a:1, {any: [80]}]}",
     "{relay: [{as: \"a:1\", to: \"a:1\", private: false}, {any: [443, 80]}]}"},
};
/* clang-format on */

START_TEST(reads_every_form_of_network_and_prints_it_back)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *text = xasprintf("network: %s\n", networks[_i].text);
    auto_free char *expected = xasprintf("network: %s\n", networks[_i].printed);
    CLEANUP(buf_done) struct buf first = {.max = 1024}, second = {.max = 1024};
    struct only_network a = {0}, b = {0};

    yaml_init(&y);
    yaml_bind(&y, network_table, yaml_parse(&y, "t", text, strlen(text)), &a);
    ck_assert_str_eq(buf_get(&y.faults), "");
    yaml_print(&first, network_table, &a, false);
    ck_assert_str_eq(buf_get(&first), expected);
    yaml_bind(&y, network_table, yaml_parse(&y, "t", buf_get(&first), first.len), &b);
    yaml_print(&second, network_table, &b, false);
    ck_assert_str_eq(buf_get(&y.faults), "");
    ck_assert_str_eq(buf_get(&first), buf_get(&second));
    yaml_release(network_table, &a);
    yaml_release(network_table, &b);
}
END_TEST

/* clang-format off */
static const struct {
    const char *text, *fault;
} bad_networks[] = {
    {"[]",
     "1:10: 'network': must be none, open, {relay: \xe2\x80\xa6} or {join: NAME}, not a list"},
    {"{}", "1:10: 'network': must be none, open, {relay: \xe2\x80\xa6} or {join: NAME}"},
    {"{relay: [a:1], join: b}",
     "1:10: 'network': must be none, open, {relay: \xe2\x80\xa6} or {join: NAME}"},
    {"{bridge: x}",
     "1:11: 'network.bridge': is not a key here; network is none, open, {relay: \xe2\x80\xa6} or "
     "{join: NAME}"},
    {"{join: }", "1:17: 'network.join': has no value; it must be the name of a network"},
    {"{join: -x}", "1:17: 'network.join': must be the name of a network, not '-x'"},
    {"{relay: none}", "1:18: 'network.relay': must be a list of 1 to 64 entries"},
    {"{relay: []}", "1:18: 'network.relay': must be a list of 1 to 64 entries"},
    {"{relay: [influxdb3]}",
     "1:19: 'network.relay[0]': must be host:port, such as influxdb3:8181, not 'influxdb3'"},
    {"{relay: [a:1, a:65536]}",
     "1:24: 'network.relay[1]': must be host:port, such as influxdb3:8181, not 'a:65536'"},
    {"{relay: [a:1, a:1]}", "1:24: 'network.relay[1]': names 'a:1' twice"},
    {"{relay: [a:1, A:1]}", "1:24: 'network.relay[1]': names 'A:1' twice"},
    {"{relay: [[a:1]]}",
     "1:19: 'network.relay[0]': must be host:port, such as influxdb3:8181, not a list"},
    {"{relay: [{as: a:1, too: b:1}]}",
     "1:29: 'network.relay[0].too': is not a key here; did you mean 'to'?"},
    {"{relay: [{to: b:1}]}", "1:19: 'network.relay[0].as': is missing"},
    {"{relay: [{as: a:1, to: http://b}]}",
     "1:33: 'network.relay[0].to': must be host:port, such as influxdb3:8181, not 'http://b'"},
    {"{relay: [{as: a:1, private: yes}]}",
     "1:38: 'network.relay[0].private': must be true or false, not 'yes'"},
    {"{relay: {any: [80], to: x}}",
     "1:18: 'network.relay': must be {any: [PORT \xe2\x80\xa6]} and nothing else"},
    {"{relay: {all: [80]}}",
     "1:18: 'network.relay': must be {any: [PORT \xe2\x80\xa6]} and nothing else"},
    {"{relay: {any: 80}}", "1:24: 'network.relay.any': must be a list of 1 to 64 ports"},
    {"{relay: {any: []}}", "1:24: 'network.relay.any': must be a list of 1 to 64 ports"},
    {"{relay: {any: [0]}}", "1:25: 'network.relay.any': must be a port from 1 to 65535, not '0'"},
    {"{relay: {any: [[1]]}}",
     "1:25: 'network.relay.any': must be a port from 1 to 65535, not a list"},
    {"{relay: [{any: [80]}, {any: [80]}]}", "1:39: 'network.relay[1].any': has port 80 twice"},
};
/* clang-format on */

START_TEST(refuses_other_networks)
{
    CLEANUP(yaml_done) struct yaml y = {0};
    auto_free char *text = xasprintf("network: %s\n", bad_networks[_i].text);
    auto_free char *fault = xasprintf("t:%s\n", bad_networks[_i].fault);
    struct only_network a = {0};

    yaml_init(&y);
    yaml_bind(&y, network_table, yaml_parse(&y, "t", text, strlen(text)), &a);
    ck_assert_str_eq(buf_get(&y.faults), fault);
    yaml_release(network_table, &a);
}
END_TEST

/* ---- seccomp ---- */

#define RULES "\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}]"
#define ARCH  "\"architectures\":[\"SCMP_ARCH_X86_64\"]"
#define ERRNO "\"defaultAction\":\"SCMP_ACT_ERRNO\""

/* clang-format off */
static const struct {
    const char *text, *fault;
} profiles[] = {
    {"{" ERRNO "," ARCH "," RULES "}", NULL},
    {" {" ERRNO ",\n" ARCH ", " RULES "}\n", NULL},
    {"", "is not JSON"},
    {"{" ERRNO "," ARCH "," RULES "} x", "is not JSON"},
    {"[]", "must be one JSON object without repeated keys"},
    {"{" ERRNO "," ERRNO "," ARCH "," RULES "}", "must be one JSON object without repeated keys"},
    {"{" ERRNO ",\"DefaultAction\":\"SCMP_ACT_ALLOW\"," ARCH "," RULES "}",
     "must be one JSON object without repeated keys"},
    {"{" ARCH "," RULES "}", "defaultAction must be SCMP_ACT_ERRNO"},
    {"{\"defaultAction\":\"SCMP_ACT_ALLOW\"," ARCH "," RULES "}",
     "defaultAction must be SCMP_ACT_ERRNO"},
    {"{\"defaultAction\":\"SCMP_ACT_KILL\"," ARCH "," RULES "}",
     "defaultAction must be SCMP_ACT_ERRNO"},
    {"{" ERRNO "," RULES "}", "architectures must be a list of SCMP_ARCH_\xe2\x80\xa6"},
    {"{" ERRNO ",\"architectures\":[]," RULES "}",
     "architectures must be a list of SCMP_ARCH_\xe2\x80\xa6"},
    {"{" ERRNO ",\"architectures\":[1]," RULES "}",
     "architectures must be a list of SCMP_ARCH_\xe2\x80\xa6"},
    {"{" ERRNO ",\"architectures\":[\"x86\"]," RULES "}",
     "architectures must be a list of SCMP_ARCH_\xe2\x80\xa6"},
    {"{" ERRNO "," ARCH "}", "syscalls must be a list of rules"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[]}", "syscalls must be a list of rules"},
    {"{" ERRNO "," ARCH ",\"syscalls\":{\"a\":1}}", "syscalls must be a list of rules"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[1]}",
     "syscalls[0] must be an object without repeated keys"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[{\"names\":[\"a\"],\"names\":[\"b\"],\"action\":\"SCMP_ACT_ALLOW\"}]}",
     "syscalls[0] must be an object without repeated keys"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[{\"action\":\"SCMP_ACT_ALLOW\"}]}",
     "syscalls[0].names must be a list of names"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[{\"names\":[\"a\"],\"action\":\"ALLOW\"}]}",
     "syscalls[0].action must be SCMP_ACT_\xe2\x80\xa6"},
    {"{" ERRNO "," ARCH ",\"syscalls\":[{\"names\":[\"a\"]}]}",
     "syscalls[0].action must be SCMP_ACT_\xe2\x80\xa6"},
};
/* clang-format on */

START_TEST(takes_only_allow_lists_as_profiles)
{
    auto_free char *json = NULL;
    struct err e = {0};
    int rc = seccomp_parse(profiles[_i].text, strlen(profiles[_i].text), &json, &e);

    if (profiles[_i].fault) {
        ck_assert_int_eq(rc, -1);
        ck_assert_str_eq(e.msg, profiles[_i].fault);
    } else {
        ck_assert_msg(rc == 0, "%s", e.msg);
        ck_assert_str_eq(json, "{" ERRNO "," ARCH "," RULES "}");
    }
}
END_TEST

START_TEST(the_shipped_profile_keeps_its_numbers)
{
    auto_free char *json = NULL;

    ck_assert_int_eq(seccomp_parse("{\0}", 3, &json, NULL), -1);
    ck_assert_int_eq(seccomp_profile_load("policies/seccomp-python.json", &json, NULL), 0);
    ck_assert_ptr_null(strpbrk(json, " \n\t"));
    ck_assert_ptr_nonnull(strstr(json, "\"value\":2114060288,"));
    ck_assert_ptr_nonnull(strstr(json, "\"value\":4294967295,"));
    ck_assert_ptr_nonnull(
        strstr(json, "{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38}"));
}
END_TEST

/* ---- names ---- */

/* clang-format off */
static const struct {
    bool (*is_valid)(const char *);
    bool expected;
    const char *text;
} names[] = {
    {syntax_image, true, "python"},
    {syntax_image, true, "oneshot/python"},
    {syntax_image, true, "oneshot/python:3.11-slim_1"},
    {syntax_image, true, "localhost/x"},
    {syntax_image, true, "localhost:5000/a/b-c/d__e.f:latest"},
    {syntax_image, true, "reg.example.org:443/a"},
    {syntax_image, true, "a--b/c"},
    {syntax_image, true,
     "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    {syntax_image, true,
     "a:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    {syntax_image, true, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    {syntax_image, false, ""},
    {syntax_image, false, "/a"},
    {syntax_image, false, "a/"},
    {syntax_image, false, "a//b"},
    {syntax_image, false, "A"},
    {syntax_image, false, "-a"},
    {syntax_image, false, "a-"},
    {syntax_image, false, "a___b"},
    {syntax_image, false, "a..b"},
    {syntax_image, false, "a b"},
    {syntax_image, false, "a:"},
    {syntax_image, false, "a:.x"},
    {syntax_image, false, "a:x/y:z:q"},
    {syntax_image, false, "a@sha256:12"},
    {syntax_image, false, "a@md5:0123456789abcdef0123456789abcdef"},
    {syntax_image, false, "reg:99999/a"},
    {syntax_image, false, "reg:123456789/a"},
    {syntax_image, false, "-r.x/a"},
    {syntax_module, true, "numpy"},
    {syntax_module, true, "_x.y1.Z"},
    {syntax_module, false, ""},
    {syntax_module, false, "."},
    {syntax_module, false, "a..b"},
    {syntax_module, false, "1a"},
    {syntax_module, false, "a-b"},
    {syntax_module, false, "a b"},
    {syntax_env, true, "_A1"},
    {syntax_env, false, "A-B"},
    {syntax_env, false, "A=B"},
    {syntax_env, false, "A.B"},
    {syntax_env, false, "ONESHOT_X"},
    {syntax_env, false, ""},
    {syntax_name, true, "a_b-1"},
    {syntax_name, false, "_a"},
    {syntax_name, false, "a/b"},
    {syntax_name, false, "0123456789012345678901234567890123456789012345678901234567890123"},
    {syntax_word, true, "io.containerd.runsc.v1"},
    {syntax_word, false, ".x"},
    {syntax_endpoint, true, "a:1"},
    {syntax_endpoint, true, "a_b.c-d.example:65535"},
    {syntax_endpoint, true, "192.0.2.1:80"},
    {syntax_endpoint, true, "[::1]:443"},
    {syntax_endpoint, false, "a"},
    {syntax_endpoint, false, "a:"},
    {syntax_endpoint, false, ":1"},
    {syntax_endpoint, false, "a:0"},
    {syntax_endpoint, false, "a:080"},
    {syntax_endpoint, false, "a:65536"},
    {syntax_endpoint, false, "a..b:1"},
    {syntax_endpoint, false, ".a:1"},
    {syntax_endpoint, false, "-a:1"},
    {syntax_endpoint, false, "a-:1"},
    {syntax_endpoint, false, "a/b:1"},
    {syntax_endpoint, false, "[1.2.3.4]:1"},
    {syntax_endpoint, false, "[::1:1"},
    {syntax_endpoint, false, "[]:1"},
    {syntax_endpoint, false, "::1:1"},
    {syntax_address, true, "0.0.0.0"},
    {syntax_address, true, "::"},
    {syntax_address, false, "1.2.3"},
    {syntax_address, false, "localhost"},
};
/* clang-format on */

START_TEST(knows_good_names_from_bad_ones)
{
    ck_assert_msg(names[_i].is_valid(names[_i].text) == names[_i].expected, "'%s'", names[_i].text);
}
END_TEST

START_TEST(refuses_endless_names)
{
    char text[400];

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    ck_assert(!syntax_image(text) && !syntax_module(text) && !syntax_env(text));
    memcpy(text + sizeof(text) - 3, ":1", 3);
    ck_assert(!syntax_endpoint(text));
    memcpy(text, "[::", 3);
    memcpy(text + sizeof(text) - 4, "]:1", 4);
    ck_assert(!syntax_endpoint(text));
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, shipped_policies_hold_the_contract, 0, ARRAY_LEN(contract));
    tcase_add_test(t, telemetry_reaches_its_data_source_and_the_internet);
    tcase_add_test(t, hosts_of_the_relay_are_compared_without_case);
    tcase_add_test(t, shipped_policies_follow_their_variables);
    tcase_add_test(t, aiq_fits_on_small_machines);
    tcase_add_test(t, a_printed_policy_loads_to_the_same);
    tcase_add_test(t, the_default_policy_shows_and_explains_every_key);
    tcase_add_loop_test(t, refuses_a_broken_policy_with_place_key_and_reason, 0, ARRAY_LEN(broken));
    tcase_add_test(t, names_what_a_policy_without_parent_lacks);
    tcase_add_test(t, goes_on_with_the_other_files);
    tcase_add_test(t, the_first_fault_is_the_error);
    tcase_add_test(t, merges_maps_and_replaces_lists);
    tcase_add_test(t, follows_eight_policies_and_no_more);
    tcase_add_test(t, refuses_circles);
    tcase_add_test(t, takes_only_well_named_files);
    tcase_add_test(t, refuses_a_directory_without_policies);
    tcase_add_test(t, the_hash_covers_what_counts_and_nothing_else);
    tcase_add_test(t, passes_variables_without_ever_printing_them);
    tcase_add_test(t, warms_only_what_may_be_imported);
    tcase_add_loop_test(t, reads_every_form_of_network_and_prints_it_back, 0, ARRAY_LEN(networks));
    tcase_add_loop_test(t, refuses_other_networks, 0, ARRAY_LEN(bad_networks));
    tcase_add_loop_test(t, takes_only_allow_lists_as_profiles, 0, ARRAY_LEN(profiles));
    tcase_add_test(t, the_shipped_profile_keeps_its_numbers);
    tcase_add_loop_test(t, knows_good_names_from_bad_ones, 0, ARRAY_LEN(names));
    tcase_add_test(t, refuses_endless_names);
}

UNIT_MAIN_ONE_PROCESS("policy", add_tests)
